//! LMDB through heed: a copy-on-write B+tree in C over a memory map.
#![allow(unsafe_code)]

use std::{fs, path::PathBuf};

use heed::{CompactionOption, Database, Env, EnvOpenOptions, RoTxn, WithTls, types::Bytes};

use crate::peer::{Edit, Opening, Outcome, Peer, Reader, Row, join, number, split};

/// The most a file can grow to, in bytes.
const MAP_BYTES: usize = 64 << 30;

pub(crate) struct Lmdb {
    env: Env<WithTls>,
    by_id: Database<Bytes, Bytes>,
    by_seq: Database<Bytes, Bytes>,
    seq: u64,
    folder: PathBuf,
}

pub(crate) fn open(opening: Opening<'_>) -> Outcome<Box<dyn Peer>> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_dbs(2);
    // SAFETY: the folder belongs to this run, nobody else changes the file under the map.
    let env = unsafe { options.open(opening.folder) }?;
    let mut transaction = env.write_txn()?;
    let by_id = env.create_database(&mut transaction, Some("by_id"))?;
    let by_seq: Database<Bytes, Bytes> = env.create_database(&mut transaction, Some("by_seq"))?;
    let seq = by_seq.last(&transaction)?.map_or(Ok(0), |(seq, _)| number(seq))?;
    transaction.commit()?;
    Ok(Box::new(Lmdb { env, by_id, by_seq, seq, folder: opening.folder.to_owned() }))
}

impl Peer for Lmdb {
    fn write(&mut self, edits: Vec<Edit>) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        for Edit { id, body } in &edits {
            self.seq += 1;
            let old = self.by_id.get(&transaction, id)?.map(|old| split(old).map(|(seq, _)| seq));
            if let Some(old) = old.transpose()? {
                self.by_seq.delete(&mut transaction, &old.to_be_bytes())?;
            }
            self.by_id.put(&mut transaction, id, &join(self.seq, body))?;
            self.by_seq.put(&mut transaction, &self.seq.to_be_bytes(), id)?;
        }
        Ok(transaction.commit()?)
    }

    fn reader(&self) -> Outcome<Box<dyn Reader + '_>> {
        let transaction = self.env.read_txn()?;
        Ok(Box::new(View { transaction, by_id: self.by_id, by_seq: self.by_seq }))
    }

    /// Leaves the copy under the name that is found when the store is next opened; until then this one
    /// reads the old file.
    fn compact(&mut self) -> Outcome<bool> {
        let copy = self.folder.join("copy");
        self.env.copy_to_path(&copy, CompactionOption::Enabled)?.sync_all()?;
        fs::rename(copy, self.folder.join("data.mdb"))?;
        Ok(true)
    }
}

struct View<'e> {
    transaction: RoTxn<'e, WithTls>,
    by_id: Database<Bytes, Bytes>,
    by_seq: Database<Bytes, Bytes>,
}

impl Reader for View<'_> {
    fn get(&mut self, id: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let Some(value) = self.by_id.get(&self.transaction, id)? else { return Ok(false) };
        found(split(value)?.1);
        Ok(true)
    }

    fn by_id(&mut self, row: Row<'_>) -> Outcome<()> {
        for entry in self.by_id.iter(&self.transaction)? {
            let (id, value) = entry?;
            let (seq, body) = split(value)?;
            row(id, seq, body);
        }
        Ok(())
    }

    fn by_seq(&mut self, row: Row<'_>) -> Outcome<()> {
        for entry in self.by_seq.iter(&self.transaction)? {
            let (seq, id) = entry?;
            row(id, number(seq)?, b"");
        }
        Ok(())
    }
}
