//! PUT of a document with its attachments in one `multipart/related` request.
//!
//! The first part is the document. Each further part is the content of one attachment the document
//! says will follow: the one its `Content-Disposition` names, or else the next in order.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use settee_engine::document::{AttachmentSource, Document, IncomingAttachment};
use settee_engine::error::LengthMismatch;
use settee_engine::{Database, Error, StageOptions};

use crate::http::multipart::reader::{Event, PartHeaders, Reader};
use crate::http::{Body, Failure, MAX_GATHERED_BYTES, Request};
use crate::routes::attachment::stage::Stage;
use crate::routes::write;

/// The content type, if the request is of the kind this file receives.
pub(super) fn content_type(request: &Request) -> Option<String> {
    let content_type = request.header(CONTENT_TYPE)?;
    let is_related = content_type
        .get(.."multipart/related".len())
        .is_some_and(|start| start.eq_ignore_ascii_case("multipart/related"));
    is_related.then(|| content_type.to_owned())
}

/// Receives the document; its attachments are staged as they come.
pub(super) async fn receive(
    request: &mut Request,
    database: &Arc<Database>,
    id: &str,
    content_type: &str,
) -> Result<Document, Failure> {
    let limits = write::limits(request);
    let mut parts = Parts::new(&mut request.body, content_type)?;
    let first = parts.next_part().await?.ok_or_else(no_document)?;
    if first.get("content-type").is_some_and(|kind| !kind.starts_with("application/json")) {
        return Err(Failure::not_json_type());
    }
    let json = parts.gather().await?;
    let mut document = Document::parse(&json, Some(id), &limits)?;
    while let Some(headers) = parts.next_part().await? {
        match awaited(&mut document.attachments, &headers) {
            Some(attachment) => stage(&mut parts, database, attachment).await?,
            // More parts than the document speaks of: they belong to nobody.
            None => while parts.content().await?.is_some() {},
        }
    }
    let unmet = |attachment: &IncomingAttachment| {
        matches!(attachment.source, AttachmentSource::Follows { .. })
    };
    match document.attachments.iter().any(unmet) {
        true => Err(Error::AttachmentLength(LengthMismatch::Shorter).into()),
        false => Ok(document),
    }
}

fn no_document() -> Failure {
    Failure::bad_request("Multipart body has no document.")
}

/// The attachment a part belongs to.
fn awaited<'a>(
    attachments: &'a mut [IncomingAttachment],
    headers: &PartHeaders,
) -> Option<&'a mut IncomingAttachment> {
    let follows = |attachment: &IncomingAttachment| {
        matches!(attachment.source, AttachmentSource::Follows { .. })
    };
    let name = headers.disposition("filename");
    let named = attachments
        .iter()
        .position(|attachment| follows(attachment) && Some(&attachment.name) == name.as_ref());
    let position = named.or_else(|| attachments.iter().position(follows))?;
    attachments.get_mut(position)
}

async fn stage(
    parts: &mut Parts<'_>,
    database: &Arc<Database>,
    attachment: &mut IncomingAttachment,
) -> Result<(), Failure> {
    let options = match &attachment.source {
        AttachmentSource::Follows { length, encoding, digest, .. } => {
            StageOptions { encoding: *encoding, length: *length, md5: *digest }
        }
        _ => StageOptions::default(),
    };
    let mut stage = Stage::new(database, &attachment.name, &attachment.content_type, options);
    while let Some(bytes) = parts.content().await? {
        stage.put(bytes).await?;
    }
    attachment.source = AttachmentSource::Staged(stage.finish().await?);
    Ok(())
}

/// The parts of a body as they come from the network.
pub(super) struct Parts<'b> {
    body: &'b mut Body,
    reader: Reader,
}

impl<'b> Parts<'b> {
    pub(super) fn new(body: &'b mut Body, content_type: &str) -> Result<Self, Failure> {
        Ok(Self { body, reader: Reader::new(content_type)? })
    }

    /// The headers of the next part; the one before must have been read to its end.
    pub(super) async fn next_part(&mut self) -> Result<Option<PartHeaders>, Failure> {
        loop {
            match self.event().await? {
                Event::Part(headers) => return Ok(Some(headers)),
                Event::End => return Ok(None),
                _ => {}
            }
        }
    }

    /// The next bytes of the part's content; `None` at its end.
    pub(super) async fn content(&mut self) -> Result<Option<Bytes>, Failure> {
        match self.event().await? {
            Event::Data(bytes) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// The part's whole content.
    pub(super) async fn gather(&mut self) -> Result<Vec<u8>, Failure> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.content().await? {
            if (whole.len() + bytes.len()) as u64 > MAX_GATHERED_BYTES {
                return Err(Failure::too_large());
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }

    async fn event(&mut self) -> Result<Event, Failure> {
        loop {
            match self.reader.event()? {
                Event::NeedMore => match self.body.chunk().await? {
                    Some(bytes) => self.reader.push(&bytes),
                    None => self.reader.finish(),
                },
                event => return Ok(event),
            }
        }
    }
}
