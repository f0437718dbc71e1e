//! Group commit: who leads, who waits, and what readers see.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use settee_schedule::{PATH, create, explore, number_of, options, put};
use settee_storage::{Error, FileStore, Store, disk::MemoryDisk, update};
use shuttle::thread;

const WRITERS: u64 = 3;
const EDITS: u64 = 3;

fn reopen(disk: MemoryDisk) -> Arc<dyn Store> {
    FileStore::open(Arc::new(disk), PATH.as_ref(), options()).unwrap()
}

/// What is acknowledged is in every snapshot taken afterwards, and in the file.
#[test]
fn everybody_is_answered_and_what_is_acknowledged_shows() {
    explore(|| {
        let disk = MemoryDisk::new();
        let store: Arc<dyn Store> = create(&disk);
        let heard = Arc::new(AtomicU64::new(0));
        let hears = Arc::clone(&heard);
        store.listen(Arc::new(move |seq| {
            hears.fetch_max(seq, Ordering::Relaxed);
        }));
        let writers = (0..WRITERS).map(|writer| {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                for number in 0..EDITS {
                    put(&store, &format!("doc{writer}"), number).unwrap();
                    let snapshot = store.snapshot().unwrap();
                    assert_eq!(number_of(&*snapshot, &format!("doc{writer}")), Some(number));
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        let reader = thread::spawn({
            let store = Arc::clone(&store);
            move || {
                let mut before = (0, Vec::new());
                for _ in 0..4 {
                    let snapshot = store.snapshot().unwrap();
                    let seen = |writer| number_of(&*snapshot, &format!("doc{writer}"));
                    let now = (snapshot.seq(), (0..WRITERS).map(seen).collect::<Vec<_>>());
                    assert!(before.0 <= now.0, "sequences go back");
                    assert!(before.1.iter().zip(&now.1).all(|(a, b)| a <= b), "an edit is undone");
                    before = now;
                }
            }
        });
        writers.into_iter().chain([reader]).for_each(|thread| thread.join().unwrap());
        assert_eq!(store.snapshot().unwrap().seq(), WRITERS * EDITS);
        assert_eq!(heard.load(Ordering::Relaxed), WRITERS * EDITS);
        store.close();
        drop(store);
        let snapshot = reopen(disk).snapshot().unwrap();
        assert_eq!(snapshot.seq(), WRITERS * EDITS);
    });
}

/// An edit that fails and one that panics take nothing with them, whoever leads.
#[test]
fn edits_that_come_to_grief_harm_nobody_else() {
    explore(|| {
        let store: Arc<dyn Store> = create(&MemoryDisk::new());
        let failing = thread::spawn({
            let store = Arc::clone(&store);
            move || {
                let failed = update(&store, |edit| -> settee_storage::Result<()> {
                    edit.put_local(b"never", b"")?;
                    Err(Error::Cancelled)
                });
                assert!(matches!(failed, Err(Error::Cancelled)));
            }
        });
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let store = Arc::clone(&store);
                thread::spawn(move || {
                    for number in 0..2 {
                        put(&store, &format!("doc{writer}"), number).unwrap();
                    }
                })
            })
            .collect();
        writers.into_iter().chain([failing]).for_each(|thread| thread.join().unwrap());
        let snapshot = store.snapshot().unwrap();
        assert_eq!(snapshot.seq(), 4);
        assert!(snapshot.local(b"never").unwrap().is_none());
    });
}

/// Those who hand in edits and go on with other work lead when they come to it, in any order.
#[test]
fn leaders_may_come_late() {
    explore(|| {
        let store: Arc<dyn Store> = create(&MemoryDisk::new());
        let answers = Arc::new(Mutex::new(0));
        let threads: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (store, answers) = (Arc::clone(&store), Arc::clone(&answers));
                thread::spawn(move || {
                    let mut leaders = Vec::new();
                    for number in 0..EDITS {
                        let answers = Arc::clone(&answers);
                        let key = [writer as u8, number as u8];
                        leaders.extend(Arc::clone(&store).submit(
                            Box::new(move |edit| edit.put_local(&key, b"").map(|_| true)),
                            Box::new(move |outcome| {
                                outcome.unwrap();
                                *answers.lock() += 1;
                            }),
                        ));
                    }
                    leaders.into_iter().for_each(settee_storage::Leader::run);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*answers.lock(), WRITERS * EDITS);
    });
}

/// After closing, edits are refused; those answered well before are there.
#[test]
fn closing_comes_between_edits() {
    explore(|| {
        let disk = MemoryDisk::new();
        let store: Arc<dyn Store> = create(&disk);
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let store = Arc::clone(&store);
                thread::spawn(move || {
                    let id = format!("doc{writer}");
                    (0..2).take_while(|&number| put(&store, &id, number).is_ok()).count() as u64
                })
            })
            .collect();
        let closer = thread::spawn({
            let store = Arc::clone(&store);
            move || {
                store.checkpoint().unwrap();
                store.close();
            }
        });
        let acknowledged: Vec<u64> =
            writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        closer.join().unwrap();
        assert!(matches!(put(&store, "late", 0), Err(Error::Closed)));
        drop(store);
        let snapshot = reopen(disk).snapshot().unwrap();
        for (writer, acknowledged) in acknowledged.iter().enumerate() {
            let found = number_of(&*snapshot, &format!("doc{writer}"));
            assert_eq!(found, acknowledged.checked_sub(1));
        }
    });
}
