//! Noticing that a file has grown so much that compacting it might pay: one comparison for each commit.

use std::sync::atomic::{AtomicU64, Ordering};

use settee_storage::{Compacted, Snapshot, Store};

use super::channel::Measure;

/// A file is looked at again when it has grown by this part.
const GROWTH_PART: u64 = 16;
/// Or by so many bytes, if that is more.
const MIN_GROWTH_BYTES: u64 = 256 * 1024;

/// What is known of one database's file.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    /// Bytes the file must have before it is looked at again.
    next_look: AtomicU64,
    /// Bytes that were in use after the last compaction though no document has them: inner nodes, local
    /// documents. 0 before the first one.
    overhead: AtomicU64,
    /// Sequence of the last compaction, 0 before the first one.
    compacted: AtomicU64,
}

impl Gauge {
    /// Looks at a file, if it is time to.
    pub(crate) fn look(&self, store: &dyn Store) -> Option<Measure> {
        let file = store.sizes().file_bytes;
        if file < self.next_look.load(Ordering::Relaxed) {
            return None;
        }
        self.wait_for_growth(file);
        let snapshot = store.snapshot().ok()?;
        let overhead = self.overhead.load(Ordering::Relaxed);
        let active = snapshot.counts().active_bytes.saturating_add(overhead);
        let changes = snapshot.seq().saturating_sub(self.compacted.load(Ordering::Relaxed));
        Some(Measure { file, active, changes })
    }

    /// Takes note of a compaction.
    pub(crate) fn compacted(&self, compacted: Compacted, snapshot: &dyn Snapshot) {
        let overhead = compacted.bytes_after.saturating_sub(snapshot.counts().active_bytes);
        self.overhead.store(overhead, Ordering::Relaxed);
        self.compacted.store(snapshot.seq(), Ordering::Relaxed);
        self.wait_for_growth(compacted.bytes_after);
    }

    fn wait_for_growth(&self, file: u64) {
        let growth = (file / GROWTH_PART).max(MIN_GROWTH_BYTES);
        self.next_look.store(file.saturating_add(growth), Ordering::Relaxed);
    }
}
