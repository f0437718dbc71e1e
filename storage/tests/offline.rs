//! Files read beside the store that writes them, checked, copied, and printed.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::{path::Path, sync::Arc};

use common::{Act, Model, Random, bytes, compact, write_stream};
use settee_storage::{
    Error, FileStore, Options, Store,
    disk::{Disk, MemoryDisk, OpenMode, read_exact_at, write_all_at},
    offline::{OpaqueContent, ReadOnlyFile, Verification, backup, inspect, records, verify},
    update,
};

const PATH: &str = "db";

fn options() -> Options {
    Options {
        checkpoint_log_bytes: 2500,
        max_prepare_bytes: 4096,
        compact_helpers: Some(0),
        identity: Some([5; 32]),
        ..Options::default()
    }
}

/// A store with commits, checkpoints and a stream, still open.
fn store(disk: &Arc<dyn Disk>) -> (Arc<dyn Store>, Model) {
    new_store(disk, false)
}

/// The same, compacted on the way or not.
fn new_store(disk: &Arc<dyn Disk>, compacted: bool) -> (Arc<dyn Store>, Model) {
    let store: Arc<dyn Store> =
        FileStore::create(Arc::clone(disk), Path::new(PATH), options()).unwrap();
    let mut random = Random(7);
    let mut model = Model::default();
    for round in 0..14 {
        let mut acts: Vec<_> = (0..3).map(|_| Act::random(&mut random, 12)).collect();
        if round % 5 == 4 {
            let content = bytes(round, 900);
            let staged = write_stream(&store, &content, &mut random).unwrap();
            let key = format!("stream {round}").into_bytes();
            acts.push(Act::Attach { key, staged, content });
        }
        model.update(&store, acts).unwrap();
        if compacted && round == 10 {
            compact(&*store).unwrap();
        }
    }
    (store, model)
}

fn content(disk: &dyn Disk, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path), OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    read_exact_at(file.as_ref(), &mut bytes, 0).unwrap();
    bytes
}

fn disk_with(bytes: &[u8]) -> Arc<dyn Disk> {
    let disk = MemoryDisk::new();
    let file = disk.open(Path::new(PATH), OpenMode::CreateNew).unwrap();
    write_all_at(file.as_ref(), bytes, 0).unwrap();
    Arc::new(disk)
}

fn check(disk: &dyn Disk, path: &str) -> settee_storage::Result<Verification> {
    verify(disk, Path::new(path), &OpaqueContent, &mut |done, total| assert!(done <= total))
}

#[test]
fn a_reader_beside_the_store_sees_its_last_commit_and_disturbs_nothing() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (store, model) = store(&disk);
    let before = content(&*disk, PATH);
    let beside = ReadOnlyFile::open(&*disk, Path::new(PATH)).unwrap();
    let snapshot = beside.snapshot().unwrap();
    model.check(&*snapshot, &mut Random(1));
    assert!(check(&*disk, PATH).unwrap().is_sound());
    assert_eq!(content(&*disk, PATH), before, "reading changed the file");

    // The store goes on; the reader stays where it was.
    update(&store, |edit| edit.put_local(b"later", b"x")).unwrap();
    assert!(beside.snapshot().unwrap().local(b"later").unwrap().is_none());
    let again = ReadOnlyFile::open(&*disk, Path::new(PATH)).unwrap();
    assert!(again.snapshot().unwrap().local(b"later").unwrap().is_some());

    let refused: Arc<dyn Store> = again;
    let outcome = update(&refused, |edit| edit.put_local(b"mine", b"x"));
    assert!(matches!(outcome, Err(Error::ReadOnly { .. })));
    assert!(matches!(refused.checkpoint(), Err(Error::ReadOnly { .. })));
}

#[test]
fn a_torn_tail_is_passed_over_and_not_cut() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (store, _) = store(&disk);
    let seq = store.snapshot().unwrap().seq();
    update(&store, |edit| edit.put_local(b"torn", &[7; 300])).unwrap();
    let whole = ReadOnlyFile::open(&*disk, Path::new(PATH)).unwrap().end();
    let mut torn = content(&*disk, PATH);
    torn[whole.end as usize - 20] ^= 1;
    let disk = disk_with(&torn);
    let opened = ReadOnlyFile::open(&*disk, Path::new(PATH)).unwrap();
    assert_eq!(opened.snapshot().unwrap().seq(), seq);
    assert!(opened.snapshot().unwrap().local(b"torn").unwrap().is_none());
    assert!(opened.end().end_of_data > opened.end().end);
    let report = check(&*disk, PATH).unwrap();
    assert!(report.is_sound(), "a torn tail is no damage: {:?}", report.damage);
    assert_eq!(content(&*disk, PATH), torn);
}

/// What the check is for: no bit of a closed file can flip unnoticed, and the report says where.
#[test]
fn every_flipped_bit_is_found_where_it_lies() {
    flip_everywhere(false);
    flip_everywhere(true);
}

fn flip_everywhere(compacted: bool) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (store, _) = new_store(&disk, compacted);
    store.checkpoint().unwrap();
    store.close();
    let sound = content(&*disk, PATH);
    assert!(check(&*disk_with(&sound), PATH).unwrap().is_sound());
    let sound_end = inspect(&*disk, Path::new(PATH)).unwrap().end;
    let last_frame = sound_end.checkpoint;
    assert_eq!(inspect(&*disk, Path::new(PATH)).unwrap().version, 1 + u32::from(compacted));
    // Every byte of the header, every seventh of all others.
    let frames = (4096..sound.len()).step_by(7);
    for at in (0..80).chain((80..4096).step_by(509)).chain(frames) {
        let mut damaged = sound.clone();
        damaged[at] ^= 1 << (at % 8);
        match check(&*disk_with(&damaged), PATH) {
            Err(Error::Format { .. }) => assert!(at < 16, "byte {at}"),
            Err(error) => panic!("byte {at}: {error}"),
            Ok(report) => {
                let at = at as u64;
                if at >= last_frame {
                    // Nothing tells it from a frame that was being written, and nothing is lost with it.
                    let end = report.end.unwrap();
                    assert_eq!((end.commit, end.end_of_data), (sound_end.commit, sound_end.len));
                    assert!(end.end <= last_frame);
                    continue;
                }
                let names_it = report
                    .damage
                    .iter()
                    .any(|it| it.offset <= at && at < it.offset + it.len && !it.what.is_empty());
                assert!(names_it, "byte {at}: {:?}", report.damage);
            }
        }
    }
}

#[test]
fn the_damage_report_says_what_lies_there() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (store, _) = store(&disk);
    store.checkpoint().unwrap();
    store.close();
    let sound = content(&*disk, PATH);
    let mut frames = Vec::new();
    records(&*disk, Path::new(PATH), &mut |record| {
        frames.push((record.kind, record.offset));
        Ok(())
    })
    .unwrap();
    let find = |kind: &str| frames.iter().find(|(it, _)| *it == kind).unwrap().1;
    for (offset, says) in [
        (0, "the file header"),
        (find("frame") + 20, "the header of a frame"),
        (find("commit") + 8, "commit 1, in the frame at byte 4096: its payload"),
        (find("node") + 3, "tree nodes, in the frame at byte"),
        (find("checkpoint"), "a checkpoint, in the frame at byte"),
    ] {
        let mut damaged = sound.clone();
        damaged[offset as usize + 20 * usize::from(offset == 0)] ^= 4;
        let report = check(&*disk_with(&damaged), PATH).unwrap();
        let found = report.damage.iter().any(|it| it.what.contains(says));
        assert!(found, "{says}: {:?}", report.damage);
    }
}

#[test]
fn an_inspection_adds_up() {
    inspect_and_add(false);
    inspect_and_add(true);
}

fn inspect_and_add(compacted: bool) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (store, model) = new_store(&disk, compacted);
    store.checkpoint().unwrap();
    assert!(check(&*disk, PATH).unwrap().is_sound());
    let mut seen = 0u64;
    records(&*disk, Path::new(PATH), &mut |_| {
        seen += 1;
        Ok(())
    })
    .unwrap();
    assert!(seen > 50);
    let found = inspect(&*disk, Path::new(PATH)).unwrap();
    let frames: u64 = found.kinds.iter().map(|kind| kind.bytes).sum();
    assert_eq!(4096 + frames, found.end.end);
    assert_eq!(found.seq, model.seq);
    assert_eq!(found.trees[0].shape.entries, model.docs.len() as u64);
    assert_eq!(found.trees[1].shape.entries, model.docs.len() as u64);
    assert_eq!(found.end.commits_replayed, 0);
    assert_eq!(found.live_bytes() + found.dead_bytes(), found.end.end.max(found.live_bytes()));
}

#[test]
fn a_copy_opens_by_itself_and_takes_no_name_that_is_taken() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (store, model) = store(&disk);
    let copy =
        |to: &str| backup(&disk, Path::new(PATH), Path::new(to), &OpaqueContent, &mut |_, _| ());
    assert!(copy("copy").unwrap().is_sound());
    assert!(matches!(copy("copy"), Err(Error::AlreadyExists { .. })));
    update(&store, |edit| edit.put_local(b"later", b"x")).unwrap();
    let copied = FileStore::open(Arc::clone(&disk), Path::new("copy"), options()).unwrap();
    model.check(&*copied.snapshot().unwrap(), &mut Random(1));
    assert!(!disk.exists(Path::new("copy.copying")).unwrap());

    // Damage is not copied under a name that looks sound.
    let mut damaged = content(&*disk, PATH);
    damaged[4096 + 70] ^= 1;
    let disk = disk_with(&damaged);
    let report = backup(&disk, Path::new(PATH), Path::new("copy"), &OpaqueContent, &mut |_, _| ());
    assert!(!report.is_ok_and(|report| report.is_sound()));
    assert!(!disk.exists(Path::new("copy")).unwrap());
}
