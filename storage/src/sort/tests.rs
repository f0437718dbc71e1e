use std::{path::Path, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::disk::{
    MemoryDisk, SimDisk,
    sim::{Fault, Operation},
};

const PATH: &str = "/sort";

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn sorter(disk: &(impl Disk + Clone + 'static), memory: usize) -> Sorter {
    Sorter::new(Arc::new(disk.clone()), PATH.into(), memory)
}

fn drain(mut sorted: Sorted) -> Result<Entries> {
    let mut found = Vec::new();
    while let Some((key, value)) = sorted.next()? {
        found.push((key.to_vec(), value.to_vec()));
    }
    assert!(sorted.next()?.is_none(), "the end stays the end");
    Ok(found)
}

/// Pushes entries in turn into several sorters and merges them.
fn sort(disk: &SimDisk, entries: &Entries, sorters: usize, memory: usize) -> Result<Entries> {
    let mut all: Vec<_> = (0..sorters).map(|_| sorter(disk, memory)).collect();
    let each = entries.len().div_ceil(sorters).max(1);
    for (part, sorter) in entries.chunks(each).zip(&mut all) {
        for (key, value) in part {
            sorter.push(key, value)?;
        }
    }
    drain(merge(all)?)
}

fn entry() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let key = prop_oneof![
        // Few different keys, so that there are ties, and zeros at the end, which a head cannot tell.
        8 => proptest::collection::vec(0u8..3, 0..11),
        2 => proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let value = prop_oneof![
        9 => proptest::collection::vec(any::<u8>(), 0..60),
        1 => proptest::collection::vec(any::<u8>(), 0..6000),
    ];
    (key, value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn sorts_as_a_stable_sort_does(
        entries in proptest::collection::vec(entry(), 0..700),
        sorters in 1usize..4,
    ) {
        let disk = SimDisk::new();
        let found = sort(&disk, &entries, sorters, MIN_SORT_BYTES).unwrap();
        let mut expected = entries;
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(found, expected);
        prop_assert!(disk.list(Path::new("/")).unwrap().is_empty());
    }
}

fn numbers(count: u32) -> Entries {
    let mixed = (0..count).map(|n| n.wrapping_mul(0x9e37_79b9));
    mixed.map(|n| (n.to_be_bytes().to_vec(), n.to_le_bytes().to_vec())).collect()
}

#[test]
fn more_runs_than_are_merged_at_once_are_merged_in_passes() {
    let disk = SimDisk::new();
    let entries = numbers(20_000);
    let mut one = sorter(&disk, MIN_SORT_BYTES);
    for (key, value) in &entries {
        one.push(key, value).unwrap();
    }
    assert!(one.runs.len() > fan_in(MIN_SORT_BYTES) * fan_in(MIN_SORT_BYTES), "too few runs");
    assert_eq!(one.len(), 20_000);
    let mut expected = entries;
    expected.sort();
    assert_eq!(drain(one.finish().unwrap()).unwrap(), expected);
}

#[test]
fn few_entries_touch_no_disk() {
    let disk = SimDisk::new();
    let entries = numbers(500);
    let mut expected = entries.clone();
    expected.sort();
    assert_eq!(sort(&disk, &entries, 3, 64 * 1024).unwrap(), expected);
    assert_eq!(disk.operations(), 0);
    assert!(drain(sorter(&disk, 1).finish().unwrap()).unwrap().is_empty());
}

/// The file has no name while it is used; one that a crash left at that name is no obstacle.
#[test]
fn nothing_is_left_behind_and_leftovers_are_removed() {
    let disk = MemoryDisk::new();
    disk.open(Path::new(PATH), crate::disk::OpenMode::CreateNew).unwrap();
    let mut one = sorter(&disk, MIN_SORT_BYTES);
    for (key, value) in numbers(2000) {
        one.push(&key, &value).unwrap();
    }
    assert!(!one.runs.is_empty() && !disk.exists(Path::new(PATH)).unwrap());
    assert_eq!(drain(one.finish().unwrap()).unwrap().len(), 2000);
}

/// Every operation on the scratch file fails once, every read comes back changed once: the result is an
/// error, or right.
#[test]
fn a_failing_disk_is_an_error_and_never_a_wrong_order() {
    let entries = numbers(1500);
    let mut expected = entries.clone();
    expected.sort();
    let mut failures = 0;
    for operation in [Operation::Create, Operation::Remove, Operation::Write, Operation::Read] {
        for nth in 1.. {
            let disk = SimDisk::new();
            disk.fail(operation, nth, Fault::Error);
            let outcome = sort(&disk, &entries, 2, MIN_SORT_BYTES);
            if disk.count(operation) < nth {
                assert_eq!(outcome.unwrap(), expected);
                break;
            }
            assert!(outcome.is_err(), "{operation:?} {nth}");
            failures += 1;
        }
    }
    assert!(failures > 100, "only {failures} operations");
    let disk = SimDisk::new();
    disk.set_capacity(Some(4096));
    assert!(matches!(sort(&disk, &entries, 1, MIN_SORT_BYTES), Err(Error::Full { .. })));
}

#[test]
fn a_changed_bit_is_noticed() {
    let disk = MemoryDisk::new();
    let scratch = Arc::new(Scratch::create(&disk, Path::new(PATH)).unwrap());
    let mut writer = scratch.begin_run(512);
    for (key, value) in numbers(40) {
        writer.push(&key, &value).unwrap();
    }
    drop(writer.finish().unwrap());
    let len = scratch.len();
    for bit in 0..len * 8 {
        scratch.flip_bit(bit);
        let run = scratch.whole_run();
        let outcome = drain(Sorted::of_runs(vec![run]));
        assert!(outcome.is_err(), "bit {bit}");
        scratch.flip_bit(bit);
    }
    assert_eq!(drain(Sorted::of_runs(vec![scratch.whole_run()])).unwrap().len(), 40);
}

#[test]
fn too_long_entries_are_refused() {
    let mut one = sorter(&MemoryDisk::new(), MIN_SORT_BYTES);
    let long = vec![0; MAX_ENTRY_KEY_BYTES + 1];
    assert!(matches!(one.push(&long, b""), Err(Error::TooLarge { .. })));
    assert!(one.is_empty());
    one.push(&long[1..], b"").unwrap();
    assert_eq!(one.finish().unwrap().next().unwrap().unwrap().0.len(), MAX_ENTRY_KEY_BYTES);
}
