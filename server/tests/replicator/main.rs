//! The replicator of the real binary: documents and requests, who may do and see what, crashes, and several
//! servers that have to come to the same.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod documents;
mod idle;
mod requests;
mod ring;
mod secrets;
#[path = "../support/mod.rs"]
mod support;

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::Settee;

/// How long anything may take to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Failures are tried again soon, so that a test sees it.
const IMPATIENT: &str = "[chttpd_auth]\niterations = 1\n[replicator]\nmin_backoff = 200\nmax_backoff = 1000\n\
                         retries_per_request = 1\nconnection_timeout = 5000\n";

fn start() -> Settee {
    start_with("")
}

fn start_with(more: &str) -> Settee {
    let environment =
        vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)];
    Settee::start_with(&format!("{IMPATIENT}{more}"), environment, &[])
}

/// Waits until `check` finds something.
fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "it never came to this: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What the scheduler says of a document; null if nothing.
fn scheduled(server: &Settee, database: &str, id: &str) -> Value {
    let database = database.replace('/', "%2F");
    let answer = server.ask("GET", &format!("/_scheduler/docs/{database}/{id}"), "");
    if answer.status == 404 { Value::Null } else { answer.expect(200).json() }
}

fn wait_for_state(server: &Settee, database: &str, id: &str, state: &str) -> Value {
    let mut last = Value::Null;
    eventually(&format!("{id} is {state}"), || {
        last = scheduled(server, database, id);
        (last["state"] == state).then(|| last.clone())
    })
}

/// Makes databases.
fn create(server: &Settee, names: &[&str]) {
    for name in names {
        server.ask("PUT", &format!("/{}", name.replace('/', "%2F")), "").expect(201);
    }
}

/// Writes documents `0..count` with a prefix to their ids.
fn fill(server: &Settee, database: &str, prefix: &str, count: usize) {
    let docs: Vec<Value> =
        (0..count).map(|n| json!({"_id": format!("{prefix}{n:06}"), "n": n})).collect();
    server.ask("POST", &format!("/{database}/_bulk_docs"), &json!({"docs": docs}).to_string());
}

fn count(server: &Settee, database: &str) -> u64 {
    server.ask("GET", &format!("/{database}"), "").json()["doc_count"].as_u64().unwrap_or(0)
}

/// The URL of a database, with the administrator's name and password.
fn url(server: &Settee, database: &str) -> String {
    format!("{}/{}", server.admin_url(), database.replace('/', "%2F"))
}
