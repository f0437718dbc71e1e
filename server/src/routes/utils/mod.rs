//! The pages at `/_utils/`, and the icon. They are part of the binary and ask for nothing that isn't on this
//! server.
//!
//! The pages are public, as in CouchDB: they hold nothing. What they show comes from the API with the rights of
//! whoever has signed in. They are plain files without a build step; `app.js` says how it is put together.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue};

use super::etag;
use crate::http::{Failure, Outcome, Reply, ReplyBody, Request};

/// A drawn settee.
const ICON: &[u8] = include_bytes!("settee.svg");

/// One page for all views; the same page at the place that browsers are sent to for signing in.
const PAGE: &[u8] = include_bytes!("index.html");
const SCRIPT: &[u8] = include_bytes!("app.js");
const STYLE: &[u8] = include_bytes!("style.css");

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const SVG: HeaderValue = HeaderValue::from_static("image/svg+xml");

/// GET `/_utils` and below.
pub(super) fn get(request: &Request, rest: &[&[u8]]) -> Outcome {
    let (kind, content) = match rest {
        [] if !request.uri.path().ends_with('/') => {
            return Ok(Reply::empty(301).with_location(&format!("{}/_utils/", request.base_uri())));
        }
        [] | [b"index.html" | b"session.html"] => (HTML, PAGE),
        [b"app.js"] => (HeaderValue::from_static("text/javascript; charset=utf-8"), SCRIPT),
        [b"style.css"] => (HeaderValue::from_static("text/css; charset=utf-8"), STYLE),
        [b"settee.svg"] => (SVG, ICON),
        _ => return Err(Failure::not_found("missing")),
    };
    let tag = etag::of(&[content]);
    let reply = match request.none_match(&tag) {
        true => Reply::not_modified(&tag),
        false => Reply::with_body(200, kind, ReplyBody::Whole(Bytes::from_static(content))),
    };
    let settings = request.app.settings();
    let policy = settings.utils_csp.as_deref().unwrap_or_default();
    let reply = reply
        .with_etag(&tag)
        .with_header(CACHE_CONTROL, HeaderValue::from_static("private, must-revalidate"))
        .with_header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
        // The page's address may name databases and documents.
        .with_header(
            HeaderName::from_static("referrer-policy"),
            HeaderValue::from_static("no-referrer"),
        );
    Ok(match policy {
        "" => reply,
        policy => reply.with_text_header(CONTENT_SECURITY_POLICY, policy),
    })
}

/// GET `/favicon.ico`.
pub(super) fn favicon() -> Reply {
    Reply::with_body(200, SVG, ReplyBody::Whole(Bytes::from_static(ICON)))
        .with_header(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000"))
}
