//! POST of an HTML form: attachments uploaded to a document by a browser.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HOST, REFERER};
use settee_engine::document::incoming::DEFAULT_CONTENT_TYPE;
use settee_engine::document::{AttachmentSource, Document, IncomingAttachment};
use settee_engine::{Database, Rev, StageOptions, WriteMode};

use super::claimed_rev;
use super::upload::Parts;
use crate::http::{Failure, Outcome, Reply, Request};
use crate::routes::attachment::stage::Stage;
use crate::routes::{body, write};

/// What a form brought.
#[derive(Default)]
struct Form {
    document: Option<Vec<u8>>,
    rev: Option<Vec<u8>>,
    attachments: Vec<IncomingAttachment>,
}

/// POST `/{db}/{id}` as `multipart/form-data`: `_doc` or `_rev`, and any number of `_attachments`.
pub(crate) async fn post_form(
    request: &mut Request,
    database: &Arc<Database>,
    id: &str,
) -> Outcome {
    check_referer(request)?;
    settee_engine::name::check_doc_id(id)?;
    let content_type = request.header(CONTENT_TYPE).unwrap_or_default().to_owned();
    if !content_type.starts_with("multipart/form-data") {
        return Err(Failure::bad_content_type("Content-Type must be multipart/form-data"));
    }
    let form = receive(request, database, &content_type).await?;
    let mut document = match (&form.document, &form.rev) {
        (Some(json), _) => {
            let mut document = Document::parse(json, Some(id), &write::limits(request))?;
            document.rev = claimed_rev(request, document.rev.as_ref())?;
            document
        }
        (None, Some(rev)) => existing(database, id, rev)?,
        (None, None) => {
            return Err(Failure::bad_request("The form has neither `_doc` nor `_rev`."));
        }
    };
    let replaced = |kept: &IncomingAttachment| {
        form.attachments.iter().any(|attachment| attachment.name == kept.name)
    };
    document.attachments.retain(|attachment| !replaced(attachment));
    document.attachments.splice(..0, form.attachments);
    let rev = write::one(request, database, document, WriteMode::Interactive).await?.to_string();
    Ok(Reply::json(201, body::written(id, &rev)).with_etag(&rev))
}

/// A form may be sent by pages of this server only.
fn check_referer(request: &Request) -> Result<(), Failure> {
    let referer =
        request.header(REFERER).ok_or_else(|| Failure::bad_request("Referer header required."))?;
    let host = referer.split("://").nth(1).and_then(|rest| rest.split('/').next());
    match host.is_some() && host == request.header(HOST) {
        true => Ok(()),
        false => Err(Failure::bad_request("Referer header must match host.")),
    }
}

fn existing(database: &Arc<Database>, id: &str, rev: &[u8]) -> Result<Document, Failure> {
    Ok(database.read()?.edit(id, Some(&Rev::parse(rev.trim_ascii())?))?)
}

async fn receive(
    request: &mut Request,
    database: &Arc<Database>,
    content_type: &str,
) -> Result<Form, Failure> {
    let mut form = Form::default();
    let mut parts = Parts::new(&mut request.body, content_type)?;
    while let Some(headers) = parts.next_part().await? {
        match headers.disposition("name").as_deref() {
            Some("_doc") => form.document = Some(parts.gather().await?),
            Some("_rev") => form.rev = Some(parts.gather().await?),
            Some("_attachments") => {
                let name = headers.disposition("filename").unwrap_or_default();
                let kind = headers.get("content-type").unwrap_or(DEFAULT_CONTENT_TYPE).to_owned();
                let mut stage = Stage::new(database, &name, &kind, StageOptions::default());
                while let Some(bytes) = parts.content().await? {
                    stage.put(bytes).await?;
                }
                form.attachments.push(IncomingAttachment {
                    name,
                    content_type: kind,
                    revpos: None,
                    source: AttachmentSource::Staged(stage.finish().await?),
                });
            }
            _ => while parts.content().await?.is_some() {},
        }
    }
    Ok(form)
}
