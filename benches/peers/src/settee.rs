//! Our own store. Bodies are blobs, as the engine stores them; the by-id entry holds the reference.

use std::{path::PathBuf, sync::Arc};

use settee_storage::{
    BlobRef, Compaction, Copier, Direction, DocWeight, Error, FileStore, KeyRange, NewDocument,
    OldDocument, Options, Result, Snapshot, Store, disk::RealDisk, update,
};

use crate::peer::{Edit, Opening, Outcome, Peer, Reader, Row};

pub(crate) struct Settee {
    store: Arc<dyn Store>,
}

pub(crate) fn open(opening: Opening<'_>) -> Outcome<Box<dyn Peer>> {
    let path: PathBuf = opening.folder.join("documents.settee");
    let options = Options { cache_bytes: opening.cache_bytes, ..Options::default() };
    let store: Arc<dyn Store> = if path.exists() {
        FileStore::open(Arc::new(RealDisk), &path, options)?
    } else {
        FileStore::create(Arc::new(RealDisk), &path, options)?
    };
    Ok(Box::new(Settee { store }))
}

impl Peer for Settee {
    fn write(&mut self, edits: Vec<Edit>) -> Outcome<()> {
        Ok(update(&self.store, move |transaction| {
            for Edit { id, body } in &edits {
                let at = transaction.put_blob(body)?.to_bytes();
                let bytes = body.len() as u64;
                let weight =
                    DocWeight { deleted: false, active_bytes: bytes, external_bytes: bytes };
                transaction.put_doc(id, weight, &at, b"")?;
            }
            Ok(())
        })?)
    }

    fn reader(&self) -> Outcome<Box<dyn Reader + '_>> {
        Ok(Box::new(View(self.store.snapshot()?)))
    }

    fn settle(&mut self) -> Outcome<()> {
        Ok(self.store.checkpoint()?)
    }

    fn compact(&mut self) -> Outcome<bool> {
        self.store.compact(&mut Copies, &|_| true)?;
        Ok(true)
    }
}

impl Drop for Settee {
    fn drop(&mut self) {
        self.store.close();
    }
}

/// Copies the body of each document.
struct Copies;

impl Compaction for Copies {
    fn another(&self) -> Box<dyn Compaction + '_> {
        Box::new(Copies)
    }

    fn document(&mut self, old: OldDocument<'_>, copier: &mut dyn Copier) -> Result<NewDocument> {
        let wrong = Error::Invalid { what: "a value that is no reference" };
        let at = BlobRef::from_bytes(old.by_id).ok_or(wrong)?;
        let by_id = copier.blob(at)?.to_bytes().to_vec();
        Ok(NewDocument { weight: old.weight, by_id, by_seq: old.by_seq.to_vec() })
    }
}

struct View(Arc<dyn Snapshot>);

fn reference(value: &[u8]) -> Outcome<BlobRef> {
    Ok(BlobRef::from_bytes(value).ok_or("a value that is no reference")?)
}

impl Reader for View {
    fn get(&mut self, id: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let Some(entry) = self.0.doc(id)? else { return Ok(false) };
        found(&self.0.blob(reference(&entry.value)?)?);
        Ok(true)
    }

    fn by_id(&mut self, row: Row<'_>) -> Outcome<()> {
        let mut docs = self.0.docs(&KeyRange::all(), Direction::Forward, true)?;
        while let Some(doc) = docs.next()? {
            row(doc.id, doc.seq, &self.0.blob(reference(doc.value)?)?);
        }
        Ok(())
    }

    fn by_seq(&mut self, row: Row<'_>) -> Outcome<()> {
        let mut changes = self.0.changes(0, Direction::Forward)?;
        while let Some(change) = changes.next()? {
            row(change.id, change.seq, b"");
        }
        Ok(())
    }
}
