//! Compaction: what is live is copied into a new file, which then takes the place of the old one.
//!
//! 1. [`load`]: a snapshot is copied in one pass. Bodies, attachments and rows go the way from file to file
//!    in the order of the changes; the rows by id are sorted outside of memory; then the trees are built
//!    bottom up. Several threads share this work: the changes are cut into slices (`slices`), each
//!    thread takes one after the other (`copy`) and fills frames of its own (`frames`) in places of the new
//!    file that it was given (`room`), which another one syncs meanwhile (`syncing`); `crew` is who they are,
//!    `helpers` how many.
//! 2. [`catch_up`]: the commits made meanwhile are read from the old file's log and done again in the new
//!    file, in rounds. Each edit takes the same sequence again. An edit that a later one of the same
//!    round supersedes takes its sequence and leaves no other trace.
//! 3. [`swap`]: the last, short round runs while writers wait. Then the new file is synced and renamed
//!    over the old one, the folder is synced, and readers and writers are shown the new one.
//!
//! * `target`: the new file while it has no name of its own; `blobs`: what is added to it behind the copy;
//!   `copier`: the references of one document; `pace`: what slows down writers that outrun the copy
//!
//! Until the rename, the old file is the database and nothing refers to the new one: whatever fails,
//! cancels or crashes, the old one stays as it was.

mod blobs;
mod catch_up;
mod copier;
mod copy;
mod crew;
mod frames;
mod helpers;
mod load;
mod pace;
mod room;
mod slices;
mod swap;
mod syncing;
mod target;

use std::{collections::HashMap, sync::Arc};

pub(super) use pace::Drag;

use self::{catch_up::Moment, target::Target};
use super::{generation::Generation, store::FileStore};
use crate::{
    compaction::{Compacted, Compaction, Phase, Progress, Watch},
    error::{Error, Result},
    store::{Counts, StreamRef},
};

/// Bytes that a row takes in both indexes and in the scratch files of the sort, at most in most cases.
const ROW_BYTES: u64 = 1024;
/// Bytes of space asked for in any case.
const LEAST_ROOM_BYTES: u64 = 64 * 1024;
/// Changes between two looks at whether to go on.
const CHANGES_PER_LOOK: u64 = 256;

impl FileStore {
    /// See [`Store::compact`](crate::Store::compact).
    pub(super) fn compact_now(
        &self,
        job: &mut dyn Compaction,
        watch: Watch<'_>,
    ) -> Result<Compacted> {
        let Some(_one_at_a_time) = self.compacting.try_lock() else {
            // Who closes the store takes the lock, too.
            return Err(match self.is_closed() {
                true => Error::Closed,
                false => Error::Busy { path: self.path.to_path_buf() },
            });
        };
        let old = self.generation();
        self.check_room(&old)?;
        let bytes_before = old.tail.end();
        let mut run = Run::begin(self, Arc::clone(&old), job, watch)?;
        let rounds = run.finish().map_err(|error| unless_given_up(&old, error))?;
        let bytes_after = self.generation().tail.end();
        Ok(Compacted { bytes_before, bytes_after, changes: run.done, rounds })
    }

    /// Refuses to begin what the disk could not take.
    pub(super) fn check_room(&self, old: &Generation) -> Result<()> {
        let Counts { active_bytes, .. } = old.state.load().head.counts;
        let rows = old.state.load().head.counts.documents().saturating_mul(ROW_BYTES);
        let live = active_bytes.saturating_add(active_bytes / 8).saturating_add(rows);
        let needed = live.min(old.tail.end()).saturating_add(LEAST_ROOM_BYTES);
        let free = self.disk.free_bytes(&self.path).map_err(|source| {
            crate::error::io_error("ask for the free space beside", &self.path, source)
        })?;
        if free < needed {
            return Err(Error::NoRoom { path: self.path.to_path_buf(), needed, free });
        }
        Ok(())
    }
}

/// Giving a file up cuts off what was not durable. What then refers to nothing is not damage.
fn unless_given_up(old: &Generation, error: Error) -> Error {
    match (&error, old.tail.check()) {
        (Error::Corrupt { .. }, Err(given_up)) => given_up,
        _ => error,
    }
}

/// A compaction under way.
struct Run<'r> {
    store: &'r FileStore,
    job: &'r mut dyn Compaction,
    look: Look<'r>,
    old: Arc<Generation>,
    target: Target,
    /// Everything up to here is in the new file.
    reached: Moment,
    new: Arc<Generation>,
    /// Offset of the checkpoint that the new file begins with.
    base: u64,
    /// Streams that were staged when they were copied: where they were, and where they are.
    staged: HashMap<StreamRef, StreamRef>,
    done: u64,
    total: u64,
}

impl<'r> Run<'r> {
    /// Steps 1: the new file as of a snapshot.
    fn begin(
        store: &'r FileStore,
        old: Arc<Generation>,
        job: &'r mut dyn Compaction,
        watch: Watch<'r>,
    ) -> Result<Self> {
        let look = Look { store, watch, is_quiet: false };
        let reached = Moment::of(&old)?;
        let target = Target::create(store, &old)?;
        let total = reached.state.head.counts.documents();
        let load::Loaded { generation: new, base } = load::load(&reached, &target, job, look)?;
        let staged = HashMap::new();
        let done = total;
        Ok(Run { store, job, look, old, target, reached, new, base, staged, done, total })
    }

    /// Steps 2 and 3; returns the number of rounds.
    fn finish(&mut self) -> Result<u32> {
        let mut pace = pace::Pace::new(&self.store.drag);
        for round in 1u32.. {
            if self.swap(round)? {
                return Ok(round);
            }
            self.go_on()?;
            let before = self.reached.end;
            let to = Moment::of(&self.old)?;
            let timer = pace.begin(round);
            self.round(to)?;
            self.copy_staged()?;
            self.new.tail.sync()?;
            pace.end(timer, self.reached.end - before);
        }
        Err(Error::Cancelled)
    }
}

/// The question whether to go on.
#[derive(Clone, Copy)]
struct Look<'l> {
    store: &'l FileStore,
    watch: Watch<'l>,
    /// Goes on unless the store is closed.
    is_quiet: bool,
}

impl Look<'_> {
    fn go_on(self, phase: Phase, done: u64, total: u64) -> Result<()> {
        if self.store.is_closed() {
            return Err(Error::Closed);
        }
        let progress = Progress { phase, done, total: total.max(done) };
        match self.is_quiet || (self.watch)(progress) {
            true => Ok(()),
            false => Err(Error::Cancelled),
        }
    }
}
