//! One seed: processes that follow each other on one disk, each with its databases, its failures and
//! its end.
//!
//! * `steps`: what happens in a life; `compact`: compactions, and what happens meanwhile; `views`: queries
//! * `flips`: bits that flip at the very end

mod compact;
mod flips;
mod steps;
mod views;

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use settee_engine::{Database, Databases, Error, NameRange, Reader};
use settee_storage::disk::{
    SimDisk,
    sim::{Fault, Operation, Random},
};

use self::views::{HeldView, settings};
use crate::{
    check::{Check, Stop, check_settings},
    model::{Change, Db},
    mutant::{self, Mutant},
    perform::{effect, follow},
    plan::{FAULTS, Plan},
    report::{Stats, Trace},
    views::Views,
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
    /// What the database calls itself, once it was open.
    uuid: Option<String>,
    views: Views,
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
    /// Databases whose creation or deletion failed: not there, or one of these.
    unsure: BTreeMap<String, Vec<Known>>,
    held: Vec<Held>,
    held_views: Vec<HeldView>,
    /// Processes so far.
    lives: u8,
    bodies: u64,
    /// Something may fail in this life.
    faulty: bool,
    /// When the power goes, in operations of the disk.
    power_off_at: Option<u64>,
    pub(crate) trace: Trace,
    pub(crate) stats: Stats,
}

impl Known {
    fn new(model: Arc<Db>, mutant: Option<Mutant>) -> Self {
        let (pending, handle) = (Vec::new(), Weak::new());
        Known { model, pending, handle, uuid: None, views: Views::new(mutant) }
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
            held_views: Vec::new(),
            lives: 0,
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
            self.check_leftovers(&name)?;
            self.view(&name)?;
        }
        Ok(())
    }

    /// What a compaction left half-done is removed when the database is opened.
    fn check_leftovers(&self, name: &str) -> Result<(), Stop> {
        let leftover = Self::path(name).with_extension("settee.compact");
        match self.disk.contents(&leftover) {
            Some(_) => Stop::wrong(format!("{} is still there", leftover.display())),
            None => Ok(()),
        }
    }

    fn try_open(&mut self) -> Result<(), Stop> {
        self.lives += 1;
        let disk = mutant::disk(&self.disk, self.mutant);
        let all = Databases::open(disk, ROOT, self.plan.engine_options(self.lives));
        let all = all.map_err(Stop::of)?;
        all.set_view_settings(settings());
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
        if self.random.chance(self.plan.cuts) && !self.faulty {
            self.fail(Operation::SetLen, Fault::Error);
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
        self.fail(operation, fault);
    }

    fn fail(&mut self, operation: Operation, fault: Fault) {
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
        self.held_views.clear();
        self.all = None;
        self.disk = disk;
        for known in self.known.values_mut().chain(self.unsure.values_mut().flatten()) {
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
        self.check_held_views()
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
                known.uuid = Some(uuid_of(&db));
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
            let uuid = uuid_of(&self.databases()?.get(&name).map_err(Stop::of)?);
            let mut unsure = self.unsure.remove(&name).unwrap_or_default();
            let is = |known: &Known, uuid: Option<&String>| known.uuid.as_ref() == uuid;
            let by_name = unsure.iter().position(|known| is(known, Some(&uuid)));
            // One that was never open has a name that nobody knows.
            let Some(at) = by_name.or(unsure.iter().position(|known| is(known, None))) else {
                return Stop::wrong(format!("{name} is there, and nobody knows it"));
            };
            let found = unsure.swap_remove(at);
            self.note(|| format!("  {name} is there"));
            self.known.insert(name.clone(), found);
            self.database(&name)?;
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
}

fn uuid_of(db: &Arc<Database>) -> String {
    format!("{:?}", db.uuid())
}
