//! `/{db}/_design/{name}/_show/{function}[/{id}]`: a document as something else.

use std::sync::Arc;

use http::HeaderValue;
use http::header::{ACCEPT, VARY};
use settee_engine::{Database, DesignDocument, Error, GetOptions, Reader, ShowOptions};

use super::{request_object, response::Response};
use crate::http::{Failure, Outcome, Reply, Request};
use crate::routes::{blocking, etag};

/// Any method on a show function.
pub(super) async fn answer(
    request: &mut Request,
    database: &Arc<Database>,
    design: Arc<DesignDocument>,
    rest: &[&[u8]],
) -> Outcome {
    let [name, id @ ..] = rest else {
        return Err(invalid_path("show_error"));
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let id = (!id.is_empty()).then(|| String::from_utf8_lossy(&id.join(&b'/')).into_owned());
    let body = request.body.bytes().await?;
    let doc = id.as_deref().map(|id| document(&database.read()?, id)).transpose()?.flatten();
    let etag = tag(request, &design, doc.as_deref());
    if request.none_match(&etag) {
        return Ok(Reply::not_modified(&etag));
    }
    let req = request_object::build(request, database, id.as_deref(), &body)?;
    let response = blocking::run(move || design.show(&name, doc.as_deref(), &req)).await?;
    let reply = Response::read(&response)?.into_reply(request, 200)?;
    Ok(reply.with_header(VARY, HeaderValue::from_static("Accept")).with_etag(&etag))
}

/// The document as functions are shown it; `None` if there is none.
pub(super) fn document(reader: &Reader, id: &str) -> Result<Option<Vec<u8>>, Failure> {
    let show = ShowOptions { conflicts: true, ..ShowOptions::default() };
    match reader.get(id, &GetOptions { show, ..GetOptions::default() }) {
        Ok(found) => {
            let mut text = Vec::new();
            found.write_json(&mut text)?;
            Ok(Some(text))
        }
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Changes with everything that the answer may depend on, as far as CouchDB knows.
fn tag(request: &Request, design: &DesignDocument, doc: Option<&[u8]>) -> String {
    let roles: Vec<&str> = request.user().caller().roles().collect();
    etag::of(&[
        design.id().as_bytes(),
        design.rev().to_string().as_bytes(),
        doc.unwrap_or_default(),
        request.header(ACCEPT).unwrap_or_default().as_bytes(),
        request.user().caller().name().unwrap_or_default().as_bytes(),
        roles.join("\n").as_bytes(),
    ])
}

/// A path that names no function.
pub(super) fn invalid_path(error: &'static str) -> Failure {
    Failure::new(http::StatusCode::NOT_FOUND, error, "Invalid path.")
}
