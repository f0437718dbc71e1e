//! The log: where it goes, what is in it, and the lines about requests.
//!
//! `[log] level` and the command line say how much, `[log] writer` and `file` where to, and
//! `[log] format` in which form: `text`, or `json` with one object a line. Changes of the level hold at
//! once, the others from the next start.

use std::error::Error;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::cli::Cli;
use crate::config::Config;
use crate::http::{ReplyBody, Request};

/// The target under which requests are logged; `SETTEE_LOG=settee::access=off,info` leaves them out.
pub const ACCESS: &str = "settee::access";

/// Where a log goes that goes to a file, unless `[log] file` says otherwise.
const DEFAULT_FILE: &str = "./settee.log";

/// How often the log file is looked for where it should be.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// The status in the log of a request whose client went away before there was an answer.
const CLIENT_GONE: u16 = 499;

/// The filter of this process's log, once there is one that follows the configuration.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging: what `SETTEE_LOG` (or `RUST_LOG`) says, or else the command line, or else
/// `[log] level`.
///
/// # Errors
///
/// When `[log] file` can't be written, or `writer` or `format` is unknown.
pub fn start(cli: &Cli, config: &Config) -> Result<(), Box<dyn Error>> {
    let from = |variable| EnvFilter::builder().with_env_var(variable).try_from_env().ok();
    let fixed = from("SETTEE_LOG").or_else(|| from("RUST_LOG")).or_else(|| by_command_line(cli));
    let follows = fixed.is_none();
    let filter = fixed.unwrap_or_else(|| by_level(config.get("log", "level").as_deref()));
    let (filter, handle) = reload::Layer::new(filter);
    let (writer, complaint) = writer(config)?;
    let log = fmt::layer().with_ansi(false).with_writer(writer);
    let registry = tracing_subscriber::registry().with(filter);
    // Only a second start in the same process could fail, and that one logs already.
    drop(match config.get("log", "format").as_deref() {
        None | Some("text") => registry.with(log).try_init(),
        Some("json") => registry.with(log.json().flatten_event(true)).try_init(),
        Some(other) => return Err(format!("[log] format = {other}: neither text nor json").into()),
    });
    if follows {
        // As above.
        drop(FILTER.set(handle));
    }
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
    Ok(())
}

/// Where the log goes, and what to say when that is not where it should. A log that can't be written where
/// CouchDB's was is no reason not to start.
fn writer(config: &Config) -> Result<(BoxMakeWriter, Option<String>), Box<dyn Error>> {
    match config.get("log", "writer").as_deref() {
        Some("file") => {
            let path = config.get("log", "file").unwrap_or_else(|| DEFAULT_FILE.to_owned());
            match LogFile::open(path.clone().into()) {
                Ok(file) => Ok((BoxMakeWriter::new(Mutex::new(file)), None)),
                Err(error) => {
                    let complaint =
                        format!("logging to standard error, for [log] file = {path}: {error}");
                    Ok((BoxMakeWriter::new(io::stderr), Some(complaint)))
                }
            }
        }
        // The journal and syslog take what a service writes to its standard error.
        None | Some("stderr" | "journald" | "syslog") => Ok((BoxMakeWriter::new(io::stderr), None)),
        Some(other) => Err(format!("[log] writer = {other}: neither stderr nor file").into()),
    }
}

/// A log file that is opened anew when it has been moved away, as programs that rotate logs do.
struct LogFile {
    path: PathBuf,
    file: File,
    looked: Instant,
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(&path)?;
        Ok(Self { path, file, looked: Instant::now() })
    }

    fn follow(&mut self) {
        if self.looked.elapsed() < LOOK_INTERVAL {
            return;
        }
        self.looked = Instant::now();
        // As long as there is no other file to write to, this one is better than none.
        if !is_same(&self.path, &self.file)
            && let Ok(opened) = Self::open(self.path.clone())
        {
            *self = opened;
        }
    }
}

impl io::Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.follow();
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(unix)]
fn is_same(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(there), Ok(here)) = (std::fs::metadata(path), file.metadata()) else { return false };
    (there.dev(), there.ino()) == (here.dev(), here.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Path, _: &File) -> bool {
    true
}

fn by_command_line(cli: &Cli) -> Option<EnvFilter> {
    match (cli.quiet, cli.verbose) {
        (true, _) => Some(EnvFilter::new("warn")),
        (_, 0) => None,
        (_, 1) => Some(EnvFilter::new("debug")),
        (..) => Some(EnvFilter::new("trace")),
    }
}

fn by_level(level: Option<&str>) -> EnvFilter {
    EnvFilter::new(match level {
        Some("debug") => "debug",
        Some("warning" | "warn") => "warn",
        Some("error" | "err" | "critical" | "crit" | "alert" | "emergency" | "emerg") => "error",
        Some("none") => "off",
        _ => "info",
    })
}

/// Takes over a changed `[log] level`, unless the command line or the environment has the say.
pub(crate) fn follow(config: &Config) {
    if let Some(filter) = FILTER.get() {
        // Nothing but the end of the process could make it fail.
        drop(filter.reload(by_level(config.get("log", "level").as_deref())));
    }
}

/// Where a request comes from.
enum Peer {
    /// The other end of the connection.
    Socket(SocketAddr),
    /// Whom the proxy there speaks for.
    Named(IpAddr),
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(address) => write!(f, "{address}"),
            Self::Named(address) => write!(f, "{address}"),
        }
    }
}

/// The line about one request.
pub(crate) struct AccessLine {
    /// Whether somebody wants it: without, nothing is gathered.
    wanted: bool,
    method: http::Method,
    target: String,
    peer: Peer,
    host: String,
    user: Option<String>,
    request_id: String,
    status: u16,
    bytes: u64,
}

impl AccessLine {
    /// What is known from the request.
    pub(crate) fn of(request: &Request, method: &http::Method) -> Self {
        let wanted = tracing::enabled!(target: ACCESS, tracing::Level::INFO);
        let text = |text: &str| if wanted { text.to_owned() } else { String::new() };
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
        Self {
            wanted,
            method: method.clone(),
            target: text(target),
            peer: match request.app.settings().peer_header {
                Some(_) if wanted => Peer::Named(request.client_address()),
                _ => Peer::Socket(request.peer),
            },
            host: text(request.host()),
            user: None,
            request_id: String::new(),
            status: CLIENT_GONE,
            bytes: 0,
        }
    }

    /// What is known once there is an answer.
    pub(crate) fn answered(&mut self, request: &Request, response: &hyper::Response<ReplyBody>) {
        self.status = response.status().as_u16();
        if !self.wanted {
            return;
        }
        self.user = request.user().name().map(str::to_owned);
        let id = response.headers().get("x-couch-request-id").and_then(|id| id.to_str().ok());
        self.request_id = id.unwrap_or_default().to_owned();
    }

    /// So many bytes of the answer's body went out.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// The request's method.
    pub(crate) fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The answer's status; 499 when the client was gone before there was one.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Writes it.
    pub(crate) fn write(&self, took: Duration, complete: bool) {
        if !self.wanted {
            return;
        }
        tracing::info!(
            target: ACCESS,
            id = self.request_id,
            peer = %self.peer,
            host = self.host,
            user = self.user.as_deref().unwrap_or("-"),
            status = self.status,
            bytes = self.bytes,
            micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            complete,
            "{} {}",
            self.method,
            self.target,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_log_that_was_moved_away_goes_on_where_it_should() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("log"), dir.path().join("log.1"));
        let mut log = LogFile::open(path.clone()).unwrap();
        log.write_all(b"one").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        log.write_all(b"two").unwrap();
        log.looked = Instant::now().checked_sub(2 * LOOK_INTERVAL).unwrap();
        log.write_all(b"three").unwrap();
        assert_eq!(std::fs::read_to_string(moved).unwrap(), "onetwo");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "three");
    }
}
