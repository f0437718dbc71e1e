//! Walks with sums, and rows by their number, against `BTreeMap`.

use std::cell::Cell;

use proptest::{collection::btree_map, prelude::*};

use super::{Map, Subject};
use crate::{
    error::Error,
    store::{Direction, KeyRange},
    tree::{
        CountEntries, Fold, Malformed, NodeBuffer, NodeRef, Page, Pages, Reduce, Root, Step, Tree,
        build,
    },
};

/// Sums groups of keys that share their first bytes; takes sums wherever a subtree is in one group.
struct Groups {
    prefix: usize,
    limit: usize,
    groups: Vec<(Vec<u8>, (u64, u64))>,
}

impl Groups {
    fn group(&self, key: &[u8]) -> Vec<u8> {
        key[..key.len().min(self.prefix)].to_vec()
    }

    fn add(&mut self, group: Vec<u8>, sum: (u64, u64)) -> Step {
        let full = self.groups.len() == self.limit;
        match self.groups.last_mut() {
            Some((last, total)) if *last == group => super::Sizes.add(total, &sum),
            _ if full => return Step::End,
            _ => self.groups.push((group, sum)),
        }
        Step::Take
    }
}

impl Fold for Groups {
    fn subtree(
        &mut self,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
        sum: &[u8],
    ) -> Result<Step, Malformed> {
        let Some((last, _)) = self.groups.last() else { return Ok(Step::Open) };
        let last = last.clone();
        // Every key from `from` up to, but without, `to` begins with the group's bytes.
        let inside = |key: &[u8]| last.len() == self.prefix && key.starts_with(&last);
        if !from.is_some_and(inside) || !to.is_some_and(inside) {
            return Ok(Step::Open);
        }
        Ok(self.add(last, super::Sizes.decode(sum)?))
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<Step, Malformed> {
        let group = self.group(key);
        Ok(self.add(group, super::Sizes.leaf(key, value)?))
    }
}

fn naive(
    model: &Map,
    range: &KeyRange,
    direction: Direction,
    prefix: usize,
    limit: usize,
) -> Groups {
    let mut groups = Groups { prefix, limit, groups: Vec::new() };
    let rows = model.range((range.start.clone(), range.end.clone()));
    let mut rows: Vec<_> = rows.collect();
    if direction == Direction::Backward {
        rows.reverse();
    }
    for (key, value) in rows {
        if groups.entry(key, value) == Ok(Step::End) {
            break;
        }
    }
    groups
}

fn maps() -> impl Strategy<Value = Map> {
    let key = (0u8..4, 0u8..4, 0u16..900).prop_map(|(a, b, n)| {
        let mut key = vec![a, b];
        key.extend_from_slice(&n.to_be_bytes());
        key
    });
    btree_map(key, proptest::collection::vec(any::<u8>(), 0..30), 0..1500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn groups_are_those_of_the_model(
        model in maps(), prefix in 0usize..5, limit in 1usize..40, low in 0u8..4, high in 0u8..5, backward: bool,
    ) {
        let subject = Subject::build(model);
        let (low, high) = (low.min(high), low.max(high));
        let range = KeyRange {
            start: std::ops::Bound::Included(vec![low]),
            end: std::ops::Bound::Excluded(vec![high, 1]),
        };
        let direction = if backward { Direction::Backward } else { Direction::Forward };
        for range in [KeyRange::all(), range] {
            let mut groups = Groups { prefix, limit, groups: Vec::new() };
            subject.tree().fold(&range, direction, &mut groups).unwrap();
            prop_assert_eq!(&groups.groups, &naive(&subject.model, &range, direction, prefix, limit).groups);
        }
    }

    #[test]
    fn rows_are_found_by_their_number(model in maps()) {
        let mut nodes = NodeBuffer::default();
        let root = build(&model, CountEntries, &mut nodes).unwrap();
        let tree = Tree::new(&nodes, root, CountEntries);
        for (rank, key) in model.keys().enumerate().step_by(37) {
            let found = tree.find_rank(rank as u64).unwrap();
            prop_assert_eq!(found.as_ref(), Some(key));
        }
        prop_assert_eq!(tree.find_rank(model.len() as u64).unwrap(), None);
        prop_assert_eq!(tree.find_rank(u64::MAX).unwrap(), None);
    }
}

/// Counts the nodes that are read.
struct Counting<'p> {
    nodes: &'p NodeBuffer,
    read: Cell<usize>,
}

impl Pages for Counting<'_> {
    fn node(&self, at: NodeRef) -> crate::Result<Page<'_>> {
        self.read.set(self.read.get() + 1);
        self.nodes.node(at)
    }

    fn corrupt(&self, at: NodeRef, what: &'static str) -> Error {
        self.nodes.corrupt(at, what)
    }
}

fn reads(
    nodes: &NodeBuffer,
    root: Root,
    work: impl FnOnce(&Tree<'_, Counting<'_>, super::Sizes>),
) -> usize {
    let counting = Counting { nodes, read: Cell::new(0) };
    work(&Tree::new(&counting, root, super::Sizes));
    counting.read.get()
}

/// Groups are summed from the edges of each group and the sums between, however many rows lie there.
#[test]
fn groups_read_their_edges_only() {
    const GROUPS: u32 = 20;
    const ROWS: u32 = 5000;
    let rows = (0..GROUPS).flat_map(|group| (0..ROWS).map(move |row| (group, row)));
    let rows =
        rows.map(|(group, row)| ([group.to_be_bytes(), row.to_be_bytes()].concat(), vec![1u8; 20]));
    let subject = Subject::build(rows.collect());
    let shape = subject.tree().verify().unwrap();
    assert!(shape.leaves > 500, "{shape:?}");
    let read = reads(&subject.nodes, subject.root, |tree| {
        let mut groups = Groups { prefix: 4, limit: usize::MAX, groups: Vec::new() };
        tree.fold(&KeyRange::all(), Direction::Forward, &mut groups).unwrap();
        assert_eq!(groups.groups.len(), GROUPS as usize);
        assert!(groups.groups.iter().all(|(_, (count, _))| *count == u64::from(ROWS)));
    });
    // Two leaves for each boundary between groups, and the inner nodes.
    let most = 2 * GROUPS as usize + shape.inner_nodes as usize + 2;
    assert!(read <= most, "{read} nodes read, {most} expected at most of {shape:?}");
    let height = usize::from(subject.root.height);
    let read = reads(&subject.nodes, subject.root, |tree| {
        assert_eq!(tree.total().unwrap().0, u64::from(GROUPS * ROWS));
    });
    assert!(read <= height, "a total reads {read} nodes");
}
