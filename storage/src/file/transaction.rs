//! A group of edits on its way into one commit: [`Transaction`] as the edits see it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{
    codec::length,
    frame::{FrameBuffer, MAX_PAYLOAD_BYTES},
    head::Head,
    ops::OpsBuffer,
    record::{COMMIT_FIXED_BYTES, CommitHead, first_blob},
    rows::Space,
    state::{State, View},
};
use crate::{
    error::{Error, Result},
    store::{
        BlobRef, DocEntry, DocWeight, Edit, MAX_BLOB_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Seq,
        Transaction, Value,
    },
};

/// Edits that run one after the other, each seeing what those before it wrote.
///
/// Blobs go straight into the buffer of the frame to come, whose place in the file is known because the
/// append lock is held. An edit that fails or declines is taken back alone: the head before it is kept
/// (a clone costs nothing), and the buffers are cut.
pub(super) struct Group<'g> {
    base: &'g State,
    head: Head,
    frame: &'g mut FrameBuffer,
    ops: OpsBuffer,
    first_blob: u64,
}

impl<'g> Group<'g> {
    /// Begins a group over `base`, whose commit frame will be at `offset`.
    pub(super) fn new(base: &'g State, frame: &'g mut FrameBuffer, offset: u64) -> Self {
        frame.clear(KEEP_BUFFER_BYTES);
        frame.bytes().extend_from_slice(&[0; COMMIT_FIXED_BYTES]);
        let head = base.head.clone();
        Group { base, head, frame, ops: OpsBuffer::default(), first_blob: first_blob(offset) }
    }

    /// Runs one edit. `Ok(true)` if its writes stay.
    pub(super) fn run(&mut self, edit: Edit) -> Result<bool> {
        let head = self.head.clone();
        let (frame_len, ops) = (self.frame.payload_len(), self.ops.mark());
        // A panic in one edit must not take the group, and the store's leader, with it.
        let outcome = catch_unwind(AssertUnwindSafe(|| edit(self)));
        let outcome = outcome.unwrap_or_else(|_| Err(self.panicked()));
        if !matches!(outcome, Ok(true)) {
            self.head = head;
            self.frame.truncate_payload(frame_len);
            self.ops.rewind(ops);
        }
        outcome
    }

    /// Whether no edit wrote anything.
    pub(super) fn is_empty(&self) -> bool {
        self.ops.count == 0 && self.frame.payload_len() == COMMIT_FIXED_BYTES
    }

    /// Bytes of the commit so far.
    pub(super) fn size(&self) -> usize {
        self.frame.payload_len() + self.ops.bytes.len()
    }

    /// Completes the frame's payload; returns the new head. `head` needs only what the group does not
    /// know: its counts of edits and its sequence are filled in.
    pub(super) fn finish(self, head: CommitHead) -> Head {
        let ops_len = u32::try_from(self.ops.bytes.len()).unwrap_or(u32::MAX);
        let head = CommitHead { seq: self.head.seq, ops_len, ops: self.ops.count, ..head };
        self.frame.bytes().extend_from_slice(&self.ops.bytes);
        self.frame.overwrite_payload(0, &head.encode());
        self.head
    }

    fn view(&self) -> View<'_> {
        View { top: &self.head.layer, ..self.base.view() }
    }

    fn panicked(&self) -> Error {
        Error::Io {
            operation: "run an edit on",
            path: self.base.trees.path.to_path_buf(),
            source: std::io::Error::other("the edit panicked"),
        }
    }

    /// Numbers that do not add up: a document's entry says what the counts deny.
    fn inconsistent(&self) -> Error {
        let path = self.base.trees.path.to_path_buf();
        Error::Corrupt { path, offset: 0, what: "counts and documents disagree" }
    }

    /// Checks the sizes of a write against the format's limits and the room left in the commit.
    fn check(&self, key: &[u8], values: &[&[u8]]) -> Result<()> {
        limit("a key", key.len(), MAX_KEY_BYTES)?;
        let mut total = self.size().saturating_add(key.len() + OP_OVERHEAD_BYTES);
        for value in values {
            limit("a value", value.len(), MAX_VALUE_BYTES)?;
            total = total.saturating_add(value.len());
        }
        limit("a batch", total, MAX_PAYLOAD_BYTES)
    }

    fn put_key(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()> {
        self.check(key, &[value])?;
        self.put_raw_key(&space.key(key), Some(value))
    }

    /// Writes or removes a key that has the byte of its space in front.
    pub(super) fn put_raw_key(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.ops.put_key(key, value);
        self.head.layer.put_key(key.into(), value.map(Into::into));
        Ok(())
    }

    fn remove_key(&mut self, space: Space, key: &[u8]) -> Result<bool> {
        self.check(key, &[])?;
        if self.view().key(space, key)?.is_none() {
            return Ok(false);
        }
        self.put_raw_key(&space.key(key), None)?;
        Ok(true)
    }
}

/// Memory of a frame buffer kept for the next group, in bytes.
const KEEP_BUFFER_BYTES: usize = 1024 * 1024;
/// More than an edit takes in a commit beside its key and values.
const OP_OVERHEAD_BYTES: usize = 128;

fn limit(what: &'static str, size: usize, limit: usize) -> Result<()> {
    if size <= limit {
        return Ok(());
    }
    Err(Error::TooLarge { what, size: length(size), limit: length(limit) })
}

impl Transaction for Group<'_> {
    fn seq(&self) -> Seq {
        self.head.seq
    }

    fn doc(&self, id: &[u8]) -> Result<Option<DocEntry<'_>>> {
        self.view().doc(id)
    }

    fn put_doc(
        &mut self,
        id: &[u8],
        weight: DocWeight,
        by_id: &[u8],
        by_seq: &[u8],
    ) -> Result<Seq> {
        self.check(id, &[by_id, by_seq])?;
        let seq = self.head.seq + 1;
        // Not `self.view()`: the entry is borrowed while the edits' buffer is written.
        let view = View { top: &self.head.layer, ..self.base.view() };
        let entry = view.doc(id)?;
        let old = entry.as_ref().map(|entry| (entry.into(), &entry.value[..]));
        let mark = self.ops.mark();
        self.ops.put_doc(seq, id, weight, old, by_id, by_seq);
        let old = entry.as_ref().map(Into::into);
        let put = self.head.put_doc(Arc::from(id), weight, by_id, by_seq, old);
        put.map(|record| record.seq).ok_or_else(|| {
            // The edit may go on after this error; the log must not say more than was done.
            self.ops.rewind(mark);
            self.inconsistent()
        })
    }

    fn remove_doc(&mut self, id: &[u8]) -> Result<bool> {
        self.check(id, &[])?;
        let Some(old) = self.view().doc(id)?.as_ref().map(Into::into) else { return Ok(false) };
        self.head.remove_doc(&Arc::from(id), old).ok_or_else(|| self.inconsistent())?;
        self.ops.remove_doc(self.head.seq, id, old);
        Ok(true)
    }

    fn bump(&mut self) -> Result<Seq> {
        self.check(&[], &[])?;
        self.ops.bump();
        self.head.bump().ok_or_else(|| self.inconsistent())?;
        Ok(self.head.seq)
    }

    fn local(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        self.view().key(Space::Local, key)
    }

    fn put_local(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_key(Space::Local, key, value)
    }

    fn remove_local(&mut self, key: &[u8]) -> Result<bool> {
        self.remove_key(Space::Local, key)
    }

    fn meta(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        self.view().key(Space::Meta, key)
    }

    fn put_meta(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_key(Space::Meta, key, value)
    }

    fn remove_meta(&mut self, key: &[u8]) -> Result<bool> {
        self.remove_key(Space::Meta, key)
    }

    fn put_blob(&mut self, bytes: &[u8]) -> Result<BlobRef> {
        limit("a blob", bytes.len(), MAX_BLOB_BYTES)?;
        limit("a batch", self.size().saturating_add(bytes.len()), MAX_PAYLOAD_BYTES)?;
        let before = self.frame.payload_len() - COMMIT_FIXED_BYTES;
        self.frame.bytes().extend_from_slice(bytes);
        Ok(BlobRef {
            offset: self.first_blob + length(before),
            len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            crc: crc32fast::hash(bytes),
        })
    }

    fn blob(&self, at: BlobRef) -> Result<Value<'_>> {
        let Some(from) = at.offset.checked_sub(self.first_blob) else {
            return self.base.trees.reader.blob(at);
        };
        let blobs = self.frame.payload().get(COMMIT_FIXED_BYTES..).unwrap_or_default();
        let range = usize::try_from(from).ok().zip(usize::try_from(at.len).ok());
        let bytes = range.and_then(|(from, len)| blobs.get(from..from.checked_add(len)?));
        match bytes {
            Some(bytes) if crc32fast::hash(bytes) == at.crc => Ok(Value::Borrowed(bytes)),
            _ => Err(Error::Corrupt {
                path: self.base.trees.path.to_path_buf(),
                offset: at.offset,
                what: "a reference to a blob that was not written",
            }),
        }
    }
}
