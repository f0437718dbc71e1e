//! Some thousand seeds, and that the simulation is what it says: repeatable, and able to find a bug.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use settee_simulation::{MUTANTS, Stats, Trace, run};

/// Seeds that CI runs. Long runs are for the command `settee-simulate`.
const SEEDS: u64 = 2000;
/// Seeds of long runs that found something, a bug of the model included.
const FOUND: [u64; 4] = [415, 10_069, 10_478, 209_253];
/// Seeds within which a planted bug has to be found.
const SEEDS_FOR_A_BUG: u64 = 1000;

fn run_silently(seed: u64) -> Stats {
    run(seed, None, &mut Trace::default()).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn nothing_is_lost_made_up_or_half_there() {
    let next = AtomicU64::new(0);
    let work = || {
        let mut stats = Stats::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return stats;
            }
            stats += run_silently(seed);
        }
    };
    let stats = thread::scope(|scope| {
        let mut stats = Stats::default();
        for job in [scope.spawn(work), scope.spawn(work)] {
            stats += job.join().unwrap();
        }
        stats
    });
    for (what, count) in [
        ("steps", stats.steps),
        ("compactions", stats.compactions),
        ("views", stats.views),
        ("crashes", stats.crashes),
        ("kills", stats.kills),
        ("closings", stats.closings),
        ("failed operations", stats.troubles),
        ("held snapshots", stats.snapshots),
        ("damage", stats.damage_noticed),
    ] {
        assert!(count > SEEDS / 8, "{what} hardly ever occur: {stats}");
    }
}

#[test]
fn seeds_that_found_something_pass() {
    for seed in FOUND {
        run_silently(seed);
    }
}

#[test]
fn a_seed_does_the_same_each_time() {
    for seed in 0..60 {
        let [mut first, mut second] = [Trace::kept(), Trace::kept()];
        assert_eq!(run(seed, None, &mut first), run(seed, None, &mut second));
        assert!(first.lines().len() > 5);
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn planted_bugs_are_found() {
    for (name, mutant) in MUTANTS {
        let found = (0..SEEDS_FOR_A_BUG).find_map(|seed| {
            let outcome = run(seed, Some(mutant), &mut Trace::default());
            outcome.err().map(|failure| (seed, failure.message))
        });
        let (seed, message) = found.unwrap_or_else(|| panic!("{name} was not found"));
        println!("{name}: seed {seed}: {message}");
    }
}
