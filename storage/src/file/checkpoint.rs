//! Bringing the trees up to date.
//!
//! 1. *Freeze*: between two commits, the newest layer becomes the frozen one and an empty layer takes its
//!    place. Commits go on.
//! 2. *Merge* the frozen layer into the three trees; new nodes go into `Nodes` frames.
//! 3. *Sync*, so that nothing refers to a node that is not durable, and compare the trees' counts with
//!    those kept along the way.
//! 4. Between two commits, append the checkpoint record, sync it, and show the new trees without the frozen
//!    layer.
//!
//! Without the record's sync no edit would be lost: replay would begin at the checkpoint before. But a
//! failed commit cuts off what is not durable, the next opening then cuts off nodes that no record
//! names, and a snapshot that is still held would read what is written in their place.
//!
//! Replay begins where the freeze was, not at the record, because commits may
//! lie between the two.

use std::{
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{
    frame::{FrameBuffer, Kind, payload_offset},
    generation::{Generation, LastCommit},
    layer::{Bounds, DocRecord, Layer},
    record::{CheckpointRecord, Roots},
    rows::{self, SumCounts},
    state::{State, Trees},
    tail::{Appender, Position, Tail},
};
use crate::{
    error::{Error, Result},
    store::{Counts, Direction, Seq},
    tree::{CountEntries, NodeRef, Sink, merge},
};

/// Nodes are written in frames of about this size. Commits wait while one is filled.
const NODES_FRAME_BYTES: usize = 256 * 1024;

/// Edits are refused when the layers hold this many times the memory that makes a checkpoint due.
const MAX_OVERLAY_FACTOR: u64 = 8;

/// Rounds an explicit checkpoint makes to catch up with writers that do not rest.
const MAX_ROUNDS: usize = 2;

/// Where a checkpoint froze the edits: what its record will say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freeze {
    last: LastCommit,
    seq: Seq,
    counts: Counts,
}

impl Generation {
    /// How badly a checkpoint is needed: 0 not, 1 due, 2 and more: the edits should wait for it.
    pub(super) fn checkpoint_pressure(&self) -> u64 {
        let writer = self.writer.lock();
        if writer.log_bytes < writer.not_before_log_bytes {
            return 0;
        }
        let memory = self.state.load().head.layer.memory() as u64;
        let options = &self.options;
        let by_log = writer.log_bytes / options.checkpoint_log_bytes.max(1);
        by_log.max(memory / options.checkpoint_memory_bytes.max(1))
    }

    /// Runs a checkpoint if one is due. Its failure is nobody's failure: what was committed stays
    /// committed, and it is tried again after more edits.
    pub(super) fn checkpoint_if_due(&self) {
        if self.checkpoint_pressure() == 0 {
            return;
        }
        let _one_at_a_time = self.checkpointing.lock();
        // Another thread may have run it meanwhile.
        if self.checkpoint_pressure() == 0 {
            return;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| self.checkpoint_once()));
        if !matches!(outcome, Ok(Ok(()))) {
            let mut writer = self.writer.lock();
            let pause = self.options.checkpoint_log_bytes / 4;
            writer.not_before_log_bytes = writer.log_bytes.saturating_add(pause.max(1));
        }
    }

    /// Checkpoints have been failing while edits succeeded (a disk that is all but full), until memory is
    /// the limit: from there on edits wait for a checkpoint, and share its failure.
    pub(super) fn check_memory(&self) -> Result<()> {
        let most = self.options.checkpoint_memory_bytes.saturating_mul(MAX_OVERLAY_FACTOR);
        if (self.overlay_bytes() as u64) < most {
            return Ok(());
        }
        let _one_at_a_time = self.checkpointing.lock();
        self.checkpoint_once()
    }

    /// Brings the trees up to date, makes that durable, and gives back the space prepared ahead.
    pub(super) fn checkpoint_fully(&self) -> Result<()> {
        let _one_at_a_time = self.checkpointing.lock();
        for _ in 0..MAX_ROUNDS {
            let clean = {
                let writer = self.writer.lock();
                writer.checkpointed == writer.last.number && writer.freeze.is_none()
            };
            if clean {
                break;
            }
            self.checkpoint_once()?;
        }
        // An idle store keeps no buffers either.
        self.writer.lock().frame = FrameBuffer::new();
        if self.tail.trim()? || self.tail.durable() < self.tail.end() {
            self.tail.sync()?;
        }
        self.tail.check()
    }

    fn checkpoint_once(&self) -> Result<()> {
        let freeze = self.freeze()?;
        let state = self.state.load_full();
        let Some(frozen) = &state.frozen else { return Ok(()) };
        let roots = self.merge(&state, frozen)?;
        self.tail.sync()?;
        self.finish(freeze, roots)
    }

    /// Step 1. A checkpoint that failed before left its frozen layer: that one is taken up again.
    fn freeze(&self) -> Result<Freeze> {
        self.tail.check()?;
        let mut writer = self.writer.lock();
        if let Some(freeze) = writer.freeze {
            return Ok(freeze);
        }
        let mut state = State::clone(&self.state.load());
        let freeze = Freeze { last: writer.last, seq: state.head.seq, counts: state.head.counts };
        state.frozen = Some(std::mem::take(&mut state.head.layer));
        writer.freeze = Some(freeze);
        writer.log_bytes = 0;
        writer.not_before_log_bytes = 0;
        self.state.store(Arc::new(state));
        Ok(freeze)
    }

    /// Step 2.
    fn merge(&self, state: &State, frozen: &Layer) -> Result<Roots> {
        const ALL: Bounds<'static> = (Bound::Unbounded, Bound::Unbounded);
        let (pages, old) = (state.trees.reader.as_ref(), state.trees.roots);
        let mut sink = FrameSink::new(&self.tail);
        let docs = frozen
            .docs(ALL, Direction::Forward)
            .map(|(id, slot)| (id, slot.record.as_deref().map(doc_row)));
        let by_id = merge(pages, old.by_id, SumCounts, docs, &mut sink)?;
        let changes = frozen
            .changes(0, Direction::Forward)
            .map(|(seq, change)| (rows::seq_key(*seq), change.as_deref().map(change_row)));
        let by_seq = merge(pages, old.by_seq, CountEntries, changes, &mut sink)?;
        let keys = frozen.keys(ALL, Direction::Forward).map(|(key, value)| (key, value.as_ref()));
        let keys = merge(pages, old.keys, CountEntries, keys, &mut sink)?;
        sink.finish()?;
        Ok(Roots { by_id, by_seq, keys })
    }

    /// Steps 3 (the comparison) and 4.
    fn finish(&self, freeze: Freeze, roots: Roots) -> Result<()> {
        let mut writer = self.writer.lock();
        let mut state = State::clone(&self.state.load());
        state.trees.roots = roots;
        self.refresh_reader(&mut state);
        check_counts(&state.trees, freeze.counts)?;
        let mut appender = self.tail.lock()?;
        let position = appender.position();
        // If no commit was made meanwhile, and everything before the record is durable, there is nothing
        // to replay, nor to prove, before it: the next opening need not even walk over the nodes.
        let durable = self.tail.durable();
        let (replay_from, replay_chain) = if writer.last == freeze.last && durable >= position.end {
            (position.end, position.chain)
        } else {
            (freeze.last.end, freeze.last.chain)
        };
        let record = CheckpointRecord {
            number: freeze.last.number,
            seq: freeze.seq,
            commit: freeze.last.offset,
            previous: writer.checkpoint,
            replay_from,
            replay_chain,
            durable,
            chain: position.chain,
            counts: freeze.counts,
            roots,
        };
        let mut frame = FrameBuffer::new();
        frame.bytes().extend_from_slice(&record.encode());
        writer.checkpoint = appender.append(Kind::Checkpoint, &mut frame)?.offset;
        drop(appender);
        self.tail.sync()?;
        writer.checkpointed = freeze.last.number;
        writer.freeze = None;
        state.frozen = None;
        self.state.store(Arc::new(state));
        Ok(())
    }
}

/// The sums in the trees, and those kept from edit to edit, come about in different ways and must agree.
pub(super) fn check_counts(trees: &Trees, counts: Counts) -> Result<()> {
    let agree = trees.by_id().total()? == counts && trees.by_seq().total()? == counts.documents();
    if agree {
        return Ok(());
    }
    let path = trees.path.to_path_buf();
    let offset = trees.roots.by_id.node.map_or(0, |node| node.offset);
    Err(Error::Corrupt { path, offset, what: "the trees' counts are not those of the commits" })
}

fn doc_row(record: &DocRecord) -> Vec<u8> {
    let mut row = Vec::with_capacity(record.by_id().len() + 32);
    rows::encode_doc(&mut row, record.seq, record.weight, record.by_id());
    row
}

fn change_row(record: &DocRecord) -> Vec<u8> {
    let mut row = Vec::with_capacity(record.id.len() + record.by_seq().len() + 4);
    rows::encode_change(&mut row, &record.id, record.by_seq());
    row
}

/// Collects nodes into frames. A node's place is known when it is appended, because the append lock is
/// held from the first node of a frame until the frame is written.
pub(super) struct FrameSink<'t> {
    tail: &'t Tail,
    appender: Option<Appender<'t>>,
    frame: FrameBuffer,
    /// Where the first frame began, and where the last one ended.
    written: Option<(Position, u64)>,
    finished: bool,
}

impl<'t> FrameSink<'t> {
    pub(super) fn new(tail: &'t Tail) -> Self {
        let frame = FrameBuffer::new();
        FrameSink { tail, appender: None, frame, written: None, finished: false }
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(mut appender) = self.appender.take() {
            let before = appender.position();
            let end = appender.append(Kind::Nodes, &mut self.frame)?.end;
            appender.release_fairly();
            self.frame.clear(usize::MAX);
            // Only frames that follow each other can be taken back.
            let first = match self.written {
                Some((first, end)) if end == before.end => first,
                _ => before,
            };
            self.written = Some((first, end));
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for FrameSink<'_> {
    /// A merge that failed, on a full disk most likely, gives back the room its nodes took, unless other
    /// frames lie behind them already.
    fn drop(&mut self) {
        self.appender = None;
        if self.finished {
            return;
        }
        if let Some((first, end)) = self.written
            && let Ok(mut appender) = self.tail.lock()
            && appender.position().end == end
        {
            appender.rewind(first);
        }
    }
}

impl Sink for FrameSink<'_> {
    fn append(&mut self, node: &[u8]) -> Result<NodeRef> {
        let len = u32::try_from(node.len()).map_err(|_| Error::TooLarge {
            what: "a tree node",
            size: super::codec::length(node.len()),
            limit: u64::from(u32::MAX),
        })?;
        if self.frame.payload_len() > 0 && self.frame.payload_len() + node.len() > NODES_FRAME_BYTES
        {
            self.flush()?;
        }
        let appender = match &mut self.appender {
            Some(appender) => appender,
            None => self.appender.insert(self.tail.lock()?),
        };
        let offset = payload_offset(appender.position().end)
            + super::codec::length(self.frame.payload_len());
        self.frame.bytes().extend_from_slice(node);
        Ok(NodeRef { offset, len, crc: crc32fast::hash(node) })
    }
}
