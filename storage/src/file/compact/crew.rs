//! Work shared out among this thread and helpers, who end before it goes on.
//!
//! Only this thread asks whoever watches the compaction. Helpers look at a flag instead, which is set when
//! the watcher says so, and when any of them fails or panics: nobody works for nothing.

use std::{
    cell::Cell,
    io,
    panic::resume_unwind,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{Builder, Scope, ScopedJoinHandle, panicking, scope},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    compaction::Progress,
    error::{Error, Result},
};

/// What the threads are called.
const NAME: &str = "settee-compact+";
/// How often the watcher is asked while this thread waits for helpers.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Says how far the work is, and whether to go on.
pub(super) type GoOn<'g> = &'g dyn Fn(Progress) -> Result<()>;

/// A part of the work.
pub(super) type Task<'t, T> = Box<dyn FnOnce(GoOn<'_>) -> Result<T> + Send + 't>;

/// Does all tasks, one after the other on this thread or at once. What they return is in no particular order.
pub(super) fn work<T: Send>(
    tasks: Vec<Task<'_, T>>,
    is_at_once: bool,
    watch: GoOn<'_>,
) -> Result<Vec<T>> {
    match is_at_once {
        true => at_once(tasks, watch),
        false => tasks.into_iter().map(|task| task(watch)).collect(),
    }
}

/// Does the last task on this thread, each other one on its own. Those that get no thread are done on this
/// one. Of several errors, the first that is not the consequence of another is returned; a panic goes on
/// here.
fn at_once<T: Send>(tasks: Vec<Task<'_, T>>, watch: GoOn<'_>) -> Result<Vec<T>> {
    let stop = Stop::default();
    let last = Cell::new(None);
    let watch = |progress| {
        last.set(Some(progress));
        stop.check().and_then(|()| watch(progress))
    };
    let tasks: Vec<_> = tasks.into_iter().map(|task| Mutex::new(Some(task))).collect();
    scope(|scope| {
        let _halt = HaltOnPanic(&stop);
        let (tell, told) = mpsc::channel();
        let (mut own, mut helpers) = (Vec::new(), Vec::new());
        if let Some((last, others)) = tasks.split_last() {
            own.push(last);
            for task in others {
                match help(scope, task, &stop, tell.clone()) {
                    Ok(helper) => helpers.push(helper),
                    Err(_) => own.push(task),
                }
            }
        }
        drop(tell);
        let mut done = Vec::new();
        for task in own.into_iter().filter_map(|task| task.lock().take()) {
            done.push(stop.note(task(&watch)));
        }
        wait(&told, &mut done, || last.get().map_or(Ok(()), watch).map_err(|error| stop.on(error)));
        for helper in helpers {
            helper.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        all(done)
    })
}

type Waiting<'t, T> = Mutex<Option<Task<'t, T>>>;

/// Begins a thread for a task, which tells what came of it unless it panics.
fn help<'s, T: Send>(
    scope: &'s Scope<'s, '_>,
    task: &'s Waiting<'_, T>,
    stop: &'s Stop,
    tell: Sender<Result<T>>,
) -> io::Result<ScopedJoinHandle<'s, ()>> {
    Builder::new().name(NAME.into()).spawn_scoped(scope, move || {
        let _halt = HaltOnPanic(stop);
        let task = task.lock().take();
        if let Some(task) = task {
            // Without a receiver the caller panics, and nobody wants to know.
            let _ = tell.send(stop.note(task(&|_| stop.check())));
        }
    })
}

/// Waits until all helpers have told what came of their tasks, or are gone. `look` is whether to go on.
fn wait<T>(told: &Receiver<Result<T>>, done: &mut Vec<Result<T>>, look: impl Fn() -> Result<()>) {
    loop {
        match told.recv_timeout(LOOK_EVERY) {
            Ok(outcome) => done.push(outcome),
            Err(RecvTimeoutError::Timeout) => done.extend(look().err().map(Err)),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What came of all tasks.
fn all<T>(done: Vec<Result<T>>) -> Result<Vec<T>> {
    let (mut found, mut cancelled) = (Vec::new(), false);
    for outcome in done {
        match outcome {
            Ok(outcome) => found.push(outcome),
            Err(Error::Cancelled) => cancelled = true,
            Err(error) => return Err(error),
        }
    }
    if cancelled { Err(Error::Cancelled) } else { Ok(found) }
}

/// Whether the work is to end.
#[derive(Debug, Default)]
struct Stop(AtomicBool);

impl Stop {
    fn check(&self) -> Result<()> {
        // What an error says comes by the channel: the flag orders nothing.
        if self.0.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Lets all end if this is an error.
    fn note<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| self.on(error))
    }

    fn on(&self, error: Error) -> Error {
        self.0.store(true, Ordering::Relaxed);
        error
    }
}

/// Lets all end if the thread panics that holds it.
struct HaltOnPanic<'s>(&'s Stop);

impl Drop for HaltOnPanic<'_> {
    fn drop(&mut self) {
        if panicking() {
            self.0.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::atomic::AtomicU32,
        thread,
    };

    use super::*;
    use crate::compaction::Phase;

    const STEP: Progress = Progress { phase: Phase::Documents, done: 0, total: 0 };

    /// Goes on until it is told to end.
    fn endless(go_on: GoOn<'_>) -> Result<u32> {
        loop {
            go_on(STEP)?;
            thread::yield_now();
        }
    }

    fn tasks<'t>(of: impl IntoIterator<Item = Task<'t, u32>>) -> Vec<Task<'t, u32>> {
        of.into_iter().collect()
    }

    #[test]
    fn every_task_is_done_once_in_place_or_at_once() {
        for is_at_once in [false, true] {
            let numbers = 1..=5;
            let task = |number| -> Task<'_, u32> { Box::new(move |_| Ok(number)) };
            let mut done = work(numbers.map(task).collect(), is_at_once, &|_| Ok(())).unwrap();
            done.sort_unstable();
            assert_eq!(done, [1, 2, 3, 4, 5]);
        }
        assert!(work(tasks([]), true, &|_| Ok(())).unwrap().is_empty());
    }

    #[test]
    fn only_the_caller_is_asked_and_ends_all() {
        let caller = thread::current().id();
        let asked = AtomicU32::new(0);
        let watch = |_| {
            assert_eq!(thread::current().id(), caller);
            match asked.fetch_add(1, Ordering::Relaxed) {
                0..3 => Ok(()),
                _ => Err(Error::Closed),
            }
        };
        let ended =
            work(tasks([Box::new(endless) as Task<'_, _>, Box::new(endless)]), true, &watch);
        assert!(matches!(ended, Err(Error::Closed)), "{ended:?}");
        // Also while it waits for others, of which none asks.
        asked.store(0, Ordering::Relaxed);
        let once = |go_on: GoOn<'_>| go_on(STEP).map(|()| 1);
        let ended = work(tasks([Box::new(endless) as Task<'_, _>, Box::new(once)]), true, &watch);
        assert!(matches!(ended, Err(Error::Closed)), "{ended:?}");
    }

    #[test]
    fn an_error_of_any_task_ends_the_others_and_is_told() {
        let fail = |_: GoOn<'_>| Err(Error::Invalid { what: "a test" });
        let of_helper = [Box::new(fail) as Task<'_, u32>, Box::new(endless), Box::new(endless)];
        let of_caller = [Box::new(endless) as Task<'_, u32>, Box::new(endless), Box::new(fail)];
        for these in [of_helper, of_caller] {
            let ended = work(tasks(these), true, &|_| Ok(()));
            assert!(matches!(ended, Err(Error::Invalid { what: "a test" })), "{ended:?}");
        }
    }

    #[test]
    fn a_panic_of_any_task_ends_the_others_and_goes_on() {
        fn fail(_: GoOn<'_>) -> Result<u32> {
            panic!("a test")
        }
        for index in 0..3 {
            let task = |number| -> Task<'_, u32> {
                if number == index { Box::new(fail) } else { Box::new(endless) }
            };
            let these = (0..3).map(task).collect();
            let ended = catch_unwind(AssertUnwindSafe(|| work(these, true, &|_| Ok(()))));
            let panic = ended.unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"a test"), "{index}");
        }
    }
}
