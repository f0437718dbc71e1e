//! Power cuts at every operation of the disk while databases come, go and are written: what was
//! acknowledged is there, what was deleted stays gone, and everything that is there can be read.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::{collections::BTreeMap, io::Read, sync::Arc};

use settee_engine::{
    AllDocsQuery, Databases, NameRange, Options, Props, StageOptions, WriteMode,
    document::{AttachmentSource, IncomingAttachment},
};
use settee_storage::disk::{
    Disk, SimDisk,
    sim::{Fault, Operation},
};
use support::{all_docs, doc, get, put};

/// Seeds of what survives; 0 keeps nothing that was unsynced, 1 everything.
const SEEDS: u64 = 6;

fn open(disk: &SimDisk) -> settee_engine::Result<Arc<Databases>> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Databases::open(disk, "data", Options::default())
}

/// What has been promised at some point: of each database its documents and their revisions, or that
/// there is none of that name.
type Promise = BTreeMap<String, Option<BTreeMap<String, String>>>;

/// A workload that notes after each step how many operations the disk had done and what is promised.
struct Workload {
    disk: SimDisk,
    all: Arc<Databases>,
    promise: Promise,
    promised: Vec<(u64, Promise)>,
}

impl Workload {
    fn step(&mut self, act: impl FnOnce(&Databases, &mut Promise)) {
        act(&self.all, &mut self.promise);
        self.promised.push((self.disk.operations(), self.promise.clone()));
    }

    fn create(&mut self, name: &str) {
        self.begin_change_of(name);
        self.step(|all, promise| {
            all.create(name, Props::default()).unwrap();
            promise.insert(name.into(), Some(BTreeMap::new()));
        });
    }

    fn delete(&mut self, name: &str) {
        self.begin_change_of(name);
        self.step(|all, promise| {
            all.delete(name).unwrap();
            promise.insert(name.into(), None);
        });
    }

    /// From the next operation on, nothing is promised of the database any more.
    fn begin_change_of(&mut self, name: &str) {
        self.promise.remove(name);
        self.promised.push((self.disk.operations() + 1, self.promise.clone()));
    }

    fn put(&mut self, name: &str, id: &str, text: &str) {
        self.step(|all, promise| {
            let docs = promise.get_mut(name).unwrap().as_mut().unwrap();
            let rev = docs.get(id).map_or(String::new(), |rev| format!(r#""_rev":"{rev}","#));
            let json = format!(r#"{{"_id":"{id}",{rev}"text":"{text}"}}"#);
            docs.insert(id.into(), put(&all.get(name).unwrap(), &json).unwrap());
        });
    }

    fn attach(&mut self, name: &str, id: &str, bytes: &[u8]) {
        self.step(|all, promise| {
            let db = all.get(name).unwrap();
            let mut writer =
                db.stage_attachment("f", "image/png", StageOptions::default()).unwrap();
            bytes.chunks(10_000).for_each(|piece| writer.write(piece).unwrap());
            let mut document = doc(&format!(r#"{{"_id":"{id}"}}"#));
            document.attachments.push(IncomingAttachment {
                name: "f".into(),
                content_type: "image/png".into(),
                revpos: None,
                source: AttachmentSource::Staged(writer.finish().unwrap()),
            });
            let rev = db.write(vec![document], WriteMode::Interactive).unwrap().remove(0).unwrap();
            let docs = promise.get_mut(name).unwrap().as_mut().unwrap();
            docs.insert(id.into(), rev.to_string());
        });
    }
}

fn run() -> Workload {
    let disk = SimDisk::recording();
    let all = open(&disk).unwrap();
    let mut work = Workload { disk, all, promise: Promise::new(), promised: Vec::new() };
    work.step(|_, _| {});
    work.create("a/b");
    work.put("a/b", "one", "first");
    work.create("c");
    work.put("c", "one", "in c");
    work.put("a/b", "one", "second");
    work.attach("a/b", "two", &attachment());
    work.delete("c");
    work.create("c");
    work.step(|all, _| all.get("a/b").unwrap().checkpoint().unwrap());
    work.put("c", "two", "in the second c");
    work.step(|all, _| all.close().unwrap());
    work
}

fn attachment() -> Vec<u8> {
    (0..30_000u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_anywhere() {
    let work = run();
    for operations in 0..=work.disk.operations() {
        let promises = work.promised.iter().rev();
        let promise = promises.clone().find(|(at, _)| *at <= operations);
        let empty = Promise::new();
        let promise = promise.map_or(&empty, |(_, promise)| promise);
        for seed in 0..SEEDS {
            let disk = work.disk.after(operations).crash(seed);
            check(&disk, promise, &format!("after {operations} operations, seed {seed}"));
        }
        let promise = if operations == work.disk.operations() { promise } else { continue };
        check(&work.disk.kill(), promise, "after a kill at the end");
    }
}

fn check(disk: &SimDisk, promise: &Promise, place: &str) {
    let all = open(disk).unwrap_or_else(|error| panic!("{place}: {error}"));
    let names = all.names(&NameRange::default()).unwrap();
    for (name, docs) in promise {
        let Some(docs) = docs else {
            assert!(!names.contains(name), "{place}: {name} is back");
            continue;
        };
        assert!(names.contains(name), "{place}: {name} is gone");
        let db = all.get(name).unwrap();
        for (id, rev) in docs {
            let found = get(&db, id).unwrap_or_else(|error| panic!("{place}: {id}: {error}"));
            let generation = |text: &str| text[..text.find('-').unwrap()].parse::<u32>().unwrap();
            let at = found.find("_rev").unwrap() + 7;
            assert!(generation(&found[at..]) >= generation(rev), "{place}: {id} is an old one");
        }
    }
    for name in &names {
        let db = all.get(name).unwrap_or_else(|error| panic!("{place}: {name}: {error}"));
        let rows = all_docs(&db, &AllDocsQuery { include_docs: true, ..AllDocsQuery::default() });
        assert_eq!(rows.rows.len() as u64, db.info().unwrap().doc_count, "{place}: {name}");
        if let Ok(found) = db.read().unwrap().attachment("two", None, "f") {
            let mut bytes = Vec::new();
            found.identity().unwrap().read_to_end(&mut bytes).unwrap();
            assert!(bytes == attachment(), "{place}: the attachment of {name}");
        }
        put(&db, r#"{"_id":"afterwards"}"#).unwrap_or_else(|error| panic!("{place}: {error}"));
    }
    let new = all.create("c/new", Props::default());
    assert!(new.is_ok(), "{place}: {new:?}");
}

/// Found by the simulation (seed 596): the file had its name, but nobody had made the name durable, and
/// what was then written to it was acknowledged.
#[test]
fn a_database_that_is_found_keeps_its_name() {
    // Its creation failed at the very last step.
    let disk = SimDisk::new();
    let all = open(&disk).unwrap();
    disk.fail(Operation::SyncDir, 2, Fault::Error);
    assert!(all.create("a", Props::default()).is_err());
    put(&all.get("a").unwrap(), r#"{"_id":"x"}"#).unwrap();
    assert!(get(&open(&disk.crash(0)).unwrap().get("a").unwrap(), "x").is_ok());

    // The process was killed between giving it its name and making that durable.
    let disk = SimDisk::recording();
    open(&disk).unwrap().create("a", Props::default()).unwrap();
    for operations in 0..disk.operations() {
        let disk = disk.after(operations).kill();
        let Ok(db) = open(&disk).unwrap().get("a") else { continue };
        put(&db, r#"{"_id":"x"}"#).unwrap();
        let found = open(&disk.crash(0)).unwrap().get("a");
        assert!(get(&found.unwrap(), "x").is_ok(), "killed after {operations} operations");
    }
}
