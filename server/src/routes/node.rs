//! `/_node/{name}/…`: this node's configuration and state.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use serde_json::{Value, json};

use super::blocking;
use crate::app::App;
use crate::config::{ConfigError, secrets};
use crate::http::{Failure, Method, Outcome, Reply, ReplyBody, Request};
use crate::metrics::process::Usage;
use crate::metrics::{prometheus, stats};
use crate::restart;

/// The longest configuration value that is taken, in bytes.
const MAX_VALUE_BYTES: usize = 64 << 10;

/// Answers `/_node/{name}` and the segments behind it.
pub(super) async fn answer(request: &mut Request, name: &[u8], rest: &[&[u8]]) -> Outcome {
    match rest.first() {
        Some(&(b"_stats" | b"_system" | b"_prometheus")) => {
            request.user().require_metrics_reader()?
        }
        _ => request.user().require_server_admin()?,
    }
    if name != b"_local" && name != request.app.node_name().as_bytes() {
        let name = String::from_utf8_lossy(name);
        return Err(Failure::not_found(format!("no such node: {name}")));
    }
    match (rest, request.method) {
        ([], Method::Get) => Ok(Reply::value(200, &json!({"name": request.app.node_name()}))),
        ([], _)
        | (
            [b"_versions" | b"_system" | b"_prometheus"]
            | [b"_stats", ..]
            | [b"_smoosh", b"status"],
            _,
        ) if request.method != Method::Get => Err(Failure::method_not_allowed("GET")),
        ([b"_config", rest @ ..], _) => config(request, rest).await,
        ([b"_versions"], _) => Ok(versions()),
        ([b"_system"], _) => Ok(system(request)),
        ([b"_stats", path @ ..], _) => Ok(stats(request, path)),
        ([b"_prometheus"], _) => Ok(prometheus(&request.app)),
        ([b"_smoosh", b"status"], _) => Ok(smoosh(&request.app)),
        ([b"_restart"], Method::Post) if restart::IS_POSSIBLE => {
            request.app.request_restart();
            Ok(Reply::ok(200))
        }
        ([b"_restart"], Method::Post) => Err(Failure::not_built("restarting on this system is")),
        ([b"_restart"], _) => Err(Failure::method_not_allowed("POST")),
        _ => Err(Failure::not_found("missing")),
    }
}

/// What of CouchDB's `_versions` there is to say.
fn versions() -> Reply {
    Reply::value(200, &json!({"settee": {"version": env!("CARGO_PKG_VERSION")}}))
}

/// GET `_system`: what of CouchDB's there is to say; its runtime's own members are zeros, for tools that
/// read them.
fn system(request: &Request) -> Reply {
    let uptime = request.app.started().elapsed().as_secs();
    let usage = Usage::now();
    let other = usage.resident_bytes.saturating_sub(usage.code_bytes);
    Reply::value(
        200,
        &json!({
            "uptime": uptime,
            "memory": {
                "other": other, "atom": 0, "atom_used": 0, "processes": 0, "processes_used": 0,
                "binary": 0, "code": usage.code_bytes, "ets": 0,
            },
            "run_queue": 0,
            "run_queue_dirty_cpu": 0,
            "ets_table_count": 0,
            "context_switches": 0,
            "reductions": 0,
            "garbage_collection_count": 0,
            "words_reclaimed": 0,
            "io_input": 0,
            "io_output": 0,
            "os_proc_count": 0,
            "stale_proc_count": 0,
            "process_count": usage.threads,
            "process_limit": 0,
            "open_files": usage.open_files,
            "message_queues": {},
            "internal_replication_jobs": 0,
            "distribution": {},
            "distribution_events": {},
        }),
    )
}

/// GET `_stats` and below.
fn stats(request: &Request, path: &[&[u8]]) -> Reply {
    let path: Vec<String> =
        path.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    Reply::value(
        200,
        &stats::at(stats::tree(request.app.metrics(), &request.app.replicator().counts()), &path),
    )
}

/// GET `_prometheus`.
fn prometheus(app: &App) -> Reply {
    let text = prometheus::text(app.metrics(), &app.replicator().counts(), app.started().elapsed());
    let kind = HeaderValue::from_static(prometheus::CONTENT_TYPE);
    Reply::with_body(200, kind, ReplyBody::Whole(text.into()))
}

/// GET `_smoosh/status`: what each channel of the automatic compaction does and what waits in it.
fn smoosh(app: &App) -> Reply {
    let mut channels = serde_json::Map::new();
    for channel in app.databases().compaction_channels() {
        let (min, max) = channel.range.unwrap_or((0.0, 0.0));
        let status = json!({
            "active": channel.active,
            "starting": 0,
            "waiting": {"size": channel.waiting, "min": gain(min), "max": gain(max)},
        });
        channels.insert(channel.name, status);
    }
    Reply::value(200, &json!({"channels": channels}))
}

/// Gains in bytes are whole numbers.
fn gain(gain: f64) -> Value {
    match gain.fract() == 0.0 {
        true => json!(gain as u64),
        false => json!(gain),
    }
}

async fn config(request: &mut Request, rest: &[&[u8]]) -> Outcome {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let config = request.app.config();
    match (rest, request.method) {
        ([], Method::Get) => {
            let mut all = config.all();
            all.iter_mut().for_each(|(section, pairs)| mask(section, pairs));
            Ok(Reply::value(200, &json!(all)))
        }
        ([b"_reload"], Method::Post) => {
            let app = Arc::clone(&request.app);
            blocking::run(move || Ok(app.reload())).await?.map_err(failure)?;
            Ok(Reply::ok(200))
        }
        ([b"_reload"], _) => Err(Failure::method_not_allowed("POST")),
        ([section], Method::Get) => {
            let section = text(section);
            let mut pairs = config.section(&section);
            mask(&section, &mut pairs);
            Ok(Reply::value(200, &json!(pairs)))
        }
        ([] | [_], _) => Err(Failure::method_not_allowed("GET")),
        ([section, key], Method::Get) => match config.get(&text(section), &text(key)) {
            Some(value) => Ok(Reply::value(200, &json!(shown(&text(section), &text(key), value)))),
            None => Err(Failure::not_found("unknown_config_value")),
        },
        ([section, key], Method::Put) => put(request, text(section), text(key)).await,
        ([section, key], Method::Delete) => delete(request, text(section), text(key)).await,
        ([_, _], _) => Err(Failure::method_not_allowed("GET,PUT,DELETE")),
        _ => Err(Failure::not_found("missing")),
    }
}

/// What is shown of a value: nothing of a secret, not even to administrators.
fn shown(section: &str, key: &str, value: String) -> String {
    if secrets::is_secret(section, key) { secrets::MASK.to_owned() } else { value }
}

fn mask(section: &str, pairs: &mut BTreeMap<String, String>) {
    for (key, value) in pairs {
        *value = shown(section, key, std::mem::take(value));
    }
}

/// PUT: the body is a JSON string; the answer is the value before, `""` if there was none.
async fn put(request: &mut Request, section: String, key: String) -> Outcome {
    request.app.config().check_changeable(&section, &key).map_err(failure)?;
    let body = request.body.bytes().await?;
    let value: Value = serde_json::from_slice(&body).map_err(|_| Failure::invalid_json())?;
    let value = value.as_str().ok_or_else(|| Failure::bad_request("a JSON string expected"))?;
    if value.len() > MAX_VALUE_BYTES {
        return Err(Failure::bad_request("Invalid configuration value"));
    }
    let value = value.trim().to_owned();
    if value == secrets::MASK && secrets::is_secret(&section, &key) {
        // Somebody puts back what was shown, and would lose the secret.
        return Err(Failure::bad_request("a secret is not shown; give a new one or leave it"));
    }
    set(request, section, key, Some(value)).await
}

async fn delete(request: &mut Request, section: String, key: String) -> Outcome {
    request.app.config().check_changeable(&section, &key).map_err(failure)?;
    if request.app.config().get(&section, &key).is_none() {
        return Err(Failure::not_found("unknown_config_value"));
    }
    if section == "admins" && request.app.config().section("admins").len() == 1 {
        // Nobody could get in any more, and the next start would make an administrator of its own.
        return Err(Failure::bad_request(
            "the last administrator can't be removed; make another one first",
        ));
    }
    set(request, section, key, None).await
}

/// Changes an option; the answer is the value before, `""` if there was none.
async fn set(request: &Request, section: String, key: String, value: Option<String>) -> Outcome {
    let persist = request.header("x-couch-persist") != Some("false");
    let app = Arc::clone(&request.app);
    let change = move || {
        let previous = app.set_option(&section, &key, value.as_deref(), persist);
        Ok(previous.map(|previous| shown(&section, &key, previous.unwrap_or_default())))
    };
    let previous = blocking::run(change).await?.map_err(failure)?;
    Ok(Reply::value(200, &json!(previous)))
}

/// How a refused change of the configuration is answered.
pub(super) fn failure(error: ConfigError) -> Failure {
    match error {
        ConfigError::SectionReadOnly => Failure::forbidden(error.to_string()),
        ConfigError::KeyReadOnly => Failure::new(
            http::StatusCode::BAD_REQUEST,
            "modification_not_allowed",
            error.to_string(),
        ),
        ConfigError::Text(_) | ConfigError::Value { .. } => Failure::bad_request(error.to_string()),
        other => Failure::internal(other.to_string()),
    }
}
