//! The server itself: welcome, health, ids, and the lists of its databases.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, EXPIRES, PRAGMA};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use settee_engine::NameRange;

use super::visible::Visible;
use super::{blocking, etag};
use crate::http::stream::{self, BlockingWriter};
use crate::http::{Failure, Outcome, Query, Reply, ReplyBody, Request};

/// The version of CouchDB whose API this server speaks.
const COUCHDB_VERSION: &str = "3.5.0";

/// The abilities that CouchDB's clients look for.
const FEATURES: [&str; 3] = ["partitioned", "pluggable-storage-engines", "scheduler"];

/// GET `/`.
pub(super) fn welcome(request: &Request) -> Outcome {
    let settings = request.app.settings();
    let mut vendor = request.app.config().section("vendor");
    vendor.entry("version".to_owned()).or_insert_with(|| env!("CARGO_PKG_VERSION").to_owned());
    Ok(Reply::value(
        200,
        &json!({
            "couchdb": "Welcome",
            "version": COUCHDB_VERSION,
            "git_sha": option_env!("SETTEE_GIT_SHA").unwrap_or("unknown"),
            "uuid": settings.uuid,
            "features": FEATURES,
            "vendor": vendor,
        }),
    ))
}

/// GET `/_up`: whether a load balancer should send requests here.
pub(super) fn up(request: &Request) -> Reply {
    let (status, state) = match request.app.settings().maintenance_mode.as_deref() {
        None => return Reply::value(200, &json!({"status": "ok", "seeds": {}})),
        Some("nolb") => (404, "nolb"),
        Some(_) => (404, "maintenance_mode"),
    };
    Reply::value(status, &json!({"status": state}))
}

/// GET `/_uuids`.
pub(super) fn uuids(request: &Request) -> Outcome {
    let max = request.app.settings().max_uuids;
    let count = match request.query.text("count") {
        None => 1,
        Some(text) => text
            .parse::<usize>()
            .map_err(|_| Failure::bad_request("count must be a positive integer"))?,
    };
    if count > max {
        return Err(Failure::bad_request("count parameter too large"));
    }
    let ids: Vec<String> = (0..count).map(|_| request.app.new_uuid()).collect();
    let body = json!({ "uuids": ids }).to_string();
    let tag = etag::of(&[body.as_bytes()]);
    let reply = Reply::json(200, body)
        .with_header(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
        .with_header(PRAGMA, HeaderValue::from_static("no-cache"))
        .with_header(EXPIRES, HeaderValue::from_static("Mon, 01 Jan 1990 00:00:00 GMT"));
    Ok(reply.with_etag(&tag))
}

/// GET `/_all_dbs`.
pub(super) async fn all_dbs(request: &mut Request) -> Outcome {
    let range = name_range(&request.query)?;
    let visible = Visible::to(request);
    let names = blocking::run(move || visible.names(range)).await?;
    let mut json = serde_json::to_vec(&names)
        .map_err(|error| Failure::internal(format!("the list cannot be written: {error}")))?;
    json.push(b'\n');
    Ok(tagged(request, json.into()))
}

/// GET `/_dbs_info`. A short answer has an entity tag; a long one is sent while it is being made.
pub(super) async fn dbs_info(request: &mut Request) -> Outcome {
    let range = name_range(&request.query)?;
    let visible = Visible::to(request);
    let body = stream::produce(move |out| write_infos(&visible, range, out)).await?;
    Ok(match body {
        ReplyBody::Whole(json) => tagged(request, json),
        body => Reply::json_stream(body),
    })
}

/// Writes what each database of the range says of itself; those deleted meanwhile are left out.
fn write_infos(
    visible: &Visible,
    range: NameRange,
    out: &mut BlockingWriter,
) -> Result<(), Failure> {
    let mut before: &[u8] = b"[";
    for name in visible.names(range)? {
        let Some(info) = visible.info(&name)? else { continue };
        out.buffer().extend_from_slice(before);
        out.buffer().extend_from_slice(json!({"key": name, "info": info}).to_string().as_bytes());
        before = b",";
        if out.spill().is_err() {
            return Ok(());
        }
    }
    let end: &[u8] = if before == b"[" { b"[]\n" } else { b"]\n" };
    out.buffer().extend_from_slice(end);
    Ok(())
}

/// POST `/_dbs_info`.
pub(super) async fn dbs_info_of_keys(request: &mut Request) -> Outcome {
    request.require_json_type()?;
    let bytes = request.body.bytes().await?;
    let body: Value = serde_json::from_slice(&bytes).map_err(|_| Failure::invalid_json())?;
    if !body.is_object() {
        return Err(Failure::bad_request("Request body must be a JSON object"));
    }
    let keys = body.get("keys").ok_or_else(|| Failure::bad_request("`keys` member must exist."))?;
    let wrong = || Failure::bad_request("`keys` member must be an array.");
    let keys = keys.as_array().ok_or_else(wrong)?;
    if keys.len() > request.app.settings().max_dbs_info {
        return Err(Failure::bad_request("too_many_keys"));
    }
    let names: Vec<String> =
        keys.iter().map(|key| key.as_str().unwrap_or_default().to_owned()).collect();
    let visible = Visible::to(request);
    let infos = blocking::run(move || Ok(infos(&visible, &names))).await??;
    Ok(Reply::value(200, &json!(infos)))
}

/// What each database says of itself; `{key, error}` for those that aren't there, or not to be seen.
fn infos(visible: &Visible, names: &[String]) -> Result<Vec<Value>, Failure> {
    let entry = |name: &String| {
        Ok(match visible.info(name)? {
            Some(info) => json!({"key": name, "info": info}),
            None => json!({"key": name, "error": "not_found"}),
        })
    };
    names.iter().map(entry).collect()
}

/// Reads the parameters of a list of databases; of repeated ones the last counts.
fn name_range(query: &Query) -> Result<NameRange, Failure> {
    let mut range = NameRange::default();
    for (name, value) in query.iter() {
        match name {
            "descending" => range.descending = boolean(value)?,
            "inclusive_end" => range.inclusive_end = boolean(value)?,
            "startkey" | "start_key" => range.start = Some(key(value)?),
            "endkey" | "end_key" => range.end = Some(key(value)?),
            "key" => (range.start, range.end) = (Some(key(value)?), Some(key(value)?)),
            "limit" => range.limit = Some(count(value)?),
            "skip" => range.skip = count(value)?,
            _ => {}
        }
    }
    Ok(range)
}

fn boolean(value: &[u8]) -> Result<bool, Failure> {
    match value.to_ascii_lowercase().as_slice() {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(refused("boolean parameter", value)),
    }
}

fn count(value: &[u8]) -> Result<u64, Failure> {
    let text = str::from_utf8(value).unwrap_or_default();
    match text.parse::<i64>() {
        Ok(number) => {
            u64::try_from(number).map_err(|_| refused("value for positive integer", value))
        }
        Err(_) => Err(refused("value for integer", value)),
    }
}

fn refused(what: &str, value: &[u8]) -> Failure {
    let value = String::from_utf8_lossy(value);
    // `Invalid boolean parameter: "x"`, but `Invalid value for integer: "x"`.
    Failure::query_parse_error(format!("Invalid {what}: {value:?}"))
}

/// A key is JSON; one that isn't a string matches no name, as in CouchDB all strings sort behind
/// it or before it.
fn key(value: &[u8]) -> Result<String, Failure> {
    match serde_json::from_slice(value).map_err(|_| Failure::invalid_json())? {
        Value::String(name) => Ok(name),
        Value::Array(_) | Value::Object(_) => Ok("\u{10ffff}".to_owned()),
        _ => Ok(String::new()),
    }
}

/// JSON that changes seldom, with its newline: with an entity tag, and 304 for those who have it already.
fn tagged(request: &Request, json: Bytes) -> Reply {
    let tag = etag::of(&[json.trim_ascii_end()]);
    if request.none_match(&tag) {
        return Reply::not_modified(&tag);
    }
    Reply::json_line(200, json).with_etag(&tag)
}

/// GET `/_active_tasks`: what runs in the background.
pub(super) fn active_tasks(request: &Request) -> Reply {
    let node = request.app.node_name();
    request.app.replicator().jobs().refresh_tasks();
    let tasks = request.app.databases().tasks().list().into_iter().map(|task| {
        let mut members = task.members;
        members.insert("node".into(), json!(node));
        // Erlang's form of a process id: clients only compare it.
        members.insert("pid".into(), json!(format!("<0.{}.0>", task.number)));
        members.insert("type".into(), json!(task.kind));
        members.insert("started_on".into(), json!(task.started_on));
        members.insert("updated_on".into(), json!(task.updated_on));
        Value::Object(members)
    });
    Reply::value(200, &tasks.collect())
}

/// GET `/_membership`: a cluster of one.
pub(super) fn membership(request: &Request) -> Reply {
    let nodes = [request.app.node_name()];
    Reply::value(200, &json!({"all_nodes": nodes, "cluster_nodes": nodes}))
}

/// `/_reshard…`: one node has nothing to move.
pub(super) fn resharding_disabled() -> Failure {
    let reason = "this feature is not yet implemented";
    Failure::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", reason)
}

/// `/_search_analyze`.
pub(super) fn search_unavailable() -> Failure {
    let reason = "Search is not available";
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "service unavailable", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_refused(query: &str, reason: &str) {
        let failure = name_range(&Query::parse(query).unwrap()).unwrap_err();
        assert_eq!(failure.reason(), reason, "{query}");
    }

    #[test]
    fn ranges_of_names() {
        let query = Query::parse("start_key=%22b%22&endkey=%22a%22&descending=true&limit=2&skip=1");
        let range = name_range(&query.unwrap()).unwrap();
        assert_eq!((range.start.as_deref(), range.end.as_deref()), (Some("b"), Some("a")));
        assert!(range.descending && range.inclusive_end);
        assert_eq!((range.limit, range.skip), (Some(2), 1));
    }

    #[test]
    fn bad_parameters() {
        check_refused("limit=-1", "Invalid value for positive integer: \"-1\"");
        check_refused("limit=x", "Invalid value for integer: \"x\"");
        check_refused("skip=1.5", "Invalid value for integer: \"1.5\"");
        check_refused("descending=maybe", "Invalid boolean parameter: \"maybe\"");
        check_refused("startkey=abc", "invalid UTF-8 JSON");
    }
}
