//! One request and its answer: the steps that every request goes through, in CouchDB's order.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::Guard;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, SERVER, SET_COOKIE, WWW_AUTHENTICATE, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::connection::Peer;
use super::record::{Exchange, Record};
use super::{
    Body, Failure, Method, Outcome, Path, Query, Reply, ReplyBody, Request, cors, jsonp, percent,
    request_id, vhost,
};
use crate::app::App;
use crate::auth::Identity;
use crate::config::Settings;
use crate::routes;

/// What clients that tell servers apart by this header want to read first.
const SERVER_VERSIONED: HeaderValue =
    HeaderValue::from_static(concat!("CouchDB/3.5.0 (Settee ", env!("CARGO_PKG_VERSION"), ")"));
const SERVER_PLAIN: HeaderValue = HeaderValue::from_static("CouchDB");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const BASIC_CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"server\"");

const REQUEST_ID: HeaderName = HeaderName::from_static("x-couch-request-id");
const BODY_TIME: HeaderName = HeaderName::from_static("x-couchdb-body-time");
const CHALLENGE_WITH: HeaderName = HeaderName::from_static("x-couchdb-www-authenticate");
const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Bytes of a body that nobody wanted which are read all the same, so that the connection can go
/// on (or a client that is still sending gets to see the answer).
const MAX_DRAINED_BYTES: u64 = 1 << 20;

/// How long those bytes may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers a request. Whatever goes wrong, a panic included, becomes an answer.
pub(super) async fn answer(
    app: Arc<App>,
    peer: Peer,
    request: hyper::Request<Incoming>,
) -> hyper::Response<Exchange> {
    let started = Instant::now();
    let running = peer.activity.begin();
    let settings = Guard::into_inner(app.settings());
    let (mut request, method) = read(app, peer, request, &settings);
    let record = Record::begin(&request, &method, started, running);
    let work = AssertUnwindSafe(run(&mut request, &settings)).catch_unwind();
    let outcome = work.await.unwrap_or_else(|_| {
        // The panic's own message has gone to standard error.
        tracing::error!(uri = %request.uri, "a request handler panicked");
        Err(Failure::internal("the request failed inside the server"))
    });
    if !outcome.as_ref().is_err_and(Failure::closes) {
        drain(&mut request).await;
    }
    let mut response = finish(outcome, &request, &settings);
    if request.head_only && method != http::Method::HEAD {
        // hyper drops the body of a HEAD request by itself, but not of a POST made into one.
        *response.body_mut() = ReplyBody::Whole(Bytes::new());
    }
    record.attach(&request, response)
}

/// The request as handlers see it, and the method it came with.
fn read(
    app: Arc<App>,
    peer: Peer,
    request: hyper::Request<Incoming>,
    settings: &Settings,
) -> (Request, http::Method) {
    let (mut parts, incoming) = request.into_parts();
    if !parts.headers.contains_key(HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        // Over HTTP/2 the host is part of the target.
        parts.headers.insert(HOST, host);
    }
    let request = Request {
        app,
        method: Method::from_name(parts.method.as_str()),
        uri: parts.uri,
        path: Arc::default(),
        query: Query::default(),
        body: Body::new(incoming, &parts.headers, settings.max_request_bytes),
        headers: parts.headers,
        identity: Identity::default(),
        peer: peer.address,
        tls: peer.tls,
        upgrade: parts.extensions.remove::<OnUpgrade>().map(|upgrade| (upgrade, peer)),
        verb: parts.method.clone(),
        head_only: parts.method == http::Method::HEAD,
        rewrites: 0,
        rewritten: false,
        requested: None,
        callback: None,
    };
    (request, parts.method)
}

/// From the request line to the handler.
async fn run(request: &mut Request, settings: &Settings) -> Outcome {
    if request.method == Method::Post {
        override_method(request);
    }
    vhost::rewrite(request, settings);
    if !settings.browser.is_valid_host(request.host()) {
        return Err(Failure::bad_request("Invalid host header"));
    }
    if request.uri.path_and_query().map_or(0, |target| target.as_str().len())
        > settings.max_uri_bytes
    {
        let reason = "the request uri is too long";
        return Err(Failure::new(StatusCode::URI_TOO_LONG, "too_long", reason));
    }
    let path = Path::parse(request.uri.path(), settings.decode_plus_to_space)?;
    request.path = Arc::new(path);
    if let Some(query) = request.uri.query() {
        request.query = Query::parse(query)?;
        request.callback = jsonp::callback(&request.query, settings)?;
    }
    if request.method == Method::Options
        && let Some(policy) = settings.cors.policy(request.host())
        && let Some(leave) = cors::preflight(&request.headers, policy)
    {
        return Ok(leave);
    }
    let accounts = request.app.accounts();
    let identity = accounts.identify(&request.headers, request.peer.ip(), settings).await?;
    request.identity = identity;
    require_valid_user(request, settings)?;
    routes::answer(request).await
}

fn override_method(request: &mut Request) {
    let Some(name) = request.header(METHOD_OVERRIDE) else { return };
    let head_only = name == "HEAD";
    if let Some(method) = Method::from_override(name) {
        request.method = method;
        request.head_only = head_only;
    }
}

fn require_valid_user(request: &Request, settings: &Settings) -> Result<(), Failure> {
    let path = request.uri.path().trim_end_matches('/');
    let open_up = settings.require_valid_user_except_for_up;
    let required = settings.require_valid_user || open_up;
    let exempt =
        (path == "/_session" && request.method == Method::Post) || (path == "/_up" && open_up);
    if required && !exempt && request.identity.user.name().is_none() {
        return Err(Failure::unauthorized("Authentication required."));
    }
    Ok(())
}

/// Reads what the handler left of the body.
async fn drain(request: &mut Request) {
    // A client that waits for leave to send its body is told by the answer that it needn't.
    if request.body.is_read() || request.headers.contains_key(EXPECT) {
        return;
    }
    let rest = request.body.drain(MAX_DRAINED_BYTES);
    // What isn't read in time closes the connection.
    drop(tokio::time::timeout(DRAIN_TIMEOUT, rest).await);
}

/// Adds what every answer carries.
fn finish(outcome: Outcome, request: &Request, settings: &Settings) -> hyper::Response<ReplyBody> {
    let closes = outcome.as_ref().is_err_and(Failure::closes);
    let reply = outcome.unwrap_or_else(|failure| refusal(&failure, request, settings));
    let reply = match &request.callback {
        Some(callback) => jsonp::wrap(reply, callback),
        None => reply,
    };
    let Reply { status, mut headers, body, .. } = reply;
    let server = if settings.server_header_versions { SERVER_VERSIONED } else { SERVER_PLAIN };
    // An answer that comes from elsewhere has its own.
    headers.entry(SERVER).or_insert(server);
    headers.insert(REQUEST_ID, request_id::of(request.headers.get(REQUEST_ID)));
    headers.insert(BODY_TIME, body_time(request));
    if closes {
        headers.insert(CONNECTION, CLOSE);
    }
    if let Some(policy) = settings.cors.policy(request.host()) {
        cors::add_headers(&request.headers, &mut headers, policy);
    }
    if let Some(frames) = settings.browser.x_frame_options(|| request.base_uri()) {
        headers.insert(X_FRAME_OPTIONS, frames);
    }
    if let Some(cookie) = &request.identity.fresh_cookie
        && !headers.contains_key(SET_COOKIE)
    {
        headers.insert(SET_COOKIE, request.set_cookie(cookie));
    }
    if request.headers.get(PREFER).is_some_and(|value| value == "return=minimal") {
        keep_only(&settings.prefer_minimal, &mut headers);
    }
    if request.head_only
        && body.is_empty()
        && status == StatusCode::OK
        && !headers.contains_key(CONTENT_LENGTH)
    {
        // hyper leaves a HEAD's length away when it is zero, not knowing whether it is meant.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let mut response = hyper::Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn body_time(request: &Request) -> HeaderValue {
    match u64::try_from(request.body.time_spent().as_millis()) {
        Ok(0) | Err(_) => HeaderValue::from_static("0"),
        Ok(millis) => HeaderValue::from(millis),
    }
}

/// The answer to a request that failed.
fn refusal(failure: &Failure, request: &Request, settings: &Settings) -> Reply {
    let mut reply = Reply::json_line(failure.status().as_u16(), failure.to_json());
    for (name, value) in failure.headers() {
        reply.headers.insert(name.clone(), value.clone());
    }
    if failure.status() == StatusCode::UNAUTHORIZED {
        match challenge(request, settings) {
            Some(challenge) => drop(reply.headers.insert(WWW_AUTHENTICATE, challenge)),
            None if wants_a_page(request, settings) => {
                return to_login(reply, failure, request, settings);
            }
            None => {}
        }
    }
    reply
}

/// Whether a person with a browser waits for the answer rather than a program: somebody who takes a page and no
/// JSON, as in CouchDB, or whose browser says that it opens a page (every browser takes whatever there is, so
/// that the first alone concerns none of them any more). Whoever is refused the page where people log in can't
/// be sent there.
fn wants_a_page(request: &Request, settings: &Settings) -> bool {
    let there = request.uri.path() == settings.authentication_redirect;
    let opens_a_page = request.header("sec-fetch-dest") == Some("document");
    !there && request.accepts("text/html") && (opens_a_page || !request.accepts("application/json"))
}

/// Sends a browser to the page where people log in, which then leads back.
fn to_login(mut reply: Reply, failure: &Failure, request: &Request, settings: &Settings) -> Reply {
    let mut uri = request.base_uri();
    uri.push_str(&settings.authentication_redirect);
    uri.push_str("?return=");
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    percent::encode_segment(target, &mut uri);
    uri.push_str("&reason=");
    percent::encode_segment(failure.reason(), &mut uri);
    reply.status = StatusCode::FOUND;
    reply.with_location(&uri)
}

/// `WWW-Authenticate` for a 401: what the client asks to be challenged with (a browser's script
/// may not want the browser's own dialogue), or what is configured.
fn challenge(request: &Request, settings: &Settings) -> Option<HeaderValue> {
    if let Some(value) = request.headers.get(CHALLENGE_WITH) {
        return Some(value.clone());
    }
    match &settings.www_authenticate {
        Some(value) => HeaderValue::try_from(value).ok(),
        None => {
            let nobody_enters =
                settings.require_valid_user || settings.require_valid_user_except_for_up;
            nobody_enters.then_some(BASIC_CHALLENGE)
        }
    }
}

/// What `Prefer: return=minimal` asks for.
fn keep_only(kept: &[HeaderName], headers: &mut HeaderMap) {
    let dropped: Vec<HeaderName> =
        headers.keys().filter(|name| !kept.contains(name)).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
}
