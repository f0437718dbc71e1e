//! Frames of blobs behind the copy: what is brought over later, back to back.

use crate::{
    codec::length,
    error::Result,
    file::{
        frame::{FrameBuffer, Kind, payload_offset},
        tail::Tail,
    },
    store::BlobRef,
};

/// A frame is written when it holds this much.
const FRAME_BYTES: usize = 1024 * 1024;
/// Bytes between two syncs, so that the last one, for which writers wait, has little to do.
const SYNC_EVERY_BYTES: u64 = 64 * 1024 * 1024;

/// Where copies of blobs go.
pub(super) trait PutBlob {
    /// Adds bytes whose checksum is known.
    fn put(&mut self, bytes: &[u8], crc: u32) -> Result<BlobRef>;
}

/// Appends blobs to a file to which nobody else appends meanwhile, except between a `flush` and the next
/// blob.
pub(super) struct Blobs<'t> {
    tail: &'t Tail,
    frame: FrameBuffer,
    unsynced: u64,
}

impl<'t> Blobs<'t> {
    pub(super) fn new(tail: &'t Tail) -> Self {
        Blobs { tail, frame: FrameBuffer::new(), unsynced: 0 }
    }

    /// Writes what is left.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.frame.payload_len() == 0 {
            return Ok(());
        }
        self.unsynced += length(self.frame.payload_len());
        self.tail.lock()?.append(Kind::Blobs, &mut self.frame)?;
        self.frame.clear(2 * FRAME_BYTES);
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.unsynced = 0;
            self.tail.sync()?;
        }
        Ok(())
    }
}

impl PutBlob for Blobs<'_> {
    fn put(&mut self, bytes: &[u8], crc: u32) -> Result<BlobRef> {
        let offset = payload_offset(self.tail.end()) + length(self.frame.payload_len());
        self.frame.bytes().extend_from_slice(bytes);
        if self.frame.payload_len() >= FRAME_BYTES {
            self.flush()?;
        }
        Ok(BlobRef { offset, len: u32::try_from(bytes.len()).unwrap_or(u32::MAX), crc })
    }
}
