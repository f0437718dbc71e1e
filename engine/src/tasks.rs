//! Work in the background that takes long: what runs, how far it is, and how to end it.
//!
//! Compactions, index builds and replications list themselves here while they run. What their members
//! mean stands with those who write them; here is only the list.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use serde_json::{Map, Value};

/// The tasks that run now.
///
/// ```
/// use settee_engine::tasks::Tasks;
/// use serde_json::json;
///
/// let tasks = std::sync::Arc::new(Tasks::default());
/// let task = tasks.begin("database_compaction", [("database", json!("notes"))]);
/// task.set([("changes_done", json!(50)), ("progress", json!(50))]);
/// assert_eq!(tasks.list()[0].members["progress"], 50);
/// drop(task);
/// assert!(tasks.list().is_empty());
/// ```
#[derive(Default)]
pub struct Tasks {
    next: AtomicU64,
    running: Mutex<BTreeMap<u64, Arc<Running>>>,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("running", &self.running.lock().len()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Running {
    kind: &'static str,
    started: u64,
    cancelled: AtomicBool,
    state: Mutex<TaskState>,
}

#[derive(Debug)]
struct TaskState {
    updated: u64,
    members: Map<String, Value>,
}

/// One task as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskInfo {
    /// Tells it from every other task of this process.
    pub number: u64,
    /// What it does, as CouchDB calls it: `database_compaction`, `indexer`, `replication` …
    pub kind: &'static str,
    /// When it began, in seconds since 1970.
    pub started_on: u64,
    /// When its members last changed, in seconds since 1970.
    pub updated_on: u64,
    /// What it says about itself.
    pub members: Map<String, Value>,
}

impl Tasks {
    /// Lists a task until the returned handle is dropped.
    #[must_use = "the task is listed as long as its handle lives"]
    pub fn begin<'m>(
        self: &Arc<Self>,
        kind: &'static str,
        members: impl IntoIterator<Item = (&'m str, Value)>,
    ) -> Task {
        let members = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let started = now();
        let running = Arc::new(Running {
            kind,
            started,
            cancelled: AtomicBool::new(false),
            state: Mutex::new(TaskState { updated: started, members }),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.running.lock().insert(number, Arc::clone(&running));
        Task { tasks: Arc::clone(self), number, running }
    }

    /// All tasks that run now, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<TaskInfo> {
        let running = self.running.lock();
        running.iter().map(|(number, task)| task.info(*number)).collect()
    }

    /// Asks the tasks of a kind for which `wanted` holds to end early; returns how many were asked.
    pub fn cancel(&self, kind: &str, wanted: impl Fn(&TaskInfo) -> bool) -> usize {
        let running = self.running.lock();
        let asked = running
            .iter()
            .filter(|(number, task)| task.kind == kind && wanted(&task.info(**number)))
            .map(|(_, task)| task.cancelled.store(true, Ordering::Relaxed));
        asked.count()
    }
}

impl Running {
    fn info(&self, number: u64) -> TaskInfo {
        let state = self.state.lock();
        TaskInfo {
            number,
            kind: self.kind,
            started_on: self.started,
            updated_on: state.updated,
            members: state.members.clone(),
        }
    }
}

/// A task that runs; it is listed until this is dropped.
#[derive(Debug)]
pub struct Task {
    tasks: Arc<Tasks>,
    number: u64,
    running: Arc<Running>,
}

impl Task {
    /// Replaces or adds members.
    pub fn set<'m>(&self, members: impl IntoIterator<Item = (&'m str, Value)>) {
        let mut state = self.running.state.lock();
        state.updated = now();
        for (name, value) in members {
            state.members.insert(name.to_owned(), value);
        }
    }

    /// Whether it was asked to end early. Whoever runs the task looks at this between steps.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.running.cancelled.load(Ordering::Relaxed)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.tasks.running.lock().remove(&self.number);
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tasks_come_and_go() {
        let tasks = Arc::new(Tasks::default());
        let first = tasks.begin("indexer", [("database", json!("a"))]);
        let second = tasks.begin("indexer", [("database", json!("b"))]);
        first.set([("progress", json!(1)), ("progress", json!(2))]);
        let listed = tasks.list();
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0].members["progress"], 2);
        assert_eq!(tasks.cancel("indexer", |task| task.members["database"] == "b"), 1);
        assert!(second.is_cancelled() && !first.is_cancelled());
        assert_eq!(tasks.cancel("replication", |_| true), 0);
        drop(first);
        assert_eq!(tasks.list()[0].members["database"], "b");
    }
}
