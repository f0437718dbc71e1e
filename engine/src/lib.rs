//! Meaning: documents, revisions, attachments, changes and queries on top of a
//! [`settee_storage::Store`].
//!
//! The crate is synchronous, needs no async runtime and knows nothing of HTTP. (What the feature
//! `replication` adds talks to other servers, so it brings both along, and nothing else uses them.) Its
//! errors are [`Error`], one variant for each answer of CouchDB's.
//!
//! * [`document`], [`revision`], [`revtree`]: what a document is and how its revisions are related
//! * [`json`]: the one JSON of the workspace, reading and writing exactly as CouchDB does
//! * [`databases`], [`database`]: the databases of a folder, and one of them
//! * [`read`], [`all_docs`], [`changes`]: what a snapshot shows; `write`: what becomes of a write
//! * [`attachment`]: digests and compression, staging and reading
//! * [`view`]: map/reduce views and their indexes
//! * [`sequence`], [`notify`]: update sequences as clients see them, and waiting for the next
//! * `replication`: keeping two databases in step (feature `replication`)
//! * [`offline`]: database files without a server: reading, checking, dumping, loading
//! * [`collation`], [`find`]: order of strings, and selectors
//! * [`design`], [`javascript`]: design documents, and how their functions run
//! * [`caller`]: who asks; [`tasks`]: what runs in the background; [`events`]: what happens to databases
//! * [`compaction`]: what is kept when a database is compacted, and when that is done
//! * [`name`]: which names databases, documents and attachments may have; [`date`]: how times are written

pub mod all_docs;
pub mod attachment;
pub mod caller;
pub mod changes;
mod codec;
pub mod collation;
pub mod compaction;
pub mod database;
pub mod databases;
pub mod date;
pub mod design;
pub mod document;
pub mod error;
pub mod events;
pub mod find;
mod hooks;
pub mod javascript;
pub mod json;
#[cfg(feature = "replication")]
pub mod multipart;
pub mod name;
pub mod notify;
pub mod offline;
mod partition;
pub mod read;
#[cfg(feature = "replication")]
pub mod replication;
pub mod revision;
pub mod revtree;
mod securities;
pub mod sequence;
mod shared;
mod stores;
pub mod tasks;
pub mod view;
pub mod write;

pub use all_docs::{AllDocsHead, AllDocsQuery, DocKey, Namespace, RowSink, Selection};
pub use attachment::{
    AttachmentReader, AttachmentSettings, AttachmentWriter, FoundAttachment, StageOptions,
    StagedAttachment,
};
pub use caller::Caller;
pub use changes::{ChangeRow, ChangeSink, ChangesEnd, ChangesFilter, ChangesQuery, Style};
pub use database::{
    AttachmentForm, Database, GetOptions, Info, PartitionInfo, Props, PurgeRequest, ShowOptions,
    Sizes, Subscription,
};
pub use databases::{Databases, NameRange, Options};
pub use design::DesignDocument;
pub use document::Document;
pub use error::{Error, Result};
pub use events::Event;
pub use notify::Wake;
pub use read::{FoundDocument, OpenRevs, ReadHook, Reader, Redaction, RevsDiff, RevsRequest};
pub use revision::{Rev, RevId};
pub use revtree::RevTree;
pub use sequence::Since;
pub use settee_storage::Seq;
pub use write::{PendingWrite, WriteDone, WriteHook, WriteMode, WriteResults};
