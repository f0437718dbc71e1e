//! What the program does besides serving: one file for each command.
//!
//! * `target`: which file is meant; `report`: progress and results; `failure`: exit
//!   codes
//!
//! A command parses its arguments, makes a call and tells people what comes back. Nothing here knows what is
//! in a file.

mod backup;
mod compact;
pub mod config;
mod dump;
mod failure;
mod inspect;
mod load;
mod report;
pub mod service;
mod target;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::Cli;

/// What every command's help ends with.
const EXIT_CODES: &str = "\
Exit codes:
  0  all is well
  1  it failed; standard error says why
  2  the command line makes no sense
  3  damage was found
  4  a running server holds the database or its folder";

/// A command of the binary.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show what is in a database file; works beside a running server
    Inspect(inspect::Inspect),
    /// Check every bit of a database file; works beside a running server
    Verify(verify::Verify),
    /// Write a database out as lines of JSON; works beside a running server
    Dump(dump::Dump),
    /// Read lines of JSON into a database; needs the data folder for itself
    Load(load::Load),
    /// Copy databases as of their last commit; works beside a running server
    Backup(backup::Backup),
    /// Rewrite databases without what is no longer needed; needs them for itself
    Compact(compact::Compact),
    /// Look at the configuration without starting the server
    #[command(subcommand)]
    Config(config::Action),
    /// Print an example of how to run this server as a service
    Service {
        /// For what
        #[arg(value_enum)]
        kind: service::Example,
    },
}

impl Command {
    /// Carries the command out and says how it ended.
    #[must_use]
    pub fn run(&self, cli: &Cli) -> ExitCode {
        let outcome = match self {
            Command::Inspect(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Dump(command) => command.run(),
            Command::Load(command) => command.run(),
            Command::Backup(command) => command.run(),
            Command::Compact(command) => command.run(),
            Command::Config(config::Action::Check) => config::check(cli),
            Command::Service { kind } => service::print(*kind),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.print(),
        }
    }
}
