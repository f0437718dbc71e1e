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
    checkpoint::Freeze,
    frame::{Chain, FrameBuffer, Kind},
    head::Head,
    queue::{Duty, Queue, Waiting},
    reader::Readers,
    record::CommitHead,
    state::State,
    stream::ChunkWriter,
    tail::{Appender, Placed, Tail},
    transaction::Group,
};
use crate::{
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
    pub(super) path: Arc<Path>,
    pub(super) options: Options,
    pub(super) tail: Tail,
    pub(super) readers: Readers,
    pub(super) state: ArcSwap<State>,
    pub(super) writer: Mutex<Writer>,
    /// Held by whoever runs a checkpoint.
    pub(super) checkpointing: Mutex<()>,
    queue: Queue,
    listener: RwLock<Option<Listener>>,
    closed: AtomicBool,
    recovery: Recovery,
}

/// What the next commit continues from. Its lock is held for a whole group, from the first edit until
/// the new state is published, so that whoever takes it finds no commit half-way.
#[derive(Debug)]
pub(super) struct Writer {
    /// The last commit.
    pub(super) last: LastCommit,
    /// Offset of the checkpoint that later commits build on, 0 if none.
    pub(super) checkpoint: u64,
    /// Number of the last commit that is in the trees.
    pub(super) checkpointed: u64,
    /// Where a checkpoint that has not finished froze the edits.
    pub(super) freeze: Option<Freeze>,
    /// Bytes of commits since the last freeze.
    pub(super) log_bytes: u64,
    /// No automatic checkpoint before there are this many: the last one failed.
    pub(super) not_before_log_bytes: u64,
    pub(super) frame: FrameBuffer,
}

impl Writer {
    /// The fixed part of the commit to come, up to what its edits decide.
    fn next_commit(&self, appender: &Appender<'_>, durable: u64) -> CommitHead {
        CommitHead {
            number: self.last.number + 1,
            previous: self.last.offset,
            checkpoint: self.checkpoint,
            durable,
            chain: appender.position().chain,
            seq: 0,
            ops_len: 0,
            ops: 0,
        }
    }
}

/// The newest commit in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastCommit {
    /// From 1; 0 if there is none.
    pub(super) number: u64,
    /// Its frame's offset, 0 if there is none.
    pub(super) offset: u64,
    /// Where its frame ends, or the walk from a checkpoint begins; the first frame's place if there is
    /// neither.
    pub(super) end: u64,
    /// The chain there.
    pub(super) chain: Chain,
}

/// An opened file, from creation or recovery.
pub(super) struct Opened {
    pub(super) path: Arc<Path>,
    pub(super) options: Options,
    pub(super) tail: Tail,
    pub(super) readers: Readers,
    pub(super) state: State,
    pub(super) last: LastCommit,
    pub(super) checkpoint: u64,
    pub(super) checkpointed: u64,
    pub(super) log_bytes: u64,
    pub(super) recovery: Recovery,
}

impl FileStore {
    pub(super) fn start(opened: Opened) -> Arc<Self> {
        let writer = Writer {
            last: opened.last,
            checkpoint: opened.checkpoint,
            checkpointed: opened.checkpointed,
            freeze: None,
            log_bytes: opened.log_bytes,
            not_before_log_bytes: 0,
            frame: FrameBuffer::new(),
        };
        Arc::new(FileStore {
            path: opened.path,
            options: opened.options,
            tail: opened.tail,
            readers: opened.readers,
            state: ArcSwap::from_pointee(opened.state),
            writer: Mutex::new(writer),
            checkpointing: Mutex::new(()),
            queue: Queue::default(),
            listener: RwLock::new(None),
            closed: AtomicBool::new(false),
            recovery: opened.recovery,
        })
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
        let state = self.state.load();
        state.view().layers().map(super::layer::Layer::memory).sum()
    }

    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        self.tail.check()
    }

    /// Serves edits until relieved or none waits.
    fn lead(&self, duty: Duty) {
        self.queue.begin(duty);
        for groups in 1u32.. {
            self.commit_group();
            let pressure = self.checkpoint_pressure();
            if pressure >= 2 {
                // The edits outrun the checkpoints: they wait.
                self.checkpoint_if_due();
            }
            if !self.queue.go_on(groups >= GROUPS_PER_LEADER || pressure > 0) {
                break;
            }
        }
        self.checkpoint_if_due();
    }

    /// Runs the edits that wait, makes them durable with one write and one sync, and tells their callers.
    fn commit_group(&self) {
        let mut outcomes = Vec::new();
        let attempt = catch_unwind(AssertUnwindSafe(|| self.commit_edits(&mut outcomes)));
        let committed = attempt.unwrap_or_else(|_| {
            // A broken invariant: nothing is written on top of it, and nobody is left waiting.
            self.tail.give_up();
            Err(self.tail.poisoned_error())
        });
        let seq = self.state.load().head.seq;
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
        if let Err(error) = self.check_memory() {
            self.refuse_waiting(outcomes);
            return Err(error);
        }
        let writer = &mut *self.writer.lock();
        let appender = match self.tail.lock() {
            Ok(appender) => appender,
            Err(error) => {
                self.refuse_waiting(outcomes);
                return Err(error);
            }
        };
        let base = self.state.load_full();
        let mut frame = std::mem::replace(&mut writer.frame, FrameBuffer::new());
        let mut group = Group::new(&base, &mut frame, appender.position().end);
        self.run_waiting(&mut group, outcomes);
        let committed = if group.is_empty() {
            Ok(None)
        } else {
            let head = group.finish(writer.next_commit(&appender, self.tail.durable()));
            self.append_and_sync(writer, appender, &mut frame).map(|()| Some(head))
        };
        writer.frame = frame;
        let Some(head) = committed? else { return Ok(false) };
        self.publish(&base, head);
        Ok(true)
    }

    /// The one write and the one sync. The append lock is let go in between, for streams.
    fn append_and_sync(
        &self,
        writer: &mut Writer,
        mut appender: Appender<'_>,
        frame: &mut FrameBuffer,
    ) -> Result<()> {
        let placed = appender.append(Kind::Commit, frame)?;
        drop(appender);
        self.tail.sync()?;
        let Placed { offset, end, chain } = placed;
        writer.last = LastCommit { number: writer.last.number + 1, offset, end, chain };
        writer.log_bytes += end - offset;
        Ok(())
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

    /// Shows a committed head to new snapshots.
    fn publish(&self, base: &State, head: Head) {
        let mut next = State { head, frozen: base.frozen.clone(), trees: base.trees.clone() };
        self.refresh_reader(&mut next);
        self.state.store(Arc::new(next));
    }

    /// Lets a state's reader know how far the file is durable, or gives it a better one.
    pub(super) fn refresh_reader(&self, state: &mut State) {
        let durable = self.tail.durable();
        if state.trees.reader.advance(durable) {
            return;
        }
        // Without a new map the old one still serves: what it does not cover is read by `pread`.
        if let Ok(reader) = self.readers.reader(durable) {
            state.trees.reader = reader;
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
        Ok(self.state.load_full())
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
        StoreSizes { file_bytes: self.tail.end() }
    }

    fn checkpoint(&self) -> Result<()> {
        self.checkpoint_fully()
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // A group under way finishes first.
        let _writer = self.writer.lock();
        self.tail.close();
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load();
        f.debug_struct("FileStore")
            .field("path", &PathBuf::from(&*self.path))
            .field("seq", &state.head.seq)
            .finish_non_exhaustive()
    }
}
