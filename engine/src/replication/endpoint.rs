//! The two ends of a replication: a database of this server by its name, or a URL.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::{
    error::RequestError,
    request::{Defaults, LocalNames},
};
use crate::{
    caller::Caller,
    json::{Object, Value},
};

/// Longest URL, in bytes.
const MAX_URL_BYTES: usize = 8 * 1024;
/// Most headers that may be added to each request.
const MAX_HEADERS: usize = 64;

/// Where revisions come from or go to. Shown without password.
#[derive(Clone, Debug, PartialEq)]
pub enum Endpoint {
    /// A database of this server, read and written directly.
    Local(LocalEndpoint),
    /// A database behind a URL.
    Remote(RemoteEndpoint),
}

/// A database of this server.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalEndpoint {
    /// Its name.
    pub name: String,
    /// In whose name it is read and written.
    pub caller: Caller,
    /// The URL it is shown by; nothing is sent there.
    pub url: String,
}

/// A database behind a URL.
#[derive(Clone, PartialEq)]
pub struct RemoteEndpoint {
    /// Its URL without credentials; ends with a slash unless it has a query.
    pub url: String,
    /// Headers to be sent with each request, by name.
    pub headers: Vec<(String, String)>,
    /// Who to be there.
    pub credentials: Option<Credentials>,
    /// What to go through.
    pub proxy: Option<Proxy>,
    /// The user as the request spelled it, which counts for the replication's id.
    pub(super) spelled_user: Option<String>,
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// A proxy: `http`, `https` or `socks5`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// Its URL without credentials.
    pub url: String,
    /// Who to be there.
    pub credentials: Option<Credentials>,
}

impl Endpoint {
    /// The URL it is shown by, without password.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Endpoint::Local(local) => &local.url,
            Endpoint::Remote(remote) => &remote.url,
        }
    }

    /// The URL of its proxy, without password.
    #[must_use]
    pub fn proxy_url(&self) -> Option<&str> {
        match self {
            Endpoint::Local(_) => None,
            Endpoint::Remote(remote) => remote.proxy.as_ref().map(|proxy| &*proxy.url),
        }
    }

    /// Reads a `source` or `target`: a URL, an object with one, or the name of a local database if
    /// those are allowed.
    ///
    /// # Errors
    /// CouchDB's for URLs that cannot be used, names that are not allowed, and nothing at all.
    pub fn parse(
        value: Option<&Value>,
        proxy: &str,
        defaults: &Defaults,
    ) -> Result<Self, RequestError> {
        match value {
            Some(Value::Object(members)) => {
                let url = members.get("url").and_then(Value::as_str);
                let url = url.ok_or(RequestError::InvalidEndpoint)?;
                match &defaults.local {
                    Some(local) if is_name(url) => local_endpoint(url, local),
                    _ => RemoteEndpoint::parse(url, members, proxy, defaults).map(Endpoint::Remote),
                }
            }
            Some(Value::String(text)) if !is_name(text) => {
                RemoteEndpoint::parse(text, &Object::new(), proxy, defaults).map(Endpoint::Remote)
            }
            Some(Value::String(name)) => match &defaults.local {
                Some(local) => local_endpoint(name, local),
                None => Err(RequestError::LocalEndpoint),
            },
            Some(Value::Null) | None => Err(RequestError::MissingEndpoint),
            Some(_) => Err(RequestError::InvalidEndpoint),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url())
    }
}

fn is_name(text: &str) -> bool {
    !text.starts_with("http://") && !text.starts_with("https://")
}

fn local_endpoint(name: &str, local: &LocalNames) -> Result<Endpoint, RequestError> {
    let name = percent_decode_str(name).decode_utf8().map_err(|_| RequestError::InvalidEndpoint)?;
    let shown = name.replace('/', "%2F").replace('+', "%2B");
    Ok(Endpoint::Local(LocalEndpoint {
        url: format!("{}/{shown}/", local.url.trim_end_matches('/')),
        name: name.into_owned(),
        caller: local.caller.clone(),
    }))
}

impl RemoteEndpoint {
    fn parse(
        url: &str,
        members: &Object,
        proxy: &str,
        defaults: &Defaults,
    ) -> Result<Self, RequestError> {
        let parts = split_url(url, &defaults.endpoint_protocols);
        let parts = parts.ok_or(RequestError::InvalidEndpoint)?;
        let mut url = parts.without_credentials();
        if !url.contains('?') && !url.ends_with('/') {
            url.push('/');
        }
        let (headers, from_header) = parse_headers(members.get("headers"))?;
        let given = members.get("auth").and_then(|auth| auth.get("basic")).and_then(basic);
        let spelled = given.or(parts.userinfo()).or(from_header);
        Ok(RemoteEndpoint {
            url,
            headers,
            credentials: spelled.as_ref().map(|(credentials, _)| credentials.clone()),
            proxy: Proxy::parse(proxy, defaults)?,
            spelled_user: spelled.map(|(_, user)| user),
        })
    }
}

impl fmt::Debug for RemoteEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteEndpoint").field("url", &self.url).finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Credentials {
    /// The value of a header that presents them.
    pub(super) fn basic(&self) -> String {
        let Credentials { username, password } = self;
        format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
    }
}

impl Proxy {
    /// Reads the URL of a proxy; none if it is empty.
    fn parse(url: &str, defaults: &Defaults) -> Result<Option<Self>, RequestError> {
        if url.is_empty() {
            return Ok(None);
        }
        let parts = split_url(url, &defaults.proxy_protocols).ok_or(RequestError::InvalidProxy)?;
        let credentials = parts.userinfo().map(|(credentials, _)| credentials);
        Ok(Some(Proxy { url: parts.without_credentials(), credentials }))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A URL taken apart.
struct UrlParts<'u> {
    scheme: &'u str,
    userinfo: Option<&'u str>,
    /// Host, port, path and query.
    rest: &'u str,
}

impl UrlParts<'_> {
    fn without_credentials(&self) -> String {
        format!("{}://{}", self.scheme, self.rest)
    }

    /// The credentials in the URL, and the user as spelled there.
    fn userinfo(&self) -> Option<(Credentials, String)> {
        let (user, password) = self.userinfo?.split_once(':')?;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let credentials = Credentials { username: decoded(user), password: decoded(password) };
        Some((credentials, user.to_owned()))
    }
}

fn split_url<'u>(url: &'u str, protocols: &[String]) -> Option<UrlParts<'u>> {
    let (scheme, rest) = url.split_once("://")?;
    if url.len() > MAX_URL_BYTES || !protocols.iter().any(|known| known == scheme) {
        return None;
    }
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(authority_end)?;
    let (userinfo, host) = match authority.rsplit_once('@') {
        Some((userinfo, host)) => (Some(userinfo), host),
        None => (None, authority),
    };
    let rest = rest.get(rest.len() - path.len() - host.len()..)?;
    // What a request line cannot carry is no URL; neither is what would end one.
    let uri: Uri = format!("http://{rest}").parse().ok()?;
    let usable = uri.host().is_some_and(|host| !host.is_empty()) && !path.contains('#');
    let port_is_number = uri.port_u16().is_some() || !has_port(host);
    (usable && port_is_number).then_some(UrlParts { scheme, userinfo, rest })
}

fn has_port(host: &str) -> bool {
    host.rsplit(']').next().is_some_and(|after| after.contains(':'))
}

/// Credentials of an `auth` object's `basic`.
fn basic(value: &Value) -> Option<(Credentials, String)> {
    let username = value.get("username")?.as_str()?.to_owned();
    let password = value.get("password")?.as_str()?.to_owned();
    let spelled = username.clone();
    Some((Credentials { username, password }, spelled))
}

/// Credentials of the value of an `Authorization` header. CouchDB takes the whole apart at the first
/// colon.
fn decode_basic(base64: &str) -> Option<(Credentials, String)> {
    let decoded = String::from_utf8(STANDARD.decode(base64).ok()?).ok()?;
    let (username, password) = decoded.split_once(':')?;
    let credentials = Credentials { username: username.into(), password: password.into() };
    Some((credentials, username.to_owned()))
}

type HeaderList = Vec<(String, String)>;

/// Reads extra headers. Basic credentials among them are taken out.
fn parse_headers(
    value: Option<&Value>,
) -> Result<(HeaderList, Option<(Credentials, String)>), RequestError> {
    let Some(value) = value else { return Ok((Vec::new(), None)) };
    let members = value.as_object();
    let members =
        members.ok_or_else(|| RequestError::bad("parameter `headers` must be a JSON object"))?;
    if members.len() > MAX_HEADERS {
        return Err(RequestError::bad(format!("more than {MAX_HEADERS} headers")));
    }
    let mut headers = members.iter().map(parse_header).collect::<Result<HeaderList, _>>()?;
    headers.sort();
    let Some(at) = headers.iter().position(|(name, _)| name.eq_ignore_ascii_case("authorization"))
    else {
        return Ok((headers, None));
    };
    headers.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    let at = headers
        .iter()
        .position(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        .unwrap_or(at);
    let basic = headers.get(at).and_then(|(_, value)| {
        let (scheme, rest) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("basic").then(|| decode_basic(rest))
    });
    match basic {
        // A header that says basic is taken out even if nothing can be made of it.
        Some(credentials) => {
            headers.remove(at);
            Ok((headers, credentials))
        }
        None => Ok((headers, None)),
    }
}

fn parse_header((name, value): (&str, &Value)) -> Result<(String, String), RequestError> {
    let text = value.as_str().filter(|text| HeaderValue::from_str(text).is_ok());
    match (HeaderName::try_from(name), text) {
        (Ok(_), Some(text)) => Ok((name.to_owned(), text.to_owned())),
        _ => Err(RequestError::bad(format!("header `{name}` cannot be sent"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Endpoint, RequestError> {
        let value = Value::parse(json.as_bytes()).unwrap();
        Endpoint::parse(Some(&value), "", &Defaults::default())
    }

    fn remote(json: &str) -> RemoteEndpoint {
        match parse(json).unwrap() {
            Endpoint::Remote(remote) => remote,
            Endpoint::Local(local) => panic!("{local:?}"),
        }
    }

    #[test]
    fn credentials_are_taken_from_where_they_are() {
        let user = |json| remote(json).credentials.map(|known| (known.username, known.password));
        let both = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(user(r#""http://h/db""#), None);
        assert_eq!(user(r#""http://u:p%40@h/db""#), both("u", "p@"));
        let header = r#"{"url":"http://h/db","headers":{"authorization":"basic dTpwOnE="}}"#;
        assert_eq!(user(header), both("u", "p:q"));
        assert!(remote(header).headers.is_empty());
        let all = r#"{"url":"http://a:b@h/db","headers":{"Authorization":"Basic dTpw","X":"y"},
                      "auth":{"basic":{"username":"c","password":"d"}}}"#;
        assert_eq!(user(all), both("c", "d"));
        assert_eq!(remote(all).headers, [("X".to_owned(), "y".to_owned())]);
        let bearer = r#"{"url":"http://h/db","headers":{"Authorization":"Bearer x"}}"#;
        assert_eq!((user(bearer), remote(bearer).headers.len()), (None, 1));
    }

    #[test]
    fn passwords_are_not_shown() {
        let endpoint = remote(r#""https://ada:secret@h:6984/db""#);
        let shown = format!(
            "{endpoint:?} {:?} {}",
            endpoint.credentials,
            Endpoint::Remote(endpoint.clone())
        );
        assert!(shown.contains("https://h:6984/db/") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn urls_that_cannot_be_used() {
        for url in [
            "http://",
            "http:///db",
            "http://h:x/db",
            "http://h/a b",
            "http://h/a\\r\\nb",
            "http://h/#x",
        ] {
            assert_eq!(parse(&format!("\"{url}\"")), Err(RequestError::InvalidEndpoint), "{url}");
        }
        assert_eq!(parse("{}"), Err(RequestError::InvalidEndpoint));
        assert_eq!(parse("5"), Err(RequestError::InvalidEndpoint));
        assert_eq!(parse("\"db\""), Err(RequestError::LocalEndpoint));
        assert_eq!(parse("null"), Err(RequestError::MissingEndpoint));
        assert!(parse(r#"{"url":"http://h/db","headers":{"X":"a\r\nb"}}"#).is_err());
        assert!(parse(r#"{"url":"http://h/db","headers":{"a b":"c"}}"#).is_err());
        assert_eq!(remote(r#""http://[::1]:5984/db?x=y""#).url, "http://[::1]:5984/db?x=y");
    }
}
