//! What every store in the comparison has to do, in the terms of a document database.

use std::{error::Error, path::Path};

/// Shorthand: whatever goes wrong ends the run.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// One edit: the document's id and its new body.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) id: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening<'p> {
    /// A folder of its own.
    pub(crate) folder: &'p Path,
    /// Bytes it may cache by itself; what it leaves to the page cache of the system is not counted.
    pub(crate) cache_bytes: usize,
}

/// A store that keeps two indexes: *by-id*, from a document's id to its sequence and body, and *by-seq*,
/// from the sequence of its last change to its id.
pub(crate) trait Peer {
    /// Applies edits in one durable step: each takes the next sequence, replaces the document's by-id
    /// entry and moves its by-seq entry.
    fn write(&mut self, edits: Vec<Edit>) -> Outcome<()>;
    /// One moment, to read from.
    fn reader(&self) -> Outcome<Box<dyn Reader + '_>>;
    /// Does what the store puts off: bringing a log into the tree.
    fn settle(&mut self) -> Outcome<()> {
        Ok(())
    }
    /// Gives back space that is not used. Some write another file in the same folder and remove the first.
    /// False if the store has no such thing.
    fn compact(&mut self) -> Outcome<bool>;
}

/// Receives rows of a scan.
pub(crate) type Row<'r> = &'r mut dyn FnMut(&[u8], u64, &[u8]);

/// A snapshot.
pub(crate) trait Reader {
    /// Hands the body of a document to `found`; false if there is none.
    fn get(&mut self, id: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool>;
    /// All documents by id: id, sequence, body.
    fn by_id(&mut self, row: Row<'_>) -> Outcome<()>;
    /// All changes by sequence: id, sequence, no body.
    fn by_seq(&mut self, row: Row<'_>) -> Outcome<()>;
}

/// By-id values of the peers: the sequence, then the body.
pub(crate) fn join(seq: u64, body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(8 + body.len());
    value.extend_from_slice(&seq.to_be_bytes());
    value.extend_from_slice(body);
    value
}

/// Reads [`join`] back.
pub(crate) fn split(value: &[u8]) -> Outcome<(u64, &[u8])> {
    let (seq, body) = value.split_first_chunk().ok_or("a value without a sequence")?;
    Ok((u64::from_be_bytes(*seq), body))
}

/// Reads a key of by-seq.
pub(crate) fn number(key: &[u8]) -> Outcome<u64> {
    Ok(u64::from_be_bytes(key.try_into()?))
}
