//! What an index holds: rows under their keys, and for each document the keys of its rows.
//!
//! ```text
//! rows        partition, encoded key, id with zeros written as 00 FF, 00, number
//!             → length of what precedes the id n, length of the key's text n, key and value as JSON
//! documents   id → for each row in the order of emission: length n, [partition, encoded key]
//! ```
//!
//! The partition is that of the id, escaped like an id and with a 00 behind it, in indexes of single
//! partitions; otherwise it is left out. The number is the row's among those its document emitted, from 0:
//! one byte up to EF, else F0 plus the count of further bytes less one, then these, big-endian.

use std::borrow::Cow;

use super::key::escape_zeros;
use crate::{
    codec::{Reader, put_bytes, put_varint},
    error::{Error, Result},
};

/// Ends a partition and an id.
const END: u8 = 0x00;
/// Behind a zero that is part of an id.
const ESCAPED: u8 = 0xff;
/// From here on the first byte of a number counts those that follow.
const LONG_NUMBER: u8 = 0xf0;
const DAMAGED: Error = Error::Damaged("row of a view");

/// A row as it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'r> {
    /// The partition and the encoded key.
    pub(crate) encoded: &'r [u8],
    /// The id, escaped, and what follows it.
    tail: &'r [u8],
    /// The key as JSON.
    pub(crate) key: &'r [u8],
    /// The value as JSON.
    pub(crate) value: &'r [u8],
}

impl<'r> Row<'r> {
    /// Reads an entry of the tree of rows.
    pub(crate) fn decode(key: &'r [u8], value: &'r [u8]) -> Result<Self> {
        let mut reader = Reader::new(value, "row of a view");
        let before_id = usize::try_from(reader.varint()?).map_err(|_| DAMAGED)?;
        let (encoded, tail) = key.split_at_checked(before_id).ok_or(DAMAGED)?;
        let text = reader.bytes()?;
        Ok(Row { encoded, tail, key: text, value: reader.rest() })
    }

    /// The number of the row among those its document emitted, as it is encoded.
    pub(crate) fn number(&self) -> Result<&'r [u8]> {
        let mut tail = self.tail;
        loop {
            let end = memchr::memchr(END, tail).ok_or(DAMAGED)?;
            match tail.get(end + 1..) {
                Some([ESCAPED, rest @ ..]) => tail = rest,
                Some(number) => return Ok(number),
                None => return Err(DAMAGED),
            }
        }
    }

    /// The id of the document that emitted it.
    pub(crate) fn id(&self) -> Result<Cow<'r, str>> {
        let plain = memchr::memchr(END, self.tail).ok_or(DAMAGED)?;
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| DAMAGED);
        let (id, rest) = self.tail.split_at_checked(plain).ok_or(DAMAGED)?;
        if rest.get(1) != Some(&ESCAPED) {
            return text(id).map(Cow::Borrowed);
        }
        let mut out = id.to_vec();
        let mut rest = rest;
        while let [END, ESCAPED, after @ ..] = rest {
            out.push(END);
            let plain = memchr::memchr(END, after).ok_or(DAMAGED)?;
            out.extend_from_slice(after.get(..plain).ok_or(DAMAGED)?);
            rest = after.get(plain..).ok_or(DAMAGED)?;
        }
        String::from_utf8(out).map(Cow::Owned).map_err(|_| DAMAGED)
    }
}

/// Appends what rows of the partition of `id` begin with; nothing for an id without one.
pub(crate) fn put_partition_of(id: &str, out: &mut Vec<u8>) {
    let partition = id.split_once(':').map_or("", |(partition, _)| partition);
    put_partition(partition, out);
}

/// Appends what rows of a partition begin with.
pub(crate) fn put_partition(partition: &str, out: &mut Vec<u8>) {
    escape_zeros(partition.as_bytes(), out);
    out.push(END);
}

/// Appends what follows the encoded key in a row's key, up to the number.
pub(crate) fn put_id(id: &str, out: &mut Vec<u8>) {
    escape_zeros(id.as_bytes(), out);
    out.push(END);
}

/// Appends the number of a row.
pub(crate) fn put_number(number: u64, out: &mut Vec<u8>) {
    match u8::try_from(number) {
        Ok(byte) if byte < LONG_NUMBER => out.push(byte),
        _ => {
            let bytes = number.to_be_bytes();
            let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
            let rest = bytes.get(first..).unwrap_or_default();
            // At most eight bytes follow.
            out.push(LONG_NUMBER + (rest.len() as u8 - 1));
            out.extend_from_slice(rest);
        }
    }
}

/// Appends the value of a row whose key has `before_id` bytes before the id.
pub(crate) fn put_value(before_id: usize, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    put_varint(out, before_id as u64);
    put_bytes(out, key);
    out.extend_from_slice(value);
}

/// The keys of a document's rows, up to the id, in the order of emission.
pub(crate) fn document_keys(value: &[u8]) -> DocumentKeys<'_> {
    DocumentKeys { reader: Reader::new(value, "list of a document's rows") }
}

/// See [`document_keys`].
pub(crate) struct DocumentKeys<'v> {
    reader: Reader<'v>,
}

impl<'v> Iterator for DocumentKeys<'v> {
    type Item = Result<&'v [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let key = self.reader.bytes();
        if key.is_err() {
            self.reader = Reader::new(&[], "list of a document's rows");
        }
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row_key(encoded: &[u8], id: &str, number: u64) -> Vec<u8> {
        let mut out = encoded.to_vec();
        put_id(id, &mut out);
        put_number(number, &mut out);
        out
    }

    proptest! {
        #[test]
        fn rows_come_back(id in "[a\\x00b]{0,5}", number: u64, encoded in prop::collection::vec(any::<u8>(), 0..9)) {
            let key = row_key(&encoded, &id, number);
            let mut value = Vec::new();
            put_value(encoded.len(), b"[1]", b"null", &mut value);
            let row = Row::decode(&key, &value).unwrap();
            prop_assert_eq!(row.id().unwrap(), id);
            let mut encoded_number = Vec::new();
            put_number(number, &mut encoded_number);
            prop_assert_eq!(row.number().unwrap(), encoded_number);
            prop_assert_eq!((row.encoded, row.key, row.value), (&encoded[..], &b"[1]"[..], &b"null"[..]));
        }

        #[test]
        fn rows_of_one_key_are_ordered_by_id_and_number(
            a in ("[a\\x00b]{0,4}", any::<u64>(), 0u32..64), b in ("[a\\x00b]{0,4}", any::<u64>(), 0u32..64),
        ) {
            let (a, b) = ((a.0, a.1 >> a.2), (b.0, b.1 >> b.2));
            let keys = row_key(b"k", &a.0, a.1).cmp(&row_key(b"k", &b.0, b.1));
            prop_assert_eq!(keys, a.0.as_bytes().cmp(b.0.as_bytes()).then(a.1.cmp(&b.1)));
        }

        #[test]
        fn hostile_bytes_do_no_harm(key in prop::collection::vec(any::<u8>(), 0..20), value in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = Row::decode(&key, &value).map(|row| row.id().is_ok() && row.number().is_ok());
            document_keys(&value).for_each(drop);
        }
    }
}
