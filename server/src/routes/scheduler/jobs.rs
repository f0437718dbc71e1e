//! `/_scheduler/jobs` and `/_scheduler/jobs/{id}`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{count, time, to_serde};
use crate::http::{Failure, Outcome, Reply, Request};
use crate::replicator::{EventKind, ScheduledJob, State, Work};

/// Jobs that are shown unless told otherwise.
const DEFAULT_LIMIT: usize = 100;

/// GET `/_scheduler/jobs`.
pub(super) fn list(request: &Request) -> Outcome {
    let limit = count(request, "limit", DEFAULT_LIMIT)?;
    let skip = count(request, "skip", 0)?;
    let node = request.app.node_name();
    let mut total = 0;
    let shown = request.app.replicator().jobs().map(|job| {
        total += 1;
        let wanted = total > skip && total - skip <= limit;
        wanted.then(|| describe(job, node))
    });
    let jobs: Vec<Value> = shown.into_iter().flatten().collect();
    let offset = skip.min(total);
    Ok(Reply::value(200, &json!({"total_rows": total, "offset": offset, "jobs": jobs})))
}

/// GET `/_scheduler/jobs/{id}`.
pub(super) fn one(request: &Request, id: &[u8]) -> Outcome {
    let node = request.app.node_name();
    let job = request.app.replicator().jobs().with(&job_id(id), |job| describe(job, node));
    job.map(|job| Reply::value(200, &job)).ok_or_else(|| Failure::not_found("missing"))
}

/// POST `/_scheduler/jobs/{id}/_retry`.
pub(super) fn retry(request: &Request, id: &[u8]) -> Outcome {
    let jobs = request.app.replicator().jobs();
    let id = job_id(id);
    let retried = jobs.retry(&id);
    jobs.with(&id, |_| Reply::value(200, &json!({"ok": true, "retried": retried})))
        .ok_or_else(|| Failure::not_found("missing"))
}

/// A `+` has become a blank where it was sent unescaped.
fn job_id(segment: &[u8]) -> String {
    String::from_utf8_lossy(segment).replace(' ', "+")
}

fn describe(job: &ScheduledJob<Arc<Work>>, node: &str) -> Value {
    let (work, replication) = (&job.work, &job.work.job.replication);
    let history: Vec<Value> = job
        .history()
        .iter()
        .map(|event| {
            let mut shown = json!({"timestamp": time(event.at), "type": event.kind.name()});
            if let EventKind::Crashed(reason) = &event.kind
                && let Some(members) = shown.as_object_mut()
            {
                members.insert("reason".to_owned(), json!(reason));
            }
            shown
        })
        .collect();
    json!({
        "id": &*work.id,
        "pid": pid(job),
        "source": replication.source.url(),
        "target": replication.target.url(),
        "database": work.database(),
        "doc_id": work.doc_id(),
        "user": work.user,
        "info": info(job),
        "history": history,
        "node": node,
        "start_time": time(job.added()),
    })
}

/// Erlang's form of a process id: clients only compare it.
fn pid(job: &ScheduledJob<Arc<Work>>) -> Value {
    job.run().map_or(Value::Null, |run| json!(format!("<0.{}.0>", run.number())))
}

/// How far it is, or what it failed with.
pub(super) fn info(job: &ScheduledJob<Arc<Work>>) -> Value {
    match job.history().crash() {
        Some(reason) if job.state() == State::Crashing => json!({"error": reason}),
        _ if job.history().has_run() => {
            let progress = job.work.control().progress().snapshot();
            to_serde(&settee_engine::json::Value::Object(progress))
        }
        _ => Value::Null,
    }
}
