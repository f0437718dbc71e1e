//! The reference model: a [`Store`] of plain ordered maps, copied whole for each snapshot.
//!
//! It has no file, no concurrency to speak of and no speed. It is what the other stores are compared
//! against: everything they answer, it answers too, from code short enough to be seen to be right.

use std::{collections::BTreeMap, io::Cursor, ops::Bound, sync::Arc};

use parking_lot::Mutex;

use crate::{
    error::{Error, Result},
    store::{
        BlobRef, Change, ChangeCursor, Counts, Direction, DocCursor, DocEntry, DocRow, DocWeight,
        Done, Edit, KeyRange, Leader, Listener, LocalCursor, MAX_BLOB_BYTES, MAX_KEY_BYTES,
        MAX_VALUE_BYTES, Receipt, Seq, Snapshot, StagedStream, Store, StoreSizes, StreamReader,
        StreamRef, StreamWriter, Transaction, Value,
    },
};

#[derive(Clone, Debug)]
struct Doc {
    seq: Seq,
    weight: DocWeight,
    by_id: Vec<u8>,
    by_seq: Vec<u8>,
}

/// Everything a database holds, at one moment.
#[derive(Clone, Debug, Default)]
struct State {
    seq: Seq,
    docs: BTreeMap<Vec<u8>, Doc>,
    changes: BTreeMap<Seq, Vec<u8>>,
    local: BTreeMap<Vec<u8>, Vec<u8>>,
    meta: BTreeMap<Vec<u8>, Vec<u8>>,
    /// By offset, which is how many bytes all earlier ones have.
    blobs: BTreeMap<u64, Arc<Vec<u8>>>,
}

impl State {
    fn put_blob(&mut self, bytes: &[u8]) -> Result<BlobRef> {
        check("a blob", bytes.len(), MAX_BLOB_BYTES)?;
        let last = self.blobs.last_key_value();
        let offset = last.map_or(0, |(offset, blob)| offset + (blob.len() as u64).max(1));
        self.blobs.insert(offset, Arc::new(bytes.to_vec()));
        Ok(BlobRef { offset, len: bytes.len() as u32, crc: crc32fast::hash(bytes) })
    }

    fn blob(&self, at: BlobRef) -> Result<&Arc<Vec<u8>>> {
        let found = self.blobs.get(&at.offset);
        found
            .filter(|blob| blob.len() == at.len as usize && crc32fast::hash(blob) == at.crc)
            .ok_or(Error::Corrupt { path: "model".into(), offset: at.offset, what: "no such blob" })
    }

    fn counts(&self, range: &KeyRange) -> Counts {
        let mut counts = Counts::default();
        if !is_empty(range) {
            for doc in self.docs.range(bounds(range)).map(|(_, doc)| doc) {
                counts += doc.weight.into();
            }
        }
        counts
    }
}

fn bounds(range: &KeyRange) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    (range.start.clone(), range.end.clone())
}

/// Ranges whose ends have crossed hold nothing (`BTreeMap::range` would panic).
fn is_empty(range: &KeyRange) -> bool {
    match (&range.start, &range.end) {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end))
        | (Bound::Excluded(start), Bound::Included(end)) => start >= end,
        _ => false,
    }
}

fn check(what: &'static str, size: usize, limit: usize) -> Result<()> {
    match size <= limit {
        true => Ok(()),
        false => Err(Error::TooLarge { what, size: size as u64, limit: limit as u64 }),
    }
}

fn check_pair(key: &[u8], value: &[u8]) -> Result<()> {
    check("a key", key.len(), MAX_KEY_BYTES)?;
    check("a value", value.len(), MAX_VALUE_BYTES)
}

/// A database in ordered maps.
///
/// ```
/// use std::sync::Arc;
/// use settee_storage::{DocWeight, Store, model::ModelStore, update};
///
/// let store: Arc<dyn Store> = Arc::new(ModelStore::new());
/// update(&store, |edit| edit.put_doc(b"id", DocWeight::default(), b"by id", b"by seq"))?;
/// assert_eq!(store.snapshot()?.counts().live, 1);
/// # Ok::<(), settee_storage::Error>(())
/// ```
#[derive(Default)]
pub struct ModelStore {
    state: Mutex<Arc<State>>,
    listener: Mutex<Option<Listener>>,
    closed: Mutex<bool>,
}

impl ModelStore {
    /// An empty database.
    #[must_use]
    pub fn new() -> Self {
        ModelStore::default()
    }

    fn apply(&self, edit: Edit) -> Result<Receipt> {
        if *self.closed.lock() {
            return Err(Error::Closed);
        }
        let mut state = self.state.lock();
        let mut next = State::clone(&state);
        let committed = edit(&mut next)?;
        if committed {
            *state = Arc::new(next);
        }
        Ok(Receipt { committed, seq: state.seq })
    }
}

impl Store for ModelStore {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(self.state.lock().clone())
    }

    fn submit(self: Arc<Self>, edit: Edit, done: Done) -> Option<Leader> {
        let receipt = self.apply(edit);
        if let (Ok(Receipt { committed: true, seq }), Some(listener)) =
            (&receipt, self.listener.lock().clone())
        {
            listener(*seq);
        }
        done(receipt);
        None
    }

    fn stream(self: Arc<Self>) -> Result<Box<dyn StreamWriter>> {
        Ok(Box::new(ModelStream { store: self, bytes: Vec::new() }))
    }

    fn listen(&self, listener: Listener) {
        *self.listener.lock() = Some(listener);
    }

    fn sizes(&self) -> StoreSizes {
        let blobs: u64 = self.state.lock().blobs.values().map(|blob| blob.len() as u64).sum();
        StoreSizes { file_bytes: blobs }
    }

    fn checkpoint(&self) -> Result<()> {
        Ok(())
    }

    fn close(&self) {
        *self.closed.lock() = true;
    }
}

impl Transaction for State {
    fn seq(&self) -> Seq {
        self.seq
    }

    fn doc(&self, id: &[u8]) -> Result<Option<DocEntry<'_>>> {
        Ok(self.docs.get(id).map(entry))
    }

    fn put_doc(
        &mut self,
        id: &[u8],
        weight: DocWeight,
        by_id: &[u8],
        by_seq: &[u8],
    ) -> Result<Seq> {
        check_pair(id, by_id)?;
        check_pair(id, by_seq)?;
        self.seq += 1;
        let seq = self.seq;
        let doc = Doc { seq, weight, by_id: by_id.to_vec(), by_seq: by_seq.to_vec() };
        if let Some(old) = self.docs.insert(id.to_vec(), doc) {
            self.changes.remove(&old.seq);
        }
        self.changes.insert(seq, id.to_vec());
        Ok(seq)
    }

    fn remove_doc(&mut self, id: &[u8]) -> Result<bool> {
        let Some(doc) = self.docs.remove(id) else { return Ok(false) };
        self.changes.remove(&doc.seq);
        self.seq += 1;
        Ok(true)
    }

    fn bump(&mut self) -> Result<Seq> {
        self.seq += 1;
        Ok(self.seq)
    }

    fn local(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        Snapshot::local(self, key)
    }

    fn put_local(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_pair(key, value)?;
        self.local.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn remove_local(&mut self, key: &[u8]) -> Result<bool> {
        Ok(self.local.remove(key).is_some())
    }

    fn meta(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        Snapshot::meta(self, key)
    }

    fn put_meta(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_pair(key, value)?;
        self.meta.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn remove_meta(&mut self, key: &[u8]) -> Result<bool> {
        Ok(self.meta.remove(key).is_some())
    }

    fn put_blob(&mut self, bytes: &[u8]) -> Result<BlobRef> {
        State::put_blob(self, bytes)
    }

    fn blob(&self, at: BlobRef) -> Result<Value<'_>> {
        Snapshot::blob(self, at)
    }
}

fn entry(doc: &Doc) -> DocEntry<'_> {
    DocEntry { seq: doc.seq, weight: doc.weight, value: Value::Borrowed(&doc.by_id) }
}

impl Snapshot for State {
    fn seq(&self) -> Seq {
        self.seq
    }

    fn counts(&self) -> Counts {
        State::counts(self, &KeyRange::all())
    }

    fn count_docs(&self, range: &KeyRange) -> Result<Counts> {
        Ok(State::counts(self, range))
    }

    fn count_changes(&self, since: Seq) -> Result<u64> {
        let changes = self.changes.range((Bound::Excluded(since), Bound::Unbounded));
        Ok(changes.count() as u64)
    }

    fn doc(&self, id: &[u8]) -> Result<Option<DocEntry<'_>>> {
        Ok(self.docs.get(id).map(entry))
    }

    fn docs<'s>(
        &'s self,
        range: &KeyRange,
        direction: Direction,
        live_only: bool,
    ) -> Result<Box<dyn DocCursor + 's>> {
        let wanted = |doc: &(&Vec<u8>, &Doc)| !(live_only && doc.1.weight.deleted);
        let rows = self.docs.iter().filter(wanted);
        Ok(Box::new(Rows(in_range(rows, range, direction))))
    }

    fn changes<'s>(
        &'s self,
        since: Seq,
        direction: Direction,
    ) -> Result<Box<dyn ChangeCursor + 's>> {
        let rows = self.changes.range((Bound::Excluded(since), Bound::Unbounded));
        let rows = rows.filter_map(|(seq, id)| Some((*seq, id, self.docs.get(id)?)));
        Ok(Box::new(Rows(directed(rows.collect(), direction))))
    }

    fn local(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        Ok(self.local.get(key).map(|value| Value::Borrowed(value.as_slice())))
    }

    fn locals<'s>(
        &'s self,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<Box<dyn LocalCursor + 's>> {
        Ok(Box::new(Rows(in_range(self.local.iter(), range, direction))))
    }

    fn meta(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        Ok(self.meta.get(key).map(|value| Value::Borrowed(value.as_slice())))
    }

    fn metas<'s>(
        &'s self,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<Box<dyn LocalCursor + 's>> {
        Ok(Box::new(Rows(in_range(self.meta.iter(), range, direction))))
    }

    fn blob(&self, at: BlobRef) -> Result<Value<'_>> {
        Ok(Value::Borrowed(State::blob(self, at)?.as_slice()))
    }

    fn stream(&self, at: StreamRef) -> Result<Box<dyn StreamReader>> {
        let bytes = State::blob(self, at.index)?;
        Ok(Box::new(Cursor::new(Shared(Arc::clone(bytes)))))
    }

    fn stage(&self, at: StreamRef) -> Result<Option<StagedStream>> {
        Ok(Some(StagedStream::new(at)))
    }
}

/// Rows still to come, the next one last.
struct Rows<T>(Vec<T>);

fn directed<T>(mut rows: Vec<T>, direction: Direction) -> Vec<T> {
    if direction == Direction::Forward {
        rows.reverse();
    }
    rows
}

fn in_range<'s, V>(
    rows: impl Iterator<Item = (&'s Vec<u8>, V)>,
    range: &KeyRange,
    direction: Direction,
) -> Vec<(&'s Vec<u8>, V)> {
    use std::ops::RangeBounds;
    let inside = |key: &[u8]| {
        let ends: (Bound<&[u8]>, Bound<&[u8]>) =
            (range.start.as_ref().map(Vec::as_slice), range.end.as_ref().map(Vec::as_slice));
        RangeBounds::<[u8]>::contains(&ends, key)
    };
    directed(rows.filter(|(key, _)| inside(key)).collect(), direction)
}

impl DocCursor for Rows<(&Vec<u8>, &Doc)> {
    fn next(&mut self) -> Result<Option<DocRow<'_>>> {
        Ok(self.0.pop().map(|(id, doc)| DocRow {
            id,
            seq: doc.seq,
            weight: doc.weight,
            value: &doc.by_id,
        }))
    }

    fn skip(&mut self, rows: u64) -> Result<u64> {
        let skipped = rows.min(self.0.len() as u64);
        self.0.truncate(self.0.len() - skipped as usize);
        Ok(skipped)
    }
}

impl ChangeCursor for Rows<(Seq, &Vec<u8>, &Doc)> {
    fn next(&mut self) -> Result<Option<Change<'_>>> {
        Ok(self.0.pop().map(|(seq, id, doc)| Change { seq, id, value: &doc.by_seq }))
    }
}

impl LocalCursor for Rows<(&Vec<u8>, &Vec<u8>)> {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        Ok(self.0.pop().map(|(key, value)| (key.as_slice(), value.as_slice())))
    }
}

/// Bytes a cursor can read and keep.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

struct ModelStream {
    store: Arc<ModelStore>,
    bytes: Vec<u8>,
}

impl StreamWriter for ModelStream {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<StagedStream> {
        let mut state = self.store.state.lock();
        let mut next = State::clone(&state);
        let index = next.put_blob(&self.bytes)?;
        *state = Arc::new(next);
        Ok(StagedStream::new(StreamRef { index, len: self.bytes.len() as u64 }))
    }
}
