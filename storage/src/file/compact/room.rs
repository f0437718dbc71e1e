//! The space of the new file while it is filled from several threads.
//!
//! A place is given out before it is filled, so that its frame knows its own offset and with it the
//! references to what is in it. Frames are written in any order; only the chain goes over them in the order
//! of the file, and waits for a frame that is still being filled. What a frame leaves of its place is given
//! back if nothing lies behind it; else it is a gap, which a frame of nodes may take, and small ones are
//! filled with zeros.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::syncing::Syncing;
use crate::{
    codec::length,
    disk::{File, write_all_at},
    error::{Error, Result, io_error},
    file::{
        frame::{Chain, FRAME_HEADER_BYTES, FrameBuffer, Keys, Kind, frame_end, payload_offset},
        tail::Position,
    },
};

/// Shorter gaps are filled with zeros, longer ones kept for another frame. In bytes.
const MIN_GAP_BYTES: u64 = 8 * 1024;
/// Memory that the buffer of a frame keeps for the next one, in bytes.
const KEEP_BYTES: usize = 2 * 1024 * 1024;
/// There is no commit or checkpoint before the copy.
const NO_ANCHOR: u64 = 0;

/// Where a frame is going to be.
#[derive(Debug)]
pub(super) struct Place {
    offset: u64,
    end: u64,
}

impl Place {
    /// Offset of the frame.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether a payload of so many bytes fits and what is left of the place, if anything, holds a frame.
    pub(super) fn takes(&self, payload: usize) -> bool {
        let end = frame_end(self.offset, length(payload));
        end == self.end || end.saturating_add(length(FRAME_HEADER_BYTES)) <= self.end
    }
}

/// The new file's space.
#[derive(Debug)]
pub(super) struct Room {
    path: Arc<Path>,
    file: Arc<dyn File>,
    keys: Keys,
    syncing: Syncing,
    plan: Mutex<Plan>,
    /// The end of the plan, for those who only want to know.
    end: AtomicU64,
}

/// What is taken and what is written.
#[derive(Debug)]
struct Plan {
    /// Where the next place will be.
    end: u64,
    /// Space before the end that nobody has: what a thread left of its last place, or of one that it gave up
    /// because the file had grown so far beyond it.
    gaps: Vec<Range<u64>>,
    /// Everything before this offset is written.
    written: u64,
    /// The chain there.
    chain: Chain,
    /// Bytes written since the last sync was due.
    unsynced: u64,
    /// Frames behind it: where each ends, and its header.
    ahead: BTreeMap<u64, (u64, [u8; FRAME_HEADER_BYTES])>,
}

impl Room {
    /// The space behind `start` in an empty file.
    pub(super) fn new(
        path: Arc<Path>,
        file: Arc<dyn File>,
        keys: Keys,
        syncing: Syncing,
        start: u64,
    ) -> Self {
        let plan = Mutex::new(Plan {
            end: start,
            gaps: Vec::new(),
            written: start,
            chain: keys.genesis(),
            unsynced: 0,
            ahead: BTreeMap::new(),
        });
        Room { path, file, keys, syncing, plan, end: AtomicU64::new(start) }
    }

    /// Where the next place at the end would be.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Gives out a place at the end, for a payload of `wanted` bytes, and `least` in any case.
    pub(super) fn take(&self, least: usize, wanted: usize) -> Place {
        let mut plan = self.plan.lock();
        let offset = plan.end;
        let place = Place { offset, end: frame_end(offset, length(wanted.max(least))) };
        let place = match place.takes(least) {
            true => place,
            false => Place { offset, end: frame_end(offset, length(least)) },
        };
        self.set_end(&mut plan, place.end);
        place
    }

    /// Gives out a gap in which a payload of `least` bytes has room, if there is one.
    pub(super) fn take_gap(&self, least: usize) -> Option<Place> {
        let mut plan = self.plan.lock();
        let place = |gap: &Range<u64>| Place { offset: gap.start, end: gap.end };
        let index = plan.gaps.iter().position(|gap| place(gap).takes(least))?;
        Some(place(&plan.gaps.swap_remove(index)))
    }

    /// Whether nothing lies behind a place.
    pub(super) fn is_last(&self, place: &Place) -> bool {
        place.end == self.end()
    }

    /// Writes a frame into its place, and empties the buffer.
    pub(super) fn write(&self, place: Place, kind: Kind, frame: &mut FrameBuffer) -> Result<()> {
        let end = frame_end(place.offset, length(frame.payload_len()));
        let gap = self.give_back(end..place.end);
        self.write_at(place.offset, kind, frame)?;
        match gap {
            Some(gap) => self.fill(&gap),
            None => Ok(()),
        }
    }

    /// Takes back what a frame left of its place. Returns it if it has to be filled.
    fn give_back(&self, rest: Range<u64>) -> Option<Range<u64>> {
        let mut plan = self.plan.lock();
        if rest.is_empty() {
            return None;
        }
        if rest.end == plan.end {
            self.set_end(&mut plan, rest.start);
            return None;
        }
        if rest.end - rest.start < MIN_GAP_BYTES {
            return Some(rest);
        }
        plan.gaps.push(rest);
        None
    }

    fn set_end(&self, plan: &mut Plan, end: u64) {
        plan.end = end;
        self.end.store(end, Ordering::Relaxed);
    }

    fn fill(&self, gap: &Range<u64>) -> Result<()> {
        let payload = gap.end.saturating_sub(payload_offset(gap.start));
        let mut frame = FrameBuffer::new();
        let zeros = usize::try_from(payload).unwrap_or(usize::MAX);
        frame.bytes().resize(FRAME_HEADER_BYTES + zeros, 0);
        self.write_at(gap.start, Kind::Blobs, &mut frame)
    }

    fn write_at(&self, offset: u64, kind: Kind, frame: &mut FrameBuffer) -> Result<()> {
        let (bytes, header) = frame.seal(kind, offset, NO_ANCHOR, &self.keys);
        let end = offset + length(bytes.len());
        write_all_at(self.file.as_ref(), bytes, offset)
            .map_err(|source| io_error("write", &self.path, source))?;
        let unsynced = self.plan.lock().note(offset, end, header, &self.keys);
        frame.clear(KEEP_BYTES);
        match self.syncing.is_due(unsynced) {
            true => {
                self.plan.lock().unsynced = 0;
                self.syncing.sync(self.file.as_ref(), &self.path)
            }
            false => Ok(()),
        }
    }

    /// Fills the gaps that nobody took. Everything given out is written; returns where to append.
    pub(super) fn finish(self) -> Result<Position> {
        let gaps = std::mem::take(&mut self.plan.lock().gaps);
        gaps.iter().try_for_each(|gap| self.fill(gap))?;
        let plan = self.plan.into_inner();
        if plan.written != plan.end {
            return Err(Error::Invalid {
                what: "a compaction that left a place in its file empty",
            });
        }
        self.file.sync_data().map_err(|source| io_error("sync", &self.path, source))?;
        Ok(Position { end: plan.written, chain: plan.chain, anchor: NO_ANCHOR })
    }
}

impl Plan {
    /// Takes note of a frame, and takes the chain as far as frames are written without a gap. Returns the bytes
    /// that were not synced.
    fn note(
        &mut self,
        offset: u64,
        end: u64,
        header: [u8; FRAME_HEADER_BYTES],
        keys: &Keys,
    ) -> u64 {
        self.ahead.insert(offset, (end, header));
        while let Some((end, header)) = self.ahead.remove(&self.written) {
            self.chain = keys.chain(self.chain, &header);
            self.written = end;
        }
        self.unsynced += end - offset;
        self.unsynced
    }
}
