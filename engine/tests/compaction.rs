//! What a compaction keeps of a database, and what may go on meanwhile.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::{io::Read, path::Path, sync::Arc, thread, time::Duration};

use settee_engine::{
    Database, Databases, Document, Error, GetOptions, Options, Props, PurgeRequest, Rev,
    StageOptions, WriteMode,
    compaction::{Channel, TASK, compact_file},
    database::ShowOptions,
    document::{AttachmentSource, IncomingAttachment, Limits},
    error::Absence,
};
use settee_storage::disk::{MemoryDisk, RealDisk};

/// A compaction by one thread, and by several, whatever the machine has and the documents are worth.
const IN_PLACE: usize = 0;
const BY_SEVERAL: usize = 3;

fn options(helpers: usize) -> Options {
    let store = settee_storage::Options {
        compact_helpers: Some(helpers),
        ..settee_storage::Options::default()
    };
    Options { store, ..Options::default() }
}

fn in_memory(helpers: usize) -> Arc<Databases> {
    Databases::open(Arc::new(MemoryDisk::new()), Path::new("/data"), options(helpers)).unwrap()
}

fn parse(text: &str) -> Document {
    Document::parse(text.as_bytes(), None, &Limits::default()).unwrap()
}

fn put(database: &Arc<Database>, text: &str) -> Rev {
    let mut results = database.write(vec![parse(text)], WriteMode::Interactive).unwrap();
    results.remove(0).unwrap()
}

fn text(database: &Arc<Database>, id: &str, options: &GetOptions) -> String {
    let mut out = Vec::new();
    database.read().unwrap().get(id, options).unwrap().write_json(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn attachment(database: &Arc<Database>, id: &str, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reader = database.read().unwrap();
    let found = reader.attachment(id, None, name).unwrap();
    found.identity().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// A document with one attachment, staged in pieces with `between` after each.
fn staged(database: &Arc<Database>, content: &[u8], between: impl Fn()) -> Document {
    let options = StageOptions { length: Some(content.len() as u64), ..StageOptions::default() };
    let mut writer = database.stage_attachment("file", "image/png", options).unwrap();
    for piece in content.chunks(300_000) {
        writer.write(piece).unwrap();
        between();
    }
    let source = AttachmentSource::Staged(writer.finish().unwrap());
    let mut document = parse(r#"{"_id":"attached"}"#);
    document.attachments = vec![IncomingAttachment {
        name: "file".into(),
        content_type: "image/png".into(),
        revpos: None,
        source,
    }];
    between();
    document
}

fn content() -> Vec<u8> {
    (0..1_000_000u32).map(|n| (n / 7 % 251) as u8).collect()
}

fn leaves_stay_and_interior_bodies_go(helpers: usize) {
    let databases = in_memory(helpers);
    let database = databases.create("db", Props::default()).unwrap();
    // Longer than what several threads leave between their frames.
    let filler = "x".repeat(100_000);
    let first = put(&database, &format!(r#"{{"_id":"a","n":1,"filler":"{filler}"}}"#));
    let second = put(&database, &format!(r#"{{"_id":"a","_rev":"{first}","n":2}}"#));
    let conflict = format!(
        r#"{{"_id":"a","_rev":"2-00000000000000000000000000000001","_revisions":{{"start":2,"ids":["00000000000000000000000000000001","{}"]}},"n":3}}"#,
        first.to_string().split_once('-').unwrap().1
    );
    database.write(vec![parse(&conflict)], WriteMode::Replicated).unwrap();
    put(&database, r#"{"_id":"_local/l","n":4}"#);
    put(&database, r#"{"_id":"gone","_deleted":true}"#);
    let purged = put(&database, r#"{"_id":"purged","n":5}"#);
    database.purge(vec![PurgeRequest { id: "purged".into(), revs: vec![purged] }]).unwrap();
    put(&database, r#"{"_id":"small","_attachments":{"t":{"data":"aGVsbG8="}}}"#);
    database.write(vec![staged(&database, &content(), || {})], WriteMode::Interactive).unwrap();
    database.set_revs_limit(77).unwrap();
    database.set_security(br#"{"admins":{"names":["x"],"roles":[]}}"#).unwrap();

    let all = GetOptions {
        show: ShowOptions { conflicts: true, ..ShowOptions::default() },
        ..GetOptions::default()
    };
    let old = GetOptions { rev: Some(first.clone()), ..GetOptions::default() };
    let before = (database.info().unwrap(), text(&database, "a", &all), database.uuid());
    assert!(text(&database, "a", &old).contains("\"n\":1"));
    let compacted = database.compact().unwrap();
    assert!(compacted.bytes_after + 50_000 < compacted.bytes_before, "{compacted:?}");
    let after = (database.info().unwrap(), text(&database, "a", &all), database.uuid());
    let sizes = |info: &settee_engine::Info| {
        (info.doc_count, info.doc_del_count, info.update_seq, info.purge_seq, info.sizes.external)
    };
    assert_eq!(sizes(&before.0), sizes(&after.0));
    assert_eq!((&before.1, before.2), (&after.1, after.2));
    assert!(after.0.sizes.file < before.0.sizes.file && after.0.sizes.active <= after.0.sizes.file);

    let reader = database.read().unwrap();
    let missing = reader.get("a", &old).map(drop);
    assert!(matches!(missing, Err(Error::NotFound(Absence::Missing))), "{missing:?}");
    let info = GetOptions {
        show: ShowOptions { revs_info: true, ..ShowOptions::default() },
        ..GetOptions::default()
    };
    let status = text(&database, "a", &info);
    assert!(status.contains(&format!(r#"{{"rev":"{first}","status":"missing"}}"#)), "{status}");
    let loser = GetOptions { rev: Some(second), ..GetOptions::default() };
    assert!(text(&database, "a", &loser).contains("\"n\":2"));
    assert!(text(&database, "_local/l", &GetOptions::default()).contains("\"n\":4"));
    assert_eq!(attachment(&database, "small", "t"), b"hello");
    assert_eq!(attachment(&database, "attached", "file"), content());
    assert_eq!(database.revs_limit(), 77);
}

fn an_upload_and_a_copy_outlive_compactions(helpers: usize) {
    let databases = in_memory(helpers);
    let database = databases.create("db", Props::default()).unwrap();
    put(&database, r#"{"_id":"small","_attachments":{"t":{"data":"aGVsbG8="}}}"#);
    let compact = || {
        database.compact().unwrap();
    };
    let document = staged(&database, &content(), compact);
    compact();
    database.write(vec![document], WriteMode::Interactive).unwrap();
    assert_eq!(attachment(&database, "attached", "file"), content());
    let reader = database.read().unwrap();
    let early =
        [reader.copy("attached", None, "b").unwrap(), reader.copy("small", None, "c").unwrap()];
    compact();
    let late =
        [reader.copy("attached", None, "d").unwrap(), reader.copy("small", None, "e").unwrap()];
    let copies = early.into_iter().chain(late).collect();
    let results = database.write(copies, WriteMode::Interactive).unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    compact();
    for id in ["attached", "b", "d"] {
        assert_eq!(attachment(&database, id, "file"), content(), "{id}");
    }
    for id in ["small", "c", "e"] {
        assert_eq!(attachment(&database, id, "t"), b"hello", "{id}");
    }
}

/// An attachment that a document keeps from edit to edit is copied once, however often it is edited while
/// the compaction runs.
fn an_edit_meanwhile_does_not_copy_the_attachments_again(helpers: usize) {
    let databases = in_memory(helpers);
    let database = databases.create("db", Props::default()).unwrap();
    let results =
        database.write(vec![staged(&database, &content(), || {})], WriteMode::Interactive).unwrap();
    let mut rev = results[0].as_ref().unwrap().clone();
    let compacted = thread::scope(|scope| {
        let compaction = scope.spawn(|| database.compact().unwrap());
        while !compaction.is_finished() {
            let stub = r#""_attachments":{"file":{"stub":true}}"#;
            rev = put(&database, &format!(r#"{{"_id":"attached","_rev":"{rev}",{stub}}}"#));
        }
        compaction.join().unwrap()
    });
    assert!(compacted.bytes_after < 1_900_000, "{compacted:?}");
    assert_eq!(attachment(&database, "attached", "file"), content());
}

fn a_compaction_in_the_background_lists_itself_and_ends(helpers: usize) {
    let folder = tempfile::tempdir().unwrap();
    let databases = Databases::open(Arc::new(RealDisk), folder.path(), options(helpers)).unwrap();
    let database = databases.create("db", Props::default()).unwrap();
    for number in 0..200 {
        put(&database, &format!(r#"{{"_id":"{number}","text":"{}"}}"#, "x".repeat(300)));
    }
    let before = database.info().unwrap().sizes.file;
    database.start_compaction().unwrap();
    database.start_compaction().unwrap();
    while database.compact_running() {
        for task in databases.tasks().list() {
            assert_eq!((task.kind, &task.members["database"]), (TASK, &"db".into()));
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert!(database.info().unwrap().sizes.file < before);
    database.start_compaction().unwrap();
    databases.close().unwrap();
    drop((database, databases));
    let databases = Databases::open(Arc::new(RealDisk), folder.path(), options(helpers)).unwrap();
    assert_eq!(databases.get("db").unwrap().info().unwrap().doc_count, 200);
}

/// Small documents that are alike are packed with a dictionary; they read as before, also when they are
/// packed again, and a database can be told to unpack them.
fn bodies_are_packed_and_read_as_before(helpers: usize) {
    let databases = in_memory(helpers);
    let database = databases.create("db", Props::default()).unwrap();
    let body = |number: usize| {
        let customer = number * 7919 % 1000;
        let note = "Please ring twice and leave the parcel with the neighbour";
        format!(
            r#""type":"order","number":{number},"customer":{{"name":"Customer {customer}"}},"note":"{note}""#
        )
    };
    let documents =
        (0..600).map(|number| parse(&format!(r#"{{"_id":"{number}",{}}}"#, body(number))));
    database.write(documents.collect(), WriteMode::Interactive).unwrap();
    let check = |count: usize| {
        for number in 0..count {
            let found = text(&database, &number.to_string(), &GetOptions::default());
            assert!(found.ends_with(&format!("\",{}}}", body(number))), "{found}");
        }
    };
    let plain = database.info().unwrap().sizes;
    database.compact().unwrap();
    let packed = database.info().unwrap().sizes;
    assert!(packed.active * 2 < plain.active * 2 - plain.external / 2, "{packed:?} of {plain:?}");
    assert_eq!(packed.external, plain.external);
    check(600);
    // An edit of a packed document, and one that adds an attachment to a packed body.
    let rev =
        |id: &str| database.read().unwrap().get(id, &GetOptions::default()).unwrap().rev().clone();
    put(&database, &format!(r#"{{"_id":"7","_rev":"{}",{}}}"#, rev("7"), body(7)));
    let mut edited = database.read().unwrap().edit("599", None).unwrap();
    edited.attachments = staged(&database, &content(), || {}).attachments;
    assert!(database.write(vec![edited], WriteMode::Interactive).unwrap()[0].is_ok());
    for packs in [true, true, false, true] {
        databases.set_body_compression(packs);
        database.compact().unwrap();
        check(599);
        assert_eq!(attachment(&database, "599", "file"), content());
        let sizes = database.info().unwrap().sizes;
        let without_attachment = sizes.active - content().len() as u64;
        assert_eq!(without_attachment * 4 < plain.active * 3, packs, "{sizes:?} of {plain:?}");
    }
}

/// Files grow by updates and are compacted by themselves as soon as that pays.
fn a_file_that_is_mostly_garbage_is_compacted_by_itself(helpers: usize) {
    let databases = in_memory(helpers);
    databases.set_compaction_channels(vec![Channel { min_size: 200_000, ..Channel::ratio() }]);
    let database = databases.create("db", Props::default()).unwrap();
    let mut rev = put(&database, r#"{"_id":"a"}"#);
    let filler = "x".repeat(20_000);
    let mut largest = 0;
    for _ in 0..400 {
        rev = put(&database, &format!(r#"{{"_id":"a","_rev":"{rev}","text":"{filler}"}}"#));
        let size = database.info().unwrap().sizes.file;
        if size < largest {
            return;
        }
        largest = size;
        thread::sleep(Duration::from_millis(1));
    }
    while database.info().unwrap().sizes.file == largest {
        thread::sleep(Duration::from_millis(5));
    }
    assert!(databases.compaction_channels()[0].name == "ratio_dbs");
}

/// A file is compacted without a server, and one that a server holds is not.
#[test]
fn a_closed_file_is_compacted_and_an_open_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Databases::open(Arc::new(RealDisk), folder.path(), Options::default()).unwrap();
    let databases = open();
    let database = databases.create("db", Props::default()).unwrap();
    for number in 0..50 {
        put(&database, &format!(r#"{{"_id":"{number}","text":"some text"}}"#));
    }
    let path = folder.path().join("db.settee");
    let refused = compact_file(Arc::new(RealDisk), &path, true, &|_| true);
    assert!(
        matches!(refused, Err(Error::Storage(settee_storage::Error::Locked { .. }))),
        "{refused:?}"
    );
    databases.close().unwrap();
    drop((database, databases));
    let compacted = compact_file(Arc::new(RealDisk), &path, true, &|_| true).unwrap();
    assert!(compacted.bytes_after < compacted.bytes_before, "{compacted:?}");
    assert_eq!(open().get("db").unwrap().info().unwrap().doc_count, 50);
}

/// The file of a deleted database does not come back when its compaction would have come to its end.
fn a_deleted_database_stays_deleted(helpers: usize) {
    let folder = tempfile::tempdir().unwrap();
    let databases = Databases::open(Arc::new(RealDisk), folder.path(), options(helpers)).unwrap();
    for round in 0..15 {
        let database = databases.create("db", Props::default()).unwrap();
        put(&database, r#"{"_id":"a"}"#);
        thread::scope(|scope| {
            let compaction = scope.spawn(|| database.compact().map(drop));
            thread::sleep(Duration::from_micros(300 * round));
            databases.delete("db").unwrap();
            match compaction.join().unwrap() {
                Ok(()) | Err(Error::Storage(settee_storage::Error::Closed)) => {}
                Err(error) => panic!("{error}"),
            }
        });
        assert!(!databases.exists("db").unwrap());
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        let files =
            left.iter().filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_file()));
        assert_eq!(files.count(), 1, "only the lock: {left:?}");
    }
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
    leaves_stay_and_interior_bodies_go,
    an_upload_and_a_copy_outlive_compactions,
    an_edit_meanwhile_does_not_copy_the_attachments_again,
    a_compaction_in_the_background_lists_itself_and_ends,
    bodies_are_packed_and_read_as_before,
    a_file_that_is_mostly_garbage_is_compacted_by_itself,
    a_deleted_database_stays_deleted,
}
