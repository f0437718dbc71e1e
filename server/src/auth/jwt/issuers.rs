//! The keys of OpenID Connect issuers: found by discovery, remembered and refreshed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::StatusCode;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use super::fetch;
use super::key::{Algorithm, Key};
use crate::http::Failure;

/// Keys of one issuer that are remembered, at most.
const MAX_KEYS: usize = 64;

/// The age at which keys are fetched again, behind the request that notices.
const REFRESH_AFTER: Duration = Duration::from_secs(10 * 60);

/// The age at which keys are no longer believed, when they can't be fetched again.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The time between two attempts to fetch keys, whatever tokens claim.
const MIN_INTERVAL: Duration = Duration::from_secs(30);

/// The configured issuers.
#[derive(Default)]
pub(super) struct Issuers(RwLock<HashMap<String, Arc<Issuer>>>);

/// One issuer.
struct Issuer {
    url: String,
    keys: ArcSwapOption<KeySet>,
    last_attempt: Mutex<Option<Instant>>,
    /// Held by the one who fetches.
    fetching: tokio::sync::Mutex<()>,
}

/// Keys as the issuer has published them.
struct KeySet {
    fetched: Instant,
    keys: Vec<PublishedKey>,
}

struct PublishedKey {
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    key: Arc<Key>,
}

impl Issuers {
    /// Sets the issuers; the keys of those that stay are kept.
    pub(super) fn configure(&self, urls: &[String]) {
        let mut known = self.0.write();
        let kept = urls.iter().map(|url| {
            let issuer = known.get(url).cloned();
            (url.clone(), issuer.unwrap_or_else(|| Arc::new(Issuer::new(url))))
        });
        *known = kept.collect();
    }

    /// Whether this issuer is configured.
    pub(super) fn knows(&self, issuer: &str) -> bool {
        self.0.read().contains_key(issuer)
    }

    /// The key of this issuer that a token names.
    ///
    /// # Errors
    ///
    /// 400 `Unknown kid`; 503 when the issuer's keys can't be fetched.
    pub(super) async fn key(
        &self,
        issuer: &str,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<Key>, Failure> {
        let unknown = || Failure::bad_request("Unknown kid");
        let issuer = self.0.read().get(issuer).cloned().ok_or_else(unknown)?;
        if let Some(key) = issuer.find(kid, algorithm) {
            issuer.refresh_if_old();
            return Ok(key);
        }
        // A key that nobody knows may be a new one.
        issuer.fetch().await;
        match issuer.find(kid, algorithm) {
            Some(key) => Ok(key),
            None if issuer.current().is_some() => Err(unknown()),
            None => Err(Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "service unavailable",
                "The keys of the token's issuer cannot be fetched at present.",
            )),
        }
    }
}

impl Issuer {
    fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            keys: ArcSwapOption::empty(),
            last_attempt: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        }
    }

    fn current(&self) -> Option<Arc<KeySet>> {
        self.keys.load_full().filter(|keys| keys.fetched.elapsed() < MAX_AGE)
    }

    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
        self.current()?.find(kid, algorithm)
    }

    fn refresh_if_old(self: &Arc<Self>) {
        let old = self.current().is_none_or(|keys| keys.fetched.elapsed() > REFRESH_AFTER);
        if old && self.may_try() && self.fetching.try_lock().is_ok() {
            let issuer = Arc::clone(self);
            tokio::spawn(async move { issuer.fetch().await });
        }
    }

    fn may_try(&self) -> bool {
        self.last_attempt.lock().is_none_or(|last| last.elapsed() >= MIN_INTERVAL)
    }

    /// Fetches the keys, unless that was tried lately: those who come together share one attempt.
    async fn fetch(&self) {
        let _fetching = self.fetching.lock().await;
        if !self.may_try() {
            return;
        }
        *self.last_attempt.lock() = Some(Instant::now());
        match discover(&self.url).await {
            Ok(keys) => {
                tracing::debug!(issuer = self.url, keys = keys.len(), "fetched an issuer's keys");
                self.keys.store(Some(Arc::new(KeySet { fetched: Instant::now(), keys })));
            }
            Err(error) => {
                tracing::warn!(issuer = self.url, error, "an issuer's keys can't be fetched");
            }
        }
    }
}

impl KeySet {
    /// The key of this name that may be used with this algorithm. A token that names no key can only mean
    /// the one that fits.
    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
        let mut fitting = self.keys.iter().filter(|key| {
            key.key.kind() == algorithm.key_kind()
                && key.algorithm.is_none_or(|only| only == algorithm)
                && kid.is_none_or(|kid| key.kid.as_deref() == Some(kid))
        });
        let found = fitting.next()?;
        (kid.is_some() || fitting.next().is_none()).then(|| Arc::clone(&found.key))
    }
}

/// Asks the issuer where its keys are, and for the keys.
async fn discover(issuer: &str) -> Result<Vec<PublishedKey>, String> {
    let at = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let configuration = fetch::json(&at).await?;
    let member = |name: &str| configuration.get(name).and_then(Value::as_str);
    if member("issuer") != Some(issuer) {
        return Err(format!("{at} speaks for another issuer"));
    }
    let keys_at = member("jwks_uri").ok_or_else(|| format!("{at} names no jwks_uri"))?;
    if issuer.starts_with("https:") && !keys_at.starts_with("https:") {
        return Err(format!("{at} names a jwks_uri without https"));
    }
    published(&fetch::json(keys_at).await?).ok_or_else(|| format!("{keys_at} is no list of keys"))
}

/// The keys for signatures in a key set; those that this version can't use are passed over.
fn published(set: &Value) -> Option<Vec<PublishedKey>> {
    let keys = set.get("keys")?.as_array()?;
    let read = |jwk: &Value| {
        let text = |member: &str| jwk.get(member).and_then(Value::as_str);
        let algorithm = text("alg").map(Algorithm::parse);
        if text("use").is_some_and(|purpose| purpose != "sig") || algorithm == Some(None) {
            return None;
        }
        Some(PublishedKey {
            kid: text("kid").map(str::to_owned),
            algorithm: algorithm.flatten(),
            key: Arc::new(Key::from_jwk(jwk)?),
        })
    };
    Some(keys.iter().filter_map(read).take(MAX_KEYS).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::HashFunction::{Sha256, Sha512};

    fn set(keys: Value) -> KeySet {
        let keys = published(&json!({ "keys": keys })).unwrap();
        KeySet { fetched: Instant::now(), keys }
    }

    fn rsa(kid: &str, rest: Value) -> Value {
        let mut jwk = json!({"kty": "RSA", "kid": kid, "n": "AAAA", "e": "AQAB"});
        jwk.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        jwk
    }

    #[test]
    fn keys_are_found_by_name_and_use() {
        let set = set(json!([
            rsa("a", json!({"use": "sig", "alg": "RS256"})),
            rsa("b", json!({})),
            rsa("c", json!({"use": "enc"})),
            rsa("d", json!({"alg": "RSA-OAEP"})),
            {"kty": "oct", "kid": "e", "k": "AAAA"},
        ]));
        let found = |kid, algorithm| set.find(kid, algorithm).is_some();
        assert!(found(Some("a"), Algorithm::Rs(Sha256)));
        assert!(!found(Some("a"), Algorithm::Rs(Sha512)), "it is for another algorithm");
        assert!(found(Some("b"), Algorithm::Ps(Sha512)));
        assert!(!found(Some("b"), Algorithm::Es256));
        for kid in ["c", "d", "e", "f"] {
            assert!(!found(Some(kid), Algorithm::Rs(Sha256)), "{kid}");
            assert!(!found(Some(kid), Algorithm::Hs(Sha256)), "{kid}");
        }
        assert!(!found(None, Algorithm::Rs(Sha256)), "it might be one or the other");
        assert!(found(None, Algorithm::Rs(Sha512)));
    }

    #[test]
    fn memory_is_bounded() {
        let many: Vec<Value> = (0..1000).map(|n| rsa(&n.to_string(), json!({}))).collect();
        assert_eq!(set(json!(many)).keys.len(), MAX_KEYS);
    }

    #[tokio::test]
    async fn attempts_are_few() {
        let issuers = Issuers::default();
        // Nobody listens there.
        let url = "http://127.0.0.1:1".to_owned();
        issuers.configure(std::slice::from_ref(&url));
        let refused = issuers.key(&url, Some("a"), Algorithm::Es256).await.unwrap_err();
        assert_eq!(refused.status(), 503);
        let issuer = issuers.0.read()[&url].clone();
        assert!(!issuer.may_try());
        issuers.configure(&[url.clone(), "https://other".to_owned()]);
        assert!(Arc::ptr_eq(&issuer, &issuers.0.read()[&url]), "it stays as it is");
    }
}
