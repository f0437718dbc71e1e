//! Starting anew, as `POST /_node/{name}/_restart` asks: the program takes the place of itself, with the same
//! arguments, environment and process id, so that whoever watches over the process notices nothing.

use std::convert::Infallible;
use std::env;
use std::io;
use std::process::Command;

/// The environment variable by which a server that was given no port of its own keeps the one it had.
const PORT_BEFORE: &str = "SETTEE_PORT_BEFORE";

/// Whether this system lets a program take its own place.
pub(crate) const IS_POSSIBLE: bool = cfg!(unix);

/// The port that this server listened on before it was restarted.
pub(crate) fn port_before() -> Option<u16> {
    env::var(PORT_BEFORE).ok()?.parse().ok()
}

/// Starts the program anew; returns only if that fails.
///
/// # Errors
///
/// When the program is not where it was, or can't be started.
pub fn restart(port: u16) -> io::Result<Infallible> {
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1)).env(PORT_BEFORE, port.to_string());
    Err(replace_by(command))
}

#[cfg(unix)]
fn replace_by(mut command: Command) -> io::Error {
    use std::os::unix::process::CommandExt as _;
    command.exec()
}

#[cfg(not(unix))]
fn replace_by(_: Command) -> io::Error {
    io::ErrorKind::Unsupported.into()
}
