//! Waiting for changes: the engine's notifier, by itself. It is here and not with the tests because its own
//! tests, which know nothing of shuttle, would be run with them.

#![allow(dead_code, unreachable_pub, unused_qualifications, reason = "a part of another crate")]

use std::{sync::Arc, time::Duration};

use shuttle::{future::block_on, thread};

#[path = "../../engine/src/notify.rs"]
mod notify;

use notify::{Notifier, Wake};

/// No change is missed, whether one waits by blocking or by future, and closing ends every wait.
///
/// # Panics
/// If it is not so.
pub fn no_wake_is_lost() {
    let notifier = Arc::<Notifier>::default();
    let blocking = thread::spawn({
        let notifier = Arc::clone(&notifier);
        move || follow(|after| notifier.wait(after, Duration::MAX).expect("no panic"))
    });
    let by_future = thread::spawn({
        let notifier = Arc::clone(&notifier);
        move || follow(|after| block_on(notifier.changed(after)))
    });
    let gives_up = thread::spawn({
        let notifier = Arc::clone(&notifier);
        move || drop(notifier.changed(0))
    });
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let notifier = Arc::clone(&notifier);
            thread::spawn(move || (0..3).for_each(|n| notifier.publish(1 + 2 * n + writer)))
        })
        .collect();
    writers.into_iter().for_each(|thread| thread.join().expect("no panic"));
    notifier.close();
    for reached in [blocking.join().expect("no panic"), by_future.join().expect("no panic")] {
        assert!(reached <= 6, "a sequence from nowhere");
    }
    gives_up.join().expect("no panic");
}

/// Waits again and again until the database is closed; sequences only grow.
fn follow(wait: impl Fn(u64) -> Wake) -> u64 {
    let mut reached = 0;
    while let Wake::Changed(seq) = wait(reached) {
        assert!(seq > reached);
        reached = seq;
    }
    reached
}

/// Who waits for a sequence that was published is told, without anybody closing.
///
/// # Panics
/// If it is not so.
pub fn a_published_sequence_ends_the_wait_for_it() {
    let notifier = Arc::<Notifier>::default();
    let waiters: Vec<_> = (0..2u64)
        .map(|after| {
            let notifier = Arc::clone(&notifier);
            thread::spawn(move || match after {
                0 => block_on(notifier.changed(after)),
                _ => notifier.wait(after, Duration::MAX).expect("no panic"),
            })
        })
        .collect();
    notifier.publish(1);
    notifier.publish(2);
    let woken: Vec<_> =
        waiters.into_iter().map(|waiter| waiter.join().expect("no panic")).collect();
    assert!(matches!(woken[0], Wake::Changed(1 | 2)));
    assert_eq!(woken[1], Wake::Changed(2));
}
