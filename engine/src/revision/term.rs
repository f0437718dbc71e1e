//! Erlang's external term format, as far as CouchDB hashes terms: the parts they are put together from.
//!
//! JSON is written from its text in one pass, without a tree: what a container needs to know about
//! itself in front (how many elements; whether an array is one of bytes, which has a form of its own)
//! is put in when its end is reached. The format is that of `term_to_binary` with minor version 1.

use crate::{
    document::Body,
    json::{
        number::is_float,
        text::{plain_length, unescape_into},
        value::string_length,
    },
};

/// Longest list that is written as a string of bytes.
const MAX_STRING_BYTES: usize = u16::MAX as usize;

/// First byte of every term.
pub(crate) const VERSION: u8 = 131;
const NEW_FLOAT: u8 = 70;
const SMALL_INTEGER: u8 = 97;
const INTEGER: u8 = 98;
const ATOM: u8 = 100;
const SMALL_TUPLE: u8 = 104;
/// Ends a list, and is the empty one.
pub(crate) const NIL: u8 = 106;
const STRING: u8 = 107;
const LIST: u8 = 108;
const BINARY: u8 = 109;
const SMALL_BIG: u8 = 110;
const LARGE_BIG: u8 = 111;

/// Appends the head of a tuple; its elements follow.
pub(crate) fn write_tuple_head(arity: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[SMALL_TUPLE, arity]);
}

/// Appends a list of characters, which have a form of their own as long as they are few.
pub(crate) fn write_characters(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.is_empty() {
        return out.push(NIL);
    }
    match u16::try_from(bytes.len()) {
        Ok(length) => {
            out.push(STRING);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(bytes);
        }
        Err(_) => {
            write_list_head(bytes.len() as u32, out);
            bytes.iter().for_each(|byte| out.extend_from_slice(&[SMALL_INTEGER, *byte]));
            out.push(NIL);
        }
    }
}

/// Appends the term of a document's body.
pub(crate) fn write_json(body: &Body, out: &mut Vec<u8>) {
    let negative_zeros = body.negative_zeros();
    BodyWriter { negative_zeros, ..BodyWriter::of_text(body.as_bytes(), out) }.write();
}

/// Appends the term of a JSON text that is no body.
pub(crate) fn write_text(json: &[u8], out: &mut Vec<u8>) {
    BodyWriter::of_text(json, out).write();
}

/// Appends the head of a list that is not empty; its elements and [`NIL`] follow.
pub(crate) fn write_list_head(length: u32, out: &mut Vec<u8>) {
    out.push(LIST);
    out.extend_from_slice(&length.to_be_bytes());
}

/// Appends an atom.
pub(crate) fn write_atom(name: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[ATOM, 0, name.len() as u8]);
    out.extend_from_slice(name);
}

/// Appends a binary.
pub(crate) fn write_binary(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(BINARY);
    // Bodies and names are far shorter than 4 GiB: the store's limits see to that.
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends an integer.
pub(crate) fn write_unsigned(value: u64, out: &mut Vec<u8>) {
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
pub(super) fn magnitude(digits: &str) -> Vec<u8> {
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
