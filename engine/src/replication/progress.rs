//! How far a replication is, and how it is told to stop.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    date,
    json::{Object, Value},
};

/// What has been counted since the replication began, earlier runs it continues included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Revisions that the source listed.
    pub revisions_checked: u64,
    /// Of these, the ones that the target did not have.
    pub missing_revisions_found: u64,
    /// Revisions read.
    pub docs_read: u64,
    /// Revisions written.
    pub docs_written: u64,
    /// Revisions that the target refused.
    pub doc_write_failures: u64,
    /// Revisions that came many at once.
    pub bulk_get_docs: u64,
    /// Revisions that were asked for many at once.
    pub bulk_get_attempts: u64,
}

/// A number that several tasks add to.
#[derive(Debug, Default)]
struct Counters {
    revisions_checked: AtomicU64,
    missing_revisions_found: AtomicU64,
    docs_read: AtomicU64,
    docs_written: AtomicU64,
    doc_write_failures: AtomicU64,
    bulk_get_docs: AtomicU64,
    bulk_get_attempts: AtomicU64,
}

/// Stands where the number of changes that are left is not known.
const UNKNOWN: i64 = -1;

/// How far a replication is. Shared with whoever looks at it; cheap to read.
pub struct Progress {
    counters: Counters,
    changes_pending: AtomicI64,
    sequences: Mutex<Sequences>,
    started: SystemTime,
    /// When anything last moved.
    moved: Mutex<Instant>,
}

impl Counters {
    /// Each counter with its number in `stats`.
    fn beside(&self, stats: &Stats) -> [(&AtomicU64, u64); 7] {
        [
            (&self.revisions_checked, stats.revisions_checked),
            (&self.missing_revisions_found, stats.missing_revisions_found),
            (&self.docs_read, stats.docs_read),
            (&self.docs_written, stats.docs_written),
            (&self.doc_write_failures, stats.doc_write_failures),
            (&self.bulk_get_docs, stats.bulk_get_docs),
            (&self.bulk_get_attempts, stats.bulk_get_attempts),
        ]
    }
}

/// Sequences of the source, each as the source spells it.
#[derive(Clone, Debug, Default)]
struct Sequences {
    /// Up to which a checkpoint was written.
    checkpointed: Option<Value>,
    /// Highest that was read.
    source: Option<Value>,
    /// Up to which everything is written.
    through: Option<Value>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Default for Progress {
    fn default() -> Self {
        Progress {
            counters: Counters::default(),
            changes_pending: AtomicI64::new(UNKNOWN),
            sequences: Mutex::default(),
            started: SystemTime::now(),
            moved: Mutex::new(Instant::now()),
        }
    }
}

impl Progress {
    /// What has been counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Stats {
            revisions_checked: get(&counters.revisions_checked),
            missing_revisions_found: get(&counters.missing_revisions_found),
            docs_read: get(&counters.docs_read),
            docs_written: get(&counters.docs_written),
            doc_write_failures: get(&counters.doc_write_failures),
            bulk_get_docs: get(&counters.bulk_get_docs),
            bulk_get_attempts: get(&counters.bulk_get_attempts),
        }
    }

    /// Begins with what earlier runs counted, as far as that is more.
    pub fn resume(&self, stats: &Stats) {
        for (counter, value) in self.counters.beside(stats) {
            counter.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// When this run began.
    #[must_use]
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// When anything last moved: a row, a document, a checkpoint. An idle continuous replication stands
    /// still because there is nothing to do.
    #[must_use]
    pub fn last_moved(&self) -> Instant {
        *self.moved.lock()
    }

    /// How many changes of the source are left, if known.
    #[must_use]
    pub fn changes_pending(&self) -> Option<u64> {
        u64::try_from(self.changes_pending.load(Ordering::Relaxed)).ok()
    }

    /// What `_active_tasks` and `_scheduler` show: counters and sequences.
    #[must_use]
    pub fn snapshot(&self) -> Object {
        let mut object = self.counted();
        let sequences = self.sequences.lock().clone();
        object.insert("source_seq", shown(sequences.source));
        object.insert("through_seq", shown(sequences.through));
        object
    }

    /// What is written into the document of a replication that is done (`_replication_stats`).
    #[must_use]
    pub fn final_stats(&self) -> Object {
        let mut object = self.counted();
        object.insert("start_time", date::iso8601(self.started));
        object
    }

    fn counted(&self) -> Object {
        let stats = self.stats();
        let mut object = Object::new();
        object.insert("revisions_checked", stats.revisions_checked);
        object.insert("missing_revisions_found", stats.missing_revisions_found);
        object.insert("docs_read", stats.docs_read);
        object.insert("docs_written", stats.docs_written);
        object.insert("changes_pending", self.changes_pending().map_or(Value::Null, Value::from));
        object.insert("doc_write_failures", stats.doc_write_failures);
        object.insert("bulk_get_docs", stats.bulk_get_docs);
        object.insert("bulk_get_attempts", stats.bulk_get_attempts);
        object.insert("checkpointed_source_seq", shown(self.sequences.lock().checkpointed.clone()));
        object
    }

    pub(super) fn add(&self, stats: &Stats) {
        for (counter, value) in self.counters.beside(stats) {
            counter.fetch_add(value, Ordering::Relaxed);
        }
        self.touch();
    }

    pub(super) fn touch(&self) {
        *self.moved.lock() = Instant::now();
    }

    pub(super) fn set_pending(&self, pending: Option<u64>) {
        let pending = pending.and_then(|pending| i64::try_from(pending).ok()).unwrap_or(UNKNOWN);
        self.changes_pending.store(pending, Ordering::Relaxed);
    }

    pub(super) fn set_source_seq(&self, seq: Value) {
        self.sequences.lock().source = Some(seq);
        self.touch();
    }

    pub(super) fn set_through_seq(&self, seq: Value) {
        self.sequences.lock().through = Some(seq);
    }

    pub(super) fn set_checkpointed(&self, seq: Value) {
        self.sequences.lock().checkpointed = Some(seq);
        self.touch();
    }
}

/// Sequences are shown as text; what is none becomes its JSON.
fn shown(seq: Option<Value>) -> Value {
    match seq {
        None => Value::from(0u64),
        Some(Value::String(text)) => Value::String(text),
        Some(other) => other,
    }
}

/// The handle by which a replication is stopped and looked at.
#[derive(Clone, Debug)]
pub struct Control {
    progress: Arc<Progress>,
    stop: Arc<watch::Sender<bool>>,
}

impl Default for Control {
    fn default() -> Self {
        Control { progress: Arc::default(), stop: Arc::new(watch::Sender::new(false)) }
    }
}

impl Control {
    /// A control for one run.
    #[must_use]
    pub fn new() -> Self {
        Control::default()
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Tells it to stop: it writes a last checkpoint and returns.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether it was told to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Completes when it is told to stop.
    pub async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as this handle.
        let _ = stop.wait_for(|stopped| *stopped).await;
    }
}
