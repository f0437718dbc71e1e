//! A power cut while several threads write and checkpoints run beside them, or a compaction by several threads. Such a run cannot be
//! replayed step by step, so what is checked are the promises themselves: of each thread's edits, those
//! acknowledged are there and at most the one under way besides; both indexes and the counts agree.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use common::{Random, bytes};
use settee_storage::{
    BlobRef, Compaction, Copier, Direction, DocWeight, FileStore, KeyRange, NewDocument,
    OldDocument, Options, ReadBy, Result, Snapshot, Store,
    disk::{Disk, SimDisk},
    update,
};

const PATH: &str = "/db";
const THREADS: u64 = 4;
const EDITS: u64 = 120;

fn options(seed: u64) -> Options {
    Options {
        checkpoint_log_bytes: 1000 + 1500 * (seed % 4),
        max_prepare_bytes: 8192,
        read_by: ReadBy::Pread,
        ..Options::default()
    }
}

/// Copies each document with its body.
struct Keep;

impl Compaction for Keep {
    fn another(&self) -> Box<dyn Compaction + '_> {
        Box::new(Keep)
    }

    fn document(&mut self, old: OldDocument<'_>, copier: &mut dyn Copier) -> Result<NewDocument> {
        let at = BlobRef::from_bytes(old.by_id).unwrap();
        let by_id = copier.blob(at)?.to_bytes().to_vec();
        Ok(NewDocument { weight: old.weight, by_id, by_seq: old.by_seq.to_vec() })
    }
}

fn id(thread: u64, number: u64) -> Vec<u8> {
    format!("{thread}/{number:04}").into_bytes()
}

/// Every thread writes its documents in order until the power is gone; returns how many each was told
/// are durable.
fn write_until_power_off(store: &Arc<dyn Store>) -> Vec<u64> {
    let acknowledged: Vec<_> = (0..THREADS).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for (number, acknowledged) in acknowledged.iter().enumerate() {
            let thread = number as u64;
            scope.spawn(move || {
                for number in 0..EDITS {
                    let committed = update(store, move |edit| {
                        let at = edit.put_blob(&bytes(number, 200))?;
                        let weight = DocWeight { active_bytes: number, ..DocWeight::default() };
                        let id = id(thread, number);
                        edit.put_local(&thread.to_be_bytes(), &number.to_be_bytes())?;
                        edit.put_doc(&id, weight, &at.to_bytes(), b"change")
                    });
                    if committed.is_err() {
                        return;
                    }
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    acknowledged.into_iter().map(AtomicU64::into_inner).collect()
}

fn check(snapshot: &dyn Snapshot, acknowledged: &[u64], context: &str) {
    let mut total = 0;
    for (thread, acknowledged) in acknowledged.iter().enumerate() {
        let thread = thread as u64;
        let there = |number: &u64| snapshot.doc(&id(thread, *number)).unwrap().is_some();
        let found = (0..EDITS).take_while(there).count() as u64;
        assert!(
            found == *acknowledged || found == acknowledged + 1,
            "{context}: thread {thread} has {found} edits, {acknowledged} were acknowledged"
        );
        assert!(!(found..EDITS).any(|number| there(&number)), "{context}: a gap");
        let last = snapshot.local(&thread.to_be_bytes()).unwrap().map(|last| last.to_vec());
        assert_eq!(last, found.checked_sub(1).map(|last| last.to_be_bytes().to_vec()));
        for number in 0..found {
            let entry = snapshot.doc(&id(thread, number)).unwrap().unwrap();
            let at = BlobRef::from_bytes(&entry.value).unwrap();
            assert_eq!(&snapshot.blob(at).unwrap()[..], &bytes(number, 200)[..]);
        }
        total += found;
    }
    assert_eq!((snapshot.seq(), snapshot.counts().live), (total, total), "{context}");
    let mut cursor = snapshot.changes(0, Direction::Forward).unwrap();
    for seq in 1..=total {
        let change = cursor.next().unwrap().expect("sequences are dense");
        assert_eq!(change.seq, seq);
        assert_eq!(snapshot.doc(change.id).unwrap().unwrap().seq, seq);
    }
    assert!(cursor.next().unwrap().is_none());
    let everything = KeyRange { start: std::ops::Bound::Included(vec![]), ..KeyRange::all() };
    assert_eq!(snapshot.count_docs(&everything).unwrap(), snapshot.counts());
}

#[test]
fn acknowledged_edits_of_all_threads_survive() {
    let mut cut_short = 0;
    for seed in 0..150 {
        let mut random = Random(seed);
        let disk = SimDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let store = FileStore::create(shared, Path::new(PATH), options(seed)).unwrap();
        let store: Arc<dyn Store> = store;
        disk.power_off_after(random.below(900));
        let acknowledged = write_until_power_off(&store);
        cut_short += u64::from(acknowledged.iter().sum::<u64>() < THREADS * EDITS);
        for crash in [0, 1, seed + 2, seed + 100] {
            let context = format!("seed {seed}, crash {crash}");
            let found = Arc::new(disk.crash(crash));
            let store = FileStore::open(found, Path::new(PATH), options(seed))
                .unwrap_or_else(|error| panic!("{context}: {error}"));
            check(store.snapshot().unwrap().as_ref(), &acknowledged, &context);
        }
    }
    assert!(cut_short > 20, "the power was cut in {cut_short} runs only");
}

/// The same with a compaction beside them again and again, each by several threads, which write what they copy in
/// an order that nobody knows.
#[test]
fn acknowledged_edits_survive_a_compaction_by_several_threads() {
    let (mut cut_short, mut compactions) = (0, 0);
    for seed in 0..100 {
        let mut random = Random(seed);
        let disk = SimDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = Options { compact_helpers: Some(2), ..options(seed) };
        let store: Arc<dyn Store> = FileStore::create(shared, Path::new(PATH), options).unwrap();
        disk.power_off_after(random.below(1200));
        let acknowledged = thread::scope(|scope| {
            let compacting = scope.spawn(|| {
                let mut done = 0;
                while store.compact(&mut Keep, &|_| true).is_ok() {
                    done += 1;
                    if store.snapshot().unwrap().seq() == THREADS * EDITS {
                        break;
                    }
                }
                done
            });
            let acknowledged = write_until_power_off(&store);
            compactions += compacting.join().unwrap();
            acknowledged
        });
        cut_short += u64::from(acknowledged.iter().sum::<u64>() < THREADS * EDITS);
        for crash in [0, 1, seed + 2, seed + 100] {
            let context = format!("seed {seed}, crash {crash}");
            let found = Arc::new(disk.crash(crash));
            let store = FileStore::open(found, Path::new(PATH), options)
                .unwrap_or_else(|error| panic!("{context}: {error}"));
            check(store.snapshot().unwrap().as_ref(), &acknowledged, &context);
        }
    }
    assert!(cut_short > 20, "the power was cut in {cut_short} runs only");
    // How many depends on the machine; a loaded one made 88.
    assert!(compactions > 20, "only {compactions} compactions");
}
