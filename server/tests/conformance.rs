//! Replays the traces in `conformance/`, recorded from CouchDB 3.5, against the real binary.
//!
//! Steps that differ for a reason are listed in `conformance-exceptions.md`; any other difference fails,
//! and so does an exception that no longer occurs.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::Command,
};

use support::Settee;

/// The areas that this version answers in full.
const AREAS: &[&str] = &[
    "server",
    "database",
    "document",
    "attachments",
    "bulk",
    "changes",
    "local",
    "conflicts",
    "encoding",
    "numbers",
    "errors",
    "purge",
    "replication",
    "replicator",
    "partitioned",
    "mango",
    "cors",
    "config",
    "ddoc-functions",
    "views",
    "reduce",
    "collation",
    "auth",
];

/// Seconds an answer may take: nothing here is about time, and the machine may be busy.
const TIMEOUT_S: &str = "120";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Whether there is a Python to replay with.
fn python() -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok();
    if !there {
        support::skip("the replay of the recorded traces", "python3 is not installed");
    }
    there
}

/// The rows of the exceptions' tables: what is named in the first column, and the second column.
fn exceptions() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(folder().join("conformance-exceptions.md")).unwrap();
    text.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.trim_end_matches('`').to_owned();
            Some((name, cells.next()?.to_owned()))
        })
        .collect()
}

/// The steps of scenarios that may differ.
fn scenario_exceptions() -> BTreeSet<(String, u64)> {
    let rows = exceptions().into_iter().filter(|(name, _)| name.contains('/'));
    rows.map(|(name, step)| (name, step.parse().unwrap())).collect()
}

/// The lines of random sequences of a kind that may differ, by file: one, or all from one on.
fn random_exceptions(kind: &str) -> Vec<(String, RangeInclusive<u64>)> {
    let rows = exceptions().into_iter().filter(|(name, _)| name.starts_with(kind));
    rows.map(|(name, lines)| match lines.strip_suffix(" on") {
        Some(first) => (name, first.parse().unwrap()..=u64::MAX),
        None => (name, lines.parse().unwrap()..=lines.parse().unwrap()),
    })
    .collect()
}

/// Replays these areas and returns the steps that were answered differently, and how many were not.
fn replay(server: &Settee, areas: &[&str]) -> (BTreeSet<(String, u64)>, u64) {
    let out = server.folder().join("conformance.json");
    let mut replay = Command::new("python3");
    replay.arg(folder().join("conformance/replay.py")).arg(server.admin_url());
    replay.args(["--timeout", TIMEOUT_S, "--json"]).arg(&out);
    for area in areas {
        replay.args(["--only", area]);
    }
    replay.status().unwrap();
    let results: serde_json::Value = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
    let passed = results["steps_passed"].as_u64().unwrap();
    let steps = |scenario: &serde_json::Value| {
        let name = scenario["scenario"].as_str().unwrap().to_owned();
        let steps = scenario["steps"].as_array().unwrap().clone();
        let failed = steps.into_iter().filter(|step| step["ok"] == false);
        failed.map(move |step| (name.clone(), step["step"].as_u64().unwrap()))
    };
    (results["results"].as_array().unwrap().iter().flat_map(steps).collect(), passed)
}

#[test]
fn recorded_scenarios_are_answered_as_couchdb_did() {
    if !python() {
        return;
    }
    let (failed, passed) = replay(&Settee::start(), AREAS);
    assert!(passed > 2600, "too few steps ran: {passed}");
    let allowed = scenario_exceptions();
    let unexpected: Vec<_> = failed.difference(&allowed).collect();
    assert!(unexpected.is_empty(), "steps that differ from CouchDB: {unexpected:?}");
    let healed: Vec<_> = allowed.difference(&failed).collect();
    assert!(healed.is_empty(), "listed as exceptions but passing, remove them: {healed:?}");
}

/// With passwords hashed as slowly as in earnest, because the recorded document tells how slowly.
#[test]
fn stored_passwords_look_as_couchdbs_do() {
    if !python() {
        return;
    }
    let environment =
        vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)];
    let server = Settee::start_with("", environment, &[]);
    let (failed, passed) = replay(&server, &["auth/user-doc-fields"]);
    assert!(failed.is_empty(), "steps that differ from CouchDB: {failed:?}");
    assert_eq!(passed, 12);
}

#[test]
fn random_sequences_are_answered_as_couchdb_did() {
    random_sequences("core-");
}

#[test]
fn random_sequences_with_queries_are_answered_as_couchdb_did() {
    random_sequences("full-");
}

/// Replays the random sequences of a kind.
fn random_sequences(kind: &str) {
    if !python() {
        return;
    }
    let server = Settee::start();
    let mut files: Vec<_> = std::fs::read_dir(folder().join("conformance/random"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(kind))
        .collect();
    files.sort();
    assert!(files.len() >= 39);
    let replay = Command::new("python3")
        .arg(folder().join("conformance/replay_random.py"))
        .arg(server.admin_url())
        .arg("-v")
        .args(&files)
        .output()
        .unwrap();
    let report = String::from_utf8(replay.stdout).unwrap();
    let passed = report.lines().last().and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
    assert!(passed.is_some_and(|passed| passed > 7500), "too few requests ran: {report}");
    let allowed = random_exceptions(kind);
    let (mut seen, mut unexpected) = (BTreeSet::new(), Vec::new());
    for line in report.lines() {
        let Some((file, rest)) = line.split_once(".jsonl.gz line ") else { continue };
        let number: u64 = rest.split(':').next().unwrap().parse().unwrap();
        let exception =
            allowed.iter().position(|(name, lines)| name == file && lines.contains(&number));
        match exception {
            Some(place) => drop(seen.insert(place)),
            None => unexpected.push(line),
        }
    }
    assert!(unexpected.is_empty(), "answered differently from CouchDB: {unexpected:#?}");
    assert_eq!(seen.len(), allowed.len(), "an exception no longer occurs: remove it");
}
