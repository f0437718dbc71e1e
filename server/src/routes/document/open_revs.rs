//! `?open_revs=…`: several revisions of one document in one answer.

use std::sync::Arc;

use http::HeaderValue;
use settee_engine::json::write_string;
use settee_engine::{AttachmentForm, Database, FoundDocument, Rev};

use super::options::Wanted;
use super::related::{Copied, Related, new_boundary};
use super::show_options;
use crate::http::multipart::writer::{Boundary, PartHead};
use crate::http::stream::{self, BlockingWriter};
use crate::http::{Failure, Outcome, Reply, Request};

/// Answers with all the revisions asked for, as JSON or as `multipart/mixed`.
pub(super) async fn get(
    request: &mut Request,
    database: &Arc<Database>,
    id: &str,
    wanted: Wanted,
) -> Outcome {
    let mut show = show_options(&request.query)?;
    let latest = request.query.is_true("latest");
    let (database, id) = (Arc::clone(database), id.to_owned());
    let caller = request.user().caller().clone();
    if !request.accepts("multipart/mixed") {
        let produce = move |out: &mut BlockingWriter| {
            let reader = database.read_as(&caller)?;
            write_json(reader.open_revs(&id, wanted.as_open_revs(), latest, &show)?, out)
        };
        return Ok(Reply::json_stream(stream::produce(produce).await?));
    }
    show.attachments = AttachmentForm::Follows;
    show.att_encoding_info = true;
    let boundary = new_boundary()?;
    let content_type = HeaderValue::from_str(&boundary.content_type("mixed"))
        .map_err(|_| Failure::internal("boundary"))?;
    let produce = move |out: &mut BlockingWriter| {
        let reader = database.read_as(&caller)?;
        let results = reader.open_revs(&id, wanted.as_open_revs(), latest, &show)?;
        write_mixed(results, &boundary, out)
    };
    Ok(Reply::with_body(200, content_type, stream::produce(produce).await?))
}

/// `[{"ok":…},{"missing":"…"}]`
fn write_json(
    results: Vec<Result<FoundDocument<'_>, Rev>>,
    out: &mut BlockingWriter,
) -> Result<(), Failure> {
    out.buffer().push(b'[');
    for (position, result) in results.into_iter().enumerate() {
        if position > 0 {
            out.buffer().push(b',');
        }
        match result {
            Ok(found) => {
                out.buffer().extend_from_slice(b"{\"ok\":");
                found.write_json(out.buffer())?;
                out.buffer().push(b'}');
            }
            Err(rev) => write_missing(&rev, out.buffer()),
        }
        if out.spill().is_err() {
            return Ok(());
        }
    }
    out.buffer().extend_from_slice(b"]\n");
    Ok(())
}

fn write_mixed(
    results: Vec<Result<FoundDocument<'_>, Rev>>,
    boundary: &Boundary,
    out: &mut BlockingWriter,
) -> Result<(), Failure> {
    out.buffer().extend_from_slice(boundary.open().as_bytes());
    for result in results {
        let copied = match result {
            Ok(found) => write_part(&found, PartHead::new(), out)?,
            Err(rev) => {
                let head = error_head(PartHead::new());
                out.buffer().extend_from_slice(head.as_bytes());
                write_missing(&rev, out.buffer());
                Copied::All
            }
        };
        out.buffer().extend_from_slice(boundary.next().as_bytes());
        if copied == Copied::ClientGone || out.spill().is_err() {
            return Ok(());
        }
    }
    out.buffer().extend_from_slice(Boundary::CLOSE.as_bytes());
    Ok(())
}

/// The head of a part that says why there is no document.
pub(in crate::routes) fn error_head(head: PartHead) -> String {
    head.header("Content-Type", "application/json; error=\"true\"").finish()
}

/// One document as a part of a multipart answer: JSON, or `multipart/related` if attachments follow.
pub(in crate::routes) fn write_part(
    found: &FoundDocument<'_>,
    head: PartHead,
    out: &mut BlockingWriter,
) -> Result<Copied, Failure> {
    let following: Vec<_> = found.following().collect();
    let mut json = Vec::new();
    found.write_json(&mut json)?;
    if following.is_empty() {
        let head = head.header("Content-Type", "application/json").finish();
        out.buffer().extend_from_slice(head.as_bytes());
        out.buffer().extend_from_slice(&json);
        return Ok(Copied::All);
    }
    let boundary = new_boundary()?;
    let head = head.header("Content-Type", &boundary.content_type("related")).finish();
    out.buffer().extend_from_slice(head.as_bytes());
    Related { json, following, boundary }.write(out)
}

fn write_missing(rev: &Rev, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"missing\":");
    write_string(&rev.to_string(), out);
    out.push(b'}');
}
