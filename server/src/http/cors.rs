//! What a page of another origin is told: whether it may ask, and what of the answer it may read.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, CONTENT_LANGUAGE,
    EXPIRES, LAST_MODIFIED, ORIGIN, PRAGMA,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Reply;
use crate::config::CorsPolicy;

/// Headers that are named to the page when an answer has them, in this order.
const SIMPLE_HEADERS: [HeaderName; 5] =
    [CACHE_CONTROL, CONTENT_LANGUAGE, EXPIRES, LAST_MODIFIED, PRAGMA];

/// The answer to a browser that asks for leave (an OPTIONS request) on behalf of a page; `None`
/// when the page gets none, and the request is to be answered as if nothing were asked.
pub(super) fn preflight(headers: &HeaderMap, policy: &CorsPolicy) -> Option<Reply> {
    let origin = headers.get(ORIGIN)?;
    if !policy.admits(origin.to_str().ok()?) {
        return None;
    }
    let method = headers.get(ACCESS_CONTROL_REQUEST_METHOD)?.to_str().ok()?;
    if !policy.methods.iter().any(|allowed| allowed == method) {
        return None;
    }
    let wanted = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let wanted = wanted.unwrap_or(HeaderValue::from_static(""));
    let names = wanted.to_str().ok()?.split(',').map(|name| name.trim().to_ascii_lowercase());
    if !names.filter(|name| !name.is_empty()).all(|name| policy.headers.contains(&name)) {
        return None;
    }
    let reply = Reply::empty(204)
        .with_header(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())
        .with_text_header(ACCESS_CONTROL_MAX_AGE, &policy.max_age)
        .with_text_header(ACCESS_CONTROL_ALLOW_METHODS, &policy.methods.join(", "))
        .with_header(ACCESS_CONTROL_ALLOW_HEADERS, wanted);
    Some(if policy.credentials { with_credentials(reply) } else { reply })
}

fn with_credentials(reply: Reply) -> Reply {
    reply.with_header(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"))
}

/// Adds to an answer what lets the page read it. An origin that isn't admitted gets nothing added.
pub(super) fn add_headers(request: &HeaderMap, reply: &mut HeaderMap, policy: &CorsPolicy) {
    // A granted preflight has said all there is to say.
    if reply.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        return;
    }
    let origin = request.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let Some(origin) = origin.map(str::to_ascii_lowercase) else { return };
    if !policy.admits(&origin) {
        return;
    }
    let Ok(origin) = HeaderValue::try_from(origin) else { return };
    if let Ok(exposed) = HeaderValue::try_from(exposed(reply, policy)) {
        reply.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    reply.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if policy.credentials {
        reply.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

/// The names of the headers that the page may read.
fn exposed(reply: &HeaderMap, policy: &CorsPolicy) -> String {
    let mut names = vec!["content-type"];
    names
        .extend(SIMPLE_HEADERS.iter().filter(|name| reply.contains_key(*name)).map(|n| n.as_str()));
    names.extend(policy.exposed_headers.iter().map(String::as_str));
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, CorsSettings};

    fn settings(options: &str) -> CorsSettings {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("local.ini");
        std::fs::write(&path, format!("[chttpd]\nenable_cors = true\n[cors]\n{options}")).unwrap();
        Config::load(vec![path], &[]).unwrap().settings().cors
    }

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn granted(options: &str, pairs: &[(&'static str, &str)]) -> Option<HeaderMap> {
        let settings = settings(options);
        preflight(&map(pairs), settings.policy("h").unwrap()).map(|reply| reply.headers)
    }

    #[test]
    fn leave_is_given_to_whom_it_should() {
        const OPTIONS: &str = "origins = http://a\nmethods = GET, PUT\nheaders = x-one, x-two\n";
        const ORIGIN: (&str, &str) = ("origin", "http://a");
        const PUT: (&str, &str) = ("access-control-request-method", "PUT");
        let answer = granted(OPTIONS, &[ORIGIN, PUT]).unwrap();
        assert_eq!(answer["access-control-allow-methods"], "GET, PUT");
        assert_eq!(answer["access-control-allow-headers"], "");
        let asked = ("access-control-request-headers", "X-Two, x-one");
        let answer = granted(OPTIONS, &[ORIGIN, PUT, asked]).unwrap();
        assert_eq!(answer["access-control-allow-headers"], "X-Two, x-one");

        let other = ("access-control-request-headers", "x-one, x-three");
        for refused in [
            &[ORIGIN][..],
            &[PUT],
            &[("origin", "http://A"), PUT],
            &[("origin", "http://a.b"), PUT],
            &[ORIGIN, ("access-control-request-method", "put")],
            &[ORIGIN, ("access-control-request-method", "DELETE")],
            &[ORIGIN, PUT, other],
        ] {
            assert!(granted(OPTIONS, refused).is_none(), "{refused:?}");
        }
    }

    #[test]
    fn a_star_echoes_the_origin_with_credentials_too() {
        let pairs = [("origin", "null"), ("access-control-request-method", "GET")];
        let answer = granted("origins = *\ncredentials = true\n", &pairs).unwrap();
        assert_eq!(answer["access-control-allow-origin"], "null");
        assert_eq!(answer["access-control-allow-credentials"], "true");
    }

    #[test]
    fn answers_are_readable_for_admitted_origins_only() {
        let settings = settings("origins = http://a\nexposed_headers = ETag\n");
        let policy = settings.policy("h").unwrap();
        let mut reply = map(&[("pragma", "no-cache"), ("x-own", "1")]);
        add_headers(&map(&[("origin", "HTTP://A")]), &mut reply, policy);
        assert_eq!(reply["access-control-allow-origin"], "http://a");
        assert_eq!(reply["access-control-expose-headers"], "content-type, pragma, etag");
        for stranger in [&[("origin", "http://b")][..], &[]] {
            let mut reply = HeaderMap::new();
            add_headers(&map(stranger), &mut reply, policy);
            assert!(reply.is_empty());
        }
    }
}
