//! The scratch file, and the runs in it.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    codec::{Input, length, put_bytes},
    disk::{Disk, File, OpenMode, read_exact_at, write_all_at},
    error::{Error, Result, io_error},
};

/// Length 4 and checksum 8.
const BLOCK_HEADER_BYTES: usize = 12;

/// A file without a name. Its space is given back with the last run in it.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    file: Arc<dyn File>,
    end: AtomicU64,
}

impl Scratch {
    pub(super) fn create(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let io = |operation| move |source| io_error(operation, path, source);
        if disk.exists(path).map_err(io("look up"))? {
            disk.remove(path).map_err(io("remove"))?;
        }
        let file = disk.open(path, OpenMode::CreateNew).map_err(io("create"))?;
        disk.remove(path).map_err(io("remove"))?;
        Ok(Scratch { path: path.to_path_buf(), file, end: AtomicU64::new(0) })
    }

    /// Begins a run behind the last one, which is finished.
    pub(super) fn begin_run(self: &Arc<Self>, block_bytes: usize) -> RunWriter {
        let start = self.end.load(Ordering::Acquire);
        RunWriter {
            scratch: Arc::clone(self),
            start,
            end: start,
            block: vec![0; BLOCK_HEADER_BYTES],
            block_bytes,
        }
    }

    fn damaged(&self) -> Error {
        let what = "what was written to this temporary file comes back changed: check the disk";
        let source = std::io::Error::new(std::io::ErrorKind::InvalidData, what);
        Error::Io { operation: "read back", path: self.path.clone(), source }
    }
}

/// A run being written.
pub(super) struct RunWriter {
    scratch: Arc<Scratch>,
    start: u64,
    end: u64,
    /// Room for the header, then entries.
    block: Vec<u8>,
    block_bytes: usize,
}

impl RunWriter {
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let filled = self.block.len() > BLOCK_HEADER_BYTES;
        if filled && self.block.len() + key.len() + value.len() > self.block_bytes {
            self.flush()?;
        }
        put_bytes(&mut self.block, key);
        put_bytes(&mut self.block, value);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let entries = self.block.get(BLOCK_HEADER_BYTES..).unwrap_or_default();
        // An entry is far below 4 GiB, and a block is one entry or a few.
        let len = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let sum = xxh3_64(entries);
        self.block[..4].copy_from_slice(&len.to_le_bytes());
        self.block[4..BLOCK_HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        write_all_at(self.scratch.file.as_ref(), &self.block, self.end)
            .map_err(|source| io_error("write", &self.scratch.path, source))?;
        self.end += length(self.block.len());
        self.block.truncate(BLOCK_HEADER_BYTES);
        self.block.shrink_to(self.block_bytes);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Run> {
        if self.block.len() > BLOCK_HEADER_BYTES {
            self.flush()?;
        }
        self.scratch.end.store(self.end, Ordering::Release);
        Ok(Run { scratch: self.scratch, next: self.start, end: self.end })
    }
}

/// A sorted run in a scratch file, read from front to back.
#[derive(Debug)]
pub(super) struct Run {
    scratch: Arc<Scratch>,
    /// Where the next block is.
    next: u64,
    end: u64,
}

impl Run {
    /// Reads the next block's entries; `None` at the end.
    pub(super) fn next_block(&mut self) -> Result<Option<Block>> {
        if self.next >= self.end {
            return Ok(None);
        }
        let header = self.read::<BLOCK_HEADER_BYTES>(self.next)?;
        let mut input = Input::new(&header);
        let (Some(len), Some(sum)) = (input.u32(), input.u64()) else {
            return Err(self.scratch.damaged());
        };
        let at = self.next + length(BLOCK_HEADER_BYTES);
        // A damaged length must not make the reader allocate what the run does not hold.
        let len = usize::try_from(len).ok().filter(|len| at + length(*len) <= self.end);
        let mut bytes = vec![0; len.ok_or_else(|| self.scratch.damaged())?];
        self.read_into(&mut bytes, at)?;
        if xxh3_64(&bytes) != sum {
            return Err(self.scratch.damaged());
        }
        self.next = at + length(bytes.len());
        Ok(Some(Block { bytes, at: 0 }))
    }

    fn read<const N: usize>(&self, at: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_into(&mut bytes, at)?;
        Ok(bytes)
    }

    fn read_into(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        read_exact_at(self.scratch.file.as_ref(), bytes, at)
            .map_err(|source| io_error("read back", &self.scratch.path, source))
    }

    pub(super) fn damaged(&self) -> Error {
        self.scratch.damaged()
    }
}

/// The entries of a block.
#[derive(Debug)]
pub(super) struct Block {
    bytes: Vec<u8>,
    at: usize,
}

/// Where an entry lies in its block.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) key: std::ops::Range<usize>,
    pub(super) value: std::ops::Range<usize>,
}

impl Block {
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The next entry; `None` if the bytes make no sense.
    pub(super) fn next(&mut self) -> Option<Place> {
        let mut input = Input::new(self.bytes.get(self.at..)?);
        let key = input.bytes()?.len();
        let key_end = self.bytes.len() - input.rest().len();
        let value = input.bytes()?.len();
        self.at = self.bytes.len() - input.rest().len();
        Some(Place { key: key_end - key..key_end, value: self.at - value..self.at })
    }

    pub(super) fn get(&self, range: &std::ops::Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
impl Scratch {
    pub(super) fn len(&self) -> u64 {
        self.file.len().unwrap_or(0)
    }

    pub(super) fn flip_bit(&self, bit: u64) {
        let mut byte = [0];
        let _ = read_exact_at(self.file.as_ref(), &mut byte, bit / 8);
        byte[0] ^= 1 << (bit % 8);
        let _ = write_all_at(self.file.as_ref(), &byte, bit / 8);
    }

    /// All that was written, as one run.
    pub(super) fn whole_run(self: &Arc<Self>) -> Run {
        Run { scratch: Arc::clone(self), next: 0, end: self.len() }
    }
}
