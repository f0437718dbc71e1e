//! Compaction from outside: what stays, what may go on meanwhile, and what it leaves when it does not come
//! to its end. Crashes in the middle of it are in `crash.rs`, random histories in `model.rs`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
};

use common::{Act, Model, Random, Rewriter, bytes, check_stream, compact, decode, write_stream};
use settee_storage::{
    Compaction, Copier, Direction, DocWeight, Error, FileStore, NewDocument, OldDocument, Options,
    Phase, Result, Snapshot, Store, StreamRef, Transaction,
    disk::{
        Disk, MemoryDisk, OpenMode, RealDisk, SimDisk,
        sim::{Fault, Operation},
    },
    offline::{OpaqueContent, verify},
    share, update,
};

const PATH: &str = "/db";

/// A compaction by one thread, and by several, whatever the machine has.
const IN_PLACE: usize = 0;
const BY_SEVERAL: usize = 3;

fn options(helpers: usize) -> Options {
    Options {
        checkpoint_log_bytes: 200_000,
        compact_pause_bytes: 4096,
        compact_helpers: Some(helpers),
        identity: Some([9; 32]),
        ..Options::default()
    }
}

fn create(disk: &(impl Disk + Clone + 'static), helpers: usize) -> Arc<FileStore> {
    FileStore::create(Arc::new(disk.clone()), Path::new(PATH), options(helpers)).unwrap()
}

fn fill(store: &Arc<dyn Store>, model: &mut Model, seed: u64, edits: usize) {
    let mut random = Random(seed);
    for _ in 0..edits {
        let acts = (0..8).map(|_| Act::random(&mut random, 200)).collect();
        model.update(store, acts).unwrap();
    }
}

fn attach(store: &Arc<dyn Store>, model: &mut Model, key: &str, content: Vec<u8>) {
    let staged = write_stream(store, &content, &mut Random(1)).unwrap();
    let act = Act::Attach { key: key.into(), staged, content };
    model.update(store, vec![act]).unwrap();
}

fn what_is_live_stays_and_the_rest_is_given_back(helpers: usize) {
    let disk = MemoryDisk::new();
    let file_store = create(&disk, helpers);
    let store: Arc<dyn Store> = file_store.clone();
    let mut model = Model::default();
    fill(&store, &mut model, 1, 300);
    attach(&store, &mut model, "stream a", bytes(5, 700_000));
    attach(&store, &mut model, "stream a", bytes(6, 300_000));
    let before = store.snapshot().unwrap();
    let old = model.clone();
    let compacted = compact(store.as_ref()).unwrap();
    assert!(compacted.bytes_after < compacted.bytes_before / 2, "{compacted:?}");
    assert_eq!(store.sizes().file_bytes, compacted.bytes_after);
    fill(&store, &mut model, 2, 50);
    model.check(store.snapshot().unwrap().as_ref(), &mut Random(1));
    old.check(before.as_ref(), &mut Random(2));
    // Nothing of a second one is garbage, but for the edits made since.
    let again = compact(store.as_ref()).unwrap();
    assert!(again.bytes_after <= compacted.bytes_after + 100_000, "{again:?}");
    store.close();
    drop((store, file_store));
    let store = FileStore::open(Arc::new(disk), Path::new(PATH), options(helpers)).unwrap();
    assert_eq!(store.recovery(), settee_storage::Recovery::default());
    model.check(store.snapshot().unwrap().as_ref(), &mut Random(3));
}

fn an_empty_store_can_be_compacted_again_and_again(helpers: usize) {
    let disk = MemoryDisk::new();
    let store: Arc<dyn Store> = create(&disk, helpers);
    for _ in 0..3 {
        compact(store.as_ref()).unwrap();
    }
    let mut model = Model::default();
    fill(&store, &mut model, 1, 3);
    model.check(store.snapshot().unwrap().as_ref(), &mut Random(1));
}

/// Edits made in the middle of a compaction, wherever it looks up, more than one round can take.
fn edits_made_meanwhile_are_brought_over_in_rounds(helpers: usize) {
    let disk = MemoryDisk::new();
    let store: Arc<dyn Store> = create(&disk, helpers);
    let mut model = Model::default();
    fill(&store, &mut model, 1, 200);
    attach(&store, &mut model, "stream kept", bytes(5, 600_000));
    let busy = std::cell::RefCell::new((&mut model, 0));
    let compacted = store
        .compact(&mut Rewriter, &|_| {
            let (model, looks) = &mut *busy.borrow_mut();
            *looks += 1;
            if *looks < 9 {
                fill(&store, model, 100 + *looks, 20);
                // The same stream under another key, as a document that keeps its attachment.
                let snapshot = store.snapshot().unwrap();
                let stored = snapshot.local(b"stream kept").unwrap().unwrap();
                let at = StreamRef::from_bytes(&stored).unwrap();
                let staged = share(&store, snapshot.as_ref(), at).unwrap();
                let key = format!("stream {looks}").into_bytes();
                let act = Act::Attach { key, staged, content: bytes(5, 600_000) };
                model.update(&store, vec![act]).unwrap();
            }
            true
        })
        .unwrap();
    assert!(compacted.rounds > 1, "{compacted:?}");
    model.check(store.snapshot().unwrap().as_ref(), &mut Random(1));
    fill(&store, &mut model, 7, 20);
    model.check(store.snapshot().unwrap().as_ref(), &mut Random(2));
}

fn threads_write_while_it_compacts(store: &Arc<dyn Store>, least_compactions: u64) {
    const THREADS: u64 = 3;
    let done = AtomicBool::new(false);
    let compactions = AtomicU64::new(0);
    let models: Vec<Vec<u64>> = thread::scope(|scope| {
        let (done, compactions) = (&done, &compactions);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                compact(store.as_ref()).unwrap();
                compactions.fetch_add(1, Ordering::Relaxed);
            }
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || write_numbers(store, thread, compactions, least_compactions))
            })
            .collect();
        let models = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        models
    });
    let snapshot = store.snapshot().unwrap();
    let mut documents = 0;
    for (thread, numbers) in models.iter().enumerate() {
        documents += numbers.len() as u64;
        for (slot, number) in numbers.iter().enumerate() {
            let entry = snapshot.doc(format!("{thread}-{slot}").as_bytes()).unwrap().unwrap();
            let at = decode(&entry.value).0.unwrap();
            assert_eq!(&snapshot.blob(at).unwrap()[..], &bytes(*number, 500)[..]);
        }
    }
    assert_eq!(snapshot.counts().live, documents);
    assert_eq!(snapshot.count_changes(0).unwrap(), documents);
}

/// Writes documents in turn until there were enough compactions; returns the last number of each.
fn write_numbers(
    store: &Arc<dyn Store>,
    thread: u64,
    compactions: &AtomicU64,
    least_compactions: u64,
) -> Vec<u64> {
    const SLOTS: usize = 40;
    let mut numbers = vec![0; SLOTS];
    for number in 1.. {
        let slot = number as usize % SLOTS;
        let id = format!("{thread}-{slot}");
        update(store, move |edit| put_blob(edit, &id, &bytes(number, 500))).unwrap();
        numbers[slot] = number;
        let enough = number as usize >= SLOTS;
        if enough && compactions.load(Ordering::Relaxed) >= least_compactions {
            return numbers;
        }
    }
    unreachable!()
}

fn put_blob(edit: &mut dyn Transaction, id: &str, content: &[u8]) -> Result<()> {
    let at = edit.put_blob(content)?;
    let value = [&[1], &at.to_bytes()[..]].concat();
    edit.put_doc(id.as_bytes(), DocWeight::default(), &value, b"").map(drop)
}

fn several_threads_write_while_it_compacts_in_memory(helpers: usize) {
    let store: Arc<dyn Store> = create(&MemoryDisk::new(), helpers);
    threads_write_while_it_compacts(&store, 25);
}

fn several_threads_write_while_it_compacts_on_a_disk(helpers: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = FileStore::create(Arc::new(RealDisk), &path, options(helpers)).unwrap();
    let dyn_store: Arc<dyn Store> = store;
    threads_write_while_it_compacts(&dyn_store, 8);
}

/// An upload that takes longer than a compaction, or two, and one that is finished but not yet referred to.
fn uploads_under_way_are_taken_along(helpers: usize) {
    for finished_before in [false, true] {
        let disk = MemoryDisk::new();
        let store: Arc<dyn Store> = create(&disk, helpers);
        let mut model = Model::default();
        fill(&store, &mut model, 1, 20);
        let content = bytes(3, 900_000);
        let mut writer = Arc::clone(&store).stream().unwrap();
        writer.write(&content[..400_000]).unwrap();
        if !finished_before {
            compact(store.as_ref()).unwrap();
        }
        writer.write(&content[400_000..800_000]).unwrap();
        if !finished_before {
            compact(store.as_ref()).unwrap();
        }
        writer.write(&content[800_000..]).unwrap();
        let staged = writer.finish().unwrap();
        assert_eq!(staged.bytes(), 900_000);
        // One that nobody waits for is not taken along.
        drop(write_stream(&store, &bytes(4, 500_000), &mut Random(1)).unwrap());
        let compacted = compact(store.as_ref()).unwrap();
        assert!(compacted.bytes_after < 1_200_000, "{compacted:?}");
        compact(store.as_ref()).unwrap();
        let act = Act::Attach { key: b"stream".to_vec(), staged, content };
        model.update(&store, vec![act]).unwrap();
        compact(store.as_ref()).unwrap();
        model.check(store.snapshot().unwrap().as_ref(), &mut Random(1));
    }
}

/// A snapshot of a file that is gone: what it shows can still be given to another document.
fn a_stream_of_an_old_snapshot_can_be_shared(helpers: usize) {
    let store: Arc<dyn Store> = create(&MemoryDisk::new(), helpers);
    let mut model = Model::default();
    let content = bytes(3, 600_000);
    attach(&store, &mut model, "stream", content.clone());
    let old = store.snapshot().unwrap();
    let at = StreamRef::from_bytes(&old.local(b"stream").unwrap().unwrap()).unwrap();
    let before = share(&store, old.as_ref(), at).unwrap();
    model.update(&store, vec![Act::RemoveKey { meta: false, key: b"stream".to_vec() }]).unwrap();
    compact(store.as_ref()).unwrap();
    assert!(old.stage(at).unwrap().is_none());
    let after = share(&store, old.as_ref(), at).unwrap();
    for staged in [before, after] {
        let place = update(&store, move |edit| Ok(edit.place(&staged))).unwrap();
        check_stream(store.snapshot().unwrap().as_ref(), place, &content, &mut Random(1));
    }
}

/// Ended at every point where it can be, it leaves the store as it was, and no file.
fn a_cancelled_compaction_leaves_nothing(helpers: usize) {
    let disk = SimDisk::new();
    let store: Arc<dyn Store> = create(&disk, helpers);
    let mut model = Model::default();
    fill(&store, &mut model, 1, 40);
    attach(&store, &mut model, "stream", bytes(5, 600_000));
    let before = store.sizes();
    let mut phases = Vec::new();
    for last_look in 0.. {
        let looks = std::cell::RefCell::new(Vec::new());
        let outcome = store.compact(&mut Rewriter, &|progress| {
            assert!(progress.done <= progress.total, "{progress:?}");
            looks.borrow_mut().push(progress.phase);
            looks.borrow().len() <= last_look
        });
        model.check(store.snapshot().unwrap().as_ref(), &mut Random(1));
        let files = disk.list(Path::new("/")).unwrap();
        assert_eq!(files, [(PATH.into(), false)]);
        if outcome.is_ok() {
            phases = looks.into_inner();
            break;
        }
        assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
        assert_eq!(store.sizes(), before);
    }
    if helpers > 0 {
        return;
    }
    phases.dedup();
    let expected = [Phase::Documents, Phase::Keys, Phase::BySequence, Phase::ById, Phase::Keys];
    assert_eq!(phases[..5], expected);
}

/// Regression 2, found by seed 415 of the simulation: the compaction missed the upload that a failed sync had
/// cut off, and called the file damaged.
fn a_file_that_was_given_up_meanwhile_is_not_called_damaged(helpers: usize) {
    let disk = SimDisk::new();
    let store: Arc<dyn Store> = create(&disk, helpers);
    fill(&store, &mut Model::default(), 1, 20);
    let uploads = std::cell::RefCell::new(Vec::new());
    let outcome = store.compact(&mut Rewriter, &|_| {
        if uploads.borrow().is_empty() {
            let upload = write_stream(&store, &bytes(4, 3000), &mut Random(1)).unwrap();
            uploads.borrow_mut().push(upload);
            disk.fail(Operation::Sync, 1, Fault::Error);
            assert!(update(&store, |edit| edit.put_local(b"x", b"y")).is_err());
        }
        true
    });
    assert!(matches!(outcome, Err(Error::Poisoned { .. })), "{outcome:?}");
}

fn one_at_a_time_and_none_on_a_closed_store(helpers: usize) {
    let store: Arc<dyn Store> = create(&MemoryDisk::new(), helpers);
    let inside = store.compact(&mut Rewriter, &|_| {
        assert!(matches!(compact(store.as_ref()), Err(Error::Busy { .. })));
        true
    });
    inside.unwrap();
    // Closing waits for the compaction, which notices.
    thread::scope(|scope| {
        let (begun, begin) = std::sync::mpsc::channel();
        let closing = store.clone();
        scope.spawn(move || {
            begin.recv().unwrap();
            closing.close();
        });
        let outcome = store.compact(&mut Rewriter, &|_| {
            let _ = begun.send(());
            thread::yield_now();
            // Only the store ends it.
            while compact(store.as_ref()).is_err_and(|error| matches!(error, Error::Busy { .. })) {
                thread::yield_now();
            }
            true
        });
        assert!(matches!(outcome, Err(Error::Closed)), "{outcome:?}");
    });
    assert!(matches!(compact(store.as_ref()), Err(Error::Closed)));
}

fn the_new_file_is_locked_and_the_old_lock_is_given_up_with_the_store(helpers: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = FileStore::create(Arc::clone(&disk), &path, options(helpers)).unwrap();
    let snapshot = store.snapshot().unwrap();
    compact(store.as_ref()).unwrap();
    let second = FileStore::open(Arc::clone(&disk), &path, options(helpers));
    assert!(matches!(second, Err(Error::Locked { .. })));
    store.close();
    FileStore::open(disk, &path, options(helpers)).unwrap();
    assert_eq!(snapshot.seq(), 0);
}

fn what_a_crash_left_beside_the_file_is_removed(helpers: usize) {
    let disk = MemoryDisk::new();
    let store = create(&disk, helpers);
    let left = Path::new("/db.compact");
    disk.open(left, OpenMode::CreateNew).unwrap();
    compact(store.as_ref()).unwrap();
    assert!(!disk.exists(left).unwrap());
    store.close();
    drop(store);
    disk.open(left, OpenMode::CreateNew).unwrap();
    FileStore::open(Arc::new(disk.clone()), Path::new(PATH), options(helpers)).unwrap();
    assert!(!disk.exists(left).unwrap());
}

fn a_disk_without_room_for_it_is_noticed_before_anything_is_written(helpers: usize) {
    let disk = SimDisk::new();
    let store: Arc<dyn Store> = create(&disk, helpers);
    let mut model = Model::default();
    fill(&store, &mut model, 1, 100);
    let used = store.sizes().file_bytes;
    disk.set_capacity(Some(used + 60_000));
    let operations = disk.operations();
    let refused = compact(store.as_ref()).unwrap_err();
    assert!(matches!(refused, Error::NoRoom { .. }), "{refused}");
    assert!(refused.to_string().contains("free some space and try again"), "{refused}");
    assert_eq!(disk.operations(), operations);
    disk.set_capacity(None);
    compact(store.as_ref()).unwrap();
    model.check(store.snapshot().unwrap().as_ref(), &mut Random(1));
}

/// Many documents with bodies of all sizes: what several threads make of them is as sound as what one makes, holds
/// the same, and is hardly longer.
#[test]
fn several_threads_make_the_same_of_many_documents() {
    const DOCUMENTS: u64 = 4000;
    let length = |number: u64| match number % 100 {
        7 => 20_000 + number as usize,
        50 if number.is_multiple_of(1000) => 1_500_000,
        _ => number as usize % 400,
    };
    let (mut lengths, mut found) = (Vec::new(), Vec::new());
    for helpers in [IN_PLACE, 1, BY_SEVERAL] {
        let disk = MemoryDisk::new();
        let store: Arc<dyn Store> = create(&disk, helpers);
        for from in (0..DOCUMENTS).step_by(500) {
            update(&store, move |edit| {
                (from..from + 500).try_for_each(|number| {
                    // Not in the order of the ids.
                    let id = format!("{:04}", number * 7919 % DOCUMENTS);
                    put_blob(edit, &id, &bytes(number, length(number)))
                })
            })
            .unwrap();
        }
        attach(&store, &mut Model::default(), "stream", bytes(5, 700_000));
        compact(store.as_ref()).unwrap();
        let report = verify(&disk, Path::new(PATH), &OpaqueContent, &mut |_, _| {}).unwrap();
        assert!(report.is_sound(), "{report:?}");
        lengths.push(store.sizes().file_bytes);
        found.push(everything(store.snapshot().unwrap().as_ref()));
    }
    assert_eq!(found[0].len() as u64, DOCUMENTS);
    assert!(found.iter().all(|these| *these == found[0]));
    assert!(lengths.iter().all(|length| *length < lengths[0] + lengths[0] / 16), "{lengths:?}");
}

/// Sequence, id and body of every document.
fn everything(snapshot: &dyn Snapshot) -> Vec<(u64, Vec<u8>, Vec<u8>)> {
    let mut changes = snapshot.changes(0, Direction::Forward).unwrap();
    let mut found = Vec::new();
    while let Some(change) = changes.next().unwrap() {
        let entry = snapshot.doc(change.id).unwrap().unwrap();
        let body = snapshot.blob(decode(&entry.value).0.unwrap()).unwrap().to_vec();
        found.push((change.seq, change.id.to_vec(), body));
    }
    found
}

/// Fails or panics as soon as a thread other than the caller's asks for a document. The caller's waits for that.
#[derive(Clone)]
struct FailsElsewhere {
    caller: ThreadId,
    panics: bool,
    failed: Arc<AtomicBool>,
}

impl Compaction for FailsElsewhere {
    fn another(&self) -> Box<dyn Compaction + '_> {
        Box::new(self.clone())
    }

    fn document(&mut self, old: OldDocument<'_>, copier: &mut dyn Copier) -> Result<NewDocument> {
        if thread::current().id() != self.caller {
            self.failed.store(true, Ordering::Relaxed);
            assert!(!self.panics, "the compaction of a test");
            return Err(Error::Invalid { what: "the compaction of a test" });
        }
        while !self.failed.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        Rewriter.document(old, copier)
    }
}

#[test]
fn what_goes_wrong_on_another_thread_ends_the_compaction() {
    let disk = SimDisk::new();
    let store: Arc<dyn Store> = create(&disk, BY_SEVERAL);
    let mut model = Model::default();
    fill(&store, &mut model, 1, 100);
    let before = store.sizes();
    for panics in [false, true] {
        let (caller, failed) = (thread::current().id(), Arc::default());
        let mut job = FailsElsewhere { caller, panics, failed };
        let outcome = catch_unwind(AssertUnwindSafe(|| store.compact(&mut job, &|_| true)));
        match outcome {
            Ok(outcome) => assert!(
                matches!(outcome, Err(Error::Invalid { what: "the compaction of a test" })),
                "{outcome:?}"
            ),
            Err(_) => assert!(panics),
        }
        assert_eq!(disk.list(Path::new("/")).unwrap(), [(PATH.into(), false)]);
        assert_eq!(store.sizes(), before);
    }
    compact(store.as_ref()).unwrap();
    model.check(store.snapshot().unwrap().as_ref(), &mut Random(1));
}

/// A write or sync that fails, on whatever thread, while the copy is made.
#[test]
fn a_failing_disk_ends_the_compaction_and_leaves_the_store() {
    let mut failures = 0;
    for operation in [Operation::Write, Operation::Sync, Operation::Read] {
        for nth in 1..12 {
            let disk = SimDisk::new();
            let store: Arc<dyn Store> = create(&disk, BY_SEVERAL);
            let mut model = Model::default();
            fill(&store, &mut model, 1, 60);
            store.checkpoint().unwrap();
            disk.fail(operation, nth, Fault::Error);
            let outcome = compact(store.as_ref());
            disk.heal();
            failures += u64::from(outcome.is_err());
            if outcome.is_err() && store.checkpoint().is_ok() {
                model.check(store.snapshot().unwrap().as_ref(), &mut Random(1));
            }
            store.close();
            drop(store);
            let store = FileStore::open(Arc::new(disk), Path::new(PATH), options(BY_SEVERAL));
            model.check(store.unwrap().snapshot().unwrap().as_ref(), &mut Random(2));
        }
    }
    assert!(failures > 15, "{failures} failures");
}

/// Each test in both ways.
macro_rules! in_both_ways {
    ($($test:ident),* $(,)?) => {
        mod in_place {
            $(#[test] fn $test() { super::$test(super::IN_PLACE) })*
        }
        mod by_several_threads {
            $(#[test] fn $test() { super::$test(super::BY_SEVERAL) })*
        }
    };
}

in_both_ways! {
    what_is_live_stays_and_the_rest_is_given_back,
    an_empty_store_can_be_compacted_again_and_again,
    edits_made_meanwhile_are_brought_over_in_rounds,
    several_threads_write_while_it_compacts_in_memory,
    several_threads_write_while_it_compacts_on_a_disk,
    uploads_under_way_are_taken_along,
    a_stream_of_an_old_snapshot_can_be_shared,
    a_cancelled_compaction_leaves_nothing,
    a_file_that_was_given_up_meanwhile_is_not_called_damaged,
    one_at_a_time_and_none_on_a_closed_store,
    the_new_file_is_locked_and_the_old_lock_is_given_up_with_the_store,
    what_a_crash_left_beside_the_file_is_removed,
    a_disk_without_room_for_it_is_noticed_before_anything_is_written,
}
