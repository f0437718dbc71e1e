//! The place of the web interface, and the icon.

use bytes::Bytes;
use http::HeaderValue;
use http::header::CACHE_CONTROL;

use crate::http::{Failure, Outcome, Reply, ReplyBody, Request};

/// A drawn settee.
const ICON: &[u8] = include_bytes!("settee.svg");

/// GET `/_utils` and below.
pub(super) fn get(request: &Request, rest: &[&[u8]]) -> Outcome {
    if rest.is_empty() && !request.uri.path().ends_with('/') {
        return Ok(Reply::empty(301).with_location(&format!("{}/_utils/", request.base_uri())));
    }
    Err(Failure::not_found("the web interface is not built into this version yet"))
}

/// GET `/favicon.ico`.
pub(super) fn favicon() -> Reply {
    let kind = HeaderValue::from_static("image/svg+xml");
    Reply::with_body(200, kind, ReplyBody::Whole(Bytes::from_static(ICON)))
        .with_header(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000"))
}
