//! One suite for every kind of store: what the engine relies on, whatever is beneath.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use common::{
    Act, Model, Random, bytes, check_stream, perform, refusal, submit_group, write_stream,
};
use settee_storage::{
    Direction, DocWeight, Error, FileStore, KeyRange, Options, ReadBy, Result, Store, StreamRef,
    Transaction, disk::RealDisk, update,
};

/// Gives a new, empty store.
type NewStore = fn() -> Arc<dyn Store>;

/// A store in a real file. The folder is leaked on purpose until the process ends; the system cleans it.
fn real_file(options: Options) -> Arc<dyn Store> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.settee");
    let store = FileStore::create(Arc::new(RealDisk), &path, options).unwrap();
    // Open descriptors outlive the name, so the folder may go now.
    drop(folder);
    store
}

/// Sizes so small that every test passes through several checkpoints.
fn restless(read_by: ReadBy) -> Options {
    Options {
        checkpoint_log_bytes: 3000,
        checkpoint_memory_bytes: 6000,
        cache_bytes: 64 * 1024,
        read_by,
        ..Options::default()
    }
}

/// Every test of this macro runs against every store.
macro_rules! suite {
    ($($test:ident)*) => {
        mod file { $(#[test] fn $test() { super::$test(|| super::real_file(super::Options::default())) })* }
        mod file_restless_map { $(#[test] fn $test() {
            super::$test(|| super::real_file(super::restless(super::ReadBy::Map)))
        })* }
        mod file_restless_pread { $(#[test] fn $test() {
            super::$test(|| super::real_file(super::restless(super::ReadBy::Pread)))
        })* }
        mod memory { $(#[test] fn $test() {
            super::$test(|| super::FileStore::in_memory(super::Options::default()).unwrap())
        })* }
    };
}

suite! {
    a_new_store_is_empty
    documents_come_back_by_id_and_by_sequence
    a_snapshot_stays_as_it_was
    edits_of_a_group_see_each_other_and_fail_alone
    an_edit_that_panics_takes_nothing_with_it
    edits_take_effect_in_the_order_of_their_submission
    local_and_meta_are_keyspaces_of_their_own
    removing_a_document_takes_a_sequence
    streams_of_all_sizes_come_back_and_can_be_sought
    streams_may_be_written_side_by_side
    limits_are_errors_and_change_nothing
    the_listener_hears_of_every_commit
    a_closed_store_refuses_edits_and_keeps_its_snapshots
    random_edits_agree_with_the_model
    many_threads_edit_while_others_read
    checkpoints_change_nothing_that_is_seen
    skipping_is_walking
}

fn put(edit: &mut dyn Transaction, id: &str, value: &str) -> Result<u64> {
    edit.put_doc(id.as_bytes(), DocWeight::default(), value.as_bytes(), b"")
}

fn a_new_store_is_empty(new: NewStore) {
    let store = new();
    Model::default().check(store.snapshot().unwrap().as_ref(), &mut Random(1));
    assert!(store.sizes().file_bytes > 0);
}

fn documents_come_back_by_id_and_by_sequence(new: NewStore) {
    let store = new();
    let mut model = Model::default();
    let ids = ["b", "a", "", "c", "b", "\u{ff}\u{fe}", "a/b", "b"];
    for (number, id) in ids.iter().enumerate() {
        let act = Act::Put {
            id: id.as_bytes().to_vec(),
            deleted: number == 3,
            value: vec![number as u8; number],
            blob: Some(bytes(number as u64, number * 100)),
        };
        model.update(&store, vec![act]).unwrap();
        model.check(store.snapshot().unwrap().as_ref(), &mut Random(number as u64));
    }
    assert_eq!(model.docs.len(), 6);
}

fn a_snapshot_stays_as_it_was(new: NewStore) {
    let store = new();
    let mut random = Random(2);
    let mut model = Model::default();
    let mut kept = Vec::new();
    for _ in 0..30 {
        let acts = (0..10).map(|_| Act::random(&mut random, 40)).collect();
        model.update(&store, acts).unwrap();
        kept.push((store.snapshot().unwrap(), model.clone()));
    }
    store.checkpoint().unwrap();
    for (snapshot, model) in kept {
        model.check(snapshot.as_ref(), &mut random);
    }
}

fn edits_of_a_group_see_each_other_and_fail_alone(new: NewStore) {
    let store = new();
    let outcomes = submit_group(
        &store,
        vec![
            Box::new(|edit| put(edit, "a", "1").map(Some)),
            Box::new(|edit| {
                assert_eq!(&edit.doc(b"a")?.unwrap().value[..], b"1");
                edit.put_blob(&[1; 5000])?;
                put(edit, "a", "declined")?;
                put(edit, "b", "declined")?;
                edit.put_local(b"l", b"declined")?;
                edit.remove_doc(b"a")?;
                Ok(None)
            }),
            Box::new(|edit| {
                put(edit, "a", "failed")?;
                edit.put_meta(b"m", b"failed")?;
                Err(refusal())
            }),
            Box::new(|edit| {
                assert_eq!(&edit.doc(b"a")?.unwrap().value[..], b"1");
                assert!(edit.doc(b"b")?.is_none());
                assert!(edit.local(b"l")?.is_none());
                assert!(edit.meta(b"m")?.is_none());
                put(edit, "c", "3").map(Some)
            }),
        ],
    );
    let committed: Vec<_> = outcomes
        .iter()
        .map(|(value, outcome)| (*value, outcome.as_ref().ok().map(|r| r.committed)))
        .collect();
    assert_eq!(
        committed,
        [(Some(1), Some(true)), (None, Some(false)), (None, None), (Some(2), Some(true))]
    );
    assert!(matches!(outcomes[2].1, Err(Error::TooLarge { .. })));
    let snapshot = store.snapshot().unwrap();
    assert_eq!((snapshot.seq(), snapshot.counts().live), (2, 2));
    assert_eq!(&snapshot.doc(b"a").unwrap().unwrap().value[..], b"1");
    assert!(snapshot.local(b"l").unwrap().is_none());
}

fn an_edit_that_panics_takes_nothing_with_it(new: NewStore) {
    let store = new();
    let outcomes = submit_group::<u64>(
        &store,
        vec![
            Box::new(|edit| put(edit, "a", "1").map(Some)),
            Box::new(|edit| {
                put(edit, "b", "2")?;
                panic!("on purpose")
            }),
            Box::new(|edit| put(edit, "c", "3").map(Some)),
        ],
    );
    assert!(outcomes[0].1.is_ok() && outcomes[1].1.is_err() && outcomes[2].1.is_ok());
    assert_eq!(update(&store, |edit| put(edit, "d", "4")).unwrap(), 3);
}

fn edits_take_effect_in_the_order_of_their_submission(new: NewStore) {
    let store = new();
    let edits = (0..100u64).map(|number| -> Box<dyn FnOnce(&mut dyn Transaction) -> _ + Send> {
        Box::new(move |edit| put(edit, &format!("{}", number % 7), &number.to_string()).map(Some))
    });
    let outcomes = submit_group(&store, edits.collect());
    let seqs: Vec<_> = outcomes.into_iter().map(|(seq, _)| seq.unwrap()).collect();
    assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
    let snapshot = store.snapshot().unwrap();
    assert_eq!(&snapshot.doc(b"1").unwrap().unwrap().value[..], b"99");
}

fn local_and_meta_are_keyspaces_of_their_own(new: NewStore) {
    let store = new();
    update(&store, |edit| {
        edit.put_local(b"k", b"local")?;
        edit.put_meta(b"k", b"meta")?;
        edit.put_local(b"", b"empty key")?;
        edit.put_local(&[0xff; 4], b"high key")
    })
    .unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.seq(), 0, "they take no sequence");
    assert_eq!(snapshot.local(b"k").unwrap().as_deref(), Some(&b"local"[..]));
    assert_eq!(snapshot.meta(b"k").unwrap().as_deref(), Some(&b"meta"[..]));
    let mut cursor = snapshot.locals(&KeyRange::all(), Direction::Backward).unwrap();
    assert_eq!(cursor.next().unwrap(), Some((&[0xff; 4][..], &b"high key"[..])));
    assert!(update(&store, |edit| edit.remove_local(b"k")).unwrap());
    assert!(!update(&store, |edit| edit.remove_local(b"k")).unwrap());
    let after = store.snapshot().unwrap();
    assert_eq!(after.local(b"k").unwrap().as_deref(), None);
    assert_eq!(after.meta(b"k").unwrap().as_deref(), Some(&b"meta"[..]));
}

fn removing_a_document_takes_a_sequence(new: NewStore) {
    let store = new();
    update(&store, |edit| put(edit, "a", "1")).unwrap();
    update(&store, |edit| put(edit, "b", "1")).unwrap();
    store.checkpoint().unwrap();
    assert!(update(&store, |edit| edit.remove_doc(b"a")).unwrap());
    assert!(!update(&store, |edit| edit.remove_doc(b"a")).unwrap());
    let snapshot = store.snapshot().unwrap();
    assert_eq!((snapshot.seq(), snapshot.counts().documents()), (3, 1));
    assert_eq!(snapshot.count_changes(0).unwrap(), 1);
    assert!(snapshot.doc(b"a").unwrap().is_none());
    assert_eq!(update(&store, |edit| put(edit, "a", "2")).unwrap(), 4);
}

fn streams_of_all_sizes_come_back_and_can_be_sought(new: NewStore) {
    const CHUNK: usize = 256 * 1024;
    let store = new();
    let mut random = Random(3);
    let sizes = [0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 5 * CHUNK + 77];
    for (number, size) in sizes.into_iter().enumerate() {
        let content = bytes(number as u64, size);
        let staged = write_stream(&store, &content, &mut random).unwrap();
        assert_eq!(staged.bytes(), size as u64);
        let put = move |edit: &mut dyn Transaction| {
            edit.put_local(&[number as u8], &edit.place(&staged).to_bytes())
        };
        update(&store, put).unwrap();
        let snapshot = store.snapshot().unwrap();
        let stored = snapshot.local(&[number as u8]).unwrap().unwrap();
        let at = StreamRef::from_bytes(&stored).unwrap();
        check_stream(snapshot.as_ref(), at, &content, &mut random);
    }
    let snapshot = store.snapshot().unwrap();
    let stored = snapshot.local(&[2]).unwrap().unwrap();
    let mut wrong = StreamRef::from_bytes(&stored).unwrap();
    wrong.len += 1;
    assert!(matches!(snapshot.stream(wrong), Err(Error::Corrupt { .. })));
}

fn streams_may_be_written_side_by_side(new: NewStore) {
    let store = new();
    thread::scope(|scope| {
        for number in 0..4u64 {
            let store = &store;
            scope.spawn(move || {
                let mut random = Random(number);
                let content = bytes(number, 700_000);
                let staged = write_stream(store, &content, &mut random).unwrap();
                let at = update(store, move |edit| {
                    let at = edit.place(&staged);
                    edit.put_local(&[1], &at.to_bytes())?;
                    Ok(at)
                })
                .unwrap();
                let snapshot = store.snapshot().unwrap();
                check_stream(snapshot.as_ref(), at, &content, &mut random);
            });
        }
    });
    // One that is given up leaves nothing behind that anybody sees.
    let mut writer = Arc::clone(&store).stream().unwrap();
    writer.write(&[7; 600_000]).unwrap();
    drop(writer);
    update(&store, |edit| put(edit, "a", "1")).unwrap();
}

fn limits_are_errors_and_change_nothing(new: NewStore) {
    let store = new();
    let long_key = vec![b'k'; settee_storage::store::MAX_KEY_BYTES];
    let too_long = [&long_key[..], b"k"].concat();
    let keys = (long_key.clone(), too_long);
    update(&store, move |edit| {
        put(edit, std::str::from_utf8(&keys.0).unwrap(), "v")?;
        edit.put_local(&keys.0, b"v")?;
        let is_too_large = |result: Result<()>| matches!(result, Err(Error::TooLarge { .. }));
        assert!(is_too_large(edit.put_doc(&keys.1, DocWeight::default(), b"", b"").map(drop)));
        assert!(is_too_large(edit.put_local(&keys.1, b"")));
        assert!(is_too_large(edit.put_meta(&keys.1, b"")));
        let long_value = vec![0; settee_storage::store::MAX_VALUE_BYTES + 1];
        assert!(is_too_large(edit.put_meta(b"m", &long_value)));
        Ok(())
    })
    .unwrap();
    store.checkpoint().unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.counts().live, 1);
    assert_eq!(snapshot.local(&long_key).unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_long_history_is_not_logged_with_every_edit() {
    let store: Arc<dyn Store> = FileStore::in_memory(Options::default()).unwrap();
    let history = bytes(5, 16_000);
    let first = history.clone();
    update(&store, move |edit| edit.put_doc(b"d", DocWeight::default(), &first, b"")).unwrap();
    store.checkpoint().unwrap();
    let before = store.sizes().file_bytes;
    let next = [b"new revision...", &history[..15_985]].concat();
    let expected = next.clone();
    update(&store, move |edit| edit.put_doc(b"d", DocWeight::default(), &next, b"")).unwrap();
    assert!(store.sizes().file_bytes - before < 512);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(&snapshot.doc(b"d").unwrap().unwrap().value[..], &expected[..]);
}

fn the_listener_hears_of_every_commit(new: NewStore) {
    let store = new();
    let heard = Arc::new(AtomicU64::new(0));
    let hear = Arc::clone(&heard);
    store.listen(Arc::new(move |seq| hear.store(seq, Ordering::SeqCst)));
    update(&store, |edit| put(edit, "a", "1")).unwrap();
    assert_eq!(heard.load(Ordering::SeqCst), 1);
    submit_group::<()>(&store, vec![Box::new(|edit| put(edit, "b", "1").map(|_| None))]);
    assert_eq!(heard.load(Ordering::SeqCst), 1, "nothing was committed");
    update(&store, |edit| put(edit, "b", "1")).unwrap();
    assert_eq!(heard.load(Ordering::SeqCst), 2);
}

fn a_closed_store_refuses_edits_and_keeps_its_snapshots(new: NewStore) {
    let store = new();
    let mut model = Model::default();
    let mut random = Random(8);
    let acts = (0..50).map(|_| Act::random(&mut random, 30)).collect();
    model.update(&store, acts).unwrap();
    store.checkpoint().unwrap();
    let snapshot = store.snapshot().unwrap();
    store.close();
    let refused = update(&store, |edit| put(edit, "a", "1"));
    assert!(matches!(refused, Err(Error::Closed)));
    assert!(matches!(Arc::clone(&store).stream().map(drop), Err(Error::Closed)));
    assert!(matches!(store.checkpoint(), Err(Error::Closed)));
    model.check(snapshot.as_ref(), &mut random);
    model.check(store.snapshot().unwrap().as_ref(), &mut random);
}

fn random_edits_agree_with_the_model(new: NewStore) {
    for seed in 0..4 {
        let store = new();
        let mut random = Random(seed);
        let mut model = Model::default();
        let names = [5, 60, 400, 2000][seed as usize];
        for round in 0..60 {
            let acts = 1 + random.below(30);
            let acts = (0..acts).map(|_| Act::random(&mut random, names)).collect();
            model.update(&store, acts).unwrap();
            if random.chance(15) {
                store.checkpoint().unwrap();
            }
            if round % 6 == 0 {
                model.check(store.snapshot().unwrap().as_ref(), &mut random);
            }
        }
        model.check(store.snapshot().unwrap().as_ref(), &mut random);
    }
}

fn many_threads_edit_while_others_read(new: NewStore) {
    const WRITERS: u64 = 8;
    const EDITS: u64 = 60;
    let store = new();
    let writing = AtomicU64::new(WRITERS);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, writing) = (&store, &writing);
            scope.spawn(move || {
                let mut last = 0;
                for number in 0..EDITS {
                    let id = format!("{writer}-{}", number % 20);
                    let seq = update(store, move |edit| put(edit, &id, "v")).unwrap();
                    assert!(seq > last, "a thread's own edits are in order");
                    last = seq;
                }
                writing.fetch_sub(1, Ordering::SeqCst);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while writing.load(Ordering::SeqCst) > 0 {
                    last = read_everything(&store, last);
                }
            });
        }
        scope.spawn(|| {
            while writing.load(Ordering::SeqCst) > 0 {
                store.checkpoint().unwrap();
                thread::yield_now();
            }
        });
    });
    let snapshot = store.snapshot().unwrap();
    assert_eq!((snapshot.seq(), snapshot.counts().live), (WRITERS * EDITS, WRITERS * 20));
}

/// Both indexes and the counts of a snapshot agree, and it is not older than the last one.
fn read_everything(store: &Arc<dyn Store>, last: u64) -> u64 {
    let snapshot = store.snapshot().unwrap();
    assert!(snapshot.seq() >= last);
    let mut docs = snapshot.docs(&KeyRange::all(), Direction::Forward, false).unwrap();
    let mut by_id = Vec::new();
    while let Some(row) = docs.next().unwrap() {
        by_id.push((row.seq, row.id.to_vec()));
    }
    by_id.sort();
    let mut changes = snapshot.changes(0, Direction::Forward).unwrap();
    let mut by_seq = Vec::new();
    while let Some(change) = changes.next().unwrap() {
        by_seq.push((change.seq, change.id.to_vec()));
    }
    assert_eq!(by_id, by_seq);
    assert_eq!(snapshot.counts().documents(), by_id.len() as u64);
    snapshot.seq()
}

fn checkpoints_change_nothing_that_is_seen(new: NewStore) {
    let store = new();
    let mut random = Random(11);
    let mut model = Model::default();
    store.checkpoint().unwrap();
    for _ in 0..12 {
        let acts = (0..40).map(|_| Act::random(&mut random, 200)).collect::<Vec<_>>();
        let effects = update(&store, move |edit| perform(edit, &acts)).unwrap();
        model.absorb(&effects);
        store.checkpoint().unwrap();
        let size = store.sizes().file_bytes;
        store.checkpoint().unwrap();
        assert_eq!(store.sizes().file_bytes, size, "a second one writes nothing");
        model.check(store.snapshot().unwrap().as_ref(), &mut random);
    }
}

/// Passing over many documents at once comes to the same place as walking past them.
fn skipping_is_walking(new: NewStore) {
    let store = new();
    // Many commits, so that some documents are in the trees and some are not; every third is deleted.
    for group in 0..30u32 {
        update(&store, move |edit| {
            for n in 0..20u32 {
                let id = format!("{:04}", (group * 20 + n) * 7 % 601);
                let weight = DocWeight { deleted: n % 3 == 0, ..DocWeight::default() };
                edit.put_doc(id.as_bytes(), weight, b"value of some length", b"change")?;
            }
            Ok(())
        })
        .unwrap();
    }
    let snapshot = store.snapshot().unwrap();
    let middle = KeyRange {
        start: std::ops::Bound::Excluded(b"0100".to_vec()),
        end: std::ops::Bound::Included(b"0480".to_vec()),
    };
    for (range, live_only) in [(KeyRange::all(), true), (KeyRange::all(), false), (middle, true)] {
        for direction in [Direction::Forward, Direction::Backward] {
            let mut all = Vec::new();
            let mut cursor = snapshot.docs(&range, direction, live_only).unwrap();
            while let Some(row) = cursor.next().unwrap() {
                all.push(row.id.to_vec());
            }
            for skip in [0, 1, 63, 64, 65, 100, 199, all.len() - 1, all.len(), all.len() + 1] {
                let mut cursor = snapshot.docs(&range, direction, live_only).unwrap();
                let skipped = cursor.skip(skip as u64).unwrap();
                assert_eq!(skipped, skip.min(all.len()) as u64, "{skip} of {}", all.len());
                let next = cursor.next().unwrap().map(|row| row.id.to_vec());
                assert_eq!(next.as_ref(), all.get(skip), "behind {skip} of {}", all.len());
            }
        }
    }
}
