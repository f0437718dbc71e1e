//! Runs what needs a browser, in headless Chromium against the real binary: the pages at `/_utils/`, and the tests of
//! the example application in `examples/offline-notes` (PouchDB, and users in PostgreSQL).

mod support;

use std::{path::Path, process::Command};

/// Runs tests of node beside the example, where the browser's driver is installed.
fn node(what: &str, tests: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/offline-notes");
    if Command::new("node").arg("--version").output().is_err() {
        return support::skip(what, "node is not installed");
    }
    if !folder.join("node_modules").is_dir() {
        return support::skip(what, "run `npm ci --prefix server/examples/offline-notes` first");
    }
    let status = Command::new("node")
        .args(["--test", "--test-concurrency=1"])
        .args(tests)
        .current_dir(&folder)
        .env("SETTEE_BIN", env!("CARGO_BIN_EXE_settee"))
        .status()
        .expect("node starts");
    assert!(status.success(), "{what} failed; the report is above");
}

#[test]
fn the_example_application_works_in_a_browser() {
    node(
        "the tests of the example application (browser, PostgreSQL)",
        &["test/users.test.mjs", "test/browser.test.mjs"],
    );
}

#[test]
fn the_pages_of_the_server_work_in_a_browser() {
    node("the test of the pages at /_utils/ (browser)", &["../../tests/pages/pages.test.mjs"]);
}
