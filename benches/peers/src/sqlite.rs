//! SQLite in WAL mode, with a sync for each commit.

use rusqlite::{Connection, OptionalExtension, Statement};

use crate::peer::{Edit, Opening, Outcome, Peer, Reader, Row};

pub(crate) struct Sqlite {
    connection: Connection,
    seq: u64,
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS by_id (id BLOB PRIMARY KEY, seq INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS by_seq (seq INTEGER PRIMARY KEY, id BLOB NOT NULL);";

pub(crate) fn open(opening: Opening<'_>) -> Outcome<Box<dyn Peer>> {
    let connection = Connection::open(opening.folder.join("documents.sqlite"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Negative: in KiB.
    connection.pragma_update(None, "cache_size", -i64::try_from(opening.cache_bytes / 1024)?)?;
    connection.execute_batch(SCHEMA)?;
    let seq = "SELECT coalesce(max(seq), 0) FROM by_seq";
    let seq: i64 = connection.query_row(seq, [], |row| row.get(0))?;
    Ok(Box::new(Sqlite { connection, seq: u64::try_from(seq)? }))
}

impl Peer for Sqlite {
    fn write(&mut self, edits: Vec<Edit>) -> Outcome<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut find = transaction.prepare_cached("SELECT seq FROM by_id WHERE id = ?1")?;
            let mut forget = transaction.prepare_cached("DELETE FROM by_seq WHERE seq = ?1")?;
            let mut put = transaction.prepare_cached(
                "INSERT INTO by_id VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, body = excluded.body",
            )?;
            let mut note = transaction.prepare_cached("INSERT INTO by_seq VALUES (?1, ?2)")?;
            for Edit { id, body } in &edits {
                self.seq += 1;
                let seq = i64::try_from(self.seq)?;
                let old: Option<i64> = find.query_row([id], |row| row.get(0)).optional()?;
                if let Some(old) = old {
                    forget.execute([old])?;
                }
                put.execute((id, seq, body))?;
                note.execute((seq, id))?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn reader(&self) -> Outcome<Box<dyn Reader + '_>> {
        self.connection.execute_batch("BEGIN")?;
        let get = self.connection.prepare("SELECT body FROM by_id WHERE id = ?1")?;
        Ok(Box::new(View { connection: &self.connection, get }))
    }

    fn settle(&mut self) -> Outcome<()> {
        Ok(self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    fn compact(&mut self) -> Outcome<bool> {
        self.connection.execute_batch("VACUUM")?;
        self.settle()?;
        Ok(true)
    }
}

struct View<'c> {
    connection: &'c Connection,
    get: Statement<'c>,
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        // It has only read: there is nothing that a failure could lose.
        let _ = self.connection.execute_batch("COMMIT");
    }
}

impl Reader for View<'_> {
    fn get(&mut self, id: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let mut rows = self.get.query([id])?;
        let Some(row) = rows.next()? else { return Ok(false) };
        found(row.get_ref(0)?.as_blob()?);
        Ok(true)
    }

    fn by_id(&mut self, each: Row<'_>) -> Outcome<()> {
        let mut all = self.connection.prepare("SELECT id, seq, body FROM by_id ORDER BY id")?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            let seq = u64::try_from(row.get::<_, i64>(1)?)?;
            each(row.get_ref(0)?.as_blob()?, seq, row.get_ref(2)?.as_blob()?);
        }
        Ok(())
    }

    fn by_seq(&mut self, each: Row<'_>) -> Outcome<()> {
        let mut all = self.connection.prepare("SELECT id, seq FROM by_seq ORDER BY seq")?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            each(row.get_ref(0)?.as_blob()?, u64::try_from(row.get::<_, i64>(1)?)?, b"");
        }
        Ok(())
    }
}
