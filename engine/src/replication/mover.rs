//! Moving the revisions of a batch: which are missing, fetching them, writing them.
//!
//! Many at once where possible; those with attachments to send one by one, as streams.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::sleep,
};

use super::{
    error::ReplicationError,
    peer::{CHUNK_BYTES, Change, Fetched, Key, Peer, Wanted, Written, attached::AttachedItem},
    progress::{Progress, Stats},
};
use crate::name::DESIGN_PREFIX;

/// Memory for documents on their way, in KiB. A document alone may be larger, if it is.
const BUDGET_KIB: usize = 16 * 1024;
/// A document takes its size so many times: as an answer, in the scanner's spelling, as a request.
const COPIES: usize = 3;
/// What a document with attachments takes, in KiB: pieces that wait at several places.
const STREAM_KIB: usize = 1024;
/// Most documents that are moved at once.
const MAX_DOCUMENTS: usize = 1000;
/// Most documents with attachments under way at the same time, for one batch.
const MAX_STREAMS: usize = 8;
/// What a document is taken for as long as none has been seen, in bytes. Until then no two requests for
/// documents are under way.
const ASSUMED_BYTES: usize = 2 * 1024;
/// The status of an answer by which a server asks to be left alone for a while.
const TOO_MANY_REQUESTS: u16 = 429;
/// The wait before a document is tried again; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The wait before a revision is asked for again that is listed and not there: another node of the source
/// may be behind.
const MISSING_WAIT: Duration = Duration::from_secs(2);

type Result<T> = std::result::Result<T, ReplicationError>;

/// Moves revisions from the source to the target. Shared by the workers of a replication.
pub(super) struct Mover {
    source: Arc<Peer>,
    target: Arc<Peer>,
    progress: Arc<Progress>,
    budget: Semaphore,
    /// Mean size of documents of late, in bytes; 0 as long as it is not known.
    mean: AtomicUsize,
    streams: usize,
    retries: u32,
}

/// What became of one attempt at a single revision.
enum Single {
    Done,
    WithoutStubs,
    Missing,
}

impl Mover {
    pub(super) fn new(
        (source, target): (Arc<Peer>, Arc<Peer>),
        progress: Arc<Progress>,
        connections: usize,
        retries: u32,
    ) -> Self {
        Mover {
            source,
            target,
            progress,
            budget: Semaphore::new(BUDGET_KIB),
            mean: AtomicUsize::new(0),
            streams: connections.clamp(1, MAX_STREAMS),
            retries,
        }
    }

    /// Brings what is missing of some changes to the target.
    ///
    /// # Errors
    /// If anything of it is not there afterwards that the target has not refused.
    pub(super) async fn batch(&self, mut changes: Vec<Change>) -> Result<()> {
        changes.retain(|change| !change.revs.is_empty());
        if changes.is_empty() {
            return Ok(());
        }
        changes.sort_by(|a, b| a.id.cmp(&b.id));
        let checked = changes.iter().map(|change| change.revs.len() as u64).sum();
        let mut wanted = self.target.missing(changes).await?;
        self.progress.add(&Stats {
            revisions_checked: checked,
            missing_revisions_found: wanted.len() as u64,
            ..Stats::default()
        });
        wanted.sort_by(|a, b| (&a.key.id, &a.key.rev).cmp(&(&b.key.id, &b.key.rev)));
        // Elsewhere a design document may be refused with all that come along with it.
        let alone =
            |wanted: &Wanted| !self.target.is_local() && wanted.key.id.starts_with(DESIGN_PREFIX);
        let (designs, wanted): (Vec<_>, Vec<_>) = wanted.into_iter().partition(alone);
        self.singly(designs).await?;
        let singly = self.many(&wanted).await?;
        self.singly(singly).await
    }

    /// Moves many at once; returns those that have to be moved one by one.
    async fn many(&self, mut wanted: &[Wanted]) -> Result<Vec<Wanted>> {
        let mut singly = Vec::new();
        while let Some(first) = wanted.first() {
            if self.mean() > CHUNK_BYTES && !self.source.is_local() {
                // It would be read in vain, for its answer would be too long.
                singly.push(first.clone());
                wanted = wanted.get(1..).unwrap_or_default();
                continue;
            }
            let (count, _permit) = self.reserve(wanted.len()).await?;
            let fetched = self.source.fetch(wanted, count, !self.target.is_local()).await?;
            let rest = wanted.get(fetched.taken..).unwrap_or_default();
            if rest.len() == wanted.len() {
                return Err(ReplicationError::Internal("nothing was fetched".into()));
            }
            self.write(fetched, &mut singly).await?;
            wanted = rest;
        }
        Ok(singly)
    }

    async fn write(&self, fetched: Fetched, singly: &mut Vec<Wanted>) -> Result<()> {
        let Fetched { parcels, singly: more, attempted, mean_at_least, .. } = fetched;
        singly.extend(more);
        let count = parcels.len();
        let bytes: usize = parcels.iter().map(|parcel| parcel.bytes()).sum();
        self.learn(mean_at_least.max(bytes.checked_div(count).unwrap_or(0)));
        self.progress.add(&Stats {
            docs_read: count as u64,
            bulk_get_docs: count as u64,
            bulk_get_attempts: attempted as u64,
            ..Stats::default()
        });
        if count == 0 {
            return Ok(());
        }
        let Written { written, failures, without_stubs } = self.target.write(parcels).await?;
        self.progress.add(&Stats {
            docs_written: written,
            doc_write_failures: failures,
            ..Stats::default()
        });
        singly.extend(without_stubs.into_iter().map(|key| Wanted { key, ancestors: Vec::new() }));
        Ok(())
    }

    async fn singly(&self, wanted: Vec<Wanted>) -> Result<()> {
        stream::iter(wanted)
            .map(|wanted| self.single(wanted))
            .buffer_unordered(self.streams)
            .try_collect()
            .await
    }

    /// Moves one revision with its attachments, as often as it takes.
    async fn single(&self, mut wanted: Wanted) -> Result<()> {
        let mut wait = FIRST_WAIT;
        let mut left = self.retries;
        let mut was_missing = false;
        loop {
            match self.try_single(&wanted).await {
                Ok(Single::Done) => return Ok(()),
                Ok(Single::WithoutStubs) if !wanted.ancestors.is_empty() => {
                    wanted.ancestors.clear();
                }
                Ok(Single::WithoutStubs) => {
                    let reason = "the target does not take its attachments".to_owned();
                    return Err(ReplicationError::DocumentWrite { id: wanted.key.id, reason });
                }
                Ok(Single::Missing) if !was_missing => {
                    was_missing = true;
                    wanted.ancestors.clear();
                    sleep(MISSING_WAIT).await;
                }
                Ok(Single::Missing) => {
                    let Key { id, rev } = wanted.key;
                    return Err(ReplicationError::MissingRevision { id, rev: rev.to_string() });
                }
                // The next attempt waits until the server wants it, which also knows when it is too much.
                Err(ReplicationError::Http { status: TOO_MANY_REQUESTS, .. }) => {}
                Err(error) if is_transient(&error) && left > 0 => {
                    left -= 1;
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_single(&self, wanted: &Wanted) -> Result<Single> {
        let _permit = self.acquire(STREAM_KIB.max(self.mean() * COPIES / 1024)).await?;
        let mut items = self.source.fetch_single(wanted).await?;
        let mut single = Single::Done;
        while let Some(item) = items.next().await {
            let attached = match item? {
                AttachedItem::Document(attached) => attached,
                AttachedItem::Missing => {
                    single = Single::Missing;
                    continue;
                }
            };
            self.learn(attached.bytes());
            let is_followed = attached.is_followed();
            let written = self.target.write_attached(attached).await?;
            if !written.without_stubs.is_empty() {
                return Ok(Single::WithoutStubs);
            }
            self.progress.add(&Stats {
                docs_read: 1,
                docs_written: written.written,
                doc_write_failures: written.failures,
                ..Stats::default()
            });
            if is_followed && written.failures > 0 {
                // Its attachments need not be read. What may come behind them, a later revision on another
                // branch, the feed lists again.
                break;
            }
        }
        Ok(single)
    }

    /// Memory for the next documents, `most` at the most, and for how many it is.
    async fn reserve(&self, most: usize) -> Result<(usize, SemaphorePermit<'_>)> {
        let count_of = |mean: usize| (CHUNK_BYTES / mean).clamp(1, MAX_DOCUMENTS).min(most);
        let permit = match self.mean() {
            0 => self.acquire(BUDGET_KIB).await?,
            mean => self.acquire(count_of(mean) * mean * COPIES / 1024).await?,
        };
        match self.mean() {
            0 => Ok((count_of(ASSUMED_BYTES), permit)),
            // It may have become known while this waited.
            mean => Ok((count_of(mean), permit)),
        }
    }

    async fn acquire(&self, kib: usize) -> Result<SemaphorePermit<'_>> {
        let kib = u32::try_from(kib.clamp(1, BUDGET_KIB)).unwrap_or(1);
        let permit = self.budget.acquire_many(kib).await;
        permit.map_err(|error| ReplicationError::Internal(error.to_string()))
    }

    fn mean(&self) -> usize {
        self.mean.load(Ordering::Relaxed)
    }

    /// Takes note of the size of documents; 0 if nothing was learnt of it.
    fn learn(&self, size: usize) {
        if size == 0 {
            return;
        }
        let before = self.mean();
        // Larger ones count at once, smaller ones by and by.
        let after = if size > before { size } else { (before * 3 + size) / 4 };
        self.mean.store(after.max(1), Ordering::Relaxed);
    }
}

/// Whether the same may go well the next time.
fn is_transient(error: &ReplicationError) -> bool {
    matches!(
        error,
        ReplicationError::Connection { .. }
            | ReplicationError::Timeout { .. }
            | ReplicationError::Http { .. }
            | ReplicationError::Internal(_)
    )
}
