//! Walking a state in order: the rows of the trees and of the layers over them, merged in either
//! direction, the newest version of each key winning.

use std::{cmp::Ordering, iter::Peekable, ops::Bound};

use super::{
    layer::{Bounds, DocRecord, Layer},
    reader::Reader,
    rows::{self, Space},
    state::{Trees, View},
};
use crate::{
    error::Result,
    store::{
        Change, ChangeCursor, Direction, DocCursor, DocRow, DocWeight, KeyRange, LocalCursor, Seq,
    },
    tree::Cursor,
};

/// A range's ends, borrowed; `None` if no key can be in it (the maps of a layer do not take such ranges).
pub(super) fn bounds(range: &KeyRange) -> Option<Bounds<'_>> {
    let start = range.start.as_ref().map(Vec::as_slice);
    let end = range.end.as_ref().map(Vec::as_slice);
    let empty = match (start, end) {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end))
        | (Bound::Excluded(start), Bound::Included(end)) => start >= end,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    };
    (!empty).then_some((start, end))
}

/// Rows of one layer in the order of the walk; a row without a value hides what lies beneath.
type LayerRows<'s, K, V> = Peekable<Box<dyn Iterator<Item = (K, Option<V>)> + Send + 's>>;

/// The rows of all layers, newest first where they agree on the key.
struct Overlay<'s, K, V> {
    top: LayerRows<'s, K, V>,
    frozen: Option<LayerRows<'s, K, V>>,
    direction: Direction,
}

impl<'s, K: Ord + Copy, V> Overlay<'s, K, V> {
    /// `rows` gives the rows of one layer in the direction of the walk.
    fn new<I>(view: View<'s>, direction: Direction, rows: impl Fn(&'s Layer) -> I) -> Self
    where
        I: Iterator<Item = (K, Option<V>)> + Send + 's,
    {
        let directed = |layer| -> LayerRows<'s, K, V> {
            let rows: Box<dyn Iterator<Item = _> + Send + 's> = Box::new(rows(layer));
            rows.peekable()
        };
        Overlay { top: directed(view.top), frozen: view.frozen.map(directed), direction }
    }

    /// The key of the next row.
    fn peek(&mut self) -> Option<K> {
        let top = self.top.peek().map(|(key, _)| *key);
        let frozen = self.frozen.as_mut().and_then(|rows| rows.peek().map(|(key, _)| *key));
        match (top, frozen) {
            (Some(top), Some(frozen)) if in_order(&frozen, &top, self.direction).is_lt() => {
                Some(frozen)
            }
            (Some(key), _) | (None, Some(key)) => Some(key),
            (None, None) => None,
        }
    }

    /// Takes the row whose key was peeked.
    fn take(&mut self, key: K) -> Option<V> {
        let is_it = |(row, _): &(K, Option<V>)| *row == key;
        let beneath = self.frozen.as_mut().and_then(|rows| rows.next_if(is_it));
        match self.top.next_if(is_it) {
            Some((_, value)) => value,
            None => beneath?.1,
        }
    }
}

fn in_order<K: Ord + ?Sized>(a: &K, b: &K, direction: Direction) -> Ordering {
    match direction {
        Direction::Forward => a.cmp(b),
        Direction::Backward => b.cmp(a),
    }
}

/// Which side has the next row.
enum Side<K> {
    Tree,
    /// The overlay has it; the tree has an older version of it if `hides`.
    Overlay {
        key: K,
        hides: bool,
    },
    End,
}

/// The overlay merged with one tree's rows.
struct Merge<'s, K, V> {
    overlay: Overlay<'s, K, V>,
    tree: Cursor<'s, dyn Reader>,
    /// The tree's cursor stands on a row that was not given out yet.
    ready: bool,
}

impl<'s, K: Ord + Copy, V> Merge<'s, K, V> {
    /// Finds out where the next row is. `key_of` reads a key of the tree.
    fn step(
        &mut self,
        compare: impl Fn(&K, &[u8]) -> Option<Ordering>,
        bad: &Trees,
    ) -> Result<Side<K>> {
        if !self.ready {
            self.ready = self.tree.advance()?;
        }
        let tree_key = self.ready.then(|| self.tree.key());
        Ok(match (self.overlay.peek(), tree_key) {
            (None, None) => Side::End,
            (None, Some(_)) => Side::Tree,
            (Some(key), None) => Side::Overlay { key, hides: false },
            (Some(key), Some(tree_key)) => {
                let ascending = compare(&key, tree_key).ok_or_else(|| bad.bad_row())?;
                let order = match self.overlay.direction {
                    Direction::Forward => ascending,
                    Direction::Backward => ascending.reverse(),
                };
                match order {
                    Ordering::Less => Side::Overlay { key, hides: false },
                    Ordering::Equal => Side::Overlay { key, hides: true },
                    Ordering::Greater => Side::Tree,
                }
            }
        })
    }
}

/// Documents of a range.
pub(super) struct DocRows<'s> {
    merge: Merge<'s, &'s [u8], &'s DocRecord>,
    trees: &'s Trees,
    view: View<'s>,
    range: KeyRange,
    direction: Direction,
    live_only: bool,
    /// Nothing was read yet.
    fresh: bool,
}

/// Fewer rows than this are passed over one by one.
const JUMP_FROM_ROWS: u64 = 64;

/// A document that was found: in the overlay, or under the tree's cursor with its numbers decoded.
enum FoundDoc<'s> {
    Overlay(&'s DocRecord),
    Tree { seq: Seq, weight: DocWeight, value_at: usize },
}

impl<'s> DocRows<'s> {
    pub(super) fn new(
        view: View<'s>,
        range: &KeyRange,
        direction: Direction,
        live_only: bool,
    ) -> Result<Self> {
        Ok(DocRows {
            merge: DocRows::merged(view, range, direction),
            trees: view.trees,
            view,
            range: range.clone(),
            direction,
            live_only,
            fresh: true,
        })
    }

    fn merged(
        view: View<'s>,
        range: &KeyRange,
        direction: Direction,
    ) -> Merge<'s, &'s [u8], &'s DocRecord> {
        let bounds = bounds(range);
        let overlay = Overlay::new(view, direction, |layer: &'s Layer| {
            let rows = bounds.map(|bounds| layer.docs(bounds, direction));
            rows.into_iter().flatten().map(|(id, slot)| (&id[..], slot.record.as_deref()))
        });
        let tree = view.trees.by_id().cursor(range, direction);
        Merge { overlay, tree, ready: false }
    }

    /// Moves the near end of the range to the last document of the tree before which there are no more than
    /// `rows`; returns how many these are. Halving by the numbers of the tree's documents, each try a count of the
    /// state's: a few hundred nodes, however many rows there are.
    fn jump(&mut self, rows: u64) -> Result<u64> {
        let numbers = self.trees.by_id_number();
        let before = |end| KeyRange { start: Bound::Unbounded, end };
        let mut low = match &self.range.start {
            Bound::Unbounded => 0,
            Bound::Included(key) => numbers.sum(&before(Bound::Excluded(key.clone())))?,
            Bound::Excluded(key) => numbers.sum(&before(Bound::Included(key.clone())))?,
        };
        let mut high = numbers.sum(&before(self.range.end.clone()))?;
        let mut best = 0;
        while low < high {
            let forward = self.direction == Direction::Forward;
            let middle = low.midpoint(high);
            let Some(key) = numbers.find_rank(middle)? else { break };
            let mut passed = self.range.clone();
            match forward {
                true => passed.end = Bound::Excluded(key.clone()),
                false => passed.start = Bound::Excluded(key.clone()),
            }
            let counts = self.view.count_docs(&passed)?;
            let count = if self.live_only { counts.live } else { counts.documents() };
            let reachable = count <= rows - best;
            match (forward, reachable) {
                (true, true) => self.range.start = Bound::Included(key),
                (false, true) => self.range.end = Bound::Included(key),
                _ => {}
            }
            if reachable {
                best += count;
            }
            match forward == reachable {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        self.merge = DocRows::merged(self.view, &self.range, self.direction);
        Ok(best)
    }

    fn find(&mut self) -> Result<Option<FoundDoc<'s>>> {
        self.fresh = false;
        loop {
            let compare = |id: &&[u8], key: &[u8]| Some((**id).cmp(key));
            let found = match self.merge.step(compare, self.trees)? {
                Side::End => return Ok(None),
                Side::Overlay { key, hides } => match self.merge.take(key, hides) {
                    Some(record) => FoundDoc::Overlay(record),
                    None => continue,
                },
                Side::Tree => self.decode_tree_row()?,
            };
            let weight = match &found {
                FoundDoc::Overlay(record) => record.weight,
                FoundDoc::Tree { weight, .. } => *weight,
            };
            if !(self.live_only && weight.deleted) {
                return Ok(Some(found));
            }
        }
    }

    fn decode_tree_row(&mut self) -> Result<FoundDoc<'s>> {
        let row = rows::decode_doc(self.merge.take_tree_row().1);
        let (seq, weight, value_at) = row.ok_or_else(|| self.trees.bad_row())?;
        Ok(FoundDoc::Tree { seq, weight, value_at })
    }
}

impl DocCursor for DocRows<'_> {
    fn next(&mut self) -> Result<Option<DocRow<'_>>> {
        Ok(match self.find()? {
            None => None,
            Some(FoundDoc::Overlay(record)) => Some(DocRow {
                id: &record.id,
                seq: record.seq,
                weight: record.weight,
                value: record.by_id(),
            }),
            Some(FoundDoc::Tree { seq, weight, value_at }) => {
                let (id, row) = (self.merge.tree.key(), self.merge.tree.value());
                let value = row.get(value_at..).unwrap_or_default();
                Some(DocRow { id, seq, weight, value })
            }
        })
    }

    fn skip(&mut self, rows: u64) -> Result<u64> {
        let jumped = match self.fresh && rows >= JUMP_FROM_ROWS {
            true => self.jump(rows)?,
            false => 0,
        };
        for skipped in jumped..rows {
            if self.find()?.is_none() {
                return Ok(skipped);
            }
        }
        Ok(rows)
    }
}

impl<'s, K: Ord + Copy, V> Merge<'s, K, V> {
    /// Takes the overlay's row that [`Merge::step`] found, and passes over the tree's version of it.
    fn take(&mut self, key: K, hides: bool) -> Option<V> {
        if hides {
            self.ready = false;
        }
        self.overlay.take(key)
    }

    /// Takes the tree's row; it stays readable until the next step.
    fn take_tree_row(&mut self) -> (&[u8], &[u8]) {
        self.ready = false;
        (self.tree.key(), self.tree.value())
    }
}

/// Changes after a sequence.
pub(super) struct ChangeRows<'s> {
    merge: Merge<'s, Seq, &'s DocRecord>,
    trees: &'s Trees,
}

impl<'s> ChangeRows<'s> {
    pub(super) fn new(view: View<'s>, since: Seq, direction: Direction) -> Result<Self> {
        let overlay = Overlay::new(view, direction, |layer: &'s Layer| {
            let rows = layer.changes(since, direction);
            rows.map(|(seq, change)| (*seq, change.as_deref()))
        });
        let start = Bound::Excluded(rows::seq_key(since).to_vec());
        let range = KeyRange { start, end: Bound::Unbounded };
        let tree = view.trees.by_seq().cursor(&range, direction);
        Ok(ChangeRows { merge: Merge { overlay, tree, ready: false }, trees: view.trees })
    }
}

impl ChangeCursor for ChangeRows<'_> {
    fn next(&mut self) -> Result<Option<Change<'_>>> {
        loop {
            let compare = |seq: &Seq, key: &[u8]| Some(seq.cmp(&rows::decode_seq(key)?));
            match self.merge.step(compare, self.trees)? {
                Side::End => return Ok(None),
                Side::Tree => break,
                Side::Overlay { key, hides } => {
                    if let Some(record) = self.merge.take(key, hides) {
                        let (id, value) = (&record.id, record.by_seq());
                        return Ok(Some(Change { seq: record.seq, id, value }));
                    }
                }
            }
        }
        let trees = self.trees;
        let (key, row) = self.merge.take_tree_row();
        match (rows::decode_seq(key), rows::decode_change(row)) {
            (Some(seq), Some((id, value))) => Ok(Some(Change { seq, id, value })),
            _ => Err(trees.bad_row()),
        }
    }
}

/// Keys of a keyspace.
pub(super) struct KeyRows<'s> {
    merge: Merge<'s, &'s [u8], (&'s [u8], &'s [u8])>,
    trees: &'s Trees,
}

impl<'s> KeyRows<'s> {
    pub(super) fn new(
        view: View<'s>,
        space: Space,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<Self> {
        let range = within(space, range);
        let bounds = bounds(&range);
        let overlay = Overlay::new(view, direction, |layer: &'s Layer| {
            let rows = bounds.map(|bounds| layer.keys(bounds, direction));
            rows.into_iter().flatten().map(|(key, value)| {
                let key = &key[..];
                (key, value.as_deref().map(|value| (key, value)))
            })
        });
        let tree = view.trees.keys().cursor(&range, direction);
        Ok(KeyRows { merge: Merge { overlay, tree, ready: false }, trees: view.trees })
    }
}

/// A range of a keyspace as a range of the tree.
fn within(space: Space, range: &KeyRange) -> KeyRange {
    let start = match &range.start {
        Bound::Included(key) => Bound::Included(space.key(key)),
        Bound::Excluded(key) => Bound::Excluded(space.key(key)),
        Bound::Unbounded => Bound::Included(vec![space.prefix()]),
    };
    let end = match &range.end {
        Bound::Included(key) => Bound::Included(space.key(key)),
        Bound::Excluded(key) => Bound::Excluded(space.key(key)),
        Bound::Unbounded => Bound::Excluded(vec![space.prefix() + 1]),
    };
    KeyRange { start, end }
}

impl LocalCursor for KeyRows<'_> {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let without_space = |key| <[u8]>::get(key, 1..).unwrap_or_default();
        loop {
            let compare = |ours: &&[u8], key: &[u8]| Some((**ours).cmp(key));
            match self.merge.step(compare, self.trees)? {
                Side::End => return Ok(None),
                Side::Tree => break,
                Side::Overlay { key, hides } => {
                    if let Some((key, value)) = self.merge.take(key, hides) {
                        return Ok(Some((without_space(key), value)));
                    }
                }
            }
        }
        let (key, value) = self.merge.take_tree_row();
        Ok(Some((without_space(key), value)))
    }
}
