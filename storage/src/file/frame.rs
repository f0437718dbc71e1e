//! The frame around everything after the file header.
//!
//! ```text
//!    0   8  magic, derived from the file's salt
//!    8   1  kind: 1 chunk, 2 nodes, 3 commit, 4 checkpoint, 5 blobs
//!    9   3  zeros
//!   12   4  length of the payload in bytes
//!   16   8  offset of this frame in the file
//!   24   8  anchor: offset of the latest commit or checkpoint frame before this one, 0 if none
//!   32  16  XXH3-128 of the payload, seeded
//!   48   8  XXH3-64 of bytes 0..48, seeded
//!   56      payload, then zeros up to a multiple of 8
//! ```
//! The header has a checksum of its own so that a damaged length is never believed. The salt keeps bytes
//! that strangers upload from posing as frames. The chain is a running hash over all frame headers (and
//! so over all payload checksums) from the first frame on; commits and checkpoints carry its value, which
//! is why a valid commit proves everything before it, in whatever order the disk wrote it.

use xxhash_rust::xxh3;

use super::{codec::Input, header::Identity};

/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 56;
/// Frames begin at multiples of this.
pub(crate) const FRAME_ALIGN: u64 = 8;
/// Longest payload.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 1 << 30;

const SUMMED_BYTES: usize = 48;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes of a stream, or its list of chunks.
    Chunk,
    /// Tree nodes.
    Nodes,
    /// A group of edits.
    Commit,
    /// The roots of the trees.
    Checkpoint,
    /// What compaction copied: blobs, chunks of streams and their lists, back to back.
    Blobs,
}

impl Kind {
    pub(super) fn code(self) -> u8 {
        match self {
            Kind::Chunk => 1,
            Kind::Nodes => 2,
            Kind::Commit => 3,
            Kind::Checkpoint => 4,
            Kind::Blobs => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Kind::Chunk,
            2 => Kind::Nodes,
            3 => Kind::Commit,
            4 => Kind::Checkpoint,
            5 => Kind::Blobs,
            _ => return None,
        })
    }

    /// Commits and checkpoints: frames that say where the state is.
    pub(crate) fn is_anchor(self) -> bool {
        matches!(self, Kind::Commit | Kind::Checkpoint)
    }
}

/// A running hash over the frames so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain(pub(crate) u128);

/// What is derived from a file's salt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    magic: [u8; 8],
    seed: u64,
    genesis: Chain,
}

impl Keys {
    pub(crate) fn new(identity: &Identity) -> Self {
        let seed = xxh3::xxh3_64_with_seed(&identity.salt, 1);
        let magic = xxh3::xxh3_64_with_seed(&identity.salt, 2);
        let mut start = identity.salt.to_vec();
        start.extend_from_slice(&identity.creation);
        // The scan for the last frame skips zeros, so the magic must not begin with one.
        let mut magic = magic.to_le_bytes();
        magic[0] |= 1;
        Keys { magic, seed, genesis: Chain(xxh3::xxh3_128_with_seed(&start, seed)) }
    }

    /// The bytes a frame begins with.
    pub(crate) fn magic(&self) -> &[u8; 8] {
        &self.magic
    }

    /// The chain before the first frame.
    pub(crate) fn genesis(&self) -> Chain {
        self.genesis
    }

    /// The chain after a frame with this encoded header.
    pub(crate) fn chain(&self, before: Chain, header: &[u8; FRAME_HEADER_BYTES]) -> Chain {
        let mut bytes = [0; 16 + FRAME_HEADER_BYTES];
        bytes[..16].copy_from_slice(&before.0.to_le_bytes());
        bytes[16..].copy_from_slice(header);
        Chain(xxh3::xxh3_128_with_seed(&bytes, self.seed))
    }

    /// Checksum of a payload.
    pub(crate) fn payload_sum(&self, payload: &[u8]) -> u128 {
        xxh3::xxh3_128_with_seed(payload, self.seed)
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: Kind,
    pub(crate) payload_len: u32,
    pub(crate) offset: u64,
    pub(crate) anchor: u64,
    pub(crate) payload_sum: u128,
}

impl FrameHeader {
    pub(crate) fn encode(&self, keys: &Keys) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0; FRAME_HEADER_BYTES];
        out[..8].copy_from_slice(&keys.magic);
        out[8] = self.kind.code();
        out[12..16].copy_from_slice(&self.payload_len.to_le_bytes());
        out[16..24].copy_from_slice(&self.offset.to_le_bytes());
        out[24..32].copy_from_slice(&self.anchor.to_le_bytes());
        out[32..48].copy_from_slice(&self.payload_sum.to_le_bytes());
        let sum = xxh3::xxh3_64_with_seed(&out[..SUMMED_BYTES], keys.seed);
        out[48..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads the header of the frame that is said to be at `offset`; `None` if there is none.
    pub(crate) fn decode(
        bytes: &[u8; FRAME_HEADER_BYTES],
        offset: u64,
        keys: &Keys,
    ) -> Option<Self> {
        let mut input = Input::new(bytes);
        if input.array::<8>()? != keys.magic {
            return None;
        }
        let kind = Kind::from_code(input.u8()?)?;
        let reserved = input.array::<3>()?;
        let payload_len = input.u32()?;
        let own_offset = input.u64()?;
        let anchor = input.u64()?;
        let payload_sum = input.u128()?;
        let sum = input.u64()?;
        let valid = sum == xxh3::xxh3_64_with_seed(bytes.get(..SUMMED_BYTES)?, keys.seed)
            && reserved == [0; 3]
            && own_offset == offset
            && anchor < offset
            && usize::try_from(payload_len).is_ok_and(|len| len <= MAX_PAYLOAD_BYTES);
        valid.then_some(FrameHeader { kind, payload_len, offset, anchor, payload_sum })
    }

    /// Where the payload begins.
    pub(crate) fn payload_offset(&self) -> u64 {
        payload_offset(self.offset)
    }

    /// Where the next frame begins. Cannot overflow for a header that was decoded from a real file.
    pub(crate) fn end(&self) -> u64 {
        frame_end(self.offset, u64::from(self.payload_len))
    }
}

/// Where the payload of a frame at `offset` begins.
pub(crate) fn payload_offset(offset: u64) -> u64 {
    offset.saturating_add(FRAME_HEADER_BYTES as u64)
}

/// Where a frame at `offset` with a payload of `payload_len` bytes ends, padding included.
pub(crate) fn frame_end(offset: u64, payload_len: u64) -> u64 {
    let end = payload_offset(offset).saturating_add(payload_len);
    end.checked_next_multiple_of(FRAME_ALIGN).unwrap_or(u64::MAX)
}

/// A frame under composition: room for the header, then the payload, in one buffer that is written as a
/// whole.
#[derive(Debug)]
pub(crate) struct FrameBuffer(Vec<u8>);

impl FrameBuffer {
    pub(crate) fn new() -> Self {
        FrameBuffer(vec![0; FRAME_HEADER_BYTES])
    }

    pub(crate) fn payload_len(&self) -> usize {
        self.0.len().saturating_sub(FRAME_HEADER_BYTES)
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.0.get(FRAME_HEADER_BYTES..).unwrap_or_default()
    }

    /// The buffer to append payload to. Must not be cut below the header's room.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// Drops the payload's bytes from `len` on.
    pub(crate) fn truncate_payload(&mut self, len: usize) {
        self.0.truncate(FRAME_HEADER_BYTES + len);
    }

    /// Writes over payload bytes that are there already.
    pub(crate) fn overwrite_payload(&mut self, at: usize, bytes: &[u8]) {
        let start = FRAME_HEADER_BYTES + at;
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Fills in the header, pads, and returns the bytes to write and the header as encoded.
    pub(crate) fn seal(
        &mut self,
        kind: Kind,
        offset: u64,
        anchor: u64,
        keys: &Keys,
    ) -> (&[u8], [u8; FRAME_HEADER_BYTES]) {
        let payload_len = u32::try_from(self.payload_len()).unwrap_or(u32::MAX);
        assert!(self.payload_len() <= MAX_PAYLOAD_BYTES, "a frame's payload was not limited");
        let payload_sum = keys.payload_sum(self.payload());
        let header = FrameHeader { kind, payload_len, offset, anchor, payload_sum }.encode(keys);
        self.0[..FRAME_HEADER_BYTES].copy_from_slice(&header);
        let padded = self.0.len().next_multiple_of(FRAME_ALIGN as usize);
        self.0.resize(padded, 0);
        (&self.0, header)
    }

    /// Empties the buffer for the next frame, keeping its memory up to `keep_bytes`.
    pub(crate) fn clear(&mut self, keep_bytes: usize) {
        self.0.clear();
        self.0.shrink_to(keep_bytes);
        self.0.resize(FRAME_HEADER_BYTES, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new(&Identity { salt: [3; 16], creation: [4; 16] })
    }

    #[test]
    fn a_header_comes_back_and_notices_every_flipped_bit() {
        let header = FrameHeader {
            kind: Kind::Commit,
            payload_len: 77,
            offset: 8192,
            anchor: 4096,
            payload_sum: 5,
        };
        let bytes = header.encode(&keys());
        assert_eq!(FrameHeader::decode(&bytes, 8192, &keys()), Some(header));
        assert_eq!(FrameHeader::decode(&bytes, 8200, &keys()), None);
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&damaged, 8192, &keys()), None, "bit {bit}");
        }
    }

    #[test]
    fn another_files_frames_are_not_ours() {
        let other = Keys::new(&Identity { salt: [5; 16], creation: [4; 16] });
        let mut buffer = FrameBuffer::new();
        buffer.bytes().extend_from_slice(b"hello");
        let (bytes, header) = buffer.seal(Kind::Chunk, 4096, 0, &other);
        assert_eq!(bytes.len(), 64);
        assert_eq!(FrameHeader::decode(&header, 4096, &keys()), None);
        assert!(FrameHeader::decode(&header, 4096, &other).is_some());
    }

    #[test]
    fn ends_are_aligned() {
        assert_eq!(frame_end(4096, 0), 4096 + 56);
        assert_eq!(frame_end(4096, 1), 4096 + 64);
        assert_eq!(frame_end(u64::MAX - 3, 9), u64::MAX);
    }
}
