//! The end of the file: appending frames, space prepared ahead, syncing, and what happens when one of
//! these fails.
//!
//! One lock orders all appends. It is held while a frame is composed that has to know its own offset, and
//! while it is written, never during a sync. Syncs have a lock of their own, because the kernel tells a
//! writeback error to only one of two concurrent calls.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};

use super::frame::{Chain, FrameBuffer, Keys, Kind};
use crate::{
    disk::{File, write_all_at},
    error::{Error, Result, io_error, is_full},
};

/// Frames up to this size are worth space prepared ahead: it spares a change of metadata in the sync,
/// measured at some 80 µs, and costs writing each byte twice.
const PREPARE_FOR_FRAMES_UP_TO: u64 = 64 * 1024;
/// Space ahead is this part of the file's size, within the two limits that follow.
const PREPARE_PART: u64 = 8;
/// Smallest step of space ahead.
const MIN_PREPARE_BYTES: u64 = 64 * 1024;
/// Zeros are written from one static block of this size.
const ZERO_BLOCK_BYTES: usize = 64 * 1024;

static ZEROS: [u8; ZERO_BLOCK_BYTES] = [0; ZERO_BLOCK_BYTES];

/// Where a frame was placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    /// Offset of the frame.
    pub(super) offset: u64,
    /// Offset after it.
    pub(super) end: u64,
    /// The chain after it.
    pub(super) chain: Chain,
}

/// Where to go on appending.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) end: u64,
    pub(super) chain: Chain,
    /// Latest commit or checkpoint frame, 0 if none.
    pub(super) anchor: u64,
}

/// The appending end of a file.
#[derive(Debug)]
pub(super) struct Tail {
    path: Arc<Path>,
    keys: Keys,
    /// Most bytes of space ahead.
    max_prepare_bytes: AtomicU64,
    state: Mutex<TailState>,
    syncing: Mutex<()>,
    /// Everything before this offset is on disk.
    durable: AtomicU64,
    /// The end, for those who only want to know.
    end: AtomicU64,
    poisoned: AtomicBool,
}

#[derive(Debug)]
struct TailState {
    /// `None` once closed: the lock on the file goes with it.
    file: Option<Arc<dyn File>>,
    position: Position,
    /// Zeros are written up to here.
    prepared: u64,
}

impl Tail {
    /// Appends after `position`; the file ends there and is durable.
    pub(super) fn new(
        path: Arc<Path>,
        file: Arc<dyn File>,
        keys: Keys,
        position: Position,
        max_prepare_bytes: u64,
    ) -> Self {
        let prepared = position.end;
        Tail {
            path,
            keys,
            max_prepare_bytes: AtomicU64::new(max_prepare_bytes),
            state: Mutex::new(TailState { file: Some(file), position, prepared }),
            syncing: Mutex::new(()),
            durable: AtomicU64::new(position.end),
            end: AtomicU64::new(position.end),
            poisoned: AtomicBool::new(false),
        }
    }

    /// From now on writes at most so many bytes of space ahead.
    pub(super) fn set_max_prepare_bytes(&self, bytes: u64) {
        self.max_prepare_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Everything before this offset was synced.
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Where the next frame will be.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Refuses if an earlier failure made the file's state uncertain.
    pub(super) fn check(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) { Err(self.poisoned_error()) } else { Ok(()) }
    }

    /// Takes the lock that orders appends.
    pub(super) fn lock(&self) -> Result<Appender<'_>> {
        let state = self.state.lock();
        self.check()?;
        match state.file.clone() {
            Some(file) => Ok(Appender { tail: self, state, file }),
            None => Err(Error::Closed),
        }
    }

    /// Makes everything appended so far durable.
    pub(super) fn sync(&self) -> Result<()> {
        let _one_at_a_time = self.syncing.lock();
        let (file, end) = {
            let appender = self.lock()?;
            (Arc::clone(&appender.file), appender.position().end)
        };
        if let Err(source) = file.sync_data() {
            self.give_up();
            return Err(self.io_error("sync", source));
        }
        // Under the lock, so that a failed write in another thread either comes first, and this sync is
        // not believed, or cuts behind what is durable now.
        let _state = self.state.lock();
        self.check()?;
        self.durable.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    /// Gives back the space prepared ahead; true if there was any.
    pub(super) fn trim(&self) -> Result<bool> {
        let mut appender = self.lock()?;
        let end = appender.state.position.end;
        if appender.state.prepared <= end {
            return Ok(false);
        }
        appender.file.set_len(end).map_err(|source| self.io_error("trim", source))?;
        appender.state.prepared = end;
        Ok(true)
    }

    /// Refuses everything from now on, because the state in memory is uncertain.
    pub(super) fn give_up(&self) {
        self.poison(&mut self.state.lock());
    }

    /// Lets go of the file and with it of the writer's lock.
    pub(super) fn close(&self) {
        self.state.lock().file = None;
    }

    /// After a failed write or sync nobody knows what the disk holds beyond the durable end, and the
    /// kernel may show bytes there that never reached it. They are cut off, so that whoever opens the
    /// file next, in this boot, finds only what is durable; and nothing is written here again. No map
    /// reaches beyond the durable end, so the cut pulls nothing from under a reader.
    fn poison(&self, state: &mut TailState) {
        self.poisoned.store(true, Ordering::Release);
        if let Some(file) = &state.file {
            // If this fails, too, nothing more can be done from here.
            let _ = file.set_len(self.durable());
        }
        state.prepared = 0;
    }

    pub(super) fn poisoned_error(&self) -> Error {
        Error::Poisoned { path: self.path.to_path_buf() }
    }

    fn io_error(&self, operation: &'static str, source: io::Error) -> Error {
        io_error(operation, &self.path, source)
    }
}

/// The right to append.
#[derive(Debug)]
pub(super) struct Appender<'t> {
    tail: &'t Tail,
    state: MutexGuard<'t, TailState>,
    file: Arc<dyn File>,
}

impl Appender<'_> {
    /// Where the next frame will be.
    pub(super) fn position(&self) -> Position {
        self.state.position
    }

    /// Appends a frame in one write. On `Error::Full` the file is as before; any other failed write
    /// poisons the store.
    pub(super) fn append(&mut self, kind: Kind, buffer: &mut FrameBuffer) -> Result<Placed> {
        let Position { end: offset, chain, anchor } = self.state.position;
        let (bytes, header) = buffer.seal(kind, offset, anchor, &self.tail.keys);
        if let Err(error) = write_all_at(self.file.as_ref(), bytes, offset) {
            return Err(self.failed_write(error));
        }
        let len = bytes.len() as u64;
        let end = offset + len;
        let chain = self.tail.keys.chain(chain, &header);
        let anchor = if kind.is_anchor() { offset } else { anchor };
        self.state.position = Position { end, chain, anchor };
        self.tail.end.store(end, Ordering::Release);
        self.prepare(len);
        Ok(Placed { offset, end, chain })
    }

    /// Takes back the frames appended since `position`, if the caller knows that all of them are its own
    /// and that nothing refers to them. What a sync has covered stays: records may say that it did.
    pub(super) fn rewind(&mut self, position: Position) {
        let end = position.end;
        if end >= self.tail.durable() && self.file.set_len(end).is_ok() {
            self.state.position = position;
            self.state.prepared = end;
            self.tail.end.store(end, Ordering::Release);
        }
    }

    /// Refuses everything from now on; see [`Tail::give_up`].
    pub(super) fn give_up(&mut self) {
        self.tail.poison(&mut self.state);
    }

    /// Lets go of the file and with it of the writer's lock.
    pub(super) fn close(mut self) {
        self.state.file = None;
    }

    /// Writes the block in front of the frames and makes everything durable, length and all.
    pub(super) fn write_header(&mut self, block: &[u8]) -> Result<()> {
        let written =
            write_all_at(self.file.as_ref(), block, 0).and_then(|()| self.file.sync_all());
        if let Err(source) = written {
            self.give_up();
            return Err(self.tail.io_error("write the header of", source));
        }
        self.tail.durable.fetch_max(self.state.position.end, Ordering::AcqRel);
        Ok(())
    }

    /// Lets a thread that waits for the lock have it first.
    pub(super) fn release_fairly(self) {
        MutexGuard::unlock_fair(self.state);
    }

    fn failed_write(&mut self, error: io::Error) -> Error {
        let end = self.state.position.end;
        // A frame that found no room is cut off again; the frames before it are whole, and streams under
        // way may be among them, so they stay.
        if is_full(&error) && self.file.set_len(end).is_ok() {
            self.state.prepared = end;
        } else {
            self.tail.poison(&mut self.state);
        }
        self.tail.io_error("write", error)
    }

    /// Writes zeros ahead of the end when small frames have used up what there was.
    fn prepare(&mut self, frame_bytes: u64) {
        let end = self.state.position.end;
        if end <= self.state.prepared || frame_bytes > PREPARE_FOR_FRAMES_UP_TO {
            return;
        }
        self.state.prepared = end;
        let max = self.tail.max_prepare_bytes.load(Ordering::Relaxed);
        let step = (end / PREPARE_PART).max(MIN_PREPARE_BYTES).min(max);
        let target = (end + step).next_multiple_of(4096).min(end + max);
        let mut at = end;
        while at < target {
            let block = usize::try_from(target - at).unwrap_or(usize::MAX).min(ZERO_BLOCK_BYTES);
            // No room for zeros is no failure: the frame itself is written.
            if write_all_at(self.file.as_ref(), &ZEROS[..block], at).is_err() {
                break;
            }
            at += block as u64;
            self.state.prepared = at;
        }
    }
}
