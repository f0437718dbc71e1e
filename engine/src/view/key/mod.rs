//! Keys of views as bytes whose order is that of the keys.
//!
//! A key is encoded once, when its row is made; from then on every comparison is one of bytes, and a
//! range of keys is a range of bytes. Keys that are equal have the same encoding, so `1` and `1.0` do,
//! and strings the collation holds for equal; the text of a key is kept beside it.
//!
//! ```text
//! value  = tag, then by tag
//! null 02, false 03, true 04
//! number 05  the nearest double, 8 bytes big-endian: all bits flipped if it is negative, else the highest
//!            one; from 2^53 on also what is left over (see `number`)
//! string 06  its sort key in the collation of Unicode's root locale, 00
//! array  07  its items, 00
//! object 08  for each member in order its name as a string and its value, 00
//! ```
//!
//! With `raw` collation the order is that of Erlang's terms: numbers, `false`, `null`, `true`, objects,
//! arrays, strings by their bytes:
//!
//! ```text
//! number 11, false 12, null 13, true 14, object 15, array 16
//! string 17  its UTF-8, 00 written as 00 FF, then 00
//! ```
//!
//! No encoding is the beginning of another, and what follows one in a row (a document's id) never begins
//! with FF, so `encoding, FF` lies behind all rows of a key, and `encoding of the first items, FF` behind
//! all arrays that begin with them.
//!
//! An encoding longer than [`MAX_ENCODED_BYTES`] is cut there, and the digest of all of it put behind:
//! such keys are told apart, and ordered by their first 16 KiB.

mod number;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use md5::{Digest, Md5};

use crate::{
    collation,
    json::{string_length, unescape},
};

/// Longest encoding of a key, in bytes; of longer ones this much is kept.
pub const MAX_ENCODED_BYTES: usize = 16 * 1024;

pub(crate) const NULL: u8 = 0x02;
pub(crate) const FALSE: u8 = 0x03;
const TRUE: u8 = 0x04;
pub(crate) const NUMBER: u8 = 0x05;
pub(crate) const STRING: u8 = 0x06;
pub(crate) const ARRAY: u8 = 0x07;
pub(crate) const OBJECT: u8 = 0x08;
const RAW_NUMBER: u8 = 0x11;
const RAW_FALSE: u8 = 0x12;
const RAW_NULL: u8 = 0x13;
const RAW_TRUE: u8 = 0x14;
const RAW_OBJECT: u8 = 0x15;
const RAW_ARRAY: u8 = 0x16;
const RAW_STRING: u8 = 0x17;

/// Ends strings, arrays and objects.
const END: u8 = 0x00;
/// Behind a zero that is part of a raw string.
const ESCAPED: u8 = 0xff;
/// Behind everything that can follow an encoding.
pub(crate) const AFTER: u8 = 0xff;

/// How the keys of a view are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Collation {
    /// As Unicode's root locale collates.
    #[default]
    Unicode,
    /// As Erlang's terms: the view option `"collation": "raw"`.
    Raw,
}

impl Collation {
    /// Appends the encoding of a key, which is JSON text as [`crate::json::Scanner`] writes it. Text in
    /// any other form gets some encoding, but does no harm.
    ///
    /// ```
    /// use settee_engine::view::Collation;
    ///
    /// let encoded = |key: &str| {
    ///     let mut out = Vec::new();
    ///     Collation::Unicode.encode(key.as_bytes(), &mut out);
    ///     out
    /// };
    /// assert!(encoded("[1,\"a\"]") < encoded("[1,\"A\"]"));
    /// assert!(encoded("\"z\"") < encoded("[]"));
    /// assert_eq!(encoded("1"), encoded("1.0"));
    /// ```
    pub fn encode(self, key: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        self.value(key, out);
        let whole = out.get(start..).unwrap_or_default();
        if whole.len() > MAX_ENCODED_BYTES {
            let digest = Md5::digest(whole);
            out.truncate(start + MAX_ENCODED_BYTES);
            out.extend_from_slice(&digest);
        }
    }

    /// Encodes the value at the front of a text and returns what follows it.
    fn value<'t>(self, text: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
        let raw = self == Collation::Raw;
        let Some((first, inside)) = text.split_first() else { return text };
        match first {
            b'"' => return self.string(inside, out),
            b'[' => {
                out.push(if raw { RAW_ARRAY } else { ARRAY });
                return self.items(inside, out);
            }
            b'{' => {
                out.push(if raw { RAW_OBJECT } else { OBJECT });
                return self.members(inside, out);
            }
            b'f' => out.push(if raw { RAW_FALSE } else { FALSE }),
            b't' => out.push(if raw { RAW_TRUE } else { TRUE }),
            b'n' => out.push(if raw { RAW_NULL } else { NULL }),
            _ => out.push(if raw { RAW_NUMBER } else { NUMBER }),
        }
        let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}');
        let length = text.iter().position(ends).unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(length).unwrap_or((text, &[]));
        if !matches!(first, b'f' | b't' | b'n') {
            number::encode(word, out);
        }
        rest
    }

    fn items<'t>(self, mut text: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
        while !matches!(text.first(), None | Some(b']')) {
            let rest = self.value(text, out);
            if rest.len() == text.len() {
                break;
            }
            text = rest.strip_prefix(b",").unwrap_or(rest);
        }
        out.push(END);
        text.get(1..).unwrap_or_default()
    }

    fn members<'t>(self, mut text: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
        while let Some(name) = text.strip_prefix(b"\"") {
            let rest = self.string(name, out);
            let rest = self.value(rest.strip_prefix(b":").unwrap_or(rest), out);
            text = rest.strip_prefix(b",").unwrap_or(rest);
        }
        out.push(END);
        text.get(1..).unwrap_or_default()
    }

    /// A string, given from behind its first quote.
    fn string<'t>(self, text: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
        let length = string_length(text).unwrap_or(text.len());
        let (inside, rest) = text.split_at_checked(length).unwrap_or((text, &[]));
        let string = unescape(std::str::from_utf8(inside).unwrap_or_default());
        match self {
            Collation::Unicode => {
                out.push(STRING);
                collation::write_sort_key(&string, out);
            }
            Collation::Raw => {
                out.push(RAW_STRING);
                escape_zeros(string.as_bytes(), out);
            }
        }
        out.push(END);
        rest.get(1..).unwrap_or_default()
    }
}

/// Appends bytes with each zero written as 00 FF.
pub(crate) fn escape_zeros(bytes: &[u8], out: &mut Vec<u8>) {
    let mut pieces = bytes.split(|byte| *byte == END);
    out.extend_from_slice(pieces.next().unwrap_or_default());
    for piece in pieces {
        out.extend_from_slice(&[END, ESCAPED]);
        out.extend_from_slice(piece);
    }
}

/// Length of the encoding of the array's first `level` items at the front of an encoded key, with the
/// array's beginning; the whole length for an array that has fewer and for anything else. That many
/// bytes are what keys of one group at this level have in common.
pub(crate) fn group_length(encoded: &[u8], level: u64) -> usize {
    let whole = encoded.len();
    if !matches!(encoded.first(), Some(&(ARRAY | RAW_ARRAY))) || whole > MAX_ENCODED_BYTES {
        return whole;
    }
    let mut at = 1;
    for _ in 0..level {
        match encoded.get(at..).and_then(value_length) {
            Some(length) => at += length,
            None => return whole,
        }
    }
    at
}

/// Length of the value at the front of an encoding; `None` if there is none.
fn value_length(encoded: &[u8]) -> Option<usize> {
    // Containers that are open; their items need no distinction from each other.
    let mut open = 0usize;
    let mut at = 0;
    loop {
        let tag = *encoded.get(at)?;
        at += 1;
        match tag {
            END => open = open.checked_sub(1)?,
            NULL | FALSE | TRUE | RAW_NULL | RAW_FALSE | RAW_TRUE => {}
            NUMBER | RAW_NUMBER => at += number::length(encoded.get(at..)?)?,
            STRING => at += memchr::memchr(END, encoded.get(at..)?)? + 1,
            RAW_STRING => at += raw_string_length(encoded.get(at..)?)?,
            ARRAY | OBJECT | RAW_ARRAY | RAW_OBJECT => open += 1,
            _ => return None,
        }
        if open == 0 {
            return Some(at);
        }
    }
}

fn raw_string_length(encoded: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr(END, encoded.get(at..)?)? + 1;
        if encoded.get(at) != Some(&ESCAPED) {
            return Some(at);
        }
        at += 1;
    }
}

/// What tells this build's encodings from those of another with other data of Unicode: a digest of the
/// sort keys of strings from all over it. An index is only read by a build of the same version.
pub fn collation_version() -> &'static str {
    /// Of every so many code points one is looked at; the scripts in use have far more each.
    const STEP: usize = 13;
    /// The last plane with letters ends here.
    const LAST: u32 = 0x2_fa1f;
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let mut digest = Md5::new();
        let mut key = Vec::new();
        for char in (0..=LAST).step_by(STEP).filter_map(char::from_u32) {
            key.clear();
            collation::write_sort_key(char.encode_utf8(&mut [0; 4]), &mut key);
            digest.update(&key);
            digest.update([END]);
        }
        let [a, b, c, d, ..] = digest.finalize().0;
        format!("{}.{}", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
    });
    &VERSION
}
