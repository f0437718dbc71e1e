//! What can be set about a store, and what opening one reports.

use std::{path::Path, sync::Arc};

use super::{FileStore, ReadBy};
use crate::{disk::MemoryDisk, error::Result};

/// Settings of a store. None of them changes what is in the file or what is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of commits after which the trees are brought up to date. Bounds the replay after a crash.
    pub checkpoint_log_bytes: u64,
    /// Bytes of memory held by edits after which the trees are brought up to date.
    pub checkpoint_memory_bytes: u64,
    /// Most bytes of zeros written ahead of the end while small commits are being made; 0 for none.
    pub max_prepare_bytes: u64,
    /// How the file is read.
    pub read_by: ReadBy,
    /// Bytes of verified nodes kept where there is no map.
    pub cache_bytes: usize,
    /// Bytes of edits for which writers may be made to wait at the end of a compaction, when the new file
    /// takes the place of the old one. What is more is copied before, while they go on.
    pub compact_pause_bytes: u64,
    /// Threads that help the one that compacts. `None`: as many as the machine has, up to a limit, and the
    /// documents are worth. `Some(0)`: none, so that a compaction does the same in the same order each time.
    pub compact_helpers: Option<usize>,
    /// The salt and creation id of a new file, for runs that must be reproducible. `None`: random.
    pub identity: Option<[u8; 32]>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            checkpoint_log_bytes: 16 * 1024 * 1024,
            checkpoint_memory_bytes: 16 * 1024 * 1024,
            max_prepare_bytes: 16 * 1024 * 1024,
            read_by: ReadBy::Auto,
            cache_bytes: 4 * 1024 * 1024,
            compact_pause_bytes: 1024 * 1024,
            compact_helpers: None,
            identity: None,
        }
    }
}

/// What opening found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Commits after the last checkpoint, whose edits were read back.
    pub commits_replayed: u64,
    /// Bytes of these commits.
    pub bytes_replayed: u64,
    /// Bytes of a torn tail, or of streams nobody refers to, that were cut off. Nothing in them was
    /// acknowledged.
    pub bytes_cut: u64,
    /// Bytes of space prepared ahead that were cut off.
    pub zeros_cut: u64,
}

impl FileStore {
    /// A store in memory: the same code over a disk that lives as long as the store.
    ///
    /// # Errors
    /// Those of [`FileStore::create`]; in practice none.
    pub fn in_memory(options: Options) -> Result<Arc<Self>> {
        FileStore::create(Arc::new(MemoryDisk::new()), Path::new("memory"), options)
    }
}
