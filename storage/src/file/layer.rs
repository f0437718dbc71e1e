//! The overlay: what was committed since the trees were last brought up to date, in memory.
//!
//! A [`Layer`] lies over the trees, or over another layer while that one is being merged into the trees.
//! Its maps are persistent: a clone costs nothing and is a snapshot; the writer's changes copy only the
//! nodes they touch.

use std::{ops::Bound, sync::Arc};

use imbl::OrdMap;

use crate::store::{Counts, DocWeight, Seq};

/// What an entry costs in memory beside its bytes, roughly: map slots, allocations, reference counts.
const ENTRY_OVERHEAD_BYTES: usize = 200;

/// A key of a layer's maps.
pub(super) type Key = Arc<[u8]>;

/// A document as an edit left it.
#[derive(Debug)]
pub(super) struct DocRecord {
    pub(super) seq: Seq,
    pub(super) weight: DocWeight,
    pub(super) id: Key,
    /// The by-id value, then the by-seq value.
    bytes: Box<[u8]>,
    by_id_len: usize,
}

impl DocRecord {
    pub(super) fn new(seq: Seq, weight: DocWeight, id: Key, by_id: &[u8], by_seq: &[u8]) -> Self {
        let by_id_len = by_id.len();
        DocRecord { seq, weight, id, bytes: [by_id, by_seq].concat().into(), by_id_len }
    }

    pub(super) fn by_id(&self) -> &[u8] {
        self.bytes.get(..self.by_id_len).unwrap_or_default()
    }

    pub(super) fn by_seq(&self) -> &[u8] {
        self.bytes.get(self.by_id_len..).unwrap_or_default()
    }

    fn memory(&self) -> usize {
        self.bytes.len() + self.id.len()
    }
}

/// A document in the by-id map.
#[derive(Clone, Debug)]
pub(super) struct DocSlot {
    /// The document; `None` if it was removed.
    pub(super) record: Option<Arc<DocRecord>>,
    /// Its weight in what lies beneath this layer, so that counts of a range need no look at the trees.
    base: Option<DocWeight>,
}

/// What a document was before an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OldDoc {
    pub(super) seq: Seq,
    pub(super) weight: DocWeight,
}

/// Edits over the trees, or over an older layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    docs: OrdMap<Key, DocSlot>,
    /// `None` hides a change that lies beneath.
    changes: OrdMap<Seq, Option<Arc<DocRecord>>>,
    /// Local and meta keys, each behind the byte of its space; `None` hides what lies beneath.
    keys: OrdMap<Key, Option<Key>>,
    /// Slots of `docs` without a document.
    removed: usize,
    memory: usize,
}

/// Borrowed ends of a range of keys.
pub(super) type Bounds<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

impl Layer {
    /// Bytes of memory this layer holds, roughly.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    pub(super) fn doc(&self, id: &[u8]) -> Option<&DocSlot> {
        self.docs.get(id)
    }

    pub(super) fn key(&self, key: &[u8]) -> Option<&Option<Key>> {
        self.keys.get(key)
    }

    pub(super) fn docs(
        &self,
        range: Bounds<'_>,
    ) -> impl DoubleEndedIterator<Item = (&Key, &DocSlot)> + use<'_> {
        self.docs.range::<_, [u8]>(range)
    }

    pub(super) fn changes(
        &self,
        range: (Bound<Seq>, Bound<Seq>),
    ) -> impl DoubleEndedIterator<Item = (&Seq, &Option<Arc<DocRecord>>)> + use<'_> {
        self.changes.range::<_, Seq>(range)
    }

    pub(super) fn keys(
        &self,
        range: Bounds<'_>,
    ) -> impl DoubleEndedIterator<Item = (&Key, &Option<Key>)> + use<'_> {
        self.keys.range::<_, [u8]>(range)
    }

    /// Writes a document whose state beneath or in this layer is `old`.
    pub(super) fn put_doc(&mut self, record: Arc<DocRecord>, old: Option<OldDoc>) {
        self.memory += record.memory() + ENTRY_OVERHEAD_BYTES;
        self.changes.insert(record.seq, Some(Arc::clone(&record)));
        // A new document needs no look at this layer, unless its id may have been removed from it.
        let unknown = old.is_none() && self.removed == 0;
        if !unknown && let Some(slot) = self.docs.get_mut(&record.id[..]) {
            let superseded = slot.record.replace(record);
            self.supersede(superseded.as_deref());
            return;
        }
        let base = self.hide(old);
        let id = Arc::clone(&record.id);
        self.docs.insert(id, DocSlot { record: Some(record), base });
    }

    /// Removes a document whose state beneath or in this layer is `old`.
    pub(super) fn remove_doc(&mut self, id: &Key, old: OldDoc) {
        self.memory += id.len() + ENTRY_OVERHEAD_BYTES;
        self.removed += 1;
        let Some(slot) = self.docs.get_mut(&id[..]) else {
            let base = self.hide(Some(old));
            self.docs.insert(Arc::clone(id), DocSlot { record: None, base });
            return;
        };
        let superseded = slot.record.take();
        self.supersede(superseded.as_deref());
    }

    /// Takes away what a slot held before: its change, or its mark as removed.
    fn supersede(&mut self, record: Option<&DocRecord>) {
        let freed = record.map_or(0, DocRecord::memory) + ENTRY_OVERHEAD_BYTES;
        self.memory = self.memory.saturating_sub(freed);
        match record {
            Some(record) => drop(self.changes.remove(&record.seq)),
            None => self.removed = self.removed.saturating_sub(1),
        }
    }

    /// Hides the change of a document that lies beneath; returns its weight there.
    fn hide(&mut self, old: Option<OldDoc>) -> Option<DocWeight> {
        let old = old?;
        self.memory += ENTRY_OVERHEAD_BYTES / 2;
        self.changes.insert(old.seq, None);
        Some(old.weight)
    }

    /// Writes or hides a key.
    pub(super) fn put_key(&mut self, key: Key, value: Option<Key>) {
        let bytes = |value: &Option<Key>| value.as_ref().map_or(0, |value| value.len());
        let cost = key.len() + ENTRY_OVERHEAD_BYTES / 2;
        self.memory += cost + bytes(&value);
        if let Some(old) = self.keys.insert(key, value) {
            self.memory = self.memory.saturating_sub(cost + bytes(&old));
        }
    }

    /// What this layer adds to, and takes from, the counts of a range of ids beneath it.
    pub(super) fn count_docs(&self, range: Bounds<'_>) -> (Counts, Counts) {
        let (mut added, mut taken) = (Counts::default(), Counts::default());
        for (_, slot) in self.docs(range) {
            if let Some(record) = &slot.record {
                added += record.weight.into();
            }
            if let Some(base) = slot.base {
                taken += base.into();
            }
        }
        (added, taken)
    }

    /// What this layer adds to, and takes from, the number of changes after `since` beneath it.
    pub(super) fn count_changes(&self, since: Seq) -> (u64, u64) {
        let (mut added, mut taken) = (0, 0);
        for (_, change) in self.changes((Bound::Excluded(since), Bound::Unbounded)) {
            match change {
                Some(_) => added += 1,
                None => taken += 1,
            }
        }
        (added, taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: Seq, id: &str) -> Arc<DocRecord> {
        let weight = DocWeight { deleted: false, active_bytes: seq, external_bytes: 1 };
        Arc::new(DocRecord::new(seq, weight, id.as_bytes().into(), b"v", b"c"))
    }

    const ALL: Bounds<'static> = (Bound::Unbounded, Bound::Unbounded);

    #[test]
    fn a_document_written_twice_has_one_change_and_hides_the_one_beneath() {
        let mut layer = Layer::default();
        let old = OldDoc { seq: 3, weight: DocWeight { active_bytes: 7, ..Default::default() } };
        layer.put_doc(record(10, "a"), Some(old));
        let second = OldDoc { seq: 10, weight: record(10, "a").weight };
        layer.put_doc(record(11, "a"), Some(second));
        let changes: Vec<_> = layer
            .changes((Bound::Unbounded, Bound::Unbounded))
            .map(|(seq, change)| (*seq, change.is_some()))
            .collect();
        assert_eq!(changes, [(3, false), (11, true)]);
        let (added, taken) = layer.count_docs(ALL);
        assert_eq!((added.live, added.active_bytes), (1, 11));
        assert_eq!((taken.live, taken.active_bytes), (1, 7));
        assert_eq!(layer.count_changes(2), (1, 1));
        assert_eq!(layer.count_changes(3), (1, 0));
    }

    #[test]
    fn a_document_that_came_and_went_counts_nothing_and_may_come_again() {
        let mut layer = Layer::default();
        layer.put_doc(record(1, "a"), None);
        let memory = layer.memory();
        layer.remove_doc(&b"a".as_slice().into(), OldDoc { seq: 1, weight: record(1, "a").weight });
        assert!(layer.doc(b"a").unwrap().record.is_none());
        assert_eq!(layer.count_docs(ALL), (Counts::default(), Counts::default()));
        assert_eq!(layer.count_changes(0), (0, 0));
        layer.put_doc(record(3, "a"), None);
        assert_eq!(layer.count_docs(ALL).0.live, 1);
        assert_eq!(layer.count_changes(0), (1, 0));
        assert!(layer.memory() >= memory && layer.memory() < memory + ENTRY_OVERHEAD_BYTES);
    }

    #[test]
    fn memory_follows_replacement() {
        let mut layer = Layer::default();
        layer.put_key(b"k".as_slice().into(), Some(b"value".as_slice().into()));
        let one = layer.memory();
        for _ in 0..10 {
            layer.put_key(b"k".as_slice().into(), Some(b"value".as_slice().into()));
        }
        assert_eq!(layer.memory(), one);
    }
}
