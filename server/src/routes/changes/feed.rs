//! Feeds that go on: longpoll, continuous and eventsource.
//!
//! A follower reads in steps of one buffer, each from a snapshot of its own, and hands each to the
//! connection before it reads the next: a slow client holds neither a thread nor a snapshot. When
//! it has caught up it waits on the database's notifier, which costs memory only: the database itself may
//! be closed meanwhile, and is opened again for the next step.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use settee_engine::{
    Caller, ChangeRow, ChangeSink, ChangesEnd, ChangesQuery, Database, Subscription, Wake,
};
use tokio::time::Instant;

use super::events::Told;
use super::params::Feed;
use super::{BETWEEN_ROWS, OPENING, close};
use crate::app::App;
use crate::http::stream::{AsyncWriter, BUFFER_BYTES, ClientGone};
use crate::http::{Failure, Request};

/// A backlog of at most this many changes is read on the spot; a longer one on a blocking thread.
const SMALL_BACKLOG: u64 = 16;

/// What keeps an idle feed alive, and when it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// An empty line is sent after each such span without rows; then there is no timeout.
    pub(super) heartbeat: Option<Duration>,
    /// Without a heartbeat: the feed ends after this span without rows.
    pub(super) timeout: Duration,
}

/// Why a feed ends.
enum Stop {
    /// Its limit, its time, its database or the server has come to an end.
    Done,
    /// Nobody listens any more.
    Gone,
    /// Something failed; the client sees a broken connection.
    Failed(Failure),
}

impl From<ClientGone> for Stop {
    fn from(_: ClientGone) -> Self {
        Self::Gone
    }
}

/// One feed on its way to one client.
pub(super) struct Follower {
    app: Arc<App>,
    /// Who follows.
    caller: Caller,
    subscription: Subscription,
    feed: Feed,
    told: Told,
    /// Its `since` and `limit` advance with what was sent.
    query: ChangesQuery,
    pace: Pace,
    writer: AsyncWriter,
    /// Where the last step ended.
    end: ChangesEnd,
    /// Rows sent so far.
    sent: u64,
    /// When the last row was sent, or the feed began.
    active: Instant,
}

impl Follower {
    pub(super) fn new(
        request: &Request,
        database: &Arc<Database>,
        (feed, told): (Feed, Told),
        query: ChangesQuery,
        pace: Pace,
        writer: AsyncWriter,
    ) -> Self {
        let end = ChangesEnd { last_seq: query.since, pending: 0, cut: false };
        Self {
            app: Arc::clone(&request.app),
            caller: request.user().caller().clone(),
            subscription: database.subscribe(),
            feed,
            told,
            query,
            pace,
            writer,
            end,
            sent: 0,
            active: Instant::now(),
        }
    }

    /// Runs to the end of the feed.
    pub(super) async fn run(mut self) {
        let stop = match self.follow().await {
            Ok(()) => Stop::Done,
            Err(stop) => stop,
        };
        match stop {
            Stop::Done => drop(self.finish().await),
            Stop::Gone => {}
            Stop::Failed(failure) => {
                tracing::warn!(database = self.subscription.name(), %failure, "a changes feed broke off");
                self.writer.abort(failure).await;
            }
        }
    }

    async fn follow(&mut self) -> Result<(), Stop> {
        if self.feed == Feed::Longpoll {
            self.writer.send(OPENING).await?;
        }
        loop {
            let seen = self.catch_up().await?;
            let answered = self.feed == Feed::Longpoll && self.sent > 0;
            // A feed that runs backwards has nothing to wait for.
            if answered || self.query.limit == Some(0) || self.query.descending {
                return Ok(());
            }
            self.wait(seen).await?;
        }
    }

    /// Sends all that is there, step by step; returns the sequence that was reached.
    async fn catch_up(&mut self) -> Result<u64, Stop> {
        loop {
            let step = self.step().await?;
            self.end = step.end;
            self.query.limit = self.query.limit.map(|limit| limit.saturating_sub(step.rows));
            if step.rows > 0 {
                self.sent += step.rows;
                self.active = Instant::now();
                self.writer.send(step.bytes).await?;
            }
            if !step.full {
                self.query.since = self.query.since.max(step.seen);
                return Ok(step.seen);
            }
            self.query.since = step.end.last_seq;
        }
    }

    /// Reads one buffer of rows. While a long scan finds none, heartbeats are sent.
    async fn step(&mut self) -> Result<Step, Stop> {
        let database = self.app.databases().resume(&self.subscription).map_err(failed)?;
        let reader = database.read_as(&self.caller).map_err(failed)?;
        drop(database);
        let backlog = reader.seq().saturating_sub(self.query.since);
        let small = backlog <= SMALL_BACKLOG && !self.query.descending;
        let (query, form, first) = (self.query.clone(), (self.feed, self.told), self.sent == 0);
        let work = move || scan(&reader, &query, form, first);
        if small {
            return work().map_err(failed);
        }
        let mut scan = tokio::task::spawn_blocking(work);
        loop {
            tokio::select! {
                step = &mut scan => {
                    let step = step.map_err(|_| Failure::internal("the scan failed"));
                    return step.and_then(|step| Ok(step?)).map_err(Stop::Failed);
                }
                () = beat(self.pace.heartbeat) => self.send_heartbeat().await?,
            }
        }
    }

    /// Waits until there is a change after `seen`; heartbeats go out meanwhile.
    async fn wait(&self, seen: u64) -> Result<(), Stop> {
        let changed = self.subscription.changed(seen);
        tokio::pin!(changed);
        let deadline = match self.pace.heartbeat {
            Some(_) => None,
            None => self.active.checked_add(self.pace.timeout),
        };
        loop {
            tokio::select! {
                wake = &mut changed => return match wake {
                    Wake::Changed(_) => Ok(()),
                    Wake::Closed => Err(Stop::Done),
                },
                () = until(deadline) => return Err(Stop::Done),
                () = self.app.stopping() => return Err(Stop::Done),
                () = self.writer.gone() => return Err(Stop::Gone),
                () = beat(self.pace.heartbeat) => self.send_heartbeat().await?,
            }
        }
    }

    async fn send_heartbeat(&self) -> Result<(), ClientGone> {
        let line: &'static [u8] = match self.feed {
            Feed::EventSource => b"event: heartbeat\ndata: \n\n",
            _ => b"\n",
        };
        self.writer.send(line).await
    }

    /// Sends what follows the last row.
    async fn finish(&self) -> Result<(), ClientGone> {
        let mut bytes = Vec::new();
        match self.feed {
            Feed::EventSource => return Ok(()),
            Feed::Continuous => {
                let last_seq = self.subscription.sequence_text(self.end.last_seq);
                bytes.extend_from_slice(self.told.summary(&last_seq, &self.end).as_bytes());
                bytes.push(b'\n');
            }
            Feed::Longpoll | Feed::Normal => {
                let last_seq = self.subscription.sequence_text(self.end.last_seq);
                close(self.told, &last_seq, &self.end, &mut bytes);
            }
        }
        self.writer.send(bytes).await
    }
}

fn failed(error: settee_engine::Error) -> Stop {
    match error {
        // Deleted between a wait and the next step.
        settee_engine::Error::DatabaseNotFound => Stop::Done,
        error => Stop::Failed(Failure::from(error)),
    }
}

async fn beat(heartbeat: Option<Duration>) {
    match heartbeat {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// One buffer of rows.
struct Step {
    bytes: Vec<u8>,
    rows: u64,
    end: ChangesEnd,
    /// The sequence of the snapshot.
    seen: u64,
    /// Whether there may be more rows in the snapshot.
    full: bool,
}

fn scan(
    reader: &settee_engine::Reader,
    query: &ChangesQuery,
    (feed, told): (Feed, Told),
    first: bool,
) -> settee_engine::Result<Step> {
    let database = reader.database();
    let mut rows = Rows { database, feed, told, first, bytes: Vec::new(), rows: 0, full: false };
    let end = reader.changes(query, &mut rows)?;
    Ok(Step { bytes: rows.bytes, rows: rows.rows, end, seen: reader.seq(), full: rows.full })
}

/// Rows in the framing of a feed, until a buffer is full.
struct Rows<'r> {
    database: &'r Database,
    feed: Feed,
    told: Told,
    first: bool,
    bytes: Vec<u8>,
    rows: u64,
    full: bool,
}

impl ChangeSink for Rows<'_> {
    fn row(&mut self, row: ChangeRow<'_>) -> ControlFlow<()> {
        let Some(json) = self.told.row(&row) else { return ControlFlow::Continue(()) };
        let first = std::mem::take(&mut self.first);
        match self.feed {
            Feed::Continuous => {
                self.bytes.extend_from_slice(&json);
                self.bytes.push(b'\n');
            }
            Feed::EventSource => {
                self.bytes.extend_from_slice(b"data: ");
                self.bytes.extend_from_slice(&json);
                let id = self.database.sequence_text(row.seq);
                self.bytes.extend_from_slice(format!("\nid: \"{id}\"\n\n").as_bytes());
            }
            Feed::Longpoll | Feed::Normal => {
                if !first {
                    self.bytes.extend_from_slice(BETWEEN_ROWS);
                }
                self.bytes.extend_from_slice(&json);
            }
        }
        self.rows += 1;
        self.full = self.bytes.len() >= BUFFER_BYTES;
        if self.full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
