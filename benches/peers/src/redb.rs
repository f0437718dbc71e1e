//! redb: a copy-on-write B+tree in Rust.

use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

use crate::peer::{Edit, Opening, Outcome, Peer, Reader, Row, join, split};

const BY_ID: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("by_id");
const BY_SEQ: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("by_seq");

pub(crate) struct Redb {
    database: Database,
    seq: u64,
}

pub(crate) fn open(opening: Opening<'_>) -> Outcome<Box<dyn Peer>> {
    let mut builder = Database::builder();
    builder.set_cache_size(opening.cache_bytes);
    let database = builder.create(opening.folder.join("documents.redb"))?;
    let transaction = database.begin_write()?;
    transaction.open_table(BY_ID)?;
    let seq = transaction.open_table(BY_SEQ)?.last()?.map_or(0, |(seq, _)| seq.value());
    transaction.commit()?;
    Ok(Box::new(Redb { database, seq }))
}

impl Peer for Redb {
    fn write(&mut self, edits: Vec<Edit>) -> Outcome<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut by_id = transaction.open_table(BY_ID)?;
            let mut by_seq = transaction.open_table(BY_SEQ)?;
            for Edit { id, body } in &edits {
                self.seq += 1;
                if let Some(old) = by_id.insert(&**id, &*join(self.seq, body))? {
                    by_seq.remove(split(old.value())?.0)?;
                }
                by_seq.insert(self.seq, &**id)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn reader(&self) -> Outcome<Box<dyn Reader + '_>> {
        let transaction = self.database.begin_read()?;
        let by_id = transaction.open_table(BY_ID)?;
        let by_seq = transaction.open_table(BY_SEQ)?;
        Ok(Box::new(View { by_id, by_seq }))
    }

    fn compact(&mut self) -> Outcome<bool> {
        Ok(self.database.compact().map(|_| true)?)
    }
}

struct View {
    by_id: ReadOnlyTable<&'static [u8], &'static [u8]>,
    by_seq: ReadOnlyTable<u64, &'static [u8]>,
}

impl Reader for View {
    fn get(&mut self, id: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let Some(value) = self.by_id.get(id)? else { return Ok(false) };
        found(split(value.value())?.1);
        Ok(true)
    }

    fn by_id(&mut self, row: Row<'_>) -> Outcome<()> {
        for entry in self.by_id.iter()? {
            let (id, value) = entry?;
            let (seq, body) = split(value.value())?;
            row(id.value(), seq, body);
        }
        Ok(())
    }

    fn by_seq(&mut self, row: Row<'_>) -> Outcome<()> {
        for entry in self.by_seq.iter()? {
            let (seq, id) = entry?;
            row(id.value(), seq.value(), b"");
        }
        Ok(())
    }
}
