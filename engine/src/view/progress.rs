//! How far the change of an index is, and whether it is to go on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use serde_json::json;

use crate::{
    error::{Error, Result},
    tasks::Task,
};

/// Documents between two changes of what `_active_tasks` shows.
const SHOW_EVERY: u64 = 2_000;

/// See the module.
pub(crate) struct Progress {
    task: Option<Task>,
    done: AtomicU64,
    total: u64,
    /// Set when the database is closed.
    closed: Arc<AtomicBool>,
}

impl Progress {
    /// Of `total` documents; shown by `task`.
    pub(crate) fn new(task: Option<Task>, total: u64, closed: Arc<AtomicBool>) -> Self {
        Progress { task, done: AtomicU64::new(0), total, closed }
    }

    /// So many more documents are done.
    pub(crate) fn add(&self, documents: u64) {
        let before = self.done.fetch_add(documents, Ordering::Relaxed);
        let now = before.saturating_add(documents);
        if before / SHOW_EVERY == now / SHOW_EVERY {
            return;
        }
        if let Some(task) = &self.task {
            let percent = now.min(self.total).saturating_mul(100).checked_div(self.total);
            task.set([("changes_done", json!(now)), ("progress", json!(percent.unwrap_or(0)))]);
        }
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// If the database was closed or somebody asked the task to end.
    pub(crate) fn check(&self) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(settee_storage::Error::Closed.into());
        }
        match self.task.as_ref().is_some_and(Task::is_cancelled) {
            true => Err(Error::IndexingFailed("the building of the index was cancelled".into())),
            false => Ok(()),
        }
    }
}
