//! A persistent ordered map whose nodes know the sums of what is below them.
//!
//! Cloning costs one reference count; a change copies the nodes on its way that are shared with a clone,
//! and only those. The sum of any range is found in O(log n), which is why this is not a map from a
//! library. Removal does not join nodes that have become small, it only drops empty ones: a map lives
//! for some ten thousand edits, and then the next one begins.
//!
//! * `items`: what a node holds, and finding it

mod items;

use std::{
    borrow::Borrow,
    fmt::Debug,
    ops::{AddAssign, Bound, SubAssign},
    sync::Arc,
};

pub(super) use self::items::Headed;
use self::items::{Items, Keyed};
use crate::store::{Direction, Seq};

/// Most entries of a leaf and children of a branch. Larger nodes make lookups faster and copies slower.
const MAX_FANOUT: usize = 32;

/// What is summed over the entries of a map.
pub(super) trait Summed {
    /// The sum; its default is that of nothing.
    type Sum: Copy + Default + AddAssign + SubAssign + Debug;
    /// What this entry adds.
    fn sum(&self) -> Self::Sum;
}

/// A key as the map owns it.
pub(super) trait Key: Borrow<Self::Part> + Clone + Debug {
    /// What is compared.
    type Part: Headed + ?Sized;
}

impl Key for Arc<[u8]> {
    type Part = [u8];
}

impl Key for Seq {
    type Part = Seq;
}

/// The map.
#[derive(Debug)]
pub(super) struct OrderedMap<K: Key, V: Summed> {
    root: Arc<Node<K, V>>,
}

#[derive(Debug)]
enum Node<K: Key, V: Summed> {
    Leaf(Items<(K, V)>),
    Branch(Items<Child<K, V>>),
}

#[derive(Debug)]
struct Child<K: Key, V: Summed> {
    /// Not greater than any key below.
    least: K,
    sum: V::Sum,
    node: Arc<Node<K, V>>,
}

impl<K: Key, V: Summed> Clone for OrderedMap<K, V> {
    fn clone(&self) -> Self {
        OrderedMap { root: Arc::clone(&self.root) }
    }
}

impl<K: Key, V: Summed> Default for OrderedMap<K, V> {
    fn default() -> Self {
        OrderedMap { root: Arc::new(Node::Leaf(Items::default())) }
    }
}

impl<K: Key, V: Summed> Clone for Child<K, V> {
    fn clone(&self) -> Self {
        Child { least: self.least.clone(), sum: self.sum, node: Arc::clone(&self.node) }
    }
}

impl<K: Key, V: Clone + Summed> Clone for Node<K, V> {
    fn clone(&self) -> Self {
        match self {
            Node::Leaf(entries) => Node::Leaf(entries.clone()),
            Node::Branch(children) => Node::Branch(children.clone()),
        }
    }
}

impl<K: Key, V> Keyed for (K, V) {
    type Key = K::Part;
    fn key(&self) -> &K::Part {
        self.0.borrow()
    }
}

impl<K: Key, V: Summed> Keyed for Child<K, V> {
    type Key = K::Part;
    fn key(&self) -> &K::Part {
        self.least.borrow()
    }
}

/// The child in which a key would be.
fn child_of<K: Key, V: Summed>(children: &Items<Child<K, V>>, key: &K::Part) -> usize {
    children.find(key).unwrap_or_else(|greater| greater.saturating_sub(1))
}

impl<K: Key, V: Summed> Node<K, V> {
    fn sum(&self) -> V::Sum {
        let mut sum = V::Sum::default();
        match self {
            Node::Leaf(entries) => entries.iter().for_each(|(_, value)| sum += value.sum()),
            Node::Branch(children) => children.iter().for_each(|child| sum += child.sum),
        }
        sum
    }

    /// A key not greater than any below.
    fn least(&self) -> Option<&K> {
        match self {
            Node::Leaf(entries) => entries.first().map(|(key, _)| key),
            Node::Branch(children) => children.first().map(|child| &child.least),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Node::Leaf(entries) => entries.is_empty(),
            Node::Branch(children) => children.is_empty(),
        }
    }
}

/// What a change did to a subtree.
struct Changed<K: Key, V: Summed> {
    /// The entry that was there before.
    old: Option<V>,
    /// A new right neighbour, if the subtree grew too large.
    split: Option<Child<K, V>>,
}

impl<K: Key, V: Clone + Summed> OrderedMap<K, V> {
    /// The value of a key.
    pub(super) fn get(&self, key: &K::Part) -> Option<&V> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    return entries.get(entries.find(key).ok()?).map(|(_, value)| value);
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
            let least = left.least().unwrap_or(&right.least).clone();
            let left = Child { least, sum: left.sum(), node: left };
            self.root = Arc::new(Node::Branch(Items::of(vec![left, right])));
        }
        changed.old
    }

    /// Changes the value of a key, if it is there; true if it is. The key stays.
    pub(super) fn modify(&mut self, key: &K::Part, change: impl FnOnce(&mut V)) -> bool {
        modify(Arc::make_mut(&mut self.root), key, change).is_some()
    }

    /// Takes a key out; returns its value.
    pub(super) fn remove(&mut self, key: &K::Part) -> Option<V> {
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
    pub(super) fn sum(&self, range: (Bound<&K::Part>, Bound<&K::Part>)) -> V::Sum {
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
    fn sum_until(&self, end: &K::Part, inclusive: bool) -> V::Sum {
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
                    let count = match entries.find(end) {
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
    pub(super) fn range(
        &self,
        from: Bound<&K::Part>,
        until: Bound<K>,
        direction: Direction,
    ) -> Range<'_, K, V> {
        let mut walk = Range { path: Vec::new(), direction, until };
        walk.seek(&self.root, from);
        walk
    }
}

fn insert<K: Key, V: Clone + Summed>(node: &mut Node<K, V>, key: K, value: V) -> Changed<K, V> {
    match node {
        Node::Leaf(entries) => match entries.find(key.borrow()) {
            Ok(index) => {
                let entry = entries.get_mut(index);
                let old = entry.map(|(_, old)| std::mem::replace(old, value));
                Changed { old, split: None }
            }
            Err(index) => {
                let at_end = index == entries.len();
                entries.insert(index, (key, value));
                let split = entries.split(at_end).and_then(|right| child(Node::Leaf(right)));
                Changed { old: None, split }
            }
        },
        Node::Branch(children) => {
            let index = child_of(children, key.borrow());
            let at_end = index + 1 == children.len();
            if children.first().is_some_and(|first| key.borrow() < first.least.borrow()) {
                children.lower_first(|first| first.least = key.clone());
            }
            let Some(below) = children.get_mut(index) else {
                return Changed { old: None, split: None };
            };
            let added = value.sum();
            let changed = insert(Arc::make_mut(&mut below.node), key, value);
            below.sum += added;
            if let Some(old) = &changed.old {
                below.sum -= old.sum();
            }
            let Some(right) = changed.split else { return changed };
            below.sum -= right.sum;
            children.insert(index + 1, right);
            let split = children.split(at_end).and_then(|right| child(Node::Branch(right)));
            Changed { old: changed.old, split }
        }
    }
}

fn child<K: Key, V: Summed>(node: Node<K, V>) -> Option<Child<K, V>> {
    Some(Child { least: node.least()?.clone(), sum: node.sum(), node: Arc::new(node) })
}

/// Returns what the sum was before and is after the change.
fn modify<K: Key, V: Clone + Summed>(
    node: &mut Node<K, V>,
    key: &K::Part,
    change: impl FnOnce(&mut V),
) -> Option<(V::Sum, V::Sum)> {
    match node {
        Node::Leaf(entries) => {
            let index = entries.find(key).ok()?;
            let (_, value) = entries.get_mut(index)?;
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

fn remove<K: Key, V: Clone + Summed>(node: &mut Node<K, V>, key: &K::Part) -> Option<V> {
    match node {
        Node::Leaf(entries) => {
            let index = entries.find(key).ok()?;
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
pub(super) struct Range<'m, K: Key, V: Summed> {
    /// From the root to a leaf: nodes, and the index of what comes next in each. In a branch that is the
    /// child after the one the walk is in.
    path: Vec<(&'m Node<K, V>, Next)>,
    direction: Direction,
    until: Bound<K>,
}

/// An index in the direction of the walk; `None` when the node has no more.
type Next = Option<usize>;

impl<'m, K: Key, V: Summed> Range<'m, K, V> {
    /// Goes down to the first entry of the range.
    fn seek(&mut self, root: &'m Node<K, V>, from: Bound<&K::Part>) {
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

    fn first_entry(&self, entries: &Items<(K, V)>, from: Bound<&K::Part>) -> Next {
        let (key, inclusive) = match from {
            Bound::Unbounded => return self.first(entries.len()),
            Bound::Included(key) => (key, true),
            Bound::Excluded(key) => (key, false),
        };
        let found = entries.find(key);
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
        let key = key.borrow();
        let until = self.until.as_ref().map(K::borrow);
        match (self.direction, until) {
            (_, Bound::Unbounded) => false,
            (Direction::Forward, Bound::Included(end)) => key > end,
            (Direction::Forward, Bound::Excluded(end)) => key >= end,
            (Direction::Backward, Bound::Included(end)) => key < end,
            (Direction::Backward, Bound::Excluded(end)) => key <= end,
        }
    }
}

impl<'m, K: Key, V: Summed> Iterator for Range<'m, K, V> {
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
        Ascending(u16, u16),
        Modify(u16, i64),
        Remove(u16),
        RemoveMany(u16, u16),
        Keep,
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = 0u16..800;
        prop_oneof![
            6 => (key.clone(), -50i64..50).prop_map(|(key, value)| Step::Insert(key, value)),
            1 => (key.clone(), 1u16..200).prop_map(|(from, count)| Step::Ascending(from, count)),
            2 => (key.clone(), -50i64..50).prop_map(|(key, value)| Step::Modify(key, value)),
            2 => key.clone().prop_map(Step::Remove),
            1 => (key.clone(), key).prop_map(|(start, end)| Step::RemoveMany(start, end)),
            1 => Just(Step::Keep),
        ]
    }

    /// Keys of both kinds, made of numbers.
    trait TestKey: Key + Ord {
        fn of(number: u16) -> Self;
    }

    impl TestKey for Seq {
        fn of(number: u16) -> Self {
            number.into()
        }
    }

    impl TestKey for Arc<[u8]> {
        fn of(number: u16) -> Self {
            // Of several lengths, and with prefixes of several lengths in common.
            let digits = format!("{number:04}");
            let (tens, ones) = digits.split_at(3);
            format!("doc-{tens}{}", "-of-many".repeat(ones.parse().unwrap())).as_bytes().into()
        }
    }

    fn apply<K: TestKey>(map: &mut OrderedMap<K, i64>, model: &mut BTreeMap<K, i64>, step: &Step) {
        match *step {
            Step::Insert(key, value) => {
                let key = K::of(key);
                assert_eq!(map.insert(key.clone(), value), model.insert(key, value))
            }
            Step::Ascending(from, count) => {
                for key in from..from.saturating_add(count) {
                    let key = K::of(key);
                    assert_eq!(map.insert(key.clone(), 1), model.insert(key, 1));
                }
            }
            Step::Modify(key, value) => {
                let key = K::of(key);
                let there = map.modify(key.borrow(), |old| *old = value);
                assert_eq!(there, model.get_mut(key.borrow()).map(|old| *old = value).is_some());
            }
            Step::Remove(key) => remove_both(map, model, &K::of(key)),
            Step::RemoveMany(start, end) => {
                (start..end).for_each(|key| remove_both(map, model, &K::of(key)));
            }
            Step::Keep => {}
        }
    }

    fn remove_both<K: TestKey>(
        map: &mut OrderedMap<K, i64>,
        model: &mut BTreeMap<K, i64>,
        key: &K,
    ) {
        assert_eq!(map.remove(key.borrow()), model.remove(key.borrow()));
    }

    fn check<K: TestKey>(map: &OrderedMap<K, i64>, model: &BTreeMap<K, i64>, (a, b): (u16, u16)) {
        let (a, b) = (K::of(a), K::of(b));
        for key in [&a, &b] {
            assert_eq!(map.get(key.borrow()), model.get(key.borrow()));
        }
        let bounds = |key: &K| {
            [Bound::Included(key.clone()), Bound::Excluded(key.clone()), Bound::Unbounded]
        };
        for start in bounds((&a).min(&b)) {
            for end in bounds((&a).max(&b)) {
                if let (Bound::Excluded(start), Bound::Excluded(end)) = (&start, &end)
                    && start == end
                {
                    continue;
                }
                let range = (start.as_ref().map(K::borrow), end.as_ref().map(K::borrow));
                let mut expected: Vec<_> = model.range::<K::Part, _>(range).collect();
                assert_eq!(map.sum(range), expected.iter().map(|(_, value)| **value).sum::<i64>());
                let forth = map.range(range.0, end.clone(), Direction::Forward);
                assert!(forth.eq(expected.iter().copied()));
                expected.reverse();
                let back = map.range(range.1, start.clone(), Direction::Backward);
                assert!(back.eq(expected.iter().copied()));
            }
        }
    }

    fn behaves_as_a_map<K: TestKey>(steps: &[Step], probes: (u16, u16)) {
        let mut map = OrderedMap::default();
        let mut model = BTreeMap::new();
        let mut kept = Vec::new();
        for step in steps {
            apply::<K>(&mut map, &mut model, step);
            if matches!(step, Step::Keep) {
                kept.push((map.clone(), model.clone()));
            }
        }
        kept.push((map, model));
        for (map, model) in kept {
            check(&map, &model, probes);
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map_with_sums_and_its_clones_stay(
            steps in proptest::collection::vec(step(), 1..120), a in 0u16..1000, b in 0u16..1000,
        ) {
            behaves_as_a_map::<Seq>(&steps, (a, b));
            behaves_as_a_map::<Arc<[u8]>>(&steps, (a, b));
        }
    }
}
