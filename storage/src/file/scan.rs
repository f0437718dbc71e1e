//! Finding frames in a file that is being opened: forwards one after the other, and the last one
//! backwards from the end.

use std::path::Path;

use memchr::memmem;

use super::{
    codec::length,
    frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, Keys},
    header::FIRST_FRAME,
};
use crate::{
    disk::{File, read_exact_at},
    error::{Error, Result},
};

/// Bytes read at once while walking forwards.
const WINDOW_BYTES: u64 = 256 * 1024;
/// Bytes read after a jump over a payload that is not looked at.
const JUMP_BYTES: u64 = 4096;
/// Bytes looked through at once while searching backwards; the first step is small, since the last
/// frame of a closed file is a checkpoint of a few hundred bytes.
const FIRST_STEP_BYTES: u64 = 16 * 1024;
const STEP_BYTES: u64 = 1024 * 1024;
/// Zeros are recognised in blocks of this size.
const ZERO_BLOCK_BYTES: usize = 4096;

/// A file under examination.
pub(crate) struct Scan<'f> {
    path: &'f Path,
    file: &'f dyn File,
    keys: &'f Keys,
    len: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'f> Scan<'f> {
    pub(crate) fn new(path: &'f Path, file: &'f dyn File, keys: &'f Keys, len: u64) -> Self {
        Scan { path, file, keys, len, window: Vec::new(), window_at: 0 }
    }

    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        read_exact_at(self.file, &mut bytes, offset).map_err(|source| Error::Io {
            operation: "read",
            path: self.path.to_path_buf(),
            source,
        })?;
        Ok(bytes)
    }

    /// Bytes of the file; `None` if they reach beyond its end.
    pub(super) fn bytes(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(length(len)).filter(|end| *end <= self.len) else {
            return Ok(None);
        };
        let window_end = self.window_at + length(self.window.len());
        if offset < self.window_at || end > window_end {
            let jumped = offset < self.window_at || offset > window_end;
            let ahead = if jumped { JUMP_BYTES } else { WINDOW_BYTES }.min(self.len - offset);
            let want = usize::try_from(ahead).unwrap_or(len).max(len);
            self.window = self.read(offset, want)?;
            self.window_at = offset;
        }
        let start = usize::try_from(offset - self.window_at).unwrap_or(usize::MAX);
        Ok(self.window.get(start..).and_then(|rest| rest.get(..len)))
    }

    /// The frame header at an offset, decoded and as it is; `None` if there is none.
    pub(crate) fn header(
        &mut self,
        offset: u64,
    ) -> Result<Option<(FrameHeader, [u8; FRAME_HEADER_BYTES])>> {
        let keys = self.keys;
        let Some(bytes) = self.bytes(offset, FRAME_HEADER_BYTES)? else { return Ok(None) };
        let Ok(raw) = <[u8; FRAME_HEADER_BYTES]>::try_from(bytes) else { return Ok(None) };
        Ok(FrameHeader::decode(&raw, offset, keys).map(|header| (header, raw)))
    }

    /// A frame's payload; `None` if it does not match its checksum or is cut off.
    pub(crate) fn payload(&mut self, header: &FrameHeader) -> Result<Option<&[u8]>> {
        let keys = self.keys;
        let len = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
        let payload = self.bytes(header.payload_offset(), len)?;
        Ok(payload.filter(|payload| keys.payload_sum(payload) == header.payload_sum))
    }

    /// Where the zeros at the end of the file begin, to within a frame's alignment.
    pub(crate) fn end_of_data(&self) -> Result<u64> {
        let mut end = self.len;
        let mut step = FIRST_STEP_BYTES;
        while end > FIRST_FRAME {
            let start = end.saturating_sub(step).max(FIRST_FRAME);
            let bytes = self.read(start, usize::try_from(end - start).unwrap_or(usize::MAX))?;
            if let Some(last) = last_nonzero(&bytes) {
                return Ok((start + length(last) + 1).next_multiple_of(FRAME_ALIGN));
            }
            end = start;
            step = STEP_BYTES;
        }
        Ok(FIRST_FRAME)
    }

    /// The last frame with a sound header that begins before `below`.
    pub(crate) fn previous_frame(&mut self, below: u64) -> Result<Option<FrameHeader>> {
        let keys = self.keys;
        let finder = memmem::FinderRev::new(keys.magic());
        let mut end = below.min(self.len);
        let mut step = FIRST_STEP_BYTES;
        while end > FIRST_FRAME {
            let start = end.saturating_sub(step).max(FIRST_FRAME);
            // A magic may begin just before `end` and reach beyond it.
            let stop = end.saturating_add(length(keys.magic().len()) - 1).min(self.len);
            let bytes = self.read(start, usize::try_from(stop - start).unwrap_or(usize::MAX))?;
            let mut rest = bytes.as_slice();
            while let Some(at) = finder.rfind(rest) {
                let offset = start + length(at);
                if offset.is_multiple_of(FRAME_ALIGN)
                    && let Some((header, _)) = self.header(offset)?
                {
                    return Ok(Some(header));
                }
                // The next one begins at least a byte earlier.
                rest = rest.get(..at + keys.magic().len() - 1).unwrap_or_default();
            }
            end = start;
            step = STEP_BYTES;
        }
        Ok(None)
    }
}

/// Searching forwards, for tools that go on behind a damaged frame.
impl Scan<'_> {
    /// Where the first frame with a sound header begins, from `from` on.
    pub(super) fn next_frame(&mut self, from: u64) -> Result<Option<u64>> {
        let keys = self.keys;
        let finder = memmem::Finder::new(keys.magic());
        let overlap = length(keys.magic().len()) - 1;
        let mut start = from;
        while start < self.len {
            // A magic may begin in this step and reach into the next.
            let stop = start.saturating_add(STEP_BYTES + overlap).min(self.len);
            let bytes = self.read(start, usize::try_from(stop - start).unwrap_or(usize::MAX))?;
            for at in finder.find_iter(&bytes) {
                let offset = start + length(at);
                if offset.is_multiple_of(FRAME_ALIGN) && self.header(offset)?.is_some() {
                    return Ok(Some(offset));
                }
            }
            start += STEP_BYTES;
        }
        Ok(None)
    }
}

fn last_nonzero(bytes: &[u8]) -> Option<usize> {
    static ZEROS: [u8; ZERO_BLOCK_BYTES] = [0; ZERO_BLOCK_BYTES];
    let mut rest = bytes;
    while let Some((before, block)) = rest.split_last_chunk::<ZERO_BLOCK_BYTES>() {
        if *block != ZEROS {
            break;
        }
        rest = before;
    }
    rest.iter().rposition(|byte| *byte != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_is_found_behind_any_number_of_zeros() {
        for zeros in [0, 1, 4095, 4096, 4097, 9000] {
            let mut bytes = vec![0; 5000];
            bytes[4321] = 1;
            bytes.resize(4322 + zeros, 0);
            assert_eq!(last_nonzero(&bytes), Some(4321), "{zeros} zeros");
        }
        assert_eq!(last_nonzero(&[0; 10_000]), None);
    }
}
