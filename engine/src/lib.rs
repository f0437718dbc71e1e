//! Meaning: documents, revisions, attachments, changes and queries on top of a
//! [`settee_storage::Store`].
//!
//! The crate is synchronous, needs no async runtime and knows nothing of HTTP. Its errors are
//! [`Error`], one variant for each answer of CouchDB's.
//!
//! * [`document`], [`revision`], [`revtree`]: what a document is and how its revisions are related
//! * [`json`]: the one JSON of the workspace, reading and writing exactly as CouchDB does
//! * [`attachment`]: digests and compression
//! * [`collation`], [`find`]: order of strings, and selectors
//! * [`name`]: which names databases, documents and attachments may have

pub mod attachment;
mod codec;
pub mod collation;
pub mod document;
pub mod error;
pub mod find;
pub mod json;
pub mod name;
pub mod revision;
pub mod revtree;

pub use document::Document;
pub use error::{Error, Result};
pub use revision::{Rev, RevId};
pub use revtree::RevTree;
