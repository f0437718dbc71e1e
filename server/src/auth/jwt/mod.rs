//! Authentication by JSON Web Tokens (RFC 7519) in `Authorization: Bearer`.
//!
//! * `token`: taking a token apart, and what its claims must say
//! * `key`: keys, from PEM text or as an issuer publishes them (RFC 7517), and checking signatures
//! * `der`: the little of ASN.1 that public keys need
//! * `issuers`: the keys of OpenID Connect issuers, fetched and refreshed; `fetch`: how
//!
//! A key is of one kind, and an algorithm works with keys of one kind only: a public key never becomes the
//! secret of an HMAC, whatever a token's header says.

mod der;
mod fetch;
mod issuers;
mod key;
mod token;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use self::issuers::Issuers;
use self::key::{Key, KeyKind};
use self::token::Token;
use super::User;
use super::accounts::{Identity, now};
use crate::config::{Handler, JwtSettings, Settings};
use crate::http::Failure;

/// The key of tokens that name none.
const DEFAULT_KID: &str = "_default";

/// Knows the keys that tokens are signed with.
#[derive(Default)]
pub(super) struct Tokens {
    keys: ArcSwap<HashMap<(KeyKind, String), Arc<Key>>>,
    issuers: Issuers,
}

impl Tokens {
    /// Reads `[jwt_keys]` and `[jwt_issuers]`. A key that can't be read signs nothing.
    pub(super) fn configure(&self, settings: &JwtSettings) {
        let read = |(name, text): (&String, &String)| {
            let (kind, kid) = name.split_once(':')?;
            let kind = KeyKind::parse(kind)?;
            match Key::from_config(kind, text) {
                Some(key) => Some(((kind, kid.to_owned()), Arc::new(key))),
                None => {
                    tracing::warn!("[jwt_keys] {name} is no {kind} key that this version can read");
                    None
                }
            }
        };
        self.keys.store(Arc::new(settings.keys.iter().filter_map(read).collect()));
        self.issuers.configure(&settings.issuers);
    }

    /// Finds the user that a token names; nobody if there is no token.
    ///
    /// # Errors
    ///
    /// 400 for a token that is malformed or not signed by a known key, 401 for one whose time is over or
    /// has not come, 503 when the keys of its issuer can't be had.
    pub(super) async fn identify(
        &self,
        headers: &HeaderMap,
        settings: &Settings,
    ) -> Result<Option<Identity>, Failure> {
        let Some(text) = bearer(headers) else { return Ok(None) };
        let settings = &settings.accounts.jwt;
        let token = Token::parse(text)?;
        let issued = token.issuer().filter(|issuer| self.issuers.knows(issuer));
        token.check(settings, issued.is_some(), now())?;
        let key = match issued {
            Some(issuer) => self.issuers.key(issuer, token.kid(), token.algorithm).await?,
            None => self.configured(&token)?,
        };
        token.check_signature(&key)?;
        let user = User::new(token.subject()?, token.roles(&settings.roles_path)?);
        Ok(Some(Identity::known(user, Handler::Jwt)))
    }

    fn configured(&self, token: &Token<'_>) -> Result<Arc<Key>, Failure> {
        let kid = token.kid().unwrap_or(DEFAULT_KID);
        let keys = self.keys.load();
        let key = keys.get(&(token.algorithm.key_kind(), kid.to_owned()));
        key.cloned().ok_or_else(|| Failure::bad_request("Unknown kid"))
    }
}

/// The token in an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
