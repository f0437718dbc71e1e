//! The registry: creating, opening, deleting, listing, closing.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::{path::Path, sync::Arc, thread, time::Duration};

use settee_engine::{ChangesQuery, Databases, Error, NameRange, Options, Props, Wake, WriteMode};
use settee_storage::disk::{Disk, MemoryDisk, RealDisk};
use support::{changes, databases, doc, get, put};

fn open(disk: &Arc<MemoryDisk>, open_databases: usize) -> Arc<Databases> {
    let disk: Arc<dyn Disk> = disk.clone();
    let options = Options { open_databases, ..Options::default() };
    Databases::open(disk, "data", options).unwrap()
}

fn names(databases: &Databases, range: &NameRange) -> Vec<String> {
    databases.names(range).unwrap()
}

#[test]
fn databases_come_and_go() {
    let all = databases();
    assert!(matches!(all.get("a"), Err(Error::DatabaseNotFound)));
    let first = all.create("a", Props::default()).unwrap();
    assert!(matches!(all.create("a", Props::default()), Err(Error::DatabaseExists)));
    assert!(Arc::ptr_eq(&first, &all.get("a").unwrap()));
    put(&first, r#"{"_id":"x"}"#).unwrap();
    all.delete("a").unwrap();
    assert!(!all.exists("a").unwrap());
    assert!(matches!(all.delete("a"), Err(Error::DatabaseNotFound)));
    assert!(first.write(vec![doc(r#"{"_id":"y"}"#)], WriteMode::Interactive).is_err());
    let second = all.create("a", Props::default()).unwrap();
    assert_ne!(first.uuid(), second.uuid());
    assert_eq!(get(&second, "x"), Err("missing".into()));
    let old = first.sequence_text(1);
    assert_eq!(second.parse_sequence(&old).unwrap(), settee_engine::Since::Seq(0));
}

#[test]
fn names_that_cannot_be_are_refused_or_not_found() {
    let all = databases();
    for name in ["", "A", "1a", "_x", "a.b", "a b", "../a", "é"] {
        assert!(matches!(all.create(name, Props::default()), Err(Error::IllegalDatabaseName(_))));
        assert!(matches!(all.get(name), Err(Error::DatabaseNotFound)), "{name}");
        assert!(matches!(all.delete(name), Err(Error::DatabaseNotFound)), "{name}");
        assert!(!all.exists(name).unwrap());
    }
    let long = "a".repeat(240);
    assert!(matches!(all.create(&long, Props::default()), Err(Error::DatabaseNameTooLong(_))));
}

#[test]
fn names_are_listed_in_order_and_by_range() {
    let all = Databases::open(Arc::new(MemoryDisk::new()), "data", Options::default()).unwrap();
    for name in ["b", "a/b", "a", "a//b", "a/", "_users", "a/b/c", "c"] {
        all.create(name, Props::default()).unwrap();
    }
    let every = NameRange::default();
    assert_eq!(names(&all, &every), ["_users", "a", "a/", "a//b", "a/b", "a/b/c", "b", "c"]);
    let range = NameRange { start: Some("a/b".into()), end: Some("b".into()), ..every.clone() };
    assert_eq!(names(&all, &range), ["a/b", "a/b/c", "b"]);
    let exclusive = NameRange { inclusive_end: false, ..range.clone() };
    assert_eq!(names(&all, &exclusive), ["a/b", "a/b/c"]);
    let down = NameRange {
        start: range.end,
        end: range.start,
        descending: true,
        skip: 1,
        limit: Some(1),
        ..every
    };
    assert_eq!(names(&all, &down), ["a/b/c"]);
    assert_eq!(names(&all, &NameRange::key("c")), ["c"]);
    assert_eq!(names(&all, &NameRange::key("d")), [""; 0]);
}

#[test]
fn everything_is_there_after_opening_anew() {
    let disk = Arc::new(MemoryDisk::new());
    let props = Props { q: 8, n: 3, partitioned: true };
    let (uuid, security) = {
        let all = open(&disk, 10);
        let db = all.create("a/b", props).unwrap();
        put(&db, r#"{"_id":"p:1","_attachments":{"f":{"data":"MQ=="}}}"#).unwrap();
        put(&db, r#"{"_id":"_local/l"}"#).unwrap();
        db.set_revs_limit(7).unwrap();
        db.set_security(b"{}").unwrap();
        all.close().unwrap();
        (db.uuid(), db.security())
    };
    let all = open(&disk, 10);
    let db = all.get("a/b").unwrap();
    assert_eq!((db.uuid(), db.props(), db.revs_limit()), (uuid, props, 7));
    assert_eq!(db.security(), security);
    assert!(get(&db, "p:1").unwrap().contains("_attachments"));
    assert!(get(&db, "_local/l").is_ok());
    assert_eq!(changes(&db, &ChangesQuery::default()).1.last_seq, 1);
}

#[test]
fn only_one_process_has_a_folder_open() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Databases::open(Arc::new(RealDisk), folder.path(), Options::default());
    let first = open().unwrap();
    assert!(matches!(open(), Err(Error::Storage(settee_storage::Error::Locked { .. }))));
    drop(first);
    open().unwrap();
}

#[test]
fn a_creation_cut_short_leaves_no_database() {
    let disk = Arc::new(MemoryDisk::new());
    let all = open(&disk, 10);
    all.create("a", Props::default()).unwrap();
    all.close().unwrap();
    disk.rename(Path::new("data/a.settee"), Path::new("data/b.settee.new")).unwrap();
    assert_eq!(names(&all, &NameRange::default()), [""; 0]);
    assert!(all.get("b").is_err());
    all.create("b", Props::default()).unwrap();
    assert_eq!(names(&all, &NameRange::default()), ["b"]);
}

#[test]
fn idle_databases_are_closed_and_come_back() {
    let disk = Arc::new(MemoryDisk::new());
    let all = open(&disk, 2);
    let held = all.create("held", Props::default()).unwrap();
    let waiting = all.create("waiting", Props::default()).unwrap();
    let wait = waiting.changed(0);
    drop(waiting);
    for n in 0..10 {
        let db = all.create(&format!("d{n}"), Props::default()).unwrap();
        put(&db, r#"{"_id":"x"}"#).unwrap();
    }
    let open = format!("{all:?}");
    assert!(open.contains("open: 3") || open.contains("open: 2"), "{open}");
    assert!(Arc::ptr_eq(&held, &all.get("held").unwrap()), "one in use is never closed");
    for n in 0..10 {
        assert!(get(&all.get(&format!("d{n}")).unwrap(), "x").is_ok());
    }
    let waited = all.get("waiting").unwrap();
    put(&waited, r#"{"_id":"x"}"#).unwrap();
    assert_eq!(block_on(wait), Wake::Changed(1), "a wait outlives the handle it was made from");
}

#[test]
fn waiting_for_a_database_does_not_keep_it_open() {
    let disk = Arc::new(MemoryDisk::new());
    let all = open(&disk, 1);
    let subscriptions: Vec<_> = (0..20)
        .map(|n| all.create(&format!("d{n}"), Props::default()).unwrap().subscribe())
        .collect();
    let waits: Vec<_> = subscriptions.iter().map(|subscription| subscription.changed(0)).collect();
    all.create("other", Props::default()).unwrap();
    assert!(format!("{all:?}").contains("open: 1"), "{all:?}");
    for n in 0..10 {
        put(&all.get(&format!("d{n}")).unwrap(), r#"{"_id":"x"}"#).unwrap();
    }
    for n in 10..20 {
        all.delete(&format!("d{n}")).unwrap();
    }
    for (n, (subscription, wait)) in subscriptions.iter().zip(waits).enumerate() {
        let gone = n >= 10;
        assert_eq!(block_on(wait), if gone { Wake::Closed } else { Wake::Changed(1) });
        assert_eq!(all.resume(subscription).is_err(), gone);
    }
    all.create("d10", Props::default()).unwrap();
    assert!(matches!(all.resume(&subscriptions[10]), Err(Error::DatabaseNotFound)));
    let wait = subscriptions[0].changed(1);
    all.close().unwrap();
    assert_eq!(block_on(wait), Wake::Closed, "closed databases are shut with the others");
}

#[test]
fn an_older_copy_of_a_closed_database_continues_from_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { open_databases: 1, ..Options::default() };
    let all = Databases::open(Arc::new(RealDisk), folder.path(), options).unwrap();
    let subscription = all.create("db", Props::default()).unwrap().subscribe();
    let close = |name: &str| drop(all.create(name, Props::default()).unwrap());
    put(&all.get("db").unwrap(), r#"{"_id":"1"}"#).unwrap();
    close("other1");
    let (file, copy) = (folder.path().join("db.settee"), folder.path().join("copy"));
    std::fs::copy(&file, &copy).unwrap();
    put(&all.get("db").unwrap(), r#"{"_id":"2"}"#).unwrap();
    close("other2");
    std::fs::rename(&copy, &file).unwrap();
    let db = all.resume(&subscription).unwrap();
    assert_eq!(db.read().unwrap().seq(), 1);
    put(&db, r#"{"_id":"3"}"#).unwrap();
    assert_eq!(block_on(subscription.changed(1)), Wake::Changed(2));
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = std::pin::pin!(future);
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => thread::park_timeout(Duration::from_secs(10)),
        }
    }
}

#[test]
fn waits_end_when_the_database_is_deleted() {
    let all = databases();
    let db = all.create("a", Props::default()).unwrap();
    let waiting = thread::spawn({
        let db = Arc::clone(&db);
        move || db.wait_changed(0, Duration::from_secs(10))
    });
    let future = db.changed(0);
    all.delete("a").unwrap();
    assert_eq!(waiting.join().unwrap(), Some(Wake::Closed));
    assert_eq!(block_on(future), Wake::Closed);
}

#[test]
fn many_writers_at_once_lose_nothing() {
    const WRITERS: usize = 8;
    const WRITES: usize = 25;
    let all = databases();
    let db = all.create("a", Props::default()).unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let db = Arc::clone(&db);
            thread::spawn(move || {
                for n in 0..WRITES {
                    put(&db, &format!(r#"{{"_id":"{writer}-{n}"}}"#)).unwrap();
                    // All of them want this one; whoever names the current leaf gets it.
                    let now = get(&db, "shared").unwrap_or_default();
                    let rev = now.find("_rev").map(|at| {
                        format!(
                            r#""_rev":"{}","#,
                            &now[at + 7..][..now[at + 7..].find('"').unwrap()]
                        )
                    });
                    let _ = put(
                        &db,
                        &format!(r#"{{"_id":"shared",{}"w":{writer}}}"#, rev.unwrap_or_default()),
                    );
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let info = db.info().unwrap();
    assert_eq!(info.doc_count, (WRITERS * WRITES + 1) as u64);
    let (rows, end) = changes(&db, &ChangesQuery::default());
    assert_eq!((rows.len() as u64, end.last_seq), (info.doc_count, info.update_seq));
}
