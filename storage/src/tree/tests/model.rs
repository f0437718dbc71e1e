//! Random batches of changes, ranges and directions against `BTreeMap`.

use std::ops::Bound;

use proptest::{collection::vec, prelude::*};

use super::{Changes, Map, Subject};
use crate::store::{Direction, KeyRange};

/// Keys that meet often, share long prefixes, differ in zeros only, or are empty.
fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => (0u16..2000).prop_map(|number| format!("doc-{number:05}").into_bytes()),
        2 => (0u64..300).prop_map(|number| number.to_be_bytes().to_vec()),
        1 => vec(0u8..2, 0..8),
        1 => vec(any::<u8>(), 0..12),
        1 => (0usize..4, vec(b'a'..b'e', 0..3)).prop_map(|(repeat, tail)| {
            ["a common prefix of some length/".repeat(repeat).as_bytes(), &tail].concat()
        }),
    ]
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (any::<u8>(), 0usize..120).prop_map(|(byte, len)| vec![byte; len]),
        1 => (any::<u8>(), 0usize..2000).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn maps(size: usize) -> impl Strategy<Value = Map> {
    proptest::collection::btree_map(keys(), values(), 0..size)
}

/// Batches of random changes, and removals of whole ranges of what is there.
#[derive(Clone, Debug)]
enum Batch {
    Changes(Changes),
    RemoveBetween(Vec<u8>, Vec<u8>),
    RemoveEverySecond,
    RemoveAll,
    Append(u16),
}

fn batches() -> impl Strategy<Value = Batch> {
    let changes = |size| {
        let value = prop_oneof![2 => values().prop_map(Some), 1 => Just(None)];
        proptest::collection::btree_map(keys(), value, 0..size).prop_map(Batch::Changes)
    };
    prop_oneof![
        4 => changes(6),
        4 => changes(300),
        2 => (keys(), keys()).prop_map(|(a, b)| Batch::RemoveBetween(a.clone().min(b.clone()), a.max(b))),
        1 => Just(Batch::RemoveEverySecond),
        1 => Just(Batch::RemoveAll),
        2 => (1u16..400).prop_map(Batch::Append),
    ]
}

fn changes_of(batch: Batch, model: &Map) -> Changes {
    let remove = |key: &Vec<u8>| (key.clone(), None);
    match batch {
        Batch::Changes(changes) => changes,
        Batch::RemoveBetween(from, to) => {
            model.range(from..to).map(|(key, _)| remove(key)).collect()
        }
        Batch::RemoveEverySecond => model.keys().step_by(2).map(remove).collect(),
        Batch::RemoveAll => model.keys().map(remove).collect(),
        Batch::Append(count) => (0..count)
            .map(|number| ([&[0xff; 9][..], &number.to_be_bytes()].concat(), Some(vec![7; 40])))
            .collect(),
    }
}

fn bounds() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        Just(Bound::Unbounded),
        keys().prop_map(Bound::Included),
        keys().prop_map(Bound::Excluded),
    ]
}

fn expected(model: &Map, range: &KeyRange) -> Vec<(Vec<u8>, Vec<u8>)> {
    let after = |key: &Vec<u8>| match &range.start {
        Bound::Included(start) => key >= start,
        Bound::Excluded(start) => key > start,
        Bound::Unbounded => true,
    };
    let before = |key: &Vec<u8>| match &range.end {
        Bound::Included(end) => key <= end,
        Bound::Excluded(end) => key < end,
        Bound::Unbounded => true,
    };
    let inside = model.iter().filter(|(key, _)| after(key) && before(key));
    inside.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn check_range(subject: &Subject, range: &KeyRange) {
    let tree = subject.tree();
    let mut rows = expected(&subject.model, range);
    let bytes = rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
    assert_eq!(tree.sum(range).unwrap(), (rows.len() as u64, bytes), "sum of {range:?}");
    for direction in [Direction::Forward, Direction::Backward] {
        let mut cursor = tree.cursor(range, direction);
        for (key, value) in &rows {
            assert_eq!(cursor.next().unwrap(), Some((&key[..], &value[..])), "{range:?}");
        }
        assert_eq!(cursor.next().unwrap(), None);
        assert_eq!(cursor.next().unwrap(), None);
        assert!(cursor.key().is_empty() && cursor.value().is_empty());
        rows.reverse();
    }
}

fn check(subject: &Subject, ranges: &[KeyRange], probes: &[Vec<u8>]) {
    let shape = subject.tree().verify().unwrap();
    assert_eq!(shape.entries, subject.model.len() as u64);
    check_range(subject, &KeyRange::all());
    ranges.iter().for_each(|range| check_range(subject, range));
    for probe in probes.iter().chain(subject.model.keys().step_by(7)) {
        let found = subject.tree().get(probe).unwrap();
        assert_eq!(found.as_deref(), subject.model.get(probe).map(Vec::as_slice));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_map(
        start in maps(600),
        batches in vec(batches(), 1..8),
        ranges in vec((bounds(), bounds()).prop_map(|(start, end)| KeyRange { start, end }), 6),
        probes in vec(keys(), 10),
    ) {
        let mut subject = Subject::build(start);
        check(&subject, &ranges, &probes);
        for batch in batches {
            let (before, model) = (subject.root, subject.model.clone());
            let changes = changes_of(batch, &model);
            subject.merge(&changes);
            check(&subject, &ranges, &probes);
            // The old root shows what it showed.
            let old = Subject { nodes: subject.nodes.clone(), root: before, model };
            check(&old, &ranges[..1], &probes);
        }
    }
}

#[test]
fn one_change_at_a_time_agrees_with_a_map() {
    let mut random = super::Random(3);
    let mut subject = Subject::default();
    for step in 0..3000 {
        let key = random.below(700).to_string().into_bytes();
        // Grow, then shrink to nothing.
        let put = random.below(10) < if step < 1500 { 7 } else { 2 };
        let value = put.then(|| vec![b'v'; random.below(200) as usize]);
        subject.merge(&Changes::from([(key, value)]));
        if step % 50 == 0 {
            check(&subject, &[], &[]);
        }
    }
    let rest = changes_of(Batch::RemoveAll, &subject.model);
    subject.merge(&rest);
    assert_eq!(subject.root, super::Root::EMPTY);
}
