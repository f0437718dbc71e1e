//! The promise that an acknowledged edit survives, on the simulated disk: the power is cut after every
//! operation of scripted workloads, and whatever the disk then makes of what was unsynced, the store
//! opens with exactly the acknowledged edits, or those and the one edit that was under way.
//!
//! A failure prints the workload's seed, the operation and the crash's seed; the run is deterministic.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use common::{Act, Effect, Model, Random, Rewriter, bytes, decode, perform, plain, write_stream};
use parking_lot::Mutex;
use settee_storage::{
    Direction, Error, FileStore, KeyRange, Options, ReadBy, Result, Snapshot, Store,
    disk::{
        Disk,
        sim::{Fault, Operation, SimDisk},
    },
};

const PATH: &str = "/db";

fn options(log: u64) -> Options {
    Options {
        checkpoint_log_bytes: log,
        checkpoint_memory_bytes: log * 3,
        // Small, so that edits run past it, too.
        max_prepare_bytes: 8192,
        // Small, so that compactions take several rounds.
        compact_pause_bytes: 200,
        read_by: ReadBy::Pread,
        compact_helpers: Some(0),
        identity: Some([3; 32]),
        cache_bytes: 64 * 1024,
    }
}

fn open(disk: &SimDisk, options: Options) -> Result<Arc<FileStore>> {
    FileStore::open(Arc::new(disk.clone()), Path::new(PATH), options)
}

/// A step of a workload.
#[derive(Clone, Debug)]
enum Step {
    Edits(Vec<Vec<Act>>),
    Stream(usize),
    AbandonedStream(usize),
    Checkpoint,
    Compact,
    Reopen,
}

fn workload(seed: u64) -> Vec<Step> {
    let mut random = Random(seed);
    let step = |random: &mut Random| match random.below(13) {
        0..=5 => {
            let acts = |random: &mut Random| {
                let count = 1 + random.below(6);
                (0..count).map(|_| Act::random(random, 30)).collect()
            };
            let edits = if random.chance(3) { 1 + random.below(4) } else { 1 };
            Step::Edits((0..edits).map(|_| acts(random)).collect())
        }
        6 | 7 => Step::Stream(random.below(3000) as usize),
        8 => Step::AbandonedStream(270_000),
        9 => Step::Checkpoint,
        10 => Step::Reopen,
        11 => Step::Compact,
        _ => Step::Stream(300_000 * random.below(2) as usize),
    };
    (0..24).map(|_| step(&mut random)).collect()
}

/// A run of a workload: which states were acknowledged when.
struct Run {
    disk: SimDisk,
    options: Options,
    store: Option<Arc<FileStore>>,
    model: Model,
    /// States in the order in which they were committed, each with the number of disk operations at the
    /// moment it was acknowledged.
    history: Vec<(u64, Model)>,
    /// What the last edit that failed would have made of the state.
    pending: Option<Model>,
    random: Random,
}

impl Run {
    fn new(disk: SimDisk, options: Options, seed: u64) -> Self {
        let (history, random) = (Vec::new(), Random(seed));
        let (store, model) = (None, Model::default());
        Run { disk, options, store, model, history, pending: None, random }
    }

    /// Takes up a disk that was in use before.
    fn resume(disk: SimDisk, options: Options, model: Model, seed: u64) -> Result<Self> {
        let mut run = Run::new(disk, options, seed);
        run.store = Some(open(&run.disk, options)?);
        run.model = model;
        run.acknowledge(run.disk.operations());
        Ok(run)
    }

    fn create(&mut self) -> Result<()> {
        let disk = Arc::new(self.disk.clone());
        self.store = Some(FileStore::create(disk, Path::new(PATH), self.options)?);
        self.acknowledge(self.disk.operations());
        Ok(())
    }

    fn acknowledge(&mut self, operations: u64) {
        self.history.push((operations, self.model.clone()));
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().expect("the store is open")
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Edits(edits) => self.commit(edits.clone()),
            Step::Stream(len) => {
                let content = bytes(self.random.next(), *len);
                let staged = write_stream(&self.store(), &content, &mut self.random)?;
                let key = format!("stream {}", self.model.streams.len()).into_bytes();
                self.commit(vec![vec![Act::Attach { key, staged, content }]])
            }
            Step::AbandonedStream(len) => {
                let mut writer = self.store().stream()?;
                writer.write(&bytes(1, *len))
            }
            Step::Checkpoint => self.store().checkpoint(),
            Step::Compact => self.compact(),
            Step::Reopen => self.reopen(),
        }
    }

    /// Compacts, with edits in between wherever the compaction looks up.
    fn compact(&mut self) -> Result<()> {
        let store = self.store();
        let run = RefCell::new((&mut *self, None));
        let compacted = store.compact(&mut Rewriter, &|_| {
            let (run, failure) = &mut *run.borrow_mut();
            let acts = (0..2).map(|_| Act::random(&mut run.random, 30)).collect();
            *failure = run.commit(vec![acts]).err();
            failure.is_none()
        });
        match run.into_inner().1 {
            Some(error) => Err(error),
            None => compacted.map(drop),
        }
    }

    fn reopen(&mut self) -> Result<()> {
        if let Some(store) = self.store.take() {
            store.close();
        }
        self.store = Some(open(&self.disk, self.options)?);
        Ok(())
    }

    fn check(&mut self) {
        let snapshot = self.store().snapshot().expect("reading goes on");
        self.model.check(snapshot.as_ref(), &mut self.random);
    }

    /// Commits edits as one group and notes when they were acknowledged. An edit that could not run
    /// (a failed read) fails alone; a commit that fails takes all of them with it.
    fn commit(&mut self, edits: Vec<Vec<Act>>) -> Result<()> {
        let outcomes: Arc<Mutex<Vec<Outcome>>> = Arc::default();
        outcomes.lock().resize_with(edits.len(), Outcome::default);
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut leader = None;
        for (index, acts) in edits.into_iter().enumerate() {
            let (in_edit, in_done) = (Arc::clone(&outcomes), Arc::clone(&outcomes));
            let (acknowledged, disk) = (Arc::clone(&acknowledged), self.disk.clone());
            let duty = self.store().submit(
                Box::new(move |edit| {
                    in_edit.lock()[index].effects = Some(perform(edit, &acts)?);
                    Ok(true)
                }),
                Box::new(move |outcome| match outcome {
                    Ok(_) => acknowledged.store(disk.operations(), Ordering::SeqCst),
                    Err(error) => in_done.lock()[index].error = Some(error),
                }),
            );
            leader = leader.or(duty);
        }
        if let Some(leader) = leader {
            leader.run();
        }
        let outcomes = std::mem::take(&mut *outcomes.lock());
        self.follow(outcomes, acknowledged.load(Ordering::SeqCst))
    }

    fn follow(&mut self, outcomes: Vec<Outcome>, acknowledged: u64) -> Result<()> {
        let mut if_committed = self.model.clone();
        for outcome in &outcomes {
            let effects = outcome.effects.as_deref().unwrap_or_default();
            if_committed.absorb(effects);
            if outcome.error.is_none() {
                self.model.absorb(effects);
            }
        }
        self.acknowledge(acknowledged);
        match outcomes.into_iter().find_map(|outcome| outcome.error) {
            None => Ok(()),
            Some(error) => {
                self.pending = Some(if_committed);
                Err(error)
            }
        }
    }
}

/// What became of an edit.
#[derive(Default)]
struct Outcome {
    /// What it did, if it ran to its end.
    effects: Option<Vec<Effect>>,
    error: Option<Error>,
}

type Rows = BTreeMap<Vec<u8>, (u64, Vec<u8>)>;
type Keys = BTreeMap<Vec<u8>, Vec<u8>>;

/// Enough of a snapshot to tell states apart.
fn contents(snapshot: &dyn Snapshot) -> (u64, Rows, Keys, Keys) {
    let mut rows = Rows::new();
    let mut cursor = snapshot.docs(&KeyRange::all(), Direction::Forward, false).unwrap();
    while let Some(row) = cursor.next().unwrap() {
        rows.insert(row.id.to_vec(), (row.seq, decode(row.value).1.to_vec()));
    }
    let keys = |mut cursor: Box<dyn settee_storage::LocalCursor + '_>| {
        let mut keys = Keys::new();
        while let Some((key, value)) = cursor.next().unwrap() {
            keys.insert(key.to_vec(), plain(key, value).to_vec());
        }
        keys
    };
    let locals = keys(snapshot.locals(&KeyRange::all(), Direction::Forward).unwrap());
    let metas = keys(snapshot.metas(&KeyRange::all(), Direction::Forward).unwrap());
    (snapshot.seq(), rows, locals, metas)
}

fn is(found: &(u64, Rows, Keys, Keys), model: &Model) -> bool {
    let docs = model.docs.iter().map(|(id, doc)| (id.clone(), (doc.seq, doc.by_id.clone())));
    found.0 == model.seq
        && found.1 == docs.collect::<Rows>()
        && found.2 == model.locals
        && found.3 == model.metas
}

/// The one of the candidates that a store holds, checked in every way.
fn identify(store: &FileStore, candidates: &[&Model], context: &str) -> Model {
    let snapshot = store.snapshot().unwrap();
    let found = contents(snapshot.as_ref());
    let model = candidates.iter().find(|model| is(&found, model));
    let model = model.unwrap_or_else(|| {
        let expected: Vec<_> = candidates.iter().map(|model| model.seq).collect();
        panic!("{context}: found sequence {}, expected one of {expected:?}", found.0)
    });
    model.check(snapshot.as_ref(), &mut Random(found.0));
    (*model).clone()
}

/// The states that may be found when the power goes after so many operations: the last one acknowledged
/// by then, and the next one, which was under way.
fn candidates(history: &[(u64, Model)], operations: u64) -> Vec<&Model> {
    let acknowledged = history.partition_point(|(at, _)| *at <= operations);
    let from = acknowledged.saturating_sub(1);
    history.iter().skip(from).take(2).map(|(_, model)| model).collect()
}

/// Opens what a crash left; `None` if the database had not been created yet.
fn recover(
    disk: &SimDisk,
    run: &Run,
    operations: u64,
    context: &str,
) -> Option<(Arc<FileStore>, Model)> {
    let created = run.history.first().is_some_and(|(at, _)| *at <= operations);
    match open(disk, run.options) {
        Ok(store) => {
            let model = identify(&store, &candidates(&run.history, operations), context);
            Some((store, model))
        }
        Err(Error::NotFound { .. }) if !created => None,
        Err(error) => panic!("{context}: {error}"),
    }
}

#[test]
fn acknowledged_edits_survive_a_crash_after_every_operation() {
    for seed in 0..6 {
        let options = options([600, 2500, 9000][seed as usize % 3]);
        let mut run = Run::new(SimDisk::recording(), options, seed);
        run.create().unwrap();
        for step in workload(seed) {
            run.step(&step).unwrap();
        }
        run.check();
        for operations in 0..=run.disk.operations() {
            let disk = run.disk.after(operations);
            for crash in 0..5 {
                // Seeds 0 and 1 keep nothing and everything; the others are different each time.
                let crash = if crash < 2 { crash } else { crash + 10 * operations };
                let context = format!("workload {seed}, operation {operations}, crash {crash}");
                let found = disk.crash(crash);
                let Some((store, model)) = recover(&found, &run, operations, &context) else {
                    continue;
                };
                drop(store);
                if crash % 3 == 2 {
                    second_life(&found, options, model, crash, &context);
                }
            }
        }
    }
}

/// What was recovered is as good a store as any: it takes edits, and survives another crash, in the
/// middle of these or even of its opening.
fn second_life(disk: &SimDisk, options: Options, model: Model, seed: u64, context: &str) {
    let context = format!("{context}, second life");
    let first = model.clone();
    disk.power_off_after(Random(seed).below(40));
    let mut expected = vec![first];
    if let Ok(mut run) = Run::resume(disk.clone(), options, model, seed) {
        for step in workload(seed).iter().filter(|step| !matches!(step, Step::AbandonedStream(_))) {
            if run.step(step).is_err() {
                break;
            }
        }
        expected = vec![run.model.clone()];
        expected.extend(run.pending.clone());
    }
    for crash in [0, 1, seed + 2] {
        let found = disk.crash(crash);
        let store = open(&found, options).unwrap_or_else(|error| panic!("{context}: {error}"));
        identify(&store, &expected.iter().collect::<Vec<_>>(), &context);
    }
}

/// A process that is killed leaves everything in the page cache. What the next one shows must be durable
/// by then: a power cut right after the opening changes nothing any more.
#[test]
fn what_is_shown_after_a_kill_stays() {
    for seed in 20..22 {
        let options = options(2500);
        let mut run = Run::new(SimDisk::recording(), options, seed);
        run.create().unwrap();
        for step in workload(seed) {
            run.step(&step).unwrap();
        }
        for operations in (0..=run.disk.operations()).step_by(2) {
            let disk = run.disk.after(operations).kill();
            let context = format!("workload {seed}, killed after {operations}");
            let Some((_store, model)) = recover(&disk, &run, operations, &context) else {
                continue;
            };
            // The folder was never synced before the creation was acknowledged.
            disk.sync_dir(Path::new("/")).unwrap();
            for crash in [0, 1, 2, operations] {
                let store = open(&disk.crash(crash), options).unwrap();
                identify(&store, &[&model], &context);
            }
        }
    }
}

/// Runs a workload over a disk on which one operation fails. After each failed step what is seen is what
/// was acknowledged; a store that is poisoned is opened again, in the same boot, and what is found then
/// survives a crash.
fn run_with_fault(seed: u64, operation: Operation, nth: u64, fault: Fault) -> bool {
    let context = format!("workload {seed}, {operation:?} {nth}: {fault:?}");
    let disk = SimDisk::new();
    disk.fail(operation, nth, fault);
    let mut run = Run::new(disk.clone(), options(1500), seed);
    let mut failures = 0;
    if run.create().is_err() {
        failures += 1;
        // Half a creation is no obstacle to the next.
        if let Err(error) = run.create() {
            assert!(matches!(error, Error::AlreadyExists { .. }), "{context}: {error}");
            run.reopen().unwrap();
            run.acknowledge(disk.operations());
        }
    }
    for step in workload(seed) {
        let Err(error) = run.step(&step) else { continue };
        failures += 1;
        assert!(failures < 8, "{context}: it fails again and again: {error}");
        if run.store.is_some() {
            run.check();
        }
        let full = run.store.is_some() && matches!(error, Error::Full { .. });
        if full && run.step(&Step::Edits(vec![vec![]])).is_ok() {
            continue;
        }
        reopen_after_failure(&mut run, &context);
    }
    let store = open_after_crash(&run, 0);
    identify(&store, &[&run.model], &context);
    failures > 0
}

fn reopen_after_failure(run: &mut Run, context: &str) {
    // The fault may hit the opening, too; it comes but once.
    if run.reopen().is_err() {
        run.reopen().unwrap_or_else(|error| panic!("{context}: {error}"));
    }
    let mut candidates = vec![&run.model];
    candidates.extend(&run.pending);
    let store = run.store.as_ref().expect("just opened");
    let model = identify(store, &candidates, context);
    run.model = model;
    run.pending = None;
    run.disk.drop_caches();
    for crash in 0..3 {
        identify(&open_after_crash(run, crash), &[&run.model], context);
    }
    run.check();
}

fn open_after_crash(run: &Run, crash: u64) -> Arc<FileStore> {
    // Where the creation failed half-way, its name may not be durable yet; that is not the question here.
    run.disk.sync_dir(Path::new("/")).unwrap();
    open(&run.disk.crash(crash), run.options).unwrap()
}

#[test]
fn any_one_operation_may_fail() {
    let (seed, mut hits) = (31, 0);
    for (operation, faults) in [
        (Operation::Write, &[Fault::Error, Fault::Full, Fault::Short, Fault::Torn][..]),
        (Operation::Sync, &[Fault::Error, Fault::Full, Fault::DropDirty]),
        (Operation::SetLen, &[Fault::Error]),
        (Operation::Read, &[Fault::Error, Fault::Short]),
        (Operation::Open, &[Fault::Error]),
        (Operation::Create, &[Fault::Error, Fault::Full]),
        (Operation::Rename, &[Fault::Error]),
        (Operation::SyncDir, &[Fault::Error]),
    ] {
        let total = count_operations(seed, operation);
        assert!(total > 0, "{operation:?} does not occur");
        for fault in faults {
            let step = 1 + total / 60;
            for nth in (1..=total).step_by(step as usize) {
                hits += u64::from(run_with_fault(seed, operation, nth, *fault));
            }
        }
    }
    assert!(hits > 100, "only {hits} faults were noticed");
}

fn count_operations(seed: u64, operation: Operation) -> u64 {
    let disk = SimDisk::new();
    let mut run = Run::new(disk.clone(), options(1500), seed);
    run.create().unwrap();
    for step in workload(seed) {
        run.step(&step).unwrap();
    }
    disk.count(operation)
}

/// Found by the simulation (seed 1942): the trees a snapshot reads were durable, the record of their
/// checkpoint was not. A failed sync cut the record off, the next opening what no record named, and edits
/// were written over the nodes that the snapshot went on reading.
#[test]
fn a_snapshot_outlives_a_failed_sync_and_the_next_opening() {
    for fault in [Fault::Error, Fault::DropDirty] {
        let disk = SimDisk::new();
        let mut run = Run::new(disk.clone(), options(600), 5);
        run.create().unwrap();
        let edits = |run: &mut Run| {
            let acts = (0..6).map(|_| Act::random(&mut run.random, 30)).collect();
            run.step(&Step::Edits(vec![acts]))
        };
        for _ in 0..4 {
            edits(&mut run).unwrap();
        }
        let (held, model) = (run.store().snapshot().unwrap(), run.model.clone());
        disk.fail(Operation::Sync, 1, fault);
        edits(&mut run).unwrap_err();
        run.reopen().unwrap();
        for _ in 0..20 {
            edits(&mut run).unwrap();
        }
        model.check(held.as_ref(), &mut Random(1));
    }
}

/// A disk that says it has synced when it has not cannot be survived, but it is found out: what was
/// lost below a later record's durable mark is damage, and is refused, not cut off as a torn tail.
#[test]
fn a_disk_that_lies_about_a_sync_is_found_out() {
    const EDITS: u64 = 12;
    // The file header, its folder and the opening are synced before the edits are.
    for nth in 3..EDITS + 2 {
        let disk = SimDisk::new();
        disk.fail(Operation::Sync, nth, Fault::Lie);
        let mut run = Run::new(disk.clone(), options(u64::MAX / 4), nth);
        run.create().unwrap();
        for _ in 0..EDITS {
            let acts = vec![Act::random(&mut run.random, 30), Act::random(&mut run.random, 30)];
            run.step(&Step::Edits(vec![acts])).unwrap();
        }
        if nth >= disk.count(Operation::Sync) {
            // Nothing was written after the last commit, so nothing tells that it was ever there.
            continue;
        }
        match open(&disk.crash(0), run.options) {
            Err(Error::Corrupt { .. }) => {}
            Err(error) => panic!("sync {nth}: {error}"),
            // Sectors were written again by the next commit: nothing was lost after all.
            Ok(store) => assert_eq!(store.snapshot().unwrap().seq(), run.model.seq, "sync {nth}"),
        }
    }
}

/// A full disk is an error that passes: reads go on, nothing is lost, and when there is room again, so
/// do edits, through the same handle.
#[test]
fn a_full_disk_is_survived_without_reopening() {
    for seed in 40..46 {
        let disk = SimDisk::new();
        let mut run = Run::new(disk.clone(), options(1200), seed);
        run.create().unwrap();
        let mut refused = 0;
        for (number, step) in workload(seed).iter().chain(&workload(seed + 1)).enumerate() {
            let used = disk.contents(Path::new(PATH)).unwrap().len() as u64;
            let room = if number % 3 == 0 { Some(used + 512 * (number as u64 % 7)) } else { None };
            disk.set_capacity(room);
            if matches!(step, Step::Reopen) {
                continue;
            }
            match run.step(step) {
                Ok(()) => {}
                Err(Error::Full { .. } | Error::NoRoom { .. }) => {
                    refused += 1;
                    run.check();
                }
                Err(error) => panic!("seed {seed}, step {number}: {error}"),
            }
        }
        assert!(refused > 0, "seed {seed}: the disk was never full");
        disk.set_capacity(None);
        run.step(&Step::Checkpoint).unwrap();
        run.check();
        for crash in 0..3 {
            identify(&open_after_crash(&run, crash), &[&run.model], "after a full disk");
        }
    }
}
