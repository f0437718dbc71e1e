//! `settee service`: examples of how to run the server as a service.

use std::error::Error;
use std::io::{self, Write as _};

use crate::cli::ServiceKind;

const SYSTEMD: &str = include_str!("examples/settee.service");
const CONTAINER: &str = include_str!("examples/Containerfile");
const PROCFILE: &str = include_str!("examples/Procfile");

/// Prints an example to standard output.
///
/// # Errors
///
/// When nobody takes it.
pub fn print(kind: ServiceKind) -> Result<(), Box<dyn Error>> {
    let text = match kind {
        ServiceKind::Systemd => SYSTEMD,
        ServiceKind::Container => CONTAINER,
        ServiceKind::Procfile => PROCFILE,
    };
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}
