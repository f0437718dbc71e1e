//! The first block of a file: what it is, and the salt that keys everything after it.
//!
//! ```text
//!    0  16  magic "SETTEE\r\n\x1a\n" and zeros, or in an index file "SETTEE\r\n\x1a\nindex\0"
//!   16   4  format version
//!   20   4  length of this block, 4096
//!   24  16  salt, random
//!   40  16  creation id, random
//!   56  16  XXH3-128 of bytes 0..56
//!   72      zeros up to 4096
//! ```
//! Written once, synced before the file gets its name, and never again.

use xxhash_rust::xxh3;

use super::codec::Input;

/// Bytes of the header block; the first frame follows it.
pub(crate) const HEADER_BYTES: usize = 4096;
/// Where the first frame is.
pub(crate) const FIRST_FRAME: u64 = 4096;
/// Version of the format this build writes and reads.
pub(crate) const VERSION: u32 = 1;

pub(super) const DATABASE_MAGIC: [u8; 16] = *b"SETTEE\r\n\x1a\n\0\0\0\0\0\0";
const INDEX_MAGIC: [u8; 16] = *b"SETTEE\r\n\x1a\nindex\0";
const HEADER_LEN_FIELD: u32 = 4096;
pub(super) const SUMMED_BYTES: usize = 56;

/// What makes one file different from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) salt: [u8; 16],
    pub(crate) creation: [u8; 16],
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
pub(crate) fn encode(identity: &Identity) -> Vec<u8> {
    encode_as(FileKind::Database, identity)
}

/// The header block of a new file.
pub(crate) fn encode_as(kind: FileKind, identity: &Identity) -> Vec<u8> {
    let mut block = Vec::with_capacity(HEADER_BYTES);
    block.extend_from_slice(&kind.magic());
    block.extend_from_slice(&VERSION.to_le_bytes());
    block.extend_from_slice(&HEADER_LEN_FIELD.to_le_bytes());
    block.extend_from_slice(&identity.salt);
    block.extend_from_slice(&identity.creation);
    let sum = xxh3::xxh3_128(&block);
    block.extend_from_slice(&sum.to_le_bytes());
    block.resize(HEADER_BYTES, 0);
    block
}

/// Reads the header block of a database file back.
pub(crate) fn decode(block: &[u8]) -> Result<Identity, Refusal> {
    decode_as(FileKind::Database, block)
}

/// Reads a header block back.
pub(crate) fn decode_as(kind: FileKind, block: &[u8]) -> Result<Identity, Refusal> {
    let mut input = Input::new(block);
    if input.array::<16>() != Some(kind.magic()) {
        return Err(Refusal::NotADatabase);
    }
    let version = input.u32().ok_or(Refusal::Damaged)?;
    let len = input.u32().ok_or(Refusal::Damaged)?;
    let salt = input.array().ok_or(Refusal::Damaged)?;
    let creation = input.array().ok_or(Refusal::Damaged)?;
    let sum = input.u128().ok_or(Refusal::Damaged)?;
    let summed = block.get(..SUMMED_BYTES).ok_or(Refusal::Damaged)?;
    if sum != xxh3::xxh3_128(summed) {
        return Err(Refusal::Damaged);
    }
    if version != VERSION || len != HEADER_LEN_FIELD {
        return Err(Refusal::Version(version));
    }
    Ok(Identity { salt, creation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_and_notices_every_flipped_bit() {
        let identity = Identity { salt: [7; 16], creation: [9; 16] };
        let block = encode(&identity);
        assert_eq!(block.len(), HEADER_BYTES);
        assert_eq!(decode(&block), Ok(identity));
        for bit in 0..72 * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged).is_err(), "bit {bit}");
        }
        assert_eq!(decode_as(FileKind::Index, &block), Err(Refusal::NotADatabase));
        assert_eq!(decode(&block[..71]), Err(Refusal::Damaged));
        assert_eq!(decode(b"{}"), Err(Refusal::NotADatabase));
    }
}
