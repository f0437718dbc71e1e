//! `/{db}/{id}`: one document, read, written, deleted and copied.
//!
//! `options` reads the query string, `related` lays out answers that carry attachments,
//! `open_revs` answers with several revisions; `upload` takes documents whose attachments follow
//! in the same request, `form` those of HTML forms. What a write means is the engine's business.

mod form;
pub(super) mod open_revs;
mod options;
pub(super) mod related;
mod upload;

use std::sync::Arc;

use serde_json::json;
use settee_engine::document::{Body, Document};
use settee_engine::{AttachmentForm, Database, Error, GetOptions, Reader, Rev, WriteMode};

use super::{body, write};
use crate::http::stream::{self, BlockingWriter};
use crate::http::{Failure, Outcome, Reply, Request};

pub(crate) use self::form::post_form;
pub(super) use self::options::{rev, show_options};

/// What an answer usually holds beside a document's body, in bytes: its id, its revision, a newline.
const AROUND_BODY_BYTES: usize = 128;

/// GET `/{db}/{id}`.
pub(crate) async fn get(request: &mut Request, database: &Arc<Database>, id: &str) -> Outcome {
    if let Some(revs) = options::open_revs(&request.query)? {
        return open_revs::get(request, database, id, revs).await;
    }
    let mut options = options::get_options(&request.query)?;
    let wants_bodies = options.show.attachments == AttachmentForm::Inline;
    if wants_bodies && request.accepts("multipart/related") {
        options.show.attachments = AttachmentForm::Follows;
        options.show.att_encoding_info = true;
    }
    let reader = database.read_as(request.user().caller())?;
    let found = reader.get(id, &options)?;
    let etag = (!found.has_meta()).then(|| found.rev().to_string());
    if let Some(etag) = &etag
        && request.none_match(etag)
    {
        return Ok(Reply::not_modified(etag));
    }
    let following: Vec<_> = found.following().collect();
    let has_attachments = found.attachments().next().is_some();
    let reply = if has_attachments && options.show.attachments == AttachmentForm::Inline {
        drop(found);
        inline(reader, id, options).await?
    } else {
        let mut json = Vec::with_capacity(found.body().len() + AROUND_BODY_BYTES);
        found.write_json(&mut json)?;
        drop(found);
        match following.is_empty() {
            true => Reply::json(200, json),
            false => related::reply(json, following).await?,
        }
    };
    Ok(match etag {
        Some(etag) => reply.with_etag(&etag),
        None => reply,
    })
}

/// A document with its attachments in its text: reading and coding those may take long, so that is
/// done on a thread made for it.
async fn inline(reader: Reader, id: &str, options: GetOptions) -> Outcome {
    let id = id.to_owned();
    let produce = move |out: &mut BlockingWriter| {
        reader.get(&id, &options)?.write_json(out.buffer())?;
        out.buffer().push(b'\n');
        Ok(())
    };
    Ok(Reply::json_stream(stream::produce(produce).await?))
}

/// PUT `/{db}/{id}`: a document as JSON, or as `multipart/related` with its attachments.
pub(crate) async fn put(request: &mut Request, database: &Arc<Database>, id: &str) -> Outcome {
    let document = match upload::content_type(request) {
        Some(content_type) => upload::receive(request, database, id, &content_type).await?,
        None => {
            let bytes = request.body.bytes().await?;
            Document::parse(&bytes, Some(id), &write::limits(request))?
        }
    };
    store(request, database, document).await
}

/// Writes a document whose revision may also be given by the query string or `If-Match`.
async fn store(request: &mut Request, database: &Arc<Database>, mut document: Document) -> Outcome {
    let claimed = claimed_rev(request, document.rev.as_ref())?;
    document.rev = claimed;
    let mode = write::mode(request);
    if mode == WriteMode::Replicated {
        document.require_rev()?;
    }
    let (id, deleted) = (document.id.clone(), document.deleted);
    if write::is_batched(request) {
        write::later(request, database, document, mode)?;
        return Ok(Reply::value(202, &json!({"ok": true, "id": id})));
    }
    let rev = write::one(request, database, document, mode).await?;
    let status = if deleted { 200 } else { 201 };
    Ok(written(request, database, status, &id, &rev))
}

/// The answer to a write of one document.
fn written(request: &Request, database: &Database, status: u16, id: &str, rev: &Rev) -> Reply {
    let rev = rev.to_string();
    let uri = request.absolute_uri(&[database.name(), id]);
    Reply::json(status, body::written(id, &rev)).with_location(&uri).with_etag(&rev)
}

/// DELETE `/{db}/{id}`.
pub(crate) async fn delete(request: &mut Request, database: &Arc<Database>, id: &str) -> Outcome {
    // CouchDB looks the document up first: what is not there answers 404, whatever the revision.
    database.read()?.get(id, &GetOptions::default())?;
    let given = rev(&request.query)?;
    let document = tombstone(id, claimed_rev(request, given.as_ref())?);
    store(request, database, document).await
}

/// A document that deletes `id`.
pub(super) fn tombstone(id: &str, rev: Option<Rev>) -> Document {
    Document {
        id: id.to_owned(),
        rev,
        history: Vec::new(),
        deleted: true,
        body: Body::empty(),
        attachments: Vec::new(),
    }
}

/// The revision a write follows: that of the body, of `?rev=` or of `If-Match`, which must not
/// differ from one another.
pub(super) fn claimed_rev(
    request: &Request,
    in_body: Option<&Rev>,
) -> Result<Option<Rev>, Failure> {
    let in_query = rev(&request.query)?;
    if let (Some(in_body), Some(in_query)) = (in_body, &in_query)
        && in_body != in_query
    {
        return Err(Failure::bad_request(
            "Document rev from request body and query string have different values",
        ));
    }
    let in_header = request.if_match().map(|text| Rev::parse(text.as_bytes())).transpose()?;
    let explicit = in_body.cloned().or(in_query);
    match (explicit, in_header) {
        (Some(explicit), Some(in_header)) if explicit != in_header => {
            Err(Failure::bad_request("Document rev and etag have different values"))
        }
        (explicit, in_header) => Ok(explicit.or(in_header)),
    }
}

/// COPY `/{db}/{id}`: a new document with the same body and attachments, but no history.
pub(crate) async fn copy(request: &mut Request, database: &Arc<Database>, id: &str) -> Outcome {
    let (target, target_rev) = destination(request)?;
    let given = rev(&request.query)?;
    let source_rev = claimed_rev(request, given.as_ref())?;
    let reader = database.read_as(request.user().caller())?;
    let mut document = reader.copy(id, source_rev.as_ref(), &target)?;
    document.rev = target_rev;
    let rev = write::one(request, database, document, WriteMode::Interactive).await?;
    Ok(written(request, database, 201, &target, &rev))
}

/// The id and revision in `Destination: id[?rev=…]`.
fn destination(request: &Request) -> Result<(String, Option<Rev>), Failure> {
    let header = request
        .header("destination")
        .ok_or_else(|| Failure::bad_request("Destination header is mandatory for COPY."))?;
    if header.starts_with("http://") || header.starts_with("https://") {
        return Err(Failure::bad_request("Destination URL must be relative."));
    }
    let (id, query) = header.split_once('?').unwrap_or((header, ""));
    let mut decoded = Vec::with_capacity(id.len());
    crate::http::percent::decode_into(id.as_bytes(), true, &mut decoded)
        .ok_or_else(|| Failure::bad_request("invalid_url_encoding"))?;
    let id = String::from_utf8(decoded)
        .map_err(|_| Error::IllegalDocId("Document id must be valid UTF-8".into()))?;
    let query = crate::http::Query::parse(query)?;
    settee_engine::name::check_doc_id(&id)?;
    Ok((id, rev(&query)?))
}
