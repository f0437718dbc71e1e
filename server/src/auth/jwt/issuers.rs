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

/// When keys are fetched.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The age at which keys are fetched again, behind the request that notices.
    refresh_after: Duration,
    /// The age at which keys are no longer believed, when they can't be fetched again.
    max_age: Duration,
    /// The time between two attempts to fetch keys, whatever tokens claim.
    min_interval: Duration,
}

const PACE: Pace = Pace {
    refresh_after: Duration::from_secs(10 * 60),
    max_age: Duration::from_secs(24 * 60 * 60),
    min_interval: Duration::from_secs(30),
};

/// The configured issuers.
#[derive(Default)]
pub(super) struct Issuers(RwLock<HashMap<String, Arc<Issuer>>>);

/// One issuer.
struct Issuer {
    url: String,
    pace: Pace,
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
            (url.clone(), issuer.unwrap_or_else(|| Arc::new(Issuer::new(url, PACE))))
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
        let issuer = self.0.read().get(issuer).cloned().ok_or_else(unknown_kid)?;
        issuer.key(kid, algorithm).await
    }
}

fn unknown_kid() -> Failure {
    Failure::bad_request("Unknown kid")
}

impl Issuer {
    fn new(url: &str, pace: Pace) -> Self {
        Self {
            url: url.to_owned(),
            pace,
            keys: ArcSwapOption::empty(),
            last_attempt: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        }
    }

    async fn key(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<Key>, Failure> {
        if let Some(key) = self.find(kid, algorithm) {
            self.refresh_if_old();
            return Ok(key);
        }
        // A key that nobody knows may be a new one.
        self.fetch().await;
        match self.find(kid, algorithm) {
            Some(key) => Ok(key),
            None if self.current().is_some() => Err(unknown_kid()),
            None => Err(Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "service unavailable",
                "The keys of the token's issuer cannot be fetched at present.",
            )),
        }
    }

    fn current(&self) -> Option<Arc<KeySet>> {
        self.keys.load_full().filter(|keys| keys.fetched.elapsed() < self.pace.max_age)
    }

    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
        self.current()?.find(kid, algorithm)
    }

    fn refresh_if_old(self: &Arc<Self>) {
        let old =
            self.current().is_none_or(|keys| keys.fetched.elapsed() >= self.pace.refresh_after);
        if old && self.may_try() && self.fetching.try_lock().is_ok() {
            let issuer = Arc::clone(self);
            tokio::spawn(async move { issuer.fetch().await });
        }
    }

    fn may_try(&self) -> bool {
        self.last_attempt.lock().is_none_or(|last| last.elapsed() >= self.pace.min_interval)
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
    use std::sync::atomic::{AtomicU32, Ordering};

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

    /// An issuer on this machine that publishes one key, named by a number that `publish` sets; 0 is an
    /// outage.
    async fn issuer(pace: Pace) -> (Arc<Issuer>, Arc<AtomicU32>) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (published, known) = (Arc::new(AtomicU32::new(1)), url.clone());
        let kid = Arc::clone(&published);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 1024];
                let read = stream.read(&mut head).await.unwrap();
                let body = match kid.load(Ordering::SeqCst) {
                    0 => continue,
                    _ if head[..read].starts_with(b"GET /.well-known/") => {
                        json!({"issuer": known, "jwks_uri": format!("{known}/keys")})
                    }
                    kid => json!({"keys": [rsa(&kid.to_string(), json!({}))]}),
                };
                let body = body.to_string();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.unwrap();
            }
        });
        (Arc::new(Issuer::new(&url, pace)), published)
    }

    async fn status(issuer: &Arc<Issuer>, kid: &str) -> u16 {
        let key = issuer.key(Some(kid), Algorithm::Rs(Sha256)).await;
        key.map_or_else(|failure| failure.status().as_u16(), |_| 200)
    }

    /// Ages that no test reaches, and attempts at any time.
    const PATIENT: Pace =
        Pace { refresh_after: MONTH, max_age: MONTH, min_interval: Duration::ZERO };
    const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    #[tokio::test]
    async fn a_new_key_is_fetched_when_a_token_names_it() {
        let (issuer, published) = issuer(PATIENT).await;
        assert_eq!(status(&issuer, "1").await, 200);
        assert_eq!(status(&issuer, "2").await, 400);
        published.store(2, Ordering::SeqCst);
        assert_eq!(status(&issuer, "2").await, 200);
        assert_eq!(status(&issuer, "1").await, 400, "the former key is no longer published");
    }

    #[tokio::test]
    async fn unknown_keys_are_asked_for_once_in_a_while() {
        let (issuer, published) = issuer(Pace { min_interval: MONTH, ..PATIENT }).await;
        assert_eq!(status(&issuer, "1").await, 200);
        published.store(2, Ordering::SeqCst);
        for _ in 0..3 {
            assert_eq!(status(&issuer, "2").await, 400, "it was asked lately");
            assert_eq!(status(&issuer, "1").await, 200);
        }
    }

    #[tokio::test]
    async fn keys_outlive_an_outage_of_their_issuer_but_not_for_ever() {
        let (issuer, published) = issuer(Pace { refresh_after: Duration::ZERO, ..PATIENT }).await;
        assert_eq!(status(&issuer, "1").await, 200);
        published.store(0, Ordering::SeqCst);
        assert_eq!(status(&issuer, "2").await, 400);
        for _ in 0..3 {
            assert_eq!(status(&issuer, "1").await, 200, "refreshing behind it fails");
            tokio::task::yield_now().await;
        }
        let known = issuer.keys.load_full();
        let old = Issuer::new(&issuer.url, Pace { max_age: Duration::ZERO, ..PATIENT });
        old.keys.store(known);
        assert_eq!(status(&Arc::new(old), "1").await, 503);
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
