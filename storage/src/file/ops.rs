//! The edits inside a commit.
//!
//! Each begins with a tag byte. `bytes` is a variable-length length and that many bytes, `n` a
//! variable-length number.
//!
//! ```text
//!   1 put document     flags, id bytes, active n, external n,
//!                      [if it was there: distance to its old sequence n, old active n, old external n],
//!                      by-id value, by-seq value bytes
//!   2 remove document  flags, id bytes, distance to its old sequence n, old active n, old external n
//!   3 put key          space and key bytes, value bytes
//!   4 remove key       space and key bytes
//!   5 bump             nothing
//! ```
//! Flags: bit 0 deleted, bit 1 it was there before, bit 2 it was deleted before, bit 3 the by-id value is
//! shared with the previous one (see `delta`; otherwise it is `bytes`). Putting and removing a document
//! and a bump each take the next sequence, so sequences are not written.

use std::sync::Arc;

use super::{
    codec::{Input, put_bytes, put_varint},
    delta::{self, Delta},
    head::Head,
    layer::{Key, OldDoc},
};
use crate::{
    error::Result,
    store::{DocWeight, Seq},
};

const PUT_DOC: u8 = 1;
const REMOVE_DOC: u8 = 2;
const PUT_KEY: u8 = 3;
const REMOVE_KEY: u8 = 4;
const BUMP: u8 = 5;

const DELETED: u8 = 1;
const WAS_THERE: u8 = 2;
const WAS_DELETED: u8 = 4;
const SHARED: u8 = 8;

/// The edits of a commit as they are collected.
#[derive(Debug, Default)]
pub(super) struct OpsBuffer {
    pub(super) bytes: Vec<u8>,
    pub(super) count: u32,
}

/// A point in an [`OpsBuffer`] to come back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpsMark {
    len: usize,
    count: u32,
}

impl OpsBuffer {
    /// The end of what was collected so far.
    pub(super) fn mark(&self) -> OpsMark {
        OpsMark { len: self.bytes.len(), count: self.count }
    }

    /// Drops what was collected since.
    pub(super) fn rewind(&mut self, mark: OpsMark) {
        self.bytes.truncate(mark.len);
        self.count = mark.count;
    }

    /// Logs that a document was written under `seq`. `old_value` is its by-id value before.
    pub(super) fn put_doc(
        &mut self,
        seq: Seq,
        id: &[u8],
        weight: DocWeight,
        old: Option<(OldDoc, &[u8])>,
        by_id: &[u8],
        by_seq: &[u8],
    ) {
        let shared = old.and_then(|(_, value)| delta::find(value, by_id));
        let mut flags = if weight.deleted { DELETED } else { 0 };
        flags |= old.map_or(0, |(old, _)| WAS_THERE | was_deleted(old));
        flags |= if shared.is_some() { SHARED } else { 0 };
        self.begin(PUT_DOC);
        self.bytes.push(flags);
        put_bytes(&mut self.bytes, id);
        put_varint(&mut self.bytes, weight.active_bytes);
        put_varint(&mut self.bytes, weight.external_bytes);
        if let Some((old, _)) = old {
            self.put_old(seq, old);
        }
        match shared {
            Some(shared) => delta::encode(shared, by_id, &mut self.bytes),
            None => put_bytes(&mut self.bytes, by_id),
        }
        put_bytes(&mut self.bytes, by_seq);
    }

    /// Logs that a document was removed under `seq`.
    pub(super) fn remove_doc(&mut self, seq: Seq, id: &[u8], old: OldDoc) {
        self.begin(REMOVE_DOC);
        self.bytes.push(WAS_THERE | was_deleted(old));
        put_bytes(&mut self.bytes, id);
        self.put_old(seq, old);
    }

    /// Logs that a key (behind the byte of its space) was written or removed.
    pub(super) fn put_key(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.begin(if value.is_some() { PUT_KEY } else { REMOVE_KEY });
        put_bytes(&mut self.bytes, key);
        if let Some(value) = value {
            put_bytes(&mut self.bytes, value);
        }
    }

    /// Logs that a sequence was taken for nothing in particular.
    pub(super) fn bump(&mut self) {
        self.begin(BUMP);
    }

    fn begin(&mut self, tag: u8) {
        self.bytes.push(tag);
        self.count += 1;
    }

    fn put_old(&mut self, seq: Seq, old: OldDoc) {
        put_varint(&mut self.bytes, seq.saturating_sub(old.seq));
        put_varint(&mut self.bytes, old.weight.active_bytes);
        put_varint(&mut self.bytes, old.weight.external_bytes);
    }
}

fn was_deleted(old: OldDoc) -> u8 {
    if old.weight.deleted { WAS_DELETED } else { 0 }
}

/// Looks up the by-id value a document has just before an edit is replayed.
pub(super) type OldValue<'l> = &'l dyn Fn(&Head, &[u8]) -> Result<Option<Vec<u8>>>;

/// Replays `count` edits onto `head`. `Ok(false)` if the bytes are not edits that fit: then `head` is
/// half-changed and must not be used.
///
/// # Errors
/// Those of looking up an old value.
pub(super) fn replay(
    bytes: &[u8],
    count: u32,
    head: &mut Head,
    old_value: OldValue<'_>,
) -> Result<bool> {
    let mut input = Input::new(bytes);
    for _ in 0..count {
        if replay_one(&mut input, head, old_value)?.is_none() {
            return Ok(false);
        }
    }
    Ok(input.is_empty())
}

/// Inner `None` for bytes that are no edit.
fn replay_one(
    input: &mut Input<'_>,
    head: &mut Head,
    old_value: OldValue<'_>,
) -> Result<Option<()>> {
    let Some(op) = Op::decode(input) else { return Ok(None) };
    Ok(match op {
        Op::PutDoc(put) => return replay_put_doc(&put, head, old_value),
        Op::RemoveDoc { id, old, .. } => {
            old.at(head.seq).and_then(|old| head.remove_doc(&Key::from(id), old))
        }
        Op::PutKey { key, value } => {
            head.layer.put_key(key.into(), Some(value.into()));
            Some(())
        }
        Op::RemoveKey { key } => {
            head.layer.put_key(key.into(), None);
            Some(())
        }
        Op::Bump => head.bump(),
    })
}

fn replay_put_doc(
    put: &PutDoc<'_>,
    head: &mut Head,
    old_value: OldValue<'_>,
) -> Result<Option<()>> {
    let by_id = match put.by_id {
        ById::Whole(value) => value.to_vec(),
        ById::Shared(delta) => {
            let Some(old) = old_value(head, put.id)? else { return Ok(None) };
            let Some(value) = delta.apply(&old) else { return Ok(None) };
            value
        }
    };
    let old = match put.old {
        None => None,
        Some(old) => match old.at(head.seq) {
            Some(old) => Some(old),
            None => return Ok(None),
        },
    };
    Ok(head.put_doc(Arc::from(put.id), put.weight, &by_id, put.by_seq, old).map(drop))
}

/// An edit as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op<'b> {
    PutDoc(PutDoc<'b>),
    RemoveDoc { flags: u8, id: &'b [u8], old: LoggedOld },
    PutKey { key: &'b [u8], value: &'b [u8] },
    RemoveKey { key: &'b [u8] },
    Bump,
}

/// A document written.
#[derive(Clone, Copy, Debug)]
pub(super) struct PutDoc<'b> {
    pub(super) flags: u8,
    pub(super) id: &'b [u8],
    pub(super) weight: DocWeight,
    pub(super) old: Option<LoggedOld>,
    pub(super) by_id: ById<'b>,
    pub(super) by_seq: &'b [u8],
}

/// A by-id value as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum ById<'b> {
    Whole(&'b [u8]),
    Shared(Delta<'b>),
}

/// What a document was before an edit, as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoggedOld {
    /// From the document's old sequence to the edit's.
    pub(super) distance: u64,
    pub(super) weight: DocWeight,
}

impl<'b> Op<'b> {
    /// Reads one edit; `None` for bytes that are none.
    pub(super) fn decode(input: &mut Input<'b>) -> Option<Self> {
        Some(match input.u8()? {
            PUT_DOC => Op::PutDoc(PutDoc::decode(input)?),
            REMOVE_DOC => {
                let flags = input.u8()?;
                Op::RemoveDoc { flags, id: input.bytes()?, old: LoggedOld::decode(input, flags)? }
            }
            PUT_KEY => Op::PutKey { key: input.bytes()?, value: input.bytes()? },
            REMOVE_KEY => Op::RemoveKey { key: input.bytes()? },
            BUMP => Op::Bump,
            _ => return None,
        })
    }

    /// Whether it takes a sequence.
    pub(super) fn takes_sequence(&self) -> bool {
        matches!(self, Op::PutDoc(_) | Op::RemoveDoc { .. } | Op::Bump)
    }
}

impl<'b> PutDoc<'b> {
    fn decode(input: &mut Input<'b>) -> Option<Self> {
        let flags = input.u8()?;
        let id = input.bytes()?;
        let weight = DocWeight {
            deleted: flags & DELETED != 0,
            active_bytes: input.varint()?,
            external_bytes: input.varint()?,
        };
        let old = match flags & WAS_THERE {
            0 => None,
            _ => Some(LoggedOld::decode(input, flags)?),
        };
        let by_id = match flags & SHARED {
            0 => ById::Whole(input.bytes()?),
            _ => ById::Shared(Delta::decode(input)?),
        };
        Some(PutDoc { flags, id, weight, old, by_id, by_seq: input.bytes()? })
    }
}

impl LoggedOld {
    fn decode(input: &mut Input<'_>, flags: u8) -> Option<Self> {
        let distance = input.varint()?;
        let weight = DocWeight {
            deleted: flags & WAS_DELETED != 0,
            active_bytes: input.varint()?,
            external_bytes: input.varint()?,
        };
        Some(LoggedOld { distance, weight })
    }

    /// For an edit of a database whose sequence is `before`.
    fn at(self, before: Seq) -> Option<OldDoc> {
        let seq = before.checked_add(1)?.checked_sub(self.distance)?;
        Some(OldDoc { seq, weight: self.weight })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn weight(active_bytes: u64) -> DocWeight {
        DocWeight { deleted: false, active_bytes, external_bytes: 2 }
    }

    #[test]
    fn edits_replayed_give_the_state_they_were_logged_from() {
        let mut ops = OpsBuffer::default();
        let long = |first: u8| (0..200).map(|n| n ^ first).collect::<Vec<u8>>();
        ops.put_doc(1, b"a", weight(5), None, &long(0), b"s1");
        let old = OldDoc { seq: 1, weight: weight(5) };
        let mut second = long(0);
        second.insert(0, 9);
        ops.put_doc(2, b"a", weight(6), Some((old, &long(0))), &second, b"s2");
        ops.put_doc(3, b"b", weight(1), None, b"v", b"s3");
        ops.remove_doc(4, b"b", OldDoc { seq: 3, weight: weight(1) });
        ops.put_key(b"\0k", Some(b"v"));
        ops.put_key(b"\0gone", None);
        ops.bump();

        let mut head = Head::default();
        let old_value = |head: &Head, id: &[u8]| {
            Ok(head.layer.doc(id).and_then(|slot| Some(slot.record.as_ref()?.by_id().to_vec())))
        };
        assert!(replay(&ops.bytes, ops.count, &mut head, &old_value).unwrap());
        assert_eq!(head.seq, 5);
        assert_eq!((head.counts.live, head.counts.active_bytes), (1, 6));
        let record = head.layer.doc(b"a").unwrap().record.clone().unwrap();
        assert_eq!((record.seq, record.by_id(), record.by_seq()), (2, &second[..], &b"s2"[..]));
        assert!(head.layer.doc(b"b").unwrap().record.is_none());
        assert_eq!(head.layer.key(b"\0k").unwrap().as_deref(), Some(b"v".as_slice()));

        for cut in 0..ops.bytes.len() {
            let replayed = replay(&ops.bytes[..cut], ops.count, &mut Head::default(), &old_value);
            assert!(!replayed.unwrap(), "cut at {cut}");
        }
    }

    proptest! {
        /// The bytes passed a checksum, so this is about bugs and forgery; it must end in any case.
        #[test]
        fn any_bytes_are_replayed_or_refused(
            start in 0u8..6, bytes: Vec<u8>, count in 0u32..50,
        ) {
            let none = |_: &Head, _: &[u8]| Ok(Some(vec![1; 200]));
            let bytes = [&[start][..], &bytes].concat();
            let mut head = Head { seq: u64::MAX - 3, ..Head::default() };
            let _ = replay(&bytes, count, &mut head, &none).unwrap();
        }
    }

    #[test]
    fn counts_that_do_not_add_up_are_refused() {
        let mut ops = OpsBuffer::default();
        ops.remove_doc(1, b"b", OldDoc { seq: 1, weight: weight(1) });
        let none = |_: &Head, _: &[u8]| Ok(None);
        assert!(!replay(&ops.bytes, 1, &mut Head::default(), &none).unwrap());
    }
}
