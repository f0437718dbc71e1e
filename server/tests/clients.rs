//! Runs the client tests in `clients/`: PouchDB and nano against the real binary.

mod support;

use std::{path::Path, process::Command};

fn skip(why: &str) {
    support::skip("the client tests (PouchDB, nano)", why);
}

#[test]
fn clients() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    if Command::new("node").arg("--version").output().is_err() {
        return skip("node is not installed");
    }
    if !folder.join("node_modules").is_dir() {
        return skip("run `npm ci --prefix server/tests/clients` first");
    }
    let status = Command::new("node")
        .args(["--test", "--test-concurrency=1"])
        .current_dir(&folder)
        .env("SETTEE_BIN", env!("CARGO_BIN_EXE_settee"))
        .status()
        .expect("node starts");
    assert!(status.success(), "a client test failed; its report is above");
}
