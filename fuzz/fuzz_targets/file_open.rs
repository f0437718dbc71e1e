//! Any bytes as a database file: a typed error, or a store that can be read to the end.
#![no_main]
use std::{path::Path, sync::Arc};

use libfuzzer_sys::fuzz_target;
use settee_storage::{
    Direction, FileStore, KeyRange, Options, Store,
    disk::{Disk, MemoryDisk, OpenMode, write_all_at},
};

fuzz_target!(|input: &[u8]| {
    let disk = MemoryDisk::default();
    let path = Path::new("db");
    let file = disk.open(path, OpenMode::CreateNew).expect("a memory disk takes a file");
    write_all_at(&*file, input, 0).expect("a memory disk takes bytes");
    drop(file);
    let Ok(store) = FileStore::open(Arc::new(disk), path, Options::default()) else { return };
    let Ok(snapshot) = store.snapshot() else { return };
    if let Ok(mut docs) = snapshot.docs(&KeyRange::all(), Direction::Forward, false) {
        while let Ok(Some(_)) = docs.next() {}
    }
    if let Ok(mut changes) = snapshot.changes(0, Direction::Backward) {
        while let Ok(Some(_)) = changes.next() {}
    }
});
