//! What the server counts: requests, their outcomes and how long they took, connections, feeds.
//!
//! * [`Metrics`] are the counters; counting takes no lock;
//! * [`stats`] shows them as CouchDB's `/_node/{name}/_stats` does, [`prometheus`] as its `_prometheus`;
//! * [`process`] is what the system says about this process.
//!
//! Databases and documents are counted by the engine, not here.

mod histogram;
pub mod process;
pub mod prometheus;
pub mod stats;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use histogram::{Histogram, Summary};

/// Methods that are counted by name; others together.
pub const METHODS: [&str; 8] = ["COPY", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "other"];

/// The statuses that are counted are below this.
const STATUSES: usize = 600;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things that are there at the moment.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// One more, until what this returns goes away.
    pub fn enter(&self) -> Present {
        self.0.fetch_add(1, Ordering::Relaxed);
        Present(Arc::clone(&self.0))
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One thing that a [`Gauge`] counts.
#[derive(Debug)]
pub struct Present(Arc<AtomicU64>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The counters.
///
/// ```
/// use std::time::Duration;
/// use settee_server::metrics::Metrics;
///
/// let metrics = Metrics::default();
/// metrics.answered("GET", 200, Duration::from_millis(3), true);
/// assert_eq!((metrics.requests(), metrics.status(200)), (1, 1));
/// ```
#[derive(Debug)]
pub struct Metrics {
    methods: [Counter; METHODS.len()],
    statuses: Vec<Counter>,
    request_time: Histogram,
    /// Answers that broke off, for want of a client or for a failure.
    pub aborted: Counter,
    /// Connections that were refused for want of a place.
    pub turned_away: Counter,
    /// Requests with `_bulk_docs`.
    pub bulk_requests: Counter,
    /// Connections.
    pub connections: Gauge,
    /// Requests that are being answered.
    pub running: Gauge,
    /// Requests for `_changes` that are being answered.
    pub changes_feeds: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            methods: Default::default(),
            statuses: (0..STATUSES).map(|_| Counter::default()).collect(),
            request_time: Histogram::default(),
            aborted: Counter::default(),
            turned_away: Counter::default(),
            bulk_requests: Counter::default(),
            connections: Gauge::default(),
            running: Gauge::default(),
            changes_feeds: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Counts an answer, and whether all of it was sent.
    pub fn answered(&self, method: &str, status: u16, took: Duration, complete: bool) {
        let place = METHODS.iter().position(|known| *known == method);
        let place = place.unwrap_or(METHODS.len() - 1);
        self.methods.get(place).into_iter().for_each(Counter::add);
        self.statuses.get(usize::from(status)).into_iter().for_each(Counter::add);
        if !complete {
            self.aborted.add();
        }
        self.request_time.record(took);
    }

    /// How many requests were answered.
    pub fn requests(&self) -> u64 {
        self.methods.iter().map(Counter::get).sum()
    }

    /// How many requests came with each method.
    pub fn by_method(&self) -> impl Iterator<Item = (&'static str, u64)> {
        METHODS.iter().zip(&self.methods).map(|(name, counter)| (*name, counter.get()))
    }

    /// How many answers had this status.
    pub fn status(&self, status: u16) -> u64 {
        self.statuses.get(usize::from(status)).map_or(0, Counter::get)
    }

    /// The statuses that occurred, with their numbers.
    pub fn by_status(&self) -> impl Iterator<Item = (usize, u64)> {
        let counted = self.statuses.iter().map(Counter::get).enumerate();
        counted.filter(|(_, count)| *count > 0)
    }

    /// How long requests took from their first byte to the last byte of the answer.
    pub fn request_time(&self) -> &Histogram {
        &self.request_time
    }
}
