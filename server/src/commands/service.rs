//! `settee service`.

use std::io::{self, Write as _};

use clap::{Args, ValueEnum};

use super::failure::Failure;

const SYSTEMD: &str = include_str!("examples/settee.service");
const CONTAINER: &str = include_str!("examples/Containerfile");
const PROCFILE: &str = include_str!("examples/Procfile");

/// Prints an example of how to run the server as a service; what it says at its beginning is how to use it.
#[derive(Clone, Debug, Args)]
pub struct Service {
    /// For what
    #[arg(value_enum)]
    kind: Kind,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A systemd unit
    Systemd,
    /// A container file
    Container,
    /// A Procfile, for hosts that give PORT
    Procfile,
}

impl Service {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let text = match self.kind {
            Kind::Systemd => SYSTEMD,
            Kind::Container => CONTAINER,
            Kind::Procfile => PROCFILE,
        };
        Ok(io::stdout().lock().write_all(text.as_bytes())?)
    }
}
