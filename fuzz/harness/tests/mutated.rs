//! Every target over its corpus, the inputs that once were findings, and some thousand mutations of
//! both. It needs no fuzzer, and is therefore never skipped.
//!
//! `SETTEE_EXECUTIONS=10000000 cargo test --release -p settee-fuzz-harness --test mutated -- --nocapture` runs so
//! many mutations of each target, where there is no fuzzer; `SETTEE_TARGET=json` only those of one.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use settee_fuzz_harness::{TARGETS, Target};
use settee_storage::disk::sim::Random;

/// Mutations of each input for the targets that are quick, and for those that open databases.
const MUTATIONS: [u64; 2] = [1200, 60];
/// Pieces of text that mutations put in.
const WORDS: [&str; 24] = [
    "\"_id\":\"x\",",
    "\"_rev\":\"1-a\",",
    "\"_deleted\":true",
    "_attachments",
    "{\"$or\":[",
    "\"$regex\":\"",
    "\\u0000",
    "\\ud800",
    "\r\n--b\r\n",
    "\r\n--b--",
    "\r\n\r\n",
    "%00",
    "%",
    "&",
    "=",
    ";q=0.5",
    "bytes=-",
    "\"",
    "[",
    "{",
    "1e999",
    "-0",
    "\u{feff}",
    "\n[couchdb]\n",
];

fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut inputs = Vec::new();
    for kind in ["seeds", "findings"] {
        let Ok(entries) = fs::read_dir(root.join(kind).join(target)) else { continue };
        let paths = entries.map(|entry| entry.unwrap().path());
        inputs.extend(paths.map(|path| (path.clone(), fs::read(path).unwrap())));
    }
    inputs.sort();
    assert!(!inputs.is_empty(), "{target} has no corpus");
    inputs
}

fn mutate(random: &mut Random, inputs: &[(PathBuf, Vec<u8>)], input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..1 + random.index(4) {
        let at = random.index(bytes.len() + 1);
        match random.index(7) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.index(8),
            2 if at < bytes.len() => {
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\\'][random.index(7)]
            }
            3 => bytes.truncate(at),
            4 => {
                bytes.splice(at..at, WORDS[random.index(WORDS.len())].bytes());
            }
            5 => {
                let end = (at + random.index(20)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let other = &inputs[random.index(inputs.len())].1;
                let from = random.index(other.len() + 1);
                let end = (from + random.index(100)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
        }
    }
    bytes
}

/// So many mutations, of all inputs in turn; each seed of the random numbers has its own.
fn run_long(name: &str, target: Target, executions: u64) {
    let (started, inputs) = (Instant::now(), inputs(name));
    let part = (executions / 10).max(1);
    for number in 0..executions {
        let (path, input) = &inputs[number as usize % inputs.len()];
        // An execution is known by its number.
        let mutated = mutate(&mut Random::new(number.wrapping_mul(0x9e37_79b9)), &inputs, input);
        check(target, &mutated, || format!("execution {number}, of {}", path.display()));
        if (number + 1) % part == 0 {
            println!("{name}: {} executions, {:?}", number + 1, started.elapsed());
        }
    }
}

fn run(name: &str, target: Target) {
    if let Ok(executions) = env::var("SETTEE_EXECUTIONS") {
        let wanted = env::var("SETTEE_TARGET").unwrap_or_else(|_| name.to_owned());
        if name == wanted {
            run_long(name, target, executions.parse().unwrap());
        }
        return;
    }
    let started = Instant::now();
    let inputs = inputs(name);
    let opens = inputs.iter().any(|(_, input)| input.len() > 4096);
    let count = MUTATIONS[usize::from(opens)];
    for (number, (path, input)) in inputs.iter().enumerate() {
        check(target, input, || path.display().to_string());
        let mut random = Random::new(number as u64);
        for mutation in 0..count {
            let mutated = mutate(&mut random, &inputs, input);
            check(target, &mutated, || format!("mutation {mutation} of {}", path.display()));
        }
    }
    println!("{name}: {} inputs, {:?}", inputs.len() as u64 * (count + 1), started.elapsed());
}

fn check(target: Target, input: &[u8], what: impl Fn() -> String) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        let kept = env::temp_dir().join("settee-finding");
        fs::write(&kept, input).unwrap();
        panic!("{}: the input is in {}", what(), kept.display());
    }
}

#[test]
fn targets_take_whatever_comes() {
    thread::scope(|scope| {
        let (first, second) = TARGETS.split_at(TARGETS.len() / 2);
        for half in [first, second] {
            scope.spawn(move || half.iter().for_each(|(name, target)| run(name, *target)));
        }
    });
}
