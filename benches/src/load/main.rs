//! `settee-load`: the same work against any server that speaks the CouchDB API, over HTTP.
//!
//! It finds the limits first (a bare append and sync on the same disk, a bare hyper server on the same
//! machine), then the server's figures, so that each can be read as a ratio within one run.
//!
//! ```text
//! settee-load --spawn target/release/settee            start a settee on an empty folder, run everything
//! settee-load --url http://admin:pass@127.0.0.1:5984   run against a server that is there already
//! settee-load --spawn target/release/settee put get    only these workloads
//! ```

mod access;
mod client;
mod limits;
mod many;
mod meter;
mod spawn;
mod views;
mod workload;

use std::{error::Error, time::Duration};

use clap::Parser;

use crate::{client::Target, workload::Workload};

/// Shorthand: whatever ends a run is shown to the person who started it.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
#[command(
    name = "settee-load",
    about = "Loads a CouchDB-compatible server over HTTP and prints what it did."
)]
struct Options {
    /// Server to load, with an administrator's name and password.
    #[arg(long, conflicts_with = "spawn", value_name = "URL")]
    url: Option<String>,
    /// Start this settee binary on an empty folder and load it.
    #[arg(long, value_name = "BINARY")]
    spawn: Option<String>,
    /// Seconds each timed workload runs.
    #[arg(long, default_value_t = 5, value_name = "N")]
    seconds: u64,
    /// Connections of the concurrent workloads.
    #[arg(long, default_value_t = 64, value_name = "N")]
    clients: usize,
    /// Documents the scans read.
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    documents: usize,
    /// Single updates of the growth workload.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    updates: usize,
    /// Databases of the workload `many`.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    databases: usize,
    /// Feeds of the workload `feeds`.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    feeds: usize,
    /// What to run; everything but `many` and `feeds` when none is named.
    #[arg(value_enum)]
    workloads: Vec<Workload>,
}

fn main() -> Outcome<()> {
    let options = Options::parse();
    // One thread: the load must leave the machine to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(options))
}

async fn run(options: Options) -> Outcome<()> {
    let mut spawned = None;
    let url = match (&options.url, &options.spawn) {
        (Some(url), _) => url.clone(),
        (None, Some(binary)) => spawned.insert(spawn::Server::start(binary).await?).url.clone(),
        (None, None) => return Err("name a server with --url, or a binary with --spawn".into()),
    };
    let target = Target::parse(&url)?;
    let plan = workload::Plan {
        duration: Duration::from_secs(options.seconds),
        clients: options.clients,
        documents: options.documents,
        updates: options.updates,
        server_pid: spawned.as_ref().and_then(spawn::Server::pid),
    };
    let all = [
        Workload::Limits,
        Workload::Put,
        Workload::Puts,
        Workload::Bulk,
        Workload::Get,
        Workload::Access,
        Workload::Scans,
        Workload::Views,
        Workload::Growth,
        Workload::Idle,
    ];
    let chosen = if options.workloads.is_empty() { &all[..] } else { &options.workloads[..] };
    println!("{:<44} {:>14}  unit", "workload", "figure");
    for workload in chosen {
        match workload {
            Workload::Many => many::databases(&target, &options, spawned.as_mut()).await?,
            Workload::Feeds => many::feeds(&target, &options, spawned.as_ref()).await?,
            workload => workload.run(&target, &plan).await?,
        }
    }
    if let Some(server) = spawned {
        server.stop().await?;
    }
    Ok(())
}

/// Prints one line of the table.
pub(crate) fn report(name: &str, figure: f64, unit: &str) {
    let shown = if figure >= 100.0 { format!("{figure:.0}") } else { format!("{figure:.2}") };
    println!("{name:<44} {shown:>14}  {unit}");
}
