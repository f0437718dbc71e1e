//! One seed: processes that follow each other on one disk, each with its databases, its failures and
//! its end.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use settee_engine::{Database, Databases, Error, NameRange, Props, Reader};
use settee_storage::{
    Error as StoreError,
    disk::{Disk, SimDisk, sim::Random},
};

use crate::{
    check::{Check, Stop, check_settings},
    choose::Chooser,
    model::{Change, Db},
    mutant::{self, Mutant},
    perform::{Answer, effect, follow, perform, perform_group, stage},
    plan::{FAULTS, Kind, Plan},
    report::{Stats, Trace},
};

const ROOT: &str = "data";
/// Openings that may fail before the simulation gives up: failures are planned one by one.
const MAX_OPENINGS: u32 = 8;
/// Snapshots held at once.
const MAX_HELD: usize = 4;
/// Operations of the disk within which the power goes, if it does.
const POWER_WITHIN: u64 = 250;
/// The n-th operation of a kind fails, n up to one of these.
const FAULT_WITHIN: [u64; 3] = [4, 12, 40];
/// Sectors that may be free when the disk is about to be full.
const FREE_SECTORS: u64 = 40;
const SECTOR_BYTES: u64 = 512;

/// A database that is known to be there.
struct Known {
    model: Arc<Db>,
    /// Changes that failed in a way that does not tell whether they took effect, oldest first.
    pending: Vec<Change>,
    /// The handle that was last used; another one has read the file anew.
    handle: Weak<Database>,
}

/// A snapshot that is held, and what it must go on showing.
struct Held {
    reader: Reader,
    model: Arc<Db>,
}

/// The state of one run.
pub(crate) struct Run {
    random: Random,
    plan: Plan,
    mutant: Option<Mutant>,
    disk: SimDisk,
    all: Option<Arc<Databases>>,
    known: BTreeMap<String, Known>,
    /// Databases whose creation or deletion failed: not there, or as they were before.
    unsure: BTreeMap<String, Known>,
    held: Vec<Held>,
    bodies: u64,
    /// Something may fail in this life.
    faulty: bool,
    /// When the power goes, in operations of the disk.
    power_off_at: Option<u64>,
    pub(crate) trace: Trace,
    pub(crate) stats: Stats,
}

impl Known {
    fn new(model: Arc<Db>) -> Self {
        Known { model, pending: Vec::new(), handle: Weak::new() }
    }
}

impl Run {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>, trace: Trace) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::new(&mut random);
        let mut trace = trace;
        trace.note(|| format!("{plan:?}"));
        Run {
            random,
            plan,
            mutant,
            disk: SimDisk::new(),
            all: None,
            known: BTreeMap::new(),
            unsure: BTreeMap::new(),
            held: Vec::new(),
            bodies: 0,
            faulty: false,
            power_off_at: None,
            trace,
            stats: Stats::default(),
        }
    }

    /// Everything the seed has in store.
    pub(crate) fn all(&mut self) -> Result<(), Stop> {
        for _ in 0..self.plan.lives {
            self.open()?;
            self.arm();
            for _ in 0..1 + self.random.below(self.plan.steps) {
                if self.is_off() || !self.step()? {
                    break;
                }
            }
            self.end_life()?;
        }
        self.open()?;
        self.close()?;
        if self.plan.flips {
            self.flip()?;
        }
        Ok(())
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        let operations = self.disk.operations();
        self.trace.note(|| format!("{operations:5} {}", what()));
    }

    fn is_off(&self) -> bool {
        self.power_off_at.is_some_and(|at| self.disk.operations() >= at)
    }

    /// Takes trouble as it comes, if there may be any.
    fn tolerate<T>(&mut self, result: Result<T, Stop>) -> Result<Option<T>, Stop> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Trouble(error)) if self.faulty => {
                self.note(|| format!("  trouble: {error}"));
                self.stats.troubles += 1;
                Ok(None)
            }
            Err(Stop::Trouble(error)) => Stop::wrong(format!("out of nowhere: {error}")),
            Err(stop) => Err(stop),
        }
    }

    // ---- lives -----------------------------------------------------------------------------------

    /// Starts a process: sometimes first one that meets failures while it opens everything.
    fn open(&mut self) -> Result<(), Stop> {
        for _ in 0..MAX_OPENINGS {
            if !self.random.chance(self.plan.opening) {
                break;
            }
            self.faulty = true;
            self.plan_fault();
            if self.random.chance(2) {
                self.plan_power_off(30);
            }
            let opened = self.try_open();
            self.tolerate(opened)?;
            self.all = None;
            if self.is_off() || self.random.chance(3) {
                self.crash();
            }
            self.heal();
        }
        self.try_open()?;
        self.check_names()?;
        let contents = self.contents();
        self.note(|| format!("what is on the disk: {contents:016x}"));
        for name in self.known.keys().cloned().collect::<Vec<_>>() {
            self.look(&name)?;
        }
        Ok(())
    }

    fn try_open(&mut self) -> Result<(), Stop> {
        let disk = mutant::disk(&self.disk, self.mutant);
        let all = Databases::open(disk, ROOT, self.plan.engine_options()).map_err(Stop::of)?;
        self.all = Some(all);
        self.note(|| "opened".into());
        self.settle_unsure()?;
        for name in self.known.keys().cloned().collect::<Vec<_>>() {
            self.database(&name)?;
        }
        Ok(())
    }

    /// No failures any more.
    fn heal(&mut self) {
        self.disk.heal();
        (self.faulty, self.power_off_at) = (false, None);
    }

    /// Plans what fails in a life.
    fn arm(&mut self) {
        if self.random.chance(self.plan.power) {
            self.plan_power_off(POWER_WITHIN);
        }
        if self.random.chance(self.plan.faults) {
            for _ in 0..1 + self.random.below(3) {
                self.plan_fault();
            }
        }
    }

    fn plan_power_off(&mut self, within: u64) {
        let operations = self.random.below(within);
        self.faulty = true;
        self.power_off_at = Some(self.disk.operations() + operations);
        self.disk.power_off_after(operations);
        self.note(|| format!("the power goes after {operations} operations"));
    }

    fn plan_fault(&mut self) {
        let (operation, fault) = FAULTS[self.random.index(FAULTS.len())];
        let within = FAULT_WITHIN[self.random.index(FAULT_WITHIN.len())];
        let nth = 1 + self.random.below(within);
        self.faulty = true;
        self.disk.fail(operation, nth, fault);
        self.note(|| format!("{operation:?} {nth} from here: {fault:?}"));
    }

    /// The power goes, or the process is killed, or it ends in order.
    fn end_life(&mut self) -> Result<(), Stop> {
        match self.random.below(4) {
            _ if self.is_off() => self.crash(),
            0 | 1 => self.crash(),
            2 => {
                self.note(|| "killed".into());
                self.stats.kills += 1;
                self.replace_disk(self.disk.kill());
            }
            _ => self.close()?,
        }
        self.heal();
        Ok(())
    }

    fn crash(&mut self) {
        let seed = match self.random.below(8) {
            0 => 0,
            1 => 1,
            _ => self.random.next(),
        };
        self.note(|| format!("crash {seed}"));
        self.stats.crashes += 1;
        self.replace_disk(self.disk.crash(seed));
        // What the names are is settled now; what they stand for is seen when they are opened.
        self.power_off_at = None;
    }

    fn replace_disk(&mut self, disk: SimDisk) {
        self.held.clear();
        self.all = None;
        self.disk = disk;
        for known in self.known.values_mut().chain(self.unsure.values_mut()) {
            known.handle = Weak::new();
        }
    }

    /// Closes everything; held snapshots stay readable.
    fn close(&mut self) -> Result<(), Stop> {
        self.note(|| "close".into());
        self.stats.closings += 1;
        if let Some(all) = self.all.take() {
            let closed = all.close().map_err(Stop::of);
            self.tolerate(closed)?;
        }
        for at in 0..self.held.len() {
            self.check_held(at)?;
        }
        Ok(())
    }

    // ---- databases -------------------------------------------------------------------------------

    fn databases(&self) -> Result<&Arc<Databases>, Stop> {
        self.all.as_ref().ok_or(Stop::Wrong("nothing is open".into()))
    }

    fn name(&mut self) -> String {
        ["a", "b/c", "b//d"][self.random.index(3).min(self.plan.databases as usize - 1)].to_owned()
    }

    fn some_database(&mut self) -> Option<String> {
        let names: Vec<_> = self.known.keys().cloned().collect();
        (!names.is_empty()).then(|| names[self.random.index(names.len())].clone())
    }

    /// The handle of a database. If the file was read anew, what is known of it becomes certain.
    fn database(&mut self, name: &str) -> Result<Arc<Database>, Stop> {
        let db = match self.databases()?.get(name) {
            Err(Error::DatabaseNotFound) => return Stop::wrong(format!("{name} is gone")),
            db => db.map_err(Stop::of)?,
        };
        let handle = Arc::downgrade(&db);
        if !self.known.get(name).is_some_and(|known| known.handle.ptr_eq(&handle)) {
            self.settle(name, &db)?;
            if let Some(known) = self.known.get_mut(name) {
                known.handle = handle;
            }
        }
        Ok(db)
    }

    /// Finds out which of the pending changes took effect.
    fn settle(&mut self, name: &str, db: &Arc<Database>) -> Result<(), Stop> {
        let Some(known) = self.known.get_mut(name) else { return Ok(()) };
        let reader = db.read().map_err(Stop::of)?;
        let mut model = Db::clone(&known.model);
        let mut applied = 0;
        for change in &known.pending {
            if let Some(answer) = effect(db, &reader, &model, change)? {
                applied += 1;
                follow(&mut model, change, &answer)?;
            }
        }
        let all = known.pending.len();
        known.pending.clear();
        known.model = Arc::new(model);
        self.note(|| format!("  {name}: {applied} of {all} pending changes took effect"));
        self.compare(name, db)
    }

    /// Compares everything about a database.
    fn compare(&mut self, name: &str, db: &Arc<Database>) -> Result<(), Stop> {
        let Some(known) = self.known.get(name) else { return Ok(()) };
        let model = Arc::clone(&known.model);
        self.stats.comparisons += 1;
        let named = |stop| match stop {
            Stop::Wrong(text) => Stop::Wrong(format!("{name}: {text}")),
            trouble => trouble,
        };
        check_settings(db, &model).map_err(named)?;
        let reader = db.read().map_err(Stop::of)?;
        Check::new(&reader, &model).all().map_err(named)
    }

    fn look(&mut self, name: &str) -> Result<(), Stop> {
        let db = self.database(name)?;
        self.compare(name, &db)
    }

    /// Databases whose creation or deletion failed are there or not. One that is there will stay.
    fn settle_unsure(&mut self) -> Result<(), Stop> {
        for name in self.unsure.keys().cloned().collect::<Vec<_>>() {
            if !self.databases()?.exists(&name).map_err(Stop::of)? {
                continue;
            }
            if let Some(unsure) = self.unsure.remove(&name) {
                self.note(|| format!("  {name} is there"));
                self.known.insert(name.clone(), unsure);
                self.database(&name)?;
            }
        }
        Ok(())
    }

    fn check_names(&mut self) -> Result<(), Stop> {
        let names = self.databases()?.names(&NameRange::default()).map_err(Stop::of)?;
        let expected: Vec<_> = self.known.keys().cloned().collect();
        match names == expected {
            true => Ok(()),
            false => Stop::wrong(format!("the databases are {names:?} instead of {expected:?}")),
        }
    }

    fn path(name: &str) -> PathBuf {
        Path::new(ROOT).join(format!("{}.settee", name.replace("//", "/%/")))
    }

    /// A sum over the files, to tell disks apart.
    fn contents(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for name in self.known.keys() {
            self.disk.contents(&Self::path(name)).hash(&mut hasher);
        }
        hasher.finish()
    }

    // ---- steps -----------------------------------------------------------------------------------

    /// One step; false if the process should end.
    fn step(&mut self) -> Result<bool, Stop> {
        self.stats.steps += 1;
        if self.random.below(40) < self.plan.full {
            self.fill_disk();
        }
        let kind = self.plan.kind(&mut self.random);
        let outcome = match (self.some_database(), kind) {
            (None, _) | (_, Kind::Create) => self.create(),
            (Some(name), Kind::Delete) => self.delete(&name),
            (Some(name), kind) => self.step_in(&name, kind),
        };
        let poisoned =
            matches!(outcome, Err(Stop::Trouble(Error::Storage(StoreError::Poisoned { .. }))));
        self.tolerate(outcome)?;
        Ok(!(poisoned && self.random.chance(4)))
    }

    fn step_in(&mut self, name: &str, kind: Kind) -> Result<(), Stop> {
        match kind {
            Kind::Hold => self.hold(name),
            Kind::Release => self.release(),
            Kind::Look => self.look(name),
            Kind::Checkpoint => {
                self.note(|| format!("checkpoint of {name}"));
                self.database(name)?.checkpoint().map_err(Stop::of)
            }
            Kind::Group => self.group(name),
            Kind::Abandon => {
                let attachment = self.chooser(name)?.attachment();
                self.note(|| format!("abandon {} bytes in {name}", attachment.bytes.len()));
                stage(&self.database(name)?, &attachment).map(|_| ())
            }
            kind => self.change(name, kind),
        }
    }

    fn chooser(&mut self, name: &str) -> Result<Chooser<'_>, Stop> {
        let known = self.known.get(name).ok_or(Stop::Wrong("no such database".into()))?;
        Ok(Chooser {
            random: &mut self.random,
            model: &known.model,
            bodies: &mut self.bodies,
            documents: self.plan.documents,
            large: self.plan.large,
        })
    }

    fn change(&mut self, name: &str, kind: Kind) -> Result<(), Stop> {
        let db = self.database(name)?;
        let mut chooser = self.chooser(name)?;
        let change = match kind {
            Kind::Bulk => chooser.bulk(false),
            Kind::Replicate => chooser.bulk(true),
            Kind::Attach => Change::Write(vec![chooser.attach()]),
            Kind::Purge => chooser.purge(),
            Kind::Setting => chooser.setting(),
            _ => Change::Write(vec![chooser.single()]),
        };
        self.note(|| format!("{name}: {change:?}"));
        let answer = perform(&db, &change);
        self.answered(name, vec![(change, answer)])?;
        self.compare_one(name, &db)
    }

    fn group(&mut self, name: &str) -> Result<(), Stop> {
        let db = self.database(name)?;
        let mut group = Vec::new();
        for _ in 0..2 + self.random.below(4) {
            let replicated = self.random.chance(2);
            if let Change::Write(mut writes) = self.chooser(name)?.bulk(replicated) {
                // By then the revision it names may be another one's, without these attachments.
                writes.iter_mut().for_each(|write| write.stubs.clear());
                // Design documents are compiled by whoever leads, so a call with one of them in it may come
                // after a later one.
                writes.retain(|write| !write.id.starts_with("_design/"));
                if !writes.is_empty() {
                    group.push(writes);
                }
            }
        }
        self.note(|| format!("{name}: together {group:?}"));
        let answers = perform_group(&db, &group)?;
        let changes = group.into_iter().map(Change::Write).zip(answers).collect();
        self.answered(name, changes)?;
        self.compare_one(name, &db)
    }

    /// Follows what was acknowledged; remembers what may or may not have taken effect. If something
    /// was acknowledged, what failed before through the same handle did not.
    fn answered(
        &mut self,
        name: &str,
        changes: Vec<(Change, Result<Answer, Stop>)>,
    ) -> Result<(), Stop> {
        let Some(known) = self.known.get_mut(name) else { return Ok(()) };
        let (mut trouble, mut failed, mut committed) = (None, Vec::new(), false);
        for (change, answer) in changes {
            match answer {
                Ok(answer) => {
                    committed |= would_change(&known.model, &change);
                    follow(Arc::make_mut(&mut known.model), &change, &answer)?;
                    self.trace.note(|| format!("      {answer:?}"));
                }
                Err(Stop::Trouble(error)) => {
                    // Where functions may validate, those who wait together are prepared one after the
                    // other, and so need not be one commit: each answers for itself.
                    failed.push(change);
                    trouble = Some(error);
                }
                Err(wrong) => return Err(wrong),
            }
        }
        if committed {
            known.pending.clear();
        }
        known.pending.append(&mut failed);
        trouble.map_or(Ok(()), |error| Err(Stop::Trouble(error)))
    }

    /// Compares a document of the database, so that a step costs little.
    fn compare_one(&mut self, name: &str, db: &Arc<Database>) -> Result<(), Stop> {
        let Some(known) = self.known.get(name) else { return Ok(()) };
        let (docs, at) = (&known.model.docs, self.random.index(known.model.docs.len().max(1)));
        let Some((id, doc)) = docs.iter().nth(at) else { return Ok(()) };
        let reader = db.read().map_err(Stop::of)?;
        Check::new(&reader, &known.model).doc(id, doc)
    }

    fn hold(&mut self, name: &str) -> Result<(), Stop> {
        let reader = self.database(name)?.read().map_err(Stop::of)?;
        if let (Some(known), true) = (self.known.get(name), self.held.len() < MAX_HELD) {
            let model = Arc::clone(&known.model);
            self.held.push(Held { reader, model });
            self.note(|| format!("hold {name}"));
        }
        Ok(())
    }

    fn release(&mut self) -> Result<(), Stop> {
        if self.held.is_empty() {
            return Ok(());
        }
        let at = self.random.index(self.held.len());
        self.check_held(at)?;
        if self.random.chance(4) {
            self.held.swap_remove(at);
        }
        Ok(())
    }

    fn check_held(&mut self, at: usize) -> Result<(), Stop> {
        self.note(|| format!("held snapshot {at}"));
        self.stats.snapshots += 1;
        let held = &self.held[at];
        let checked = Check::new(&held.reader, &held.model).all();
        let checked = checked.map_err(|stop| match stop {
            Stop::Wrong(text) => Stop::Wrong(format!("a held snapshot: {text}")),
            trouble => trouble,
        });
        self.tolerate(checked).map(|_| ())
    }

    fn create(&mut self) -> Result<(), Stop> {
        let name = self.name();
        self.note(|| format!("create {name}"));
        match self.databases()?.create(&name, Props::default()) {
            Ok(_) if !self.known.contains_key(&name) => {
                self.unsure.remove(&name);
                self.known.insert(name.clone(), Known::new(Arc::default()));
                self.look(&name)
            }
            Err(Error::DatabaseExists) if self.known.contains_key(&name) => Ok(()),
            Err(Error::DatabaseExists) if self.unsure.contains_key(&name) => self.settle_unsure(),
            Ok(_) | Err(Error::DatabaseExists) => Stop::wrong("a database is there, or it is not"),
            Err(error) => {
                if !self.known.contains_key(&name) {
                    self.unsure.entry(name).or_insert_with(|| Known::new(Arc::default()));
                }
                Err(Stop::of(error))
            }
        }
    }

    fn delete(&mut self, name: &str) -> Result<(), Stop> {
        self.note(|| format!("delete {name}"));
        let deleted = self.databases()?.delete(name);
        let Some(known) = self.known.remove(name) else { return Ok(()) };
        if let Err(error) = deleted {
            self.unsure.insert(name.to_owned(), known);
            return Err(Stop::of(error));
        }
        Ok(())
    }

    fn fill_disk(&mut self) {
        let free = match self.random.chance(4) {
            true => None,
            false => Some(self.random.below(FREE_SECTORS) * SECTOR_BYTES),
        };
        self.note(|| format!("free space: {free:?}"));
        self.faulty |= free.is_some();
        self.disk.set_capacity(None);
        let used = self.disk.free_bytes(Path::new(ROOT)).map_or(0, |free| u64::MAX - free);
        self.disk.set_capacity(free.map(|free| used + free));
    }

    // ---- flipped bits ----------------------------------------------------------------------------

    /// Flips bits in closed files. From then on every answer is right or an error that says so.
    fn flip(&mut self) -> Result<(), Stop> {
        self.held.clear();
        for name in self.known.keys().cloned().collect::<Vec<_>>() {
            let path = Self::path(&name);
            let len = self.disk.contents(&path).map_or(0, |bytes| bytes.len() as u64);
            // One place: where the last commit and the checkpoint that closed the file are both hit,
            // nothing tells that they were ever there.
            let (offset, bit) = (self.random.below(len.max(1)), self.random.below(8) as u8);
            self.note(|| format!("flip bit {bit} of byte {offset} of {name}"));
            self.disk.flip_bit(&path, offset, bit);
        }
        let disk = mutant::disk(&self.disk, self.mutant);
        let all = Databases::open(disk, ROOT, self.plan.engine_options()).map_err(Stop::of)?;
        self.all = Some(all);
        for name in self.known.keys().cloned().collect::<Vec<_>>() {
            self.check_damaged(&name)?;
        }
        Ok(())
    }

    fn check_damaged(&mut self, name: &str) -> Result<(), Stop> {
        let Some(db) = self.allow_damage(|run| run.databases()?.get(name).map_err(Stop::of))?
        else {
            return Ok(());
        };
        self.compare_damaged(name, &db)?;
        let change = Change::Write(vec![self.chooser(name)?.single()]);
        if let Some(answer) = self.allow_damage(|_| perform(&db, &change))?
            && let Some(known) = self.known.get_mut(name)
        {
            follow(Arc::make_mut(&mut known.model), &change, &answer)?;
        }
        self.allow_damage(|_| db.checkpoint().map_err(Stop::of))?;
        self.compare_damaged(name, &db)
    }

    fn compare_damaged(&mut self, name: &str, db: &Arc<Database>) -> Result<(), Stop> {
        let Some(known) = self.known.get(name) else { return Ok(()) };
        let reader = db.read().map_err(Stop::of)?;
        let mut check = Check { damaged: true, ..Check::new(&reader, &known.model) };
        let outcome = check.all();
        self.stats.damage_noticed += check.refused;
        outcome
    }

    fn allow_damage<T>(
        &mut self,
        work: impl FnOnce(&Self) -> Result<T, Stop>,
    ) -> Result<Option<T>, Stop> {
        match work(self) {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Trouble(error)) => Stop::wrong(format!("out of nowhere: {error}")),
            Err(Stop::Damage(error)) => {
                self.note(|| format!("  {error}"));
                self.stats.damage_noticed += 1;
                Ok(None)
            }
            Err(wrong) => Err(wrong),
        }
    }
}

/// Whether a change that succeeds leaves anything in the file.
fn would_change(model: &Db, change: &Change) -> bool {
    use crate::model::Verdict;
    match change {
        Change::Write(writes) => writes
            .iter()
            .any(|write| write.is_local() || matches!(model.judge(write), Verdict::Written { .. })),
        _ => true,
    }
}
