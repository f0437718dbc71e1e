//! Waiting for the next change of a database: by future (standard wakers, any executor) or blocking.
//!
//! A waiter costs one map entry; nothing runs for it until a commit comes. Thousands of idle
//! continuous feeds are thousands of entries here and no thread.

use std::{
    collections::HashMap,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use settee_storage::Seq;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The database is now at this sequence.
    Changed(Seq),
    /// The database was deleted or closed.
    Closed,
}

#[derive(Debug, Default)]
struct State {
    seq: Seq,
    closed: bool,
    next_waiter: u64,
    waiters: HashMap<u64, Waker>,
}

impl State {
    fn outcome(&self, after: Seq) -> Option<Wake> {
        match self {
            State { closed: true, .. } => Some(Wake::Closed),
            State { seq, .. } if *seq > after => Some(Wake::Changed(*seq)),
            _ => None,
        }
    }
}

/// The newest sequence of one database and those who wait for a newer one.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    state: Mutex<State>,
    changed: Condvar,
}

impl Notifier {
    /// Says where a database that was just opened is. That may be behind where it was when it was closed:
    /// somebody may have put an older copy of its file into its place.
    pub(crate) fn restart(&self, seq: Seq) {
        self.wake_all(|state| state.seq = seq);
    }

    /// Tells all waiters that the database has come to `seq`.
    pub(crate) fn publish(&self, seq: Seq) {
        self.wake_all(|state| state.seq = state.seq.max(seq));
    }

    /// Ends every wait, now and later.
    pub(crate) fn close(&self) {
        self.wake_all(|state| state.closed = true);
    }

    fn wake_all(&self, change: impl FnOnce(&mut State)) {
        let waiters = {
            let mut state = self.state.lock();
            change(&mut state);
            mem::take(&mut state.waiters)
        };
        self.changed.notify_all();
        waiters.into_values().for_each(Waker::wake);
    }

    /// Completes when there is a sequence after `after`.
    pub(crate) fn changed(self: &Arc<Self>, after: Seq) -> Changed {
        Changed { notifier: Arc::clone(self), after, waiter: None }
    }

    /// Blocks until there is a sequence after `after`; `None` if that takes longer than `timeout`.
    pub(crate) fn wait(&self, after: Seq, timeout: Duration) -> Option<Wake> {
        // A timeout beyond the clock's range is none.
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.state.lock();
        loop {
            if let Some(wake) = state.outcome(after) {
                return Some(wake);
            }
            match deadline {
                Some(deadline) if self.changed.wait_until(&mut state, deadline).timed_out() => {
                    return state.outcome(after);
                }
                Some(_) => {}
                None => self.changed.wait(&mut state),
            }
        }
    }
}

/// A future that completes at the next change; made by [`Database::changed`](crate::Database::changed).
/// Dropping it takes it off the list.
#[derive(Debug)]
pub struct Changed {
    notifier: Arc<Notifier>,
    after: Seq,
    waiter: Option<u64>,
}

impl Future for Changed {
    type Output = Wake;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Wake> {
        let notifier = Arc::clone(&self.notifier);
        let mut state = notifier.state.lock();
        if let Some(wake) = state.outcome(self.after) {
            return Poll::Ready(wake);
        }
        let waiter = *self.waiter.get_or_insert_with(|| {
            state.next_waiter += 1;
            state.next_waiter
        });
        state.waiters.insert(waiter, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.notifier.state.lock().waiters.remove(&waiter);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake as TaskWake,
        thread,
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl TaskWake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn at(seq: Seq) -> Arc<Notifier> {
        let notifier = Arc::<Notifier>::default();
        notifier.restart(seq);
        notifier
    }

    #[test]
    fn a_future_completes_at_the_next_change_and_leaves_nothing_behind() {
        let notifier = at(3);
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut context = Context::from_waker(&waker);
        let mut wait = pin!(notifier.changed(3));
        assert!(wait.as_mut().poll(&mut context).is_pending());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        assert_eq!(notifier.state.lock().waiters.len(), 1, "polling twice registers once");
        notifier.publish(4);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready(Wake::Changed(4)));
        drop(notifier.changed(9));
        let mut dropped = Box::pin(notifier.changed(9));
        assert!(dropped.as_mut().poll(&mut context).is_pending());
        drop(dropped);
        assert!(notifier.state.lock().waiters.is_empty());
    }

    #[test]
    fn a_blocking_wait_ends_by_change_by_time_and_by_closing() {
        let notifier = at(0);
        assert_eq!(notifier.wait(0, Duration::from_millis(5)), None);
        let waiting = {
            let notifier = notifier.clone();
            thread::spawn(move || notifier.wait(0, Duration::MAX))
        };
        notifier.publish(1);
        assert_eq!(waiting.join().unwrap(), Some(Wake::Changed(1)));
        assert_eq!(notifier.wait(0, Duration::ZERO), Some(Wake::Changed(1)), "no change is missed");
        notifier.close();
        assert_eq!(notifier.wait(7, Duration::MAX), Some(Wake::Closed));
    }
}
