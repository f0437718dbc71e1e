//! A simulated disk that does to unsynced data what real ones do when the power goes, and fails on
//! request. Everything is deterministic: the same calls and seeds give the same disk.
//!
//! # What is simulated
//!
//! The process sees a page cache: what is written can be read at once. What is *durable* is another
//! matter:
//!
//! * [`File::sync_data`] and [`File::sync_all`] make the bytes and the length of one file durable,
//! * [`Disk::sync_dir`] makes the names in one folder durable; syncing a file does nothing for its name,
//! * [`SimDisk::crash`] cuts the power. Each sector of [`SECTOR_BYTES`] that was written since its last
//!   sync keeps what was durable, gets any of the versions written since (not only the newest), or is torn
//!   between two of them; each by itself, in any order. Lengths and names likewise. Data may
//!   arrive without the length that covers it and the reverse.
//!
//! A sector that was not written since its last sync never changes, except by [`SimDisk::flip_bit`].
//!
//! # Crashing everywhere
//!
//! A recording disk remembers every operation, so one run of a workload gives every crash point:
//!
//! ```
//! use std::path::Path;
//! use settee_storage::disk::{Disk, OpenMode, SimDisk, write_all_at};
//!
//! let disk = SimDisk::recording();
//! let path = Path::new("/log");
//! let file = disk.open(path, OpenMode::CreateNew)?;
//! disk.sync_dir(Path::new("/"))?;
//! write_all_at(&*file, b"first", 0)?;
//! file.sync_data()?;
//! let acknowledged = disk.operations(); // the first write is promised from here on
//! write_all_at(&*file, b"second", 5)?;
//!
//! for operations in 0..=disk.operations() {
//!     for seed in 0..10 {
//!         let found = disk.after(operations).crash(seed);
//!         if operations >= acknowledged {
//!             let bytes = found.contents(path).expect("the name was synced");
//!             assert!(bytes.starts_with(b"first"), "operations {operations}, seed {seed}");
//!         }
//!     }
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Failures
//!
//! [`SimDisk::fail`] makes the n-th operation of a kind fail in one of the ways of [`Fault`];
//! [`SimDisk::set_capacity`] fills the disk; [`SimDisk::power_off_after`] makes everything fail from some
//! operation on, for workloads whose threads cannot be replayed. There are no memory maps.
//!
//! * `state`: names and files, changed by `Effect`s only; `inode`: one file's bytes
//! * `crash`: what survives; `faults`: what fails when

mod crash;
mod faults;
mod file;
mod inode;
mod random;
mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};

pub use faults::{Fault, Operation};
pub use inode::SECTOR_BYTES;
pub use random::Random;

use self::{
    crash::Survival,
    faults::Plan,
    file::SimFile,
    state::{Effect, State},
};
use super::{Disk, File, OpenMode};

/// The simulated disk; see the [module](self). Clones are handles to the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// All effects so far, if they are recorded.
    journal: Option<Vec<Effect>>,
    plan: Plan,
    /// Files whose writer's lock is taken.
    locks: BTreeSet<u64>,
    /// How often each file is open.
    open: BTreeMap<u64, u64>,
}

impl Default for SimDisk {
    fn default() -> Self {
        SimDisk::new()
    }
}

impl SimDisk {
    /// An empty disk. The root folder and the empty path exist.
    #[must_use]
    pub fn new() -> Self {
        SimDisk::with(State::default(), None)
    }

    /// An empty disk that records what is done to it, for [`SimDisk::after`].
    #[must_use]
    pub fn recording() -> Self {
        SimDisk::with(State::default(), Some(Vec::new()))
    }

    fn with(state: State, journal: Option<Vec<Effect>>) -> Self {
        let (locks, open) = (BTreeSet::new(), BTreeMap::new());
        let inner = Inner { state, journal, plan: Plan::default(), locks, open };
        SimDisk { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Number of operations that changed something or made it durable: writes, changes of length,
    /// syncs, creations, removals, renames and folder syncs. Reads and refused operations do not count.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.inner.lock().state.operations()
    }

    /// How often an operation of this kind was asked for, failed ones included.
    #[must_use]
    pub fn count(&self, operation: Operation) -> u64 {
        self.inner.lock().plan.count(operation)
    }

    /// The disk as it was after its first `operations` operations, with what was unsynced then still
    /// unsynced. Crash it, or open it as a process does that follows one that was killed.
    ///
    /// # Panics
    /// If the disk is not [`SimDisk::recording`].
    #[must_use]
    pub fn after(&self, operations: u64) -> SimDisk {
        let inner = self.inner.lock();
        let journal = inner.journal.as_ref().expect("the disk must be recording");
        let mut state = State::default();
        for effect in journal.iter().take(usize::try_from(operations).unwrap_or(usize::MAX)) {
            state.apply(effect);
        }
        SimDisk::with(state, None)
    }

    /// The disk as found when the power comes back. Seed 0 keeps nothing that was unsynced, seed 1 keeps
    /// everything; every other seed makes its own choice, from keeping a prefix in the order of writing
    /// to keeping sectors at random. This disk is not changed, so many crashes can be tried.
    #[must_use]
    pub fn crash(&self, seed: u64) -> SimDisk {
        let inner = self.inner.lock();
        let mut survival = Survival::new(seed, inner.state.operations());
        SimDisk::with(inner.state.crash(&mut survival), None)
    }

    /// The disk as the next process finds it when this one was killed: all it wrote is in the page
    /// cache, synced or not; locks are gone, planned failures too.
    #[must_use]
    pub fn kill(&self) -> SimDisk {
        SimDisk::with(self.inner.lock().state.clone(), None)
    }

    /// Makes the `nth` operation of a kind from now on fail (1 is the next one).
    pub fn fail(&self, operation: Operation, nth: u64, fault: Fault) {
        self.inner.lock().plan.fail(operation, nth, fault);
    }

    /// Cuts the power after this many more [operations](SimDisk::operations): from then on every call
    /// fails. [`SimDisk::crash`] shows what is left.
    pub fn power_off_after(&self, operations: u64) {
        let mut inner = self.inner.lock();
        let at = inner.state.operations().saturating_add(operations);
        inner.plan.power_off_at(at);
    }

    /// Limits the bytes that files can take together; `None` for no limit. Sectors are counted once
    /// written; a write that no longer fits is cut short, then refused.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner.lock().plan.capacity = bytes;
    }

    /// Takes back what was planned: no operation fails any more, the power stays on, the disk has room.
    pub fn heal(&self) {
        self.inner.lock().plan.heal();
    }

    /// Drops clean pages from the page cache, so that reads show what is on the disk. It makes a
    /// difference only after a sync that failed with [`Fault::DropDirty`] or [`Fault::Lie`].
    pub fn drop_caches(&self) {
        self.inner.lock().change(Effect::DropCaches);
    }

    /// Flips a bit on the disk and in the page cache; false if there is no such byte.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> bool {
        let mut inner = self.inner.lock();
        let Some(inode) = inner.state.find(path) else { return false };
        if offset >= inner.state.inode(inode).len() {
            return false;
        }
        inner.change(Effect::Flip { inode, offset, mask: 1 << (bit % 8) });
        true
    }

    /// The bytes of a file as the process sees them.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.inner.lock();
        let inode = inner.state.find(path)?;
        Some(inner.state.inode(inode).contents().to_vec())
    }

    /// Whether names or bytes are waiting for a sync.
    #[must_use]
    pub fn has_unsynced(&self) -> bool {
        self.inner.lock().state.has_unsynced()
    }

    /// Enters an operation: refuses it when the power is off or a failure was planned for it.
    fn enter(&self, operation: Operation) -> io::Result<(MutexGuard<'_, Inner>, Option<Fault>)> {
        let mut inner = self.inner.lock();
        let operations = inner.state.operations();
        let fault = inner.plan.enter(operation, operations)?;
        Ok((inner, fault))
    }

    /// Enters an operation on names, which fails as a whole or not at all.
    fn enter_names(&self, operation: Operation) -> io::Result<MutexGuard<'_, Inner>> {
        match self.enter(operation)? {
            (inner, None) => Ok(inner),
            (_, Some(_)) => Err(faults::broken()),
        }
    }
}

impl Inner {
    fn opened(&mut self, inode: u64) -> u64 {
        *self.open.entry(inode).or_default() += 1;
        inode
    }

    /// Gives up one handle of a file; a file without a name goes with its last one.
    fn closed(&mut self, inode: u64) {
        if let Some(handles) = self.open.get_mut(&inode) {
            *handles -= 1;
            if *handles == 0 {
                self.open.remove(&inode);
            }
        }
    }

    fn allocated_bytes(&self) -> u64 {
        self.state.allocated_bytes(self.open.keys().copied())
    }

    /// The only way in which the state changes.
    fn change(&mut self, effect: Effect) {
        self.state.apply(&effect);
        if let Some(journal) = &mut self.journal {
            journal.push(effect);
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let inode = if mode == OpenMode::CreateNew {
            let mut inner = self.enter_names(Operation::Create)?;
            inner.state.check_new(path)?;
            let inode = inner.state.next_inode();
            inner.change(Effect::Create { path: path.to_path_buf(), inode });
            inner.opened(inode)
        } else {
            let mut inner = self.enter_names(Operation::Open)?;
            let inode = inner.state.find(path).ok_or(io::ErrorKind::NotFound)?;
            inner.opened(inode)
        };
        Ok(Arc::new(SimFile::new(self.clone(), inode, mode != OpenMode::Read)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.enter_names(Operation::Remove)?;
        inner.state.find(path).ok_or(io::ErrorKind::NotFound)?;
        inner.change(Effect::Remove { path: path.to_path_buf() });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.enter_names(Operation::Rename)?;
        inner.state.find(from).ok_or(io::ErrorKind::NotFound)?;
        inner.state.check_parent(to)?;
        inner.change(Effect::Rename { from: from.to_path_buf(), to: to.to_path_buf() });
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.enter_names(Operation::Open)?.state.find(path).is_some())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.enter_names(Operation::Create)?;
        if path.ancestors().any(|folder| inner.state.find(folder).is_some()) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inner.change(Effect::CreateFolders { path: path.to_path_buf() });
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
        self.enter_names(Operation::Open)?.state.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.enter_names(Operation::SyncDir)?;
        inner.state.check_folder(path)?;
        inner.change(Effect::SyncFolder { path: path.to_path_buf() });
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let inner = self.enter_names(Operation::Open)?;
        let capacity = inner.plan.capacity.unwrap_or(u64::MAX);
        Ok(capacity.saturating_sub(inner.allocated_bytes()))
    }
}
