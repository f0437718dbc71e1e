//! What goes wrong with a request, as the client is told.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderName, HeaderValue, StatusCode};

/// A request's failure: a status and the `error` and `reason` of CouchDB's error body.
///
/// ```
/// use settee_server::http::Failure;
///
/// let failure = Failure::not_found("missing");
/// assert_eq!(failure.status(), 404);
/// assert_eq!(failure.to_json(), "{\"error\":\"not_found\",\"reason\":\"missing\"}\n");
/// ```
#[derive(Clone, Debug)]
pub struct Failure {
    status: StatusCode,
    error: Cow<'static, str>,
    reason: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
    closes: bool,
}

impl Failure {
    /// A failure with any status, error and reason.
    pub fn new(
        status: StatusCode,
        error: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            error: error.into(),
            reason: reason.into(),
            headers: Vec::new(),
            closes: false,
        }
    }

    /// 400 `bad_request`.
    pub fn bad_request(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", reason)
    }

    /// 400 `query_parse_error`.
    pub fn query_parse_error(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "query_parse_error", reason)
    }

    /// 400 `illegal_docid`.
    pub fn illegal_docid(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "illegal_docid", reason)
    }

    /// 400 for text that should have been JSON.
    pub fn invalid_json() -> Self {
        Self::bad_request("invalid UTF-8 JSON")
    }

    /// 401 `unauthorized`.
    pub fn unauthorized(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", reason)
    }

    /// 403 `forbidden`.
    pub fn forbidden(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", reason)
    }

    /// 404 `not_found`.
    pub fn not_found(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", reason)
    }

    /// 404 `Database does not exist.`
    pub fn no_database() -> Self {
        Self::not_found("Database does not exist.")
    }

    /// 405 with the list of methods the path knows, such as `GET,HEAD`.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("Only {allow} allowed"),
        )
        .with_header(http::header::ALLOW, HeaderValue::from_static(allow))
    }

    /// 409 `Document update conflict.`
    pub fn conflict() -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Document update conflict.")
    }

    /// 413 for a body past `max_http_request_size`; the connection is closed, for what is still
    /// to come on it is not worth reading.
    pub fn too_large() -> Self {
        let mut failure = Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "the request entity is too large",
        );
        failure.closes = true;
        failure
    }

    /// 408 for a body that doesn't go on; the connection is closed.
    pub fn body_timeout() -> Self {
        let reason = "the request body did not come in time";
        let mut failure = Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", reason);
        failure.closes = true;
        failure
    }

    /// 415 `Content-Type must be application/json`.
    pub fn not_json_type() -> Self {
        Self::bad_content_type("Content-Type must be application/json")
    }

    /// 415 `bad_content_type`.
    pub fn bad_content_type(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_content_type", reason)
    }

    /// 501 for what this version doesn't do yet; `what` begins the sentence, such as
    /// `"map/reduce views are"`.
    pub fn not_built(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "not_implemented",
            format!("{what} not built into this version yet"),
        )
    }

    /// 500 `unknown_error`.
    pub fn internal(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "unknown_error", reason)
    }

    /// The same failure with one more header in its answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The `error` member.
    pub fn error(&self) -> &str {
        &self.error
    }

    /// The `reason` member.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Headers to be sent with the answer.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Whether the connection must be closed after the answer.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// The body of the answer, with its final newline.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::json!({"error": self.error, "reason": self.reason}).to_string();
        json.push('\n');
        json
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.error, self.reason)
    }
}

impl std::error::Error for Failure {}
