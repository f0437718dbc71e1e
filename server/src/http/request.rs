//! A request, as handlers see it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE, HOST, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Uri};
use hyper::upgrade::OnUpgrade;

use super::connection::Peer;
use super::{Body, Failure, Method, Path, Query, percent};
use crate::app::App;
use crate::auth::{self, Identity, User, cookie};

/// One request: what was asked, by whom, and the body still to be read.
pub struct Request {
    /// What all requests share.
    pub app: Arc<App>,
    /// What is asked for.
    pub method: Method,
    /// The request target as it came.
    pub uri: Uri,
    /// The decoded path.
    pub path: Arc<Path>,
    /// The decoded query.
    pub query: Query,
    /// The headers.
    pub headers: HeaderMap,
    /// Who asks, and how that is known.
    pub identity: Identity,
    /// The body.
    pub body: Body,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Whether the other end is reached over TLS.
    pub tls: bool,
    /// What becomes of the connection if it is not to speak HTTP any longer.
    pub(crate) upgrade: Option<(OnUpgrade, Peer)>,
    /// The method as it came, whatever overrides it.
    pub verb: http::Method,
    /// Whether this is a HEAD request: answered as GET, without the body.
    pub head_only: bool,
    /// How often the path was rewritten.
    pub rewrites: u32,
    /// It was rewritten, and what it has become is still to be answered.
    pub rewritten: bool,
    /// The target as the client sent it, if it was rewritten.
    pub requested: Option<String>,
    /// The function that is to be called with the answer, if that is to be a script.
    pub(crate) callback: Option<String>,
}

impl Request {
    /// Who asks.
    pub fn user(&self) -> &User {
        &self.identity.user
    }

    /// The address the request comes from, through a proxy too.
    pub(crate) fn client_address(&self) -> IpAddr {
        auth::client_address(&self.headers, self.peer.ip(), &self.app.settings())
    }

    /// Whether a long answer is to be gathered before its beginning is sent, so that a failure decides its
    /// status.
    pub(crate) fn wants_buffered(&self) -> bool {
        self.query.is_true("buffer_response") || self.app.settings().buffer_response
    }

    /// A header's value as text; `None` when absent or not text.
    pub fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Refuses a body that isn't declared as `application/json` (parameters after `;` are
    /// allowed, a blank before it isn't; a missing header fails too).
    ///
    /// # Errors
    ///
    /// 415 `Content-Type must be application/json`.
    pub fn require_json_type(&self) -> Result<(), Failure> {
        let essence = self.header(CONTENT_TYPE).and_then(|value| value.split(';').next());
        if essence == Some("application/json") { Ok(()) } else { Err(Failure::not_json_type()) }
    }

    /// Whether the client takes an answer of this type, such as `multipart/mixed`. No `Accept`
    /// header takes everything.
    pub fn accepts(&self, wanted: &str) -> bool {
        super::accept::accepts_type(self.header(ACCEPT), wanted)
    }

    /// Whether `If-None-Match` names this entity tag (given without quotes).
    pub fn none_match(&self, etag: &str) -> bool {
        self.header(IF_NONE_MATCH).is_some_and(|list| {
            list.split(',').map(str::trim).any(|tag| {
                let tag = tag.strip_prefix("W/").unwrap_or(tag);
                tag.trim_matches('"') == etag
            })
        })
    }

    /// The revision in `If-Match`, without its quotes.
    pub fn if_match(&self) -> Option<&str> {
        self.header(IF_MATCH).map(|value| value.trim().trim_matches('"'))
    }

    /// The absolute URI of a path given by its segments, as for `Location`: the scheme and host
    /// the client used, through a proxy too.
    pub fn absolute_uri(&self, segments: &[&str]) -> String {
        let mut uri = self.base_uri();
        for segment in segments {
            uri.push('/');
            percent::encode_segment(segment, &mut uri);
        }
        uri
    }

    /// The `Set-Cookie` header for a session cookie; an empty one makes the client forget its own.
    pub(crate) fn set_cookie(&self, value: &str) -> HeaderValue {
        let header = cookie::header(value, &self.app.settings(), self.is_secure(), auth::now());
        HeaderValue::try_from(header).unwrap_or(HeaderValue::from_static(""))
    }

    /// Whether the client reached this server, or the proxy before it, over TLS.
    pub(crate) fn is_secure(&self) -> bool {
        let settings = self.app.settings();
        self.tls
            || self.header(&settings.x_forwarded_ssl) == Some("on")
            || self.header(&settings.x_forwarded_proto) == Some("https")
    }

    /// The scheme and host the client used, such as `http://127.0.0.1:5984`.
    pub fn base_uri(&self) -> String {
        let scheme = if self.is_secure() { "https" } else { "http" };
        match self.host() {
            "" => format!("{scheme}://{}", self.app.address()),
            host => format!("{scheme}://{host}"),
        }
    }

    /// The host the client used, with its port, if any; empty when it names none.
    pub(crate) fn host(&self) -> &str {
        let settings = self.app.settings();
        let host = self.header(&settings.x_forwarded_host).or_else(|| self.header(HOST));
        host.unwrap_or_default()
    }
}
