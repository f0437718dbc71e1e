//! Bytes: the file format, the B+trees, commits, recovery, and the [`Store`] that the engine is built on.
//!
//! This crate knows nothing of JSON, revisions or HTTP. Keys and values are bytes; what they mean is
//! the engine's business. One [`Store`] is one database.
//!
//! * [`store`]: the traits [`Store`], [`Snapshot`] and [`Transaction`], and what passes through them
//! * [`compaction`]: what a store that is compacted needs to be told
//! * [`disk`]: all file access, so that the same code runs on a real disk, in memory and on a
//!   simulated disk that fails
//! * [`tree`]: immutable nodes and the copy-on-write B+tree over them
//! * [`sort`]: sorting more than memory holds
//! * [`mod@file`]: the store in one append-only file
//! * [`index`]: files of trees that are made from a database and can be made anew
//! * [`model`]: the same in plain maps, to compare against

mod codec;
pub mod compaction;
pub mod disk;
pub mod error;
pub mod file;
pub mod index;
pub mod model;
pub mod sort;
pub mod store;
pub mod tree;

pub use compaction::{
    Compacted, Compaction, Copier, Keyspace, NewDocument, OldDocument, Phase, Progress, Watch,
};
pub use error::{Error, Result};
pub use file::{FileStore, Options, ReadBy, Recovery, offline};
pub use store::{
    BlobRef, Change, ChangeCursor, Counts, Direction, DocCursor, DocRow, DocWeight, Done, Edit,
    KeyRange, Leader, LocalCursor, Receipt, Seq, Snapshot, StagedStream, Store, StreamRef,
    StreamWriter, Transaction, Value, share, update,
};
