//! One request to a side of a replication, repeated until it is answered or given up.

use std::{
    error::Error as StdError,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{
        ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION,
        PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT,
    },
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{
    Answer, AnswerBody, Clients, HttpClient, RequestBody,
    connect::{ConnectError, Connector},
    pace::Pace,
    session::Login,
};
use crate::replication::{
    endpoint::{Credentials, RemoteEndpoint},
    error::{ReplicationError, Side},
    request::Replication,
};

/// The wait before a request is tried again for the first time; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait before a request is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How often a request is sent on to another place.
const MAX_REDIRECTS: usize = 10;
/// How much of an answer is quoted in an error, in bytes.
const QUOTED_BYTES: usize = 300;

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Text as it may stand in a path segment or a query.
pub(in crate::replication) fn encode(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A document's id in a path: the slash behind `_design` and `_local` stays.
pub(in crate::replication) fn encode_id(id: &str) -> String {
    for prefix in ["_design/", "_local/"] {
        if let Some(rest) = id.strip_prefix(prefix) {
            return format!("{prefix}{}", encode(rest));
        }
    }
    encode(id)
}

/// What a request carries.
pub(in crate::replication) enum Payload {
    /// Nothing.
    None,
    /// JSON.
    Json(Bytes),
}

/// A body that is made while it is sent, and so cannot be sent twice.
pub(in crate::replication) struct StreamedBody {
    pub(in crate::replication) content_type: String,
    /// In bytes.
    pub(in crate::replication) length: u64,
    pub(in crate::replication) body: RequestBody,
    /// When a piece of it was last taken.
    pub(in crate::replication) taken: Arc<Mutex<Instant>>,
}

/// A request to a database.
pub(in crate::replication) struct Call {
    pub(in crate::replication) method: Method,
    /// Below the database, encoded.
    pub(in crate::replication) path: String,
    /// Without question mark, encoded.
    pub(in crate::replication) query: String,
    pub(in crate::replication) payload: Payload,
    pub(in crate::replication) accept: &'static str,
    /// Whether the answer may be compressed.
    pub(in crate::replication) gzip: bool,
    /// Tries again.
    pub(in crate::replication) retry: bool,
    /// Says that the answer need not wait for a sync (servers that have such a thing).
    pub(in crate::replication) delay_commit: bool,
}

impl Call {
    pub(in crate::replication) fn new(method: Method, path: impl Into<String>) -> Self {
        Call {
            method,
            path: path.into(),
            query: String::new(),
            payload: Payload::None,
            accept: "application/json",
            gzip: true,
            retry: true,
            delay_commit: false,
        }
    }

    pub(in crate::replication) fn get(path: impl Into<String>) -> Self {
        Call::new(Method::GET, path)
    }

    pub(in crate::replication) fn post(path: impl Into<String>, json: Vec<u8>) -> Self {
        let mut call = Call::new(Method::POST, path);
        call.payload = Payload::Json(json.into());
        call
    }

    /// Adds a parameter.
    pub(in crate::replication) fn param(mut self, name: &str, value: &str) -> Self {
        if !self.query.is_empty() {
            self.query.push('&');
        }
        self.query.push_str(&encode(name));
        self.query.push('=');
        self.query.push_str(&encode(value));
        self
    }
}

/// A database behind a URL, as one replication talks to it.
pub(in crate::replication) struct Remote {
    pub(in crate::replication) side: Side,
    clients: Arc<Clients>,
    client: HttpClient,
    connector: Connector,
    /// With a slash at its end, without query.
    base: String,
    /// What the URL itself has behind a question mark.
    base_query: String,
    /// Scheme and authority.
    origin: String,
    headers: HeaderMap,
    credentials: Option<Credentials>,
    login: Mutex<Login>,
    permits: Semaphore,
    pace: Arc<Pace>,
    timeout: Duration,
    retries: u32,
}

/// Why one attempt failed.
enum Attempt {
    /// It may go better the next time.
    Again(ReplicationError),
    /// It will not.
    Never(ReplicationError),
}

/// The attempts that are left for a call, and the wait before the next.
struct Retry {
    left: u32,
    wait: Duration,
}

impl Retry {
    /// Waits if there is sense in another attempt; otherwise the failure is the answer.
    async fn after(&mut self, failed: Attempt) -> Result<(), ReplicationError> {
        match failed {
            Attempt::Again(_) if self.left > 0 => {
                self.left -= 1;
                sleep(self.wait).await;
                self.wait = (self.wait * 2).min(LONGEST_WAIT);
                Ok(())
            }
            Attempt::Again(error) | Attempt::Never(error) => Err(error),
        }
    }
}

impl Remote {
    fn retry(&self, call: &Call) -> Retry {
        Retry { left: if call.retry { self.retries } else { 0 }, wait: FIRST_WAIT }
    }

    pub(in crate::replication) fn new(
        side: Side,
        endpoint: &RemoteEndpoint,
        replication: &Replication,
        clients: &Arc<Clients>,
    ) -> Result<Self, ReplicationError> {
        let (client, connector) =
            clients.client(endpoint.proxy.as_ref()).map_err(ReplicationError::Internal)?;
        let (base, base_query) = endpoint.url.split_once('?').unwrap_or((&endpoint.url, ""));
        let mut base = base.to_owned();
        if !base.ends_with('/') {
            base.push('/');
        }
        let origin = origin_of(&base);
        Ok(Remote {
            side,
            client,
            connector,
            base_query: base_query.to_owned(),
            headers: own_headers(endpoint, &clients.settings.user_agent)?,
            credentials: endpoint.credentials.clone(),
            login: Mutex::new(Login::default()),
            permits: Semaphore::new(replication.connections),
            pace: clients.pace(&origin),
            timeout: replication.connection_timeout,
            retries: replication.retries,
            clients: Arc::clone(clients),
            origin,
            base,
        })
    }

    /// The database's URL, to be shown.
    pub(in crate::replication) fn url(&self) -> &str {
        &self.base
    }

    /// How long nothing may come of an answer.
    pub(in crate::replication) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether both ends are on one machine, where compression gains nothing.
    pub(in crate::replication) fn is_near(&self) -> bool {
        let host = self.origin.split_once("://").map_or("", |(_, host)| host);
        ["127.", "localhost", "[::1]"].iter().any(|near| host.starts_with(near))
    }

    /// Sends a request and reads the whole answer, of `limit` bytes at the most.
    ///
    /// # Errors
    /// When it was tried often enough, or there is no sense in it. An answer with a status is none of
    /// them, except those that say that the server is not well.
    pub(in crate::replication) async fn call(
        &self,
        call: &Call,
        limit: usize,
    ) -> Result<(StatusCode, Bytes), ReplicationError> {
        let mut retry = self.retry(call);
        loop {
            let attempt = match self.attempt(call).await {
                Ok(answer) => {
                    let status = answer.status;
                    answer.bytes(limit).await.map(|bytes| (status, bytes)).map_err(Attempt::Again)
                }
                Err(attempt) => Err(attempt),
            };
            match attempt {
                Ok(answered) => return Ok(answered),
                // What is too long once is too long again.
                Err(Attempt::Again(error @ ReplicationError::BadAnswer { .. })) => {
                    return Err(error);
                }
                Err(failed) => retry.after(failed).await?,
            }
        }
    }

    /// Sends a request and returns as soon as the answer begins.
    ///
    /// # Errors
    /// As [`Remote::call`].
    pub(in crate::replication) async fn open(
        &self,
        call: &Call,
    ) -> Result<Answer<'_>, ReplicationError> {
        let mut retry = self.retry(call);
        loop {
            match self.attempt(call).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => retry.after(failed).await?,
            }
        }
    }

    /// Sends a request whose body cannot be sent twice.
    ///
    /// # Errors
    /// As [`Remote::call`].
    pub(in crate::replication) async fn send_stream(
        &self,
        call: &Call,
        body: StreamedBody,
        limit: usize,
    ) -> Result<(StatusCode, Bytes), ReplicationError> {
        let StreamedBody { content_type, length, body, taken } = body;
        // Logs in first if need be: there is no second chance.
        let uri = self.uri(call)?;
        let authorization = self.authorization().await?;
        self.keep_pace().await;
        let _permit = self.permit().await;
        let mut request = self.request(call, uri, authorization.as_ref(), body);
        let headers = request.headers_mut();
        let content_type = HeaderValue::try_from(content_type)
            .map_err(|error| ReplicationError::Internal(error.to_string()))?;
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        let url = self.shown(call);
        let sent = Instant::now();
        let mut response = pin!(self.client.request(request));
        let response = loop {
            match timeout(self.timeout, &mut response).await {
                Ok(response) => break response.map_err(|error| self.broken(&url, &error))?,
                // As long as pieces are taken, it goes on.
                Err(_) if taken.lock().elapsed() < self.timeout => {}
                Err(_) => {
                    let (side, waited) = (self.side, self.timeout);
                    return Err(ReplicationError::Timeout { side, url, waited });
                }
            }
        };
        let answer = self.answer(call, response, None);
        if answer.status == StatusCode::UNAUTHORIZED && self.relogin() {
            let problem = "the session has expired".to_owned();
            return Err(ReplicationError::Connection { side: self.side, url, problem });
        }
        let is_refused = self.slow_down(sent, &answer)?;
        let status = answer.status;
        if is_refused || status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
            return Err(self.status_error(call, answer).await);
        }
        self.pace.answered(sent, Instant::now());
        Ok((status, answer.bytes(limit).await?))
    }

    /// An error for an answer that was not to be expected.
    pub(in crate::replication) fn unexpected(
        &self,
        call: &Call,
        status: StatusCode,
        body: &[u8],
    ) -> ReplicationError {
        let quoted = body.get(..QUOTED_BYTES).unwrap_or(body);
        ReplicationError::Http {
            side: self.side,
            method: call.method.to_string(),
            url: self.shown(call),
            status: status.as_u16(),
            answer: String::from_utf8_lossy(quoted).trim().to_owned(),
        }
    }

    /// An error for an answer that makes no sense.
    pub(in crate::replication) fn senseless(&self, problem: impl Into<String>) -> ReplicationError {
        ReplicationError::BadAnswer {
            side: self.side,
            url: self.base.clone(),
            problem: problem.into(),
        }
    }

    async fn permit(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        // Never closed.
        self.permits.acquire().await.ok()
    }

    /// One attempt, redirections and a new login included.
    async fn attempt(&self, call: &Call) -> Result<Answer<'_>, Attempt> {
        let mut uri = self.uri(call).map_err(Attempt::Never)?;
        let mut redirects = 0;
        let mut logins = 0;
        loop {
            self.keep_pace().await;
            let sent = Instant::now();
            let answer = self.exchange(call, uri.clone()).await?;
            if self.slow_down(sent, &answer).map_err(Attempt::Never)? {
                continue;
            }
            match answer.status {
                StatusCode::UNAUTHORIZED if logins < 2 && self.relogin() => {
                    logins += 1;
                    continue;
                }
                status if is_redirection(status) => {
                    redirects += 1;
                    let next = self.redirected(&uri, &answer.headers, redirects);
                    uri = next.map_err(Attempt::Never)?;
                    continue;
                }
                StatusCode::REQUEST_TIMEOUT => {
                    return Err(Attempt::Again(self.status_error(call, answer).await));
                }
                status if status.is_server_error() => {
                    return Err(Attempt::Again(self.status_error(call, answer).await));
                }
                _ => {}
            }
            self.pace.answered(sent, Instant::now());
            return Ok(answer);
        }
    }

    /// Waits as long as the server wants one to.
    async fn keep_pace(&self) {
        let pause = self.pace.wait(Instant::now());
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }

    /// Whether the server has enough of requests for the moment; if so, the next ones come later.
    ///
    /// # Errors
    /// [`ReplicationError::RateLimited`] if it has had enough for too long.
    fn slow_down(&self, sent: Instant, answer: &Answer<'_>) -> Result<bool, ReplicationError> {
        let retry_after = retry_after(&answer.headers);
        let is_refused = match answer.status {
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::SERVICE_UNAVAILABLE => retry_after.is_some(),
            _ => false,
        };
        if is_refused && !self.pace.refused(sent, Instant::now(), retry_after) {
            let (side, url) = (self.side, self.origin.clone());
            return Err(ReplicationError::RateLimited { side, url });
        }
        Ok(is_refused)
    }

    async fn exchange(&self, call: &Call, uri: Uri) -> Result<Answer<'_>, Attempt> {
        let trusted = origin_of(&uri.to_string()) == self.origin;
        let authorization = match trusted {
            true => self.authorization().await.map_err(Attempt::Again)?,
            // Credentials are for the server they were given for.
            false => None,
        };
        let body = match &call.payload {
            Payload::Json(json) => {
                Full::new(json.clone()).map_err(|never| match never {}).boxed_unsync()
            }
            _ => Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync(),
        };
        let permit = self.permit().await;
        let request = self.request(call, uri, authorization.as_ref(), body);
        let url = self.shown(call);
        match timeout(self.timeout, self.client.request(request)).await {
            Err(_) => Err(Attempt::Again(ReplicationError::Timeout {
                side: self.side,
                url,
                waited: self.timeout,
            })),
            Ok(Err(error)) => Err(Attempt::Again(self.broken(&url, &error))),
            Ok(Ok(response)) => Ok(self.answer(call, response, permit)),
        }
    }

    fn answer<'r>(
        &'r self,
        call: &Call,
        response: Response<Incoming>,
        permit: Option<tokio::sync::SemaphorePermit<'r>>,
    ) -> Answer<'r> {
        let (head, body) = response.into_parts();
        Answer {
            status: head.status,
            body: AnswerBody::new(self.side, self.shown(call), self.timeout, &head.headers, body),
            headers: head.headers,
            _permit: permit,
        }
    }

    fn request(
        &self,
        call: &Call,
        uri: Uri,
        authorization: Option<&(HeaderName, HeaderValue)>,
        body: RequestBody,
    ) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = call.method.clone();
        let in_the_clear = uri.scheme_str() == Some("http");
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static(call.accept));
        headers.extend(self.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        if call.gzip && !self.is_near() {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Payload::Json(_) = call.payload {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if call.delay_commit {
            let name = HeaderName::from_static("x-couch-full-commit");
            headers.insert(name, HeaderValue::from_static("false"));
        }
        if let Some((name, value)) = authorization {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(value) = self.connector.proxy_authorization().filter(|_| in_the_clear) {
            headers.insert(PROXY_AUTHORIZATION, value.clone());
        }
        request
    }

    /// The header that says who asks.
    async fn authorization(&self) -> Result<Option<(HeaderName, HeaderValue)>, ReplicationError> {
        let Some(credentials) = &self.credentials else { return Ok(None) };
        if self.clients.settings.use_sessions && !self.login.lock().basic_only {
            let sessions = &self.clients.sessions;
            let log_in = || self.log_in(credentials);
            if let Some(cookie) = sessions.cookie(&self.origin, credentials, log_in).await? {
                self.login.lock().used_cookie = true;
                return Ok(Some((COOKIE, cookie)));
            }
        }
        let value = HeaderValue::try_from(credentials.basic());
        let mut value = value.map_err(|error| ReplicationError::Internal(error.to_string()))?;
        value.set_sensitive(true);
        Ok(Some((AUTHORIZATION, value)))
    }

    /// Asks for a session.
    async fn log_in(
        &self,
        credentials: &Credentials,
    ) -> Result<Response<Incoming>, ReplicationError> {
        let url = format!("{}/_session", self.origin);
        let uri = url.parse::<Uri>().map_err(|_| self.senseless("its URL"))?;
        let Credentials { username, password } = credentials;
        let form = format!("name={}&password={}", encode(username), encode(password));
        let body = Full::new(Bytes::from(form)).map_err(|never| match never {}).boxed_unsync();
        let call = Call::new(Method::POST, "_session");
        let mut request = self.request(&call, uri, None, body);
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form_type);
        match timeout(self.timeout, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.broken(&url, &error)),
            Err(_) => Err(ReplicationError::Timeout { side: self.side, url, waited: self.timeout }),
        }
    }

    /// What to do about a 401: whether it is worth another attempt.
    fn relogin(&self) -> bool {
        let Some(credentials) = &self.credentials else { return false };
        let mut login = self.login.lock();
        if !login.used_cookie {
            return false;
        }
        // First with a new session, then without one.
        login.used_cookie = false;
        login.basic_only = login.renewed;
        login.renewed = true;
        self.clients.sessions.forget(&self.origin, credentials);
        true
    }

    fn uri(&self, call: &Call) -> Result<Uri, ReplicationError> {
        let mut url = format!("{}{}", self.base, call.path);
        let queries = [self.base_query.as_str(), &call.query];
        for (at, query) in queries.iter().filter(|query| !query.is_empty()).enumerate() {
            url.push(if at == 0 { '?' } else { '&' });
            url.push_str(query);
        }
        url.parse().map_err(|_| self.senseless(format!("{url} is no URL")))
    }

    /// A request's URL, to be shown.
    fn shown(&self, call: &Call) -> String {
        format!("{}{}", self.base, call.path)
    }

    fn redirected(
        &self,
        from: &Uri,
        headers: &HeaderMap,
        redirects: usize,
    ) -> Result<Uri, ReplicationError> {
        if redirects > MAX_REDIRECTS {
            return Err(self.senseless(format!("more than {MAX_REDIRECTS} redirections")));
        }
        let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let location = location.ok_or_else(|| self.senseless("a redirection to nowhere"))?;
        let whole = match location {
            _ if location.starts_with("http://") || location.starts_with("https://") => {
                location.to_owned()
            }
            _ if location.starts_with('/') => format!("{}{location}", origin_of(&from.to_string())),
            _ => {
                let from = from.to_string();
                let path = from.split('?').next().unwrap_or_default();
                let folder = path.rfind('/').and_then(|slash| path.get(..=slash));
                format!("{}{location}", folder.unwrap_or_default())
            }
        };
        whole.parse().map_err(|_| self.senseless("a redirection to what is no URL"))
    }

    async fn status_error(&self, call: &Call, answer: Answer<'_>) -> ReplicationError {
        let status = answer.status;
        let body = answer.bytes(64 * 1024).await.unwrap_or_default();
        self.unexpected(call, status, &body)
    }

    fn broken(&self, url: &str, error: &hyper_util::client::legacy::Error) -> ReplicationError {
        let (side, url) = (self.side, url.to_owned());
        let mut problem = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(ConnectError::Name(_)) = inner.downcast_ref() {
                return ReplicationError::NameResolution { side, url };
            }
            problem = inner.to_string();
            cause = inner.source();
        }
        ReplicationError::Connection { side, url, problem }
    }
}

fn is_redirection(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// How long a server wants to be left alone.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Scheme and authority of a URL.
fn origin_of(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let rest = url.get(start..).unwrap_or_default();
    let end = start + rest.find(['/', '?']).unwrap_or(rest.len());
    url.get(..end).unwrap_or_default().to_owned()
}

/// The headers of every request.
fn own_headers(endpoint: &RemoteEndpoint, user_agent: &str) -> Result<HeaderMap, ReplicationError> {
    let wrong = |name: &str| ReplicationError::Internal(format!("header {name} cannot be sent"));
    let mut headers = HeaderMap::new();
    let agent = HeaderValue::try_from(user_agent).map_err(|_| wrong("User-Agent"))?;
    headers.insert(USER_AGENT, agent);
    for (name, value) in &endpoint.headers {
        let key = HeaderName::try_from(name.as_str()).map_err(|_| wrong(name))?;
        // What frames a message is not for others to say.
        if [http::header::HOST, CONTENT_LENGTH, http::header::TRANSFER_ENCODING].contains(&key) {
            continue;
        }
        headers.insert(key, HeaderValue::try_from(value.as_str()).map_err(|_| wrong(name))?);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_paths() {
        assert_eq!(encode_id("_design/a/b"), "_design/a%2Fb");
        assert_eq!(encode_id("a/b ü+?#%"), "a%2Fb%20%C3%BC%2B%3F%23%25");
        assert_eq!(encode_id("_local/x"), "_local/x");
        let call = Call::get("_changes").param("since", "1-a/b").param("x", "\r\n&");
        assert_eq!(call.query, "since=1-a%2Fb&x=%0D%0A%26");
    }

    #[test]
    fn origins() {
        assert_eq!(origin_of("http://h:1/a/b"), "http://h:1");
        assert_eq!(origin_of("https://h?x"), "https://h");
    }
}
