//! The change of files: against writers, readers, uploads, closing, and another compaction.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use settee_schedule::{Keep, PATH, UPLOAD, create, explore, number_of, options, put};
use settee_storage::{Error, FileStore, Snapshot, Store, StreamRef, disk::MemoryDisk, update};
use shuttle::thread;

const DOCUMENTS: u64 = 3;

fn filled(disk: &MemoryDisk) -> Arc<dyn Store> {
    let store: Arc<dyn Store> = create(disk);
    for number in 0..2 {
        (0..DOCUMENTS).for_each(|doc| put(&store, &format!("doc{doc}"), number).unwrap());
    }
    store
}

fn numbers(snapshot: &dyn Snapshot) -> Vec<Option<u64>> {
    (0..DOCUMENTS).map(|doc| number_of(snapshot, &format!("doc{doc}"))).collect()
}

/// No edit is lost, none is done twice, and a snapshot shows what it showed.
#[test]
fn writers_and_readers_do_not_notice_the_change_of_files() {
    explore(|| {
        let disk = MemoryDisk::new();
        let store = filled(&disk);
        let held = store.snapshot().unwrap();
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let store = Arc::clone(&store);
                thread::spawn(move || {
                    for number in 2..5 {
                        put(&store, &format!("doc{writer}"), number).unwrap();
                        let snapshot = store.snapshot().unwrap();
                        let found = number_of(&*snapshot, &format!("doc{writer}"));
                        assert_eq!(found, Some(number));
                    }
                })
            })
            .collect();
        let compactor = thread::spawn({
            let store = Arc::clone(&store);
            move || store.compact(&mut Keep, &|_| true).map(drop).unwrap()
        });
        writers.into_iter().chain([compactor]).for_each(|thread| thread.join().unwrap());
        assert_eq!(numbers(&*held), [Some(1); 3]);
        let now = [Some(4), Some(4), Some(1)];
        let snapshot = store.snapshot().unwrap();
        assert_eq!((snapshot.seq(), numbers(&*snapshot)), (12, now.to_vec()));
        store.close();
        drop(store);
        let store = FileStore::open(Arc::new(disk), PATH.as_ref(), options()).unwrap();
        let snapshot = store.snapshot().unwrap();
        assert_eq!((snapshot.seq(), numbers(&*snapshot)), (12, now.to_vec()));
    });
}

/// An upload goes on from one file to the other, and its document refers to it in the right one.
#[test]
fn an_upload_is_taken_along() {
    explore(|| {
        let store = filled(&MemoryDisk::new());
        let upload = thread::spawn({
            let store = Arc::clone(&store);
            move || {
                let mut writer = Arc::clone(&store).stream().unwrap();
                writer.write(&[1; 300]).unwrap();
                thread::yield_now();
                writer.write(&[2; 300]).unwrap();
                let staged = writer.finish().unwrap();
                thread::yield_now();
                update(&store, move |edit| {
                    let at = edit.place(&staged);
                    edit.put_local(UPLOAD, &at.to_bytes())
                })
                .unwrap();
            }
        });
        let compactor = thread::spawn({
            let store = Arc::clone(&store);
            move || store.compact(&mut Keep, &|_| true).map(drop).unwrap()
        });
        upload.join().unwrap();
        compactor.join().unwrap();
        let snapshot = store.snapshot().unwrap();
        let at = snapshot.local(UPLOAD).unwrap().unwrap();
        let at = StreamRef::from_bytes(&at).unwrap();
        let mut bytes = Vec::new();
        let mut reader = snapshot.stream(at).unwrap();
        std::io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
        assert_eq!(bytes, [[1; 300], [2; 300]].concat());
    });
}

/// Closing waits for the change of files or prevents it; the file is one or the other, whole.
#[test]
fn closing_and_compacting_do_not_wait_for_each_other_for_ever() {
    explore(|| {
        let disk = MemoryDisk::new();
        let store = filled(&disk);
        let compactor = thread::spawn({
            let store = Arc::clone(&store);
            move || match store.compact(&mut Keep, &|_| true) {
                Ok(_) | Err(Error::Closed) => {}
                Err(error) => panic!("{error}"),
            }
        });
        let closer = thread::spawn({
            let store = Arc::clone(&store);
            move || store.close()
        });
        compactor.join().unwrap();
        closer.join().unwrap();
        drop(store);
        let store = FileStore::open(Arc::new(disk), PATH.as_ref(), options()).unwrap();
        assert_eq!(numbers(&*store.snapshot().unwrap()), [Some(1); 3]);
    });
}

/// Of two at once, one may be refused; checkpoints come in between as they like.
#[test]
fn compactions_and_checkpoints_at_once() {
    explore(|| {
        let store = filled(&MemoryDisk::new());
        let compactors = (0..2).map(|_| {
            let store = Arc::clone(&store);
            thread::spawn(move || match store.compact(&mut Keep, &|_| true) {
                Ok(_) => 1,
                Err(Error::Busy { .. }) => 0,
                Err(error) => panic!("{error}"),
            })
        });
        let compactors: Vec<_> = compactors.collect();
        let checkpoints = thread::spawn({
            let store = Arc::clone(&store);
            move || (0..2).for_each(|_| store.checkpoint().unwrap())
        });
        put(&store, "doc0", 7).unwrap();
        let done: u32 = compactors.into_iter().map(|thread| thread.join().unwrap()).sum();
        checkpoints.join().unwrap();
        assert!(done >= 1);
        assert_eq!(numbers(&*store.snapshot().unwrap()), [Some(7), Some(1), Some(1)]);
    });
}
