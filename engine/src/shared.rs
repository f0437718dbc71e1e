//! What the databases of one folder have in common. Every [`Database`](crate::Database) holds a handle.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::RwLock;

use crate::{
    attachment::AttachmentSettings,
    compaction::CompactionQueue,
    events::Events,
    hooks::Hooks,
    javascript::JsSettings,
    read::ReadHook,
    securities::Securities,
    tasks::Tasks,
    view::{ViewSettings, background::Background, indexer::Indexer},
    write::WriteHook,
};

/// Settings and services that all databases of a folder share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The security object of databases that were given none, as JSON text.
    pub(crate) default_security: Arc<str>,
    /// What runs in the background.
    pub(crate) tasks: Arc<Tasks>,
    /// The security objects of databases, open or not.
    pub(crate) securities: Securities,
    /// Rules of the server's own databases.
    pub(crate) write_hooks: Hooks<dyn WriteHook>,
    /// What of their documents is shown to whom.
    pub(crate) read_hooks: Hooks<dyn ReadHook>,
    /// Who hears of what happens to databases.
    pub(crate) events: Events,
    /// Which databases are to be compacted.
    pub(crate) compactions: Arc<CompactionQueue>,
    /// What brings indexes up to date while nobody asks.
    pub(crate) background: Arc<Background>,
    /// The threads that change indexes,
    pub(crate) indexer: Arc<Indexer>,
    /// and those that build or rewrite them, which takes longer.
    pub(crate) builder: Arc<Indexer>,
    /// Whether compaction packs bodies.
    packs_bodies: AtomicBool,
    attachments: RwLock<Arc<AttachmentSettings>>,
    /// The settings, and how often they or the interpreters were renewed.
    javascript: RwLock<(Arc<JsSettings>, u64)>,
    views: RwLock<Arc<ViewSettings>>,
}

impl Shared {
    pub(crate) fn new(default_security: Arc<str>, attachments: AttachmentSettings) -> Arc<Self> {
        Arc::new(Shared {
            default_security,
            tasks: Arc::default(),
            securities: Securities::default(),
            write_hooks: Hooks::default(),
            read_hooks: Hooks::default(),
            events: Events::default(),
            compactions: Arc::default(),
            background: Arc::default(),
            indexer: Arc::default(),
            builder: Arc::default(),
            packs_bodies: AtomicBool::new(true),
            attachments: RwLock::new(Arc::new(attachments)),
            javascript: RwLock::default(),
            views: RwLock::default(),
        })
    }

    /// Whether compaction packs bodies, or unpacks them.
    pub(crate) fn packs_bodies(&self) -> bool {
        self.packs_bodies.load(Ordering::Relaxed)
    }

    pub(crate) fn set_packs_bodies(&self, packs: bool) {
        self.packs_bodies.store(packs, Ordering::Relaxed);
    }

    /// Compression and limits for attachments written from now on.
    pub(crate) fn attachment_settings(&self) -> Arc<AttachmentSettings> {
        Arc::clone(&self.attachments.read())
    }

    /// Limits of functions of design documents.
    pub(crate) fn javascript(&self) -> Arc<JsSettings> {
        Arc::clone(&self.javascript.read().0)
    }

    /// Tells interpreters made before the last renewal from those made after it.
    pub(crate) fn javascript_epoch(&self) -> u64 {
        self.javascript.read().1
    }

    /// Replaces the settings; functions are compiled anew if these set other limits, or are the first.
    pub(crate) fn set_javascript(&self, settings: JsSettings) {
        let mut javascript = self.javascript.write();
        let (known, epoch) = &*javascript;
        if *epoch == 0 || !known.same_limits(&settings) {
            *javascript = (Arc::new(settings), epoch + 1);
        }
    }

    /// Has functions compiled anew when they are called again.
    pub(crate) fn renew_javascript(&self) {
        self.javascript.write().1 += 1;
    }

    /// How indexes are built and served.
    pub(crate) fn view_settings(&self) -> Arc<ViewSettings> {
        Arc::clone(&self.views.read())
    }

    pub(crate) fn set_view_settings(&self, settings: ViewSettings) {
        *self.views.write() = Arc::new(settings);
    }

    pub(crate) fn set_attachment_settings(&self, settings: AttachmentSettings) {
        *self.attachments.write() = Arc::new(settings);
    }
}
