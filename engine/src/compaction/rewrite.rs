//! What compaction keeps of a document.

use settee_storage::{BlobRef, Compaction, Copier, Keyspace, NewDocument, OldDocument};

use super::packing::Packing;
use crate::{
    document::{
        AttachmentPlace, DocHead, Summary, encode_summary, entry, packed::dictionary_number,
    },
    error::{Error, Result},
    revtree::{RevTree, Stored},
    write::weight,
};

/// Makes documents' new values. Keeps the engine's own error, which has no way through the store's.
pub(crate) struct Rewriter {
    packing: Packing,
    failure: Option<Error>,
}

impl Rewriter {
    pub(crate) fn new(packing: Packing) -> Self {
        Rewriter { packing, failure: None }
    }

    /// What ended the compaction, if it was this.
    pub(crate) fn into_failure(self) -> Option<Error> {
        self.failure
    }
}

impl Compaction for Rewriter {
    fn document(
        &mut self,
        old: OldDocument<'_>,
        copier: &mut dyn Copier,
    ) -> settee_storage::Result<NewDocument> {
        rewrite(old, &mut self.packing, copier).map_err(|error| match error {
            Error::Storage(error) => error,
            error => {
                self.failure = Some(error);
                settee_storage::Error::Cancelled
            }
        })
    }

    /// Dictionaries that no body of the new file was packed with stay behind.
    fn key(
        &mut self,
        keyspace: Keyspace,
        key: &[u8],
        value: &[u8],
        _copier: &mut dyn Copier,
    ) -> settee_storage::Result<Option<Vec<u8>>> {
        let dictionary = match keyspace {
            Keyspace::Meta => dictionary_number(key),
            Keyspace::Local => None,
        };
        let is_needed = dictionary.is_none_or(|number| number == self.packing.number());
        Ok(is_needed.then(|| value.to_vec()))
    }
}

fn rewrite(
    old: OldDocument<'_>,
    packing: &mut Packing,
    copier: &mut dyn Copier,
) -> Result<NewDocument> {
    let mut tree = DocHead::decode(old.by_id)?.tree()?;
    tree.forget_interior_bodies();
    let leaves = tree.leaves();
    for leaf in &leaves {
        let stored = *tree.stored(*leaf).ok_or(Error::Damaged("revision tree"))?;
        let body = copy_body(stored.body, packing, copier)?;
        // What is stored of the attachments stays the same.
        let attached = stored.active_bytes.saturating_sub(u64::from(stored.body.len));
        let active_bytes = attached.saturating_add(u64::from(body.len));
        tree.set_stored(*leaf, Stored { body, active_bytes, ..stored });
    }
    new_values(old.id, &tree, &leaves)
}

fn new_values(
    id: &[u8],
    tree: &RevTree,
    leaves: &[crate::revtree::NodeIndex],
) -> Result<NewDocument> {
    let (mut by_id, mut by_seq) = (Vec::new(), Vec::new());
    entry::put_doc(tree, leaves, &mut by_id)?;
    entry::put_change(tree, leaves, &mut by_seq)?;
    let weight = weight(tree, leaves, id, [&by_id, &by_seq]);
    Ok(NewDocument { weight, by_id, by_seq })
}

/// Copies the blob of a revision and the attachments it lists, the body packed if that pays.
fn copy_body(at: BlobRef, packing: &mut Packing, copier: &mut dyn Copier) -> Result<BlobRef> {
    let mut failure = None;
    let copied = copier.rewrite(at, &mut |blob, copier| {
        copy_summary(blob, packing, copier).map_err(|error| match error {
            Error::Storage(error) => error,
            error => {
                failure = Some(error);
                settee_storage::Error::Cancelled
            }
        })
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(copied?),
    }
}

fn copy_summary(
    blob: &[u8],
    packing: &mut Packing,
    copier: &mut dyn Copier,
) -> Result<Option<Vec<u8>>> {
    let summary = Summary::decode(blob)?;
    let packed = packing.pack(summary.stored_body)?;
    if packed.is_none() && !summary.has_attachments() {
        return Ok(None);
    }
    let body = packed.as_deref().unwrap_or(summary.stored_body);
    let mut attachments = summary.attachments()?;
    for attachment in &mut attachments {
        attachment.place = match attachment.place {
            AttachmentPlace::Blob(at) => AttachmentPlace::Blob(copier.blob(at)?),
            AttachmentPlace::Stream(at) => AttachmentPlace::Stream(copier.stream(at)?),
        };
    }
    Ok(Some(encode_summary(body, &attachments)))
}
