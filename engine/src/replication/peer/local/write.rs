//! Writing revisions to a database of this server.

use std::{io::Read as _, sync::Arc};

use tokio::sync::mpsc;

use super::{LocalPeer, Place};
use crate::{
    attachment::{FoundAttachment, StageOptions, StagedAttachment, StagedPlace},
    database::Database,
    document::{AttachmentSource, Document, IncomingAttachment},
    error::Error,
    name::DocKind,
    replication::{
        context::Access,
        peer::{
            Key, Parcel, Result, Written,
            attached::{Attached, PIECE_BYTES, broke_off},
            blocking,
        },
    },
    write::WriteMode,
};

/// Stored bytes of an attachment up to which they are taken along in memory; more go into the store
/// ahead of the document.
const MAX_HELD_BYTES: u64 = 64 * 1024;

impl LocalPeer {
    /// See [`super::super::Peer::write`].
    pub(in crate::replication) async fn write(&self, parcels: Vec<Parcel>) -> Result<Written> {
        self.with(Access::Write, move |place, database| Writer { place, database }.write(parcels))
            .await
    }

    /// See [`super::super::Peer::write_attached`].
    pub(in crate::replication) async fn write_attached(
        &self,
        attached: Attached,
    ) -> Result<Written> {
        let place = Arc::clone(&self.shared);
        let permit = Place::permit(&place.streams.writing).await?;
        blocking(move || {
            let _permit = permit;
            let database = place.database(Access::Write)?;
            Writer { place: &place, database: &database }.write_attached(attached)
        })
        .await
    }
}

/// Why a document is not written.
enum Refusal {
    /// It is the document's own fault; the replication goes on.
    Document(Error),
    /// Its stubs stand for attachments that are not here.
    Stubs,
    /// The replication cannot go on.
    All(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            // Bytes that were damaged on their way may arrive whole the next time.
            Error::Storage(_)
            | Error::Damaged(_)
            | Error::NoRandomness
            | Error::Overloaded(_)
            | Error::Md5Mismatch
            | Error::AttachmentLength(_) => Refusal::All(error),
            Error::MissingStub { .. } | Error::PreviousRevisionMissing(_) => Refusal::Stubs,
            other => Refusal::Document(other),
        }
    }
}

struct Writer<'w> {
    place: &'w Place,
    database: &'w Arc<Database>,
}

impl Writer<'_> {
    fn write(&self, parcels: Vec<Parcel>) -> Result<Written> {
        let mut written = Written::default();
        let mut plain = Vec::with_capacity(parcels.len());
        let mut keys = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            let key = parcel.key().clone();
            match self.document(parcel).and_then(|document| self.admit(document)) {
                Ok(document) if has_stubs(&document) => {
                    // By itself: a stub that fits nothing fails the whole call.
                    self.store(vec![document], &[key], &mut written)?;
                }
                Ok(document) => {
                    plain.push(document);
                    keys.push(key);
                }
                Err(refusal) => self.refused(&key, refusal, &mut written)?,
            }
        }
        self.store(plain, &keys, &mut written)?;
        Ok(written)
    }

    fn write_attached(&self, mut attached: Attached) -> Result<Written> {
        let mut written = Written::default();
        let key = attached.key.clone();
        let document = Document::parse(&attached.json, None, &self.place.limits)
            .map_err(Refusal::from)
            .and_then(|document| self.admit(document));
        let mut document = match document {
            Ok(document) => document,
            Err(refusal) => {
                self.refused(&key, refusal, &mut written)?;
                return Ok(written);
            }
        };
        let mut bytes = Pieces { data: &mut attached.data, rest: bytes::Bytes::new() };
        for attachment in &mut document.attachments {
            let AttachmentSource::Follows { length, encoding, digest, .. } = attachment.source
            else {
                continue;
            };
            let mut left = length.unwrap_or(0);
            let options = StageOptions { encoding, length: Some(left), md5: digest };
            match self.stage(attachment, options, |piece| bytes.read(&mut left, &key.id, piece)) {
                Ok(staged) => attachment.source = AttachmentSource::Staged(staged),
                Err(Broken::Store(error)) => {
                    self.refused(&key, error.into(), &mut written)?;
                    return Ok(written);
                }
                Err(Broken::Stream(error)) => return Err(error),
            }
        }
        self.store(vec![document], &[key], &mut written)?;
        Ok(written)
    }

    fn document(&self, parcel: Parcel) -> std::result::Result<Document, Refusal> {
        match parcel {
            Parcel::Text { json, .. } => Ok(Document::parse(&json, None, &self.place.limits)?),
            Parcel::Document { mut document, following, .. } => {
                let limits = &self.place.limits;
                if document.body.as_bytes().len() as u64 > limits.document_bytes {
                    return Err(Error::DocumentTooLarge(document.id.clone()).into());
                }
                let mut following = following.into_iter();
                for attachment in &mut document.attachments {
                    if let AttachmentSource::Follows { .. } = attachment.source
                        && let Some(found) = following.next()
                    {
                        attachment.source =
                            AttachmentSource::Staged(self.copy(attachment, &found)?);
                    }
                }
                Ok(*document)
            }
        }
    }

    /// What may be written at all.
    fn admit(&self, document: Document) -> std::result::Result<Document, Refusal> {
        document.require_rev()?;
        self.database.check_writable(&document)?;
        let attachments = document.attachments.iter();
        let longest = attachments.filter_map(|attachment| match &attachment.source {
            AttachmentSource::Staged(staged) => Some((staged.stored_len, attachment)),
            AttachmentSource::Follows { length, .. } => Some((length.unwrap_or(0), attachment)),
            _ => None,
        });
        for (length, attachment) in longest {
            if length > self.place.limits.attachment_bytes {
                return Err(Error::AttachmentTooLarge(attachment.name.clone()).into());
            }
        }
        if DocKind::of(&document.id) == DocKind::Design {
            let (caller, name) = (self.place.caller(), &self.place.endpoint.name);
            self.place.access.check(caller, name, Access::WriteDesign)?;
        }
        Ok(document)
    }

    /// Writes documents in one call and counts what becomes of them.
    fn store(&self, documents: Vec<Document>, keys: &[Key], written: &mut Written) -> Result<()> {
        let caller = self.place.caller();
        let results = match self.database.write_as(caller, documents, WriteMode::Replicated) {
            Ok(results) => results,
            Err(error) => {
                let [key] = keys else { return Err(self.place.error(error)) };
                return self.refused(key, error.into(), written);
            }
        };
        for (result, key) in results.into_iter().zip(keys) {
            match result {
                Ok(_) => written.written += 1,
                Err(error) => self.refused(key, error.into(), written)?,
            }
        }
        Ok(())
    }

    fn refused(&self, key: &Key, refusal: Refusal, written: &mut Written) -> Result<()> {
        match refusal {
            Refusal::All(error) => return Err(self.place.error(error)),
            Refusal::Stubs => written.without_stubs.push(key.clone()),
            Refusal::Document(error) => {
                let (id, target) = (&key.id, &self.place.endpoint.url);
                tracing::warn!(id, target, %error, "a replicated document was not written");
                written.failures += 1;
            }
        }
        Ok(())
    }

    /// Takes over an attachment of another database, as it is stored there.
    fn copy(
        &self,
        attachment: &IncomingAttachment,
        found: &FoundAttachment,
    ) -> std::result::Result<StagedAttachment, Error> {
        let record = found.record();
        let mut bytes = found.stored()?;
        if record.stored_len <= MAX_HELD_BYTES {
            let mut held = Vec::new();
            bytes.read_to_end(&mut held).map_err(|_| Error::Damaged("attachment"))?;
            return Ok(StagedAttachment {
                digest: record.digest,
                encoding: record.encoding,
                stored_len: record.stored_len,
                identity_len: record.identity_len,
                place: StagedPlace::Memory(held.into()),
            });
        }
        let (length, md5) = (Some(record.stored_len), Some(record.digest));
        let options = StageOptions { encoding: record.encoding, length, md5 };
        let staged = self.stage(attachment, options, |piece| {
            piece.resize(PIECE_BYTES, 0);
            let length =
                bytes.read(piece).map_err(|_| Broken::Store(Error::Damaged("attachment")))?;
            piece.truncate(length);
            Ok(())
        });
        staged.map_err(|broken| match broken {
            Broken::Store(error) => error,
            Broken::Stream(_) => Error::Damaged("attachment"),
        })
    }

    /// Puts an attachment into the store: `next` fills a buffer, and leaves it empty at the end.
    fn stage(
        &self,
        attachment: &IncomingAttachment,
        options: StageOptions,
        mut next: impl FnMut(&mut Vec<u8>) -> std::result::Result<(), Broken>,
    ) -> std::result::Result<StagedAttachment, Broken> {
        let IncomingAttachment { name, content_type, .. } = attachment;
        let mut writer = self.database.stage_attachment(name, content_type, options)?;
        let mut piece = Vec::new();
        loop {
            next(&mut piece)?;
            if piece.is_empty() {
                return Ok(writer.finish()?);
            }
            writer.write(&piece)?;
        }
    }
}

/// Why an attachment is not complete.
enum Broken {
    Store(Error),
    Stream(crate::replication::error::ReplicationError),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Broken::Store(error)
    }
}

/// Attachments that arrive one behind the other, cut where each ends.
struct Pieces<'d> {
    data: &'d mut mpsc::Receiver<Result<bytes::Bytes>>,
    rest: bytes::Bytes,
}

impl Pieces<'_> {
    /// Fills `piece` with the next bytes of an attachment of which `left` bytes are still to come; with
    /// none behind its last.
    fn read(
        &mut self,
        left: &mut u64,
        id: &str,
        piece: &mut Vec<u8>,
    ) -> std::result::Result<(), Broken> {
        piece.clear();
        while *left > 0 && self.rest.is_empty() {
            self.rest = match self.data.blocking_recv() {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => return Err(Broken::Stream(error)),
                None => return Err(Broken::Stream(broke_off(id))),
            };
        }
        let length = self.rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        piece.extend_from_slice(&self.rest.split_to(length));
        *left -= length as u64;
        Ok(())
    }
}

fn has_stubs(document: &Document) -> bool {
    document.attachments.iter().any(|attachment| attachment.source == AttachmentSource::Stub)
}
