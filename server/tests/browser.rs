//! Runs the tests of the example application in `examples/offline-notes`: PouchDB in headless Chromium against
//! the real binary, and users in PostgreSQL.

mod support;

use std::{path::Path, process::Command};

fn skip(why: &str) {
    support::skip("the tests of the example application (browser, PostgreSQL)", why);
}

#[test]
fn the_example_application_works_in_a_browser() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/offline-notes");
    if Command::new("node").arg("--version").output().is_err() {
        return skip("node is not installed");
    }
    if !folder.join("node_modules").is_dir() {
        return skip("run `npm ci --prefix server/examples/offline-notes` first");
    }
    let status = Command::new("node")
        .args(["--test", "--test-concurrency=1", "test/users.test.mjs", "test/browser.test.mjs"])
        .current_dir(&folder)
        .env("SETTEE_BIN", env!("CARGO_BIN_EXE_settee"))
        .status()
        .expect("node starts");
    assert!(status.success(), "a test of the example failed; its report is above");
}
