//! Databases that wait to be compacted, and the threads that do it.
//!
//! There is no thread as long as nothing waits. Databases wait by name, so that a long queue keeps none of
//! them open; one that is gone when its turn comes is passed over.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    sync::{Arc, OnceLock},
};

use parking_lot::{Condvar, Mutex};

use crate::{
    database::Database,
    error::{Error, Result},
};

/// How many databases are compacted at once.
const MAX_RUNNING: usize = 2;
/// How many may wait.
const MAX_WAITING: usize = 100_000;

/// Opens a database by its name; `None` once the registry is gone.
type Open = Box<dyn Fn(&str) -> Option<Arc<Database>> + Send + Sync>;

/// The compactions of one folder.
#[derive(Default)]
pub(crate) struct CompactionQueue {
    open: OnceLock<Open>,
    state: Mutex<State>,
    /// Told when a thread ends.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<String>,
    /// Those that wait or run.
    listed: HashSet<String>,
    threads: usize,
    stopped: bool,
}

impl fmt::Debug for CompactionQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("CompactionQueue")
            .field("listed", &state.listed.len())
            .field("threads", &state.threads)
            .finish_non_exhaustive()
    }
}

impl CompactionQueue {
    /// Says how databases are opened. Until then, nothing is compacted.
    pub(crate) fn open_by(&self, open: Open) {
        // A registry has one queue and says it once.
        let _ = self.open.set(open);
    }

    /// Whether a database waits or is being compacted.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.state.lock().listed.contains(name)
    }

    /// Lets a database wait, unless it does already.
    pub(crate) fn request(self: &Arc<Self>, name: &str) -> Result<()> {
        let mut state = self.state.lock();
        if state.stopped || state.listed.contains(name) {
            return Ok(());
        }
        if state.waiting.len() >= MAX_WAITING {
            return Err(Error::Overloaded("too many databases wait to be compacted"));
        }
        state.listed.insert(name.to_owned());
        state.waiting.push_back(name.to_owned());
        if state.threads < MAX_RUNNING {
            let queue = Arc::clone(self);
            let thread = std::thread::Builder::new().name("settee-compact".into());
            match thread.spawn(move || queue.work()) {
                Ok(_) => state.threads += 1,
                // Another thread will come by it, or the next request starts one.
                Err(_) if state.threads > 0 => {}
                Err(_) => {
                    state.waiting.pop_back();
                    state.listed.remove(name);
                    return Err(Error::Overloaded("no thread can be started for a compaction"));
                }
            }
        }
        Ok(())
    }

    /// Compacts what waits until nothing does.
    fn work(&self) {
        while let Some(name) = self.next() {
            let database = self.open.get().and_then(|open| open(&name));
            if let Some(database) = database {
                // Who asked was answered long ago; that it failed shows in the file's size, and the next
                // request tries again.
                let _ = database.compact();
            }
            self.state.lock().listed.remove(&name);
        }
    }

    fn next(&self) -> Option<String> {
        let mut state = self.state.lock();
        let next = if state.stopped { None } else { state.waiting.pop_front() };
        if next.is_none() {
            state.threads -= 1;
            self.ended.notify_all();
        }
        next
    }

    /// Begins no further compaction. Those under way end when their databases are closed.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        state.waiting.clear();
    }

    /// Waits for the threads, after [`CompactionQueue::stop`].
    pub(crate) fn join(&self) {
        let mut state = self.state.lock();
        while state.threads > 0 {
            self.ended.wait(&mut state);
        }
    }
}
