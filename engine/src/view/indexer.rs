//! The threads that change indexes. There are none while there is nothing to do.

use std::{collections::VecDeque, fmt, sync::Arc, thread};

use parking_lot::Mutex;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs, at most so many at a time, in the order they came. Whoever hands one in sees to it that there
/// is never more than one for the same thing, so that what waits is bounded by what there is.
#[derive(Default)]
pub(crate) struct Indexer {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    threads: usize,
}

impl fmt::Debug for Indexer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let (waiting, threads) = (state.waiting.len(), state.threads);
        write!(f, "Indexer {{ waiting: {waiting}, threads: {threads} }}")
    }
}

impl Indexer {
    /// Runs a job soon, on another thread.
    pub(crate) fn submit(self: &Arc<Self>, most: usize, job: impl FnOnce() + Send + 'static) {
        let mut state = self.state.lock();
        state.waiting.push_back(Box::new(job));
        if state.threads >= most.max(1) {
            return;
        }
        state.threads += 1;
        drop(state);
        let indexer = Arc::clone(self);
        let spawned =
            thread::Builder::new().name("settee-indexer".into()).spawn(move || indexer.work());
        if spawned.is_err() {
            // No more threads are to be had: the job is done here.
            self.work();
        }
    }

    fn work(&self) {
        loop {
            let job = {
                let mut state = self.state.lock();
                match state.waiting.pop_front() {
                    Some(job) => job,
                    None => {
                        state.threads -= 1;
                        return;
                    }
                }
            };
            // A job that panics takes none of the others with it.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    #[test]
    fn jobs_run_at_most_so_many_at_a_time_and_threads_end() {
        let indexer = Arc::new(Indexer::default());
        let running = Arc::new(AtomicUsize::new(0));
        let (sender, results) = mpsc::channel();
        for number in 0..20 {
            let (running, sender) = (Arc::clone(&running), sender.clone());
            indexer.submit(3, move || {
                let at_once = running.fetch_add(1, Ordering::SeqCst) + 1;
                thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
                let _ = sender.send(at_once);
                assert_ne!(number, 7, "a job that panics");
            });
        }
        drop(sender);
        assert!(results.iter().take(20).all(|at_once| at_once <= 3));
        while indexer.state.lock().threads > 0 {
            thread::yield_now();
        }
    }
}
