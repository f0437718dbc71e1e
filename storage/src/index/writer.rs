//! Appending nodes and states.

use std::sync::{Arc, atomic::Ordering};

use parking_lot::MutexGuard;

use super::{
    IndexFile, IndexPages, IndexSnapshot, io_error,
    record::{MAX_TREES, Record},
};
use crate::{
    codec::length,
    disk::write_all_at,
    error::{Error, Result},
    file::{
        frame::{Chain, FrameBuffer, Kind, payload_offset},
        reader::Reader,
    },
    tree::{NodeRef, Root, Sink},
};

/// Nodes are written in frames of about this size.
const NODES_FRAME_BYTES: usize = 256 * 1024;
/// Bytes appended since the last sync after which the next one is due: they are what an opening after a
/// crash has to read.
const SYNC_AFTER_BYTES: u64 = 16 * 1024 * 1024;

/// The appending end of an index file.
#[derive(Debug)]
pub(super) struct Writer {
    /// Where the next frame goes.
    end: u64,
    chain: Chain,
    /// Offset of the newest record, 0 if none.
    record_at: u64,
    /// Everything before this offset is durable, and the chain there.
    durable: (u64, Chain),
    /// A sync failed. What it lost is not written by any later one, so nothing counts as durable any more.
    lost: bool,
    frame: FrameBuffer,
}

impl Writer {
    pub(super) fn new(end: u64, chain: Chain, record_at: u64, durable: (u64, Chain)) -> Self {
        Writer { end, chain, record_at, durable, lost: false, frame: FrameBuffer::new() }
    }

    pub(super) fn position(&self) -> (u64, Chain) {
        (self.end, self.chain)
    }

    /// Whether so much was appended since the last sync that the next one is due.
    pub(super) fn wants_sync(&self) -> bool {
        !self.lost && self.end.saturating_sub(self.durable.0) >= SYNC_AFTER_BYTES
    }

    /// Notes that everything before `end` is durable.
    pub(super) fn synced(&mut self, end: u64, chain: Chain) {
        if end > self.durable.0 && !self.lost {
            self.durable = (end, chain);
        }
    }

    /// Notes that nobody knows what of the file is on the disk.
    pub(super) fn sync_failed(&mut self) {
        self.lost = true;
    }
}

/// The right to write to an index file. Nodes are appended (it is a [`Sink`]) and show only when
/// [`IndexWriter::commit`] refers to them; dropped before that, it leaves garbage behind the end of the
/// newest state, which the next writer writes over.
#[derive(Debug)]
pub struct IndexWriter<'i> {
    index: &'i Arc<IndexFile>,
    writer: MutexGuard<'i, Writer>,
    /// Where it began, to go back to if there is no commit.
    began: (u64, Chain),
}

impl<'i> IndexWriter<'i> {
    pub(super) fn new(index: &'i Arc<IndexFile>) -> Self {
        let writer = index.writer.lock();
        let began = writer.position();
        IndexWriter { index, writer, began }
    }

    /// Makes these trees the newest state; `meta` is handed back by [`IndexSnapshot::meta`]. More may be
    /// written and committed afterwards.
    ///
    /// # Errors
    /// `TooLarge` for too many trees, those of the disk; the state before stays.
    pub fn commit(&mut self, roots: &[Root], meta: &[u8]) -> Result<()> {
        if roots.len() > MAX_TREES {
            let (size, limit) = (length(roots.len()), length(MAX_TREES));
            return Err(Error::TooLarge { what: "a list of trees", size, limit });
        }
        self.flush(Kind::Nodes)?;
        let writer = &mut *self.writer;
        let record = Record {
            previous: writer.record_at,
            durable: writer.durable.0,
            durable_chain: writer.durable.1,
            chain: writer.chain,
            roots: roots.to_vec(),
            meta: meta.to_vec(),
        };
        let at = writer.end;
        record.encode(writer.frame.bytes());
        self.flush(Kind::Checkpoint)?;
        self.writer.record_at = at;
        self.began = self.writer.position();
        self.publish(record.roots, record.meta)
    }

    /// Bytes of the file with all that was appended.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.writer.end + length(self.writer.frame.payload_len())
    }

    fn publish(&self, roots: Vec<Root>, meta: Vec<u8>) -> Result<()> {
        let end = self.writer.end;
        let current = self.index.state.load();
        // The reader checks what it reads against checksums, so what is written is good to be read.
        let reader: Arc<dyn Reader> = match current.pages.0.advance(end) {
            true => Arc::clone(&current.pages.0),
            false => self.index.readers.reader(end)?,
        };
        self.index.state.store(Arc::new(IndexSnapshot { pages: IndexPages(reader), roots, meta }));
        self.index.end.store(end, Ordering::Relaxed);
        Ok(())
    }

    /// Writes the frame being composed, if there is anything in it.
    fn flush(&mut self, kind: Kind) -> Result<()> {
        let writer = &mut *self.writer;
        if writer.frame.payload_len() == 0 {
            return Ok(());
        }
        let (offset, anchor) = (writer.end, writer.record_at);
        let (bytes, header) = writer.frame.seal(kind, offset, anchor, &self.index.keys);
        let len = length(bytes.len());
        let written = write_all_at(&*self.index.file, bytes, offset);
        writer.frame.clear(2 * NODES_FRAME_BYTES);
        written.map_err(|source| io_error("write", &self.index.path, source))?;
        writer.end += len;
        writer.chain = self.index.keys.chain(writer.chain, &header);
        Ok(())
    }
}

impl Sink for IndexWriter<'_> {
    fn append(&mut self, node: &[u8]) -> Result<NodeRef> {
        let too_large = |_| Error::TooLarge {
            what: "a tree node",
            size: length(node.len()),
            limit: u64::from(u32::MAX),
        };
        let len = u32::try_from(node.len()).map_err(too_large)?;
        let filled = self.writer.frame.payload_len();
        if filled > 0 && filled + node.len() > NODES_FRAME_BYTES {
            self.flush(Kind::Nodes)?;
        }
        let writer = &mut *self.writer;
        let offset = payload_offset(writer.end) + length(writer.frame.payload_len());
        writer.frame.bytes().extend_from_slice(node);
        Ok(NodeRef { offset, len, crc: crc32fast::hash(node) })
    }
}

impl Drop for IndexWriter<'_> {
    fn drop(&mut self) {
        self.writer.frame.clear(NODES_FRAME_BYTES);
        // What was appended without a commit is written over: no state refers to it, and no reader
        // looks beyond the newest state.
        (self.writer.end, self.writer.chain) = self.began;
    }
}
