//! What compaction keeps of a document.

use parking_lot::Mutex;
use settee_storage::{BlobRef, Compaction, Copier, Keyspace, NewDocument, OldDocument};

use super::packing::{BodyPacker, Packing};
use crate::{
    document::{
        AttachmentPlace, DocHead, Summary, encode_summary, entry,
        packed::{Packer, dictionary_number},
    },
    error::{Error, Result},
    revtree::{RevTree, Stored, Straight},
    write::{weight, weight_of_leaves},
};

/// Makes documents' new values, on one thread.
pub(crate) struct Rewriter<'p> {
    packing: &'p Packing,
    packer: Option<Packer>,
    failure: &'p Failure,
}

/// Keeps the engine's own error, which has no way through the store's. The first one of all threads.
#[derive(Default)]
pub(crate) struct Failure(Mutex<Option<Error>>);

impl Failure {
    /// What ended the compaction, if it was this.
    pub(crate) fn into_inner(self) -> Option<Error> {
        self.0.into_inner()
    }
}

impl<'p> Rewriter<'p> {
    pub(crate) fn new(packing: &'p Packing, failure: &'p Failure) -> Self {
        Rewriter { packing, packer: None, failure }
    }
}

impl Compaction for Rewriter<'_> {
    fn another(&self) -> Box<dyn Compaction + '_> {
        Box::new(Rewriter::new(self.packing, self.failure))
    }

    fn document(
        &mut self,
        old: OldDocument<'_>,
        copier: &mut dyn Copier,
    ) -> settee_storage::Result<NewDocument> {
        rewrite(old, &mut self.packing.with(&mut self.packer), copier).map_err(
            |error| match error {
                Error::Storage(error) => error,
                error => {
                    self.failure.0.lock().get_or_insert(error);
                    settee_storage::Error::Cancelled
                }
            },
        )
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
    packing: &mut BodyPacker<'_>,
    copier: &mut dyn Copier,
) -> Result<NewDocument> {
    let head = DocHead::decode(old.by_id)?;
    match head.straight_tree()? {
        Some(tree) => rewrite_straight(old.id, tree, packing, copier),
        None => rewrite_tree(old.id, head.tree()?, packing, copier),
    }
}

/// A document with one leaf, which is what most are.
fn rewrite_straight(
    id: &[u8],
    mut tree: Straight<'_>,
    packing: &mut BodyPacker<'_>,
    copier: &mut dyn Copier,
) -> Result<NewDocument> {
    tree.stored = copy_stored(tree.stored, packing, copier)?;
    let (mut by_id, mut by_seq) = (Vec::new(), Vec::new());
    entry::put_straight(&tree, &mut by_id, &mut by_seq)?;
    let weight = weight_of_leaves([&tree.stored], tree.stored.deleted, id, [&by_id, &by_seq]);
    Ok(NewDocument { weight, by_id, by_seq })
}

fn rewrite_tree(
    id: &[u8],
    mut tree: RevTree,
    packing: &mut BodyPacker<'_>,
    copier: &mut dyn Copier,
) -> Result<NewDocument> {
    tree.forget_interior_bodies();
    let leaves = tree.leaves();
    for leaf in &leaves {
        let stored = *tree.stored(*leaf).ok_or(Error::Damaged("revision tree"))?;
        tree.set_stored(*leaf, copy_stored(stored, packing, copier)?);
    }
    new_values(id, &tree, &leaves)
}

/// Copies what is stored of a leaf.
fn copy_stored(
    stored: Stored,
    packing: &mut BodyPacker<'_>,
    copier: &mut dyn Copier,
) -> Result<Stored> {
    let body = copy_body(stored.body, packing, copier)?;
    // What is stored of the attachments stays the same.
    let attached = stored.active_bytes.saturating_sub(u64::from(stored.body.len));
    let active_bytes = attached.saturating_add(u64::from(body.len));
    Ok(Stored { body, active_bytes, ..stored })
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
fn copy_body(
    at: BlobRef,
    packing: &mut BodyPacker<'_>,
    copier: &mut dyn Copier,
) -> Result<BlobRef> {
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
    packing: &mut BodyPacker<'_>,
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
