//! Finding out who a request comes from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use tokio::sync::Semaphore;

use super::cookie::{self, Claim};
use super::lockout::Lockout;
use super::verified::VerifiedPasswords;
use super::{StoredPassword, User};
use crate::config::{Config, Settings};
use crate::http::Failure;

/// Passwords hashed at a time: each takes a core for a good part of a second, and whoever guesses
/// passwords must not take them all.
const HASHES_AT_A_TIME: usize = 1;

const INCORRECT: &str = "Name or password is incorrect.";

/// The server's accounts: the administrators of `[admins]`.
pub struct Accounts {
    admins: ArcSwap<HashMap<String, Arc<StoredPassword>>>,
    verified: VerifiedPasswords,
    lockout: Lockout,
    hashing: Semaphore,
}

/// Who a request comes from, and how that is known.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The user.
    pub user: User,
    /// The handler that recognised them, as `/_session` names it: `cookie` or `default` (basic).
    pub handler: Option<&'static str>,
    /// A fresh value for a cookie that has lived a tenth of its life.
    pub fresh_cookie: Option<String>,
}

impl Accounts {
    /// The accounts of this configuration.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers to give.
    pub fn new(config: &Config) -> Result<Self, getrandom::Error> {
        let accounts = Self {
            admins: ArcSwap::default(),
            verified: VerifiedPasswords::new()?,
            lockout: Lockout::default(),
            hashing: Semaphore::new(HASHES_AT_A_TIME),
        };
        accounts.reload(config);
        Ok(accounts)
    }

    /// Reads `[admins]` again. Values that aren't hashes (yet) let nobody in.
    pub fn reload(&self, config: &Config) {
        let read = |(name, value): (String, String)| match StoredPassword::parse(&value) {
            Ok(Some(stored)) => Some((name, Arc::new(stored))),
            _ => {
                tracing::warn!(name, "this administrator's password hash can't be read");
                None
            }
        };
        let admins = config.section("admins").into_iter().filter_map(read).collect();
        self.admins.store(Arc::new(admins));
    }

    /// Finds the user behind a request's headers: the cookie's if there is a good one, or else
    /// the one who gave name and password, or else nobody.
    ///
    /// # Errors
    ///
    /// 401 for a wrong name or password; 400 for a cookie or header that can't be read.
    pub async fn identify(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        settings: &Settings,
    ) -> Result<Identity, Failure> {
        if let Some(identity) = self.by_cookie(headers, settings)? {
            return Ok(identity);
        }
        let Some((name, password)) = basic_credentials(headers)? else {
            return Ok(Identity::default());
        };
        let client = client_address(headers, peer);
        let user = self.log_in(&name, &password, client, settings).await?;
        Ok(Identity { user, handler: Some("default"), fresh_cookie: None })
    }

    /// The user of this name and password, who asks from this address.
    ///
    /// # Errors
    ///
    /// 401 `Name or password is incorrect.`; 403 after too many wrong ones.
    pub async fn log_in(
        &self,
        name: &str,
        password: &str,
        client: IpAddr,
        settings: &Settings,
    ) -> Result<User, Failure> {
        let stored = self.admins.load().get(name).cloned();
        let Some(stored) = stored else { return Err(Failure::unauthorized(INCORRECT)) };
        self.lockout.check(client, name, stored.salt(), settings)?;
        if self.verified.contains(name, password, &stored) {
            return Ok(User::admin(name));
        }
        if self.verify(password, &stored).await {
            self.verified.insert(name, password, &stored);
            return Ok(User::admin(name));
        }
        self.lockout.count(client, name, stored.salt(), settings);
        Err(Failure::unauthorized(INCORRECT))
    }

    async fn verify(&self, password: &str, stored: &Arc<StoredPassword>) -> bool {
        let Ok(_permit) = self.hashing.acquire().await else { return false };
        let (password, stored) = (password.to_owned(), stored.clone());
        tokio::task::spawn_blocking(move || stored.verify(&password)).await.unwrap_or(false)
    }

    fn by_cookie(
        &self,
        headers: &HeaderMap,
        settings: &Settings,
    ) -> Result<Option<Identity>, Failure> {
        let value = headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
        let Some(value) = value.filter_map(cookie::find).next() else { return Ok(None) };
        let claim = Claim::parse(value).ok_or_else(|| {
            Failure::bad_request("Malformed AuthSession cookie. Please clear your cookies.")
        })?;
        let (Some(stored), Some(secret)) =
            (self.admins.load().get(claim.name()).cloned(), &settings.cookie_secret)
        else {
            return Ok(None);
        };
        let (now, life) = (now(), settings.cookie_timeout_s);
        let left = claim.issued().saturating_add(life).saturating_sub(now);
        if left == 0 || !claim.is_genuine(secret, stored.salt()) {
            return Ok(None);
        }
        let worn = left < life - life / 10;
        let fresh_cookie = worn.then(|| cookie::issue(claim.name(), secret, stored.salt(), now));
        Ok(Some(Identity {
            user: User::admin(claim.name()),
            handler: Some("cookie"),
            fresh_cookie,
        }))
    }

    /// A cookie for a user who has just logged in; `None` for one who is gone again.
    pub fn issue_cookie(&self, user: &User, settings: &Settings) -> Option<String> {
        let stored = self.admins.load().get(user.name()?)?.clone();
        let secret = settings.cookie_secret.as_deref()?;
        Some(cookie::issue(user.name()?, secret, stored.salt(), now()))
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The address a request comes from. A proxy on this machine speaks for others; what anyone else
/// says about whom they speak for proves nothing.
pub(crate) fn client_address(headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    if !peer.is_loopback() {
        return peer;
    }
    let forwarded = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
    let last = forwarded.and_then(|list| list.rsplit(',').next());
    last.and_then(|address| address.trim().parse().ok()).unwrap_or(peer)
}

/// Name and password of an `Authorization: Basic` header. `_:_` stands for nobody, so that a
/// browser can be made to forget what it knows.
fn basic_credentials(headers: &HeaderMap) -> Result<Option<(String, String)>, Failure> {
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

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn only_a_proxy_on_this_machine_is_believed() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "1.1.1.1, 2.2.2.2".parse().unwrap());
        let there: IpAddr = "3.3.3.3".parse().unwrap();
        assert_eq!(client_address(&headers, HERE).to_string(), "2.2.2.2");
        assert_eq!(client_address(&headers, there), there);
        assert_eq!(client_address(&HeaderMap::new(), HERE), HERE);
    }

    /// Checks what an `Authorization` header comes to.
    fn check(header: &str, expected: Option<(&str, &str)>) {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, header.parse().unwrap());
        let found = basic_credentials(&headers).unwrap();
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
        assert_eq!(basic_credentials(&headers).unwrap_err().status(), 400);
    }

    fn accounts(password: &str) -> (Accounts, Settings) {
        let config = Config::load(vec![], &[]).unwrap();
        let hash = StoredPassword::new(password, 10).unwrap().to_string();
        config.set("admins", "anna", Some(&hash), false).unwrap();
        config.set("chttpd_auth", "secret", Some("s3cret"), false).unwrap();
        (Accounts::new(&config).unwrap(), config.settings())
    }

    fn cookie_header(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, format!("AuthSession={value}").parse().unwrap());
        headers
    }

    #[tokio::test]
    async fn passwords_let_in_whom_they_should() {
        let (accounts, settings) = accounts("secret");
        let log_in = async |name, password| {
            let user = accounts.log_in(name, password, HERE, &settings).await;
            user.map_or_else(|failure| failure.status().as_u16(), |user| u16::from(user.is_admin()))
        };
        for _ in 0..2 {
            assert_eq!(log_in("anna", "secret").await, 1);
            assert_eq!(log_in("anna", "wrong").await, 401);
            assert_eq!(log_in("otto", "secret").await, 401);
        }
        for _ in 0..3 {
            assert_eq!(log_in("anna", "wrong").await, 401);
        }
        assert_eq!(log_in("anna", "secret").await, 403, "after five wrong ones nothing helps");
    }

    #[tokio::test]
    async fn cookies_live_and_are_renewed() {
        let (accounts, settings) = accounts("secret");
        let salt = accounts.admins.load()["anna"].salt().to_owned();
        let aged = |age: u64| cookie::issue("anna", "s3cret", &salt, now() - age);
        for (age, known, renewed) in [(0, true, false), (120, true, true), (600, false, false)] {
            let headers = cookie_header(&aged(age));
            let identity = accounts.identify(&headers, HERE, &settings).await.unwrap();
            assert_eq!(identity.user.is_admin(), known, "{age} s old");
            assert_eq!(identity.fresh_cookie.is_some(), renewed, "{age} s old");
        }
    }

    #[tokio::test]
    async fn bad_cookies() {
        let (accounts, settings) = accounts("secret");
        let forged = cookie_header(&cookie::issue("anna", "guess", "salt", now()));
        let identity = accounts.identify(&forged, HERE, &settings).await.unwrap();
        assert_eq!(identity.user, User::default());
        let garbage =
            accounts.identify(&cookie_header("garbage"), HERE, &settings).await.unwrap_err();
        assert_eq!(garbage.status(), 400);
    }
}
