//! One file of a store, with everything that is known about it: [`Generation`]. Compaction writes the
//! next one and puts it in the place of this one, whole.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{
    Options,
    checkpoint::Freeze,
    frame::{Chain, FrameBuffer, Kind},
    head::Head,
    reader::Readers,
    record::CommitHead,
    staging::Staging,
    state::State,
    tail::{Appender, Placed, Tail},
    transaction::Group,
};
use crate::{error::Result, store::Seq};

/// A file being written and read.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) path: Arc<Path>,
    pub(super) options: Options,
    pub(super) tail: Tail,
    pub(super) readers: Readers,
    pub(super) state: ArcSwap<State>,
    /// Taken before the lock of the tail.
    pub(super) writer: Mutex<Writer>,
    /// Held by whoever runs a checkpoint. Taken before the lock of the writer.
    pub(super) checkpointing: Mutex<()>,
    /// Streams that no edit refers to yet. Taken after the lock of the tail.
    pub(super) staging: Arc<Staging>,
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
    /// Compaction has put another generation in the place of this one: nothing is committed here.
    pub(super) replaced: bool,
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

/// A file as creation, recovery or compaction found or made it.
pub(super) struct Found {
    pub(super) path: Arc<Path>,
    pub(super) options: Options,
    pub(super) tail: Tail,
    pub(super) readers: Readers,
    pub(super) state: State,
    pub(super) staging: Arc<Staging>,
    pub(super) last: LastCommit,
    pub(super) checkpoint: u64,
    pub(super) checkpointed: u64,
    pub(super) log_bytes: u64,
}

impl Generation {
    pub(super) fn new(found: Found) -> Arc<Self> {
        let writer = Writer {
            last: found.last,
            checkpoint: found.checkpoint,
            checkpointed: found.checkpointed,
            freeze: None,
            log_bytes: found.log_bytes,
            not_before_log_bytes: 0,
            frame: FrameBuffer::new(),
            replaced: false,
        };
        Arc::new(Generation {
            path: found.path,
            options: found.options,
            tail: found.tail,
            readers: found.readers,
            state: ArcSwap::from_pointee(found.state),
            writer: Mutex::new(writer),
            checkpointing: Mutex::new(()),
            staging: found.staging,
        })
    }

    /// Sequence of the newest durable state.
    pub(super) fn seq(&self) -> Seq {
        self.state.load().head.seq
    }

    /// Bytes of memory held by edits that are not in the trees yet, roughly.
    pub(super) fn overlay_bytes(&self) -> usize {
        let state = self.state.load();
        state.view().layers().map(super::layer::Layer::memory).sum()
    }

    /// Appends what `edits` does to a group as one commit, which is not durable yet. `None` if it did
    /// nothing.
    pub(super) fn append_group(
        &self,
        writer: &mut Writer,
        edits: impl FnOnce(&mut Group<'_>) -> Result<()>,
    ) -> Result<Option<Head>> {
        let appender = self.tail.lock()?;
        let mut frame = std::mem::replace(&mut writer.frame, FrameBuffer::new());
        let appended = self.append_edits(writer, appender, &mut frame, edits);
        writer.frame = frame;
        appended
    }

    fn append_edits(
        &self,
        writer: &mut Writer,
        appender: Appender<'_>,
        frame: &mut FrameBuffer,
        edits: impl FnOnce(&mut Group<'_>) -> Result<()>,
    ) -> Result<Option<Head>> {
        let base = self.state.load_full();
        let mut group = Group::new(&base, frame, appender.position().end);
        edits(&mut group)?;
        if group.is_empty() {
            return Ok(None);
        }
        let head = group.finish(writer.next_commit(&appender, self.tail.durable()));
        self.append_commit(writer, appender, frame)?;
        Ok(Some(head))
    }

    /// The one write. The append lock is let go afterwards, for streams.
    fn append_commit(
        &self,
        writer: &mut Writer,
        mut appender: Appender<'_>,
        frame: &mut FrameBuffer,
    ) -> Result<()> {
        let Placed { offset, end, chain } = appender.append(Kind::Commit, frame)?;
        writer.last = LastCommit { number: writer.last.number + 1, offset, end, chain };
        writer.log_bytes += end - offset;
        Ok(())
    }

    /// Shows a committed head to new snapshots.
    pub(super) fn publish(&self, head: Head) {
        let base = self.state.load();
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
