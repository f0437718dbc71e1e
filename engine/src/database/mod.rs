//! One database: its identity, settings, counts, purges, and the doors to reading and writing.
//!
//! What a write means is in `write`, what a read shows in `read`, `all_docs` and `changes`; nothing
//! here knows how documents are encoded.

mod info;
mod options;
mod purge;
pub(crate) mod settings;
mod subscription;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use settee_storage::{KeyRange, Seq, Store};

pub use info::{Info, PartitionInfo, Sizes};
pub use options::{AttachmentForm, GetOptions, ShowOptions};
pub use purge::PurgeRequest;
pub use settings::{
    DEFAULT_PURGED_INFOS_LIMIT, DEFAULT_REVS_LIMIT, DEFAULT_SECURITY, MAX_SECURITY_BYTES, Props,
};
pub use subscription::Subscription;

use crate::{
    compaction::Gauge,
    design::DesignCache,
    document::packed::Dictionaries,
    error::Result,
    events::Event,
    find::Catalog,
    name::DESIGN_PREFIX,
    notify::{Changed, Notifier, Wake},
    read::Reader,
    sequence::{self, Since, Uuid},
    shared::Shared,
    view::{index::IndexPlace, registry::Views},
};
use settings::{Identity, Settings};

/// A database. Handles are shared and may be used from any thread.
///
/// ```
/// use settee_engine::{Databases, Document, GetOptions, Props, WriteMode, document::Limits};
///
/// let databases = Databases::in_memory();
/// let animals = databases.create("animals", Props::default())?;
/// let cat = Document::parse(br#"{"legs":4}"#, Some("cat"), &Limits::default())?;
/// let written = animals.write(vec![cat], WriteMode::Interactive)?;
/// assert_eq!(written[0].as_ref().map(|rev| rev.generation).ok(), Some(1));
///
/// let reader = animals.read()?;
/// let mut text = Vec::new();
/// reader.get("cat", &GetOptions::default())?.write_json(&mut text)?;
/// assert!(text.starts_with(br#"{"_id":"cat","_rev":"1-"#));
/// assert!(text.ends_with(br#"","legs":4}"#));
/// # Ok::<(), settee_engine::Error>(())
/// ```
pub struct Database {
    pub(crate) name: String,
    pub(crate) identity: Identity,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) settings: RwLock<Settings>,
    /// Held while a setting is written.
    setting_changes: Mutex<()>,
    /// See [`Database::looks_up_first`].
    looks_up_first: AtomicBool,
    pub(crate) designs: DesignCache,
    pub(crate) views: Views,
    /// Whether compacting it might pay.
    pub(crate) gauge: Gauge,
    pub(crate) catalog: Catalog,
    /// What its packed bodies are read with.
    pub(crate) dictionaries: Dictionaries,
    pub(crate) shared: Arc<Shared>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Database {
    /// Makes a new store a database.
    pub(crate) fn establish(
        store: &Arc<dyn Store>,
        props: Props,
        fixed: Option<[u8; 32]>,
    ) -> Result<()> {
        Identity::establish(store, props, fixed)
    }

    /// Takes the store of a database into service. The notifier is a new one, or the one on which some
    /// have been waiting since the database was open before.
    pub(crate) fn new(
        name: String,
        store: Arc<dyn Store>,
        notifier: Arc<Notifier>,
        place: IndexPlace,
        shared: Arc<Shared>,
    ) -> Result<Arc<Self>> {
        let snapshot = store.snapshot()?;
        let identity = Identity::load(&*snapshot)?;
        let settings = Settings::load(&*snapshot, &shared.default_security)?;
        shared.securities.set(&name, &settings.security);
        notifier.restart(snapshot.seq());
        let told = AtomicU64::new(snapshot.seq());
        let designs = snapshot.count_docs(&KeyRange::prefix(DESIGN_PREFIX.as_bytes()))?;
        let views = Views::new(place, designs.live > 0);
        let database = Arc::new(Database {
            name,
            identity,
            store,
            notifier,
            settings: RwLock::new(settings),
            setting_changes: Mutex::new(()),
            looks_up_first: AtomicBool::new(true),
            designs: DesignCache::default(),
            views,
            gauge: Gauge::default(),
            catalog: Catalog::default(),
            dictionaries: Dictionaries::default(),
            shared,
        });
        let (on_commit, itself) = (Arc::clone(&database.notifier), Arc::downgrade(&database));
        database.store.listen(Arc::new(move |seq| {
            on_commit.publish(seq);
            if let Some(database) = itself.upgrade() {
                database.shared.background.touched(&database);
                database.consider_compaction();
                // Local documents don't count.
                if told.fetch_max(seq, Ordering::Relaxed) < seq {
                    database.shared.events.tell(Event::Updated, &database.name);
                }
            }
        }));
        Ok(database)
    }

    /// The name it was opened by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was created with.
    #[must_use]
    pub fn props(&self) -> Props {
        self.identity.props
    }

    /// What tells it from every other database, an earlier one of the same name included.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.identity.uuid
    }

    /// When it was created, in seconds since 1970.
    #[must_use]
    pub fn instance_start_time(&self) -> u64 {
        self.identity.created
    }

    /// The newest durable state, to read from.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read(self: &Arc<Self>) -> Result<Reader> {
        let snapshot = self.store.snapshot()?;
        Ok(Reader { snapshot, database: Arc::clone(self), redaction: None })
    }

    /// The text clients see for a sequence of this database.
    #[must_use]
    pub fn sequence_text(&self, seq: Seq) -> String {
        sequence::text(&self.identity.uuid, seq)
    }

    /// Reads the text of a sequence; see [`sequence::parse`].
    ///
    /// # Errors
    /// [`MalformedSequence`](crate::Error::MalformedSequence).
    pub fn parse_sequence(&self, text: &str) -> Result<Since> {
        sequence::parse(&self.identity.uuid, text)
    }

    /// Completes when there is a change after `after`, or the database is gone.
    #[must_use = "futures do nothing unless polled"]
    pub fn changed(&self, after: Seq) -> Changed {
        self.notifier.changed(after)
    }

    /// Blocks until there is a change after `after` or the database is gone; `None` after `timeout`.
    #[must_use]
    pub fn wait_changed(&self, after: Seq, timeout: Duration) -> Option<Wake> {
        self.notifier.wait(after, timeout)
    }

    /// Brings its file to a state that opens without replaying anything.
    ///
    /// # Errors
    /// Those of the store.
    pub fn checkpoint(&self) -> Result<()> {
        Ok(self.store.checkpoint()?)
    }

    /// Refuses all later writes and lets go of the file; waits go on.
    pub(crate) fn close_store(&self) {
        self.views.close();
        self.store.close();
    }

    /// Ends all waits and refuses all later writes.
    pub(crate) fn shut(&self) {
        self.close_store();
        self.notifier.close();
    }

    /// Whether a write reads what is stored before it is merged, or takes the client's history on
    /// trust. CouchDB looks first as long as it does not know whether there are functions that validate:
    /// at the beginning and after each write of a design document. Only an interactive write that names
    /// a revision of an unknown document shows the difference: it is a conflict, or it is not.
    pub(crate) fn looks_up_first(&self) -> bool {
        self.looks_up_first.load(Ordering::Relaxed)
    }

    pub(crate) fn look_up_first(&self, first: bool) {
        self.looks_up_first.store(first, Ordering::Relaxed);
    }
}
