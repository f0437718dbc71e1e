//! The store in one append-only file: [`FileStore`].
//!
//! What lives here: the file's format and everything that writes or reads it.
//!
//! * `header`, `frame`, `record`, `ops`, `delta`, `rows`: what the bytes mean (see `FORMAT.md`)
//! * `generation`: one file with all that is known about it; `compact`: how the next one comes about
//! * `tail`: appending and syncing; `queue`, `transaction`, `store`: the group commit
//! * `ordered`, `layer`, `head`, `state`: edits in memory over the trees; `cursor`, `snapshot`: reading them
//! * `checkpoint`: bringing the trees up to date; `scan`, `recovery`: creating and opening
//! * [`offline`]: files read, checked and copied by tools
//! * `reader`: verified bytes, by map or by `pread`; `stream`, `staging`: attachments
//!
//! What must not live here: how trees work (`tree`), how files are opened (`disk`), what documents mean.

mod checkpoint;
mod compact;
mod cursor;
mod delta;
pub(crate) mod frame;
mod generation;
mod head;
pub(crate) mod header;
mod layer;
pub mod offline;
mod ops;
mod options;
mod ordered;
mod queue;
pub(crate) mod reader;
mod record;
mod recovery;
mod rows;
pub(crate) mod scan;
mod snapshot;
mod staging;
mod state;
mod store;
mod stream;
mod tail;
mod transaction;

use crate::codec;

pub use options::{Options, Recovery};
pub use reader::ReadBy;
pub use store::FileStore;
