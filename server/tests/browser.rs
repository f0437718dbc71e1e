//! What runs in headless Chromium against the real binary: the web interface, and the example application in
//! `examples/offline-notes` with PouchDB and users in PostgreSQL.

mod support;

use std::{path::Path, process::Command};

/// Runs tests in a folder of this crate, if there is what they need.
fn run(what: &str, folder: &str, tests: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if Command::new("node").arg("--version").output().is_err() {
        return support::skip(what, "node is not installed");
    }
    // It has the driver of the browser.
    if !root.join("examples/offline-notes/node_modules").is_dir() {
        return support::skip(what, "run `npm ci --prefix server/examples/offline-notes` first");
    }
    let status = Command::new("node")
        .args(["--test", "--test-concurrency=1"])
        .args(tests)
        .current_dir(root.join(folder))
        .env("SETTEE_BIN", env!("CARGO_BIN_EXE_settee"))
        .status()
        .expect("node starts");
    assert!(status.success(), "a test of {what} failed; its report is above");
}

#[test]
fn the_example_application_works_in_a_browser() {
    let tests = ["test/users.test.mjs", "test/browser.test.mjs"];
    run("the example application (browser, PostgreSQL)", "examples/offline-notes", &tests);
}

#[test]
fn the_web_interface_works_in_a_browser() {
    run("the web interface (browser)", "tests/web", &["utils.test.mjs"]);
}
