//! The databases of one data folder: creating, opening, deleting and listing them.
//!
//! The files are the registry: database `a/b` is `a/b.settee` below the root, there is no list that
//! could disagree with them. Databases are opened when first asked for and stay open; past
//! [`Options::open_databases`] the ones longest unused are closed again, never one in use.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use settee_storage::disk::Disk;

use crate::{
    attachment::AttachmentSettings,
    database::{DEFAULT_SECURITY, Database, Props},
    error::{Error, Result},
    name,
    shared::Shared,
    stores::{DiskStores, ModelStores, Stores},
    tasks::Tasks,
};

/// How many databases stay open unless [`Options`] says otherwise.
pub const DEFAULT_OPEN_DATABASES: usize = 500;

/// What all databases of a folder have in common.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many databases may be open while unused.
    pub open_databases: usize,
    /// The security object of databases that were given none, as JSON text.
    pub default_security: String,
    /// Compression and limits of attachments.
    pub attachments: AttachmentSettings,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            open_databases: DEFAULT_OPEN_DATABASES,
            default_security: DEFAULT_SECURITY.into(),
            attachments: AttachmentSettings::default(),
        }
    }
}

/// Which names to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRange {
    /// Where to begin; with `descending`, the highest name.
    pub start: Option<String>,
    /// Where to end.
    pub end: Option<String>,
    /// Whether a database named `end` belongs to it.
    pub inclusive_end: bool,
    /// Highest name first.
    pub descending: bool,
    /// Passes over this many names.
    pub skip: u64,
    /// At most this many names.
    pub limit: Option<u64>,
}

impl Default for NameRange {
    fn default() -> Self {
        NameRange {
            start: None,
            end: None,
            inclusive_end: true,
            descending: false,
            skip: 0,
            limit: None,
        }
    }
}

impl NameRange {
    /// One name.
    #[must_use]
    pub fn key(name: &str) -> Self {
        NameRange { start: Some(name.into()), end: Some(name.into()), ..NameRange::default() }
    }

    fn contains(&self, name: &str) -> bool {
        let (low, high) = match self.descending {
            false => (&self.start, &self.end),
            true => (&self.end, &self.start),
        };
        let at_end = self.end.as_deref() == Some(name) && !self.inclusive_end;
        low.as_deref().is_none_or(|low| low <= name)
            && high.as_deref().is_none_or(|high| name <= high)
            && !at_end
    }
}

/// A place for one database that may be open. Whoever opens, creates or deletes it holds the lock.
#[derive(Default)]
struct Slot {
    database: Mutex<Option<Arc<Database>>>,
    last_used: AtomicU64,
}

/// The databases of one data folder. See [`Database`] for an example.
pub struct Databases {
    stores: Box<dyn Stores>,
    slots: RwLock<HashMap<String, Arc<Slot>>>,
    clock: AtomicU64,
    open_databases: usize,
    shared: Arc<Shared>,
}

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Databases").field("open", &self.slots.read().len()).finish_non_exhaustive()
    }
}

impl Databases {
    /// Opens a data folder, which is made if it is not there. Only one process may have it open.
    ///
    /// # Errors
    /// Those of the store; [`settee_storage::Error::Locked`] if another process has the folder.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: impl Into<PathBuf>,
        options: Options,
    ) -> Result<Arc<Self>> {
        Ok(Self::over(Box::new(DiskStores::open(disk, root.into())?), options))
    }

    /// Databases that live as long as the returned handle.
    #[must_use]
    pub fn in_memory() -> Arc<Self> {
        Self::over(Box::new(DiskStores::in_memory()), Options::default())
    }

    /// Databases over the reference model of `settee-storage`: slow, simple, and made to be compared
    /// with in tests.
    #[must_use]
    pub fn over_model() -> Arc<Self> {
        Self::over(Box::new(ModelStores::default()), Options::default())
    }

    pub(crate) fn over(stores: Box<dyn Stores>, options: Options) -> Arc<Self> {
        let databases = Arc::new(Databases {
            stores,
            slots: RwLock::default(),
            clock: AtomicU64::new(0),
            open_databases: options.open_databases,
            shared: Shared::new(options.default_security.into(), options.attachments),
        });
        let weak = Arc::downgrade(&databases);
        let open = move |name: &str| weak.upgrade()?.get(name).ok();
        databases.shared.compactions.open_by(Box::new(open));
        databases
    }

    /// Replaces the settings for attachments written from now on.
    pub fn set_attachment_settings(&self, settings: AttachmentSettings) {
        self.shared.set_attachment_settings(settings);
    }

    /// What runs in the background.
    #[must_use]
    pub fn tasks(&self) -> &Arc<Tasks> {
        &self.shared.tasks
    }

    /// Creates a database.
    ///
    /// # Errors
    /// [`Error::IllegalDatabaseName`], [`Error::DatabaseNameTooLong`], [`Error::DatabaseExists`],
    /// those of the store.
    pub fn create(&self, name: &str, props: Props) -> Result<Arc<Database>> {
        name::check_database(name)?;
        self.in_slot(name, |open| {
            if open.is_some() || self.stores.exists(name)? {
                return Err(Error::DatabaseExists);
            }
            self.stores.create(name, &mut |store| Database::establish(store, props))?;
            let database = self.open_store(name)?;
            *open = Some(Arc::clone(&database));
            Ok(database)
        })
    }

    /// Opens a database, or hands out the one that is open.
    ///
    /// # Errors
    /// [`Error::DatabaseNotFound`], those of the store.
    pub fn get(&self, name: &str) -> Result<Arc<Database>> {
        if name::check_database(name).is_err() {
            return Err(Error::DatabaseNotFound);
        }
        self.in_slot(name, |open| match open {
            Some(database) => Ok(Arc::clone(database)),
            None if self.stores.exists(name)? => {
                let database = self.open_store(name)?;
                *open = Some(Arc::clone(&database));
                Ok(database)
            }
            None => Err(Error::DatabaseNotFound),
        })
    }

    /// Whether there is a database of this name.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn exists(&self, name: &str) -> Result<bool> {
        Ok(name::check_database(name).is_ok() && self.stores.exists(name)?)
    }

    /// Deletes a database. Requests that read it finish; waits end; writes fail.
    ///
    /// # Errors
    /// [`Error::DatabaseNotFound`], those of the store.
    pub fn delete(&self, name: &str) -> Result<()> {
        if name::check_database(name).is_err() {
            return Err(Error::DatabaseNotFound);
        }
        self.in_slot(name, |open| {
            if !self.stores.exists(name)? {
                return Err(Error::DatabaseNotFound);
            }
            // First, so that a compaction under way does not bring the file back.
            if let Some(database) = open.take() {
                database.shut();
            }
            self.stores.remove(name)
        })
    }

    /// The names of all databases in a range, in byte order.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn names(&self, range: &NameRange) -> Result<Vec<String>> {
        let mut names = self.stores.names()?;
        names.retain(|name| range.contains(name));
        names.sort_unstable();
        if range.descending {
            names.reverse();
        }
        let skip = usize::try_from(range.skip).unwrap_or(usize::MAX);
        let limit = range.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        Ok(names.into_iter().skip(skip).take(limit).collect())
    }

    /// Checkpoints and closes every open database; all waits end. The first error is returned after
    /// all have been tried.
    ///
    /// # Errors
    /// Those of the store.
    pub fn close(&self) -> Result<()> {
        self.shared.compactions.stop();
        let outcome = self.close_open();
        self.shared.compactions.join();
        // One that a compaction had just opened.
        outcome.and(self.close_open())
    }

    fn close_open(&self) -> Result<()> {
        let slots: Vec<_> = self.slots.write().drain().map(|(_, slot)| slot).collect();
        let mut outcome = Ok(());
        for slot in slots {
            if let Some(database) = slot.database.lock().take() {
                let checkpointed = database.checkpoint();
                database.shut();
                outcome = outcome.and(checkpointed);
            }
        }
        outcome
    }

    /// Runs `work` with the slot of `name` locked, and forgets the slot if it is empty afterwards.
    fn in_slot<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Option<Arc<Database>>) -> Result<T>,
    ) -> Result<T> {
        let known = self.slots.read().get(name).map(Arc::clone);
        let slot = known
            .unwrap_or_else(|| Arc::clone(self.slots.write().entry(name.to_owned()).or_default()));
        slot.last_used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let mut open = slot.database.lock();
        let was_open = open.is_some();
        let outcome = work(&mut open);
        let is_open = open.is_some();
        drop(open);
        match (was_open, is_open) {
            (false, true) => self.close_idle(),
            (_, false) => self.forget(name, slot),
            _ => {}
        }
        outcome
    }

    /// Drops an empty slot, unless somebody else is waiting for it.
    fn forget(&self, name: &str, slot: Arc<Slot>) {
        let mut slots = self.slots.write();
        let ours = slots.get(name).is_some_and(|listed| Arc::ptr_eq(listed, &slot));
        // The map's handle and ours: nobody else can come by one while the map is locked.
        if ours && Arc::strong_count(&slot) == 2 && slot.database.lock().is_none() {
            slots.remove(name);
        }
    }

    fn open_store(&self, name: &str) -> Result<Arc<Database>> {
        let store = self.stores.open(name)?;
        Database::new(name.to_owned(), store, Arc::clone(&self.shared))
    }

    /// Closes the databases longest unused until the bound holds, passing over those in use.
    fn close_idle(&self) {
        let mut open: Vec<(u64, String, Arc<Slot>)> = {
            let slots = self.slots.read();
            if slots.len() <= self.open_databases {
                return;
            }
            let used = |slot: &Slot| slot.last_used.load(Ordering::Relaxed);
            slots.iter().map(|(name, slot)| (used(slot), name.clone(), Arc::clone(slot))).collect()
        };
        open.sort_unstable_by_key(|(used, ..)| *used);
        let mut excess = open.len() - self.open_databases;
        for (_, name, slot) in open {
            if excess == 0 {
                return;
            }
            if slot.close_if_unused() {
                excess -= 1;
                self.forget(&name, slot);
            }
        }
    }
}

impl Slot {
    /// Closes the database in it. Whoever asks for it meanwhile waits for the slot, then opens it anew.
    fn close_if_unused(&self) -> bool {
        let Some(mut open) = self.database.try_lock() else { return false };
        match open.take_if(|database| database.is_unused()) {
            None => false,
            Some(database) => {
                // What is not in the trees yet is in the file's commits: a failed checkpoint costs the
                // next opening a replay and nothing else.
                let _ = database.checkpoint();
                database.shut();
                true
            }
        }
    }
}
