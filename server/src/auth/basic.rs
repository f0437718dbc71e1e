//! Basic authentication (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::http::Failure;

/// Name and password of an `Authorization: Basic` header. `_:_` stands for nobody, so that a
/// browser can be made to forget what it knows.
pub(super) fn credentials(headers: &HeaderMap) -> Result<Option<(String, String)>, Failure> {
    let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    let Some((scheme, encoded)) = value.split_once(' ') else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let decoded = STANDARD
        .decode(encoded.trim())
        .map_err(|_| Failure::bad_request("Authorization header has invalid base64 value"))?;
    let decoded = String::from_utf8_lossy(&decoded);
    match decoded.split_once(':') {
        None | Some(("_", "_")) => Ok(None),
        Some((name, password)) => Ok(Some((name.to_owned(), password.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what an `Authorization` header comes to.
    fn check(header: &str, expected: Option<(&str, &str)>) {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, header.parse().unwrap());
        let found = credentials(&headers).unwrap();
        let expected = expected.map(|(name, word)| (name.to_owned(), word.to_owned()));
        assert_eq!(found, expected, "{header}");
    }

    #[test]
    fn basic_headers() {
        check("Basic YW5uYTpzZWNyZXQ=", Some(("anna", "secret")));
        check("basic YW5uYTphOmI=", Some(("anna", "a:b")));
        check("Basic Xzpf", None);
        check("Basic bm9jb2xvbg==", None);
        check("Bearer abc", None);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Basic !!!".parse().unwrap());
        assert_eq!(credentials(&headers).unwrap_err().status(), 400);
    }
}
