//! What is counted of replications, under CouchDB's names.

use crate::metrics::Counter;

/// What has happened to jobs since the server started.
#[derive(Debug, Default)]
pub(crate) struct JobMetrics {
    pub(crate) adds: Counter,
    pub(crate) duplicate_adds: Counter,
    pub(crate) removes: Counter,
    pub(crate) starts: Counter,
    pub(crate) stops: Counter,
    pub(crate) crashes: Counter,
}

/// The same, and how jobs stand now.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplicatorCounts {
    /// Jobs that were added, and those that were there already.
    pub adds: u64,
    /// Jobs that were asked for although they were there.
    pub duplicate_adds: u64,
    /// Jobs that were taken away.
    pub removes: u64,
    /// Runs that began.
    pub starts: u64,
    /// Runs that were told to stop, and did.
    pub stops: u64,
    /// Runs that failed.
    pub crashes: u64,
    /// Jobs that wait for a slot,
    pub pending: u64,
    /// that run,
    pub running: u64,
    /// and that wait because they have failed.
    pub crashed: u64,
    /// Documents that were written or deleted in replicator databases,
    pub document_changes: u64,
    /// whose replication was done,
    pub completed_documents: u64,
    /// and that could not become one.
    pub failed_documents: u64,
}

impl ReplicatorCounts {
    /// All jobs there are.
    pub fn total(&self) -> u64 {
        self.pending + self.running + self.crashed
    }
}

/// What has happened to documents since the server started.
#[derive(Debug, Default)]
pub(crate) struct DocumentMetrics {
    /// Documents that were written or deleted.
    pub(crate) changes: Counter,
    pub(crate) completed: Counter,
    pub(crate) failed: Counter,
}
