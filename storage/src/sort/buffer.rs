//! Entries in memory.

use std::cmp::Ordering;

use crate::codec::head;

/// Entries in one buffer, and where each of them is.
#[derive(Debug)]
pub(super) struct Buffer {
    /// Keys and values, back to back.
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    limit: usize,
    /// Each key is at least the one before: the entries came sorted, as many do.
    is_sorted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The key's first bytes as a number that orders as they do; missing ones count as zeros.
    head: u64,
    start: usize,
    key_len: u32,
    value_len: u32,
}

impl Buffer {
    /// Takes entries of about `limit` bytes, what is kept beside them included.
    pub(super) fn new(limit: usize) -> Self {
        Buffer { bytes: Vec::new(), slots: Vec::new(), limit, is_sorted: true }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether another entry fits. The first one always does.
    pub(super) fn has_room(&self, entry_bytes: usize) -> bool {
        let slots = (self.slots.len() + 1) * size_of::<Slot>();
        self.is_empty() || self.bytes.len() + entry_bytes + slots <= self.limit
    }

    /// Adds an entry, whose lengths were checked against the limits of a tree.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) {
        self.grow(key.len() + value.len());
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let (key_len, value_len) = (len(key.len()), len(value.len()));
        let slot = Slot { head: head(key), start, key_len, value_len };
        // The entry before is still in the processor's cache; when all of them are sorted, it is not.
        self.is_sorted = self.is_sorted
            && self.slots.last().is_none_or(|last| order(&self.bytes, last, &slot).is_le());
        self.slots.push(slot);
    }

    /// Makes room for so many entries of so many bytes, within the limit, so that they need not be moved when the
    /// buffer grows.
    pub(super) fn reserve(&mut self, entries: usize, entry_bytes: usize) {
        let most = self.limit / (entry_bytes + size_of::<Slot>());
        let entries = entries.min(most);
        self.bytes.reserve_exact(entries * entry_bytes);
        self.slots.reserve_exact(entries);
    }

    /// Doubles the buffer as a `Vec` does, but not beyond the limit.
    fn grow(&mut self, more: usize) {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            let doubled = (2 * self.bytes.capacity()).min(self.limit);
            self.bytes.reserve_exact(doubled.max(needed) - self.bytes.len());
        }
    }

    /// Brings the entries into order; those with equal keys keep theirs.
    pub(super) fn sort(&mut self) {
        if !self.is_sorted {
            let bytes = &self.bytes;
            self.slots.sort_by(|a, b| order(bytes, a, b));
            self.is_sorted = true;
        }
    }

    /// Sorts, and walks in order.
    pub(super) fn sorted(&mut self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.sort();
        (0..self.slots.len()).filter_map(|index| self.get(index))
    }

    /// The entry at a place of the present order.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let slot = self.slots.get(index)?;
        let from = slot.start + slot.key_len as usize;
        Some((slot_key(&self.bytes, slot), self.bytes.get(from..from + slot.value_len as usize)?))
    }

    /// Drops the entries and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(self.limit);
        self.slots.clear();
        self.is_sorted = true;
    }

    /// Drops the entries and the memory.
    pub(super) fn free(&mut self) {
        *self = Buffer::new(self.limit);
    }
}

fn order(bytes: &[u8], a: &Slot, b: &Slot) -> Ordering {
    a.head.cmp(&b.head).then_with(|| slot_key(bytes, a).cmp(slot_key(bytes, b)))
}

fn slot_key<'b>(bytes: &'b [u8], slot: &Slot) -> &'b [u8] {
    bytes.get(slot.start..slot.start + slot.key_len as usize).unwrap_or_default()
}
