//! `settee config check`.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::failure::Failure;
use crate::config::Config as Configuration;
use crate::startup;

/// What can be done with the configuration.
#[derive(Clone, Debug, Subcommand)]
pub enum Config {
    /// Say which options are wrong, unknown or without effect; fails if any is wrong
    Check(Check),
}

/// Reads the configuration as a start of the server would, and says what it found: the files, CouchDB's
/// options that have no effect here, and those that nobody knows.
#[derive(Clone, Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct Check {
    /// Configuration file, or a folder with local.ini and local.d/*.ini [default: the data folder]
    #[arg(long, value_name = "PATH")]
    config: Vec<PathBuf>,

    /// Folder of the databases
    #[arg(long, value_name = "DIR", env = "SETTEE_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

impl Config {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Self::Check(check) = self;
        let config = startup::configuration(check.data_dir.as_deref(), &check.config, &[]);
        let config = config.map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(io::stdout().lock().write_all(findings(&config).as_bytes())?)
    }
}

fn findings(config: &Configuration) -> String {
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
