//! `settee-peers`: the same work on our store and on others that are embedded in programs.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml                 all of it, a few minutes
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- --documents 20000 --only settee,lmdb
//! ```
//!
//! All stores keep the same two indexes, and every write is durable when it returns. The work is cut into
//! slices, and each slice is done by all stores before the next one begins, so that a change in the
//! machine's mood meets all of them. In the end the rows of all stores are compared.

mod fjall;
mod lmdb;
mod peer;
mod redb;
mod run;
mod settee;
mod sqlite;
mod table;
mod work;

use std::path::PathBuf;

use clap::Parser;

use crate::{
    peer::{Opening, Outcome, Peer},
    run::Run,
};

/// What is run.
#[derive(Parser)]
#[command(name = "settee-peers", about = "Compares the store with other embedded stores.")]
pub(crate) struct Options {
    /// Documents in the stores.
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    pub(crate) documents: usize,
    /// Bytes of a body.
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub(crate) body: usize,
    /// Durable writes of one document each.
    #[arg(long, default_value_t = 2000, value_name = "N")]
    pub(crate) singles: usize,
    /// Random reads.
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    pub(crate) reads: usize,
    /// Random reads of files that are not in memory.
    #[arg(long, default_value_t = 2000, value_name = "N")]
    pub(crate) cold_reads: usize,
    /// Updates that show how the files grow.
    #[arg(long, default_value_t = 50_000, value_name = "N")]
    pub(crate) updates: usize,
    /// MiB that each store may cache by itself.
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub(crate) cache: usize,
    /// Ids that come in order, as those made by servers do, instead of scattered ones.
    #[arg(long)]
    pub(crate) ordered: bool,
    /// Only these stores.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) only: Vec<String>,
    /// Where the files are made; the disk that is measured.
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

/// Opens or makes a store.
pub(crate) type Open = fn(Opening<'_>) -> Outcome<Box<dyn Peer>>;

/// The stores, ours first: the others are shown in relation to it.
const STORES: [(&str, Open); 5] = [
    ("settee", settee::open),
    ("redb", redb::open),
    ("lmdb", lmdb::open),
    ("fjall", fjall::open),
    ("sqlite", sqlite::open),
];

fn main() -> Outcome<()> {
    let options = Options::parse();
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|it| it == name);
    let stores: Vec<_> = STORES.into_iter().filter(|(name, _)| wanted(name)).collect();
    if stores.is_empty() {
        return Err("--only names none of settee, redb, lmdb, fjall, sqlite".into());
    }
    Run::new(&options, &stores)?.all()
}
