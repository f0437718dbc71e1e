//! The first block of a file: what it is, and the salt that keys everything after it.
//!
//! ```text
//!    0  16  magic "SETTEE\r\n\x1a\n" and zeros
//!   16   4  format version: 1, or 2 for a file that compaction made
//!   20   4  length of this block, 4096
//!   24  16  salt, random
//!   40  16  creation id, random
//!   56   8  version 2 only: offset of the checkpoint that the file begins with
//!   56  16  XXH3-128 of all bytes before (in version 2 at 64)
//!           zeros up to 4096
//! ```
//! Written once, synced before the file gets its name, and never again.

use xxhash_rust::xxh3;

use super::codec::Input;

/// Bytes of the header block; the first frame follows it.
pub(super) const HEADER_BYTES: usize = 4096;
/// Where the first frame is.
pub(super) const FIRST_FRAME: u64 = 4096;
/// Newest version of the format this build reads.
pub(super) const VERSION: u32 = COMPACTED;

/// A file that began empty.
const PLAIN: u32 = 1;
/// A file that began with the outcome of a compaction. It has frames of blobs, which version 1 has not.
const COMPACTED: u32 = 2;

const MAGIC: [u8; 16] = *b"SETTEE\r\n\x1a\n\0\0\0\0\0\0";
const HEADER_LEN_FIELD: u32 = 4096;
/// What makes one file different from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) salt: [u8; 16],
    pub(super) creation: [u8; 16],
}

/// What a header block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) identity: Identity,
    /// Offset of the checkpoint that a compacted file begins with, 0 if it was not compacted. Without
    /// that checkpoint such a file is damaged, while any other file without one is just young.
    pub(super) base: u64,
}

/// Why a header block was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It does not begin like a database file.
    NotADatabase,
    /// A version this build does not know.
    Version(u32),
    /// It was a header once.
    Damaged,
}

/// The header block of a new file.
pub(super) fn encode(header: &Header) -> Vec<u8> {
    let version = if header.base == 0 { PLAIN } else { COMPACTED };
    let mut block = Vec::with_capacity(HEADER_BYTES);
    block.extend_from_slice(&MAGIC);
    block.extend_from_slice(&version.to_le_bytes());
    block.extend_from_slice(&HEADER_LEN_FIELD.to_le_bytes());
    block.extend_from_slice(&header.identity.salt);
    block.extend_from_slice(&header.identity.creation);
    if version == COMPACTED {
        block.extend_from_slice(&header.base.to_le_bytes());
    }
    let sum = xxh3::xxh3_128(&block);
    block.extend_from_slice(&sum.to_le_bytes());
    block.resize(HEADER_BYTES, 0);
    block
}

/// Reads a header block back.
pub(super) fn decode(block: &[u8]) -> Result<Header, Refusal> {
    let mut input = Input::new(block);
    if input.array::<16>() != Some(MAGIC) {
        return Err(Refusal::NotADatabase);
    }
    let version = input.u32().ok_or(Refusal::Damaged)?;
    if !(PLAIN..=COMPACTED).contains(&version) {
        return Err(Refusal::Version(version));
    }
    let header = decode_known(&mut input, version).ok_or(Refusal::Damaged)?;
    let summed = block.len() - input.rest().len();
    let sum = input.u128().ok_or(Refusal::Damaged)?;
    match block.get(..summed).is_some_and(|summed| sum == xxh3::xxh3_128(summed)) {
        true => Ok(header),
        false => Err(Refusal::Damaged),
    }
}

fn decode_known(input: &mut Input<'_>, version: u32) -> Option<Header> {
    let len = input.u32()?;
    let identity = Identity { salt: input.array()?, creation: input.array()? };
    let base = if version == COMPACTED { input.u64()? } else { 0 };
    let plausible = len == HEADER_LEN_FIELD && (version == PLAIN || base >= FIRST_FRAME);
    plausible.then_some(Header { identity, base })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_and_notices_every_flipped_bit() {
        let identity = Identity { salt: [7; 16], creation: [9; 16] };
        for (base, used) in [(0, 72), (4096, 80), (1 << 40, 80)] {
            let header = Header { identity, base };
            let block = encode(&header);
            assert_eq!(block.len(), HEADER_BYTES);
            assert_eq!(decode(&block), Ok(header));
            for bit in 0..used * 8 {
                let mut damaged = block.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&damaged).is_err(), "bit {bit}");
            }
            assert_eq!(decode(&block[..used - 1]), Err(Refusal::Damaged));
        }
        assert_eq!(decode(b"{}"), Err(Refusal::NotADatabase));
    }
}
