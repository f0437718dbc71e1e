//! Single documents: the winner, a named revision, several of them, and copies to edit.

use std::sync::Arc;

use settee_storage::{Seq, share};

use super::{
    Reader,
    found::{FoundDocument, Meta},
};
use crate::{
    attachment::{FoundAttachment, StagedAttachment, StagedPlace},
    database::{GetOptions, ShowOptions},
    document::{
        AttachmentPlace, AttachmentRecord, AttachmentSource, Body, DocHead, Document,
        IncomingAttachment, Winner,
    },
    error::{Absence, Error, Result},
    name::DocKind,
    revision::Rev,
    revtree::{NodeIndex, RevTree},
};

const MISSING: Error = Error::NotFound(Absence::Missing);

/// Which revisions to open.
#[derive(Clone, Copy, Debug)]
pub enum OpenRevs<'a> {
    /// All leaves, deleted ones included.
    All,
    /// These.
    These(&'a [Rev]),
}

impl Reader {
    /// Reads one revision of a document; a local document, too.
    ///
    /// # Errors
    /// [`Error::NotFound`] with the reason, [`Error::IllegalDocId`] in a partitioned database, those
    /// of the store.
    pub fn get<'r>(&'r self, id: &'r str, options: &GetOptions) -> Result<FoundDocument<'r>> {
        self.database.check_doc_id(id)?;
        if DocKind::of(id) == DocKind::Local {
            let stored = self.snapshot.local(id.as_bytes())?.ok_or(MISSING)?;
            return FoundDocument::load_local(self, id, stored);
        }
        let entry = self.snapshot.doc(id.as_bytes())?.ok_or(MISSING)?;
        let head = DocHead::decode(&entry.value)?;
        match &options.rev {
            Some(rev) if !options.latest => {
                let tree = head.tree()?;
                let node = tree.find(rev).ok_or(MISSING)?;
                self.found(id, &tree, node, &options.show)
            }
            _ if head.winner.deleted && !options.deleted => Err(Error::NotFound(Absence::Deleted)),
            _ => self.winner(id, head, entry.seq, &options.show),
        }
    }

    fn winner<'r>(
        &'r self,
        id: &'r str,
        head: DocHead<'_>,
        seq: Seq,
        show: &ShowOptions,
    ) -> Result<FoundDocument<'r>> {
        let meta = self.meta(&head, seq, show)?;
        let Winner { rev, deleted, body, .. } = head.winner;
        FoundDocument::load(self, id, (rev, deleted, body), meta, show)
    }

    /// What is shown beside a winner's body. The tree is read only if something depends on it.
    pub(crate) fn meta(&self, head: &DocHead<'_>, seq: Seq, show: &ShowOptions) -> Result<Meta> {
        let mut meta = match needs_tree(&head.winner, show) {
            false => Meta::default(),
            true => {
                let tree = head.tree()?;
                let node = tree.winner().ok_or(Error::Damaged("revision tree"))?;
                Meta::of(&tree, node, show, self.database.revs_limit(), true)
            }
        };
        meta.local_seq = show.local_seq.then_some(seq);
        Ok(meta)
    }

    /// The revision at `node`, if its body is there.
    fn found<'r>(
        &'r self,
        id: &'r str,
        tree: &RevTree,
        node: NodeIndex,
        show: &ShowOptions,
    ) -> Result<FoundDocument<'r>> {
        let stored = tree.stored(node).ok_or(MISSING)?;
        let meta = Meta::of(tree, node, show, self.database.revs_limit(), false);
        let rev = tree.rev(node).clone();
        FoundDocument::load(self, id, (rev, stored.deleted, stored.body), meta, show)
    }

    /// Reads several revisions of a document, each once: those found in ascending order, then those
    /// that are not there, which come back as their revisions. With `latest`, a revision that is no
    /// leaf is replaced by the leaves that descend from it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for [`OpenRevs::All`] of an unknown document, otherwise as [`Reader::get`].
    pub fn open_revs<'r>(
        &'r self,
        id: &'r str,
        revs: OpenRevs<'_>,
        latest: bool,
        show: &ShowOptions,
    ) -> Result<Vec<Result<FoundDocument<'r>, Rev>>> {
        self.database.check_doc_id(id)?;
        let tree = match (self.snapshot.doc(id.as_bytes())?, revs) {
            (Some(entry), _) => DocHead::decode(&entry.value)?.tree()?,
            (None, OpenRevs::All) => return Err(MISSING),
            (None, OpenRevs::These(_)) => RevTree::new(),
        };
        let mut wanted = select(&tree, revs, latest);
        // Stable, so that of two branches that end in the same id the lower one stays in front. Each of
        // them is a revision of its own.
        wanted.sort_by(|a, b| (a.1.is_none(), &a.0).cmp(&(b.1.is_none(), &b.0)));
        wanted.dedup();
        wanted
            .into_iter()
            .map(|(rev, node)| match node {
                Some(node) => self.found(id, &tree, node, show).map(Ok),
                None => Ok(Err(rev)),
            })
            .collect()
    }

    /// Reads all leaves of a document, deleted ones included, in the order of its branches (which is
    /// CouchDB's order in `_bulk_get`).
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub fn leaves<'r>(&'r self, id: &'r str, show: &ShowOptions) -> Result<Vec<FoundDocument<'r>>> {
        self.database.check_doc_id(id)?;
        let entry = self.snapshot.doc(id.as_bytes())?.ok_or(MISSING)?;
        let tree = DocHead::decode(&entry.value)?.tree()?;
        let leaves = tree.leaves_by_branch();
        leaves.into_iter().map(|leaf| self.found(id, &tree, leaf, show)).collect()
    }

    /// An attachment of the winner or of a named revision.
    ///
    /// # Errors
    /// [`Error::NotFound`] with the reason, otherwise as [`Reader::get`].
    pub fn attachment(&self, id: &str, rev: Option<&Rev>, name: &str) -> Result<FoundAttachment> {
        let options = GetOptions { rev: rev.cloned(), ..GetOptions::default() };
        let found = self.get(id, &options)?;
        let record = found.attachments().find(|record| record.name == name);
        let record = record.ok_or(Error::NotFound(Absence::Attachment))?;
        Ok(FoundAttachment::new(self, found.rev().clone(), record.clone()))
    }

    /// The winner, or a named revision, as a document that says of itself what is stored: written back
    /// unchanged it makes the next revision with the same body and attachments.
    ///
    /// # Errors
    /// [`Error::NotFound`], with [`Absence::Revision`] if the named revision is not there.
    pub fn edit(&self, id: &str, rev: Option<&Rev>) -> Result<Document> {
        let missing_rev = |error| match (error, rev) {
            (Error::NotFound(_), Some(_)) => Error::NotFound(Absence::Revision),
            (error, _) => error,
        };
        let stub = |record: AttachmentRecord| Ok((record, AttachmentSource::Stub));
        let options = GetOptions { rev: rev.cloned(), ..GetOptions::default() };
        let found = self.get(id, &options).map_err(missing_rev)?;
        let mut document = self.draft(&found, id, stub)?;
        document.rev = Some(found.rev().clone());
        Ok(document)
    }

    /// The winner, or a named revision, as a new document with the id `to`.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub fn copy(&self, id: &str, rev: Option<&Rev>, to: &str) -> Result<Document> {
        let shared = |record: AttachmentRecord| {
            let staged = StagedAttachment {
                digest: record.digest,
                encoding: record.encoding,
                stored_len: record.stored_len,
                identity_len: record.identity_len,
                place: self.stage(record.place)?,
            };
            Ok((record, AttachmentSource::Copied(staged)))
        };
        let options = GetOptions { rev: rev.cloned(), ..GetOptions::default() };
        self.draft(&self.get(id, &options)?, to, shared)
    }

    /// Holds an attachment's stored bytes for another document, whatever becomes of this one meanwhile.
    fn stage(&self, place: AttachmentPlace) -> Result<StagedPlace> {
        Ok(match place {
            AttachmentPlace::Blob(at) => {
                StagedPlace::Memory(Arc::from(&self.snapshot.blob(at)?[..]))
            }
            AttachmentPlace::Stream(at) => {
                StagedPlace::Stream(share(&self.database.store, &*self.snapshot, at)?)
            }
        })
    }

    fn draft(
        &self,
        found: &FoundDocument<'_>,
        id: &str,
        source: impl Fn(AttachmentRecord) -> Result<(AttachmentRecord, AttachmentSource)>,
    ) -> Result<Document> {
        let attachments = found.attachments().cloned().map(|record| {
            let (record, source) = source(record)?;
            let AttachmentRecord { name, content_type, revpos, .. } = record;
            Ok(IncomingAttachment { name, content_type, revpos: Some(revpos), source })
        });
        Ok(Document {
            id: id.to_owned(),
            rev: None,
            history: Vec::new(),
            deleted: found.deleted(),
            body: Body::from_stored(found.body().to_vec()),
            attachments: attachments.collect::<Result<_>>()?,
        })
    }
}

/// The revisions asked for and where they are; nowhere, if they are unknown or their body is gone.
fn select(tree: &RevTree, revs: OpenRevs<'_>, latest: bool) -> Vec<(Rev, Option<NodeIndex>)> {
    let found = |node: NodeIndex| (tree.rev(node).clone(), Some(node));
    let OpenRevs::These(revs) = revs else { return tree.leaves().into_iter().map(found).collect() };
    let mut selected = Vec::new();
    for rev in revs {
        match tree.find(rev) {
            Some(node) if latest => selected.extend(tree.leaves_below(node).into_iter().map(found)),
            Some(node) if tree.stored(node).is_some() => selected.push(found(node)),
            _ => selected.push((rev.clone(), None)),
        }
    }
    selected
}

/// Whether what is shown of a winner depends on its tree.
pub(crate) fn needs_tree(winner: &Winner, show: &ShowOptions) -> bool {
    show.revs
        || show.revs_info
        || show.atts_since.is_some()
        || show.conflicts && winner.has_conflicts
        || show.deleted_conflicts && winner.has_deleted_conflicts
}
