//! What the databases of one folder have in common. Every [`Database`](crate::Database) holds a handle.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::{
    attachment::AttachmentSettings,
    compaction::CompactionQueue,
    javascript::JsSettings,
    tasks::Tasks,
    view::{ViewSettings, background::Background, indexer::Indexer},
};

/// Settings and services that all databases of a folder share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The security object of databases that were given none, as JSON text.
    pub(crate) default_security: Arc<str>,
    /// What runs in the background.
    pub(crate) tasks: Arc<Tasks>,
    /// Which databases are to be compacted.
    pub(crate) compactions: Arc<CompactionQueue>,
    /// What brings indexes up to date while nobody asks.
    pub(crate) background: Arc<Background>,
    /// The threads that change indexes.
    pub(crate) indexer: Arc<Indexer>,
    attachments: RwLock<Arc<AttachmentSettings>>,
    views: RwLock<Arc<ViewSettings>>,
}

impl Shared {
    pub(crate) fn new(default_security: Arc<str>, attachments: AttachmentSettings) -> Arc<Self> {
        Arc::new(Shared {
            default_security,
            tasks: Arc::default(),
            compactions: Arc::default(),
            background: Arc::default(),
            indexer: Arc::default(),
            attachments: RwLock::new(Arc::new(attachments)),
            views: RwLock::default(),
        })
    }

    /// Compression and limits for attachments written from now on.
    pub(crate) fn attachment_settings(&self) -> Arc<AttachmentSettings> {
        Arc::clone(&self.attachments.read())
    }

    /// Limits of functions of design documents.
    pub(crate) fn javascript(&self) -> JsSettings {
        JsSettings::default()
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
