//! Authentication by a proxy that stands before the server and has found out who asks.
//!
//! The proxy names the user and the roles in headers, and proves itself by a token: the hexadecimal HMAC of
//! the name, keyed with `[chttpd_auth] secret`. The user needs no document. The headers' names are
//! configurable, see [`ProxySettings`](crate::config::ProxySettings).

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::accounts::Identity;
use super::password::unhex;
use super::{User, hash};
use crate::config::{Handler, Settings};

/// Finds the user that a proxy speaks for; nobody if the headers don't prove it.
pub(super) fn identify(headers: &HeaderMap, settings: &Settings) -> Option<Identity> {
    let proxy = &settings.accounts.proxy;
    let name = text(headers, &proxy.username).filter(|name| !name.is_empty())?;
    if proxy.use_secret && !is_proven(headers, &name, settings) {
        return None;
    }
    let roles = text(headers, &proxy.roles).unwrap_or_default();
    let roles = roles.split(',').map(str::trim).filter(|role| !role.is_empty()).map(Arc::from);
    Some(Identity::known(User::new(&name, roles), Handler::Proxy))
}

/// Whether the token is the name's. The comparison takes the same time whatever comes out.
fn is_proven(headers: &HeaderMap, name: &str, settings: &Settings) -> bool {
    let token = text(headers, &settings.accounts.proxy.token);
    let (Some(token), Some(secret)) =
        (token.and_then(|token| unhex(&token)), &settings.cookie_secret)
    else {
        return false;
    };
    let functions = settings.accounts.hash_algorithms.iter();
    functions.filter(|function| function.bytes() == token.len()).fold(false, |proven, function| {
        proven | hash::is_hmac(*function, secret.as_bytes(), name.as_bytes(), &token)
    })
}

/// A header's value, which may hold letters beyond ASCII; one that comes twice proves nothing.
fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = str::from_utf8(values.next()?.as_bytes()).ok()?;
    values.next().is_none().then(|| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::auth::password::hex;
    use crate::config::HashFunction;

    fn settings(secret: Option<&str>, use_secret: bool) -> Settings {
        let cookie_secret = secret.map(str::to_owned);
        let mut settings = Settings { cookie_secret, ..Settings::default() };
        settings.accounts.proxy.use_secret = use_secret;
        settings
    }

    fn token(function: HashFunction, secret: &str, name: &str) -> String {
        hex(&hash::hmac(function, secret.as_bytes(), name.as_bytes()))
    }

    /// Who comes in with these headers.
    fn enter(settings: &Settings, given: &[(&'static str, &str)]) -> Option<(String, Vec<String>)> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let user = identify(&headers, settings)?.user;
        let roles = user.roles().map(str::to_owned).collect();
        Some((user.name().unwrap().to_owned(), roles))
    }

    const NAME: &str = "x-auth-couchdb-username";
    const ROLES: &str = "x-auth-couchdb-roles";
    const TOKEN: &str = "x-auth-couchdb-token";

    #[test]
    fn a_proven_proxy_is_believed() {
        let settings = settings(Some("s3cret"), true);
        for function in [HashFunction::Sha256, HashFunction::Sha1] {
            let token = token(function, "s3cret", "jürgen");
            let given = [(NAME, "jürgen"), (ROLES, "a, b,"), (TOKEN, &*token)];
            let roles = vec!["a".to_owned(), "b".to_owned()];
            assert_eq!(enter(&settings, &given), Some(("jürgen".to_owned(), roles)));
        }
    }

    #[test]
    fn what_proves_nothing() {
        let settings = settings(Some("s3cret"), true);
        let good = token(HashFunction::Sha256, "s3cret", "anna");
        let upper = good.to_uppercase();
        assert!(enter(&settings, &[(NAME, "anna"), (TOKEN, &upper)]).is_some());
        let sha512 = token(HashFunction::Sha512, "s3cret", "anna");
        let others = token(HashFunction::Sha256, "other", "anna");
        for bad in ["", "00", &good[..40], &good[..62], "zz", &sha512, &others] {
            assert_eq!(enter(&settings, &[(NAME, "anna"), (TOKEN, bad)]), None, "{bad}");
        }
        assert_eq!(enter(&settings, &[(NAME, "otto"), (TOKEN, &good)]), None);
        assert_eq!(enter(&settings, &[(NAME, "anna")]), None);
        assert_eq!(enter(&settings, &[(NAME, "anna"), (NAME, "otto"), (TOKEN, &good)]), None);
        assert_eq!(enter(&settings, &[(ROLES, "_admin"), (TOKEN, &good)]), None);
    }

    #[test]
    fn without_a_secret_nobody_is_proven() {
        let token = token(HashFunction::Sha256, "", "anna");
        assert_eq!(enter(&settings(None, true), &[(NAME, "anna"), (TOKEN, &token)]), None);
        assert!(enter(&settings(None, false), &[(NAME, "anna")]).is_some());
    }
}
