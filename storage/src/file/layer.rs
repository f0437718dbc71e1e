//! The overlay: what was committed since the trees were last brought up to date, in memory.
//!
//! A [`Layer`] lies over the trees, or over another layer while that one is being merged into the trees.
//! Its maps are persistent: a clone costs nothing and is a snapshot; the writer's changes copy only the
//! nodes they touch.

use std::{
    ops::{AddAssign, Bound, SubAssign},
    sync::Arc,
};

use super::ordered::{OrderedMap, Summed};
use crate::store::{Counts, Direction, DocWeight, Seq};

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

/// What a layer adds to the counts beneath it, less what it takes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CountsChange {
    live: i64,
    deleted: i64,
    active_bytes: i64,
    external_bytes: i64,
}

impl CountsChange {
    fn of(weight: DocWeight) -> Self {
        // Sizes beyond 2^63 do not occur; should they be claimed, sums wrap as they do in `Counts`.
        CountsChange {
            live: i64::from(!weight.deleted),
            deleted: i64::from(weight.deleted),
            active_bytes: weight.active_bytes.cast_signed(),
            external_bytes: weight.external_bytes.cast_signed(),
        }
    }

    /// The counts after this change; `None` if that is impossible.
    pub(super) fn apply(self, counts: Counts) -> Option<Counts> {
        Some(Counts {
            live: counts.live.checked_add_signed(self.live)?,
            deleted: counts.deleted.checked_add_signed(self.deleted)?,
            active_bytes: counts.active_bytes.checked_add_signed(self.active_bytes)?,
            external_bytes: counts.external_bytes.checked_add_signed(self.external_bytes)?,
        })
    }
}

impl AddAssign for CountsChange {
    fn add_assign(&mut self, other: Self) {
        self.live += other.live;
        self.deleted += other.deleted;
        self.active_bytes = self.active_bytes.wrapping_add(other.active_bytes);
        self.external_bytes = self.external_bytes.wrapping_add(other.external_bytes);
    }
}

impl SubAssign for CountsChange {
    fn sub_assign(&mut self, other: Self) {
        self.live -= other.live;
        self.deleted -= other.deleted;
        self.active_bytes = self.active_bytes.wrapping_sub(other.active_bytes);
        self.external_bytes = self.external_bytes.wrapping_sub(other.external_bytes);
    }
}

impl Summed for DocSlot {
    type Sum = CountsChange;
    fn sum(&self) -> CountsChange {
        let mut sum = CountsChange::default();
        if let Some(record) = &self.record {
            sum += CountsChange::of(record.weight);
        }
        if let Some(base) = self.base {
            sum -= CountsChange::of(base);
        }
        sum
    }
}

impl Summed for Option<Arc<DocRecord>> {
    type Sum = i64;
    /// One change more, or one that is hidden.
    fn sum(&self) -> i64 {
        if self.is_some() { 1 } else { -1 }
    }
}

impl Summed for Option<Key> {
    type Sum = i64;
    /// Keys are not counted.
    fn sum(&self) -> i64 {
        0
    }
}

/// Edits over the trees, or over an older layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    docs: OrderedMap<Key, DocSlot>,
    /// `None` hides a change that lies beneath.
    changes: OrderedMap<Seq, Option<Arc<DocRecord>>>,
    /// Local and meta keys, each behind the byte of its space; `None` hides what lies beneath.
    keys: OrderedMap<Key, Option<Key>>,
    /// Slots of `docs` without a document.
    removed: usize,
    memory: usize,
}

/// Borrowed ends of a range of keys.
pub(super) type Bounds<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// The end a walk begins at, and the one it ends at.
fn directed(range: Bounds<'_>, direction: Direction) -> (Bound<&[u8]>, Bound<Key>) {
    match direction {
        Direction::Forward => (range.0, range.1.map(Key::from)),
        Direction::Backward => (range.1, range.0.map(Key::from)),
    }
}

impl Layer {
    /// Bytes of memory this layer holds, roughly.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    pub(super) fn doc(&self, id: &[u8]) -> Option<&DocSlot> {
        self.docs.get(id)
    }

    pub(super) fn change(&self, seq: Seq) -> Option<&Option<Arc<DocRecord>>> {
        self.changes.get(&seq)
    }

    pub(super) fn key(&self, key: &[u8]) -> Option<&Option<Key>> {
        self.keys.get(key)
    }

    pub(super) fn docs(
        &self,
        range: Bounds<'_>,
        direction: Direction,
    ) -> impl Iterator<Item = (&Key, &DocSlot)> + use<'_> {
        let (from, until) = directed(range, direction);
        self.docs.range(from, until, direction)
    }

    /// Changes after `since`.
    pub(super) fn changes(
        &self,
        since: Seq,
        direction: Direction,
    ) -> impl Iterator<Item = (&Seq, &Option<Arc<DocRecord>>)> + use<'_> {
        match direction {
            Direction::Forward => {
                self.changes.range(Bound::Excluded(&since), Bound::Unbounded, direction)
            }
            Direction::Backward => {
                self.changes.range(Bound::Unbounded, Bound::Excluded(since), direction)
            }
        }
    }

    pub(super) fn keys(
        &self,
        range: Bounds<'_>,
        direction: Direction,
    ) -> impl Iterator<Item = (&Key, &Option<Key>)> + use<'_> {
        let (from, until) = directed(range, direction);
        self.keys.range(from, until, direction)
    }

    /// Writes a document whose state beneath or in this layer is `old`.
    pub(super) fn put_doc(&mut self, record: Arc<DocRecord>, old: Option<OldDoc>) {
        self.memory += record.memory() + ENTRY_OVERHEAD_BYTES;
        self.changes.insert(record.seq, Some(Arc::clone(&record)));
        // A new document needs no look at this layer, unless its id may have been removed from it.
        let unknown = old.is_none() && self.removed == 0;
        if !unknown {
            let mut superseded = None;
            let new = Arc::clone(&record);
            if self.docs.modify(&record.id[..], |slot| superseded = Some(slot.record.replace(new)))
            {
                self.supersede(superseded.flatten().as_deref());
                return;
            }
        }
        let base = self.hide(old);
        let id = Arc::clone(&record.id);
        self.docs.insert(id, DocSlot { record: Some(record), base });
    }

    /// Removes a document whose state beneath or in this layer is `old`.
    pub(super) fn remove_doc(&mut self, id: &Key, old: OldDoc) {
        self.memory += id.len() + ENTRY_OVERHEAD_BYTES;
        self.removed += 1;
        let mut superseded = None;
        if self.docs.modify(&id[..], |slot| superseded = slot.record.take()) {
            self.supersede(superseded.as_deref());
            return;
        }
        let base = self.hide(Some(old));
        self.docs.insert(Arc::clone(id), DocSlot { record: None, base });
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

    /// What this layer changes about the counts of a range of ids beneath it.
    pub(super) fn count_docs(&self, range: Bounds<'_>) -> CountsChange {
        self.docs.sum(range)
    }

    /// What this layer changes about the number of changes after `since` beneath it.
    pub(super) fn count_changes(&self, since: Seq) -> i64 {
        self.changes.sum((Bound::Excluded(&since), Bound::Unbounded))
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
            .changes(0, Direction::Forward)
            .map(|(seq, change)| (*seq, change.is_some()))
            .collect();
        assert_eq!(changes, [(3, false), (11, true)]);
        let change = layer.count_docs(ALL);
        assert_eq!((change.live, change.active_bytes), (0, 4));
        assert_eq!(layer.count_changes(2), 0);
        assert_eq!(layer.count_changes(3), 1);
    }

    #[test]
    fn a_document_that_came_and_went_counts_nothing_and_may_come_again() {
        let mut layer = Layer::default();
        layer.put_doc(record(1, "a"), None);
        let memory = layer.memory();
        layer.remove_doc(&b"a".as_slice().into(), OldDoc { seq: 1, weight: record(1, "a").weight });
        assert!(layer.doc(b"a").unwrap().record.is_none());
        assert_eq!(layer.count_docs(ALL), CountsChange::default());
        assert_eq!(layer.count_changes(0), 0);
        layer.put_doc(record(3, "a"), None);
        assert_eq!(layer.count_docs(ALL).live, 1);
        assert_eq!(layer.count_changes(0), 1);
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
