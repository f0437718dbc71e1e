//! The newest change an index has seen. It tells whether the index was made from what is in the database now:
//! a database that was put back from a copy has the same uuid and may have come to the same sequence again, with
//! other changes.
//!
//! ```text
//! nothing yet   00
//! a change      its sequence n (never 0), id of the document bytes, its winning revision then as text bytes
//! ```

use settee_storage::{Direction, Seq, Snapshot};

use crate::{
    codec::{Reader as Bytes, put_bytes, put_varint},
    document::{ChangeEntry, DocHead},
    error::Result,
    revision::Rev,
};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark(Option<Change>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    seq: Seq,
    id: Vec<u8>,
    rev: Rev,
}

impl Mark {
    /// The newest change of a snapshot.
    pub(crate) fn newest(snapshot: &dyn Snapshot) -> Result<Self> {
        let mut changes = snapshot.changes(0, Direction::Backward)?;
        match changes.next()? {
            Some(change) => Mark::of(change.seq, change.id, change.value),
            None => Ok(Mark::default()),
        }
    }

    /// A change as the database tells it.
    pub(crate) fn of(seq: Seq, id: &[u8], value: &[u8]) -> Result<Self> {
        let rev = ChangeEntry::decode(value)?.winner.rev.clone();
        Ok(Mark(Some(Change { seq, id: id.to_vec(), rev })))
    }

    /// Whether the change is among those that made the database what it is. No is also the answer if its
    /// document was purged since, or has forgotten so old a revision; the index is made anew then.
    pub(crate) fn lies_behind(&self, snapshot: &dyn Snapshot) -> Result<bool> {
        let Some(Change { seq, id, rev }) = &self.0 else { return Ok(true) };
        let Some(entry) = snapshot.doc(id)? else { return Ok(false) };
        Ok(entry.seq >= *seq && DocHead::decode(&entry.value)?.tree()?.find(rev).is_some())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let Some(Change { seq, id, rev }) = &self.0 else { return out.push(0) };
        put_varint(out, *seq);
        put_bytes(out, id);
        let mut text = Vec::new();
        rev.write(&mut text);
        put_bytes(out, &text);
    }

    pub(crate) fn decode(bytes: &mut Bytes<'_>) -> Result<Self> {
        match bytes.varint()? {
            0 => Ok(Mark::default()),
            seq => {
                let id = bytes.bytes()?.to_vec();
                let rev = Rev::parse(bytes.bytes()?).map_err(|_| bytes.damaged())?;
                Ok(Mark(Some(Change { seq, id, rev })))
            }
        }
    }
}
