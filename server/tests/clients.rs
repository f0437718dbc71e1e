//! Runs the client tests in `clients/`: PouchDB and nano against the real binary.

use std::{io::Write, path::Path, process::Command};

/// Where these tests must run, a missing node or a missing `npm ci` is a failure; elsewhere it is a
/// loud skip.
fn required() -> bool {
    std::env::var_os("CI").is_some()
}

fn skip(why: &str) {
    assert!(!required(), "the client tests cannot run: {why}");
    // Written past the test harness, which would swallow what a passing test prints.
    let _ = writeln!(
        std::io::stderr(),
        "\n*** SKIPPED: the client tests (PouchDB, nano) did not run: {why} ***\n"
    );
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
