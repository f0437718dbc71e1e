//! The real store and engine on a disk that fails, from a seed.
//!
//! A run is decided by its seed alone: which databases come and go, what is written to them, when they are
//! compacted and what is written meanwhile, which views are asked for, how everything is closed, when the
//! power goes and what the disk then makes of what was not synced, which operations fail. After each
//! recovery, and in between, everything the engine shows is compared with a model: every acknowledged
//! change is there, no other one is half there, sequences are dense, both indexes and the counts agree,
//! bodies and attachments are right, views show what a recomputation of all documents gives, and snapshots
//! and views that are held show what they showed.
//!
//! * `plan`: what a seed decides once (which operations, how often, what fails)
//! * `choose`: making up changes; `perform`: carrying them out
//! * `model`: what must be there; `check`: comparing
//! * `views`: what views must show, recomputed from the model
//! * `run`: lives of processes on one disk; `mutant`: bugs planted on purpose
//!
//! What must not live here: anything that decides by time, by threads or by the order of a hash map.

mod check;
mod choose;
mod model;
mod mutant;
mod perform;
mod plan;
mod report;
mod run;
mod views;

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

pub use mutant::{MUTANTS, Mutant};
pub use report::{Stats, Trace};

use check::Stop;
use run::Run;

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failure { seed, message } = self;
        write!(
            f,
            "seed {seed} failed: {message}\nrun it again: cargo run --release -p settee-simulation -- \
             --seeds {seed}..{} --trace",
            seed + 1
        )
    }
}

thread_local! {
    /// What panicked on this thread since a run began; `None` outside of runs. The store catches panics
    /// of its leader, so that catching them here is not enough.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs one seed.
///
/// # Errors
/// If anything is not as it must be.
pub fn run(seed: u64, mutant: Option<Mutant>, trace: &mut Trace) -> Result<Stats, Failure> {
    watch_panics();
    PANICS.set(Some(Vec::new()));
    let mut run = Run::new(seed, mutant, std::mem::take(trace));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| run.all()));
    let panics = PANICS.take().unwrap_or_default();
    *trace = std::mem::take(&mut run.trace);
    let message = match outcome {
        _ if !panics.is_empty() => panics.join("; "),
        Ok(Ok(())) => return Ok(run.stats),
        Ok(Err(Stop::Wrong(message))) => message,
        Ok(Err(Stop::Trouble(error) | Stop::Damage(error))) => format!("out of nowhere: {error}"),
        Err(_) => "a panic".into(),
    };
    Err(Failure { seed, message })
}

/// Collects the panics of threads that run a seed; those of others go where they went.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let kept = PANICS.with_borrow_mut(|panics| match panics {
                Some(panics) => {
                    panics.push(info.to_string());
                    true
                }
                None => false,
            });
            if !kept {
                usual(info);
            }
        }));
    });
}
