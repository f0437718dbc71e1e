//! The first block of a file: what it is, and the salt that keys everything after it.
//!
//! ```text
//!    0  16  magic "SETTEE\r\n\x1a\n" and zeros, or in an index file "SETTEE\r\n\x1a\nindex\0"
//!   16   4  format version: 1, or 2 for a database file that compaction made
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
pub(crate) const HEADER_BYTES: usize = 4096;
/// Where the first frame is.
pub(crate) const FIRST_FRAME: u64 = 4096;
/// Newest version of the format this build reads.
pub(crate) const VERSION: u32 = COMPACTED;

/// A file that began empty.
const PLAIN: u32 = 1;
/// A file that began with the outcome of a compaction. It has frames of blobs, which version 1 has not.
const COMPACTED: u32 = 2;

pub(super) const DATABASE_MAGIC: [u8; 16] = *b"SETTEE\r\n\x1a\n\0\0\0\0\0\0";
const INDEX_MAGIC: [u8; 16] = *b"SETTEE\r\n\x1a\nindex\0";
const HEADER_LEN_FIELD: u32 = 4096;

/// What makes one file different from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) salt: [u8; 16],
    pub(crate) creation: [u8; 16],
}

/// What the header block of a database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) identity: Identity,
    /// Offset of the checkpoint that a compacted file begins with, 0 if it was not compacted. Without
    /// that checkpoint such a file is damaged, while any other file without one is just young.
    pub(crate) base: u64,
}

impl Header {
    /// The version of the format.
    pub(super) fn version(&self) -> u32 {
        if self.base == 0 { PLAIN } else { COMPACTED }
    }

    /// Bytes of the block up to and including the checksum; zeros follow.
    pub(super) fn used_bytes(&self) -> usize {
        if self.base == 0 { 72 } else { 80 }
    }
}

/// Why a header block was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not begin like a database file.
    NotADatabase,
    /// A version this build does not know.
    Version(u32),
    /// It was a header once.
    Damaged,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A database.
    Database,
    /// An index, made from a database and disposable.
    Index,
}

impl FileKind {
    fn magic(self) -> [u8; 16] {
        match self {
            FileKind::Database => DATABASE_MAGIC,
            FileKind::Index => INDEX_MAGIC,
        }
    }
}

/// The header block of a new database file.
pub(crate) fn encode(header: &Header) -> Vec<u8> {
    encode_block(FileKind::Database, header)
}

/// The header block of a new file that begins empty.
pub(crate) fn encode_as(kind: FileKind, identity: &Identity) -> Vec<u8> {
    encode_block(kind, &Header { identity: *identity, base: 0 })
}

fn encode_block(kind: FileKind, header: &Header) -> Vec<u8> {
    let version = header.version();
    let mut block = Vec::with_capacity(HEADER_BYTES);
    block.extend_from_slice(&kind.magic());
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

/// Reads the header block of a database file back.
pub(crate) fn decode(block: &[u8]) -> Result<Header, Refusal> {
    decode_block(FileKind::Database, block)
}

/// Reads the header block of a file that began empty.
pub(crate) fn decode_as(kind: FileKind, block: &[u8]) -> Result<Identity, Refusal> {
    match decode_block(kind, block)? {
        Header { identity, base: 0 } => Ok(identity),
        _ => Err(Refusal::Version(COMPACTED)),
    }
}

fn decode_block(kind: FileKind, block: &[u8]) -> Result<Header, Refusal> {
    let mut input = Input::new(block);
    if input.array::<16>() != Some(kind.magic()) {
        return Err(Refusal::NotADatabase);
    }
    let version = input.u32().ok_or(Refusal::Damaged)?;
    if !(PLAIN..=COMPACTED).contains(&version) {
        // A flipped bit in the number must not pass for a version to come.
        let is_whole = [56, 64].into_iter().any(|summed| sum_matches(block, summed));
        return Err(if is_whole { Refusal::Version(version) } else { Refusal::Damaged });
    }
    let header = decode_known(&mut input, version).ok_or(Refusal::Damaged)?;
    let summed = block.len() - input.rest().len();
    if sum_matches(block, summed) { Ok(header) } else { Err(Refusal::Damaged) }
}

/// Whether the checksum behind the first `summed` bytes is theirs.
fn sum_matches(block: &[u8], summed: usize) -> bool {
    let Some((summed, rest)) = block.split_at_checked(summed) else { return false };
    Input::new(rest).u128() == Some(xxh3::xxh3_128(summed))
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
            assert_eq!(header.used_bytes(), used);
            for bit in 0..used * 8 {
                let mut damaged = block.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&damaged).is_err(), "bit {bit}");
            }
            assert_eq!(decode(&block[..used - 1]), Err(Refusal::Damaged));
            assert_eq!(decode_as(FileKind::Index, &block), Err(Refusal::NotADatabase));
        }
        assert_eq!(decode(b"{}"), Err(Refusal::NotADatabase));
        let mut later = encode(&Header { identity, base: 0 });
        later[16] = 3;
        assert_eq!(decode(&later), Err(Refusal::Damaged));
        let sum = xxh3::xxh3_128(&later[..56]).to_le_bytes();
        later[56..72].copy_from_slice(&sum);
        assert_eq!(decode(&later), Err(Refusal::Version(3)));
        let index = encode_as(FileKind::Index, &identity);
        assert_eq!(decode_as(FileKind::Index, &index), Ok(identity));
        assert_eq!(decode(&index), Err(Refusal::NotADatabase));
    }
}
