//! Keeping indexes up to date while nobody asks, so that those who ask later need not wait.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Weak, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::database::Database;

/// How long after a commit indexes are brought up to date: what is written meanwhile is taken over with it.
const DELAY: Duration = Duration::from_millis(500);

/// Databases whose indexes are behind, in the order of their commits. One thread looks after all of them, and
/// there is none while there is nothing to do.
#[derive(Default)]
pub(crate) struct Background {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Instant, Weak<Database>)>,
    running: bool,
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Background {{ waiting: {} }}", self.state.lock().waiting.len())
    }
}

impl Background {
    /// Says that a database was written to. It is listed at most once.
    pub(crate) fn touched(self: &Arc<Self>, database: &Arc<Database>) {
        let views = &database.views;
        if !views.has_designs.load(Ordering::Relaxed)
            || !database.shared.view_settings().background
            || views.behind.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let mut state = self.state.lock();
        state.waiting.push_back((Instant::now() + DELAY, Arc::downgrade(database)));
        if state.running {
            return;
        }
        let background = Arc::clone(self);
        let spawned =
            thread::Builder::new().name("settee-views".into()).spawn(move || background.run());
        // Without a thread, indexes are brought up to date when they are read.
        state.running = spawned.is_ok();
    }

    fn run(&self) {
        loop {
            let (due, database) = {
                let mut state = self.state.lock();
                match state.waiting.pop_front() {
                    Some(next) => next,
                    None => {
                        state.running = false;
                        return;
                    }
                }
            };
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if let Some(database) = database.upgrade() {
                database.views.behind.store(false, Ordering::Relaxed);
                database.update_all_views();
            }
        }
    }
}

impl Database {
    /// Begins to bring the indexes of all design documents up to date, except those that do not want it.
    fn update_all_views(self: &Arc<Self>) {
        if !self.shared.view_settings().background {
            return;
        }
        // What goes wrong here is found by the next who reads the view.
        let Ok(ids) = self.design_ids() else { return };
        for id in ids {
            let Ok(group) = self.view_group(&id) else { continue };
            if group.autoupdate && !group.indexes.is_empty() {
                self.update_views(&group, Box::new(|_| ()));
            }
        }
    }
}
