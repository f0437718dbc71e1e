//! `/{db}/{id}/{attachment}`: one attachment, streamed both ways.

pub(super) mod stage;

use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, RANGE,
};
use http::{HeaderValue, StatusCode};
use settee_engine::attachment::digest;
use settee_engine::document::{
    AttachmentSource, Body, Document, Encoding, IncomingAttachment, incoming::DEFAULT_CONTENT_TYPE,
};
use settee_engine::error::Absence;
use settee_engine::{Database, Error, FoundAttachment, GetOptions, Rev, StageOptions, WriteMode};

use self::stage::Stage;
use super::document::related::{Copied, copy, new_boundary};
use super::{body, document, write};
use crate::http::accept::accepts_gzip;
use crate::http::multipart::writer::{Boundary, PartHead};
use crate::http::ranges::{self, ByteRange, Selection};
use crate::http::stream::{self, BlockingWriter};
use crate::http::{Failure, Outcome, Reply, Request};

/// GET `/{db}/{id}/{attachment}`.
pub(crate) async fn get(
    request: &mut Request,
    database: &Arc<Database>,
    id: &str,
    name: &str,
) -> Outcome {
    let rev = document::rev(&request.query)?;
    let reader = database.read_as(request.user().caller())?;
    let found = reader.attachment(id, rev.as_ref(), name)?;
    let record = found.record();
    let etag = digest::to_base64(&record.digest);
    if request.none_match(&etag) {
        return Ok(Reply::not_modified(&etag));
    }
    let compressed = record.encoding == Encoding::Gzip;
    let reply = match compressed {
        true if accepts_gzip(request.header(ACCEPT_ENCODING)) => {
            stored(found).await?.with_header(CONTENT_ENCODING, HeaderValue::from_static("gzip"))
        }
        true => decoded(found).await?,
        false => identity(found, request.header(RANGE)).await?,
    };
    let length = reply.body.len();
    let accepted_ranges = if compressed { "none" } else { "bytes" };
    let mut reply = reply
        .with_etag(&etag)
        .with_header(CACHE_CONTROL, HeaderValue::from_static("must-revalidate"))
        .with_header(ACCEPT_RANGES, HeaderValue::from_static(accepted_ranges));
    if let Some(length) = length {
        // An answer to HEAD gets its length from here.
        reply = reply.with_header(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(policy) = &request.app.settings().attachments_csp {
        reply = reply.with_text_header(CONTENT_SECURITY_POLICY, policy);
    }
    Ok(reply)
}

/// The stored type, or the neutral one if no header can carry it.
fn content_type(found: &FoundAttachment) -> HeaderValue {
    HeaderValue::from_bytes(found.record().content_type.as_bytes())
        .unwrap_or(HeaderValue::from_static(DEFAULT_CONTENT_TYPE))
}

/// The bytes as they are stored.
async fn stored(found: FoundAttachment) -> Outcome {
    let (content_type, length) = (content_type(&found), found.record().stored_len);
    let body = stream::read_off(found.stored()?).await?;
    Ok(Reply::with_body(200, content_type, body.with_len(length)))
}

/// The bytes inflated on the way.
async fn decoded(found: FoundAttachment) -> Outcome {
    let (content_type, length) = (content_type(&found), found.record().identity_len);
    let body = stream::read_off(found.identity()?).await?;
    Ok(Reply::with_body(200, content_type, body.with_len(length)))
}

/// The bytes of an attachment that is stored as it is, or some of them.
async fn identity(found: FoundAttachment, range: Option<&str>) -> Outcome {
    let length = found.record().stored_len;
    match ranges::select(range, length) {
        Ok(Selection::Whole) => stored(found).await,
        Ok(Selection::One(range)) => one_range(found, range, length).await,
        Ok(Selection::Several(ranges)) => several_ranges(found, ranges, length).await,
        Err(_) => Err(Failure::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "requested_range_not_satisfiable",
            "Requested range not satisfiable",
        )),
    }
}

async fn one_range(found: FoundAttachment, range: ByteRange, total: u64) -> Outcome {
    let content_type = content_type(&found);
    let bytes = found.stored_range(range.first..range.last + 1)?;
    let body = stream::read_off(bytes).await?.with_len(range.length());
    let reply = Reply::with_body(206, content_type, body);
    Ok(reply.with_text_header(CONTENT_RANGE, &range.content_range(total)))
}

async fn several_ranges(found: FoundAttachment, ranges: Vec<ByteRange>, total: u64) -> Outcome {
    let boundary = new_boundary()?;
    let content_type = HeaderValue::from_str(&boundary.content_type("byteranges"))
        .map_err(|_| Failure::internal("boundary"))?;
    let produce = move |out: &mut BlockingWriter| {
        out.buffer().extend_from_slice(boundary.open().as_bytes());
        for range in ranges {
            let head = PartHead::new()
                .header("Content-Type", &found.record().content_type)
                .header("Content-Range", &range.content_range(total));
            out.buffer().extend_from_slice(head.finish().as_bytes());
            let mut bytes = found.stored_range(range.first..range.last + 1)?;
            if copy(&mut bytes, out)? == Copied::ClientGone {
                return Ok(());
            }
            out.buffer().extend_from_slice(boundary.next().as_bytes());
        }
        out.buffer().extend_from_slice(Boundary::CLOSE.as_bytes());
        Ok(())
    };
    Ok(Reply::with_body(206, content_type, stream::produce(produce).await?))
}

/// PUT `/{db}/{id}/{attachment}`: streams the body into the store, then writes a revision that has it.
pub(crate) async fn put(
    request: &mut Request,
    database: &Arc<Database>,
    id: &str,
    name: &str,
) -> Outcome {
    settee_engine::name::check_attachment(name)?;
    let content_type = request.header(CONTENT_TYPE).unwrap_or(DEFAULT_CONTENT_TYPE).to_owned();
    let options = stage_options(request)?;
    let mut document = parent(request, database, id)?;
    let staged = receive(request, database, name, &content_type, options).await?;
    document.attachments.retain(|attachment| attachment.name != name);
    let attachment = IncomingAttachment {
        name: name.to_owned(),
        content_type,
        revpos: None,
        source: AttachmentSource::Staged(staged),
    };
    document.attachments.insert(0, attachment);
    let rev = write::one(request, database, document, WriteMode::Interactive).await?;
    let uri = request.absolute_uri(&[database.name(), id, name]);
    Ok(Reply::json(201, body::written(id, &rev.to_string())).with_location(&uri))
}

async fn receive(
    request: &mut Request,
    database: &Arc<Database>,
    name: &str,
    content_type: &str,
    options: StageOptions,
) -> Result<settee_engine::attachment::StagedAttachment, Failure> {
    let mut stage = Stage::new(database, name, content_type, options);
    while let Some(bytes) = request.body.chunk().await? {
        stage.put(bytes).await?;
    }
    stage.finish().await
}

/// What the headers announce of the bytes to come.
fn stage_options(request: &Request) -> Result<StageOptions, Failure> {
    let encoding = match request.header(CONTENT_ENCODING) {
        None | Some("" | "identity") => Encoding::Identity,
        Some("gzip") => Encoding::Gzip,
        Some(_) => {
            return Err(Failure::bad_content_type(
                "Only gzip and identity content-encodings are supported",
            ));
        }
    };
    let md5 = request.header("content-md5").and_then(digest::parse);
    Ok(StageOptions { encoding, length: request.body.announced_bytes(), md5 })
}

/// DELETE `/{db}/{id}/{attachment}`.
pub(crate) async fn delete(
    request: &mut Request,
    database: &Arc<Database>,
    id: &str,
    name: &str,
) -> Outcome {
    let rev = revision(request)?;
    let mut document = database.read()?.edit(id, rev.as_ref())?;
    // What is not there can't be deleted, whatever revision is named; only then is it a conflict.
    document.rev = rev;
    let before = document.attachments.len();
    document.attachments.retain(|attachment| attachment.name != name);
    if document.attachments.len() == before {
        return Err(Error::NotFound(Absence::Attachment).into());
    }
    let rev = write::one(request, database, document, WriteMode::Interactive).await?;
    Ok(Reply::json(200, body::written(id, &rev.to_string())))
}

/// The revision the write follows, as it would be sent to change nothing of it: its attachments are
/// stubs. Without a revision in the request, a document that does not exist yet.
fn parent(request: &Request, database: &Arc<Database>, id: &str) -> Result<Document, Failure> {
    match revision(request)? {
        Some(rev) => Ok(database.read()?.edit(id, Some(&rev))?),
        None => new_document(database, id),
    }
}

fn revision(request: &Request) -> Result<Option<Rev>, Failure> {
    let given = document::rev(&request.query)?;
    document::claimed_rev(request, given.as_ref())
}

fn new_document(database: &Arc<Database>, id: &str) -> Result<Document, Failure> {
    // The write finds out by itself, but a conflict is better said before a gigabyte has come.
    match database.read()?.get(id, &GetOptions::default()) {
        Ok(_) => return Err(Failure::conflict()),
        Err(Error::NotFound(_)) => {}
        Err(error) => return Err(error.into()),
    }
    settee_engine::name::check_doc_id(id)?;
    Ok(Document {
        id: id.to_owned(),
        rev: None,
        history: Vec::new(),
        deleted: false,
        body: Body::empty(),
        attachments: Vec::new(),
    })
}
