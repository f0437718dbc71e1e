//! `/{db}/_design/{name}/_rewrite/{path}`: requests answered as if they had asked for something else.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Uri};
use settee_engine::json::Value;
use settee_engine::{Database, DesignDocument};

use super::response::{Response, text};
use super::rules::{self, Target};
use super::{request_object, show};
use crate::http::{Body, Failure, Method, Outcome, Path, Query, Request, percent};
use crate::routes::{self, blocking};

/// Any method on a rewrite.
pub(super) async fn answer(
    request: &mut Request,
    database: &Arc<Database>,
    design: Arc<DesignDocument>,
    rest: &[&[u8]],
) -> Outcome {
    request.rewrites += 1;
    let settings = request.app.settings();
    let (limit, secure) = (settings.rewrite_limit, settings.secure_rewrites);
    drop(settings);
    if request.rewrites > limit {
        return Err(Failure::bad_request("Exceeded rewrite recursion limit"));
    }
    let target = match design.members().get("rewrites") {
        None => return Err(show::invalid_path("rewrite_error")),
        Some(Value::Array(list)) => {
            let path: Vec<_> = rest.iter().map(|part| String::from_utf8_lossy(part)).collect();
            let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
            let found = rules::find(list, method_name(request), &path, &request.query)?;
            let target = found.ok_or_else(|| Failure::not_found("missing"))?;
            if secure && target.path.split('/').filter(|part| *part == "..").count() > 2 {
                let reason = "too many ../.. segments";
                return Err(internal("insecure_rewrite_rule", reason));
            }
            target
        }
        Some(_) => match function(request, database, &design).await? {
            Decision::Answer(response) => return response.into_reply(request, 200),
            Decision::GoOn(target) => target,
        },
    };
    go_on(request, database.name(), design.id(), target)?;
    Box::pin(routes::answer(request)).await
}

/// What a rewrite function decides.
enum Decision {
    Answer(Response),
    GoOn(Target),
}

async fn function(
    request: &mut Request,
    database: &Arc<Database>,
    design: &Arc<DesignDocument>,
) -> Result<Decision, Failure> {
    let body = request.body.bytes().await?;
    let req = request_object::build(request, database, None, &body)?;
    // The body is still to be read by what the request becomes.
    request.body = Body::whole(body);
    let design = Arc::clone(design);
    let answer = blocking::run(move || design.rewrite(&req)).await?;
    let Some(Value::Object(answer)) = answer else { return Err(Failure::not_found("missing")) };
    if answer.get("code").is_some() {
        let mut response = settee_engine::json::Object::new();
        for name in ["code", "headers", "body"] {
            if let Some(value) = answer.get(name) {
                response.insert(name, value.clone());
            }
        }
        return Ok(Decision::Answer(Response::read(&Value::from(response))?));
    }
    decide(request, &answer).map(Decision::GoOn)
}

/// Takes over what the function says of method, headers and body, and gives path and query.
fn decide(request: &mut Request, answer: &settee_engine::json::Object) -> Result<Target, Failure> {
    let path = match answer.get("path") {
        None => {
            return Err(internal("rewrite_error", "Rewrite result must produce a new path."));
        }
        Some(path) => path.as_str().ok_or_else(|| internal("rewrite_error", "bad path"))?,
    };
    if let Some(method) = answer.get("method") {
        let name = method.as_str().ok_or_else(|| internal("rewrite_error", "bad method"))?;
        request.method = Method::from_name(&name.to_ascii_uppercase());
        request.head_only = name.eq_ignore_ascii_case("HEAD");
    }
    if let Some(headers) = answer.get("headers") {
        let headers =
            headers.as_object().ok_or_else(|| internal("rewrite_error", "bad headers"))?;
        for (name, value) in headers.iter() {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(&text(value));
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(internal("rewrite_error", "bad headers"));
            };
            request.headers.insert(name, value);
        }
    }
    if let Some(body) = answer.get("body") {
        let body = body.as_str().ok_or_else(|| internal("rewrite_error", "bad body"))?;
        request.body = Body::whole(Bytes::from(body.to_owned()));
    }
    let query = match answer.get("query") {
        None => pairs(&request.query),
        Some(query) => {
            let query = query.as_object().ok_or_else(|| internal("rewrite_error", "bad query"))?;
            query.iter().map(|(name, value)| (name.to_owned(), text(value))).collect()
        }
    };
    Ok(Target { path: path.to_owned(), query })
}

fn pairs(query: &Query) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    query.iter().map(|(name, value)| (name.to_owned(), text(value))).collect()
}

/// Makes the request one for the target.
fn go_on(
    request: &mut Request,
    database: &str,
    design: &str,
    target: Target,
) -> Result<(), Failure> {
    let (path, own_query) = target.path.split_once('?').unwrap_or((&target.path, ""));
    let mut segments: Vec<&str> = Vec::new();
    if !path.starts_with('/') {
        segments.push(database);
        segments.extend(design.split('/'));
    }
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(segments.pop()),
            part => segments.push(part),
        }
    }
    let mut raw = String::new();
    for segment in segments {
        raw.push('/');
        percent::encode_segment(segment, &mut raw);
    }
    if raw.is_empty() {
        raw.push('/');
    }
    let parsed = Path::parse(&raw, false)?;
    let mut query = own_query.to_owned();
    for (name, value) in &target.query {
        if !query.is_empty() {
            query.push('&');
        }
        percent::encode_segment(name, &mut query);
        query.push('=');
        percent::encode_segment(value, &mut query);
    }
    if !query.is_empty() {
        raw.push('?');
        raw.push_str(&query);
    }
    let uri: Uri = raw.parse().map_err(|_| internal("rewrite_error", "bad path"))?;
    let before = request.uri.path_and_query().map(|target| target.as_str().to_owned());
    if request.requested.is_none() {
        request.requested = before;
    }
    request.query = Query::parse(&query)?;
    request.path = Arc::new(parsed);
    request.uri = uri;
    Ok(())
}

fn method_name(request: &Request) -> &'static str {
    match request.method {
        Method::Get => "GET",
        Method::Put => "PUT",
        Method::Post => "POST",
        Method::Delete => "DELETE",
        Method::Copy => "COPY",
        Method::Options => "OPTIONS",
        Method::Other => "",
    }
}

fn internal(error: &'static str, reason: &'static str) -> Failure {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error, reason)
}
