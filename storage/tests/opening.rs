//! Creating, closing and opening files: names, locks, what is replayed and what is cut off.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use common::{Random, bytes, check_stream, write_stream};
use settee_storage::{
    DocWeight, Error, FileStore, Options, ReadBy, Recovery, Store,
    disk::{Disk, MemoryDisk, OpenMode, RealDisk, write_all_at},
    update,
};

/// A disk and a path on it.
type Place = (Arc<dyn Disk>, PathBuf);

fn disks() -> (tempfile::TempDir, [Place; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let real: Arc<dyn Disk> = Arc::new(RealDisk);
    let memory: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let disks = [(real, folder.path().join("db")), (memory, Path::new("db").into())];
    (folder, disks)
}

fn put(store: &Arc<dyn Store>, id: &str) {
    let id = id.to_string();
    update(store, move |edit| {
        edit.put_doc(id.as_bytes(), DocWeight::default(), b"value", b"change")
    })
    .unwrap();
}

#[test]
fn a_name_is_taken_once_and_a_file_is_open_once() {
    let (_folder, disks) = disks();
    for (disk, path) in disks {
        let create = || FileStore::create(Arc::clone(&disk), &path, Options::default());
        let open = || FileStore::open(Arc::clone(&disk), &path, Options::default());
        assert!(matches!(open(), Err(Error::NotFound { .. })));
        let store = create().unwrap();
        assert!(matches!(create(), Err(Error::AlreadyExists { .. })));
        assert!(matches!(open(), Err(Error::Locked { .. })));
        drop(store);
        assert!(matches!(create(), Err(Error::AlreadyExists { .. })));
        let store = open().unwrap();
        // A snapshot does not keep the lock, once the store is closed.
        let snapshot = store.snapshot().unwrap();
        store.close();
        let again = open().unwrap();
        assert_eq!(again.snapshot().unwrap().seq(), snapshot.seq());
    }
}

#[test]
fn an_unfinished_creation_is_no_obstacle() {
    let (_folder, disks) = disks();
    for (disk, path) in disks {
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(".new");
        let left = disk.open(Path::new(&unfinished), OpenMode::CreateNew).unwrap();
        write_all_at(left.as_ref(), b"half a hea", 0).unwrap();
        assert!(left.try_lock().unwrap());
        let create = || FileStore::create(Arc::clone(&disk), &path, Options::default());
        assert!(matches!(create(), Err(Error::Locked { .. })), "somebody is at it");
        drop(left);
        create().unwrap();
        assert!(!disk.exists(Path::new(&unfinished)).unwrap());
    }
}

#[test]
fn a_closed_file_is_trimmed_and_has_nothing_to_replay() {
    let (_folder, disks) = disks();
    for (disk, path) in disks {
        let file_store = FileStore::create(Arc::clone(&disk), &path, Options::default()).unwrap();
        let store: Arc<dyn Store> = file_store;
        put(&store, "a");
        put(&store, "b");
        let file = disk.open(&path, OpenMode::Read).unwrap();
        assert!(file.len().unwrap() > store.sizes().file_bytes, "zeros are written ahead");
        store.checkpoint().unwrap();
        assert_eq!(file.len().unwrap(), store.sizes().file_bytes);
        store.close();
        let store = FileStore::open(Arc::clone(&disk), &path, Options::default()).unwrap();
        assert_eq!(store.recovery(), Recovery::default());
        assert_eq!(store.snapshot().unwrap().counts().live, 2);
        assert_eq!(store.overlay_bytes(), 0);
    }
}

#[test]
fn a_file_that_was_not_closed_is_replayed_and_its_loose_ends_are_cut() {
    let (_folder, disks) = disks();
    for (disk, path) in disks {
        let file_store = FileStore::create(Arc::clone(&disk), &path, Options::default()).unwrap();
        let store: Arc<dyn Store> = file_store;
        put(&store, "a");
        store.checkpoint().unwrap();
        put(&store, "b");
        let content = bytes(1, 600_000);
        let staged = write_stream(&store, &content, &mut Random(1)).unwrap();
        let at = update(&store, move |edit| {
            let at = edit.place(&staged);
            edit.put_local(b"stream", &at.to_bytes())?;
            Ok(at)
        })
        .unwrap();
        let end = store.sizes().file_bytes;
        // Nobody refers to this one.
        write_stream(&store, &content, &mut Random(2)).unwrap();
        drop(store);
        let store = FileStore::open(Arc::clone(&disk), &path, Options::default()).unwrap();
        let recovery = store.recovery();
        assert_eq!(recovery.commits_replayed, 2);
        assert!(recovery.bytes_cut > 600_000, "{recovery:?}");
        assert_eq!(store.sizes().file_bytes, end);
        let snapshot = store.snapshot().unwrap();
        assert_eq!((snapshot.seq(), snapshot.counts().live), (2, 2));
        check_stream(snapshot.as_ref(), at, &content, &mut Random(3));
        drop(store);
        let store = FileStore::open(disk, &path, Options::default()).unwrap();
        assert_eq!(store.recovery().bytes_cut, 0);
    }
}

#[test]
fn garbage_behind_the_end_is_cut() {
    let (_folder, disks) = disks();
    for (disk, path) in disks {
        let options = Options { max_prepare_bytes: 0, ..Options::default() };
        let file_store = FileStore::create(Arc::clone(&disk), &path, options).unwrap();
        let store: Arc<dyn Store> = file_store;
        put(&store, "a");
        let end = store.sizes().file_bytes;
        drop(store);
        let file = disk.open(&path, OpenMode::Write).unwrap();
        write_all_at(file.as_ref(), &bytes(4, 10_001), end).unwrap();
        drop(file);
        let store = FileStore::open(disk, &path, options).unwrap();
        assert_eq!(store.recovery().commits_replayed, 1);
        assert!(store.recovery().bytes_cut >= 10_001);
        assert_eq!(store.sizes().file_bytes, end);
    }
}

/// A file changes hands between readers as it grows: `pread` while small, then maps, each longer.
#[test]
fn a_growing_file_is_read_by_map_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let options = Options { checkpoint_log_bytes: 100_000, ..Options::default() };
    let file_store = FileStore::create(Arc::new(RealDisk), &path, options).unwrap();
    let store: Arc<dyn Store> = file_store;
    let mut snapshots = Vec::new();
    for round in 0..60u64 {
        let number = round;
        let at = update(&store, move |edit| {
            let at = edit.put_blob(&bytes(number, 800_000))?;
            edit.put_doc(&number.to_be_bytes(), DocWeight::default(), &at.to_bytes(), b"")?;
            Ok(at)
        });
        snapshots.push((store.snapshot().unwrap(), at.unwrap()));
    }
    for (round, (snapshot, at)) in snapshots.iter().enumerate() {
        assert_eq!(&snapshot.blob(*at).unwrap()[..], &bytes(round as u64, 800_000)[..]);
    }
    let borrowed = snapshots[3].0.blob(snapshots[3].1).unwrap();
    assert!(matches!(borrowed, settee_storage::Value::Borrowed(_)));
}

#[test]
fn commits_made_during_a_checkpoint_are_replayed() {
    let options =
        Options { checkpoint_log_bytes: 20_000, read_by: ReadBy::Pread, ..Options::default() };
    for _ in 0..5 {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let path = Path::new("db");
        let file_store = FileStore::create(Arc::clone(&disk), path, options).unwrap();
        let store: Arc<dyn Store> = file_store;
        thread::scope(|scope| {
            for thread in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    for number in 0..200 {
                        put(store, &format!("{thread}-{number}"));
                    }
                });
            }
        });
        drop(store);
        let store = FileStore::open(disk, path, options).unwrap();
        let snapshot = store.snapshot().unwrap();
        assert_eq!((snapshot.seq(), snapshot.counts().live), (800, 800));
        assert_eq!(snapshot.count_changes(0).unwrap(), 800);
    }
}
