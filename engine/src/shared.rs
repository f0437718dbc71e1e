//! What the databases of one folder have in common. Every [`Database`](crate::Database) holds a handle.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::{attachment::AttachmentSettings, compaction::CompactionQueue, tasks::Tasks};

/// Settings and services that all databases of a folder share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The security object of databases that were given none, as JSON text.
    pub(crate) default_security: Arc<str>,
    /// What runs in the background.
    pub(crate) tasks: Arc<Tasks>,
    /// Which databases are to be compacted.
    pub(crate) compactions: Arc<CompactionQueue>,
    attachments: RwLock<Arc<AttachmentSettings>>,
}

impl Shared {
    pub(crate) fn new(default_security: Arc<str>, attachments: AttachmentSettings) -> Arc<Self> {
        Arc::new(Shared {
            default_security,
            tasks: Arc::default(),
            compactions: Arc::default(),
            attachments: RwLock::new(Arc::new(attachments)),
        })
    }

    /// Compression and limits for attachments written from now on.
    pub(crate) fn attachment_settings(&self) -> Arc<AttachmentSettings> {
        Arc::clone(&self.attachments.read())
    }

    pub(crate) fn set_attachment_settings(&self, settings: AttachmentSettings) {
        *self.attachments.write() = Arc::new(settings);
    }
}
