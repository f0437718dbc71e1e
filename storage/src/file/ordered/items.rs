//! What a node of the map holds, found without looking at many keys.
//!
//! Keys lie somewhere in memory, each in a place of its own, and nearly every one that a search compares is a
//! miss of the processor's cache. So the part of each key that tells it from its neighbours, its *head*, is kept
//! beside the others in the node: the first eight bytes behind what all keys of the node begin with.

use std::ops::Deref;

use super::MAX_FANOUT;
use crate::{codec, store::Seq};

/// A key of which a number stands for a part.
pub(in crate::file) trait Headed: Ord {
    /// Bytes that may be passed over.
    fn width(&self) -> usize;
    /// Bytes that both begin with.
    fn shared(&self, other: &Self) -> usize;
    /// Whether both begin with the same `skip` bytes.
    fn is_alike(&self, other: &Self, skip: usize) -> bool;
    /// Orders as the keys do that are alike, as far as it goes: equal heads say nothing.
    fn head(&self, skip: usize) -> u64;
}

impl Headed for [u8] {
    fn width(&self) -> usize {
        self.len()
    }

    fn shared(&self, other: &Self) -> usize {
        self.iter().zip(other).take_while(|(a, b)| a == b).count()
    }

    fn is_alike(&self, other: &Self, skip: usize) -> bool {
        matches!((self.get(..skip), other.get(..skip)), (Some(a), Some(b)) if a == b)
    }

    fn head(&self, skip: usize) -> u64 {
        codec::head(self.get(skip..).unwrap_or_default())
    }
}

impl Headed for Seq {
    fn width(&self) -> usize {
        0
    }

    fn shared(&self, _: &Self) -> usize {
        0
    }

    fn is_alike(&self, _: &Self, _: usize) -> bool {
        true
    }

    fn head(&self, _: usize) -> u64 {
        *self
    }
}

/// An item with a key, which does not change while the item is in a node.
pub(super) trait Keyed {
    type Key: Headed + ?Sized;
    fn key(&self) -> &Self::Key;
}

/// Items in the order of their keys.
#[derive(Debug)]
pub(super) struct Items<T> {
    /// What all keys begin with has at least so many bytes.
    skip: usize,
    heads: Vec<u64>,
    items: Vec<T>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Items { skip: 0, heads: Vec::new(), items: Vec::new() }
    }
}

impl<T: Clone> Clone for Items<T> {
    /// With room for the item that is about to be added.
    fn clone(&self) -> Self {
        fn with_room<T: Clone>(items: &[T]) -> Vec<T> {
            let mut copy = Vec::with_capacity(MAX_FANOUT + 1);
            copy.extend_from_slice(items);
            copy
        }
        Items { skip: self.skip, heads: with_room(&self.heads), items: with_room(&self.items) }
    }
}

impl<T> Deref for Items<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T: Keyed> Items<T> {
    /// An item to be changed, all but its key.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.items.get_mut(index)
    }

    pub(super) fn remove(&mut self, index: usize) -> T {
        self.heads.remove(index);
        self.items.remove(index)
    }

    /// Items that are in order already.
    pub(super) fn of(items: Vec<T>) -> Self {
        let skip = match items.as_slice() {
            [] => 0,
            [only] => only.key().width(),
            // What the ends have in common, all between them have, too.
            [first, .., last] => first.key().shared(last.key()),
        };
        let mut heads = Vec::with_capacity(MAX_FANOUT + 1);
        heads.extend(items.iter().map(|item| item.key().head(skip)));
        Items { skip, heads, items }
    }

    /// The place of a key, or the one where it would be, as `slice::binary_search` has it.
    pub(super) fn find(&self, key: &T::Key) -> Result<usize, usize> {
        let Some(first) = self.items.first() else { return Err(0) };
        if self.skip > 0 && !key.is_alike(first.key(), self.skip) {
            return Err(if key < first.key() { 0 } else { self.items.len() });
        }
        let head = key.head(self.skip);
        let start = self.heads.partition_point(|other| *other < head);
        let same = self.heads.get(start..).unwrap_or_default().iter();
        let same = same.take_while(|other| **other == head).count();
        let candidates = self.items.get(start..start + same).unwrap_or_default();
        match candidates.binary_search_by(|item| item.key().cmp(key)) {
            Ok(index) => Ok(start + index),
            Err(index) => Err(start + index),
        }
    }

    /// Adds an item at the place that [`Items::find`] has named.
    pub(super) fn insert(&mut self, index: usize, item: T) {
        match self.items.first().map(|first| item.key().shared(first.key())) {
            None => self.skip = item.key().width(),
            Some(shared) => self.skip_no_more_than(shared),
        }
        self.heads.insert(index, item.key().head(self.skip));
        self.items.insert(index, item);
    }

    /// Gives the first item a lower key.
    pub(super) fn lower_first(&mut self, lower: impl FnOnce(&mut T)) {
        let Some(first) = self.items.first_mut() else { return };
        lower(first);
        let shared = match self.items.as_slice() {
            [first, .., last] => first.key().shared(last.key()),
            _ => 0,
        };
        self.skip_no_more_than(shared);
        if let (Some(head), Some(first)) = (self.heads.first_mut(), self.items.first()) {
            *head = first.key().head(self.skip);
        }
    }

    fn skip_no_more_than(&mut self, shared: usize) {
        if shared < self.skip {
            self.skip = shared;
            self.heads.clear();
            self.heads.extend(self.items.iter().map(|item| item.key().head(shared)));
        }
    }

    /// Splits off the right part if there are too many. Ascending keys, as sequences are, leave full nodes
    /// behind: then (`at_end`) the left part stays as large as it may be.
    pub(super) fn split(&mut self, at_end: bool) -> Option<Self> {
        if self.items.len() <= MAX_FANOUT {
            return None;
        }
        let keep = if at_end { MAX_FANOUT } else { self.items.len() / 2 };
        let mut right = Vec::with_capacity(MAX_FANOUT + 1);
        right.extend(self.items.drain(keep..));
        let left = std::mem::take(&mut self.items);
        *self = Items::of(left);
        Some(Items::of(right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Keyed for Vec<u8> {
        type Key = [u8];
        fn key(&self) -> &[u8] {
            self
        }
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        let letters =
            proptest::collection::vec(prop_oneof![Just(0u8), Just(b'a'), any::<u8>()], 0..4);
        let prefix =
            prop_oneof![Just(&b""[..]), Just(&b"order-000000"[..]), Just(&b"order-00"[..])];
        (prefix, letters).prop_map(|(prefix, letters)| [prefix, &letters].concat())
    }

    proptest! {
        #[test]
        fn they_are_found_as_in_a_plain_list(
            keys in proptest::collection::vec(key(), 0..40), removed in any::<u8>(), probes in proptest::collection::vec(key(), 1..40),
        ) {
            let mut items = Items::<Vec<u8>>::default();
            let mut plain: Vec<Vec<u8>> = Vec::new();
            for (number, key) in keys.iter().enumerate() {
                let place = plain.binary_search(key);
                prop_assert_eq!(items.find(key), place);
                if let Err(index) = place {
                    items.insert(index, key.clone());
                    plain.insert(index, key.clone());
                }
                if number == usize::from(removed) && !plain.is_empty() {
                    items.remove(plain.len() / 2);
                    plain.remove(plain.len() / 2);
                }
            }
            let right = items.split(removed % 2 == 0);
            let left = plain.drain(..items.len()).collect::<Vec<_>>();
            prop_assert_eq!(right.as_ref().map_or(0, |right| right.len()), plain.len());
            for probe in probes.iter().chain(&left).chain(&plain) {
                prop_assert_eq!(items.find(probe), left.binary_search(probe));
                if let Some(right) = &right {
                    prop_assert_eq!(right.find(probe), plain.binary_search(probe));
                }
            }
        }
    }
}
