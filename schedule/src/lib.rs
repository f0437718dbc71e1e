//! Threads in many orders.
//!
//! The store is built here with other locks: what it takes from `parking_lot` and `arc-swap` comes from
//! `shims/`, which are made of shuttle's. Shuttle runs a test on one thread of the system, decides at each call of a
//! lock who goes on, and tries many such schedules, by chance and by changing priorities (PCT). A schedule that
//! fails is printed and can be run again with [`shuttle::replay`].
//!
//! What this does not see: other orders of atomics between two calls of a lock, and what the memory model of a
//! processor allows beyond an order of steps. Those who use atomics here say why they may.
//!
//! `SETTEE_SCHEDULES` is the number of schedules of each test.

pub mod waits;

use std::{env, sync::Arc};

use settee_storage::{
    BlobRef, Compaction, Copier, DocWeight, FileStore, Keyspace, NewDocument, OldDocument, Options,
    ReadBy, Result, Snapshot, Store, StreamRef,
    disk::{Disk, MemoryDisk},
    update,
};
use shuttle::{
    Config, Runner,
    scheduler::{PctScheduler, RandomScheduler, Scheduler},
};

/// Schedules of each test and scheduler, if `SETTEE_SCHEDULES` does not say so.
const SCHEDULES: usize = 60;
/// Bytes of stack of a thread.
const STACK_BYTES: usize = 1024 * 1024;
/// How often PCT changes a priority.
const PCT_DEPTH: usize = 3;

/// Runs a test under many schedules.
pub fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
    let schedules = env::var("SETTEE_SCHEDULES").ok().and_then(|text| text.parse().ok());
    let schedules = schedules.unwrap_or(SCHEDULES);
    run(RandomScheduler::new(schedules), test.clone());
    run(PctScheduler::new(PCT_DEPTH, schedules), test);
}

fn run(scheduler: impl Scheduler + 'static, test: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    Runner::new(scheduler, config).run(test);
}

/// Options under which little work brings everything about: checkpoints, and rounds of compaction.
#[must_use]
pub fn options() -> Options {
    Options {
        checkpoint_log_bytes: 600,
        checkpoint_memory_bytes: 1 << 20,
        max_prepare_bytes: 0,
        read_by: ReadBy::Pread,
        cache_bytes: 0,
        compact_helpers: Some(0),
        identity: Some([7; 32]),
        compact_pause_bytes: 300,
    }
}

/// Where the store of a test is.
pub const PATH: &str = "/db";

/// A new store.
///
/// # Panics
/// If that is not possible.
#[must_use]
pub fn create(disk: &MemoryDisk) -> Arc<FileStore> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    FileStore::create(disk, PATH.as_ref(), options()).expect("a new store")
}

/// Writes a document whose body and local key say `number`.
///
/// # Errors
/// Those of the store.
pub fn put(store: &Arc<dyn Store>, id: &str, number: u64) -> Result<()> {
    let id = id.to_owned();
    update(store, move |edit| {
        let body = edit.put_blob(&number.to_le_bytes())?;
        edit.put_local(id.as_bytes(), &number.to_le_bytes())?;
        edit.put_doc(id.as_bytes(), DocWeight::default(), &body.to_bytes(), b"")
    })?;
    Ok(())
}

/// The number of a document, which its body, its local key and its row by sequence agree about.
///
/// # Panics
/// If they do not agree.
#[must_use]
pub fn number_of(snapshot: &dyn Snapshot, id: &str) -> Option<u64> {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let local = snapshot.local(id.as_bytes()).expect("local");
    let entry = snapshot.doc(id.as_bytes()).expect("doc");
    assert_eq!(local.is_some(), entry.is_some(), "{id} is half there");
    let entry = entry?;
    let at = BlobRef::from_bytes(&entry.value).expect("a reference");
    let body = number(&snapshot.blob(at).expect("body"));
    assert_eq!(local.map(|bytes| number(&bytes)), Some(body), "{id}: body and local key");
    let mut changes =
        snapshot.changes(entry.seq - 1, settee_storage::Direction::Forward).expect("changes");
    let change = changes.next().expect("changes").expect("its row by sequence");
    assert_eq!((change.seq, change.id), (entry.seq, id.as_bytes()), "the indexes disagree");
    Some(body)
}

/// The local key under which a test keeps a stream.
pub const UPLOAD: &[u8] = b"upload";

/// Copies each document with its body, and the stream under [`UPLOAD`].
#[derive(Debug)]
pub struct Keep;

impl Compaction for Keep {
    fn another(&self) -> Box<dyn Compaction + '_> {
        Box::new(Keep)
    }

    fn document(&mut self, old: OldDocument<'_>, copier: &mut dyn Copier) -> Result<NewDocument> {
        let at = BlobRef::from_bytes(old.by_id).expect("a reference");
        let by_id = copier.blob(at)?.to_bytes().to_vec();
        Ok(NewDocument { weight: old.weight, by_id, by_seq: old.by_seq.to_vec() })
    }

    fn key(
        &mut self,
        keyspace: Keyspace,
        key: &[u8],
        value: &[u8],
        copier: &mut dyn Copier,
    ) -> Result<Option<Vec<u8>>> {
        let is_upload = keyspace == Keyspace::Local && key == UPLOAD;
        Ok(Some(match StreamRef::from_bytes(value).filter(|_| is_upload) {
            Some(at) => copier.stream(at)?.to_bytes().to_vec(),
            None => value.to_vec(),
        }))
    }
}
