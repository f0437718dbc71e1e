//! [`FileStore`]: the parts put together, and the group commit.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};

use super::{
    Options, Recovery,
    compact::Drag,
    generation::{Generation, Writer},
    queue::{Duty, Queue, Waiting},
    stream::ChunkWriter,
    transaction::Group,
};
use crate::{
    compaction::{Compacted, Compaction, Watch},
    disk::Disk,
    error::{Error, Result},
    store::{Done, Edit, Leader, Listener, Receipt, Snapshot, Store, StoreSizes, StreamWriter},
};

/// Most edits in one commit.
const MAX_GROUP_EDITS: usize = 4096;
/// A commit takes no further edits beyond this size; one edit alone may be larger.
const MAX_GROUP_BYTES: usize = 4 * 1024 * 1024;
/// Groups a leader serves before it asks for relief.
const GROUPS_PER_LEADER: u32 = 16;

/// A database in one append-only file.
///
/// ```
/// use settee_storage::{FileStore, Options, Store, DocWeight, update};
/// use std::sync::Arc;
///
/// let store: Arc<dyn Store> = FileStore::in_memory(Options::default())?;
/// let seq = update(&store, |edit| {
///     let body = edit.put_blob(b"{\"hello\":\"world\"}")?;
///     edit.put_doc(b"doc", DocWeight::default(), &body.to_bytes(), b"")
/// })?;
/// let snapshot = store.snapshot()?;
/// assert_eq!((seq, snapshot.counts().live), (1, 1));
/// # Ok::<(), settee_storage::Error>(())
/// ```
pub struct FileStore {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: Arc<Path>,
    pub(super) options: Options,
    /// The file that is read and written now.
    pub(super) current: ArcSwap<Generation>,
    /// Held by whoever compacts.
    pub(super) compacting: Mutex<()>,
    /// See [`Drag`].
    pub(super) drag: Drag,
    queue: Queue,
    listener: RwLock<Option<Listener>>,
    closed: AtomicBool,
    recovery: Recovery,
}

impl FileStore {
    pub(super) fn start(
        disk: Arc<dyn Disk>,
        generation: Arc<Generation>,
        recovery: Recovery,
    ) -> Arc<Self> {
        Arc::new(FileStore {
            disk,
            path: Arc::clone(&generation.path),
            options: generation.options,
            current: ArcSwap::new(generation),
            compacting: Mutex::new(()),
            drag: Drag::default(),
            queue: Queue::default(),
            listener: RwLock::new(None),
            closed: AtomicBool::new(false),
            recovery,
        })
    }

    /// The file that is read and written now. It may be replaced at any time; what must not miss that
    /// looks at [`Writer::replaced`](super::generation::Writer) under the writer's lock.
    pub(super) fn generation(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What opening found and did.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Bytes of memory held by edits that are not in the trees yet, roughly; [`Store::checkpoint`] frees
    /// them.
    #[must_use]
    pub fn overlay_bytes(&self) -> usize {
        self.generation().overlay_bytes()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        self.generation().tail.check()
    }

    /// Serves edits until relieved or none waits.
    fn lead(&self, duty: Duty) {
        self.queue.begin(duty);
        for groups in 1u32.. {
            let before = self.generation().tail.end();
            self.commit_group();
            let generation = self.generation();
            self.drag.pull(generation.tail.end().saturating_sub(before));
            let pressure = generation.checkpoint_pressure();
            if pressure >= 2 {
                // The edits outrun the checkpoints: they wait.
                generation.checkpoint_if_due();
            }
            if !self.queue.go_on(groups >= GROUPS_PER_LEADER || pressure > 0) {
                break;
            }
        }
        self.generation().checkpoint_if_due();
    }

    /// Runs the edits that wait, makes them durable with one write and one sync, and tells their callers.
    fn commit_group(&self) {
        let mut outcomes = Vec::new();
        let attempt = catch_unwind(AssertUnwindSafe(|| self.commit_edits(&mut outcomes)));
        let committed = attempt.unwrap_or_else(|_| {
            // A broken invariant: nothing is written on top of it, and nobody is left waiting.
            let generation = self.generation();
            generation.tail.give_up();
            Err(generation.tail.poisoned_error())
        });
        let seq = self.generation().seq();
        for (done, outcome) in outcomes {
            let outcome = match (outcome, &committed) {
                (Err(error), _) => Err(error),
                (Ok(_), Err(error)) => Err(repeat(error)),
                (Ok(committed), Ok(_)) => Ok(Receipt { committed, seq }),
            };
            tell(|| done(outcome));
        }
        if matches!(committed, Ok(true)) {
            let listener = self.listener.read().clone();
            if let Some(listener) = listener {
                tell(|| listener(seq));
            }
        }
    }

    /// `Ok(true)` if there was anything to commit.
    fn commit_edits(&self, outcomes: &mut Vec<(Done, Result<bool>)>) -> Result<bool> {
        let committed = loop {
            let generation = self.generation();
            let ready = generation.check_memory();
            let mut writer = generation.writer.lock();
            // Compaction may have come in between; then what happened to the old file means nothing.
            if !writer.replaced {
                break ready.and_then(|()| self.commit_to(&generation, &mut writer, outcomes));
            }
        };
        if committed.is_err() && outcomes.is_empty() {
            self.refuse_waiting(outcomes);
        }
        committed
    }

    fn commit_to(
        &self,
        generation: &Generation,
        writer: &mut Writer,
        outcomes: &mut Vec<(Done, Result<bool>)>,
    ) -> Result<bool> {
        let head = generation.append_group(writer, |group| {
            self.run_waiting(group, outcomes);
            Ok(())
        })?;
        let Some(head) = head else { return Ok(false) };
        generation.tail.sync()?;
        generation.publish(head);
        Ok(true)
    }

    fn run_waiting(&self, group: &mut Group<'_>, outcomes: &mut Vec<(Done, Result<bool>)>) {
        while outcomes.len() < MAX_GROUP_EDITS
            && group.size() < MAX_GROUP_BYTES
            && let Some(Waiting { edit, done }) = self.queue.pop()
        {
            outcomes.push((done, Ok(false)));
            let outcome = group.run(edit);
            if let Some(last) = outcomes.last_mut() {
                last.1 = outcome;
            }
        }
    }

    /// Takes the waiting edits without running them; they share the group's failure.
    fn refuse_waiting(&self, outcomes: &mut Vec<(Done, Result<bool>)>) {
        while outcomes.len() < MAX_GROUP_EDITS
            && let Some(Waiting { done, .. }) = self.queue.pop()
        {
            outcomes.push((done, Ok(false)));
        }
    }
}

/// Runs a callback that is not ours; a panic in it is its owner's affair, not that of the other waiters.
fn tell(callback: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(callback));
}

/// The same failure once more, for each edit of a group that failed together.
fn repeat(error: &Error) -> Error {
    match error {
        Error::Io { operation, path, source } => {
            let source = match source.raw_os_error() {
                Some(code) => std::io::Error::from_raw_os_error(code),
                None => source.kind().into(),
            };
            Error::Io { operation, path: path.clone(), source }
        }
        Error::Full { path } => Error::Full { path: path.clone() },
        Error::Poisoned { path } => Error::Poisoned { path: path.clone() },
        Error::Corrupt { path, offset, what } => {
            Error::Corrupt { path: path.clone(), offset: *offset, what }
        }
        _ => Error::Closed,
    }
}

impl Store for FileStore {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(self.generation().state.load_full())
    }

    fn submit(self: Arc<Self>, edit: Edit, done: Done) -> Option<Leader> {
        if let Err(error) = self.check_open() {
            tell(|| done(Err(error)));
            return None;
        }
        let duty = self.queue.push(Waiting { edit, done })?;
        Some(Leader::new(move || self.lead(duty)))
    }

    fn stream(self: Arc<Self>) -> Result<Box<dyn StreamWriter>> {
        self.check_open()?;
        Ok(Box::new(ChunkWriter::new(self)))
    }

    fn listen(&self, listener: Listener) {
        *self.listener.write() = Some(listener);
    }

    fn sizes(&self) -> StoreSizes {
        StoreSizes { file_bytes: self.generation().tail.end() }
    }

    fn compact(&self, job: &mut dyn Compaction, watch: Watch<'_>) -> Result<Compacted> {
        self.check_open()?;
        self.compact_now(job, watch)
    }

    fn check_compaction_room(&self) -> Result<()> {
        self.check_room(&self.generation())
    }

    fn checkpoint(&self) -> Result<()> {
        loop {
            let generation = self.generation();
            let outcome = generation.checkpoint_fully();
            if outcome.is_ok() || !generation.staging.is_replaced() {
                return outcome;
            }
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // A compaction under way notices; a group under way finishes first.
        let _no_compaction = self.compacting.lock();
        let generation = self.generation();
        let _writer = generation.writer.lock();
        generation.tail.close();
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &PathBuf::from(&*self.path))
            .field("seq", &self.generation().seq())
            .finish_non_exhaustive()
    }
}
