//! Attachments: digests, compression and, on top of them, staging and reading.
//!
//! * [`digest`]: the MD5 that names an attachment's stored bytes
//! * [`gzip`]: compression with the bytes CouchDB produces, since the digest is taken over them
//! * `settings`: what is compressed, and limits
//! * `stage`: bytes on their way into the store, ahead of the document
//! * `read`: bytes on their way out

pub mod digest;
pub mod gzip;
mod read;
mod settings;
mod stage;

pub use read::{AttachmentReader, FoundAttachment};
pub use settings::{AttachmentSettings, DEFAULT_MAX_ATTACHMENT_BYTES};
pub use stage::{AttachmentWriter, StageOptions};

use std::sync::Arc;

use settee_storage::StagedStream;

use crate::document::Encoding;

/// An attachment whose bytes are in the store, waiting for the document that will refer to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedAttachment {
    /// MD5 of the stored bytes.
    pub digest: [u8; 16],
    /// How the bytes are stored.
    pub encoding: Encoding,
    /// Length of the stored bytes.
    pub stored_len: u64,
    /// Length of the bytes when decoded.
    pub identity_len: u64,
    /// Where the stored bytes are.
    pub place: StagedPlace,
}

/// Where the bytes of a staged attachment are. Both survive a compaction of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StagedPlace {
    /// Here: they are few, and will be written with the document.
    Memory(Arc<[u8]>),
    /// In the store.
    Stream(StagedStream),
}
