//! States come back after crashes at every operation, whole or not at all.

use std::{collections::BTreeMap, path::Path};

use super::IndexFile;
use crate::{
    Direction, KeyRange,
    disk::{
        Disk, MemoryDisk, SimDisk,
        sim::{Fault, Operation},
    },
    tree::{CountEntries, Root, Tree, merge},
};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn path() -> &'static Path {
    Path::new("/x.index")
}

/// Rows 0, 7, 14 … of a step, each step replacing some of those before.
fn changes(step: u64) -> Rows {
    let row = |n: u64| (format!("row {:04}", n * 7 % 311).into_bytes(), vec![step as u8; 90]);
    (0..40).map(|n| row(n + step * 3)).collect()
}

fn commit(file: &std::sync::Arc<IndexFile>, step: u64) {
    let mut writer = file.write();
    let old = file.snapshot();
    let changes = changes(step);
    let changes = changes.iter().map(|(key, value)| (key, Some(value)));
    let root = merge(old.pages(), old.root(0), CountEntries, changes, &mut writer).unwrap();
    writer.commit(&[root], &step.to_le_bytes()).unwrap();
}

fn expected(step: u64) -> Rows {
    (1..=step).flat_map(changes).collect()
}

/// The step a file is at; its rows are those of that step.
fn check(file: &IndexFile) -> u64 {
    let snapshot = file.snapshot();
    let step = snapshot.meta().try_into().map_or(0, u64::from_le_bytes);
    let tree = Tree::new(snapshot.pages(), snapshot.root(0), CountEntries);
    tree.verify().unwrap();
    let mut cursor = tree.cursor(&KeyRange::all(), Direction::Forward);
    let mut rows = Rows::new();
    while let Some((key, value)) = cursor.next().unwrap() {
        rows.insert(key.to_vec(), value.to_vec());
    }
    assert_eq!(rows, expected(step), "at step {step}");
    step
}

#[test]
fn whatever_survives_a_crash_is_a_whole_state() {
    let disk = SimDisk::recording();
    let file = IndexFile::create(&disk, path()).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let mut synced = Vec::new();
    for step in 1..=6 {
        commit(&file, step);
        if step % 2 == 0 {
            file.sync().unwrap();
            synced.push((disk.operations(), step));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for operations in 0..=disk.operations() {
        for seed in 0..6 {
            let found = disk.after(operations).crash(seed);
            let opened = IndexFile::open(&found, path(), &mut |_| true).unwrap();
            let promised =
                synced.iter().rfind(|(at, _)| *at <= operations).map_or(0, |(_, step)| *step);
            let step = opened.as_ref().map_or(0, |file| check(file));
            assert!(step >= promised, "{step} of {promised}: operations {operations}, seed {seed}");
            seen.insert(step);
            // Life goes on, and may crash again.
            if let Some(file) = opened {
                commit(&file, step + 1);
                drop(file);
                let again = found.crash(seed);
                if let Some(file) = IndexFile::open(&again, path(), &mut |_| true).unwrap() {
                    assert!(check(&file) >= promised);
                }
            }
        }
    }
    assert!(seen.len() > 3, "the crashes leave few states: {seen:?}");
}

/// Regression 1: the mark of a later sync covered what an earlier, failed one had lost,
/// so that the index opened at a state with holes, and queries failed until one of them met a hole.
#[test]
fn what_a_failed_sync_lost_is_not_marked_durable_by_a_later_one() {
    for seed in 1..60 {
        let disk = SimDisk::new();
        let file = IndexFile::create(&disk, path()).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        for step in 1..=2 + seed % 3 {
            commit(&file, step);
        }
        disk.fail(Operation::Sync, 1, Fault::DropDirty);
        assert!(file.sync().is_err());
        for step in 3 + seed % 3..=8 {
            commit(&file, step);
            file.sync().unwrap();
        }
        drop(file);
        if let Some(file) = IndexFile::open(&disk.crash(seed), path(), &mut |_| true).unwrap() {
            check(&file);
        }
    }
}

#[test]
fn every_flipped_bit_costs_states_but_never_shows() {
    let disk = SimDisk::new();
    let file = IndexFile::create(&disk, path()).unwrap();
    (1..=3).for_each(|step| commit(&file, step));
    drop(file);
    let bytes = disk.contents(path()).unwrap();
    for offset in (0..bytes.len() as u64).step_by(23) {
        assert!(disk.flip_bit(path(), offset, (offset % 8) as u8));
        if let Some(file) = IndexFile::open(&disk.kill(), path(), &mut |_| true).unwrap() {
            check(&file);
        }
        assert!(disk.flip_bit(path(), offset, (offset % 8) as u8));
    }
}

#[test]
fn an_older_state_is_taken_when_the_owner_asks_for_it() {
    let disk = MemoryDisk::new();
    let file = IndexFile::create(&disk, path()).unwrap();
    (1..=5).for_each(|step| commit(&file, step));
    file.sync().unwrap();
    drop(file);
    let older = |meta: &[u8]| meta.first().is_some_and(|step| *step <= 3);
    let file = IndexFile::open(&disk, path(), &mut |meta| older(meta)).unwrap().unwrap();
    assert_eq!(check(&file), 3);
    commit(&file, 4);
    drop(file);
    let file = IndexFile::open(&disk, path(), &mut |_| true).unwrap().unwrap();
    assert_eq!(check(&file), 4);
    drop(file);
    assert!(IndexFile::open(&disk, path(), &mut |_| false).unwrap().is_none());
    assert!(IndexFile::open(&disk, Path::new("/none"), &mut |_| true).unwrap().is_none());
}

#[test]
fn what_is_not_committed_does_not_show_and_is_written_over() {
    let disk = MemoryDisk::new();
    let file = IndexFile::create(&disk, path()).unwrap();
    commit(&file, 1);
    let before = file.bytes();
    let mut writer = file.write();
    let rows = (0..20_000u32).map(|n| (n.to_be_bytes(), [0; 60]));
    crate::tree::build(rows, CountEntries, &mut writer).unwrap();
    drop(writer);
    assert_eq!((file.bytes(), check(&file)), (before, 1));
    commit(&file, 2);
    assert_eq!(check(&file), 2);
    drop(file);
    let file = IndexFile::open(&disk, path(), &mut |_| true).unwrap().unwrap();
    assert_eq!(check(&file), 2);
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let disk = MemoryDisk::new();
    let file = IndexFile::create(&disk, path()).unwrap();
    commit(&file, 1);
    let old = file.snapshot();
    (2..=4).for_each(|step| commit(&file, step));
    let tree = Tree::new(old.pages(), old.root(0), CountEntries);
    assert_eq!(tree.total().unwrap(), expected(1).len() as u64);
    assert_eq!(old.root(7), Root::EMPTY);
}
