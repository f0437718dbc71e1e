//! The steps from the command line to a running server, and from a signal to its end.

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use settee_engine::{AttachmentSettings, Databases, Options, Props};
use settee_storage::disk::RealDisk;

use crate::app::App;
use crate::auth::{self, FirstAdmin};
use crate::cli::Cli;
use crate::config::{self, Config};
use crate::descriptors::Budget;
use crate::http::{Server, stream};
use crate::restart;

/// Where databases are kept unless told otherwise.
const DEFAULT_DATA_DIR: &str = "data";

/// Databases that clients expect to find on a server that is set up.
const SYSTEM_DATABASES: [&str; 2] = ["_replicator", "_users"];

/// Fewer threads than this would let a few reads that wait for the disk hold up all others.
const MIN_WORKERS: usize = 4;

/// Threads that may wait for the disk or follow a slow client at the same time. Those beyond the ones
/// that slow clients can hold are left to writes.
const MAX_BLOCKING_THREADS: usize = stream::MAX_PRODUCERS + 128;

/// A step of the start that takes longer is worth a line.
const WORTH_A_LINE: Duration = Duration::from_secs(1);

/// Reads the configuration: the files and folders of the command line, or else the data folder's.
///
/// # Errors
///
/// When a file or folder can't be read, or an option means nothing.
pub fn configuration(cli: &Cli) -> Result<Config, Box<dyn Error>> {
    let mut paths = cli.config.clone();
    if paths.is_empty() {
        paths.push(cli.data_dir.clone().unwrap_or_else(|| DEFAULT_DATA_DIR.into()));
    }
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() || cli.config.is_empty() {
            let found = config::of_folder(&path);
            files.extend(found.map_err(|error| format!("{}: {error}", path.display()))?);
        } else {
            files.push(path);
        }
    }
    Ok(Config::load(files, &cli.overrides())?)
}

/// The folder of the databases, made if it isn't there.
///
/// # Errors
///
/// When it can't be made.
pub fn data_dir(cli: &Cli, config: &Config) -> Result<PathBuf, Box<dyn Error>> {
    let configured = || config.get("couchdb", "database_dir").map(PathBuf::from);
    let data_dir = cli.data_dir.clone().or_else(configured);
    let data_dir = data_dir.unwrap_or_else(|| DEFAULT_DATA_DIR.into());
    fs::create_dir_all(&data_dir)
        .map_err(|error| format!("cannot make {}: {error}", data_dir.display()))?;
    Ok(data_dir)
}

/// Logs what of the configuration has no effect.
pub fn report(config: &Config) {
    let findings = config.findings();
    for line in findings.ignored_lines() {
        tracing::info!("ignored, for it has no effect here: {line}");
    }
    for unknown in &findings.unknown {
        tracing::warn!("unknown option: {unknown}");
    }
}

/// Opens the data folder.
///
/// # Errors
///
/// When another process has it, or it can't be read.
pub fn open_databases(data_dir: &Path, config: &Config) -> Result<Arc<Databases>, Box<dyn Error>> {
    let settings = config.settings();
    let mut options = Options {
        open_databases: Budget::of_process(settings.max_dbs_open).open_databases,
        attachments: AttachmentSettings::default(),
        ..Options::default()
    };
    if !settings.admin_only_by_default {
        options.default_security = "{}".to_owned();
    }
    let databases =
        timed("opening the data folder", || Databases::open(Arc::new(RealDisk), data_dir, options));
    let databases = databases.map_err(|error| match error {
        settee_engine::Error::Storage(settee_storage::Error::Locked { .. }) => {
            format!("{} is in use by another settee", data_dir.display()).into()
        }
        other => Box::<dyn Error>::from(other),
    })?;
    if settings.single_node {
        for name in SYSTEM_DATABASES {
            if !databases.exists(name)? {
                databases.create(name, Props::default())?;
            }
        }
    }
    Ok(databases)
}

/// Sees to it that there is an administrator; returns the one that had to be made.
///
/// # Errors
///
/// When the configuration can't be written.
pub fn prepare_accounts(cli: &Cli, config: &Config) -> Result<Option<FirstAdmin>, Box<dyn Error>> {
    Ok(timed("hashing passwords", || auth::ensure_admin(config, cli.admin()))?)
}

fn timed<T>(what: &str, step: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = step();
    if started.elapsed() >= WORTH_A_LINE {
        tracing::info!("{what} took {:.1} s", started.elapsed().as_secs_f64());
    }
    result
}

/// How a run of the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// For good.
    Stopped,
    /// To start anew, on this port if any would do.
    Restart {
        /// The port it listened on.
        port: u16,
    },
}

/// Listens, serves until a signal comes or an administrator asks for a restart, then closes the databases.
///
/// # Errors
///
/// When the address can't be listened on, or a database can't be closed properly.
pub fn serve(
    config: Config,
    databases: Arc<Databases>,
    first_admin: Option<FirstAdmin>,
) -> Result<Ending, Box<dyn Error>> {
    let settings = config.settings();
    let port = match settings.port {
        0 => restart::port_before().unwrap_or(0),
        port => port,
    };
    let address = address(&settings.bind_address, port)?;
    let budget = Budget::of_process(settings.max_dbs_open);
    if let Some(complaint) = budget.complaint(settings.max_dbs_open) {
        tracing::warn!("{complaint}");
    }
    let app = App::new(config, Arc::clone(&databases))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // More threads than cores: a read that waits for the disk holds up one of them only.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(MIN_WORKERS.max(2 * cores))
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let max_connections = settings.network.max_connections.unwrap_or(usize::MAX);
        let max_connections = max_connections.min(budget.connections);
        let mut server = Server::bind(Arc::clone(&app), address, max_connections)?;
        let tls = server.bind_tls(address)?;
        let metrics = settings.network.metrics.as_ref();
        let metrics = metrics.map(|(host, port)| self::address(host, *port)).transpose()?;
        let metrics = server.bind_metrics(metrics)?;
        if let Err(error) = announce(app.address(), tls, metrics, first_admin.as_ref()) {
            // Whoever started it may have read enough, and closed the pipe.
            tracing::warn!(%error, "standard output can't be written to");
        }
        let per_user = tokio::spawn(Arc::clone(app.per_user()).follow(Arc::clone(&app)));
        let events = Arc::clone(app.global_changes()).follow(Arc::clone(&app));
        let events = tokio::spawn(events);
        let replicator = tokio::spawn(Arc::clone(app.replicator()).run(Arc::clone(&app)));
        // Replications between this server and itself write their last checkpoints over HTTP.
        let ending = async {
            tokio::select! {
                () = signal() => {}
                () = app.restart_requested() => tracing::info!("restarting: running requests may finish"),
            }
            app.replicator().stop().await;
        };
        server.run(ending).await;
        drop(replicator.await);
        drop(per_user.await);
        drop(events.await);
        Ok::<_, Box<dyn Error>>(())
    })?;
    tracing::info!("closing the databases");
    timed("closing the databases", || databases.close())?;
    Ok(match app.is_to_restart() {
        true => Ending::Restart { port: app.address().port() },
        false => Ending::Stopped,
    })
}

fn address(host: &str, port: u16) -> Result<SocketAddr, Box<dyn Error>> {
    let host = if host == "any" { "0.0.0.0" } else { host };
    let addresses = (host.trim_matches(['[', ']']), port).to_socket_addrs();
    let addresses = addresses.map_err(|error| format!("bind_address {host}: {error}"))?;
    addresses.into_iter().next().ok_or_else(|| format!("bind_address {host} has no address").into())
}

/// Says on standard output where the server is, and who may enter.
fn announce(
    address: SocketAddr,
    tls: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    first_admin: Option<&FirstAdmin>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let version = env!("CARGO_PKG_VERSION");
    writeln!(out, "Settee {version} listens on http://{address}/")?;
    if let Some(address) = tls {
        writeln!(out, "and, over TLS, on https://{address}/")?;
    }
    if let Some(address) = metrics {
        writeln!(out, "Metrics for Prometheus are on http://{address}/_node/_local/_prometheus")?;
    }
    if let Some(FirstAdmin { name, password }) = first_admin {
        writeln!(out, "An administrator was made; the password is shown only this once:")?;
        writeln!(out, "  name      {name}")?;
        writeln!(out, "  password  {password}")?;
        writeln!(out, "  try       curl http://{name}:{password}@{address}/_all_dbs")?;
        let option =
            format!("http://{name}:{password}@{address}/_node/_local/_config/admins/{name}");
        writeln!(out, "  change    curl -X PUT {option} -d '\"another password\"'")?;
    }
    out.flush()
}

/// Resolves when the process is asked to end. Asked a second time, it ends at once.
async fn signal() {
    next_signal().await;
    tracing::info!("stopping: running requests may finish");
    tokio::spawn(async {
        next_signal().await;
        tracing::warn!("stopped at once; the databases will be recovered when opened");
        std::process::exit(1);
    });
}

#[cfg(unix)]
async fn next_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn next_signal() {
    drop(tokio::signal::ctrl_c().await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (host, expected) in [
            ("127.0.0.1", "127.0.0.1:7"),
            ("any", "0.0.0.0:7"),
            ("::", "[::]:7"),
            ("[::1]", "[::1]:7"),
        ] {
            assert_eq!(address(host, 7).unwrap().to_string(), expected);
        }
        assert!(address("no such host!", 7).is_err());
    }
}
