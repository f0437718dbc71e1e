//! Index files: one who writes, others who read, and syncs beside them.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use settee_schedule::explore;
use settee_storage::{
    Direction, KeyRange,
    disk::MemoryDisk,
    index::{IndexFile, IndexSnapshot},
    tree::{CountEntries, Tree, build},
};
use shuttle::thread;

const STATES: u8 = 4;

/// A state holds as many rows as its number says, and each says which state it is of.
fn check(snapshot: &IndexSnapshot) -> u8 {
    let number = snapshot.meta().first().copied().unwrap_or_default();
    let tree = Tree::new(snapshot.pages(), snapshot.root(0), CountEntries);
    let mut rows = 0;
    let mut cursor = tree.cursor(&KeyRange::all(), Direction::Forward);
    while let Some((_, value)) = cursor.next().unwrap() {
        assert_eq!(value, [number]);
        rows += 1;
    }
    assert_eq!(rows, number);
    number
}

fn write(file: &Arc<IndexFile>, number: u8, commit: bool) {
    let rows: Vec<_> = (0..number).map(|row| ([row], [number])).collect();
    let mut writer = file.write();
    let root = build(rows, CountEntries, &mut writer).unwrap();
    if commit {
        writer.commit(&[root], &[number]).unwrap();
    }
}

#[test]
fn readers_see_whole_states_in_order() {
    explore(|| {
        let disk = MemoryDisk::new();
        let file = IndexFile::create(&disk, "/index".as_ref()).unwrap();
        let writer = thread::spawn({
            let file = Arc::clone(&file);
            move || {
                for number in 1..=STATES {
                    // What is not committed is written over.
                    write(&file, number + 100, false);
                    write(&file, number, true);
                }
            }
        });
        let syncer = thread::spawn({
            let file = Arc::clone(&file);
            move || (0..2).for_each(|_| file.sync().unwrap())
        });
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let file = Arc::clone(&file);
                thread::spawn(move || {
                    let held = file.snapshot();
                    let mut newest = check(&held);
                    for _ in 0..2 {
                        let number = check(&file.snapshot());
                        assert!(number >= newest, "states go back");
                        newest = number;
                    }
                    check(&held);
                })
            })
            .collect();
        readers.into_iter().chain([writer, syncer]).for_each(|thread| thread.join().unwrap());
        drop(file);
        let file = IndexFile::open(&disk, "/index".as_ref(), &mut |_| true).unwrap().unwrap();
        assert_eq!(check(&file.snapshot()), STATES);
    });
}
