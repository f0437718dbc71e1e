//! Entries of one level that wait to be packed into nodes.

use super::{
    Malformed,
    node::{Node, common_prefix, encode, estimate},
};

/// Nodes of one level are packed up to about this size, in bytes. An entry that is larger has a node of its
/// own. Leaves are small because a change rewrites a whole leaf; inner nodes are large because
/// that makes the tree lower and there are few of them.
pub(super) fn max_bytes(level: u8) -> usize {
    if level == 0 { 4 * 1024 } else { 8 * 1024 }
}

/// A node smaller than this, in bytes, is joined with a neighbour when it is written.
pub(super) fn min_bytes(level: u8) -> usize {
    max_bytes(level) / 4
}

/// Fewest children a cut may leave in an inner node: with one child each, trees would never end.
const MIN_CHILDREN: usize = 2;

/// Entries of one level in ascending order.
#[derive(Debug)]
pub(super) struct Pending {
    level: u8,
    /// Keys and values, back to back.
    bytes: Vec<u8>,
    entries: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Where the key begins; the value follows it.
    start: usize,
    key_len: usize,
    /// Where the value ends.
    end: usize,
    /// Written by this change, not taken over from the old tree.
    fresh: bool,
}

impl Pending {
    pub(super) fn new(level: u8) -> Self {
        Pending { level, bytes: Vec::new(), entries: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds an entry behind all others.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8], fresh: bool) -> Result<(), Malformed> {
        self.push_pieces([key, &[], &[]], value, fresh);
        self.check_order()
    }

    /// Adds an entry of a node that was read. `follows` says that the entry before it in the node is the
    /// last one here: then the two are compared in the node, where a comparison of their heads will do.
    pub(super) fn push_old(
        &mut self,
        node: &Node<'_>,
        index: usize,
        follows: bool,
    ) -> Result<(), Malformed> {
        let entry = node.entry(index)?;
        let (head, rest) = entry.suffix();
        self.push_pieces([node.prefix(), head, rest], entry.value, false);
        match index.checked_sub(1) {
            Some(before) if follows => self.require(node.ascends(before)?),
            _ => self.check_order(),
        }
    }

    fn push_pieces(&mut self, key: [&[u8]; 3], value: &[u8], fresh: bool) {
        let start = self.bytes.len();
        for piece in key {
            self.bytes.extend_from_slice(piece);
        }
        let key_len = self.bytes.len() - start;
        self.bytes.extend_from_slice(value);
        self.entries.push(Slot { start, key_len, end: self.bytes.len(), fresh });
    }

    /// Refuses the last entry unless its key is greater than the one before.
    fn check_order(&mut self) -> Result<(), Malformed> {
        match &self.entries[..] {
            [.., before, last] => self.require(self.key(before) < self.key(last)),
            _ => Ok(()),
        }
    }

    /// Takes the last entry away again if it is not in order.
    fn require(&mut self, ordered: bool) -> Result<(), Malformed> {
        if ordered {
            return Ok(());
        }
        self.pop();
        Err(Malformed("keys are not in ascending order"))
    }

    /// Key, value and freshness of the last entry.
    pub(super) fn last(&self) -> Option<(&[u8], &[u8], bool)> {
        let slot = self.entries.last()?;
        Some((self.key(slot), self.value(slot), slot.fresh))
    }

    /// Takes the last entry away.
    pub(super) fn pop(&mut self) {
        if let Some(slot) = self.entries.pop() {
            self.bytes.truncate(slot.start);
        }
    }

    /// The first key; empty if there is none.
    pub(super) fn first_key(&self) -> &[u8] {
        self.entries.first().map_or(&[], |slot| self.key(slot))
    }

    /// The first `count` entries.
    pub(super) fn head(&self, count: usize) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries[..count].iter().map(|slot| (self.key(slot), self.value(slot)))
    }

    /// All entries with their freshness.
    pub(super) fn all(&self) -> impl Iterator<Item = (&[u8], &[u8], bool)> {
        self.entries.iter().map(|slot| (self.key(slot), self.value(slot), slot.fresh))
    }

    fn key(&self, slot: &Slot) -> &[u8] {
        &self.bytes[slot.start..slot.start + slot.key_len]
    }

    fn value(&self, slot: &Slot) -> &[u8] {
        &self.bytes[slot.start + slot.key_len..slot.end]
    }

    /// About the size of a node of all entries, in bytes; 0 without entries.
    fn size(&self) -> usize {
        match (self.entries.first(), self.entries.last()) {
            (Some(first), Some(last)) => {
                let shared = common_prefix(self.key(first), self.key(last));
                estimate(self.len(), self.bytes.len(), shared)
            }
            _ => 0,
        }
    }

    /// Whether these entries are too few for a node of their own.
    pub(super) fn is_underfull(&self) -> bool {
        !self.is_empty()
            && ((self.level > 0 && self.len() < MIN_CHILDREN)
                || self.size() < min_bytes(self.level))
    }

    /// How many entries make a full node, if that leaves enough for another one.
    pub(super) fn overflow(&self) -> Option<usize> {
        let full = max_bytes(self.level) + min_bytes(self.level);
        // Without the shared prefix the size is at least what follows, and cheap to know.
        if estimate(self.len(), self.bytes.len(), 0) < full || self.size() < full {
            return None;
        }
        let count = self.cut(max_bytes(self.level));
        (count < self.len()).then_some(count)
    }

    /// How many entries go into the next node when nothing follows that could be joined to them.
    ///
    /// What fits into one node becomes one. Otherwise the nodes share evenly, so that both have room,
    /// except where entries were added at the end, as ascending keys are: the next ones will come there,
    /// too, and a node left behind half empty would stay so for ever. `edge` says that this is the
    /// right edge of the tree, where even a tiny last node will soon be filled.
    pub(super) fn next_cut(&self, edge: bool) -> usize {
        let (size, max) = (self.size(), max_bytes(self.level));
        if size <= max {
            return self.len();
        }
        let ascending = self.entries.last().is_some_and(|slot| slot.fresh);
        if edge && ascending {
            self.cut(max)
        } else if ascending {
            self.cut((size - min_bytes(self.level)).min(max))
        } else {
            self.cut(size / size.div_ceil(max))
        }
    }

    /// The most entries from the start whose node stays within `limit` bytes, but at least one, and in
    /// inner nodes enough on either side.
    fn cut(&self, limit: usize) -> usize {
        let Some(first) = self.entries.first() else { return 0 };
        let fits = |count: usize, slot: &Slot| {
            let shared = common_prefix(self.key(first), self.key(slot));
            estimate(count, slot.end - first.start, shared) <= limit
        };
        let count = self.entries.iter().zip(1..).take_while(|(slot, n)| fits(*n, slot)).count();
        if self.level == 0 {
            count.max(1)
        } else if self.len() < 2 * MIN_CHILDREN {
            self.len()
        } else {
            count.clamp(MIN_CHILDREN, self.len() - MIN_CHILDREN)
        }
    }

    /// Writes a node of the first `count` entries into `out`.
    pub(super) fn encode(&self, count: usize, out: &mut Vec<u8>) {
        let entries = self.entries[..count].iter();
        encode(self.level, entries.map(|slot| (self.key(slot), self.value(slot))), out);
    }

    /// The shortest key that separates the first `count` entries from the rest.
    pub(super) fn separator(&self, count: usize) -> &[u8] {
        match (self.entries.get(count.wrapping_sub(1)), self.entries.get(count)) {
            (Some(left), Some(right)) => {
                let (left, right) = (self.key(left), self.key(right));
                &right[..common_prefix(left, right) + 1]
            }
            _ => &[],
        }
    }

    /// Forgets the first `count` entries.
    pub(super) fn drop_head(&mut self, count: usize) {
        let start = self.entries.get(count).map_or(self.bytes.len(), |slot| slot.start);
        self.bytes.drain(..start);
        self.entries.drain(..count);
        for slot in &mut self.entries {
            slot.start -= start;
            slot.end -= start;
        }
    }
}
