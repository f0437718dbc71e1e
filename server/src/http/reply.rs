//! The answer to a request.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{Failure, ReplyBody};

/// What a handler comes to.
pub type Outcome = Result<Reply, Failure>;

/// The value of `Content-Type` for JSON.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Headers that most answers carry in the end, those that hyper adds included.
const USUAL_HEADERS: usize = 8;

const MUST_REVALIDATE: HeaderValue = HeaderValue::from_static("must-revalidate");

/// An answer: status, the headers that are its own (those that every answer carries are added on
/// the way out), and the body.
///
/// ```
/// use settee_server::http::Reply;
///
/// let reply = Reply::json(201, r#"{"ok":true}"#).with_etag("1-abc");
/// assert_eq!(reply.status, 201);
/// assert_eq!(reply.headers["etag"], "\"1-abc\"");
/// ```
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: ReplyBody,
    /// Whether the body is JSON that this server has written (a stored attachment may be JSON, too).
    pub(crate) is_json: bool,
}

impl Reply {
    /// An answer without body or headers. An impossible status becomes 500.
    pub fn empty(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            headers: HeaderMap::with_capacity(USUAL_HEADERS),
            body: ReplyBody::Whole(Bytes::new()),
            is_json: false,
        }
    }

    /// A JSON text, to which the final newline of CouchDB's answers is added.
    pub fn json(status: u16, json: impl Into<Vec<u8>>) -> Self {
        let mut json = json.into();
        json.push(b'\n');
        Self::json_line(status, json)
    }

    /// A JSON text that already ends in its newline.
    pub fn json_line(status: u16, json: impl Into<Bytes>) -> Self {
        Self::of_json(status, ReplyBody::Whole(json.into()))
    }

    /// A small JSON value built in place with `json!`.
    pub fn value(status: u16, value: &serde_json::Value) -> Self {
        Self::json(status, value.to_string())
    }

    /// `{"ok":true}`.
    pub fn ok(status: u16) -> Self {
        Self::json_line(status, Bytes::from_static(b"{\"ok\":true}\n"))
    }

    /// JSON that streams; see [`super::stream`] for how bodies are made.
    pub fn json_stream(body: ReplyBody) -> Self {
        Self::of_json(200, body)
    }

    fn of_json(status: u16, body: ReplyBody) -> Self {
        let mut reply =
            Self::with_body(status, JSON, body).with_header(CACHE_CONTROL, MUST_REVALIDATE);
        reply.is_json = true;
        reply
    }

    /// An answer of any type.
    pub fn with_body(status: u16, content_type: HeaderValue, body: ReplyBody) -> Self {
        let mut reply = Self::empty(status).with_header(CONTENT_TYPE, content_type);
        reply.body = body;
        reply
    }

    /// 304 for an `If-None-Match` that matched; `etag` without its quotes.
    pub fn not_modified(etag: &str) -> Self {
        Self::empty(304).with_etag(etag)
    }

    /// Sets a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets a header from text; control characters in it drop the header, for no header can
    /// carry them.
    #[must_use]
    pub fn with_text_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Sets `ETag`, adding the quotes.
    #[must_use]
    pub fn with_etag(self, etag: &str) -> Self {
        self.with_text_header(ETAG, &format!("\"{etag}\""))
    }

    /// Sets `Location`, an absolute URI.
    #[must_use]
    pub fn with_location(self, uri: &str) -> Self {
        self.with_text_header(LOCATION, uri)
    }
}
