//! What is done with a call's documents before any stored state is looked at, on the caller's thread
//! and side by side with other callers.

use std::sync::Arc;

use settee_storage::StagedStream;

use super::{
    MAX_EDIT_BYTES, WriteMode,
    hook::{self, PendingWrite},
    local, validate,
};
use crate::{
    attachment::{StageOptions, StagedAttachment, StagedPlace, digest, gzip},
    caller::Caller,
    database::Database,
    document::{AttachmentSource, Body, Document, Encoding, IncomingAttachment},
    error::{Error, Result},
    name::DocKind,
    revision::{AttachmentDigest, Rev, RevId, revision_id},
};

/// A call, cut into edits.
pub(super) struct Plan {
    pub(super) mode: WriteMode,
    /// See [`super::apply::Rules::checked`].
    pub(super) checked: bool,
    /// Documents of the call.
    pub(super) count: usize,
    /// Documents that go into no edit: their place in the call, and why.
    pub(super) refused: Vec<(usize, Error)>,
    pub(super) edits: Vec<Vec<Prepared>>,
}

/// A document ready to be decided on.
pub(super) struct Prepared {
    /// Where in the call it stands.
    pub(super) place: usize,
    pub(super) id: String,
    pub(super) rev: Option<Rev>,
    pub(super) history: Vec<RevId>,
    pub(super) deleted: bool,
    pub(super) body: Body,
    pub(super) attachments: Vec<PreparedAttachment>,
    /// The id of the revision that follows `rev` by this edit, unless stubs must be known first.
    pub(super) new_id: Option<[u8; 16]>,
}

/// An attachment whose bytes are digested and on their way, or a stub.
pub(super) struct PreparedAttachment {
    pub(super) name: String,
    pub(super) content_type: String,
    /// What the client said of the generation it came in with.
    pub(super) revpos: Option<u64>,
    /// It is an attachment of another revision, and so is its position.
    pub(super) keeps_position: bool,
    pub(super) digest: [u8; 16],
    pub(super) encoding: Encoding,
    pub(super) stored_len: u64,
    pub(super) identity_len: u64,
    pub(super) source: Source,
}

/// Where an attachment's bytes are.
pub(super) enum Source {
    /// With the parent revision.
    Stub,
    /// Here, to be written with the edit.
    Bytes(Arc<[u8]>),
    /// In the store already.
    Placed(StagedStream),
}

/// Stored bytes of an attachment sent inline up to which they are written with the edit; longer ones
/// become a stream ahead of it.
const MAX_BLOB_ATTACHMENT_BYTES: usize = 64 * 1024;

impl Plan {
    pub(super) fn new(
        database: &Arc<Database>,
        caller: &Caller,
        docs: Vec<Document>,
        mode: WriteMode,
    ) -> Result<Self> {
        let count = docs.len();
        docs.iter().try_for_each(|doc| database.check_writable(doc))?;
        let (docs, mut refused) = admit(PendingWrite { database, caller, mode }, docs)?;
        let validators = match docs.iter().any(|(_, doc)| DocKind::of(&doc.id) == DocKind::Normal) {
            true => database.validators()?,
            false => None,
        };
        let checked = database.looks_up_first()
            || validators.is_some()
            || docs.iter().any(|(_, doc)| !doc.attachments.is_empty() || is_design(&doc.id));
        let mut prepared = Vec::with_capacity(docs.len());
        for (place, doc) in docs {
            prepared.push(Prepared::new(database, place, doc, mode)?);
        }
        let rules = (mode, checked);
        refused.extend(validate::refuse(database, caller, &mut prepared, rules, validators)?);
        // CouchDB gives sequences in the order of ids. The sort is stable, so that of several
        // documents with one id the first stays in front.
        prepared.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Plan { mode, checked, count, refused, edits: cut(prepared) })
    }
}

/// The documents that may go on, with their places in the call, and those that may not.
type Admitted = (Vec<(usize, Document)>, Vec<(usize, Error)>);

/// Asks the database's hook, if it has one.
fn admit(write: PendingWrite<'_>, docs: Vec<Document>) -> Result<Admitted> {
    let docs = docs.into_iter().enumerate();
    let Some(hook) = write.database.write_hook() else { return Ok((docs.collect(), Vec::new())) };
    let (mut admitted, mut refused) = (Vec::new(), Vec::new());
    for (place, mut doc) in docs {
        let asked = match hook::concerns(&doc.id) {
            true => hook.before_write(&write, &mut doc),
            false => Ok(()),
        };
        match asked {
            Ok(()) => admitted.push((place, doc)),
            Err(Error::Storage(error)) => return Err(error.into()),
            Err(refusal) => refused.push((place, refusal)),
        }
    }
    Ok((admitted, refused))
}

/// Cuts documents into edits of bounded size, never between two of the same id.
fn cut(prepared: Vec<Prepared>) -> Vec<Vec<Prepared>> {
    if prepared.is_empty() {
        return Vec::new();
    }
    let total: usize = prepared.iter().map(Prepared::bytes).sum();
    if total <= MAX_EDIT_BYTES {
        return vec![prepared];
    }
    let mut edits: Vec<Vec<Prepared>> = Vec::new();
    let mut bytes = 0;
    for doc in prepared {
        bytes += doc.bytes();
        match edits.last_mut() {
            Some(edit)
                if bytes <= MAX_EDIT_BYTES || edit.last().is_some_and(|last| last.id == doc.id) =>
            {
                edit.push(doc);
            }
            _ => {
                bytes = doc.bytes();
                edits.push(vec![doc]);
            }
        }
    }
    edits
}

pub(super) fn is_design(id: &str) -> bool {
    DocKind::of(id) == DocKind::Design
}

impl Prepared {
    fn new(database: &Arc<Database>, place: usize, doc: Document, mode: WriteMode) -> Result<Self> {
        let is_local = DocKind::of(&doc.id) == DocKind::Local;
        if is_local && !doc.deleted {
            local::next_counter(doc.rev.as_ref())?;
        } else if !is_local && mode == WriteMode::Replicated {
            doc.require_rev()?;
        }
        let Document { id, rev, history, deleted, body, attachments } = doc;
        let attachments = attachments
            .into_iter()
            // CouchDB says nothing, and keeps none of a local document.
            .filter(|_| !is_local)
            .map(|attachment| PreparedAttachment::new(database, attachment))
            .collect::<Result<Vec<_>>>()?;
        let mut prepared =
            Prepared { place, id, rev, history, deleted, body, attachments, new_id: None };
        if !is_local && mode == WriteMode::Interactive {
            prepared.new_id = prepared.own_revision_id();
        }
        Ok(prepared)
    }

    /// The ids of its revision and of the ancestors it names, newest first.
    pub(super) fn path(&self) -> Vec<RevId> {
        self.rev.iter().map(|rev| &rev.id).chain(&self.history).cloned().collect()
    }

    pub(super) fn is_local(&self) -> bool {
        DocKind::of(&self.id) == DocKind::Local
    }

    /// The id of the revision this edit makes of the one it names.
    fn own_revision_id(&self) -> Option<[u8; 16]> {
        let digests = self
            .attachments
            .iter()
            .map(|attachment| match attachment.source {
                Source::Stub => None,
                _ => Some(AttachmentDigest::Known {
                    name: &attachment.name,
                    content_type: &attachment.content_type,
                    md5: attachment.digest,
                }),
            })
            .collect::<Option<Vec<_>>>()?;
        Some(revision_id(self.deleted, self.rev.as_ref(), &self.body, &digests))
    }

    fn bytes(&self) -> usize {
        let attached = self.attachments.iter().map(|attachment| match &attachment.source {
            Source::Bytes(bytes) => bytes.len(),
            _ => 0,
        });
        self.body.as_bytes().len() + self.id.len() + attached.sum::<usize>()
    }
}

/// Bytes of an attachment that preparing it has to work through.
pub(super) fn inline_len(attachment: &IncomingAttachment) -> usize {
    match &attachment.source {
        AttachmentSource::Inline(bytes) => bytes.len(),
        _ => 0,
    }
}

impl PreparedAttachment {
    fn new(database: &Arc<Database>, attachment: IncomingAttachment) -> Result<Self> {
        let IncomingAttachment { name, content_type, revpos, source } = attachment;
        let mut prepared = PreparedAttachment {
            name,
            content_type,
            revpos,
            keeps_position: false,
            digest: [0; 16],
            encoding: Encoding::Identity,
            stored_len: 0,
            identity_len: 0,
            source: Source::Stub,
        };
        match source {
            AttachmentSource::Stub => {}
            AttachmentSource::Staged(staged) => prepared.take_staged(staged),
            AttachmentSource::Copied(staged) => {
                prepared.take_staged(staged);
                prepared.keeps_position = true;
            }
            AttachmentSource::Inline(bytes) => prepared.take_inline(database, bytes)?,
            AttachmentSource::Follows { .. } => {
                let reason = format!("the bytes of attachment {} did not follow", prepared.name);
                return Err(Error::BadRequest(reason));
            }
        }
        Ok(prepared)
    }

    fn take_staged(&mut self, staged: StagedAttachment) {
        self.digest = staged.digest;
        self.encoding = staged.encoding;
        self.stored_len = staged.stored_len;
        self.identity_len = staged.identity_len;
        self.source = match staged.place {
            StagedPlace::Memory(bytes) => Source::Bytes(bytes),
            StagedPlace::Stream(stream) => Source::Placed(stream),
        };
    }

    fn take_inline(&mut self, database: &Arc<Database>, bytes: Vec<u8>) -> Result<()> {
        if bytes.len() > MAX_BLOB_ATTACHMENT_BYTES {
            let mut writer = database.stage_attachment(
                &self.name,
                &self.content_type,
                StageOptions::default(),
            )?;
            writer.write(&bytes)?;
            self.take_staged(writer.finish()?);
            return Ok(());
        }
        let settings = database.shared.attachment_settings();
        settings.check_len(&self.name, bytes.len() as u64)?;
        self.identity_len = bytes.len() as u64;
        let stored = match settings.compresses(&self.content_type) {
            true => {
                self.encoding = Encoding::Gzip;
                gzip::compress(&bytes, settings.level)
            }
            false => bytes,
        };
        self.digest = digest::md5(&stored);
        self.stored_len = stored.len() as u64;
        self.source = Source::Bytes(stored.into());
        Ok(())
    }
}
