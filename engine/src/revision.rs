//! Revisions: their text form, their order, and the id that follows from an edit.
//!
//! The same edit gives the same id in every CouchDB-compatible server, which is what lets databases
//! that were filled independently replicate without conflicts.

mod hash;
pub(crate) mod term;

use std::{cmp::Ordering, fmt};

pub use hash::{AttachmentDigest, revision_id};
pub(crate) use hash::{external_term, index_name};

use crate::error::{Error, Result};

/// Longest revision id that is not a hash, in bytes.
pub const MAX_OPAQUE_BYTES: usize = 1024;
/// Highest generation, so that a successor always exists.
pub const MAX_GENERATION: u64 = u64::MAX >> 1;

/// The part of a revision after the dash.
///
/// Ids are compared by their bytes, whichever form they have.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum RevId {
    /// An id of 16 bytes, written as 32 hexadecimal digits.
    Hash([u8; 16]),
    /// Any other id, as given by a client with `new_edits=false`. 16 bytes long only for the
    /// counter of a local document (generation 0).
    Opaque(Box<[u8]>),
}

impl RevId {
    /// The id whose text form is `text`: 32 hexadecimal digits are decoded, anything else is kept.
    ///
    /// # Errors
    /// [`Error::InvalidRev`] for 32 bytes that are not hexadecimal and for ids over
    /// [`MAX_OPAQUE_BYTES`].
    pub fn parse(text: &[u8]) -> Result<Self> {
        match text.len() {
            32 => hex_decode(text).map(RevId::Hash).ok_or(Error::InvalidRev),
            length if length > MAX_OPAQUE_BYTES => Err(Error::InvalidRev),
            _ => Ok(RevId::from_bytes(text)),
        }
    }

    /// The id with these raw bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match bytes.try_into() {
            Ok(hash) => RevId::Hash(hash),
            Err(_) => RevId::Opaque(bytes.into()),
        }
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            RevId::Hash(bytes) => bytes,
            RevId::Opaque(bytes) => bytes,
        }
    }

    /// Appends the text form: lower-case hexadecimal of a hash, the bytes of any other id.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            RevId::Hash(bytes) => out.extend_from_slice(&hex_encode(bytes)),
            RevId::Opaque(bytes) => out.extend_from_slice(bytes),
        }
    }
}

impl PartialOrd for RevId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RevId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Display for RevId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RevId::Hash(bytes) => f.write_str(&String::from_utf8_lossy(&hex_encode(bytes))),
            RevId::Opaque(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
        }
    }
}

impl fmt::Debug for RevId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A revision: how many edits led to it, and which they were.
///
/// ```
/// use settee_engine::Rev;
///
/// let rev = Rev::parse(b"2-EEC205A9D413992850A6E32678485900")?;
/// assert_eq!(rev.generation, 2);
/// assert_eq!(rev.to_string(), "2-eec205a9d413992850a6e32678485900");
/// assert!(rev > Rev::parse(b"1-ffffffffffffffffffffffffffffffff")?);
/// # Ok::<(), settee_engine::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rev {
    /// Length of the revision's history, itself included. 0 only for local documents.
    pub generation: u64,
    /// Which edit it is.
    pub id: RevId,
}

impl Rev {
    /// The revision `generation-id`.
    #[must_use]
    pub fn new(generation: u64, id: RevId) -> Self {
        Rev { generation, id }
    }

    /// Reads `<generation>-<id>`.
    ///
    /// # Errors
    /// [`Error::InvalidRev`] if the text is of another form.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let dash = memchr::memchr(b'-', text).ok_or(Error::InvalidRev)?;
        let (generation, id) = text.split_at(dash);
        let generation = std::str::from_utf8(generation)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .filter(|generation| *generation <= MAX_GENERATION)
            .ok_or(Error::InvalidRev)?;
        let id = id.get(1..).unwrap_or_default();
        Ok(Rev { generation, id: Rev::parse_id(generation, id)? })
    }

    /// Reads the id of a revision whose generation is known. The ids of generation 0, which are the
    /// counters of local documents, are never taken for hexadecimal.
    ///
    /// # Errors
    /// As [`RevId::parse`].
    pub fn parse_id(generation: u64, id: &[u8]) -> Result<RevId> {
        if generation == 0 && id.len() <= MAX_OPAQUE_BYTES {
            return Ok(RevId::Opaque(id.into()));
        }
        RevId::parse(id)
    }

    /// Appends the text form.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(itoa::Buffer::new().format(self.generation).as_bytes());
        out.push(b'-');
        self.id.write(out);
    }
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.id)
    }
}

impl fmt::Debug for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn hex_encode(bytes: &[u8; 16]) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

fn hex_decode(text: &[u8]) -> Option<[u8; 16]> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let pairs: &[[u8; 2]; 16] = pairs.try_into().ok()?;
    let mut wrong = 0;
    let bytes = pairs.map(|[high, low]| {
        let (high, low) = (HEX_VALUES[usize::from(high)], HEX_VALUES[usize::from(low)]);
        wrong |= high | low;
        high << 4 | low
    });
    (wrong < 16).then_some(bytes)
}

/// The value of each hexadecimal digit; 255 for other bytes.
const HEX_VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut digit = 0;
    while digit < 16 {
        let character = b"0123456789abcdef"[digit];
        values[character as usize] = digit as u8;
        values[character.to_ascii_uppercase() as usize] = digit as u8;
        digit += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;

    fn rev(text: &str) -> Result<Rev> {
        Rev::parse(text.as_bytes())
    }

    #[test]
    fn hexadecimal_ids_are_printed_in_lower_case() {
        let upper = rev("1-967A00DFF5E02ADD41819138ABB3284D").unwrap();
        assert_eq!(upper, rev("1-967a00dff5e02add41819138abb3284d").unwrap());
        assert_eq!(upper.to_string(), "1-967a00dff5e02add41819138abb3284d");
    }

    #[test]
    fn other_ids_are_kept_as_they_are() {
        for text in ["1-abc", "12-x-y", "3-", "0-5", "1-ABC"] {
            let parsed = rev(text).unwrap();
            let mut written = Vec::new();
            parsed.write(&mut written);
            assert_eq!(written, text.as_bytes());
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_revision_is_refused() {
        let texts =
            ["", "1", "nonsense", "x-1", "-1-abc", "1.5-a", " 1-a", "99999999999999999999-a"];
        for text in texts {
            assert!(matches!(rev(text), Err(Error::InvalidRev)), "{text}");
        }
        assert!(rev("1-zz7a00dff5e02add41819138abb3284d").is_err(), "32 characters, not hex");
        assert!(rev("0-zz7a00dff5e02add41819138abb3284d").is_ok(), "generation 0 is never hex");
        assert!(rev(&format!("1-{}", "x".repeat(MAX_OPAQUE_BYTES + 1))).is_err());
    }

    #[test]
    fn generation_counts_before_the_id_and_ids_are_compared_as_bytes() {
        assert!(rev("10-a").unwrap() > rev("9-z").unwrap());
        assert!(rev("1-b").unwrap() > rev("1-abc").unwrap());
        let hash = rev("1-61000000000000000000000000000000").unwrap();
        assert!(rev("1-b").unwrap() > hash && hash > rev("1-a").unwrap());
    }

    #[test]
    fn sixteen_bytes_are_one_id_however_they_came() {
        assert_eq!(
            rev("1-abcdefghijklmnop").unwrap(),
            rev("1-6162636465666768696a6b6c6d6e6f70").unwrap()
        );
    }
}
