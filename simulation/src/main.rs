//! Runs many seeds of the simulation.

use std::{
    io::{IsTerminal as _, Write as _},
    ops::Range,
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use parking_lot::Mutex;
use settee_simulation::{Failure, MUTANTS, Mutant, Stats, Trace, run};

/// Runs the store and the engine on a disk that fails, from seeds, and compares with a model.
#[derive(Debug, Parser)]
#[command(name = "settee-simulate")]
struct Arguments {
    /// The seeds, as FIRST..END.
    #[arg(long, default_value = "0..10000", value_parser = parse_range)]
    seeds: Range<u64>,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Prints what happens, line by line.
    #[arg(long)]
    trace: bool,
    /// Plants a bug, to see it found: skip-sync, skip-folder-sync, skip-cut, wrong-read, short-write, lost-row.
    #[arg(long, value_parser = parse_mutant)]
    plant: Option<Mutant>,
    /// Goes on after failures, up to this many.
    #[arg(long, default_value_t = 1)]
    failures: usize,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("two numbers with .. between them")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    Ok(number(first)?..number(end)?)
}

fn parse_mutant(text: &str) -> Result<Mutant, String> {
    let found = MUTANTS.iter().find(|(name, _)| *name == text);
    found.map(|(_, mutant)| *mutant).ok_or_else(|| "no such bug".into())
}

/// What all threads share.
struct Work<'w> {
    arguments: &'w Arguments,
    next: AtomicU64,
    done: AtomicU64,
    stop: AtomicBool,
    outcome: Mutex<(Stats, Vec<Failure>)>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let work = Work {
        next: AtomicU64::new(arguments.seeds.start),
        done: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        outcome: Mutex::default(),
        arguments: &arguments,
    };
    let started = Instant::now();
    thread::scope(|scope| {
        let jobs: Vec<_> = (0..arguments.jobs.max(1)).map(|_| scope.spawn(|| work.run())).collect();
        while !jobs.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(200));
            work.show_progress(started);
        }
    });
    let (stats, failures) = &*work.outcome.lock();
    let done = work.done.load(Ordering::Relaxed);
    println!("{done} seeds in {:.1} s: {stats}", started.elapsed().as_secs_f64());
    println!("{} failures", failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Work<'_> {
    fn run(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.arguments.seeds.end {
                return;
            }
            self.run_seed(seed);
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn run_seed(&self, seed: u64) {
        let mut trace = if self.arguments.trace { Trace::kept() } else { Trace::default() };
        let outcome = run(seed, self.arguments.plant, &mut trace);
        let mut shared = self.outcome.lock();
        trace.lines().iter().for_each(|line| println!("{line}"));
        match outcome {
            Ok(stats) => shared.0 += stats,
            Err(failure) => {
                println!("{failure}");
                shared.1.push(failure);
                let enough = shared.1.len() >= self.arguments.failures;
                self.stop.fetch_or(enough, Ordering::Relaxed);
            }
        }
    }

    fn show_progress(&self, started: Instant) {
        let mut output = std::io::stderr();
        if !output.is_terminal() {
            return;
        }
        let done = self.done.load(Ordering::Relaxed);
        let all = self.arguments.seeds.end.saturating_sub(self.arguments.seeds.start);
        let rate = done as f64 / started.elapsed().as_secs_f64();
        let left = all.saturating_sub(done) as f64 / rate.max(0.001);
        let _ = write!(output, "\r{done} of {all} seeds, {rate:.0}/s, {left:.0} s left   ");
        let _ = output.flush();
    }
}
