//! The one pass: a snapshot into the new file, on one thread or several.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Look,
    catch_up::Moment,
    copy::{self, Rows},
    crew::{self, GoOn, Task},
    frames::NodeFrames,
    helpers::Helpers,
    room::Room,
    slices::Slices,
    syncing::{self, Syncing},
    target::Target,
};
use crate::{
    codec::length,
    compaction::{Compaction, Phase, Progress},
    error::{Error, Result},
    file::{
        checkpoint::check_counts,
        frame::{FrameBuffer, Kind},
        generation::{Found, Generation, LastCommit},
        head::Head,
        layer::Layer,
        reader::Readers,
        record::{CheckpointRecord, Roots},
        recovery::with_suffix,
        rows::SumCounts,
        staging::Staging,
        state::{State, Trees},
        store::FileStore,
        tail::Tail,
    },
    sort::{self, Sorter},
    store::{Counts, Seq, StreamRef},
    tree::{Builder, CountEntries, Reduce, Root},
};

/// Memory in which the rows by id are sorted, in bytes, of all threads together.
const ID_SORT_BYTES: usize = 32 * 1024 * 1024;
/// Memory for rows that come sorted and only wait for the trees to be built, in bytes, of all threads
/// together.
const SPOOL_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of a row by id with its key, more or less: what memory is asked for beforehand.
const ID_ROW_BYTES: usize = 160;
/// The same for rows by sequence.
const SEQ_ROW_BYTES: usize = 96;
/// Rows of a tree between two looks at whether to go on.
const ROWS_PER_LOOK: u64 = 256;

/// The new file as of a moment.
pub(super) struct Loaded {
    pub(super) generation: Arc<Generation>,
    /// Offset of the checkpoint it begins with.
    pub(super) base: u64,
}

/// Copies the state of a moment into the empty target.
pub(super) fn load(
    moment: &Moment,
    target: &Target,
    job: &mut dyn Compaction,
    look: Look<'_>,
) -> Result<Loaded> {
    let helpers = Helpers::take(look.store.options.compact_helpers, moment.state.head.counts);
    let mut copy = |syncing| copy_into(moment, target, job, look, helpers.count(), syncing);
    let (tail, roots, counts) = match helpers.count() {
        0 => copy(Syncing::InPlace),
        _ => syncing::behind(&target.file, &look.store.path, copy),
    }?;
    found(moment, target, look.store, tail, roots, counts)
}

/// The copy up to the trees, durable.
fn copy_into(
    moment: &Moment,
    target: &Target,
    job: &mut dyn Compaction,
    look: Look<'_>,
    helpers: usize,
    syncing: Syncing,
) -> Result<(Tail, Roots, Counts)> {
    let load = Load {
        state: &moment.state,
        room: target.room(look.store, syncing),
        slices: Slices::new(&moment.state, 1 + helpers)?,
        staged: HashMap::new(),
        done: AtomicU64::new(0),
    };
    let scratch = Scratch { store: look.store, target };
    let watch = |Progress { phase, done, total }| look.go_on(phase, done, total);
    let rows = load.documents(job, helpers, &scratch, &watch)?;
    let mut keys = scratch.sorter(".keys", SPOOL_BYTES);
    copy::keys(&load, job, &mut keys, &watch)?;
    let (roots, counts) = load.trees(rows, keys, helpers > 0, &watch)?;
    Ok((target.tail(look.store, load.room.finish()?), roots, counts))
}

/// What the threads of a load share.
pub(super) struct Load<'c> {
    pub(super) state: &'c State,
    pub(super) room: Room,
    pub(super) slices: Slices<'c>,
    /// Nothing was copied before.
    pub(super) staged: HashMap<StreamRef, StreamRef>,
    /// Documents copied, those of slices under way not included.
    pub(super) done: AtomicU64,
}

impl Load<'_> {
    pub(super) fn progress(&self, phase: Phase) -> Progress {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.state.head.counts.documents());
        Progress { phase, done, total }
    }

    /// Copies the documents; returns what each thread has for the trees.
    fn documents(
        &self,
        job: &dyn Compaction,
        helpers: usize,
        scratch: &Scratch<'_>,
        watch: GoOn<'_>,
    ) -> Result<Vec<Rows>> {
        let threads = 1 + helpers;
        let share = self.state.head.counts.documents() / length(threads);
        let rows = |number| {
            let mut by_id = scratch.sorter(&format!(".by-id-{number}"), ID_SORT_BYTES / threads);
            let mut by_seq = scratch.sorter(&format!(".by-seq-{number}"), SPOOL_BYTES / threads);
            by_id.reserve(share, ID_ROW_BYTES);
            by_seq.reserve(share, SEQ_ROW_BYTES);
            Rows { by_id, by_seq, counts: Counts::default() }
        };
        let task = |number| -> Task<'_, Rows> {
            let (mut job, rows) = (job.another(), rows(number));
            Box::new(move |go_on| copy::documents(self, job.as_mut(), rows, go_on))
        };
        crew::work((0..threads).map(task).collect(), helpers > 0, watch)
    }

    /// Builds the trees.
    fn trees(
        &self,
        rows: Vec<Rows>,
        keys: Sorter,
        is_at_once: bool,
        watch: GoOn<'_>,
    ) -> Result<(Roots, Counts)> {
        let (mut by_id, mut by_seq, mut counts) = (Vec::new(), Vec::new(), Counts::default());
        for rows in rows {
            by_id.push(rows.by_id);
            by_seq.push(rows.by_seq);
            counts += rows.counts;
        }
        let total = self.state.head.counts.documents();
        let step = |phase| Progress { phase, done: 0, total };
        let room = &self.room;
        let mut roots = Roots::empty();
        let tasks: Vec<Task<'_, ()>> = vec![
            Box::new(|go_on| {
                roots.by_seq = build(by_seq, CountEntries, room, step(Phase::BySequence), go_on)?;
                Ok(())
            }),
            Box::new(|go_on| {
                roots.by_id = build(by_id, SumCounts, room, step(Phase::ById), go_on)?;
                Ok(())
            }),
        ];
        crew::work(tasks, is_at_once, watch)?;
        roots.keys = build(vec![keys], CountEntries, room, step(Phase::Keys), watch)?;
        Ok((roots, counts))
    }
}

/// Where rows are sorted that are more than memory holds.
struct Scratch<'s> {
    store: &'s FileStore,
    target: &'s Target,
}

impl Scratch<'_> {
    fn sorter(&self, suffix: &str, memory_bytes: usize) -> Sorter {
        let path: PathBuf = with_suffix(&self.target.path, suffix);
        Sorter::new(Arc::clone(&self.store.disk), path, memory_bytes)
    }
}

/// Builds a tree of what was sorted.
fn build(
    rows: Vec<Sorter>,
    reduce: impl Reduce,
    room: &Room,
    mut step: Progress,
    go_on: GoOn<'_>,
) -> Result<Root> {
    let mut rows = sort::merge(rows)?;
    let mut nodes = NodeFrames::new(room);
    let mut builder = Builder::new(reduce, &mut nodes);
    while let Some((key, value)) = rows.next()? {
        if step.done.is_multiple_of(ROWS_PER_LOOK) {
            go_on(step)?;
        }
        builder.push(key, value)?;
        step.done += 1;
    }
    let root = builder.finish()?;
    nodes.finish()?;
    Ok(root)
}

/// Ends the load with a checkpoint, from where the new file can be read and written.
fn found(
    moment: &Moment,
    target: &Target,
    store: &FileStore,
    tail: Tail,
    roots: Roots,
    counts: Counts,
) -> Result<Loaded> {
    let before = &moment.state.head;
    let same = (before.counts.live, before.counts.deleted) == (counts.live, counts.deleted);
    if !same {
        return Err(Error::Invalid { what: "a compaction that changes what counts as deleted" });
    }
    let (path, staging) = (Arc::clone(&store.path), Arc::<Staging>::default());
    let readers = Readers::new(
        Arc::clone(&path),
        target.reading()?,
        store.options.read_by,
        store.options.cache_bytes,
    );
    let reader = readers.reader(tail.durable())?;
    let trees = Trees { path: Arc::clone(&path), roots, reader, staging: Arc::clone(&staging) };
    check_counts(&trees, counts)?;
    let (base, last) = append_base(&tail, before.seq, counts, roots)?;
    let head = Head { layer: Layer::default(), seq: before.seq, counts };
    let generation = Generation::new(Found {
        path,
        options: store.options,
        tail,
        readers,
        state: State { head, frozen: None, trees },
        staging,
        last,
        checkpoint: base,
        checkpointed: 0,
        log_bytes: 0,
    });
    Ok(Loaded { generation, base })
}

/// Appends the checkpoint that the new file begins with.
fn append_base(tail: &Tail, seq: Seq, counts: Counts, roots: Roots) -> Result<(u64, LastCommit)> {
    let mut appender = tail.lock()?;
    let position = appender.position();
    let record = CheckpointRecord {
        number: 0,
        seq,
        commit: 0,
        previous: 0,
        replay_from: position.end,
        replay_chain: position.chain,
        durable: tail.durable(),
        chain: position.chain,
        counts,
        roots,
    };
    let mut frame = FrameBuffer::new();
    frame.bytes().extend_from_slice(&record.encode());
    let base = appender.append(Kind::Checkpoint, &mut frame)?.offset;
    let last = LastCommit { number: 0, offset: 0, end: position.end, chain: position.chain };
    Ok((base, last))
}
