//! Purging: leaf revisions removed as if they had never been, and the record of it.

use parking_lot::Mutex;
use std::sync::Arc;

use settee_storage::{Transaction, update};

use super::{
    Database,
    settings::{PURGE_SEQ, PURGES, purge_seq},
};
use crate::{
    codec::{Reader, put_bytes, put_varint},
    document::DocHead,
    error::{Error, Result},
    name::DocKind,
    revision::{Rev, RevId},
    write::Scratch,
};

/// Which leaf revisions of which document to purge, or were purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeRequest {
    /// Document id.
    pub id: String,
    /// Leaf revisions.
    pub revs: Vec<Rev>,
}

impl PurgeRequest {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, self.id.as_bytes());
        for rev in &self.revs {
            put_varint(&mut out, rev.generation);
            put_bytes(&mut out, rev.id.as_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, "purge request");
        let mut request = PurgeRequest { id: reader.text()?.to_owned(), revs: Vec::new() };
        while !reader.is_empty() {
            let generation = reader.varint()?;
            request.revs.push(Rev::new(generation, RevId::from_bytes(reader.bytes()?)));
        }
        Ok(request)
    }
}

impl Database {
    /// Removes leaf revisions together with the ancestors no other leaf needs. Answers with what was
    /// there and is gone now, in the order asked; revisions that are not leaves are passed over.
    ///
    /// # Errors
    /// Those of the store.
    pub fn purge(&self, requests: Vec<PurgeRequest>) -> Result<Vec<PurgeRequest>> {
        if requests.is_empty() {
            return Ok(requests);
        }
        let limit = self.purged_infos_limit();
        // A damaged entry is the engine's error, which has no way through the store's.
        let damaged = Arc::new(Mutex::new(None));
        let in_edit = Arc::clone(&damaged);
        let designs = requests.iter().any(|request| DocKind::of(&request.id) == DocKind::Design);
        let purged = update(&self.store, move |transaction| {
            purge(transaction, &requests, limit).map_err(|error| match error {
                Error::Storage(error) => error,
                error => {
                    *in_edit.lock() = Some(error);
                    settee_storage::Error::Closed
                }
            })
        });
        if designs {
            self.designs.changed();
        }
        match damaged.lock().take() {
            Some(error) => Err(error),
            None => Ok(purged?),
        }
    }
}

fn purge(
    transaction: &mut dyn Transaction,
    requests: &[PurgeRequest],
    limit: u64,
) -> Result<Vec<PurgeRequest>> {
    let first = transaction.seq();
    let mut number = purge_seq(transaction.meta(PURGE_SEQ)?)?;
    let mut purged = Vec::with_capacity(requests.len());
    for request in requests {
        purged.push(purge_document(transaction, request)?);
        number += 1;
        transaction.put_meta(&key(number), &request.encode())?;
        if let Some(forgotten) = number.checked_sub(limit) {
            transaction.remove_meta(&key(forgotten))?;
        }
    }
    transaction.put_meta(PURGE_SEQ, &number.to_le_bytes())?;
    if transaction.seq() == first {
        // A purge is a change even if it found nothing: indexes have to take note of it.
        transaction.bump()?;
    }
    Ok(purged)
}

fn key(number: u64) -> Vec<u8> {
    [PURGES, &number.to_be_bytes()].concat()
}

fn purge_document(
    transaction: &mut dyn Transaction,
    request: &PurgeRequest,
) -> Result<PurgeRequest> {
    let id = request.id.as_bytes();
    let nothing = PurgeRequest { id: request.id.clone(), revs: Vec::new() };
    let Some(entry) = transaction.doc(id)? else { return Ok(nothing) };
    let mut tree = DocHead::decode(&entry.value)?.tree()?;
    drop(entry);
    let revs = tree.remove_leaves(&request.revs);
    if revs.is_empty() {
        return Ok(nothing);
    }
    if tree.is_empty() {
        transaction.remove_doc(id)?;
    } else {
        // CouchDB takes a sequence for each leaf that stays.
        for _ in 1..tree.leaves().len() {
            transaction.bump()?;
        }
        Scratch::default().put_tree(transaction, &request.id, &tree)?;
    }
    Ok(PurgeRequest { id: request.id.clone(), revs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back() {
        let revs = ["1-967a00dff5e02add41819138abb3284d", "7-x"];
        let revs = revs.map(|rev| Rev::parse(rev.as_bytes()).unwrap()).to_vec();
        let request = PurgeRequest { id: "ä".into(), revs };
        let bytes = request.encode();
        assert_eq!(PurgeRequest::decode(&bytes).unwrap(), request);
        assert!(PurgeRequest::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
