//! Streams: attachments written in chunks ahead of the commit that refers to them, and read in parts.
//!
//! A stream's last frame holds its last chunk followed by the list of all chunks, 16 bytes each
//! ([`BlobRef`]); the [`StreamRef`] names that list. A short stream is one frame.

use std::{
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
};

use super::{
    frame::{FrameBuffer, Kind, payload_offset},
    generation::Generation,
    state::Trees,
    store::FileStore,
    tail::Appender,
};
use crate::{
    error::{Error, Result},
    store::{BlobRef, StagedStream, StreamRef, StreamWriter, Value},
};

/// Bytes of a chunk; only a stream's last may be shorter.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
/// Most chunks of a stream; with their size this limits a stream to 256 GiB, and its list to 16 MiB.
pub(super) const MAX_CHUNKS: usize = 1 << 20;
/// A sync per this many bytes, so that a crash leaves little to verify, and no commit has to push out
/// gigabytes.
const SYNC_EVERY_BYTES: u64 = 32 * 1024 * 1024;

/// A stream on its way into the file.
pub(super) struct ChunkWriter {
    store: Arc<FileStore>,
    /// The file that holds the chunks so far.
    home: Arc<Generation>,
    buffer: FrameBuffer,
    chunks: Vec<BlobRef>,
    len: u64,
    unsynced: u64,
}

impl ChunkWriter {
    pub(super) fn new(store: Arc<FileStore>) -> Self {
        let home = store.generation();
        let buffer = FrameBuffer::new();
        ChunkWriter { store, home, buffer, chunks: Vec::new(), len: 0, unsynced: 0 }
    }

    /// Appends the buffered bytes as a chunk and lists them.
    fn flush(&mut self) -> Result<()> {
        let crc = crc32fast::hash(self.buffer.payload());
        let len = chunk_len(self.buffer.payload_len());
        let append = |writer: &mut Self, appender: &mut Appender<'_>| {
            appender.append(Kind::Chunk, &mut writer.buffer)
        };
        let offset = self.append(append)?.offset;
        self.chunks.push(BlobRef { offset: payload_offset(offset), len, crc });
        self.buffer.clear(usize::MAX);
        self.unsynced += u64::from(len);
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.unsynced = 0;
            match self.home.tail.sync() {
                // Compaction has taken what is here into the next file.
                Err(_) if self.home.staging.is_replaced() => {}
                synced => synced?,
            }
        }
        Ok(())
    }

    /// Appends to the file that is current, into which the chunks so far are copied first if they are in
    /// another one.
    fn append<T>(
        &mut self,
        append: impl FnOnce(&mut Self, &mut Appender<'_>) -> Result<T>,
    ) -> Result<T> {
        loop {
            self.follow()?;
            let home = Arc::clone(&self.home);
            match home.tail.lock() {
                Ok(mut appender) => return append(self, &mut appender),
                Err(_) if home.staging.is_replaced() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on in the file that is current now.
    fn follow(&mut self) -> Result<()> {
        loop {
            let current = self.store.generation();
            if Arc::ptr_eq(&current, &self.home) {
                return Ok(());
            }
            match self.copy_to(&current) {
                Ok(chunks) => {
                    self.chunks = chunks;
                    self.home = current;
                }
                // That one is gone, too.
                Err(_) if current.staging.is_replaced() => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn copy_to(&self, next: &Generation) -> Result<Vec<BlobRef>> {
        let old = self.home.state.load_full();
        let mut frame = FrameBuffer::new();
        let copy = |chunk: &BlobRef| {
            frame.clear(CHUNK_BYTES);
            frame.bytes().extend_from_slice(&old.trees.reader.blob(*chunk)?);
            let placed = next.tail.lock()?.append(Kind::Chunk, &mut frame)?;
            Ok(BlobRef { offset: payload_offset(placed.offset), ..*chunk })
        };
        self.chunks.iter().map(copy).collect()
    }

    fn check_limit(&self, more: usize) -> Result<()> {
        let limit = (MAX_CHUNKS as u64) * (CHUNK_BYTES as u64);
        let size = self.len.saturating_add(super::codec::length(more));
        if size > limit { Err(Error::TooLarge { what: "a stream", size, limit }) } else { Ok(()) }
    }
}

/// A chunk's length; it is at most [`CHUNK_BYTES`].
fn chunk_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl StreamWriter for ChunkWriter {
    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.check_limit(bytes.len())?;
        while !bytes.is_empty() {
            let room = CHUNK_BYTES - self.buffer.payload_len();
            if room == 0 {
                self.flush()?;
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.bytes().extend_from_slice(now);
            self.len += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<StagedStream> {
        let last_len = self.buffer.payload_len();
        let last_crc = crc32fast::hash(self.buffer.payload());
        // The last chunk's place is known only under the lock.
        self.append(|writer, appender| {
            let ChunkWriter { home, buffer, chunks, len, .. } = writer;
            let payload = payload_offset(appender.position().end);
            if last_len > 0 {
                let len = chunk_len(last_len);
                chunks.push(BlobRef { offset: payload, len, crc: last_crc });
            }
            let list: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.to_bytes()).collect();
            let index = BlobRef {
                offset: payload + last_len as u64,
                len: chunk_len(list.len()),
                crc: crc32fast::hash(&list),
            };
            buffer.bytes().extend_from_slice(&list);
            appender.append(Kind::Chunk, buffer)?;
            // The file cannot be replaced while the lock is held.
            home.staging.stage(StreamRef { index, len: *len }).ok_or(Error::Closed)
        })
    }
}

/// The chunks of a stream.
pub(super) fn chunk_list(trees: &Trees, at: StreamRef) -> Result<Vec<BlobRef>> {
    let list = trees.reader.blob(at.index)?;
    let bad = || Error::Corrupt {
        path: trees.path.to_path_buf(),
        offset: at.index.offset,
        what: "a list of chunks does not add up to its stream",
    };
    let (parts, []) = list.as_chunks::<{ BlobRef::ENCODED_BYTES }>() else { return Err(bad()) };
    let chunks: Option<Vec<_>> = parts.iter().map(|part| BlobRef::from_bytes(part)).collect();
    let chunks = chunks.ok_or_else(bad)?;
    let len = chunks.iter().fold(0u64, |len, chunk| len.saturating_add(u64::from(chunk.len)));
    let plausible = len == at.len && chunks.iter().all(|chunk| chunk.len > 0);
    if plausible { Ok(chunks) } else { Err(bad()) }
}

/// A stream being read. Keeps what it needs of the snapshot.
pub(super) struct ChunkReader {
    trees: Trees,
    chunks: Vec<BlobRef>,
    /// Where each chunk begins in the stream.
    starts: Vec<u64>,
    len: u64,
    position: u64,
    /// The chunk read last, if it had to be copied.
    copied: Option<(usize, Vec<u8>)>,
    /// The chunk that was verified last.
    verified: Option<usize>,
}

impl ChunkReader {
    pub(super) fn open(trees: &Trees, at: StreamRef) -> Result<Self> {
        let chunks = chunk_list(trees, at)?;
        let starts = chunks.iter().scan(0u64, |end, chunk| {
            let start = *end;
            *end += u64::from(chunk.len);
            Some(start)
        });
        let (starts, len) = (starts.collect(), at.len);
        let trees = trees.clone();
        Ok(ChunkReader { trees, chunks, starts, len, position: 0, copied: None, verified: None })
    }

    /// Copies from the chunk at the position.
    fn read_chunk(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let index = self.starts.partition_point(|start| *start <= self.position).saturating_sub(1);
        let (Some(chunk), Some(start)) = (self.chunks.get(index), self.starts.get(index)) else {
            return Ok(0);
        };
        let from = usize::try_from(self.position - start).unwrap_or(usize::MAX);
        if let Some((copied, bytes)) = &self.copied
            && *copied == index
        {
            return Ok(copy(bytes, from, buffer));
        }
        let value = if self.verified == Some(index) {
            self.trees.reader.blob_again(*chunk)?
        } else {
            self.trees.reader.blob(*chunk)?
        };
        let copied = copy(&value, from, buffer);
        self.copied = match value {
            Value::Borrowed(_) => None,
            Value::Owned(bytes) => Some((index, bytes)),
        };
        self.verified = Some(index);
        Ok(copied)
    }
}

/// Copies what fits; returns how much.
fn copy(bytes: &[u8], from: usize, buffer: &mut [u8]) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let len = rest.len().min(buffer.len());
    buffer[..len].copy_from_slice(&rest[..len]);
    len
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.len || buffer.is_empty() {
            return Ok(0);
        }
        let read = self.read_chunk(buffer).map_err(io::Error::other)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for ChunkReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "a seek before the start");
        self.position = target.ok_or_else(before)?;
        Ok(self.position)
    }
}
