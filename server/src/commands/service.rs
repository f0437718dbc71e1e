//! `settee service`: examples of how to run the server as a service.

use std::io::{self, Write as _};

use clap::ValueEnum;

use super::failure::Failure;

const SYSTEMD: &str = include_str!("examples/settee.service");
const CONTAINER: &str = include_str!("examples/Containerfile");
const PROCFILE: &str = include_str!("examples/Procfile");

/// What runs services.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Example {
    /// A systemd unit
    Systemd,
    /// A container file
    Container,
    /// A Procfile, for hosts that give PORT
    Procfile,
}

/// Prints an example to standard output.
///
/// # Errors
///
/// When nobody takes it.
pub(super) fn print(kind: Example) -> Result<(), Failure> {
    let text = match kind {
        Example::Systemd => SYSTEMD,
        Example::Container => CONTAINER,
        Example::Procfile => PROCFILE,
    };
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}
