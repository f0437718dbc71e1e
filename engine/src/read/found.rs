//! A revision that was found, ready to be written out.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use base64::{engine::general_purpose::STANDARD, write::EncoderWriter};
use settee_storage::{BlobRef, Seq, Value};

use super::Reader;
#[cfg(feature = "replication")]
use crate::document::{AttachmentSource, Body, Document, IncomingAttachment};
use crate::{
    attachment::FoundAttachment,
    database::{AttachmentForm, ShowOptions},
    document::{AttachmentRecord, AttachmentView, DocumentView, RevStatus, Summary, splice},
    error::{Error, Result},
    revision::{Rev, RevId},
    revtree::{NodeIndex, RevTree, Stored},
    write::LocalDocument,
};

/// One revision of a document: its body, borrowed from the store where possible, and what was asked
/// for beside it. Made by [`Reader::get`] and [`Reader::open_revs`].
pub struct FoundDocument<'r> {
    reader: &'r Reader,
    id: &'r str,
    rev: Rev,
    deleted: bool,
    /// What the store holds; the body is the end of it.
    stored: Value<'r>,
    body_start: usize,
    /// The body that is shown in its place.
    shown: Option<Vec<u8>>,
    meta: Meta,
    attachments: Vec<(AttachmentRecord, AttachmentForm)>,
    encoding_info: bool,
}

/// What is shown beside the body.
#[derive(Default)]
pub(crate) struct Meta {
    pub(crate) revisions: Vec<RevId>,
    pub(crate) revs_info: Vec<(Rev, RevStatus)>,
    pub(crate) local_seq: Option<Seq>,
    pub(crate) conflicts: Vec<Rev>,
    pub(crate) deleted_conflicts: Vec<Rev>,
    /// Attachments up to this generation are stubs whatever form is asked for.
    pub(crate) known_until: u64,
}

impl Meta {
    /// What `show` asks for of the revision at `node`. Only the history is given for a revision that
    /// was named, as in CouchDB; the rest belongs to the winner.
    pub(crate) fn of(
        tree: &RevTree,
        node: NodeIndex,
        show: &ShowOptions,
        revs_limit: u64,
        winner: bool,
    ) -> Self {
        let limit = usize::try_from(revs_limit).unwrap_or(usize::MAX);
        let path = || tree.path(node).take(limit);
        let revs = |nodes: Vec<NodeIndex>| -> Vec<Rev> {
            nodes.into_iter().map(|node| tree.rev(node).clone()).collect()
        };
        let mut meta = Meta::default();
        if show.revs {
            meta.revisions = path().map(|node| tree.rev(node).id.clone()).collect();
        }
        if let Some(since) = &show.atts_since {
            let known = tree.path(node).find(|ancestor| since.contains(tree.rev(*ancestor)));
            meta.known_until = known.map_or(0, |ancestor| tree.rev(ancestor).generation);
        }
        if show.revs_info && winner {
            let status = |node| (tree.rev(node).clone(), status(tree.stored(node)));
            meta.revs_info = path().map(status).collect();
        }
        if show.conflicts && winner {
            meta.conflicts = revs(tree.conflicts());
        }
        if show.deleted_conflicts && winner {
            meta.deleted_conflicts = revs(tree.deleted_conflicts());
        }
        meta
    }
}

fn status(stored: Option<&Stored>) -> RevStatus {
    match stored {
        None => RevStatus::Missing,
        Some(stored) if stored.deleted => RevStatus::Deleted,
        Some(_) => RevStatus::Available,
    }
}

impl<'r> FoundDocument<'r> {
    /// A revision whose body is at `body`.
    pub(crate) fn load(
        reader: &'r Reader,
        id: &'r str,
        (mut rev, deleted, body): (Rev, bool, BlobRef),
        mut meta: Meta,
        show: &ShowOptions,
    ) -> Result<Self> {
        let stored = reader.snapshot.blob(body)?;
        let summary = Summary::decode(&stored)?;
        let attachments = match summary.has_attachments() {
            false => Vec::new(),
            true => forms(summary.attachments()?, meta.known_until, show),
        };
        let (stored, body_start) = match reader.body(&summary)? {
            Cow::Owned(text) => (Value::Owned(text), 0),
            Cow::Borrowed(text) => {
                let body_start = stored.len() - text.len();
                (stored, body_start)
            }
        };
        let encoding_info = show.att_encoding_info;
        let shown = reader.shown(id, &rev, stored.get(body_start..).unwrap_or_default())?;
        let shown = shown.map(|shown| {
            rev = shown.rev;
            if let Some(newest) = meta.revisions.first_mut() {
                newest.clone_from(&rev.id);
            }
            shown.body
        });
        Ok(FoundDocument {
            reader,
            id,
            rev,
            deleted,
            stored,
            body_start,
            shown,
            meta,
            attachments,
            encoding_info,
        })
    }

    /// A local document.
    pub(crate) fn load_local(reader: &'r Reader, id: &'r str, stored: Value<'r>) -> Result<Self> {
        let local = LocalDocument::decode(&stored)?;
        let (rev, body_start) = (local.rev(), stored.len() - local.body.len());
        Ok(FoundDocument {
            reader,
            id,
            rev,
            deleted: false,
            stored,
            body_start,
            shown: None,
            meta: Meta::default(),
            attachments: Vec::new(),
            encoding_info: false,
        })
    }

    /// The document's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id
    }

    /// Its revision.
    #[must_use]
    pub fn rev(&self) -> &Rev {
        &self.rev
    }

    /// Whether it is a tombstone.
    #[must_use]
    pub fn deleted(&self) -> bool {
        self.deleted
    }

    /// The body as stored, or as this reader may see it: a JSON object without special members.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        match &self.shown {
            Some(shown) => shown,
            None => self.stored.get(self.body_start..).unwrap_or_default(),
        }
    }

    /// Whether it shows something that can change while the revision stays the same, so that the
    /// revision cannot stand for the answer.
    #[must_use]
    pub fn has_meta(&self) -> bool {
        self.view(&[]).has_meta()
    }

    /// What it says of its attachments, in its order.
    pub fn attachments(&self) -> impl Iterator<Item = &AttachmentRecord> {
        self.attachments.iter().map(|(record, _)| record)
    }

    /// The attachments whose bytes have to follow the text, in order: those shown with
    /// `"follows":true`.
    pub fn following(&self) -> impl Iterator<Item = FoundAttachment> {
        let follows = |(_, form): &&(_, AttachmentForm)| *form == AttachmentForm::Follows;
        self.attachments.iter().filter(follows).map(|(record, _)| self.open(record))
    }

    /// Appends the document as JSON text.
    ///
    /// # Errors
    /// Those of the store while inline attachments are read.
    pub fn write_json(&self, out: &mut Vec<u8>) -> Result<()> {
        if self.has_inline() {
            return self.stream_json(out);
        }
        let views: Vec<_> = self.attachments.iter().map(view_of).collect();
        self.view(&views).write_json(out);
        Ok(())
    }

    /// Whether the text holds attachments, and may be far longer than the body.
    #[must_use]
    pub fn has_inline(&self) -> bool {
        self.attachments.iter().any(|(_, form)| *form == AttachmentForm::Inline)
    }

    /// Writes the document as JSON text piece by piece: inline attachments are read, decompressed and
    /// encoded on their way and never held whole.
    ///
    /// # Errors
    /// Those of the store; [`Error::Damaged`] if `out` refuses a piece for another reason.
    pub fn stream_json(&self, out: &mut dyn Write) -> Result<()> {
        let mut piece = Vec::new();
        self.view(&[]).write_json(&mut piece);
        // Attachments stand last in the object.
        piece.pop();
        let mut before: &[u8] = b",\"_attachments\":{";
        for attached in &self.attachments {
            piece.extend_from_slice(before);
            before = b",";
            self.stream_attachment(attached, &mut piece, out).map_err(unwrapped)?;
        }
        piece.extend_from_slice(if self.attachments.is_empty() { b"}" } else { b"}}" });
        out.write_all(&piece).map_err(unwrapped)
    }

    /// Appends one attachment to `piece`; if it has data, they go out, and what is before them.
    fn stream_attachment(
        &self,
        attached: &(AttachmentRecord, AttachmentForm),
        piece: &mut Vec<u8>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let (record, form) = attached;
        if *form != AttachmentForm::Inline {
            splice::write_attachment(record, view_of(attached).1, self.encoding_info, piece);
            return Ok(());
        }
        splice::begin_attachment(record, piece);
        piece.extend_from_slice(b",\"data\":\"");
        out.write_all(piece)?;
        piece.clear();
        let mut bytes = self.open(record).identity().map_err(wrapped)?;
        let mut base64 = EncoderWriter::new(&mut *out, &STANDARD);
        io::copy(&mut bytes, &mut base64)?;
        base64.finish()?;
        drop(base64);
        piece.push(b'"');
        splice::end_attachment(record, self.encoding_info, piece);
        Ok(())
    }

    /// The revision as a replica takes it, with its history, and the attachments whose bytes have to be
    /// brought along: those that are to follow.
    #[cfg(feature = "replication")]
    pub(crate) fn to_replica(&self) -> (Document, Vec<FoundAttachment>) {
        let attachments = self.attachments.iter().map(|(record, form)| IncomingAttachment {
            name: record.name.clone(),
            content_type: record.content_type.clone(),
            revpos: Some(record.revpos),
            source: match form {
                AttachmentForm::Follows => AttachmentSource::Follows {
                    length: Some(record.stored_len),
                    identity_length: Some(record.identity_len),
                    encoding: record.encoding,
                    digest: Some(record.digest),
                },
                AttachmentForm::Stub | AttachmentForm::Inline => AttachmentSource::Stub,
            },
        });
        let document = Document {
            id: self.id.to_owned(),
            rev: Some(self.rev.clone()),
            history: self.meta.revisions.get(1..).unwrap_or_default().to_vec(),
            deleted: self.deleted,
            body: Body::from_stored(self.body().to_vec()),
            attachments: attachments.collect(),
        };
        (document, self.following().collect())
    }

    fn open(&self, record: &AttachmentRecord) -> FoundAttachment {
        FoundAttachment::new(self.reader, self.rev.clone(), record.clone())
    }

    fn view<'v>(
        &'v self,
        attachments: &'v [(&'v AttachmentRecord, AttachmentView<'v>)],
    ) -> DocumentView<'v> {
        DocumentView {
            id: self.id,
            rev: Some(&self.rev),
            body: self.body(),
            deleted: self.deleted,
            revisions: &self.meta.revisions,
            revs_info: &self.meta.revs_info,
            local_seq: self.meta.local_seq,
            conflicts: &self.meta.conflicts,
            deleted_conflicts: &self.meta.deleted_conflicts,
            attachments,
            encoding_info: self.encoding_info,
        }
    }
}

fn view_of(
    (record, form): &(AttachmentRecord, AttachmentForm),
) -> (&AttachmentRecord, AttachmentView<'_>) {
    match form {
        AttachmentForm::Follows => (record, AttachmentView::Follows),
        AttachmentForm::Stub | AttachmentForm::Inline => (record, AttachmentView::Stub),
    }
}

/// Packs an error of the engine so that it passes through a reader or a writer.
fn wrapped(error: Error) -> io::Error {
    io::Error::other(error)
}

/// Gets the error back that came through a reader or a writer.
fn unwrapped(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => match error.downcast::<settee_storage::Error>() {
            Ok(error) => Error::Storage(error),
            Err(_) => Error::Damaged("attachment"),
        },
    }
}

/// The form each attachment is shown in.
fn forms(
    records: Vec<AttachmentRecord>,
    known_until: u64,
    show: &ShowOptions,
) -> Vec<(AttachmentRecord, AttachmentForm)> {
    let form = |record: &AttachmentRecord| match show.atts_since {
        Some(_) if record.revpos <= known_until => AttachmentForm::Stub,
        _ => show.attachments,
    };
    records
        .into_iter()
        .map(|record| (form(&record), record))
        .map(|(form, record)| (record, form))
        .collect()
}
