//! What trees look like: full nodes, little rewriting, limits.

use super::{Changes, Map, Random, Sizes, Subject};
use crate::{
    error::Error,
    tree::{
        MAX_ENTRY_KEY_BYTES, Malformed, NoSum, NodeBuffer, NodeRef, Page, Pages, Reduce, Root,
        Tree, build, merge, pending::max_bytes,
    },
};

fn numbered(numbers: impl Iterator<Item = u64>, value_len: usize) -> Map {
    numbers.map(|number| (number.to_be_bytes().to_vec(), vec![b'v'; value_len])).collect()
}

fn puts(map: Map) -> Changes {
    map.into_iter().map(|(key, value)| (key, Some(value))).collect()
}

#[test]
fn a_built_tree_has_full_nodes() {
    let subject = Subject::build(numbered(0..50_000, 60));
    let shape = subject.tree().verify().unwrap();
    let fill = shape.node_bytes as f64 / (shape.leaves * max_bytes(0) as u64) as f64;
    assert!(fill > 0.95, "{shape:?}");
    // Sizes are estimated while packing; with keys as short as these the estimate is a little low.
    assert!(shape.largest_node_bytes as usize <= max_bytes(1) * 11 / 10, "{shape:?}");
    assert_eq!(subject.root.height, 3);
}

#[test]
fn ascending_keys_leave_full_nodes_behind() {
    let mut subject = Subject::default();
    for batch in 0..200 {
        subject.merge(&puts(numbered(batch * 50..(batch + 1) * 50, 60)));
    }
    let grown = subject.tree().verify().unwrap();
    let built = Subject::build(subject.model).tree().verify().unwrap();
    assert!(grown.node_bytes < built.node_bytes * 108 / 100, "{grown:?} {built:?}");
}

#[test]
fn random_inserts_leave_nodes_that_are_neither_small_nor_large() {
    let mut random = Random(5);
    let mut subject = Subject::default();
    for _ in 0..200 {
        subject.merge(&puts(numbered((0..50).map(|_| random.next()), 60)));
    }
    let shape = subject.tree().verify().unwrap();
    let fill = shape.node_bytes as f64 / (shape.leaves * max_bytes(0) as u64) as f64;
    assert!((0.55..1.0).contains(&fill), "{fill} {shape:?}");
}

#[test]
fn removing_most_entries_joins_nodes() {
    let mut subject = Subject::build(numbered(0..20_000, 60));
    let mut random = Random(7);
    for _ in 0..40 {
        let keys: Vec<_> = subject.model.keys().cloned().collect();
        let gone = keys.into_iter().filter(|_| random.below(10) == 0);
        subject.merge(&gone.map(|key| (key, None)).collect());
    }
    let shape = subject.tree().verify().unwrap();
    let fewest = shape.node_bytes.div_ceil(max_bytes(0) as u64);
    assert!(shape.leaves <= 3 * fewest, "{shape:?}");
    assert!(subject.root.height <= 2);
}

#[test]
fn one_change_rewrites_one_path() {
    let mut subject = Subject::build(numbered(0..100_000, 60));
    let before = subject.nodes.len();
    subject.merge(&puts(numbered(50_000..50_001, 10)));
    let written = subject.nodes.len() - before;
    let path = max_bytes(0) + usize::from(subject.root.height - 1) * max_bytes(1);
    assert!(written <= path, "{written} bytes for one change");
}

#[test]
fn a_batch_keeps_subtrees_it_does_not_touch() {
    let mut subject = Subject::build(numbered(0..200_000, 60));
    let before = subject.nodes.len();
    let near = numbered(1000..1100, 10).into_iter().chain(numbered(190_000..190_100, 10));
    subject.merge(&puts(near.collect()));
    assert!(subject.nodes.len() - before < 100_000);
    subject.tree().verify().unwrap();
}

#[test]
fn no_changes_and_vain_removals_leave_the_same_entries() {
    let mut subject = Subject::build(numbered(0..1000, 60));
    let root = subject.root;
    subject.merge(&Changes::new());
    assert_eq!(subject.root, root);
    subject.merge(&Changes::from([(b"absent".to_vec(), None)]));
    assert_eq!(subject.tree().verify().unwrap().entries, 1000);
    let mut empty = Subject::default();
    empty.merge(&Changes::from([(b"absent".to_vec(), None)]));
    assert_eq!(empty.root, Root::EMPTY);
}

#[test]
fn large_values_have_nodes_of_their_own() {
    let mut subject = Subject::build(numbered(0..100, 60));
    let large =
        |number: u64, len| Changes::from([(number.to_be_bytes().to_vec(), Some(vec![9; len]))]);
    subject.merge(&large(50, 3 << 20));
    subject.merge(&large(51, 5000));
    subject.merge(&large(99, 1 << 20));
    subject.tree().verify().unwrap();
    // Removing what surrounds a large entry must not copy the large entry each time.
    let before = subject.nodes.len();
    for number in (0..50u64).rev() {
        subject.merge(&Changes::from([(number.to_be_bytes().to_vec(), None)]));
    }
    assert!(subject.nodes.len() - before < 1 << 20);
    let shape = subject.tree().verify().unwrap();
    assert_eq!(shape.entries, 50);
    assert!(shape.largest_node_bytes < (3 << 20) + 5000);
}

#[test]
fn the_longest_keys_make_no_endless_tree() {
    let key = |number: u32, at: usize| {
        let mut key = vec![b'k'; MAX_ENTRY_KEY_BYTES];
        key[at..at + 4].copy_from_slice(&number.to_be_bytes());
        key
    };
    // Keys that differ in their last bytes need separators as long as themselves.
    let model: Map =
        (0..200).map(|number| (key(number, MAX_ENTRY_KEY_BYTES - 4), vec![1])).collect();
    let mut subject = Subject::build(model);
    assert!(subject.root.height <= 9, "{:?}", subject.root);
    subject.merge(&(0..200).step_by(2).map(|n| (key(n, MAX_ENTRY_KEY_BYTES - 4), None)).collect());
    subject.merge(&(0..50).map(|n| (key(n, 100), Some(vec![2; 10]))).collect());
    subject.tree().verify().unwrap();
}

#[test]
fn what_is_out_of_order_or_too_large_is_refused() {
    let mut nodes = NodeBuffer::default();
    let invalid = |result| matches!(result, Err(Error::Invalid { .. }));
    assert!(invalid(build([("b", ""), ("a", "")], NoSum, &mut nodes)));
    assert!(invalid(build([("a", ""), ("a", "")], NoSum, &mut nodes)));
    let root = build([("a", "1")], NoSum, &mut nodes).unwrap();
    let mut more = nodes.next();
    let changes = [("c", Some("")), ("b", None)];
    assert!(invalid(merge(&nodes, root, NoSum, changes, &mut more)));
    let long = vec![0; MAX_ENTRY_KEY_BYTES + 1];
    let refused = merge(&nodes, root, NoSum, [(&long, Some("x"))], &mut more);
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
}

/// Refuses values it does not know.
#[derive(Clone, Copy)]
struct Picky;

impl Reduce for Picky {
    type Sum = ();
    fn leaf(&self, _key: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if value == b"good" { Ok(()) } else { Err(Malformed("bad")) }
    }
    fn add(&self, _into: &mut (), _other: &()) {}
    fn encode(&self, _sum: &(), _out: &mut Vec<u8>) {}
    fn decode(&self, _bytes: &[u8]) -> Result<(), Malformed> {
        Ok(())
    }
}

#[test]
fn a_value_that_cannot_be_summed_is_refused_before_it_is_written() {
    let mut nodes = NodeBuffer::default();
    assert!(matches!(build([("a", "bad")], Picky, &mut nodes), Err(Error::Invalid { .. })));
    let old = build([("a", "bad")], NoSum, &mut nodes).unwrap();
    let mut more = nodes.next();
    let refused = merge(&nodes, old, Picky, [("b", Some("bad"))], &mut more);
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    // The same in the old tree is damage.
    let damaged = merge(&nodes, old, Picky, [("b", Some("good"))], &mut more);
    assert!(matches!(damaged, Err(Error::Corrupt { .. })));
}

/// Gives out shared pages, as a cache does.
struct Shared<'n>(&'n NodeBuffer);

impl Pages for Shared<'_> {
    fn node(&self, at: NodeRef) -> crate::Result<Page<'_>> {
        Ok(Page::Shared(self.0.node(at)?.to_vec().into()))
    }
    fn corrupt(&self, at: NodeRef, what: &'static str) -> Error {
        self.0.corrupt(at, what)
    }
}

#[test]
fn shared_pages_serve_as_well_as_borrowed_ones() {
    let subject = Subject::build(numbered(0..5000, 60));
    let pages = Shared(&subject.nodes);
    let pages: &dyn Pages = &pages;
    let tree = Tree::new(pages, subject.root, Sizes);
    assert_eq!(tree.get(&77u64.to_be_bytes()).unwrap().as_deref(), Some(&[b'v'; 60][..]));
    let mut cursor = tree.cursor(&crate::KeyRange::all(), crate::Direction::Forward);
    for (key, value) in &subject.model {
        assert_eq!(cursor.next().unwrap(), Some((&key[..], &value[..])));
    }
    assert!(cursor.next().unwrap().is_none());
}
