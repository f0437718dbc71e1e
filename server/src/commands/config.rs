//! `settee config check`.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::Subcommand;

use super::failure::Failure;
use crate::cli::Cli;
use crate::config::Config;
use crate::startup;

/// What can be done with the configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Action {
    /// Say which options are wrong, unknown or without effect; fails if any is wrong
    Check,
}

/// Reads the configuration as a start would, and says on standard output what it found: the files, the
/// options without effect, and those that nobody knows.
///
/// # Errors
///
/// When the server would not start with it, and why not.
pub(super) fn check(cli: &Cli) -> Result<(), Failure> {
    let config = startup::configuration(cli).map_err(|error| Failure::from(&*error))?;
    io::stdout().lock().write_all(findings(&config).as_bytes())?;
    Ok(())
}

fn findings(config: &Config) -> String {
    let mut out = String::new();
    let mut say = |line: String| {
        // Writing to a string can't fail.
        let _ = writeln!(out, "{line}");
    };
    for file in config.files() {
        let state = if file.exists() { "read" } else { "not there yet; made when needed" };
        say(format!("file     {} ({state})", file.display()));
    }
    let findings = config.findings();
    findings.ignored_lines().for_each(|line| say(format!("ignored  {line}")));
    findings.unknown.iter().for_each(|unknown| say(format!("unknown  {unknown}")));
    say(match findings.unknown.len() {
        0 => "the configuration is good".to_owned(),
        1 => "the configuration can be used; one option is unknown".to_owned(),
        unknown => format!("the configuration can be used; {unknown} options are unknown"),
    });
    out
}
