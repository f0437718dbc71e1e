//! Nodes that lie although their checksums are right: an error or some answer, but no panic and no
//! endless walk.

use std::{cell::Cell, collections::HashMap, path::PathBuf};

use proptest::prelude::*;

use super::{Changes, Map, Random, Sizes, Subject};
use crate::{
    error::{Error, Result},
    store::{Direction, KeyRange},
    tree::{NodeBuffer, NodeRef, Page, Pages, Root, Tree, merge, node},
};

/// Serves nodes by offset without looking at checksums, and gives up (the test fails) when asked for
/// more nodes than an honest walk could need.
struct Hostile {
    nodes: HashMap<u64, Vec<u8>>,
    asked: Cell<u32>,
}

const PATIENCE: u32 = 20_000;

impl Pages for Hostile {
    fn node(&self, at: NodeRef) -> Result<Page<'_>> {
        self.asked.set(self.asked.get() + 1);
        assert!(self.asked.get() < PATIENCE, "the walk does not end");
        let bytes =
            self.nodes.get(&at.offset).ok_or_else(|| self.corrupt(at, "no node is here"))?;
        Ok(Page::Borrowed(bytes))
    }

    fn corrupt(&self, at: NodeRef, what: &'static str) -> Error {
        Error::Corrupt { path: PathBuf::from("(hostile)"), offset: at.offset, what }
    }
}

/// Everything that can be done with a tree. What it answers does not matter.
fn try_everything(pages: &Hostile, root: Root, keys: &[Vec<u8>]) {
    let tree = Tree::new(pages, root, Sizes);
    let mut ranges = vec![KeyRange::all()];
    for key in keys {
        let _ = tree.get(key);
        ranges.push(KeyRange::prefix(key));
        ranges.push(KeyRange { start: std::ops::Bound::Excluded(key.clone()), ..KeyRange::all() });
    }
    for range in &ranges {
        let _ = tree.sum(range);
        for direction in [Direction::Forward, Direction::Backward] {
            let mut cursor = tree.cursor(range, direction);
            while let Ok(Some((key, value))) = cursor.next() {
                let _ = (key.len(), value.len());
            }
        }
    }
    let _ = tree.verify();
    for put in [true, false] {
        let changes: Changes =
            keys.iter().map(|key| (key.clone(), put.then(|| b"value".to_vec()))).collect();
        let mut sink = NodeBuffer::default();
        let _ = merge(pages, root, Sizes, changes, &mut sink);
    }
    pages.asked.set(0);
}

/// A tree of three levels, and its nodes by offset.
fn victim() -> (Subject, HashMap<u64, Vec<u8>>, Vec<Vec<u8>>) {
    let model: Map = (0..900u32)
        .map(|number| (format!("{number:0>200}").into_bytes(), vec![b'v'; 300]))
        .collect();
    let subject = Subject::build(model);
    assert_eq!(subject.root.height, 3);
    let mut nodes = HashMap::new();
    collect(&subject.nodes, subject.root.node.unwrap(), 2, &mut nodes);
    let keys = subject.model.keys().step_by(300).cloned().chain([vec![], vec![0xff; 3]]).collect();
    (subject, nodes, keys)
}

fn collect(pages: &NodeBuffer, at: NodeRef, level: u8, into: &mut HashMap<u64, Vec<u8>>) {
    let page = pages.node(at).unwrap();
    into.insert(at.offset, page.to_vec());
    if level > 0 {
        let node = node::Node::open(&page, level).unwrap();
        for index in 0..node.count() {
            collect(pages, node.child(index).unwrap().0, level - 1, into);
        }
    }
}

/// The nodes on the way to the first key: the root, one inner node, one leaf.
fn path_to_first(subject: &Subject) -> Vec<u64> {
    let mut at = subject.root.node.unwrap();
    let mut path = vec![at.offset];
    for level in [2, 1] {
        let page = subject.nodes.node(at).unwrap();
        at = node::Node::open(&page, level).unwrap().child(0).unwrap().0;
        path.push(at.offset);
    }
    path
}

#[test]
fn every_flipped_bit_is_survived() {
    let model: Map = (0..60u32)
        .map(|number| (format!("key {number:0>70}").into_bytes(), vec![b'v'; 60]))
        .collect();
    let subject = Subject::build(model);
    assert_eq!(subject.root.height, 2);
    let mut nodes = HashMap::new();
    collect(&subject.nodes, subject.root.node.unwrap(), 1, &mut nodes);
    let keys: Vec<_> = subject.model.keys().step_by(20).cloned().chain([vec![]]).collect();
    let mut pages = Hostile { nodes, asked: Cell::new(0) };
    let root = subject.root.node.unwrap().offset;
    let leaf = *pages.nodes.keys().find(|&&offset| offset != root).unwrap();
    for offset in [root, leaf] {
        // Every bit of what steers the walk; in the values behind it one bit in each byte would do,
        // but they steer nothing in leaves, so every eighth byte is enough.
        let len = pages.nodes[&offset].len();
        for at in (0..len).filter(|at| *at < 700 || at % 8 == 0) {
            for bit in 0..8 {
                pages.nodes.get_mut(&offset).unwrap()[at] ^= 1 << bit;
                try_everything(&pages, subject.root, &keys);
                pages.nodes.get_mut(&offset).unwrap()[at] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn random_damage_is_survived() {
    let (subject, nodes, keys) = victim();
    let mut random = Random(11);
    for round in 0..400 {
        let mut pages = Hostile { nodes: nodes.clone(), asked: Cell::new(0) };
        let path = path_to_first(&subject);
        let offset = path[round % path.len()];
        let bytes = pages.nodes.get_mut(&offset).unwrap();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.next() as u8;
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(bytes.len() as u64) as usize);
        }
        try_everything(&pages, subject.root, &keys);
    }
}

/// A tree in which every inner node refers to one and the same child again and again: few nodes,
/// 200^12 ways through them.
fn maze(children: u32, levels: u8, same_separators: bool) -> (Hostile, Root) {
    let mut nodes = HashMap::new();
    let mut bytes = Vec::new();
    let rows: [(&[u8], &[u8]); 2] = [(b"5", b"v"), (b"6", b"v")];
    node::encode(0, rows.into_iter(), &mut bytes);
    nodes.insert(0, bytes.clone());
    for level in 1..levels {
        let below = NodeRef { offset: u64::from(level) - 1, len: 0, crc: 0 };
        let value = [&below.to_bytes()[..], b"1 1"].concat();
        let separators: Vec<Vec<u8>> = (0..children)
            .map(|n| if same_separators { vec![b'5'] } else { n.to_be_bytes().to_vec() })
            .collect();
        let entries: Vec<_> = separators.iter().map(|key| (&key[..], &value[..])).collect();
        node::encode(level, entries.into_iter(), &mut bytes);
        nodes.insert(u64::from(level), bytes.clone());
    }
    let top = NodeRef { offset: u64::from(levels) - 1, len: 0, crc: 0 };
    (Hostile { nodes, asked: Cell::new(0) }, Root { node: Some(top), height: levels })
}

#[test]
fn a_maze_is_left_at_the_first_repetition() {
    let keys =
        [b"".to_vec(), b"4".to_vec(), b"5".to_vec(), b"51".to_vec(), b"7".to_vec(), vec![0xff; 9]];
    for same_separators in [false, true] {
        let (pages, root) = maze(200, 12, same_separators);
        try_everything(&pages, root, &keys);
    }
}

#[test]
fn a_node_that_is_its_own_child_is_left() {
    let itself = NodeRef { offset: 0, len: 0, crc: 0 };
    let value = [&itself.to_bytes()[..], b"1 1"].concat();
    let mut bytes = Vec::new();
    let entries: [(&[u8], &[u8]); 2] = [(b"", &value), (b"m", &value)];
    node::encode(1, entries.into_iter(), &mut bytes);
    for height in [1, 2, 3, 40, 255] {
        let pages = Hostile { nodes: HashMap::from([(0, bytes.clone())]), asked: Cell::new(0) };
        let root = Root { node: Some(itself), height };
        try_everything(&pages, root, &[b"a".to_vec(), b"z".to_vec()]);
        assert!(Tree::new(&pages, root, Sizes).get(b"a").is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn garbage_for_a_root_is_survived(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        level in 0u8..3,
        count in 1u8..20,
        prefix in 0u8..12,
    ) {
        // A header that passes, so that what lies behind it is looked at.
        let heap = bytes.len().saturating_sub(8 + 10 * usize::from(count) + usize::from(prefix));
        if let Some(header) = bytes.get_mut(..8) {
            header.copy_from_slice(&[level, 0, count, 0, prefix, 0, 0, 0]);
        }
        let at = 8 + usize::from(prefix) + 10 * usize::from(count) - 6;
        if let Some(last) = bytes.get_mut(at..at + 4) {
            last.copy_from_slice(&(heap as u32).to_le_bytes());
        }
        let at = NodeRef { offset: 0, len: bytes.len() as u32, crc: 0 };
        let pages = Hostile { nodes: HashMap::from([(0, bytes)]), asked: Cell::new(0) };
        let keys = [vec![], vec![1], b"abcdefgh".to_vec(), vec![0xff; 5]];
        try_everything(&pages, Root { node: Some(at), height: level + 1 }, &keys);
    }
}
