//! How a document's entries look as values of the two document trees.
//!
//! * by-id, under the id: sequence, flags (bit 0: deleted), active bytes, external bytes (variable-length
//!   numbers, flags one byte), then the engine's value. The numbers stand in front so that the tree can
//!   sum them without looking further.
//! * by-seq, under the sequence as 8 bytes big-endian: length of the id, the id, the engine's value.
//! * keys, under a byte for the keyspace (0 local, 1 meta) and the key: the engine's value.

use super::codec::{Input, put_bytes, put_varint};
use crate::{
    compaction::Keyspace,
    store::{Counts, DocWeight, Seq},
    tree::{Malformed, Reduce},
};

const DELETED: u8 = 1;

/// A keyspace beside the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Local,
    Meta,
}

impl Space {
    /// As compaction calls it.
    pub(super) fn keyspace(self) -> Keyspace {
        match self {
            Space::Local => Keyspace::Local,
            Space::Meta => Keyspace::Meta,
        }
    }

    /// The byte its keys begin with.
    pub(super) fn prefix(self) -> u8 {
        match self {
            Space::Local => 0,
            Space::Meta => 1,
        }
    }

    /// A key of this space as the tree knows it.
    pub(super) fn key(self, key: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + key.len());
        out.push(self.prefix());
        out.extend_from_slice(key);
        out
    }
}

/// Appends a by-id row.
pub(super) fn encode_doc(out: &mut Vec<u8>, seq: Seq, weight: DocWeight, value: &[u8]) {
    put_varint(out, seq);
    out.push(if weight.deleted { DELETED } else { 0 });
    put_varint(out, weight.active_bytes);
    put_varint(out, weight.external_bytes);
    out.extend_from_slice(value);
}

/// Where the engine's value begins in a by-id row, and what stands before it.
pub(super) fn decode_doc(row: &[u8]) -> Option<(Seq, DocWeight, usize)> {
    let mut input = Input::new(row);
    let seq = input.varint()?;
    let flags = input.u8()?;
    let weight = DocWeight {
        deleted: flags & DELETED != 0,
        active_bytes: input.varint()?,
        external_bytes: input.varint()?,
    };
    Some((seq, weight, row.len() - input.rest().len()))
}

/// Appends a by-seq row.
pub(super) fn encode_change(out: &mut Vec<u8>, id: &[u8], value: &[u8]) {
    put_bytes(out, id);
    out.extend_from_slice(value);
}

/// The id and the engine's value of a by-seq row.
pub(super) fn decode_change(row: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut input = Input::new(row);
    let id = input.bytes()?;
    Some((id, input.rest()))
}

/// A sequence as a key.
pub(super) fn seq_key(seq: Seq) -> [u8; 8] {
    seq.to_be_bytes()
}

/// The sequence of a key of the by-seq tree.
pub(super) fn decode_seq(key: &[u8]) -> Option<Seq> {
    Some(Seq::from_be_bytes(key.try_into().ok()?))
}

/// Sums of the by-id tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct SumCounts;

impl Reduce for SumCounts {
    type Sum = Counts;

    fn leaf(&self, _key: &[u8], value: &[u8]) -> Result<Counts, Malformed> {
        let (_, weight, _) = decode_doc(value).ok_or(Malformed("a document's row is too short"))?;
        Ok(weight.into())
    }

    fn add(&self, into: &mut Counts, other: &Counts) {
        into.live = into.live.saturating_add(other.live);
        into.deleted = into.deleted.saturating_add(other.deleted);
        into.active_bytes = into.active_bytes.saturating_add(other.active_bytes);
        into.external_bytes = into.external_bytes.saturating_add(other.external_bytes);
    }

    fn encode(&self, sum: &Counts, out: &mut Vec<u8>) {
        for number in [sum.live, sum.deleted, sum.active_bytes, sum.external_bytes] {
            put_varint(out, number);
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Counts, Malformed> {
        let mut input = Input::new(bytes);
        let mut next = || input.varint().ok_or(Malformed("counts are too short"));
        Ok(Counts {
            live: next()?,
            deleted: next()?,
            active_bytes: next()?,
            external_bytes: next()?,
        })
    }
}

/// Counts the documents of the by-id tree, deleted ones included: the sum is [`SumCounts`]'s, read as far as
/// that takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct NumberDocs;

impl Reduce for NumberDocs {
    type Sum = u64;

    fn leaf(&self, _key: &[u8], _value: &[u8]) -> Result<u64, Malformed> {
        Ok(1)
    }

    fn add(&self, into: &mut u64, other: &u64) {
        *into = into.saturating_add(*other);
    }

    fn encode(&self, sum: &u64, out: &mut Vec<u8>) {
        put_varint(out, *sum);
    }

    fn decode(&self, bytes: &[u8]) -> Result<u64, Malformed> {
        let mut input = Input::new(bytes);
        let mut next = || input.varint().ok_or(Malformed("counts are too short"));
        Ok(next()?.saturating_add(next()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        let weight = DocWeight { deleted: true, active_bytes: 300, external_bytes: 5 };
        let mut row = Vec::new();
        encode_doc(&mut row, 1000, weight, b"value");
        let (seq, read, at) = decode_doc(&row).unwrap();
        assert_eq!((seq, read, &row[at..]), (1000, weight, b"value".as_slice()));
        assert_eq!(decode_doc(&row[..3]), None);

        let mut row = Vec::new();
        encode_change(&mut row, b"id", b"v");
        assert_eq!(decode_change(&row), Some((b"id".as_slice(), b"v".as_slice())));
        assert_eq!(decode_change(&row[..2]), None);
        assert_eq!(decode_seq(&seq_key(77)), Some(77));
        assert_eq!(decode_seq(b"short"), None);
    }

    #[test]
    fn sums_come_back() {
        let sum = Counts { live: 1, deleted: 2, active_bytes: 1 << 40, external_bytes: 4 };
        let mut out = Vec::new();
        SumCounts.encode(&sum, &mut out);
        assert_eq!(SumCounts.decode(&out).unwrap(), sum);
    }
}
