//! Finding out who a request comes from.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use tokio::sync::Semaphore;

use super::cookie::{self, Claim};
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
        settings: &Settings,
    ) -> Result<Identity, Failure> {
        if let Some(identity) = self.by_cookie(headers, settings)? {
            return Ok(identity);
        }
        let Some((name, password)) = basic_credentials(headers)? else {
            return Ok(Identity::default());
        };
        let user = self.log_in(&name, &password).await?;
        Ok(Identity { user, handler: Some("default"), fresh_cookie: None })
    }

    /// The user of this name and password.
    ///
    /// # Errors
    ///
    /// 401 `Name or password is incorrect.`
    pub async fn log_in(&self, name: &str, password: &str) -> Result<User, Failure> {
        let admins = self.admins.load();
        let Some(stored) = admins.get(name) else { return Err(Failure::unauthorized(INCORRECT)) };
        if self.verified.contains(name, password, stored) || self.verify(password, stored).await {
            self.verified.insert(name, password, stored);
            return Ok(User::admin(name));
        }
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
        let (accounts, _) = accounts("secret");
        for _ in 0..2 {
            assert!(accounts.log_in("anna", "secret").await.unwrap().is_admin());
            assert_eq!(accounts.log_in("anna", "wrong").await.unwrap_err().status(), 401);
        }
        assert_eq!(accounts.log_in("otto", "secret").await.unwrap_err().status(), 401);
    }

    #[tokio::test]
    async fn cookies_live_and_are_renewed() {
        let (accounts, settings) = accounts("secret");
        let salt = accounts.admins.load()["anna"].salt().to_owned();
        let aged = |age: u64| cookie::issue("anna", "s3cret", &salt, now() - age);
        for (age, known, renewed) in [(0, true, false), (120, true, true), (600, false, false)] {
            let headers = cookie_header(&aged(age));
            let identity = accounts.identify(&headers, &settings).await.unwrap();
            assert_eq!(identity.user.is_admin(), known, "{age} s old");
            assert_eq!(identity.fresh_cookie.is_some(), renewed, "{age} s old");
        }
    }

    #[tokio::test]
    async fn bad_cookies() {
        let (accounts, settings) = accounts("secret");
        let forged = cookie_header(&cookie::issue("anna", "guess", "salt", now()));
        let identity = accounts.identify(&forged, &settings).await.unwrap();
        assert_eq!(identity.user, User::default());
        let garbage = accounts.identify(&cookie_header("garbage"), &settings).await.unwrap_err();
        assert_eq!(garbage.status(), 400);
    }
}
