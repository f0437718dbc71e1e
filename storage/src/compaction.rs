//! What passes between a store that is being compacted and the one who knows what its values mean.
//!
//! A store copies what is live into a new file. Values hold references ([`BlobRef`], [`StreamRef`]) that
//! are opaque to it, so the caller of [`Store::compact`](crate::Store::compact) brings a [`Compaction`]:
//! it makes each document's new values, and hands every reference they keep to a [`Copier`], which
//! copies what is there and returns the reference to the copy.

use crate::{
    error::Result,
    store::{BlobRef, DocWeight, Seq, StreamRef},
};

/// A document as the old file has it.
#[derive(Clone, Copy, Debug)]
pub struct OldDocument<'d> {
    /// Document id.
    pub id: &'d [u8],
    /// Sequence of its latest change.
    pub seq: Seq,
    /// What it adds to the counts.
    pub weight: DocWeight,
    /// What the engine stored in the by-id index.
    pub by_id: &'d [u8],
    /// What the engine stored in the by-seq index.
    pub by_seq: &'d [u8],
}

/// A document's values in the new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDocument {
    /// What it adds to the counts; whether it counts as deleted must not change.
    pub weight: DocWeight,
    /// Its by-id value.
    pub by_id: Vec<u8>,
    /// Its by-seq value.
    pub by_seq: Vec<u8>,
}

/// A keyspace beside the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyspace {
    /// Local documents.
    Local,
    /// What the engine keeps about the database.
    Meta,
}

/// Copies what values refer to. Within one document, what is handed over twice is copied once.
pub trait Copier {
    /// Copies a blob as it is, its checksum verified.
    fn blob(&mut self, at: BlobRef) -> Result<BlobRef>;
    /// Copies a stream chunk by chunk, each checksum verified.
    fn stream(&mut self, at: StreamRef) -> Result<StreamRef>;
    /// Copies a blob that may hold references itself: `rewrite` gets its bytes and returns those to be
    /// stored in their place, or `None` for the same.
    fn rewrite(&mut self, at: BlobRef, rewrite: Rewrite<'_>) -> Result<BlobRef>;
}

/// Makes the new bytes of a blob, `None` if they stay the same.
pub type Rewrite<'r> = &'r mut dyn FnMut(&[u8], &mut dyn Copier) -> Result<Option<Vec<u8>>>;

/// One who knows what the values of a store mean.
///
/// The store may ask for the same document several times, also with a [`Copier`] that only takes note of
/// what is handed over, so the calls must depend on the arguments alone, and must hand over the
/// references in an order that is the same for a document and its copy.
pub trait Compaction: Send {
    /// Makes a document's new values.
    ///
    /// # Errors
    /// Those of the copier; anything else ends the compaction and leaves the store as it was.
    fn document(&mut self, old: OldDocument<'_>, copier: &mut dyn Copier) -> Result<NewDocument>;

    /// Makes the new value of a local or meta key; `None` leaves it out. Copies it unless the engine keeps
    /// references there, or what the new file has no use for.
    ///
    /// # Errors
    /// As [`Compaction::document`].
    fn key(
        &mut self,
        _keyspace: Keyspace,
        _key: &[u8],
        value: &[u8],
        _copier: &mut dyn Copier,
    ) -> Result<Option<Vec<u8>>> {
        Ok(Some(value.to_vec()))
    }

    /// Another one that does the same, for another thread. What ends the compaction there is known here.
    fn another(&self) -> Box<dyn Compaction + '_>;
}

/// Hears how far a compaction is, every few hundred documents and between the chunks of a long stream, but
/// never while the writers of the store wait. It is asked on the thread that called the compaction only.
/// `false` ends the compaction with [`Error::Cancelled`](crate::Error::Cancelled).
pub type Watch<'w> = &'w dyn Fn(Progress) -> bool;

/// What a compaction is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Copying documents in the order of their changes.
    Documents,
    /// Building the index by sequence.
    BySequence,
    /// Building the index by id from sorted runs.
    ById,
    /// Copying local documents and metadata.
    Keys,
    /// Bringing over what was written meanwhile.
    CatchUp,
}

/// How far a compaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Changes copied so far, those of the catch-up included; while an index is built, its rows so far.
    pub done: u64,
    /// How many there will be, as far as is known.
    pub total: u64,
}

/// What a compaction came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of the file before.
    pub bytes_before: u64,
    /// Bytes of the file after.
    pub bytes_after: u64,
    /// Changes copied, those of the catch-up included.
    pub changes: u64,
    /// Rounds of catching up, the last one under the writer's lock included.
    pub rounds: u32,
}
