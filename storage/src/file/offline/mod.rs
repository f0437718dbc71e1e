//! Database files as they lie on the disk, for tools: reading them beside a running server, checking
//! them, printing them, copying them.
//!
//! What lives here never writes to a database file, takes no lock and syncs nothing. A file that a server
//! appends to is read as of the last commit found when it was opened: frames that are half written are
//! not seen, and what is appended later is not looked at. A file that compaction replaces by renaming
//! stays readable through its open descriptor. Memory maps are not used: a server whose disk fails may
//! cut the file behind what it acknowledged, which turns a map into a trap and a `pread` into an error.
//!
//! * `read_only`: a file as a store that refuses edits
//! * `frames`: walking over all frames, also past damaged ones
//! * `raw`: every record with its offset and fields, as `FORMAT.md` describes them
//! * `inspect`: what is in a file, in numbers
//! * `verify`: whether every bit of it is as it was written; `resolve`: what values refer to
//! * `backup`: copying
//!
//! What must not live here: what the engine's values mean (see [`Content`]), how a report looks.

mod backup;
mod frames;
mod inspect;
mod raw;
mod read_only;
mod resolve;
mod verify;

pub use backup::backup;
pub use inspect::{Inspection, KindSpace, TreeReport, inspect};
pub use raw::{Field, Record, records};
pub use read_only::{FileEnd, ReadOnlyFile};
pub use resolve::{Content, OpaqueContent, Resolver};
pub use verify::{Damage, Verification, verify};

/// Told now and then how far the work is, in bytes: done, and of how many. The total may grow on the way.
pub type Progress<'p> = &'p mut dyn FnMut(u64, u64);
