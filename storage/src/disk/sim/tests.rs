//! The simulator must do what it says, or what leans on it proves nothing.

use std::collections::BTreeSet;

use super::*;
use crate::disk::{read_exact_at, tests::check_disk, write_all_at};

fn path() -> &'static Path {
    Path::new("/file")
}

/// A disk with one file whose name and first bytes are durable.
fn disk_with(durable: &[u8]) -> (SimDisk, Arc<dyn File>) {
    let disk = SimDisk::recording();
    let file = disk.open(path(), OpenMode::CreateNew).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    write_all_at(&*file, durable, 0).unwrap();
    file.sync_data().unwrap();
    assert!(!disk.has_unsynced());
    (disk, file)
}

/// What crashes with many seeds leave of the file.
fn outcomes(disk: &SimDisk) -> BTreeSet<Vec<u8>> {
    (0..400).filter_map(|seed| disk.crash(seed).contents(path())).collect()
}

fn sectors(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.iter().map(|&byte| vec![byte; SECTOR_BYTES]).collect()
}

#[test]
fn behaves_as_a_disk() {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/data")).unwrap();
    check_disk(&disk, Path::new("/data"));
}

#[test]
fn what_was_synced_survives_every_crash() {
    let (disk, file) = disk_with(&sectors(b"abc").concat());
    assert_eq!(outcomes(&disk), BTreeSet::from([sectors(b"abc").concat()]));
    write_all_at(&*file, &sectors(b"X").concat(), SECTOR_BYTES as u64).unwrap();
    for found in outcomes(&disk) {
        assert_eq!(found.len(), 3 * SECTOR_BYTES);
        assert!(
            found.starts_with(&sectors(b"a").concat()) && found.ends_with(&sectors(b"c").concat())
        );
    }
    file.sync_all().unwrap();
    assert_eq!(outcomes(&disk), BTreeSet::from([sectors(b"aXc").concat()]));
}

#[test]
fn unsynced_sectors_are_kept_dropped_and_reordered_each_by_itself() {
    let (disk, file) = disk_with(&sectors(b"abc").concat());
    write_all_at(&*file, &sectors(b"AB").concat(), 0).unwrap();
    write_all_at(&*file, &sectors(b"C").concat(), 2 * SECTOR_BYTES as u64).unwrap();
    let found = outcomes(&disk);
    for expected in [b"abc", b"Abc", b"aBc", b"abC", b"ABc", b"AbC", b"aBC", b"ABC"] {
        assert!(found.contains(&sectors(expected).concat()), "{:?}", str::from_utf8(expected));
    }
}

#[test]
fn older_unsynced_versions_and_torn_sectors_are_possible() {
    let (disk, file) = disk_with(&sectors(b"a").concat());
    for byte in *b"bcd" {
        write_all_at(&*file, &[byte; SECTOR_BYTES], 0).unwrap();
    }
    let found = outcomes(&disk);
    for byte in *b"abcd" {
        assert!(found.contains(&vec![byte; SECTOR_BYTES]), "{byte}");
    }
    let torn: Vec<_> = found.iter().filter(|bytes| bytes[0] != bytes[SECTOR_BYTES - 1]).collect();
    assert!(!torn.is_empty());
    for bytes in torn {
        // Torn between a version and the one before it.
        assert_eq!(bytes[0], bytes[SECTOR_BYTES - 1] + 1);
    }
}

#[test]
fn bytes_around_a_torn_write_in_the_same_sector_stay() {
    let (disk, file) = disk_with(&sectors(b"a").concat());
    write_all_at(&*file, b"new", 100).unwrap();
    for found in outcomes(&disk) {
        assert!(found[..100].iter().chain(&found[103..]).all(|&byte| byte == b'a'));
    }
}

#[test]
fn lengths_and_data_arrive_independently() {
    let (disk, file) = disk_with(&sectors(b"a").concat());
    write_all_at(&*file, &sectors(b"bc").concat(), SECTOR_BYTES as u64).unwrap();
    let found = outcomes(&disk);
    assert!(found.contains(&sectors(b"a").concat()));
    assert!(found.contains(&sectors(b"abc").concat()));
    assert!(found.contains(&sectors(b"ab\0").concat()));
    assert!(found.contains(&sectors(b"a\0c").concat()));
    assert!(found.contains(&sectors(b"a\0\0").concat()));
}

#[test]
fn a_cut_may_be_lost_and_what_was_cut_may_be_zeros() {
    let (disk, file) = disk_with(&sectors(b"abc").concat());
    file.set_len(SECTOR_BYTES as u64).unwrap();
    let found = outcomes(&disk);
    assert!(found.contains(&sectors(b"abc").concat()));
    assert!(found.contains(&sectors(b"a").concat()));
    file.set_len(3 * SECTOR_BYTES as u64).unwrap();
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk), BTreeSet::from([sectors(b"a\0\0").concat()]));
}

#[test]
fn a_name_needs_its_folder_synced() {
    let disk = SimDisk::new();
    let file = disk.open(path(), OpenMode::CreateNew).unwrap();
    write_all_at(&*file, b"x", 0).unwrap();
    file.sync_all().unwrap();
    assert_eq!(disk.crash(0).contents(path()), None);
    assert_eq!(disk.crash(1).contents(path()).as_deref(), Some(&b"x"[..]));
    let there = |seed| disk.crash(seed).contents(path()).is_some();
    assert!((2..50).any(there) && !(2..50).all(there));
    disk.sync_dir(Path::new("/")).unwrap();
    assert!((0..50).all(there));
}

#[test]
fn a_rename_happens_whole_or_not_at_all() {
    let (disk, _) = disk_with(b"old");
    let new = Path::new("/new");
    let file = disk.open(new, OpenMode::CreateNew).unwrap();
    write_all_at(&*file, b"new", 0).unwrap();
    file.sync_data().unwrap();
    disk.rename(new, path()).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let found = disk.crash(seed);
        seen.insert((found.contents(path()), found.contents(new)));
    }
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    let expected = [(bytes("old"), None), (bytes("old"), bytes("new")), (bytes("new"), None)];
    assert_eq!(seen, BTreeSet::from(expected));
}

#[test]
fn a_removal_may_be_lost_and_the_handle_lives_on() {
    let (disk, file) = disk_with(b"x");
    disk.remove(path()).unwrap();
    assert_eq!(disk.crash(0).contents(path()).as_deref(), Some(&b"x"[..]));
    assert_eq!(disk.crash(1).contents(path()), None);
    assert_eq!(file.len().unwrap(), 1);
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(disk.crash(0).contents(path()), None);
}

#[test]
fn a_rename_between_folders_needs_both_synced() {
    let disk = SimDisk::new();
    for folder in ["/a", "/b"] {
        disk.create_dir_all(Path::new(folder)).unwrap();
    }
    let (from, to) = (Path::new("/a/x"), Path::new("/b/x"));
    disk.open(from, OpenMode::CreateNew).unwrap();
    disk.sync_dir(Path::new("/a")).unwrap();
    disk.rename(from, to).unwrap();
    disk.sync_dir(Path::new("/b")).unwrap();
    assert!(disk.crash(0).contents(from).is_some());
    disk.sync_dir(Path::new("/a")).unwrap();
    assert!(disk.crash(0).contents(from).is_none() && disk.crash(0).contents(to).is_some());
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = || {
        let (disk, file) = disk_with(&sectors(b"abc").concat());
        disk.fail(Operation::Sync, 1, Fault::DropDirty);
        disk.fail(Operation::Write, 2, Fault::Short);
        write_all_at(&*file, &sectors(b"ABC").concat(), 0).unwrap();
        file.sync_data().unwrap_err();
        write_all_at(&*file, &sectors(b"xyz").concat(), 700).unwrap();
        (0..50).map(|seed| disk.crash(seed).contents(path())).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_recording_shows_the_disk_after_every_operation() {
    let (disk, file) = disk_with(b"");
    let before = disk.operations();
    let mut expected = Vec::new();
    for byte in *b"abcdef" {
        write_all_at(&*file, &[byte], expected.len() as u64).unwrap();
        expected.push(byte);
        file.sync_data().unwrap();
    }
    for steps in 0..=12 {
        let then = disk.after(before + steps);
        let (written, synced) = (steps.div_ceil(2) as usize, steps as usize / 2);
        assert_eq!(then.contents(path()).unwrap(), &expected[..written]);
        assert_eq!(then.crash(0).contents(path()).unwrap(), &expected[..synced]);
    }
    assert_eq!(disk.after(0).contents(path()), None);
}

#[test]
fn a_killed_process_leaves_its_cache_but_nothing_durable() {
    let (disk, file) = disk_with(b"a");
    assert!(file.try_lock().unwrap());
    write_all_at(&*file, b"b", 1).unwrap();
    let next = disk.kill();
    let again = next.open(path(), OpenMode::Write).unwrap();
    assert!(again.try_lock().unwrap());
    assert_eq!(next.contents(path()).unwrap(), b"ab");
    assert_eq!(next.crash(0).contents(path()).unwrap(), b"a");
    again.sync_data().unwrap();
    assert_eq!(next.crash(0).contents(path()).unwrap(), b"ab");
    assert_eq!(disk.crash(0).contents(path()).unwrap(), b"a");
}

#[test]
fn planned_failures_hit_the_operation_they_are_for() {
    let (disk, file) = disk_with(b"old");
    disk.fail(Operation::Write, 2, Fault::Error);
    disk.fail(Operation::Write, 3, Fault::Full);
    assert_eq!(file.write_at(b"1", 0).unwrap(), 1);
    assert_eq!(file.write_at(b"2", 0).unwrap_err().raw_os_error(), Some(5));
    assert_eq!(file.write_at(b"3", 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.contents(path()).unwrap(), b"1ld");
    disk.fail(Operation::Write, 1, Fault::Short);
    let written = file.write_at(b"12345678", 0).unwrap();
    assert!((1..8).contains(&written));
    disk.fail(Operation::Write, 1, Fault::Torn);
    file.write_at(b"abcdefgh", 0).unwrap_err();
    assert!(disk.contents(path()).unwrap().starts_with(b"a"));
    assert!(!disk.contents(path()).unwrap().starts_with(b"abcdefgh"));
    disk.fail(Operation::Read, 1, Fault::Error);
    let mut byte = [0];
    assert!(file.read_at(&mut byte, 0).is_err() && file.read_at(&mut byte, 0).is_ok());
    for (operation, fails) in [
        (Operation::SetLen, &(|| file.set_len(1)) as &dyn Fn() -> io::Result<()>),
        (Operation::SyncDir, &|| disk.sync_dir(Path::new("/"))),
        (Operation::Rename, &|| disk.rename(path(), path())),
        (Operation::Create, &|| disk.open(Path::new("/x"), OpenMode::CreateNew).map(drop)),
        (Operation::Open, &|| disk.open(path(), OpenMode::Read).map(drop)),
        (Operation::Remove, &|| disk.remove(path())),
    ] {
        disk.fail(operation, 1, Fault::Error);
        let before = disk.operations();
        assert!(fails().is_err(), "{operation:?}");
        assert_eq!(disk.operations(), before);
        fails().unwrap();
    }
    assert_eq!(disk.count(Operation::Write), 6);
}

#[test]
fn a_failed_sync_may_leave_everything_unsynced() {
    let (disk, file) = disk_with(b"a");
    write_all_at(&*file, b"b", 0).unwrap();
    disk.fail(Operation::Sync, 1, Fault::Error);
    file.sync_data().unwrap_err();
    assert_eq!(disk.crash(0).contents(path()).unwrap(), b"a");
    file.sync_data().unwrap();
    assert_eq!(disk.crash(0).contents(path()).unwrap(), b"b");
}

#[test]
fn a_failed_sync_that_drops_pages_is_not_healed_by_another() {
    let (disk, file) = disk_with(&sectors(b"aaaaaaaa").concat());
    write_all_at(&*file, &sectors(b"BBBBBBBB").concat(), 0).unwrap();
    disk.fail(Operation::Sync, 1, Fault::DropDirty);
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    // Reads are none the wiser.
    assert_eq!(disk.contents(path()).unwrap(), sectors(b"BBBBBBBB").concat());
    let lost = disk.crash(0).contents(path()).unwrap();
    assert_ne!(lost, sectors(b"BBBBBBBB").concat());
    // Writing a sector again makes it unsynced again, and it alone.
    write_all_at(&*file, &sectors(b"C").concat(), 0).unwrap();
    file.sync_data().unwrap();
    let found = disk.crash(0).contents(path()).unwrap();
    assert!(found.starts_with(&sectors(b"C").concat()));
    assert_eq!(found[SECTOR_BYTES..], lost[SECTOR_BYTES..]);
    disk.drop_caches();
    assert_eq!(disk.contents(path()).unwrap(), found);
}

#[test]
fn a_lying_sync_is_found_out_by_a_crash() {
    let (disk, file) = disk_with(b"a");
    write_all_at(&*file, b"bb", 0).unwrap();
    disk.fail(Operation::Sync, 1, Fault::Lie);
    file.sync_data().unwrap();
    assert_eq!(disk.contents(path()).unwrap(), b"bb");
    assert_eq!(outcomes(&disk), BTreeSet::from([b"a".to_vec()]));
    disk.drop_caches();
    assert_eq!(disk.contents(path()).unwrap(), b"a");
}

#[test]
fn a_full_disk_takes_what_fits_and_frees_what_is_cut() {
    let (disk, file) = disk_with(b"");
    disk.set_capacity(Some(2 * SECTOR_BYTES as u64));
    let bytes = sectors(b"abc").concat();
    assert_eq!(file.write_at(&bytes, 10).unwrap(), 2 * SECTOR_BYTES - 10);
    assert_eq!(file.write_at(b"x", 2000).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.free_bytes(path()).unwrap(), 0);
    // What has its place can be written again.
    assert_eq!(file.write_at(b"xyz", 100).unwrap(), 3);
    file.set_len(SECTOR_BYTES as u64).unwrap();
    assert_eq!(disk.free_bytes(path()).unwrap(), SECTOR_BYTES as u64);
    disk.set_capacity(None);
    write_all_at(&*file, &bytes, 10).unwrap();
}

#[test]
fn nothing_works_when_the_power_is_off() {
    let (disk, file) = disk_with(b"a");
    disk.power_off_after(1);
    write_all_at(&*file, b"b", 0).unwrap();
    assert!(file.sync_data().is_err() && file.len().is_err());
    assert!(read_exact_at(&*file, &mut [0], 0).is_err());
    assert!(disk.exists(path()).is_err());
    assert_eq!(disk.crash(0).contents(path()).unwrap(), b"a");
    assert_eq!(disk.crash(1).contents(path()).unwrap(), b"b");
}

#[test]
fn a_flipped_bit_stays_flipped() {
    let (disk, file) = disk_with(b"abc");
    assert!(disk.flip_bit(path(), 1, 0));
    assert!(!disk.flip_bit(path(), 3, 0));
    let mut byte = [0];
    read_exact_at(&*file, &mut byte, 1).unwrap();
    assert_eq!(&byte, b"c");
    assert_eq!(disk.crash(0).contents(path()).unwrap(), b"acc");
}
