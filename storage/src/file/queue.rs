//! Who serves the waiting edits: combining, without a thread of its own.
//!
//! The first edit to arrive finds nobody leading, and its caller becomes the leader. A leader commits
//! group after group until nobody waits. So that a caller of the blocking API does not serve others for
//! ever, a leader that has done its share *asks for relief*: the next edit to arrive gets the duty, and
//! when that caller has actually come to serve, the old leader goes. Until then the old one goes on, so
//! waiting edits always have somebody.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use crate::store::{Done, Edit};

/// An edit and whom to tell.
pub(super) struct Waiting {
    pub(super) edit: Edit,
    pub(super) done: Done,
}

/// The duty that a caller got with its edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Nobody led: lead.
    Lead,
    /// Somebody leads and wants to go: take over.
    Relieve,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Relief {
    #[default]
    NotWanted,
    /// The leader wants to go; the next edit brings relief.
    Wanted,
    /// The duty was given out.
    Coming,
    /// The relief waits for the leader to finish its group.
    Here,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Waiting>,
    leading: bool,
    relief: Relief,
}

/// The edits that wait, and the leadership.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    left: Condvar,
}

impl Queue {
    /// Lets an edit wait; the caller may get a duty.
    pub(super) fn push(&self, waiting: Waiting) -> Option<Duty> {
        let mut state = self.state.lock();
        state.waiting.push_back(waiting);
        if !state.leading {
            state.leading = true;
            Some(Duty::Lead)
        } else if state.relief == Relief::Wanted {
            state.relief = Relief::Coming;
            Some(Duty::Relieve)
        } else {
            None
        }
    }

    /// The edit that has waited longest.
    pub(super) fn pop(&self) -> Option<Waiting> {
        self.state.lock().waiting.pop_front()
    }

    /// Begins a duty; for a relief, waits until the old leader has left.
    pub(super) fn begin(&self, duty: Duty) {
        if duty == Duty::Lead {
            return;
        }
        let mut state = self.state.lock();
        while state.leading {
            state.relief = Relief::Here;
            self.left.wait(&mut state);
        }
        state.leading = true;
        state.relief = Relief::NotWanted;
    }

    /// Between two groups: whether the leader goes on. `tired` says that it would rather not.
    pub(super) fn go_on(&self, tired: bool) -> bool {
        let mut state = self.state.lock();
        if state.relief == Relief::Here || state.waiting.is_empty() {
            state.leading = false;
            if state.relief == Relief::Wanted {
                state.relief = Relief::NotWanted;
            }
            self.left.notify_one();
            return false;
        }
        if tired && state.relief == Relief::NotWanted {
            state.relief = Relief::Wanted;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> Waiting {
        Waiting { edit: Box::new(|_| Ok(true)), done: Box::new(|_| {}) }
    }

    #[test]
    fn the_first_leads_and_the_queue_never_lacks_a_leader() {
        let queue = Queue::default();
        assert_eq!(queue.push(waiting()), Some(Duty::Lead));
        assert_eq!(queue.push(waiting()), None);
        queue.pop();
        // Tired, but nobody has come yet: it goes on.
        assert!(queue.go_on(true));
        assert_eq!(queue.push(waiting()), Some(Duty::Relieve));
        assert_eq!(queue.push(waiting()), None);
        assert!(queue.go_on(true));
        std::thread::scope(|scope| {
            let relief = scope.spawn(|| queue.begin(Duty::Relieve));
            while queue.go_on(true) {
                std::thread::yield_now();
            }
            relief.join().unwrap();
        });
        // The relief leads now.
        assert_eq!(queue.push(waiting()), None);
        while queue.pop().is_some() {}
        assert!(!queue.go_on(false));
        assert_eq!(queue.push(waiting()), Some(Duty::Lead));
    }

    #[test]
    fn a_relief_that_comes_late_leads_if_nobody_does() {
        let queue = Queue::default();
        assert_eq!(queue.push(waiting()), Some(Duty::Lead));
        assert!(queue.go_on(true));
        assert_eq!(queue.push(waiting()), Some(Duty::Relieve));
        while queue.pop().is_some() {}
        assert!(!queue.go_on(true));
        queue.begin(Duty::Relieve);
        assert_eq!(queue.push(waiting()), None);
    }
}
