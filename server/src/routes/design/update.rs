//! `/{db}/_design/{name}/_update/{function}[/{id}]`: documents changed by a function.

use std::sync::Arc;

use http::{HeaderName, StatusCode};
use settee_engine::{Database, DesignDocument, Rev, WriteMode};

use super::{request_object, response::Response, show};
use crate::http::{Failure, Method, Outcome, Reply, Request, percent};
use crate::routes::{blocking, write};

const NEW_REV: HeaderName = HeaderName::from_static("x-couch-update-newrev");
const ID: HeaderName = HeaderName::from_static("x-couch-id");

/// Any method but GET on an update function.
pub(super) async fn answer(
    request: &mut Request,
    database: &Arc<Database>,
    design: Arc<DesignDocument>,
    rest: &[&[u8]],
) -> Outcome {
    if request.method == Method::Get {
        return Err(Failure::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "Update functions do not allow GET",
        ));
    }
    let [name, id @ ..] = rest else {
        return Err(show::invalid_path("update_error"));
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let id = (!id.is_empty()).then(|| String::from_utf8_lossy(&id.join(&b'/')).into_owned());
    let body = request.body.bytes().await?;
    let doc = id.as_deref().map(|id| show::document(&database.read()?, id)).transpose()?.flatten();
    let req = request_object::build(request, database, id.as_deref(), &body)?;
    let update = blocking::run(move || design.update(&name, doc.as_deref(), &req)).await?;
    let response = Response::read(&update.response)?;
    let Some(document) = update.document(id.as_deref(), &write::limits(request))? else {
        return response.into_reply(request, 200);
    };
    settee_engine::name::check_doc_id(&document.id)?;
    let id = document.id.clone();
    let rev = write::one(request, database, document, WriteMode::Interactive).await?;
    Ok(named(response.into_reply(request, 201)?, &id, &rev))
}

/// The answer with headers that say what was written.
fn named(reply: Reply, id: &str, rev: &Rev) -> Reply {
    let mut encoded = String::new();
    percent::encode_segment(id, &mut encoded);
    reply.with_text_header(NEW_REV, &rev.to_string()).with_text_header(ID, &encoded)
}
