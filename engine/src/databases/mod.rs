//! The databases of one data folder: creating, opening, deleting and listing them.
//!
//! The files are the registry: database `a/b` is `a/b.settee` below the root. Databases are opened when
//! first asked for and stay open; past [`Options::open_databases`] the ones longest unused are closed
//! again, never one in use. `catalog` keeps their names for listings, `slots` the open ones. How files
//! become stores must not be known here (`stores`).

mod catalog;
mod range;
mod slots;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use settee_storage::disk::Disk;

pub use range::NameRange;

use crate::{
    attachment::AttachmentSettings,
    compaction::{Channel, ChannelStatus},
    database::{DEFAULT_SECURITY, Database, Props, Subscription},
    error::{Error, Result},
    events::{Event, EventListener},
    javascript::JsSettings,
    name,
    read::ReadHook,
    shared::Shared,
    stores::{DiskStores, ModelStores, Stores},
    tasks::Tasks,
    view::ViewSettings,
    write::WriteHook,
};
use catalog::Catalog;
use slots::Slots;

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
    /// How their files are written and read. With a fixed [`settee_storage::Options::identity`] new
    /// databases get identities that follow from it and from how many were created before, so that runs can
    /// be repeated exactly; only tests want that.
    pub store: settee_storage::Options,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            open_databases: DEFAULT_OPEN_DATABASES,
            default_security: DEFAULT_SECURITY.into(),
            attachments: AttachmentSettings::default(),
            store: settee_storage::Options::default(),
        }
    }
}

/// The databases of one data folder. See [`Database`] for an example.
pub struct Databases {
    stores: Box<dyn Stores>,
    catalog: Catalog,
    slots: Slots,
    /// See [`Options::store`].
    fixed_identity: Option<[u8; 32]>,
    /// How many databases were created.
    created: AtomicU64,
    shared: Arc<Shared>,
}

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Databases").field("open", &self.slots.open()).finish_non_exhaustive()
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
        Ok(Self::over(Box::new(DiskStores::open(disk, root.into(), options.store)?), options))
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
            catalog: Catalog::default(),
            slots: Slots::new(options.open_databases),
            fixed_identity: options.store.identity,
            created: AtomicU64::new(0),
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

    /// Replaces the settings for building and serving indexes.
    pub fn set_view_settings(&self, settings: ViewSettings) {
        self.shared.set_view_settings(settings);
    }

    /// Replaces the limits of functions of design documents.
    pub fn set_javascript(&self, settings: JsSettings) {
        self.shared.set_javascript(settings);
    }

    /// Has all functions of design documents compiled anew when they are called again.
    pub fn renew_javascript(&self) {
        self.shared.renew_javascript();
    }

    /// Gives the databases whose name, or the last segment of it, is `name` a hook. To be done before
    /// anybody writes there.
    pub fn set_write_hook(&self, name: &str, hook: Arc<dyn WriteHook>) {
        self.shared.write_hooks.set(name, hook);
    }

    /// Decides what readers see of the documents of databases whose name, or the last segment of it, is
    /// `name`.
    pub fn set_read_hook(&self, name: &str, hook: Arc<dyn ReadHook>) {
        self.shared.read_hooks.set(name, hook);
    }

    /// Has every event told to this listener from now on; false if there is one already, which stays.
    pub fn listen(&self, listener: EventListener) -> bool {
        self.shared.events.listen(listener)
    }

    /// Replaces the reasons for which databases are compacted by themselves. At first there are none.
    pub fn set_compaction_channels(&self, channels: Vec<Channel>) {
        self.shared.compactions.set_channels(channels);
    }

    /// Whether bodies are compressed when a database is compacted (at first they are) or are stored as text.
    pub fn set_body_compression(&self, compresses: bool) {
        self.shared.set_packs_bodies(compresses);
    }

    /// What these channels do now.
    #[must_use]
    pub fn compaction_channels(&self) -> Vec<ChannelStatus> {
        self.shared.compactions.status()
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
        self.slots.with(name, |open| {
            if open.is_some() || self.stores.exists(name)? {
                return Err(Error::DatabaseExists);
            }
            let identity = self.next_identity();
            self.stores.create(name, &mut |store| Database::establish(store, props, identity))?;
            self.catalog.note(name, true);
            // Waits for a database whose file was taken away are not waits for this one.
            self.end_waits(name);
            let database = self.open_into(open, name)?;
            self.shared.events.tell(Event::Created, name);
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
        self.slots.with(name, |open| match open {
            Some(database) => Ok(Arc::clone(database)),
            None if self.is_there(name)? => self.open_into(open, name),
            None => Err(Error::DatabaseNotFound),
        })
    }

    /// Opens the database that a subscription follows.
    ///
    /// # Errors
    /// [`Error::DatabaseNotFound`] if it was deleted, also if there is another one of its name; those of
    /// the store.
    pub fn resume(&self, subscription: &Subscription) -> Result<Arc<Database>> {
        let database = self.get(subscription.name())?;
        if database.uuid() == subscription.uuid() {
            return Ok(database);
        }
        Err(Error::DatabaseNotFound)
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
        self.slots.with(name, |open| {
            if !self.is_there(name)? {
                return Err(Error::DatabaseNotFound);
            }
            // First, so that a compaction under way does not bring the file back.
            if let Some(database) = open.take() {
                database.shut();
            }
            self.stores.remove(name)?;
            self.shared.securities.forget(name);
            self.catalog.note(name, false);
            self.end_waits(name);
            self.shared.events.tell(Event::Deleted, name);
            // The database is gone whatever becomes of these: another one of its name makes its own.
            let _ = self.stores.index_place(name).clear();
            Ok(())
        })
    }

    /// The security object of a database, as JSON text: remembered from when the database was last open, if
    /// it is not open now.
    ///
    /// # Errors
    /// As [`Databases::get`].
    pub fn security(&self, name: &str) -> Result<Arc<str>> {
        match self.shared.securities.get(name) {
            Some(security) => Ok(security),
            None => Ok(self.get(name)?.security()),
        }
    }

    /// The names of all databases in a range, in byte order. Files that were put into the folder, or
    /// taken away, by others are noticed after a moment.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn names(&self, range: &NameRange) -> Result<Vec<String>> {
        self.catalog.list(range, || self.stores.names())
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
        let mut outcome = Ok(());
        for database in self.slots.drain() {
            let checkpointed = database.checkpoint();
            database.shut();
            outcome = outcome.and(checkpointed);
        }
        outcome
    }

    /// What the next database is to be told by, if that is not left to chance. An index is known by it, so no two
    /// databases may have the same.
    fn next_identity(&self) -> Option<[u8; 32]> {
        let number = self.created.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        let mut identity = self.fixed_identity?;
        identity.iter_mut().zip(number).for_each(|(byte, number)| *byte ^= number);
        Some(identity)
    }

    /// Asks the disk, and notes what it said. The caller holds the database's slot, or it might note what
    /// is no longer so.
    fn is_there(&self, name: &str) -> Result<bool> {
        let there = self.stores.exists(name)?;
        self.catalog.note(name, there);
        Ok(there)
    }

    fn open_into(&self, open: &mut Option<Arc<Database>>, name: &str) -> Result<Arc<Database>> {
        let (store, place) = (self.stores.open(name)?, self.stores.index_place(name));
        let notifier = self.slots.wake(name).unwrap_or_default();
        let shared = Arc::clone(&self.shared);
        let database = Database::new(name.to_owned(), store, notifier, place, shared)?;
        *open = Some(Arc::clone(&database));
        Ok(database)
    }

    /// Tells those who wait for a closed database that it is gone.
    fn end_waits(&self, name: &str) {
        if let Some(notifier) = self.slots.wake(name) {
            notifier.close();
        }
    }
}
