//! Purging: leaf revisions removed as if they had never been, and the record of it.

use super::Database;
use crate::{error::Result, revision::Rev};

/// Which leaf revisions of which document to purge, or were purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeRequest {
    /// Document id.
    pub id: String,
    /// Leaf revisions.
    pub revs: Vec<Rev>,
}

impl Database {
    /// Removes leaf revisions together with the ancestors no other leaf needs. Answers with what was
    /// there and is gone now, in the order asked; revisions that are not leaves are passed over.
    ///
    /// # Errors
    /// Those of the store.
    pub fn purge(&self, requests: Vec<PurgeRequest>) -> Result<Vec<PurgeRequest>> {
        let _ = requests;
        todo!()
    }
}
