//! What can go wrong below the engine.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the store. None of them leaves a half-made change behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was attempted, as a verb ("read", "sync").
        operation: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The disk is full. Reads go on; the write was not made and may be tried again.
    #[error("no space left on the disk of {}: free some space and try again", path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// Bytes that were durable are not what was written. Nothing from the damaged place is served.
    #[error("{} is damaged at byte {offset}: {what}; restore it from a backup or a replica", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// What did not match.
        what: &'static str,
    },
    /// The file is of a kind or version this build does not read.
    #[error("{} cannot be opened: {what}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is unknown about it.
        what: String,
    },
    /// An earlier write or sync failed, so the state of the file is uncertain until it is opened anew.
    #[error("{} is closed for writing after a failed write: open it again", path.display())]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
    /// Another process holds the file.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file was opened to be read.
    #[error("{} was opened for reading only", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// No such database file.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// A database file of this name is already there.
    #[error("{} exists already", path.display())]
    AlreadyExists {
        /// The file.
        path: PathBuf,
    },
    /// A compaction was asked for while one runs.
    #[error("{} is being compacted already", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A compaction would not fit on the disk, so it was not begun.
    #[error(
        "compacting {} takes up to {needed} bytes of free space and the disk has {free}: free some space and try again",
        path.display()
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// Bytes that might be needed beside the old file.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A task was ended before it was done, as it was asked to be. Nothing was changed.
    #[error("the task was cancelled")]
    Cancelled,
    /// The store was closed or deleted while in use.
    #[error("the database was closed")]
    Closed,
    /// What was handed to the store is not of the form it asks for: keys out of order, a value its
    /// index cannot sum.
    #[error("cannot store this: {what}")]
    Invalid {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A key, value or batch beyond a limit of the format.
    #[error("{what} of {size} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

/// The error for a failed operation on a file: a disk that is full is told apart from one that fails.
pub(crate) fn io_error(operation: &'static str, path: &Path, source: io::Error) -> Error {
    let path = path.to_path_buf();
    if is_full(&source) { Error::Full { path } } else { Error::Io { operation, path, source } }
}

/// Whether an error says that there is no room, as opposed to a failure of the disk.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
