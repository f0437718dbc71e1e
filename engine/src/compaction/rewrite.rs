//! What compaction keeps of a document.

use settee_storage::{BlobRef, Compaction, Copier, NewDocument, OldDocument};

use crate::{
    document::{AttachmentPlace, DocHead, Summary, encode_summary, entry},
    error::{Error, Result},
    revtree::{RevTree, Stored},
    write::weight,
};

/// Makes documents' new values. Keeps the engine's own error, which has no way through the store's.
#[derive(Debug, Default)]
pub(crate) struct Rewriter {
    failure: Option<Error>,
}

impl Rewriter {
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
        rewrite(old, copier).map_err(|error| match error {
            Error::Storage(error) => error,
            error => {
                self.failure = Some(error);
                settee_storage::Error::Cancelled
            }
        })
    }
}

fn rewrite(old: OldDocument<'_>, copier: &mut dyn Copier) -> Result<NewDocument> {
    let mut tree = DocHead::decode(old.by_id)?.tree()?;
    tree.forget_interior_bodies();
    let leaves = tree.leaves();
    for leaf in &leaves {
        let stored = *tree.stored(*leaf).ok_or(Error::Damaged("revision tree"))?;
        let body = copy_body(stored.body, copier)?;
        tree.set_stored(*leaf, Stored { body, ..stored });
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

/// Copies the blob of a revision and the attachments it lists. Without attachments, nothing of it is
/// looked at.
fn copy_body(at: BlobRef, copier: &mut dyn Copier) -> Result<BlobRef> {
    let mut failure = None;
    let copied = copier.rewrite(at, &mut |blob, copier| {
        copy_attachments(blob, copier).map_err(|error| match error {
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

fn copy_attachments(blob: &[u8], copier: &mut dyn Copier) -> Result<Option<Vec<u8>>> {
    let summary = Summary::decode(blob)?;
    if !summary.has_attachments() {
        return Ok(None);
    }
    let mut attachments = summary.attachments()?;
    for attachment in &mut attachments {
        attachment.place = match attachment.place {
            AttachmentPlace::Blob(at) => AttachmentPlace::Blob(copier.blob(at)?),
            AttachmentPlace::Stream(at) => AttachmentPlace::Stream(copier.stream(at)?),
        };
    }
    Ok(Some(encode_summary(summary.body, &attachments)))
}
