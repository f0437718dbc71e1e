//! Reading: everything one request reads comes from one [`Reader`], that is, from one moment.
//!
//! Nothing in this folder writes, waits or knows of other requests.

mod diff;
mod found;
mod get;
mod redact;

use std::{borrow::Cow, sync::Arc};

use settee_storage::{Seq, Snapshot};

pub use diff::{RevsDiff, RevsRequest};
pub use found::FoundDocument;
pub(crate) use found::Meta;
pub use get::OpenRevs;
pub use redact::{ReadHook, Redaction};

use crate::{
    database::{Database, settings},
    document::{Summary, packed::is_packed},
    error::Result,
};

/// One moment of a database. Cheap to take, unaffected by writers.
pub struct Reader {
    pub(crate) database: Arc<Database>,
    pub(crate) snapshot: Arc<dyn Snapshot>,
    /// How documents are shown, if not as they are.
    pub(crate) redaction: Option<Arc<dyn Redaction>>,
}

impl Reader {
    /// Sequence of the newest change it sees.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.snapshot.seq()
    }

    /// Number of purge requests it sees.
    pub(crate) fn purge_seq(&self) -> Result<u64> {
        settings::purge_seq(self.snapshot.meta(settings::PURGE_SEQ)?)
    }

    /// The text of a body that it found.
    pub(crate) fn body<'b>(&self, summary: &Summary<'b>) -> Result<Cow<'b, [u8]>> {
        let stored = summary.stored_body;
        if !is_packed(stored) {
            return Ok(Cow::Borrowed(stored));
        }
        self.database.dictionaries.unpack(stored, &*self.snapshot).map(Cow::Owned)
    }

    /// The database it reads.
    #[must_use]
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }
}
