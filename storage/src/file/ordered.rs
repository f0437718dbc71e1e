//! A persistent ordered map whose nodes know the sums of what is below them.
//!
//! Cloning costs one reference count; a change copies the nodes on its way that are shared with a clone,
//! and only those. The sum of any range is found in O(log n), which is why this is not a map from a
//! library. Removal does not join nodes that have become small, it only drops empty ones: a map lives
//! for some ten thousand edits, and then the next one begins.

use std::{
    borrow::Borrow,
    fmt::Debug,
    ops::{AddAssign, Bound, SubAssign},
    sync::Arc,
};

use crate::store::Direction;

/// Most entries of a leaf and children of a branch. Larger nodes make lookups faster and copies slower.
const MAX_FANOUT: usize = 32;

/// What is summed over the entries of a map.
pub(super) trait Summed {
    /// The sum; its default is that of nothing.
    type Sum: Copy + Default + AddAssign + SubAssign + Debug;
    /// What this entry adds.
    fn sum(&self) -> Self::Sum;
}

/// The map.
#[derive(Debug)]
pub(super) struct OrderedMap<K, V: Summed> {
    root: Arc<Node<K, V>>,
}

#[derive(Debug)]
enum Node<K, V: Summed> {
    Leaf(Vec<(K, V)>),
    Branch(Vec<Child<K, V>>),
}

#[derive(Debug)]
struct Child<K, V: Summed> {
    /// Not greater than any key below. That of the first child is not looked at.
    least: K,
    sum: V::Sum,
    node: Arc<Node<K, V>>,
}

impl<K, V: Summed> Clone for OrderedMap<K, V> {
    fn clone(&self) -> Self {
        OrderedMap { root: Arc::clone(&self.root) }
    }
}

impl<K, V: Summed> Default for OrderedMap<K, V> {
    fn default() -> Self {
        OrderedMap { root: Arc::new(Node::Leaf(Vec::new())) }
    }
}

impl<K: Clone, V: Summed> Clone for Child<K, V> {
    fn clone(&self) -> Self {
        Child { least: self.least.clone(), sum: self.sum, node: Arc::clone(&self.node) }
    }
}

impl<K: Clone, V: Clone + Summed> Clone for Node<K, V> {
    /// With room for the entry that is about to be added.
    fn clone(&self) -> Self {
        fn with_room<T: Clone>(items: &[T]) -> Vec<T> {
            let mut copy = Vec::with_capacity(MAX_FANOUT + 1);
            copy.extend_from_slice(items);
            copy
        }
        match self {
            Node::Leaf(entries) => Node::Leaf(with_room(entries)),
            Node::Branch(children) => Node::Branch(with_room(children)),
        }
    }
}

/// The child in which a key would be.
fn child_of<Q: Ord + ?Sized, K: Borrow<Q>, V: Summed>(children: &[Child<K, V>], key: &Q) -> usize {
    children.partition_point(|child| child.least.borrow() <= key).saturating_sub(1)
}

fn entry_of<Q: Ord + ?Sized, K: Borrow<Q>, V>(entries: &[(K, V)], key: &Q) -> Result<usize, usize> {
    entries.binary_search_by(|(other, _)| other.borrow().cmp(key))
}

impl<K, V: Summed> Node<K, V> {
    fn sum(&self) -> V::Sum {
        let mut sum = V::Sum::default();
        match self {
            Node::Leaf(entries) => entries.iter().for_each(|(_, value)| sum += value.sum()),
            Node::Branch(children) => children.iter().for_each(|child| sum += child.sum),
        }
        sum
    }

    fn is_empty(&self) -> bool {
        match self {
            Node::Leaf(entries) => entries.is_empty(),
            Node::Branch(children) => children.is_empty(),
        }
    }
}

/// What a change did to a subtree.
struct Changed<K, V: Summed> {
    /// The entry that was there before.
    old: Option<V>,
    /// A new right neighbour, if the subtree grew too large.
    split: Option<Child<K, V>>,
}

impl<K: Ord + Clone, V: Clone + Summed> OrderedMap<K, V> {
    /// The value of a key.
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    return entries.get(entry_of(entries, key).ok()?).map(|(_, value)| value);
                }
                Node::Branch(children) => node = &children.get(child_of(children, key))?.node,
            }
        }
    }

    /// Sets a value; returns the one before.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let changed = insert(Arc::make_mut(&mut self.root), key, value);
        if let Some(right) = changed.split {
            let left = std::mem::take(self).root;
            let least = right.least.clone();
            let left = Child { least, sum: left.sum(), node: left };
            self.root = Arc::new(Node::Branch(vec![left, right]));
        }
        changed.old
    }

    /// Changes the value of a key, if it is there; true if it is. The key stays.
    pub(super) fn modify<Q: Ord + ?Sized>(&mut self, key: &Q, change: impl FnOnce(&mut V)) -> bool
    where
        K: Borrow<Q>,
    {
        modify(Arc::make_mut(&mut self.root), key, change).is_some()
    }

    /// Takes a key out; returns its value.
    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let old = remove(Arc::make_mut(&mut self.root), key)?;
        // A root without siblings below it is one level too many.
        loop {
            let only = match &*self.root {
                Node::Branch(children) if children.len() <= 1 => {
                    children.first().map(|child| Arc::clone(&child.node))
                }
                _ => return Some(old),
            };
            self.root = only.unwrap_or_else(|| Self::default().root);
        }
    }

    /// The sum over a range of keys.
    pub(super) fn sum<Q: Ord + ?Sized>(&self, range: (Bound<&Q>, Bound<&Q>)) -> V::Sum
    where
        K: Borrow<Q>,
    {
        let mut sum = match range.1 {
            Bound::Unbounded => self.root.sum(),
            Bound::Included(end) => self.sum_until(end, true),
            Bound::Excluded(end) => self.sum_until(end, false),
        };
        match range.0 {
            Bound::Unbounded => {}
            Bound::Included(start) => sum -= self.sum_until(start, false),
            Bound::Excluded(start) => sum -= self.sum_until(start, true),
        }
        sum
    }

    /// The sum over all keys less than `end`, or not greater.
    fn sum_until<Q: Ord + ?Sized>(&self, end: &Q, inclusive: bool) -> V::Sum
    where
        K: Borrow<Q>,
    {
        let mut sum = V::Sum::default();
        let mut node = &*self.root;
        loop {
            match node {
                Node::Branch(children) => {
                    let index = child_of(children, end);
                    children.iter().take(index).for_each(|child| sum += child.sum);
                    let Some(child) = children.get(index) else { return sum };
                    node = &child.node;
                }
                Node::Leaf(entries) => {
                    let count = match entry_of(entries, end) {
                        Ok(index) => index + usize::from(inclusive),
                        Err(index) => index,
                    };
                    entries.iter().take(count).for_each(|(_, value)| sum += value.sum());
                    return sum;
                }
            }
        }
    }

    /// Walks a range, in the direction given from one end until the other.
    pub(super) fn range<Q: Ord + ?Sized>(
        &self,
        from: Bound<&Q>,
        until: Bound<K>,
        direction: Direction,
    ) -> Range<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let mut walk = Range { path: Vec::new(), direction, until };
        walk.seek(&self.root, from);
        walk
    }
}

fn insert<K: Ord + Clone, V: Clone + Summed>(
    node: &mut Node<K, V>,
    key: K,
    value: V,
) -> Changed<K, V> {
    match node {
        Node::Leaf(entries) => match entry_of(entries, &key) {
            Ok(index) => {
                let old = std::mem::replace(&mut entries[index].1, value);
                Changed { old: Some(old), split: None }
            }
            Err(index) => {
                // Ascending keys, as sequences are, leave full nodes behind.
                let at_end = index == entries.len();
                entries.insert(index, (key, value));
                let right = split(entries, at_end);
                let split = right.map(|right| child(right[0].0.clone(), Node::Leaf(right)));
                Changed { old: None, split }
            }
        },
        Node::Branch(children) => {
            let index = child_of(children, &key);
            let at_end = index + 1 == children.len();
            let below = &mut children[index];
            let added = value.sum();
            let changed = insert(Arc::make_mut(&mut below.node), key, value);
            below.sum += added;
            if let Some(old) = &changed.old {
                below.sum -= old.sum();
            }
            let Some(right) = changed.split else { return changed };
            below.sum -= right.sum;
            children.insert(index + 1, right);
            let right = split(children, at_end);
            let split = right.map(|right| child(right[0].least.clone(), Node::Branch(right)));
            Changed { old: changed.old, split }
        }
    }
}

fn child<K, V: Summed>(least: K, node: Node<K, V>) -> Child<K, V> {
    Child { least, sum: node.sum(), node: Arc::new(node) }
}

/// Splits off the right part of items that are too many.
fn split<T>(items: &mut Vec<T>, at_end: bool) -> Option<Vec<T>> {
    if items.len() <= MAX_FANOUT {
        return None;
    }
    let keep = if at_end { MAX_FANOUT } else { items.len() / 2 };
    let mut right = Vec::with_capacity(MAX_FANOUT + 1);
    right.extend(items.drain(keep..));
    Some(right)
}

/// Returns what the sum was before and is after the change.
fn modify<Q: Ord + ?Sized, K: Borrow<Q> + Clone, V: Clone + Summed>(
    node: &mut Node<K, V>,
    key: &Q,
    change: impl FnOnce(&mut V),
) -> Option<(V::Sum, V::Sum)> {
    match node {
        Node::Leaf(entries) => {
            let index = entry_of(entries, key).ok()?;
            let value = &mut entries[index].1;
            let before = value.sum();
            change(value);
            Some((before, value.sum()))
        }
        Node::Branch(children) => {
            let index = child_of(children, key);
            let below = children.get_mut(index)?;
            let (before, after) = modify(Arc::make_mut(&mut below.node), key, change)?;
            below.sum += after;
            below.sum -= before;
            Some((before, after))
        }
    }
}

fn remove<Q: Ord + ?Sized, K: Borrow<Q> + Clone, V: Clone + Summed>(
    node: &mut Node<K, V>,
    key: &Q,
) -> Option<V> {
    match node {
        Node::Leaf(entries) => {
            let index = entry_of(entries, key).ok()?;
            Some(entries.remove(index).1)
        }
        Node::Branch(children) => {
            let index = child_of(children, key);
            let below = children.get_mut(index)?;
            let old = remove(Arc::make_mut(&mut below.node), key)?;
            below.sum -= old.sum();
            if below.node.is_empty() {
                children.remove(index);
            }
            Some(old)
        }
    }
}

/// The entries of a range, in order.
pub(super) struct Range<'m, K, V: Summed> {
    /// From the root to a leaf: nodes, and the index of what comes next in each. In a branch that is the
    /// child after the one the walk is in.
    path: Vec<(&'m Node<K, V>, Next)>,
    direction: Direction,
    until: Bound<K>,
}

/// An index in the direction of the walk; `None` when the node has no more.
type Next = Option<usize>;

impl<'m, K: Ord, V: Summed> Range<'m, K, V> {
    /// Goes down to the first entry of the range.
    fn seek<Q: Ord + ?Sized>(&mut self, root: &'m Node<K, V>, from: Bound<&Q>)
    where
        K: Borrow<Q>,
    {
        let mut node = root;
        loop {
            match node {
                Node::Branch(children) => {
                    let index = match from {
                        Bound::Included(key) | Bound::Excluded(key) => child_of(children, key),
                        Bound::Unbounded => self.first(children.len()).unwrap_or(0),
                    };
                    self.path.push((node, self.after(index, children.len())));
                    let Some(child) = children.get(index) else { return };
                    node = &child.node;
                }
                Node::Leaf(entries) => {
                    self.path.push((node, self.first_entry(entries, from)));
                    return;
                }
            }
        }
    }

    fn first_entry<Q: Ord + ?Sized>(&self, entries: &[(K, V)], from: Bound<&Q>) -> Next
    where
        K: Borrow<Q>,
    {
        let (key, inclusive) = match from {
            Bound::Unbounded => return self.first(entries.len()),
            Bound::Included(key) => (key, true),
            Bound::Excluded(key) => (key, false),
        };
        let found = entry_of(entries, key);
        match self.direction {
            Direction::Forward => {
                let index =
                    found.map_or_else(|index| index, |index| index + usize::from(!inclusive));
                (index < entries.len()).then_some(index)
            }
            Direction::Backward => match found {
                Ok(index) if inclusive => Some(index),
                Ok(index) | Err(index) => index.checked_sub(1),
            },
        }
    }

    fn first(&self, len: usize) -> Next {
        match self.direction {
            Direction::Forward => (len > 0).then_some(0),
            Direction::Backward => len.checked_sub(1),
        }
    }

    fn after(&self, index: usize, len: usize) -> Next {
        match self.direction {
            Direction::Forward => Some(index + 1).filter(|next| *next < len),
            Direction::Backward => index.checked_sub(1),
        }
    }

    fn is_beyond(&self, key: &K) -> bool {
        match (self.direction, &self.until) {
            (_, Bound::Unbounded) => false,
            (Direction::Forward, Bound::Included(end)) => key > end,
            (Direction::Forward, Bound::Excluded(end)) => key >= end,
            (Direction::Backward, Bound::Included(end)) => key < end,
            (Direction::Backward, Bound::Excluded(end)) => key <= end,
        }
    }
}

impl<'m, K: Ord, V: Summed> Iterator for Range<'m, K, V> {
    type Item = (&'m K, &'m V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (node, next) = *self.path.last()?;
            let Some(index) = next else {
                self.path.pop();
                continue;
            };
            let after = match node {
                Node::Leaf(entries) => self.after(index, entries.len()),
                Node::Branch(children) => self.after(index, children.len()),
            };
            if let Some(last) = self.path.last_mut() {
                last.1 = after;
            }
            match node {
                Node::Branch(children) => {
                    let below = &*children.get(index)?.node;
                    let first = match below {
                        Node::Leaf(entries) => self.first(entries.len()),
                        Node::Branch(children) => self.first(children.len()),
                    };
                    self.path.push((below, first));
                }
                Node::Leaf(entries) => {
                    let (key, value) = entries.get(index)?;
                    if self.is_beyond(key) {
                        self.path.clear();
                        return None;
                    }
                    return Some((key, value));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl Summed for i64 {
        type Sum = i64;
        fn sum(&self) -> i64 {
            *self
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16, i64),
        Ascending(u16),
        Modify(u16, i64),
        Remove(u16),
        RemoveMany(u16, u16),
        Keep,
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = 0u16..800;
        prop_oneof![
            6 => (key.clone(), -50i64..50).prop_map(|(key, value)| Step::Insert(key, value)),
            1 => (1u16..200).prop_map(Step::Ascending),
            2 => (key.clone(), -50i64..50).prop_map(|(key, value)| Step::Modify(key, value)),
            2 => key.clone().prop_map(Step::Remove),
            1 => (key.clone(), key).prop_map(|(start, end)| Step::RemoveMany(start, end)),
            1 => Just(Step::Keep),
        ]
    }

    fn apply(map: &mut OrderedMap<u16, i64>, model: &mut BTreeMap<u16, i64>, step: &Step) {
        match *step {
            Step::Insert(key, value) => {
                assert_eq!(map.insert(key, value), model.insert(key, value))
            }
            Step::Ascending(count) => {
                let next = model.last_key_value().map_or(0, |(key, _)| key + 1);
                for key in next..next.saturating_add(count) {
                    assert_eq!(map.insert(key, 1), model.insert(key, 1));
                }
            }
            Step::Modify(key, value) => {
                let there = map.modify(&key, |old| *old = value);
                assert_eq!(there, model.get_mut(&key).map(|old| *old = value).is_some());
            }
            Step::Remove(key) => assert_eq!(map.remove(&key), model.remove(&key)),
            Step::RemoveMany(start, end) => {
                for key in start..end {
                    assert_eq!(map.remove(&key), model.remove(&key));
                }
            }
            Step::Keep => {}
        }
    }

    fn check(map: &OrderedMap<u16, i64>, model: &BTreeMap<u16, i64>, a: u16, b: u16) {
        for key in [a, b] {
            assert_eq!(map.get(&key), model.get(&key));
        }
        let bounds = |key| [Bound::Included(key), Bound::Excluded(key), Bound::Unbounded];
        for start in bounds(a.min(b)) {
            for end in bounds(a.max(b)) {
                if let (Bound::Excluded(start), Bound::Excluded(end)) = (start, end)
                    && start == end
                {
                    continue;
                }
                let range = (start.as_ref(), end.as_ref());
                let mut expected: Vec<_> = model.range((start, end)).collect();
                assert_eq!(map.sum(range), expected.iter().map(|(_, value)| **value).sum::<i64>());
                let forth = map.range(range.0, end, Direction::Forward);
                assert!(forth.eq(expected.iter().copied()));
                expected.reverse();
                let back = map.range(range.1, start, Direction::Backward);
                assert!(back.eq(expected.iter().copied()));
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map_with_sums_and_its_clones_stay(
            steps in proptest::collection::vec(step(), 1..120), a in 0u16..1000, b in 0u16..1000,
        ) {
            let mut map = OrderedMap::default();
            let mut model = BTreeMap::new();
            let mut kept = Vec::new();
            for step in &steps {
                apply(&mut map, &mut model, step);
                if matches!(step, Step::Keep) {
                    kept.push((map.clone(), model.clone()));
                }
            }
            check(&map, &model, a, b);
            for (map, model) in kept {
                check(&map, &model, a, b);
            }
        }
    }
}
