//! Noticing that a file has grown so much that compacting it might pay: one comparison for each commit.

use std::sync::atomic::{AtomicU64, Ordering};

use settee_storage::{Compacted, Snapshot, Store};

use super::channel::Measure;

/// A file is looked at again when it has grown by this part.
const GROWTH_PART: u64 = 16;
/// Or by so many bytes, if that is more.
const MIN_GROWTH_BYTES: u64 = 256 * 1024;

/// Bytes a file must have before it is looked at again.
#[derive(Debug, Default)]
pub(crate) struct NextLook(AtomicU64);

impl NextLook {
    /// Whether a file of so many bytes is to be looked at now; then it is not for a while.
    pub(crate) fn is_due(&self, file: u64) -> bool {
        let is_due = file >= self.0.load(Ordering::Relaxed);
        if is_due {
            self.wait_for_growth(file);
        }
        is_due
    }

    /// Lets a file of so many bytes grow first.
    pub(crate) fn wait_for_growth(&self, file: u64) {
        let growth = (file / GROWTH_PART).max(MIN_GROWTH_BYTES);
        self.0.store(file.saturating_add(growth), Ordering::Relaxed);
    }
}

/// What is known of one database's file.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    next_look: NextLook,
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
        if !self.next_look.is_due(file) {
            return None;
        }
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
        self.next_look.wait_for_growth(compacted.bytes_after);
    }
}
