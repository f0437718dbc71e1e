//! What functions of design documents are told of a request.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use serde_json::{Map, Value, json};
use settee_engine::{Database, design::user_context, json::Value as Json};

use crate::http::{Failure, Method, Query, Request};
use crate::routes::database;

/// Parameters whose values are JSON.
const JSON_PARAMETERS: [&str; 6] =
    ["key", "startkey", "start_key", "endkey", "end_key", "descending"];

/// The request object as JSON text. `id` is that of the document the request is about; `body` what the
/// client sent.
pub(crate) fn build(
    request: &Request,
    database: &Arc<Database>,
    id: Option<&str>,
    body: &[u8],
) -> Result<Vec<u8>, Failure> {
    let settings = request.app.settings();
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    let path: Vec<_> = request.path.segments().map(String::from_utf8_lossy).collect();
    let requested = request.requested.as_deref().unwrap_or(target);
    let requested_path = requested.split(['?']).next().unwrap_or_default();
    let requested_path: Vec<_> =
        requested_path.split('/').filter(|segment| !segment.is_empty()).collect();
    let scrub = settings.scrub_json_request;
    let object = json!({
        "info": database::info_value(database)?,
        "uuid": request.app.new_uuid(),
        "id": id,
        "method": method(request),
        "requested_path": requested_path,
        "path": path,
        "raw_path": target,
        "query": parameters(&request.query),
        "headers": headers(request, scrub),
        "body": String::from_utf8_lossy(body),
        "peer": request.client_address().to_string(),
        "form": form(request, body),
        "cookie": if scrub { Map::new() } else { cookies(request) },
    });
    let mut text = object.to_string().into_bytes();
    text.pop();
    text.extend_from_slice(b",\"userCtx\":");
    text.extend(Json::from(user_context(database, request.user().caller())).to_json());
    text.extend_from_slice(b",\"secObj\":");
    text.extend_from_slice(database.security().as_bytes());
    text.push(b'}');
    Ok(text)
}

fn method(request: &Request) -> &'static str {
    match request.method {
        Method::Get if request.head_only => "HEAD",
        Method::Get => "GET",
        Method::Put => "PUT",
        Method::Post => "POST",
        Method::Delete => "DELETE",
        Method::Copy => "COPY",
        Method::Options => "OPTIONS",
        Method::Other => "OTHER",
    }
}

fn parameters(query: &Query) -> Map<String, Value> {
    query
        .iter()
        .map(|(name, value)| {
            let text = || Value::from(String::from_utf8_lossy(value));
            let value = match JSON_PARAMETERS.contains(&name) {
                true => serde_json::from_slice(value).unwrap_or_else(|_| text()),
                false => text(),
            };
            (name.to_owned(), value)
        })
        .collect()
}

/// The headers under the names that CouchDB gives them: `user-agent` is `User-Agent`.
fn headers(request: &Request, scrub: bool) -> Map<String, Value> {
    let secret = |name: &str| {
        name == AUTHORIZATION.as_str()
            || name == COOKIE.as_str()
            || name.starts_with("x-auth-couchdb-")
    };
    request
        .headers
        .iter()
        .filter(|(name, _)| !(scrub && secret(name.as_str())))
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (capitalised(name.as_str()), Value::from(value))
        })
        .collect()
}

fn capitalised(name: &str) -> String {
    let mut begins = true;
    name.chars()
        .map(|letter| {
            let written = if begins { letter.to_ascii_uppercase() } else { letter };
            begins = letter == '-';
            written
        })
        .collect()
}

fn form(request: &Request, body: &[u8]) -> Map<String, Value> {
    let declared = request.header(CONTENT_TYPE).and_then(|value| value.split(';').next());
    let is_form = declared.map(str::trim) == Some("application/x-www-form-urlencoded");
    if !is_form || !matches!(request.method, Method::Post | Method::Put) {
        return Map::new();
    }
    let fields = str::from_utf8(body).ok().and_then(|text| Query::parse(text).ok());
    let fields = fields.unwrap_or_default();
    let text = |value: &[u8]| Value::from(String::from_utf8_lossy(value));
    fields.iter().map(|(name, value)| (name.to_owned(), text(value))).collect()
}

fn cookies(request: &Request) -> Map<String, Value> {
    let header = request.header(COOKIE).unwrap_or_default();
    let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_headers_are_capitalised() {
        assert_eq!(capitalised("x-forwarded-for"), "X-Forwarded-For");
        assert_eq!(capitalised("accept"), "Accept");
    }

    #[test]
    fn keys_are_json_and_other_parameters_text() {
        let query = Query::parse("key=[1]&startkey=x&limit=5&descending=true&a=b+c").unwrap();
        let expected = json!({"key":[1],"startkey":"x","limit":"5","descending":true,"a":"b c"});
        assert_eq!(Value::from(parameters(&query)), expected);
    }
}
