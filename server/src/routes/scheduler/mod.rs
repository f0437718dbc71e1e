//! `/_scheduler/…`: what the replicator has to do, and how it stands. For server administrators.
//!
//! Beside what CouchDB has, `POST …/_retry` on a job or a document lets it be tried at once.

mod described;
mod docs;
mod jobs;

use serde_json::{Value, json};
use settee_engine::date::iso8601;

use crate::http::{Failure, Method, Outcome, Reply, Request};
use crate::replicator::Millis;

/// The last segment of the paths that let something be tried at once.
const RETRY: &[u8] = b"_retry";

/// Answers for the segments behind `/_scheduler`.
pub(super) async fn answer(request: &mut Request, rest: &[&[u8]]) -> Outcome {
    if let [kind @ (b"jobs" | b"docs"), path @ .., last] = rest
        && *last == RETRY
        && !path.is_empty()
    {
        return retry(request, kind, path);
    }
    if request.method != Method::Get {
        return Err(Failure::method_not_allowed("GET,HEAD"));
    }
    match rest {
        [b"jobs"] => jobs::list(request),
        [b"jobs", id] => jobs::one(request, id),
        [b"docs", path @ ..] => docs::answer(request, path).await,
        _ => Ok(unknown()),
    }
}

fn retry(request: &Request, kind: &[u8], path: &[&[u8]]) -> Outcome {
    if request.method != Method::Post {
        return Err(Failure::method_not_allowed("POST"));
    }
    match (kind, path) {
        (b"jobs", [id]) => jobs::retry(request, id),
        (b"docs", path) => docs::retry(request, path),
        _ => Ok(unknown()),
    }
}

/// What CouchDB says of paths it doesn't know here.
fn unknown() -> Reply {
    Reply::value(404, &json!({"error": "not found"}))
}

/// `2015-10-21T07:28:00Z`
fn time(at: Millis) -> String {
    iso8601(std::time::UNIX_EPOCH + std::time::Duration::from_millis(at))
}

/// A value of the engine's as one to build answers with.
fn to_serde(value: &settee_engine::json::Value) -> Value {
    serde_json::from_slice(&value.to_json()).unwrap_or_default()
}

/// An integer parameter that isn't negative, in CouchDB's words.
fn count(request: &Request, name: &str, default: usize) -> Result<usize, Failure> {
    let Some(text) = request.query.text(name) else { return Ok(default) };
    match text.parse::<i64>() {
        Ok(number) => usize::try_from(number).map_err(|_| {
            Failure::query_parse_error(format!("{name} not in range of [0,infinity]"))
        }),
        // More than there can be.
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(usize::MAX)
        }
        Err(_) => Err(Failure::query_parse_error(format!("{name} must be an integer"))),
    }
}
