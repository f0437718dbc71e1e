//! The id of a new revision: the MD5 of the edit, spelled as the Erlang term CouchDB hashes.
//!
//! The term is the list `[Deleted, ParentGeneration, ParentId, Body, Attachments]` in Erlang's external
//! term format. It is written from the body's text in one pass, without a tree: what a container
//! needs to know about itself in front (how many elements; whether an array is one of bytes, which has
//! a form of its own) is put in when its end is reached.

use std::cell::RefCell;

use md5::{Digest, Md5};

use super::Rev;
use crate::{
    document::Body,
    json::{
        number::is_float,
        text::{plain_length, unescape_into},
        value::string_length,
    },
};

/// A buffer that has grown beyond this many bytes is not kept for the next edit.
const MAX_KEPT_BYTES: usize = 1 << 20;
/// Longest list that is written as a string of bytes.
const MAX_STRING_BYTES: usize = u16::MAX as usize;

const VERSION: u8 = 131;
const NEW_FLOAT: u8 = 70;
const SMALL_INTEGER: u8 = 97;
const INTEGER: u8 = 98;
const ATOM: u8 = 100;
const SMALL_TUPLE: u8 = 104;
const NIL: u8 = 106;
const STRING: u8 = 107;
const LIST: u8 = 108;
const BINARY: u8 = 109;
const SMALL_BIG: u8 = 110;
const LARGE_BIG: u8 = 111;

/// What an attachment contributes to a revision's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentDigest<'a> {
    /// Its name, its media type and the MD5 of its stored bytes.
    Known {
        /// Its name.
        name: &'a str,
        /// Its media type.
        content_type: &'a str,
        /// MD5 of its stored bytes.
        md5: [u8; 16],
    },
    /// Nothing but its existence: so CouchDB counts attachments in the write that brings a deleted
    /// document back without naming its tombstone.
    Undefined,
}

/// The id of the revision that an edit makes: its body and attachments (in the document's order), put
/// on top of `parent`.
///
/// ```
/// use settee_engine::{Rev, document::Body, revision::revision_id};
///
/// let first = revision_id(false, None, &Body::empty(), &[]);
/// let first = Rev::new(1, settee_engine::RevId::Hash(first));
/// assert_eq!(first.to_string(), "1-967a00dff5e02add41819138abb3284d");
/// ```
#[must_use]
pub fn revision_id(
    deleted: bool,
    parent: Option<&Rev>,
    body: &Body,
    attachments: &[AttachmentDigest<'_>],
) -> [u8; 16] {
    thread_local! {
        static TERM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    TERM.with_borrow_mut(|out| {
        out.clear();
        out.reserve(body.as_bytes().len() * 3 / 2);
        write_edit(deleted, parent, body, attachments, out);
        let id = Md5::digest(&*out).into();
        if out.capacity() > MAX_KEPT_BYTES {
            *out = Vec::new();
        }
        id
    })
}

/// A JSON value in the scanner's spelling as Erlang's external term format.
pub(crate) fn external_term(json: &[u8]) -> Vec<u8> {
    let mut out = vec![VERSION];
    BodyWriter::of_text(json, &mut out).write();
    out
}

/// The name CouchDB generates for an index over fields: the SHA-1 of its definition and of the options it was
/// asked for with, as a term.
pub(crate) fn index_name(
    definition: &Body,
    design: Option<&str>,
    name: Option<&str>,
    partitioned: Option<bool>,
    w: u64,
) -> String {
    let mut out = vec![VERSION, SMALL_TUPLE, 2];
    let mut term = Vec::new();
    BodyWriter::new(definition, &mut term).write();
    out.extend_from_slice(&term);
    write_list_head(6, &mut out);
    let option = |option: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(&[SMALL_TUPLE, 2]);
        write_atom(option, out);
    };
    let named = |text: Option<&str>, out: &mut Vec<u8>| match text {
        Some(text) => write_binary(text.as_bytes(), out),
        None => write_atom(b"auto_name", out),
    };
    option(b"ddoc", &mut out);
    named(design, &mut out);
    option(b"def", &mut out);
    out.extend_from_slice(&term);
    option(b"name", &mut out);
    named(name, &mut out);
    option(b"partitioned", &mut out);
    let partitioned: &[u8] = match partitioned {
        None => b"db_default",
        Some(true) => b"true",
        Some(false) => b"false",
    };
    write_atom(partitioned, &mut out);
    option(b"type", &mut out);
    write_binary(b"json", &mut out);
    option(b"w", &mut out);
    write_unsigned(w, &mut out);
    out.push(NIL);
    sha1::Sha1::digest(&out).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_edit(
    deleted: bool,
    parent: Option<&Rev>,
    body: &Body,
    attachments: &[AttachmentDigest<'_>],
    out: &mut Vec<u8>,
) {
    out.push(VERSION);
    write_list_head(5, out);
    write_atom(if deleted { b"true" } else { b"false" }, out);
    match parent {
        None => out.extend_from_slice(&[SMALL_INTEGER, 0, SMALL_INTEGER, 0]),
        Some(parent) => {
            write_unsigned(parent.generation, out);
            write_binary(parent.id.as_bytes(), out);
        }
    }
    BodyWriter::new(body, out).write();
    write_attachments(attachments, out);
    out.push(NIL);
}

/// Appends the list of attachments, which CouchDB builds back to front.
fn write_attachments(attachments: &[AttachmentDigest<'_>], out: &mut Vec<u8>) {
    if attachments.is_empty() {
        return out.push(NIL);
    }
    write_list_head(attachments.len() as u32, out);
    for attachment in attachments.iter().rev() {
        out.extend_from_slice(&[SMALL_TUPLE, 3]);
        match attachment {
            AttachmentDigest::Known { name, content_type, md5 } => {
                write_binary(name.as_bytes(), out);
                write_binary(content_type.as_bytes(), out);
                write_binary(md5, out);
            }
            AttachmentDigest::Undefined => (0..3).for_each(|_| write_atom(b"undefined", out)),
        }
    }
    out.push(NIL);
}

fn write_list_head(length: u32, out: &mut Vec<u8>) {
    out.push(LIST);
    out.extend_from_slice(&length.to_be_bytes());
}

fn write_atom(name: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[ATOM, 0, name.len() as u8]);
    out.extend_from_slice(name);
}

fn write_binary(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(BINARY);
    // Bodies and names are far shorter than 4 GiB: the store's limits see to that.
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn write_unsigned(value: u64, out: &mut Vec<u8>) {
    match i64::try_from(value) {
        Ok(value) => write_int(value, out),
        Err(_) => write_big(false, &value.to_le_bytes(), out),
    }
}

fn write_int(value: i64, out: &mut Vec<u8>) {
    if let Ok(byte) = u8::try_from(value) {
        out.extend_from_slice(&[SMALL_INTEGER, byte]);
    } else if let Ok(word) = i32::try_from(value) {
        out.push(INTEGER);
        out.extend_from_slice(&word.to_be_bytes());
    } else {
        write_big(value < 0, &value.unsigned_abs().to_le_bytes(), out);
    }
}

/// Appends an integer of more than 32 bits: its sign and its magnitude, lowest byte first.
fn write_big(negative: bool, magnitude: &[u8], out: &mut Vec<u8>) {
    let significant = magnitude.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let magnitude = magnitude.get(..significant).unwrap_or_default();
    match u8::try_from(magnitude.len()) {
        Ok(length) => out.extend_from_slice(&[SMALL_BIG, length]),
        Err(_) => {
            out.push(LARGE_BIG);
            out.extend_from_slice(&(magnitude.len() as u32).to_be_bytes());
        }
    }
    out.push(u8::from(negative));
    out.extend_from_slice(magnitude);
}

/// A container whose end has not been reached.
struct Open {
    /// Where its list begins in the output.
    list: usize,
    count: u32,
    object: bool,
    /// An array whose elements so far are all integers from 0 to 255.
    bytes: bool,
}

/// Writes the term of a body. The body is text of this crate's own making; if it is not, some other
/// term comes out, but nothing fails.
struct BodyWriter<'a> {
    rest: &'a [u8],
    /// Length of the whole text.
    length: usize,
    /// See [`Body::negative_zeros`].
    negative_zeros: &'a [usize],
    open: Vec<Open>,
    out: &'a mut Vec<u8>,
}

impl<'a> BodyWriter<'a> {
    fn new(body: &'a Body, out: &'a mut Vec<u8>) -> Self {
        let negative_zeros = body.negative_zeros();
        BodyWriter { negative_zeros, ..BodyWriter::of_text(body.as_bytes(), out) }
    }

    fn of_text(rest: &'a [u8], out: &'a mut Vec<u8>) -> Self {
        BodyWriter { rest, length: rest.len(), negative_zeros: &[], open: Vec::new(), out }
    }

    fn write(&mut self) {
        while let Some(byte) = self.rest.first().copied() {
            match byte {
                b'{' => self.begin(true),
                b'[' => self.begin(false),
                b'}' | b']' => self.end(),
                b',' | b':' => self.skip(1),
                b'"' => self.string(),
                b't' | b'f' | b'n' => self.literal(),
                _ => self.number(),
            }
        }
    }

    fn skip(&mut self, length: usize) {
        self.rest = self.rest.get(length..).unwrap_or_default();
    }

    /// Counts an element of the innermost array, or a member's name.
    fn count(&mut self, is_byte: bool) {
        if let Some(open) = self.open.last_mut().filter(|open| !open.object) {
            open.count += 1;
            open.bytes &= is_byte;
        }
    }

    fn begin(&mut self, object: bool) {
        self.count(false);
        if object {
            self.out.extend_from_slice(&[SMALL_TUPLE, 1]);
        }
        self.open.push(Open { list: self.out.len(), count: 0, object, bytes: !object });
        write_list_head(0, self.out);
        self.skip(1);
    }

    fn end(&mut self) {
        self.skip(1);
        let Some(open) = self.open.pop() else { return };
        let head = open.list + 5;
        if open.count == 0 {
            self.out.truncate(open.list);
            self.out.push(NIL);
        } else if open.bytes && open.count as usize <= MAX_STRING_BYTES {
            self.pack_bytes(&open);
        } else {
            if let Some(count) = self.out.get_mut(open.list + 1..head) {
                count.copy_from_slice(&open.count.to_be_bytes());
            }
            self.out.push(NIL);
        }
    }

    /// Rewrites a list of integers that fit a byte as a string of bytes.
    fn pack_bytes(&mut self, open: &Open) {
        let elements = self.out.split_off(open.list);
        self.out.push(STRING);
        self.out.extend_from_slice(&(open.count as u16).to_be_bytes());
        let values = elements.get(5..).unwrap_or_default().chunks_exact(2);
        self.out.extend(values.filter_map(<[u8]>::last));
    }

    /// Writes a string. One behind which a colon stands is a name and begins a member.
    fn string(&mut self) {
        let inside = self.rest.get(1..).unwrap_or_default();
        let plain = plain_length(inside);
        let length = match inside.get(plain) {
            Some(b'"') => plain,
            _ => string_length(inside).unwrap_or(inside.len()),
        };
        let escaped = inside.get(..length).unwrap_or_default();
        self.skip(length + 2);
        if self.rest.first() == Some(&b':') {
            if let Some(open) = self.open.last_mut() {
                open.count += 1;
            }
            self.out.extend_from_slice(&[SMALL_TUPLE, 2]);
        } else {
            self.count(false);
        }
        if length == plain { write_binary(escaped, self.out) } else { self.escaped_text(escaped) }
    }

    fn escaped_text(&mut self, escaped: &[u8]) {
        let head = self.out.len() + 1;
        write_binary(b"", self.out);
        let start = self.out.len();
        unescape_into(escaped, self.out);
        let written = (self.out.len() - start) as u32;
        if let Some(length) = self.out.get_mut(head..start) {
            length.copy_from_slice(&written.to_be_bytes());
        }
    }

    fn literal(&mut self) {
        self.count(false);
        let word: &[u8] = match self.rest {
            [b't', ..] => b"true",
            [b'f', ..] => b"false",
            _ => b"null",
        };
        write_atom(word, self.out);
        self.skip(word.len());
    }

    fn number(&mut self) {
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']');
        let length = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        let text = self.rest.get(..length).unwrap_or_default();
        let at = self.length - self.rest.len();
        self.skip(length);
        let text = std::str::from_utf8(text).unwrap_or_default();
        if is_float(text.as_bytes()) {
            self.count(false);
            let negative_zero = self.negative_zeros.binary_search(&at).is_ok();
            let float = if negative_zero { -0.0 } else { text.parse().unwrap_or(0.0) };
            self.out.push(NEW_FLOAT);
            self.out.extend_from_slice(&f64::to_be_bytes(float));
        } else if let Ok(int) = text.parse::<i64>() {
            self.count(u8::try_from(int).is_ok());
            write_int(int, self.out);
        } else {
            self.count(false);
            let digits = text.strip_prefix('-').unwrap_or(text);
            write_big(text.len() > digits.len(), &magnitude(digits), self.out);
        }
    }
}

/// The binary form of a decimal integer, lowest byte first.
fn magnitude(digits: &str) -> Vec<u8> {
    /// Decimal digits that fit a limb's multiplication.
    const STEP: usize = 18;
    let mut limbs: Vec<u64> = Vec::new();
    for chunk in digits.as_bytes().chunks(STEP) {
        let mut carry =
            chunk.iter().fold(0, |value: u64, digit| value * 10 + u64::from(digit & 15));
        let scale = 10u64.pow(chunk.len() as u32);
        for limb in &mut limbs {
            let product = u128::from(*limb) * u128::from(scale) + u128::from(carry);
            *limb = product as u64;
            carry = (product >> 64) as u64;
        }
        if carry > 0 {
            limbs.push(carry);
        }
    }
    limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn term(json: &str) -> Vec<u8> {
        let body = Body::parse(json.as_bytes()).unwrap();
        let mut out = Vec::new();
        write_edit(false, None, &body, &[], &mut out);
        out
    }

    /// The term of the member `x` of a body.
    #[track_caller]
    fn check(json: &str, expected: &[u8]) {
        let term = term(&format!("{{\"x\":{json}}}"));
        // Version, list of five, `false`, two zeros, the body up to its only value …
        let front = [1 + 5 + 8 + 2 + 2, 2 + 5 + 2 + 5 + 1].iter().sum();
        // … and behind it the ends of the body's list, of no attachments, of the whole.
        assert_eq!(&term[front..term.len() - 3], expected, "{json}");
    }

    #[test]
    fn integers_of_all_sizes() {
        check("255", &[97, 255]);
        check("256", &[98, 0, 0, 1, 0]);
        check("-1", &[98, 255, 255, 255, 255]);
        check("2147483648", &[110, 4, 0, 0, 0, 0, 128]);
        check("-2147483649", &[110, 4, 1, 1, 0, 0, 128]);
        check("18446744073709551616", &[110, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let digits = format!("1{}", "0".repeat(700));
        let large = term(&format!("{{\"x\":{digits}}}"));
        // 10^700 has 2326 bits: 291 bytes, one of them zero for each of its factors 256.
        assert!(large.windows(5).any(|bytes| bytes == [111, 0, 0, 1, 35]));
    }

    #[test]
    fn arrays_of_bytes_are_strings() {
        check("[]", &[106]);
        check("[0,255]", &[107, 0, 2, 0, 255]);
        check("[0,256]", &[108, 0, 0, 0, 2, 97, 0, 98, 0, 0, 1, 0, 106]);
        check("[1.0]", &[108, 0, 0, 0, 1, 70, 63, 240, 0, 0, 0, 0, 0, 0, 106]);
        check("[[1],[]]", &[108, 0, 0, 0, 2, 107, 0, 1, 1, 106, 106]);
        check("[{}]", &[108, 0, 0, 0, 1, 104, 1, 106, 106]);
        let long = |length: usize| term(&format!("{{\"x\":[{}]}}", vec!["7"; length].join(",")));
        assert!(long(65535).len() < 70_000 && long(65536).len() > 130_000);
    }

    #[test]
    fn strings_and_literals() {
        check(r#""a\"\u0001\né""#, &[109, 0, 0, 0, 6, b'a', b'"', 1, b'\n', 0xc3, 0xa9]);
        check("null", b"d\0\x04null");
        check("-0.0", &[70, 128, 0, 0, 0, 0, 0, 0, 0]);
        check("0.0", &[70, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn large_integers_are_converted_exactly() {
        let mut bytes = magnitude("340282366920938463463374607431768211455");
        bytes.truncate(16);
        assert_eq!(bytes, [255; 16]);
        assert_eq!(
            magnitude("1000000000000000000000")[..9],
            1_000_000_000_000_000_000_000u128.to_le_bytes()[..9]
        );
    }

    proptest! {
        #[test]
        fn damaged_bodies_do_no_harm(text in r#"[{}\[\]":,a0-9.\\ -]{0,40}"#, bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            for text in [text.into_bytes(), bytes] {
                let _ = revision_id(false, None, &Body::from_stored(text), &[]);
            }
        }
    }
}
