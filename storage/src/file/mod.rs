//! The store in one append-only file: [`FileStore`].
//!
//! What lives here: the file's format and everything that writes or reads it.
//!
//! * `header`, `frame`, `record`, `ops`, `delta`, `rows`, `codec`: what the bytes mean (see `FORMAT.md`)
//! * `tail`: appending and syncing; `queue`, `transaction`, `store`: the group commit
//! * `ordered`, `layer`, `head`, `state`: edits in memory over the trees; `cursor`, `snapshot`: reading them
//! * `checkpoint`: bringing the trees up to date; `scan`, `recovery`: creating and opening
//! * [`offline`]: files read, checked and copied by tools
//! * `reader`: verified bytes, by map or by `pread`; `stream`: attachments
//!
//! What must not live here: how trees work (`tree`), how files are opened (`disk`), what documents mean.

mod checkpoint;
mod codec;
mod cursor;
mod delta;
mod frame;
mod head;
mod header;
mod layer;
pub mod offline;
mod ops;
mod options;
mod ordered;
mod queue;
mod reader;
mod record;
mod recovery;
mod rows;
mod scan;
mod snapshot;
mod state;
mod store;
mod stream;
mod tail;
mod transaction;

pub use options::{Options, Recovery};
pub use reader::ReadBy;
pub use store::FileStore;
