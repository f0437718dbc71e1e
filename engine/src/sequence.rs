//! Update sequences as clients see them: `"<number>-<opaque>"`.
//!
//! The number before the dash is decoration; only the opaque part is read back. It names the database
//! (the first bytes of its uuid) and the sequence, so that a sequence remembered from a database that
//! was deleted and made anew begins from the start instead of passing over changes.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use settee_storage::Seq;

use crate::error::{Error, Result};

/// Bytes of the database's uuid in an opaque part.
const UUID_BYTES: usize = 6;
/// Length of an opaque part before base64: a version, the uuid's beginning, the sequence.
const OPAQUE_BYTES: usize = 1 + UUID_BYTES + 8;
/// First byte of the opaque part; other versions are refused.
const VERSION: u8 = 1;

/// Identifies a database for good: 16 random bytes made when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// From where a reader of changes goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// After this sequence.
    Seq(Seq),
    /// After whatever is there when the request begins.
    Now,
}

/// Appends the text of a sequence, without quotes.
pub fn write(uuid: &Uuid, seq: Seq, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(seq).as_bytes());
    out.push(b'-');
    let mut opaque = [0; OPAQUE_BYTES];
    opaque[0] = VERSION;
    opaque[1..=UUID_BYTES].copy_from_slice(&uuid.0[..UUID_BYTES]);
    opaque[1 + UUID_BYTES..].copy_from_slice(&seq.to_be_bytes());
    let start = out.len();
    out.resize(start + OPAQUE_BYTES.div_ceil(3) * 4, 0);
    // The buffer holds any encoding of this length, so there is nothing to fail.
    let written = URL_SAFE_NO_PAD.encode_slice(opaque, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
}

/// The text of a sequence.
///
/// ```
/// use settee_engine::sequence::{self, Since, Uuid};
/// let uuid = Uuid([7; 16]);
/// let text = sequence::text(&uuid, 12);
/// assert!(text.starts_with("12-"));
/// assert_eq!(sequence::parse(&uuid, &text)?, Since::Seq(12));
/// # Ok::<(), settee_engine::Error>(())
/// ```
#[must_use]
pub fn text(uuid: &Uuid, seq: Seq) -> String {
    let mut out = Vec::with_capacity(OPAQUE_BYTES * 2 + 10);
    write(uuid, seq, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Reads a sequence a client sent: `0`, `now`, or any text that [`text`] made, bare or in quotes. One
/// made by another database (or an earlier one of this name) is the beginning.
///
/// # Errors
/// [`Error::MalformedSequence`] for everything else.
pub fn parse(uuid: &Uuid, text: &str) -> Result<Since> {
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    match bare {
        "0" => return Ok(Since::Seq(0)),
        "now" => return Ok(Since::Now),
        _ => {}
    }
    let (number, opaque) = bare.split_once('-').ok_or(Error::MalformedSequence)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::MalformedSequence);
    }
    let bytes = URL_SAFE_NO_PAD.decode(opaque).map_err(|_| Error::MalformedSequence)?;
    let bytes: [u8; OPAQUE_BYTES] = bytes.try_into().map_err(|_| Error::MalformedSequence)?;
    let (version, rest) = (bytes[0], &bytes[1..]);
    let (owner, seq) = rest.split_at(UUID_BYTES);
    if version != VERSION {
        return Err(Error::MalformedSequence);
    }
    let seq = seq.try_into().map(Seq::from_be_bytes).map_err(|_| Error::MalformedSequence)?;
    Ok(Since::Seq(if owner == &uuid.0[..UUID_BYTES] { seq } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: Uuid = Uuid([0xa5; 16]);

    #[test]
    fn every_issued_sequence_reads_back_bare_and_quoted() {
        for seq in [0, 1, 9, 10, 1_000_000, u64::MAX] {
            let text = text(&UUID, seq);
            assert_eq!(text.split('-').next(), Some(seq.to_string().as_str()));
            assert_eq!(parse(&UUID, &text).unwrap(), Since::Seq(seq));
            assert_eq!(parse(&UUID, &format!("\"{text}\"")).unwrap(), Since::Seq(seq));
        }
    }

    #[test]
    fn a_sequence_of_another_database_is_its_beginning() {
        assert_eq!(parse(&Uuid([1; 16]), &text(&UUID, 5)).unwrap(), Since::Seq(0));
    }

    #[test]
    fn other_texts_are_refused() {
        let issued = text(&UUID, 5);
        let cut = &issued[..issued.len() - 1];
        let odd = format!("x{issued}");
        for bad in ["", "2", "\"2\"", "99", "-1", "nonsense", "5-", "5-!!", "now ", cut, &odd] {
            assert!(matches!(parse(&UUID, bad), Err(Error::MalformedSequence)), "{bad}");
        }
        assert_eq!(parse(&UUID, "0").unwrap(), Since::Seq(0));
        assert_eq!(parse(&UUID, "\"0\"").unwrap(), Since::Seq(0));
        assert_eq!(parse(&UUID, "now").unwrap(), Since::Now);
    }
}
