//! What a database keeps of its design documents between calls.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::{DesignDocument, Validators};
use crate::{
    database::{Database, GetOptions},
    error::Result,
};

/// Design documents of one database that are kept with their compiled functions.
const MAX_DOCUMENTS: usize = 16;

/// Whether a database has functions that validate.
const UNKNOWN: u8 = 0;
const NONE: u8 = 1;
const SOME: u8 = 2;

/// Compiled design documents and validation functions. Empty until something is asked for.
#[derive(Debug, Default)]
pub(crate) struct DesignCache {
    /// Rises after each commit of a design document, before the commit is acknowledged.
    version: AtomicU64,
    validates: AtomicU8,
    validators: Mutex<Option<Arc<Validators>>>,
    /// Those used last come last.
    documents: Mutex<Vec<Arc<DesignDocument>>>,
}

impl DesignCache {
    /// A design document was written or purged: what is kept of them no longer counts.
    pub(crate) fn changed(&self) {
        // Under the lock, so that nobody who read the state before puts it in its place afterwards.
        let mut validators = self.validators.lock();
        self.version.fetch_add(1, Ordering::AcqRel);
        self.validates.store(UNKNOWN, Ordering::Release);
        *validators = None;
    }

    /// False if it is known that no function validates.
    pub(crate) fn may_validate(&self) -> bool {
        self.validates.load(Ordering::Acquire) != NONE
    }
}

impl Database {
    /// The functions that have to agree to each write; `None` if there are none.
    pub(crate) fn validators(self: &Arc<Self>) -> Result<Option<Arc<Validators>>> {
        let cache = &self.designs;
        if !cache.may_validate() {
            return Ok(None);
        }
        let epoch = self.shared.javascript_epoch();
        // Read before the snapshot is taken: what is read from it may be newer, but is never older.
        let version = cache.version.load(Ordering::Acquire);
        let kept = cache.validators.lock().clone();
        if let Some(kept) = kept.filter(|kept| (kept.version, kept.epoch) == (version, epoch)) {
            return Ok(Some(kept).filter(|kept| !kept.is_empty()));
        }
        let loaded = Validators::load(&self.read()?, version, epoch, self.shared.javascript())?;
        let loaded = Arc::new(loaded);
        let mut place = cache.validators.lock();
        if cache.version.load(Ordering::Acquire) == version {
            let known = if loaded.is_empty() { NONE } else { SOME };
            cache.validates.store(known, Ordering::Release);
            *place = Some(Arc::clone(&loaded));
        }
        Ok(Some(loaded).filter(|loaded| !loaded.is_empty()))
    }

    /// A design document as it stands, to call its functions.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), those of the store.
    pub fn design(self: &Arc<Self>, id: &str) -> Result<Arc<DesignDocument>> {
        let reader = self.read()?;
        let found = reader.get(id, &GetOptions::default())?;
        let epoch = self.shared.javascript_epoch();
        let mut kept = self.designs.documents.lock();
        let same = |design: &Arc<DesignDocument>| design.is(id, found.rev(), epoch);
        if let Some(at) = kept.iter().position(same) {
            let design = kept.remove(at);
            kept.push(Arc::clone(&design));
            return Ok(design);
        }
        let design = DesignDocument::new(&found, epoch, self.shared.javascript())?;
        let design = Arc::new(design);
        kept.retain(|other| other.id() != id);
        if kept.len() == MAX_DOCUMENTS {
            kept.remove(0);
        }
        kept.push(Arc::clone(&design));
        Ok(design)
    }
}
