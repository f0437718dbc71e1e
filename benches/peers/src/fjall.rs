//! fjall: a log-structured merge tree in Rust.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use crate::peer::{Edit, Opening, Outcome, Peer, Reader, Row, join, number, split};

pub(crate) struct Fjall {
    database: Database,
    by_id: Keyspace,
    by_seq: Keyspace,
    seq: u64,
}

pub(crate) fn open(opening: Opening<'_>) -> Outcome<Box<dyn Peer>> {
    let cache = opening.cache_bytes as u64;
    let database = Database::builder(opening.folder.join("fjall")).cache_size(cache).open()?;
    let by_id = database.keyspace("by_id", KeyspaceCreateOptions::default)?;
    let by_seq = database.keyspace("by_seq", KeyspaceCreateOptions::default)?;
    let seq = match by_seq.last_key_value() {
        None => 0,
        Some(last) => number(&last.key()?)?,
    };
    Ok(Box::new(Fjall { database, by_id, by_seq, seq }))
}

impl Peer for Fjall {
    fn write(&mut self, edits: Vec<Edit>) -> Outcome<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for Edit { id, body } in edits {
            self.seq += 1;
            // Ids of one batch are all different: what is stored is what was before.
            if let Some(old) = self.by_id.get(&id)? {
                batch.remove(&self.by_seq, split(&old)?.0.to_be_bytes());
            }
            batch.insert(&self.by_id, &*id, join(self.seq, &body));
            batch.insert(&self.by_seq, self.seq.to_be_bytes(), id);
        }
        Ok(batch.commit()?)
    }

    fn reader(&self) -> Outcome<Box<dyn Reader + '_>> {
        let snapshot = self.database.snapshot();
        Ok(Box::new(View { snapshot, by_id: &self.by_id, by_seq: &self.by_seq }))
    }

    fn compact(&mut self) -> Outcome<bool> {
        for keyspace in [&self.by_id, &self.by_seq] {
            keyspace.rotate_memtable_and_wait()?;
            keyspace.major_compact()?;
        }
        Ok(true)
    }
}

struct View<'d> {
    snapshot: Snapshot,
    by_id: &'d Keyspace,
    by_seq: &'d Keyspace,
}

impl Reader for View<'_> {
    fn get(&mut self, id: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let Some(value) = self.snapshot.get(self.by_id, id)? else { return Ok(false) };
        found(split(&value)?.1);
        Ok(true)
    }

    fn by_id(&mut self, row: Row<'_>) -> Outcome<()> {
        for entry in self.snapshot.iter(self.by_id) {
            let (id, value) = entry.into_inner()?;
            let (seq, body) = split(&value)?;
            row(&id, seq, body);
        }
        Ok(())
    }

    fn by_seq(&mut self, row: Row<'_>) -> Outcome<()> {
        for entry in self.snapshot.iter(self.by_seq) {
            let (seq, id) = entry.into_inner()?;
            row(&id, number(&seq)?, b"");
        }
        Ok(())
    }
}
