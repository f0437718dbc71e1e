//! `/_node/{name}/…`: this node's configuration and state.

use std::sync::Arc;

use serde_json::{Value, json};

use super::blocking;
use crate::config::ConfigError;
use crate::http::{Failure, Method, Outcome, Reply, Request};

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
        ([], _) | ([b"_versions" | b"_system"], _) if request.method != Method::Get => {
            Err(Failure::method_not_allowed("GET"))
        }
        ([b"_config", rest @ ..], _) => config(request, rest).await,
        ([b"_versions"], _) => Ok(versions()),
        ([b"_system"], _) => Ok(system(request)),
        ([b"_stats" | b"_prometheus", ..], _) => Err(Failure::not_built("metrics are")),
        ([b"_restart"], Method::Post) => Err(Failure::not_built("restarting over HTTP is")),
        ([b"_restart"], _) => Err(Failure::method_not_allowed("POST")),
        _ => Err(Failure::not_found("missing")),
    }
}

/// What of CouchDB's `_versions` there is to say.
fn versions() -> Reply {
    Reply::value(200, &json!({"settee": {"version": env!("CARGO_PKG_VERSION")}}))
}

/// What of CouchDB's `_system` there is to say.
fn system(request: &Request) -> Reply {
    let uptime = request.app.started().elapsed().as_secs();
    Reply::value(200, &json!({"uptime": uptime}))
}

async fn config(request: &mut Request, rest: &[&[u8]]) -> Outcome {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let config = request.app.config();
    match (rest, request.method) {
        ([], Method::Get) => Ok(Reply::value(200, &json!(config.all()))),
        ([b"_reload"], Method::Post) => {
            let app = Arc::clone(&request.app);
            blocking::run(move || Ok(app.reload())).await?.map_err(failure)?;
            Ok(Reply::ok(200))
        }
        ([b"_reload"], _) => Err(Failure::method_not_allowed("POST")),
        ([section], Method::Get) => Ok(Reply::value(200, &json!(config.section(&text(section))))),
        ([] | [_], _) => Err(Failure::method_not_allowed("GET")),
        ([section, key], Method::Get) => match config.get(&text(section), &text(key)) {
            Some(value) => Ok(Reply::value(200, &json!(value))),
            None => Err(Failure::not_found("unknown_config_value")),
        },
        ([section, key], Method::Put) => put(request, text(section), text(key)).await,
        ([section, key], Method::Delete) => delete(request, text(section), text(key)).await,
        ([_, _], _) => Err(Failure::method_not_allowed("GET,PUT,DELETE")),
        _ => Err(Failure::not_found("missing")),
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
    let previous = set(request, section, key, Some(value.trim().to_owned())).await?;
    Ok(Reply::value(200, &json!(previous.unwrap_or_default())))
}

async fn delete(request: &mut Request, section: String, key: String) -> Outcome {
    request.app.config().check_changeable(&section, &key).map_err(failure)?;
    if request.app.config().get(&section, &key).is_none() {
        return Err(Failure::not_found("unknown_config_value"));
    }
    let previous = set(request, section, key, None).await?;
    Ok(Reply::value(200, &json!(previous.unwrap_or_default())))
}

async fn set(
    request: &Request,
    section: String,
    key: String,
    value: Option<String>,
) -> Result<Option<String>, Failure> {
    let persist = request.header("x-couch-persist") != Some("false");
    let app = Arc::clone(&request.app);
    let change = move || Ok(app.set_option(&section, &key, value.as_deref(), persist));
    blocking::run(change).await?.map_err(failure)
}

fn failure(error: ConfigError) -> Failure {
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
