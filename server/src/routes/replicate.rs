//! POST `/_replicate`: a replication that is asked for once, in the name of whoever asks.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;
use settee_engine::json::Value;
use settee_engine::replication::{Cancel, LocalNames, Replication, ReplicationId};

use crate::http::{Failure, Method, Outcome, Reply, Request};
use crate::replicator::{Origin, Work};

/// POST `/_replicate`.
pub(super) async fn answer(request: &mut Request) -> Outcome {
    let body = request.body.bytes().await?;
    if body.is_empty() && request.method == Method::Get {
        return Err(Failure::bad_request("Missing request body"));
    }
    if request.method != Method::Post {
        return Err(Failure::method_not_allowed("POST"));
    }
    request.require_json_type()?;
    let body = Value::parse(&body)?;
    if request.user().name().is_none() {
        return Err(Failure::unauthorized("You are not an authenticated user"));
    }
    if body.as_object().is_none() {
        return Err(Failure::bad_request("Request body must be a JSON object"));
    }
    match Cancel::parse(&body)? {
        Cancel::No => start(request, &body).await,
        Cancel::ById(id) => cancel(request, &id),
        Cancel::ByRequest => {
            let job = request.app.replicator().prepare(read(request, &body)?).await?;
            cancel(request, &job.id)
        }
    }
}

/// What the body asks for. Databases of this server may be named without a URL: they are read and written
/// with the caller's own rights.
fn read(request: &Request, body: &Value) -> Result<Replication, Failure> {
    let mut defaults = request.app.settings().replicator.defaults.clone();
    let url = format!("http://{}", request.app.address());
    defaults.local = Some(LocalNames { url, caller: request.user().caller().clone() });
    let replication = Replication::parse(body, &defaults)?;
    replication.require_string_params()?;
    Ok(replication)
}

async fn start(request: &Request, body: &Value) -> Outcome {
    let replicator = Arc::clone(request.app.replicator());
    let job = replicator.prepare(read(request, body)?).await?;
    let continuous = job.replication.continuous;
    let user = request.user().name().map(str::to_owned);
    if !replicator.jobs().has_room_for_requests() {
        let reason =
            "too many replications were asked for: cancel some, or write documents instead";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", reason));
    }
    let mut work = Work::new(job, Origin::Request, user);
    let mut outcome = work.outcome();
    if let Err(running) = replicator.jobs().add(&work) {
        // What runs already is what was asked for, if it is one's own.
        check_owner(request, &running)?;
        outcome = running.outcome();
        work = running;
    }
    let id = Arc::clone(&work.id);
    drop(work);
    if continuous {
        return Ok(Reply::value(202, &json!({"ok": true, "_local_id": &*id})));
    }
    match &*outcome.await {
        Ok(outcome) => {
            let answer = Value::Object(outcome.to_answer());
            Ok(Reply::json(200, answer.to_json()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends a replication.
fn cancel(request: &Request, id: &ReplicationId) -> Outcome {
    let replicator = request.app.replicator();
    let id = id.to_string();
    let missing = || Failure::not_found("missing");
    let work = replicator.jobs().with(&id, |job| Arc::clone(&job.work)).ok_or_else(missing)?;
    check_owner(request, &work)?;
    if let Origin::Document { database, id } = &work.origin {
        let reason = format!(
            "this replication is that of document `{id}` in `{database}`: delete the document to end it"
        );
        return Err(Failure::forbidden(reason));
    }
    if !replicator.jobs().remove(&work) {
        return Err(missing());
    }
    Ok(Reply::value(200, &json!({"ok": true, "_local_id": id})))
}

/// Others' replications are an administrator's business.
fn check_owner(request: &Request, work: &Work) -> Result<(), Failure> {
    match work.user.as_deref() == request.user().name() {
        true => Ok(()),
        false => request.user().require_server_admin(),
    }
}
