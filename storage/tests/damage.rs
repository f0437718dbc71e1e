//! Flipped bits. Whatever is flipped in a file, a reader gets the right data or a typed error: never
//! wrong data, never a panic. Only the last commit of a file that was not closed may go missing, because
//! nothing distinguishes it from one that was torn before it was acknowledged.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::{io::Read, path::Path, sync::Arc};

use common::{Act, Model, Random, bytes, compact, decode, plain, write_stream};
use settee_storage::{
    Direction, Error, FileStore, KeyRange, Options, ReadBy, Result, Snapshot, Store, StreamRef,
    disk::{Disk, MemoryDisk, OpenMode, read_exact_at, write_all_at},
};

const PATH: &str = "db";

fn options() -> Options {
    Options {
        checkpoint_log_bytes: 2500,
        max_prepare_bytes: 4096,
        read_by: ReadBy::Pread,
        compact_helpers: Some(0),
        identity: Some([5; 32]),
        ..Options::default()
    }
}

/// A file's bytes, and the states it has gone through, the last one last.
struct Specimen {
    bytes: Vec<u8>,
    history: Vec<Model>,
}

/// Commits, checkpoints and streams in a file of some 20 KB, possibly compacted after so many rounds.
fn specimen(closed: bool, compact_after: Option<u64>) -> Specimen {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let file_store = FileStore::create(Arc::clone(&disk), Path::new(PATH), options()).unwrap();
    let store: Arc<dyn Store> = file_store;
    let mut random = Random(if closed { 1 } else { 2 });
    let mut model = Model::default();
    let mut history = vec![model.clone()];
    for round in 0..14 {
        let mut acts: Vec<_> = (0..3).map(|_| Act::random(&mut random, 12)).collect();
        if round % 5 == 4 {
            let content = bytes(round, 900);
            let staged = write_stream(&store, &content, &mut random).unwrap();
            let key = format!("stream {round}").into_bytes();
            acts.push(Act::Attach { key, staged, content });
        }
        model.update(&store, acts).unwrap();
        history.push(model.clone());
        if compact_after == Some(round) {
            compact(store.as_ref()).unwrap();
        }
    }
    if closed {
        store.checkpoint().unwrap();
    }
    store.close();
    drop(store);
    let file = disk.open(Path::new(PATH), OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    read_exact_at(file.as_ref(), &mut bytes, 0).unwrap();
    Specimen { bytes, history }
}

fn open(bytes: &[u8]) -> Result<Arc<FileStore>> {
    let disk = MemoryDisk::new();
    let file = disk.open(Path::new(PATH), OpenMode::CreateNew).unwrap();
    write_all_at(file.as_ref(), bytes, 0).unwrap();
    drop(file);
    FileStore::open(Arc::new(disk), Path::new(PATH), options())
}

/// The result of a read under damage: what is right, or the error for damage.
fn right<T: PartialEq + std::fmt::Debug>(read: Result<T>, expected: &T, what: &str) -> bool {
    match read {
        Ok(read) => {
            assert_eq!(read, *expected, "{what}");
            true
        }
        Err(Error::Corrupt { .. }) => false,
        Err(other) => panic!("{what}: {other}"),
    }
}

/// Reads everything; every part is right or an error. True if all was right.
fn check(snapshot: &dyn Snapshot, model: &Model) -> bool {
    let mut all = snapshot.seq() == model.seq;
    assert!(all, "sequence {} instead of {}", snapshot.seq(), model.seq);
    for (id, doc) in &model.docs {
        let entry = snapshot.doc(id);
        let at = entry.as_ref().ok().and_then(|entry| decode(&entry.as_ref()?.value).0);
        let read = entry.map(|entry| {
            entry.map(|entry| (entry.seq, entry.weight, decode(&entry.value).1.to_vec()))
        });
        all &= right(read, &Some((doc.seq, doc.weight, doc.by_id.clone())), "a document");
        if let (Some(at), Some(bytes)) = (at, &doc.blob) {
            all &= right(snapshot.blob(at).map(|blob| blob.to_vec()), bytes, "a blob");
        }
    }
    let counts = model.docs.values().fold(Default::default(), |sum, doc| {
        let weight: settee_storage::Counts = doc.weight.into();
        weight + sum
    });
    let up_to_the_end = KeyRange { start: std::ops::Bound::Included(vec![]), ..KeyRange::all() };
    all &= right(snapshot.count_docs(&up_to_the_end), &counts, "counts");
    all &= check_cursors(snapshot, model);
    for (key, value) in &model.locals {
        let read = snapshot.local(key).map(|value| value.map(|value| plain(key, &value).to_vec()));
        all &= right(read, &Some(value.clone()), "a local value");
    }
    for (key, content) in &model.streams {
        let mut read = Vec::new();
        let Ok(stored) = snapshot.local(key) else { continue };
        let at = StreamRef::from_bytes(&stored.expect("a stream's key")).unwrap();
        match snapshot.stream(at).map(|mut reader| reader.read_to_end(&mut read)) {
            Ok(Ok(_)) => assert!(read == *content, "a stream"),
            Ok(Err(_)) | Err(Error::Corrupt { .. }) => all = false,
            Err(other) => panic!("{other}"),
        }
    }
    all
}

fn check_cursors(snapshot: &dyn Snapshot, model: &Model) -> bool {
    let mut all = true;
    let docs: Vec<_> =
        model.docs.iter().map(|(id, doc)| (doc.seq, id.clone(), doc.by_id.clone())).collect();
    let read = || {
        let mut rows = Vec::new();
        let mut cursor = snapshot.docs(&KeyRange::all(), Direction::Forward, false)?;
        while let Some(row) = cursor.next()? {
            rows.push((row.seq, row.id.to_vec(), decode(row.value).1.to_vec()));
        }
        Ok(rows)
    };
    all &= right(read(), &docs, "documents in order");
    let mut changes: Vec<_> =
        model.docs.iter().map(|(id, doc)| (doc.seq, id.clone(), doc.by_seq.clone())).collect();
    changes.sort();
    let read = || {
        let mut rows = Vec::new();
        let mut cursor = snapshot.changes(0, Direction::Forward)?;
        while let Some(change) = cursor.next()? {
            rows.push((change.seq, change.id.to_vec(), change.value.to_vec()));
        }
        Ok(rows)
    };
    all & right(read(), &changes, "changes in order")
}

/// What came of the flips, to see that the test tests.
#[derive(Debug, Default)]
struct Tally {
    unharmed: u32,
    refused: u32,
    read_errors: u32,
    last_commit_lost: u32,
}

fn flip_everywhere(specimen: &Specimen, closed: bool) -> Tally {
    let mut tally = Tally::default();
    let last = specimen.history.last().unwrap();
    let before_last = &specimen.history[specimen.history.len() - 2];
    let mut random = Random(9);
    for at in 0..specimen.bytes.len() {
        // Most of the header block is zeros that nobody reads.
        if (200..4090).contains(&at) {
            continue;
        }
        let mut damaged = specimen.bytes.clone();
        damaged[at] ^= 1 << random.below(8);
        let store = match open(&damaged) {
            Err(Error::Corrupt { .. } | Error::Format { .. }) => {
                tally.refused += 1;
                continue;
            }
            Err(other) => panic!("byte {at}: {other}"),
            Ok(store) => store,
        };
        let snapshot = store.snapshot().unwrap();
        if snapshot.seq() != last.seq {
            assert!(!closed, "byte {at}: a closed file lost a commit");
            check(snapshot.as_ref(), before_last);
            tally.last_commit_lost += 1;
        } else if check(snapshot.as_ref(), last) {
            tally.unharmed += 1;
        } else {
            tally.read_errors += 1;
        }
    }
    tally
}

#[test]
fn a_flipped_bit_in_a_closed_file_never_changes_what_is_read() {
    let specimen = specimen(true, None);
    let tally = flip_everywhere(&specimen, true);
    assert_eq!(tally.last_commit_lost, 0);
    assert!(tally.unharmed > 0 && tally.refused > 0 && tally.read_errors > 0, "{tally:?}");
}

#[test]
fn a_flipped_bit_in_a_file_that_was_not_closed_costs_at_most_the_last_commit() {
    let specimen = specimen(false, None);
    let tally = flip_everywhere(&specimen, false);
    assert!(
        tally.unharmed > 0 && tally.refused > 0 && tally.read_errors > 0,
        "every outcome is met: {tally:?}"
    );
    assert!(tally.last_commit_lost > 0, "{tally:?}");
}

/// What compaction made is as safe as what commits made: the file it has just finished, without one
/// commit of its own, too.
#[test]
fn a_flipped_bit_in_a_compacted_file_never_changes_what_is_read() {
    for (closed, compact_after, may_lose) in
        [(true, 8, false), (false, 13, false), (false, 11, true)]
    {
        let specimen = specimen(closed, Some(compact_after));
        let tally = flip_everywhere(&specimen, !may_lose);
        assert_eq!(tally.last_commit_lost > 0, may_lose, "{tally:?}");
        assert!(tally.unharmed > 0 && tally.refused > 0 && tally.read_errors > 0, "{tally:?}");
    }
}

/// A file cut at any length opens as an earlier state, or not at all.
#[test]
fn a_file_that_was_cut_short_shows_an_earlier_state() {
    let specimen = specimen(false, None);
    let mut seen = 0;
    for len in (0..specimen.bytes.len()).step_by(7) {
        match open(&specimen.bytes[..len]) {
            Err(Error::Corrupt { .. } | Error::Format { .. }) => {}
            Err(other) => panic!("cut to {len}: {other}"),
            Ok(store) => {
                let snapshot = store.snapshot().unwrap();
                let counts = snapshot.counts();
                let state = specimen.history.iter().rev().find(|model| {
                    model.seq == snapshot.seq() && model.docs.len() as u64 == counts.documents()
                });
                // Local edits take no sequence, so several states may share one; documents decide.
                let state = state.expect("no such state was ever committed");
                for (id, doc) in &state.docs {
                    let entry = snapshot.doc(id).unwrap().unwrap();
                    assert_eq!(decode(&entry.value).1, &doc.by_id[..]);
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 100);
}

#[test]
fn strangers_are_not_opened() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    for (name, content, what) in [
        ("empty", vec![], "too short"),
        ("text", b"hello".to_vec(), "too short"),
        ("zeros", vec![0; 10_000], "not a database"),
    ] {
        let file = disk.open(Path::new(name), OpenMode::CreateNew).unwrap();
        write_all_at(file.as_ref(), &content, 0).unwrap();
        drop(file);
        let error = FileStore::open(Arc::clone(&disk), Path::new(name), options()).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{name}");
        assert!(error.to_string().contains(what), "{error}");
    }
    let missing = FileStore::open(Arc::clone(&disk), Path::new("missing"), options());
    assert!(matches!(missing, Err(Error::NotFound { .. })));
}
