//! Which revisions a replicator still has to send.

use super::Reader;
use crate::{
    database::{PurgeRequest, settings},
    document::DocHead,
    error::Result,
    revision::Rev,
    revtree::RevTree,
};
use settee_storage::{Direction, KeyRange};

/// Revisions of a document that the asker has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevsRequest {
    /// Document id.
    pub id: String,
    /// Its revisions.
    pub revs: Vec<Rev>,
}

/// What of a [`RevsRequest`] is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevsDiff {
    /// Document id.
    pub id: String,
    /// The revisions that are not in the document's tree: ascending, or in the order asked if there is
    /// no such document.
    pub missing: Vec<Rev>,
    /// Leaves that might be ancestors of them, the winner first.
    pub possible_ancestors: Vec<Rev>,
}

impl Reader {
    /// For each document, which of the revisions are not here. Documents with nothing missing are left
    /// out. Every revision in the tree is here, with or without its body.
    ///
    /// # Errors
    /// [`IllegalDocId`](crate::Error::IllegalDocId) in a partitioned database, those of the store.
    pub fn revs_diff(&self, requests: &[RevsRequest]) -> Result<Vec<RevsDiff>> {
        let mut diffs = Vec::new();
        for request in requests {
            self.database.check_doc_id(&request.id)?;
            let tree = match self.snapshot.doc(request.id.as_bytes())? {
                Some(entry) => DocHead::decode(&entry.value)?.tree()?,
                None => RevTree::new(),
            };
            let mut missing = tree.missing(&request.revs);
            if !tree.is_empty() {
                // CouchDB sorts what it has looked up, and only that.
                missing.sort();
            }
            if missing.is_empty() {
                continue;
            }
            let ancestors = tree.possible_ancestors(&missing);
            diffs.push(RevsDiff {
                id: request.id.clone(),
                possible_ancestors: ancestors.into_iter().cloned().collect(),
                missing: missing.into_iter().cloned().collect(),
            });
        }
        Ok(diffs)
    }

    /// The purge requests that are remembered, oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub fn purged_infos(&self) -> Result<Vec<PurgeRequest>> {
        let range = KeyRange::prefix(settings::PURGES);
        let mut cursor = self.snapshot.metas(&range, Direction::Forward)?;
        let mut infos = Vec::new();
        while let Some((_, value)) = cursor.next()? {
            infos.push(PurgeRequest::decode(value)?);
        }
        Ok(infos)
    }
}
