//! Decisions: what a prepared document means for the document that is stored now. Runs inside an
//! edit, on the leader's thread; nothing else of the database moves meanwhile.
//!
//! Which edits are accepted follows CouchDB to the letter, one oddity included: it looks for the
//! named parent of an unknown document only when it reads the stored documents before it writes
//! ([`Rules::checked`]), and otherwise takes the history on trust.

use std::{iter, mem, sync::Arc, vec};

use settee_storage::{BlobRef, DocWeight, Seq, Transaction};

use super::{
    local,
    prepare::{Prepared, PreparedAttachment, Source},
};
use crate::{
    database::Database,
    document::{
        AttachmentPlace, AttachmentRecord, DocHead, Summary, entry, summary::encode_summary,
    },
    error::{Error, Result},
    name::DocKind,
    revision::{AttachmentDigest, Rev, RevId, revision_id},
    revtree::{NodeIndex, RevTree, Stored},
    write::WriteMode,
};

/// What holds for all documents of a call.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) mode: WriteMode,
    /// A revision named for an unknown document is a conflict.
    pub(super) checked: bool,
    pub(super) database: Arc<Database>,
}

/// What an edit did.
#[derive(Default)]
pub(super) struct Applied {
    /// Place in the call and outcome.
    pub(super) results: Vec<(usize, Result<Rev>)>,
    /// Something was written, so the edit must be committed.
    pub(super) wrote: bool,
}

/// Applies documents, those of one id in a row. An error is the whole edit's.
pub(super) fn apply(
    transaction: &mut dyn Transaction,
    rules: &Rules,
    prepared: Vec<Prepared>,
) -> Result<Applied> {
    let mut run = Run::new(transaction, rules);
    run.applied.results.reserve(prepared.len());
    let mut prepared = prepared.into_iter();
    while let Some(first) = prepared.next() {
        match first.is_local() {
            true => run.local_document(&first)?,
            false => run.document(first, &mut prepared)?,
        }
    }
    if run.wrote_design {
        rules.database.views.design_written();
    }
    if run.wrote_design || run.validated && rules.checked {
        rules.database.look_up_first(run.wrote_design);
    }
    Ok(run.applied)
}

/// An edit on its way through its documents.
struct Run<'r> {
    transaction: &'r mut dyn Transaction,
    rules: &'r Rules,
    applied: Applied,
    /// A design document was written.
    wrote_design: bool,
    /// Another document was accepted.
    validated: bool,
    scratch: Scratch,
}

impl<'r> Run<'r> {
    fn new(transaction: &'r mut dyn Transaction, rules: &'r Rules) -> Self {
        Run {
            transaction,
            rules,
            applied: Applied::default(),
            wrote_design: false,
            validated: false,
            scratch: Scratch::default(),
        }
    }

    fn local_document(&mut self, doc: &Prepared) -> Result<()> {
        let rev = local::apply(self.transaction, doc)?;
        self.applied.results.push((doc.place, Ok(rev)));
        self.applied.wrote = true;
        Ok(())
    }

    /// Applies `first` and those behind it that have the same id, and writes what becomes of them.
    fn document(
        &mut self,
        mut first: Prepared,
        behind: &mut vec::IntoIter<Prepared>,
    ) -> Result<()> {
        let same = behind.as_slice().iter().take_while(|next| next.id == first.id).count();
        let mut document = Document::load(self.transaction, self.rules, mem::take(&mut first.id))?;
        let is_design = DocKind::of(&document.id) == DocKind::Design;
        let passed_over = document.passed_over(&first, behind.as_slice().get(..same))?;
        for (at, doc) in iter::once(first).chain(behind.take(same)).enumerate() {
            let place = doc.place;
            let is_news = passed_over.binary_search(&at).is_err();
            let result = match document.edit(self.transaction, doc, is_news) {
                Ok(rev) => Ok(rev),
                Err(Error::Conflict) => Err(Error::Conflict),
                Err(error) => return Err(error),
            };
            self.validated |= is_news && result.is_ok() && !is_design;
            self.applied.results.push((place, result));
        }
        let wrote = document.store(self.transaction, &mut self.scratch)?;
        self.wrote_design |= wrote && is_design;
        self.applied.wrote |= wrote;
        Ok(())
    }
}

/// One document while the edits of a call are applied to it.
struct Document<'r> {
    id: String,
    rules: &'r Rules,
    tree: RevTree,
    changed: bool,
}

/// Where a new revision goes.
pub(super) enum Placement {
    /// Below this leaf.
    Below(NodeIndex),
    /// A history of its own, or one that the tree has to find a place for.
    History,
    /// Below the winning tombstone of a deleted document.
    Revival(NodeIndex),
}

impl Placement {
    fn parent(&self) -> Option<NodeIndex> {
        match self {
            Placement::Below(parent) | Placement::Revival(parent) => Some(*parent),
            Placement::History => None,
        }
    }
}

impl<'r> Document<'r> {
    fn load(transaction: &dyn Transaction, rules: &'r Rules, id: String) -> Result<Self> {
        let tree = match transaction.doc(id.as_bytes())? {
            Some(entry) => DocHead::decode(&entry.value)?.tree()?,
            None => RevTree::new(),
        };
        Ok(Document { id, rules, tree, changed: false })
    }

    fn edit(
        &mut self,
        transaction: &mut dyn Transaction,
        doc: Prepared,
        news: bool,
    ) -> Result<Rev> {
        match self.rules.mode {
            WriteMode::Interactive => self.edit_interactively(transaction, doc),
            WriteMode::Replicated if news => self.take_replicated(transaction, doc),
            WriteMode::Replicated => named(&doc).cloned(),
        }
    }

    /// Gives the edit the revision that follows from it, if it names a leaf that may be followed.
    fn edit_interactively(
        &mut self,
        transaction: &mut dyn Transaction,
        mut doc: Prepared,
    ) -> Result<Rev> {
        let placement = placement(&self.tree, self.rules.checked, &doc)?;
        let parent = placement.parent();
        // New attachments count from the revision the client named, even when a deleted document comes
        // back on top of one it did not name.
        let position = doc.rev.as_ref().map_or(0, |rev| rev.generation) + 1;
        let attachments = self.attachments(transaction, &mut doc, parent, Some(position))?;
        let parent_rev = match parent {
            Some(parent) => Some(self.tree.rev(parent).clone()),
            None => doc.rev.clone(),
        };
        let generation = parent_rev.as_ref().map_or(0, |rev| rev.generation) + 1;
        let id = new_id(&placement, &doc, parent_rev.as_ref(), &attachments);
        let rev = Rev::new(generation, RevId::Hash(id));
        if self.tree.find(&rev).is_some() {
            return Err(Error::Conflict);
        }
        let stored = self.put_body(transaction, &doc, &attachments)?;
        match parent {
            Some(parent) => self.tree.add_child(parent, rev.id.clone(), stored),
            None => {
                let named = doc.rev.map(|rev| rev.id);
                let ids: Vec<RevId> =
                    iter::once(rev.id.clone()).chain(named).chain(doc.history).collect();
                self.tree.merge(generation, &ids, stored)
            }
        };
        self.changed = true;
        Ok(rev)
    }

    /// Stores the revision the client gave, wherever its history puts it.
    fn take_replicated(
        &mut self,
        transaction: &mut dyn Transaction,
        mut doc: Prepared,
    ) -> Result<Rev> {
        let rev = named(&doc)?.clone();
        let ids = doc.path();
        let known = self.known(&rev, &ids);
        let stored = match known.and_then(|node| self.tree.stored(node)) {
            Some(stored) => *stored,
            None => {
                let parent = self.tree.nearest_stored(rev.generation, &doc.history);
                let attachments = self.attachments(transaction, &mut doc, parent, None)?;
                self.put_body(transaction, &doc, &attachments)?
            }
        };
        let before = self.tree.len();
        let merged = self.tree.merge(rev.generation, &ids, stored);
        // A revision that was known gives news only by its body or by ancestors it brings along, and by
        // these only if they may stay.
        let is_known = known == Some(merged.node());
        if is_known && self.tree.len() != before {
            self.tree.stem(self.rules.database.revs_limit());
        }
        self.changed |= !is_known || self.tree.len() != before;
        Ok(rev)
    }

    /// Where the revision stands with its body and with this history, as far as both go back.
    fn known(&self, rev: &Rev, ids: &[RevId]) -> Option<NodeIndex> {
        let agrees = |node: &NodeIndex| {
            self.tree.path(*node).zip(ids).all(|(node, id)| &self.tree.rev(node).id == id)
        };
        let mut nodes = self.tree.indexes().filter(|node| self.tree.rev(*node) == rev);
        nodes.find(agrees).filter(|node| self.tree.stored(*node).is_some())
    }

    /// Which of several documents with this id are passed over, in ascending order. Where CouchDB looks
    /// first and finds the document, these are the replicated revisions that are no leaf afterwards, or were one
    /// before. Of a document that is new it takes all.
    fn passed_over(&self, first: &Prepared, further: Option<&[Prepared]>) -> Result<Vec<usize>> {
        if self.tree.is_empty() || !self.rules.checked || self.rules.mode == WriteMode::Interactive
        {
            return Ok(Vec::new());
        }
        let docs = || iter::once(first).chain(further.unwrap_or_default());
        let mut merged = self.tree.clone();
        for doc in docs() {
            merged.merge(named(doc)?.generation, &doc.path(), UNWRITTEN);
        }
        let mut passed_over = Vec::new();
        for (at, doc) in docs().enumerate() {
            let rev = named(doc)?;
            if merged.find_leaf(rev).is_none() || self.tree.find_leaf(rev).is_some() {
                passed_over.push(at);
            }
        }
        Ok(passed_over)
    }

    /// The records of a document's attachments: stubs taken from the parent, bytes stored unless the
    /// document has the same bytes already. New ones came in with the generation `position`; where
    /// there is none, the client says with which.
    fn attachments(
        &self,
        transaction: &mut dyn Transaction,
        doc: &mut Prepared,
        parent: Option<NodeIndex>,
        position: Option<u64>,
    ) -> Result<Vec<AttachmentRecord>> {
        let brought = mem::take(&mut doc.attachments);
        if brought.is_empty() {
            return Ok(Vec::new());
        }
        let parents = match parent {
            Some(parent) => self.attachments_of(transaction, parent)?,
            None => Some(Vec::new()),
        };
        let known = self.known_attachments(transaction, parents.as_deref())?;
        brought
            .into_iter()
            .map(|attachment| match &attachment.source {
                Source::Stub => self.resolve(attachment, parents.as_deref()),
                _ => {
                    let position = position.filter(|_| !attachment.keeps_position);
                    let revpos = position.or(attachment.revpos).unwrap_or(0);
                    place(transaction, attachment, revpos, &known)
                }
            })
            .collect()
    }

    fn resolve(
        &self,
        stub: PreparedAttachment,
        parents: Option<&[AttachmentRecord]>,
    ) -> Result<AttachmentRecord> {
        let Some(parents) = parents else {
            return Err(Error::PreviousRevisionMissing(self.id.clone()));
        };
        let found = parents.iter().find(|record| record.name == stub.name);
        match found {
            Some(record) if stub.revpos.is_none_or(|revpos| revpos == record.revpos) => {
                Ok(record.clone())
            }
            _ => Err(Error::MissingStub { id: self.id.clone(), name: stub.name }),
        }
    }

    /// The attachments of a stored revision; `None` if its body is gone.
    fn attachments_of(
        &self,
        transaction: &dyn Transaction,
        node: NodeIndex,
    ) -> Result<Option<Vec<AttachmentRecord>>> {
        let Some(stored) = self.tree.stored(node) else { return Ok(None) };
        let blob = transaction.blob(stored.body)?;
        Summary::decode(&blob)?.attachments().map(Some)
    }

    /// The attachments whose bytes may be shared: those of the parent and of all leaves.
    fn known_attachments(
        &self,
        transaction: &dyn Transaction,
        parents: Option<&[AttachmentRecord]>,
    ) -> Result<Vec<AttachmentRecord>> {
        let mut known = parents.unwrap_or_default().to_vec();
        for leaf in self.tree.leaves() {
            known.extend(self.attachments_of(transaction, leaf)?.unwrap_or_default());
        }
        Ok(known)
    }

    fn put_body(
        &self,
        transaction: &mut dyn Transaction,
        doc: &Prepared,
        attachments: &[AttachmentRecord],
    ) -> Result<Stored> {
        let body = doc.body.as_bytes();
        let summary = encode_summary(body, attachments);
        let at = transaction.put_blob(&summary)?;
        let sum = |len: fn(&AttachmentRecord) -> u64| attachments.iter().map(len).sum::<u64>();
        Ok(Stored {
            deleted: doc.deleted,
            body: at,
            // All revisions that come with this call share the sequence its last one gets.
            seq: transaction.seq() + 1,
            active_bytes: summary.len() as u64 + sum(|record| record.stored_len),
            external_bytes: body.len() as u64 + sum(|record| record.identity_len),
        })
    }

    /// Writes the document if anything about it has changed.
    fn store(mut self, transaction: &mut dyn Transaction, scratch: &mut Scratch) -> Result<bool> {
        if !self.changed {
            return Ok(false);
        }
        self.tree.stem(self.rules.database.revs_limit());
        self.tree.forget_old_bodies();
        scratch.put_tree(transaction, &self.id, &self.tree)?;
        Ok(true)
    }
}

/// The decisions of CouchDB's interactive writes.
pub(super) fn placement(tree: &RevTree, checked: bool, doc: &Prepared) -> Result<Placement> {
    let Some(winner) = tree.winner() else {
        return match doc.rev {
            Some(_) if checked => Err(Error::Conflict),
            _ => Ok(Placement::History),
        };
    };
    if tree.is_deleted(winner) {
        // A deleted document comes back by a write that names no revision, and by no other.
        return match doc.rev {
            None if !doc.deleted => Ok(Placement::Revival(winner)),
            _ => Err(Error::Conflict),
        };
    }
    let rev = doc.rev.as_ref().ok_or(Error::Conflict)?;
    // Of a revision that stands in several branches, CouchDB finds the leaf if it looks for leaves,
    // and otherwise the first of all.
    let parent = match checked {
        true => tree.find_leaf(rev),
        false => tree.find(rev).filter(|node| tree.is_leaf(*node)),
    };
    parent.map(Placement::Below).ok_or(Error::Conflict)
}

/// Buffers for the values of index entries.
#[derive(Default)]
pub(crate) struct Scratch {
    by_id: Vec<u8>,
    by_seq: Vec<u8>,
}

impl Scratch {
    /// Writes both index entries of a document.
    pub(crate) fn put_tree(
        &mut self,
        transaction: &mut dyn Transaction,
        id: &str,
        tree: &RevTree,
    ) -> Result<Seq> {
        let leaves = tree.leaves();
        self.by_id.clear();
        self.by_seq.clear();
        entry::put_doc(tree, &leaves, &mut self.by_id)?;
        entry::put_change(tree, &leaves, &mut self.by_seq)?;
        let weight = weight(tree, &leaves, id.as_bytes(), [&self.by_id, &self.by_seq]);
        Ok(transaction.put_doc(id.as_bytes(), weight, &self.by_id, &self.by_seq)?)
    }
}

/// What a document with this tree adds to the counts.
pub(crate) fn weight_of(id: &[u8], tree: &RevTree) -> Result<DocWeight> {
    let leaves = tree.leaves();
    let (mut by_id, mut by_seq) = (Vec::new(), Vec::new());
    entry::put_doc(tree, &leaves, &mut by_id)?;
    entry::put_change(tree, &leaves, &mut by_seq)?;
    Ok(weight(tree, &leaves, id, [&by_id, &by_seq]))
}

/// What a document adds to the counts: its leaves' bodies and attachments, and its rows in the two
/// indexes. Without the rows, a file of small documents would seem to be mostly garbage for ever.
pub(crate) fn weight(
    tree: &RevTree,
    leaves: &[NodeIndex],
    id: &[u8],
    rows: [&Vec<u8>; 2],
) -> DocWeight {
    let deleted = leaves.first().is_some_and(|winner| tree.is_deleted(*winner));
    weight_of_leaves(leaves.iter().filter_map(|leaf| tree.stored(*leaf)), deleted, id, rows)
}

/// The same for what is stored of the leaves.
pub(crate) fn weight_of_leaves<'s>(
    leaves: impl IntoIterator<Item = &'s Stored>,
    deleted: bool,
    id: &[u8],
    rows: [&Vec<u8>; 2],
) -> DocWeight {
    let row_bytes = rows.iter().map(|row| (row.len() + id.len()) as u64).sum();
    let mut weight = DocWeight { deleted, active_bytes: row_bytes, external_bytes: 0 };
    for stored in leaves {
        weight.active_bytes += stored.active_bytes;
        weight.external_bytes += stored.external_bytes;
    }
    weight
}

/// Stands for what would be stored where only the shape of a tree is of interest.
const UNWRITTEN: Stored = Stored {
    deleted: false,
    body: BlobRef { offset: 0, len: 0, crc: 0 },
    seq: 0,
    active_bytes: 0,
    external_bytes: 0,
};

/// The revision a replicated document has to say it is.
fn named(doc: &Prepared) -> Result<&Rev> {
    doc.rev.as_ref().ok_or_else(|| {
        let reason = "When `new_edits: false`, the document needs `_rev` or `_revisions` specified";
        Error::BadRequest(reason.into())
    })
}

/// The id of the revision an edit makes.
fn new_id(
    placement: &Placement,
    doc: &Prepared,
    parent: Option<&Rev>,
    attachments: &[AttachmentRecord],
) -> [u8; 16] {
    let digests: Vec<_> = match (placement, doc.new_id) {
        (Placement::Below(_) | Placement::History, Some(id)) => return id,
        (Placement::Below(_) | Placement::History, None) => {
            attachments.iter().map(digest_of).collect()
        }
        // CouchDB forgets what the attachments are when it brings a deleted document back.
        (Placement::Revival(_), _) => vec![AttachmentDigest::Undefined; attachments.len()],
    };
    revision_id(doc.deleted, parent, &doc.body, &digests)
}

fn digest_of(record: &AttachmentRecord) -> AttachmentDigest<'_> {
    AttachmentDigest::Known {
        name: &record.name,
        content_type: &record.content_type,
        md5: record.digest,
    }
}

/// The record of an attachment that came with its bytes.
fn place(
    transaction: &mut dyn Transaction,
    attachment: PreparedAttachment,
    revpos: u64,
    known: &[AttachmentRecord],
) -> Result<AttachmentRecord> {
    let same_bytes = known.iter().find(|record| {
        record.digest == attachment.digest
            && record.stored_len == attachment.stored_len
            && record.encoding == attachment.encoding
    });
    let place = match (same_bytes, attachment.source) {
        (Some(record), _) => record.place,
        (None, Source::Bytes(bytes)) => AttachmentPlace::Blob(transaction.put_blob(&bytes)?),
        (None, Source::Placed(staged)) => AttachmentPlace::Stream(transaction.place(&staged)),
        (None, Source::Stub) => return Err(Error::Damaged("attachment")),
    };
    Ok(AttachmentRecord {
        name: attachment.name,
        content_type: attachment.content_type,
        revpos,
        digest: attachment.digest,
        encoding: attachment.encoding,
        stored_len: attachment.stored_len,
        identity_len: attachment.identity_len,
        place,
    })
}
