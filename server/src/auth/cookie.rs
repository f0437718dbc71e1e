//! The cookie of `/_session`.
//!
//! `AuthSession` holds `NAME:TIME:MAC` in base64url without padding: TIME is the hour of issue in
//! seconds since 1970, as upper-case hexadecimal; MAC is HMAC over `NAME:TIME`, keyed with the
//! server's secret and the salt of the user's password, so that a new password makes the old
//! cookies worthless. The function is the first of `[chttpd_auth] hash_algorithms`; the others are
//! accepted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::COOKIE;

use super::hash;
use crate::config::{HashFunction, Settings};
use crate::http::Failure;

/// The cookie's name.
pub const NAME: &str = "AuthSession";

/// Digits of a TIME that is read, at most.
const MAX_TIME_DIGITS: usize = 16;

/// What a cookie claims, before its MAC was looked at.
///
/// ```
/// use settee_server::auth::cookie::{self, Claim};
/// use settee_server::config::HashFunction::{Sha1, Sha256};
///
/// let value = cookie::issue("anna", "secret", "salt", Sha256, 0x65000000);
/// let claim = Claim::parse(&value).unwrap();
/// assert_eq!((claim.name(), claim.issued()), ("anna", 0x65000000));
/// assert!(claim.is_genuine("secret", "salt", &[Sha1, Sha256]));
/// assert!(!claim.is_genuine("secret", "other salt", &[Sha256]));
/// ```
#[derive(Clone, Debug)]
pub struct Claim {
    signed: String,
    name_len: usize,
    issued: u64,
    mac: Vec<u8>,
}

impl Claim {
    /// Takes a cookie's value apart; `None` when it is malformed.
    pub fn parse(value: &str) -> Option<Self> {
        let decoded = URL_SAFE_NO_PAD.decode(value.trim_end_matches('=')).ok()?;
        // The MAC is raw bytes and may hold colons, a name may not.
        let mut parts = decoded.splitn(3, |&byte| byte == b':');
        let name = str::from_utf8(parts.next()?).ok()?;
        let time = str::from_utf8(parts.next()?).ok()?;
        let mac = parts.next()?.to_vec();
        let digits = !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits || time.len() > MAX_TIME_DIGITS {
            return None;
        }
        let issued = u64::from_str_radix(time, 16).ok()?;
        Some(Self { signed: format!("{name}:{time}"), name_len: name.len(), issued, mac })
    }

    /// The name it claims.
    pub fn name(&self) -> &str {
        self.signed.get(..self.name_len).unwrap_or_default()
    }

    /// When it says it was issued, in seconds since 1970.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// Whether its MAC was made with this secret and salt, by one of these functions. The comparison
    /// takes the same time whatever comes out.
    pub fn is_genuine(&self, secret: &str, salt: &str, functions: &[HashFunction]) -> bool {
        let key = [secret.as_bytes(), salt.as_bytes()].concat();
        let fitting = functions.iter().filter(|function| function.bytes() == self.mac.len());
        fitting.fold(false, |genuine, function| {
            genuine | hash::is_hmac(*function, &key, self.signed.as_bytes(), &self.mac)
        })
    }
}

/// The value of a cookie issued `now` (seconds since 1970).
pub fn issue(name: &str, secret: &str, salt: &str, function: HashFunction, now: u64) -> String {
    let mut value = format!("{name}:{now:X}").into_bytes();
    let key = [secret.as_bytes(), salt.as_bytes()].concat();
    let mac = hash::hmac(function, &key, &value);
    value.push(b':');
    value.extend_from_slice(&mac);
    URL_SAFE_NO_PAD.encode(value)
}

/// What the session cookie among these headers claims, if there is one.
///
/// # Errors
///
/// 400 for one that is malformed.
pub(super) fn claim(headers: &HeaderMap) -> Result<Option<Claim>, Failure> {
    let values = headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
    let Some(value) = values.filter_map(find).next() else { return Ok(None) };
    Claim::parse(value).map(Some).ok_or_else(|| {
        Failure::bad_request("Malformed AuthSession cookie. Please clear your cookies.")
    })
}

/// The value of the `AuthSession` cookie in a `Cookie` header; `None` when there is none or it is
/// empty.
pub fn find(header: &str) -> Option<&str> {
    header
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == NAME)
        .map(|(_, value)| value.trim_matches('"'))
        .filter(|value| !value.is_empty())
}

/// The `Set-Cookie` header that gives a client this value.
pub fn header(value: &str, settings: &Settings, secure: bool, now: u64) -> String {
    let mut header = format!("{NAME}={value}; Version=1");
    if settings.persistent_cookies && !value.is_empty() {
        let life = settings.cookie_timeout_s;
        let expires = cookie_date(now.saturating_add(life));
        header.push_str(&format!("; Expires={expires}; Max-Age={life}"));
    }
    if secure {
        header.push_str("; Secure");
    }
    if let Some(domain) = &settings.cookie_domain {
        header.push_str(&format!("; Domain={domain}"));
    }
    header.push_str("; Path=/; HttpOnly");
    if let Some(same_site) = &settings.same_site {
        header.push_str(&format!("; SameSite={same_site}"));
    }
    header
}

/// A time in seconds since 1970 as cookies spell it: `Thu, 01-Jan-1970 00:00:00 GMT`.
fn cookie_date(seconds: u64) -> String {
    let date = settee_engine::date::rfc1123(seconds);
    match date.splitn(4, ' ').collect::<Vec<_>>()[..] {
        [weekday, day, month, rest] => format!("{weekday} {day}-{month}-{rest}"),
        _ => date,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_of_couchdb_is_understood() {
        // Made as CouchDB makes it: HMAC-SHA1("secretsalt", "anna:5F000000").
        let mac = hash::hmac(HashFunction::Sha1, b"secretsalt", b"anna:5F000000");
        let value = [b"anna:5F000000:".as_slice(), &mac].concat();
        let claim = Claim::parse(&URL_SAFE_NO_PAD.encode(value)).unwrap();
        let both = Settings::default().accounts.hash_algorithms;
        assert!(claim.is_genuine("secret", "salt", &both));
        assert!(!claim.is_genuine("secret", "salt", &[HashFunction::Sha256]));
        assert_eq!((claim.name(), claim.issued()), ("anna", 0x5F00_0000));
    }

    #[test]
    fn any_change_breaks_the_mac() {
        let functions = [HashFunction::Sha256, HashFunction::Sha1];
        let value = issue("anna", "s", "t", HashFunction::Sha256, 0x6000_0000);
        let good = URL_SAFE_NO_PAD.decode(value).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let claim = Claim::parse(&URL_SAFE_NO_PAD.encode(bad));
            assert!(
                !claim.is_some_and(|claim| claim.is_genuine("s", "t", &functions)),
                "byte {at}"
            );
        }
    }

    #[test]
    fn malformed_values_are_told_from_wrong_ones() {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for malformed in
            ["garbage", "!!!", &encode("anna"), &encode("anna:600"), &encode("anna:xyz:mac")]
        {
            assert!(Claim::parse(malformed).is_none(), "{malformed}");
        }
        let wrong = Claim::parse("YWFhOjU5MDAwMDAwOnh4eHh4eHg").unwrap();
        assert!(!wrong.is_genuine("secret", "salt", &[HashFunction::Sha1]));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        assert_eq!(find("a=b; AuthSession=abc; c"), Some("abc"));
        assert_eq!(find("AuthSession=\"abc\""), Some("abc"));
        assert_eq!(find("AuthSession="), None);
        assert_eq!(find("XAuthSession=abc"), None);
    }

    #[test]
    fn headers_as_couchdb_writes_them() {
        let mut settings = Settings::default();
        assert_eq!(
            header("v", &settings, false, 0),
            "AuthSession=v; Version=1; Expires=Thu, 01-Jan-1970 00:10:00 GMT; Max-Age=600; \
             Path=/; HttpOnly"
        );
        assert_eq!(header("", &settings, false, 0), "AuthSession=; Version=1; Path=/; HttpOnly");
        settings.same_site = Some("strict".to_owned());
        settings.persistent_cookies = false;
        assert_eq!(
            header("v", &settings, true, 0),
            "AuthSession=v; Version=1; Secure; Path=/; HttpOnly; SameSite=strict"
        );
    }

    #[test]
    fn dates() {
        assert_eq!(cookie_date(951_782_400), "Tue, 29-Feb-2000 00:00:00 GMT");
        assert_eq!(cookie_date(1_709_251_199), "Thu, 29-Feb-2024 23:59:59 GMT");
        assert_eq!(cookie_date(4_102_444_800), "Fri, 01-Jan-2100 00:00:00 GMT");
    }
}
