//! See `settee_schedule::waits`.

use settee_schedule::{explore, waits};

#[test]
fn no_wake_is_lost() {
    explore(waits::no_wake_is_lost);
}

#[test]
fn a_published_sequence_ends_the_wait_for_it() {
    explore(waits::a_published_sequence_ends_the_wait_for_it);
}
