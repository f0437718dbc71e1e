//! Which headers of a request go on to the server behind, and which of its answer come back.

use http::header::{
    CONNECTION, CONTENT_LOCATION, COOKIE, EXPECT, HOST, LOCATION, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::config::Upstream;
use crate::http::Request;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Headers that concern one connection only.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Headers of an answer that hold URLs.
const URLS: [HeaderName; 4] = [
    LOCATION,
    CONTENT_LOCATION,
    HeaderName::from_static("uri"),
    HeaderName::from_static("destination"),
];

const CONNECTION_UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");

/// The entry of this server in `Via`.
pub(super) fn via(request: &Request) -> HeaderValue {
    let uuid = request.app.settings().uuid.clone().unwrap_or_default();
    let name: String = uuid.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    HeaderValue::try_from(format!("1.1 settee-{name}"))
        .unwrap_or(HeaderValue::from_static("1.1 settee"))
}

/// Whether a request has been here before.
pub(super) fn has_passed(headers: &HeaderMap, via: &HeaderValue) -> bool {
    headers.get_all(VIA).iter().any(|passed| passed == via)
}

/// The headers of a request as they go on. `Host` and credentials go along, as they did in CouchDB 1.
pub(super) fn onwards(request: &Request, via: &HeaderValue, upgrades: bool) -> HeaderMap {
    let mut headers = end_to_end(&request.headers);
    if upgrades && let Some(protocol) = request.headers.get(UPGRADE) {
        headers.insert(UPGRADE, protocol.clone());
        headers.insert(CONNECTION, CONNECTION_UPGRADE);
    }
    join_cookies(&mut headers);
    // Whoever waits for leave to send a body gets it from here.
    headers.remove(EXPECT);
    headers.append(VIA, via.clone());
    // What others than a proxy on this machine say about whom they speak for proves nothing.
    let trusted = request.peer.ip().is_loopback();
    if !trusted {
        [FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO]
            .iter()
            .for_each(|name| drop(headers.remove(name)));
    }
    let passed = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let mut chain: Vec<String> = passed.map(str::to_owned).collect();
    chain.push(request.peer.ip().to_string());
    if let Ok(chain) = HeaderValue::try_from(chain.join(", ")) {
        headers.insert(FORWARDED_FOR, chain);
    }
    if let Some(host) = request.headers.get(HOST) {
        headers.entry(FORWARDED_HOST).or_insert_with(|| host.clone());
    }
    let scheme = if request.is_secure() { "https" } else { "http" };
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static(scheme));
    headers
}

/// HTTP/2 sends each cookie in a line of its own, which HTTP/1.1 doesn't know.
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// Adds the headers of an answer to those that the client gets; URLs of the server behind become this
/// server's.
pub(super) fn back(
    request: &Request,
    upstream: &Upstream,
    answer: &HeaderMap,
    switches: bool,
    headers: &mut HeaderMap,
) {
    *headers = end_to_end(answer);
    if switches {
        headers.insert(CONNECTION, CONNECTION_UPGRADE);
        if let Some(protocol) = answer.get(UPGRADE) {
            headers.insert(UPGRADE, protocol.clone());
        }
    }
    for name in URLS {
        let Some(url) = headers.get(&name).and_then(|value| value.to_str().ok()) else { continue };
        let rewritten = rewrite(url, upstream, &request.base_uri());
        if let Some(Ok(value)) = rewritten.map(HeaderValue::try_from) {
            headers.insert(name, value);
        }
    }
}

/// A URL of the server behind, as this server's; `None` for others, which stay.
fn rewrite(url: &str, upstream: &Upstream, base: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let ours = |path: &str| format!("{base}/{}/{}", upstream.prefix, path.trim_start_matches('/'));
    match uri.authority() {
        Some(authority) if *authority == upstream.authority && uri.scheme_str() == Some("http") => {
            let target = uri.path_and_query().map_or("", |target| target.as_str());
            let beyond =
                target.strip_prefix(&*upstream.path).filter(|rest| rest.starts_with(['/', '?']));
            Some(ours(beyond.unwrap_or(target)))
        }
        None if url.starts_with('/') => {
            let beyond = url.strip_prefix(&*upstream.path).filter(|rest| rest.starts_with('/'));
            Some(ours(beyond.unwrap_or(url)))
        }
        _ => None,
    }
}

/// What concerns more than one connection.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let stays =
        |name: &HeaderName| !HOP_BY_HOP.contains(name) && !named.iter().any(|n| n == name.as_str());
    let kept = headers.iter().filter(|(name, _)| stays(name));
    let mut all = HeaderMap::with_capacity(headers.len());
    for (name, value) in kept {
        all.append(name.clone(), value.clone());
    }
    all
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn headers_of_one_connection_stay_on_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("authorization", "Basic x"),
            ("cookie", "a"),
        ] {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers.append("cookie", "b".parse().unwrap());
        let mut kept = end_to_end(&headers);
        assert_eq!(kept.len(), 3, "{kept:?}");
        join_cookies(&mut kept);
        assert_eq!(kept.get_all("cookie").iter().collect::<Vec<_>>(), ["a; b"]);
    }

    #[test]
    fn urls_of_the_server_behind_become_ours() {
        let upstream = Upstream {
            prefix: "_app".into(),
            authority: "a:1".parse().unwrap(),
            path: "/base".into(),
            require_valid_user: false,
            timeout: Duration::from_secs(1),
        };
        let check = |url: &str, expected: Option<&str>| {
            assert_eq!(rewrite(url, &upstream, "http://me").as_deref(), expected, "{url}");
        };
        check("http://a:1/base/x?y", Some("http://me/_app/x?y"));
        check("http://a:1/other", Some("http://me/_app/other"));
        check("/base/x", Some("http://me/_app/x"));
        check("/x", Some("http://me/_app/x"));
        check("http://b:1/x", None);
        check("https://a:1/x", None);
        check("relative", None);
    }
}
