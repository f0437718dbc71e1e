//! The one sequential pass: a snapshot into the new file.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use super::{
    CHANGES_PER_LOOK, Look,
    blobs::Blobs,
    catch_up::Moment,
    copier::{FileCopier, Known},
    target::Target,
};
use crate::{
    compaction::{Compaction, OldDocument, Phase},
    error::{Error, Result},
    file::{
        checkpoint::{FrameSink, check_counts},
        cursor::{ChangeRows, KeyRows},
        frame::{FrameBuffer, Kind},
        generation::{Found, Generation, LastCommit},
        head::Head,
        layer::Layer,
        reader::Readers,
        record::{CheckpointRecord, Roots},
        recovery::with_suffix,
        rows::{self, Space, SumCounts},
        staging::Staging,
        state::{State, Trees},
        store::FileStore,
        tail::Tail,
    },
    sort::{Sorted, Sorter},
    store::{ChangeCursor, Counts, Direction, KeyRange, LocalCursor, Seq},
    tree::{Builder, CountEntries, Reduce, Root},
};

/// Memory in which the rows by id are sorted, in bytes.
const ID_SORT_BYTES: usize = 16 * 1024 * 1024;
/// Memory for rows that come sorted and only wait for the trees to be built, in bytes each.
const SPOOL_BYTES: usize = 4 * 1024 * 1024;

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
    let tail = target.tail(look.store);
    let mut copy = Copy::new(moment, target, &tail, look);
    copy.documents(job)?;
    copy.keys(job)?;
    copy.blobs.flush()?;
    let (roots, counts) = copy.trees()?;
    found(moment, target, look.store, tail, roots, counts)
}

/// Rows that were copied and wait for their trees.
struct Copy<'c> {
    state: &'c State,
    look: Look<'c>,
    tail: &'c Tail,
    blobs: Blobs<'c>,
    by_id: Sorter,
    by_seq: Sorter,
    keys: Sorter,
    counts: Counts,
    done: u64,
    row: Vec<u8>,
}

impl<'c> Copy<'c> {
    fn new(moment: &'c Moment, target: &Target, tail: &'c Tail, look: Look<'c>) -> Self {
        let sorter = |suffix, memory| {
            let path: PathBuf = with_suffix(&target.path, suffix);
            Sorter::new(Arc::clone(&look.store.disk), path, memory)
        };
        Copy {
            state: &moment.state,
            look,
            tail,
            blobs: Blobs::new(tail),
            by_id: sorter(".by-id", ID_SORT_BYTES),
            by_seq: sorter(".by-seq", SPOOL_BYTES),
            keys: sorter(".keys", SPOOL_BYTES),
            counts: Counts::default(),
            done: 0,
            row: Vec::new(),
        }
    }

    fn go_on(&self, phase: Phase) -> Result<()> {
        self.look.go_on(phase, self.done, self.state.head.counts.documents())
    }

    fn documents(&mut self, job: &mut dyn Compaction) -> Result<()> {
        self.go_on(Phase::Documents)?;
        let mut changes = ChangeRows::new(self.state.view(), 0, Direction::Forward)?;
        while let Some(change) = changes.next()? {
            self.document(change.seq, change.id, change.value, job)?;
            self.done += 1;
            if self.done.is_multiple_of(CHANGES_PER_LOOK) {
                self.go_on(Phase::Documents)?;
            }
        }
        Ok(())
    }

    fn document(
        &mut self,
        seq: Seq,
        id: &[u8],
        by_seq: &[u8],
        job: &mut dyn Compaction,
    ) -> Result<()> {
        let entry = self.state.view().doc(id)?.filter(|entry| entry.seq == seq);
        let entry = entry.ok_or_else(|| self.state.trees.bad_row())?;
        let old = OldDocument { id, seq, weight: entry.weight, by_id: &entry.value, by_seq };
        let (look, done) = (self.look, self.done);
        let total = self.state.head.counts.documents();
        let mut copier = FileCopier {
            from: &self.state.trees,
            to: &mut self.blobs,
            known: Known::default(),
            staged: &HashMap::new(),
            go_on: &|| look.go_on(Phase::Documents, done, total),
        };
        let new = job.document(old, &mut copier)?;
        self.counts += new.weight.into();
        self.row.clear();
        rows::encode_doc(&mut self.row, seq, new.weight, &new.by_id);
        self.by_id.push(id, &self.row)?;
        self.row.clear();
        rows::encode_change(&mut self.row, id, &new.by_seq);
        self.by_seq.push(&rows::seq_key(seq), &self.row)
    }

    fn keys(&mut self, job: &mut dyn Compaction) -> Result<()> {
        for space in [Space::Local, Space::Meta] {
            let view = self.state.view();
            let mut keys = KeyRows::new(view, space, &KeyRange::all(), Direction::Forward)?;
            while let Some((key, value)) = keys.next()? {
                let go_on = || self.look.go_on(Phase::Keys, self.done, self.done);
                let mut copier = FileCopier {
                    from: &self.state.trees,
                    to: &mut self.blobs,
                    known: Known::default(),
                    staged: &HashMap::new(),
                    go_on: &go_on,
                };
                if let Some(value) = job.key(space.keyspace(), key, value, &mut copier)? {
                    self.keys.push(&space.key(key), &value)?;
                }
            }
        }
        Ok(())
    }

    /// Builds the trees, each of them in one piece of the file.
    fn trees(self) -> Result<(Roots, Counts)> {
        let Copy { look, tail, by_id, by_seq, keys, done, counts, .. } = self;
        let build = |sorter: Sorter, phase, total| Build {
            rows: sorter.finish(),
            tail,
            look,
            phase,
            total,
        };
        let by_seq = build(by_seq, Phase::BySequence, done).run(CountEntries)?;
        let by_id = build(by_id, Phase::ById, done).run(SumCounts)?;
        let keys = build(keys, Phase::Keys, 0).run(CountEntries)?;
        Ok((Roots { by_id, by_seq, keys }, counts))
    }
}

/// A tree about to be built.
struct Build<'b> {
    rows: Result<Sorted>,
    tail: &'b Tail,
    look: Look<'b>,
    phase: Phase,
    /// Rows, if it is known how many there are.
    total: u64,
}

impl Build<'_> {
    fn run(self, reduce: impl Reduce) -> Result<Root> {
        let mut rows = self.rows?;
        let mut sink = FrameSink::new(self.tail);
        let mut builder = Builder::new(reduce, &mut sink);
        let mut count = 0u64;
        while let Some((key, value)) = rows.next()? {
            if count.is_multiple_of(CHANGES_PER_LOOK) {
                self.look.go_on(self.phase, count, self.total)?;
            }
            builder.push(key, value)?;
            count += 1;
        }
        let root = builder.finish()?;
        sink.finish()?;
        Ok(root)
    }
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
    tail.sync()?;
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
