//! Password hashes in the forms that `[admins]` and user documents hold.

use std::fmt;

use settee_engine::json::Value;
use sha1::{Digest as _, Sha1};
use subtle::ConstantTimeEq as _;

use super::hash;
use crate::config::{HashFunction, PasswordPolicy, PasswordScheme};

/// The longest derived key that is read, in bytes: the length of SHA-512.
const MAX_KEY_BYTES: usize = 64;

/// The longest salt that is read, in bytes.
const MAX_SALT_BYTES: usize = 1024;

/// The most iterations that are read: CouchDB's `max_iterations`.
const MAX_ITERATIONS: u32 = 1_000_000_000;

/// The members of a user document that say how its password is stored, in CouchDB's order, and those
/// that say how it was stored before.
pub(super) const HASH_MEMBERS: [&str; 6] =
    ["password_scheme", "pbkdf2_prf", "salt", "iterations", "derived_key", "password_sha"];

/// A password's hash.
///
/// ```
/// use settee_server::auth::StoredPassword;
///
/// let stored = StoredPassword::new("secret", 1000).unwrap();
/// let text = stored.to_string();
/// assert!(text.starts_with("-pbkdf2:sha256-"));
/// assert!(StoredPassword::parse(&text).unwrap().unwrap().verify("secret"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredPassword {
    /// PBKDF2 over HMAC with one of the SHA functions.
    Pbkdf2 {
        /// The function.
        prf: HashFunction,
        /// The derived key.
        key: Vec<u8>,
        /// The salt, as text.
        salt: String,
        /// Rounds.
        iterations: u32,
        /// Whether what was derived from is not the password but the hexadecimal digits of its SHA-1, as
        /// when hashes of CouchDB 1 are strengthened without the passwords being known.
        over_sha1: bool,
    },
    /// CouchDB 1.2's SHA-1 of password and salt.
    Sha1 {
        /// The digest.
        digest: Vec<u8>,
        /// The salt, as text.
        salt: String,
    },
}

/// A value that looks like a hash and isn't one.
#[derive(Debug, thiserror::Error)]
#[error("not a password hash this version can read")]
pub struct HashError;

impl StoredPassword {
    /// Hashes a password with a new random salt by PBKDF2 over SHA-256. This takes as long as
    /// `iterations` ask for; not to be done on a thread that serves others.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers to give.
    pub fn new(password: &str, iterations: u32) -> Result<Self, getrandom::Error> {
        Ok(Self::derive(password, HashFunction::Sha256, iterations, random_salt()?))
    }

    /// Hashes a password as the policy says, with this salt or a new random one. As slow as
    /// [`Self::new`].
    ///
    /// # Errors
    ///
    /// When the system has no random numbers to give.
    pub fn hash(
        password: &str,
        policy: &PasswordPolicy,
        salt: Option<&str>,
    ) -> Result<Self, getrandom::Error> {
        let salt = salt.map_or_else(random_salt, |salt| Ok(salt.to_owned()))?;
        Ok(match policy.scheme {
            PasswordScheme::Pbkdf2 => Self::derive(password, policy.prf, policy.iterations, salt),
            PasswordScheme::Simple => Self::Sha1 { digest: sha1(password, &salt), salt },
        })
    }

    fn derive(password: &str, prf: HashFunction, iterations: u32, salt: String) -> Self {
        let key = hash::pbkdf2(prf, password.as_bytes(), &salt, iterations, prf.bytes());
        Self::Pbkdf2 { prf, key, salt, iterations, over_sha1: false }
    }

    /// Reads a value of `[admins]`; `None` when it is a plain password.
    ///
    /// # Errors
    ///
    /// When it begins like a hash and goes on like none.
    pub fn parse(value: &str) -> Result<Option<Self>, HashError> {
        let stored = if let Some(rest) = value.strip_prefix("-pbkdf2:") {
            let (prf, rest) = rest.split_once('-').ok_or(HashError)?;
            Self::parse_pbkdf2(HashFunction::parse(prf).ok_or(HashError)?, rest)
        } else if let Some(rest) = value.strip_prefix("-pbkdf2-") {
            Self::parse_pbkdf2(HashFunction::Sha1, rest)
        } else if let Some(rest) = value.strip_prefix("-hashed-") {
            let parts = rest.split_once(',');
            parts.and_then(|(digest, salt)| Self::read_sha1(digest, salt))
        } else {
            return Ok(None);
        };
        stored.map(Some).ok_or(HashError)
    }

    fn parse_pbkdf2(prf: HashFunction, rest: &str) -> Option<Self> {
        let mut parts = rest.split(',');
        let (key, salt) = (parts.next()?, parts.next()?);
        let iterations = parts.next()?.parse().ok()?;
        match parts.next() {
            None => Self::read_pbkdf2(prf, key, salt, iterations, false),
            Some(_) => None,
        }
    }

    fn read_pbkdf2(
        prf: HashFunction,
        key: &str,
        salt: &str,
        iterations: u32,
        over_sha1: bool,
    ) -> Option<Self> {
        let key = unhex(key)?;
        // An empty or short key would let any, or too many, passwords in.
        let strong = (HashFunction::Sha1.bytes()..=MAX_KEY_BYTES).contains(&key.len());
        let sane = (1..=MAX_ITERATIONS).contains(&iterations) && salt.len() <= MAX_SALT_BYTES;
        let salt = salt.to_owned();
        (strong && sane).then_some(Self::Pbkdf2 { prf, key, salt, iterations, over_sha1 })
    }

    fn read_sha1(digest: &str, salt: &str) -> Option<Self> {
        let digest = unhex(digest).filter(|digest| digest.len() == HashFunction::Sha1.bytes())?;
        (salt.len() <= MAX_SALT_BYTES).then(|| Self::Sha1 { digest, salt: salt.to_owned() })
    }

    /// Reads the members of a user document; `None` when it holds no password's hash.
    ///
    /// # Errors
    ///
    /// When it holds one that can't be read.
    pub fn from_document(document: &Value) -> Result<Option<Self>, HashError> {
        let text = |member: &str| document.get(member).and_then(Value::as_str);
        let (scheme, salt) = (text("password_scheme").unwrap_or("simple"), text("salt"));
        let (Some(salt), Some(hash)) =
            (salt, text(if scheme == "simple" { "password_sha" } else { "derived_key" }))
        else {
            return Ok(None);
        };
        let stored = match scheme {
            "simple" => Self::read_sha1(hash, salt),
            "pbkdf2" | "simple+pbkdf2" => {
                let prf = HashFunction::parse(text("pbkdf2_prf").unwrap_or("sha"));
                let iterations = document.get("iterations").and_then(Value::as_u64);
                let iterations = iterations.and_then(|number| u32::try_from(number).ok());
                let over_sha1 = scheme != "pbkdf2";
                prf.zip(iterations).and_then(|(prf, iterations)| {
                    Self::read_pbkdf2(prf, hash, salt, iterations, over_sha1)
                })
            }
            _ => None,
        };
        stored.map(Some).ok_or(HashError)
    }

    /// The members that a user document holds instead of a password, in CouchDB's order.
    pub(super) fn document_members(&self) -> Vec<(&'static str, Value)> {
        let text = |text: &str| Value::String(text.to_owned());
        match self {
            Self::Pbkdf2 { prf, key, salt, iterations, over_sha1 } => vec![
                ("password_scheme", text(if *over_sha1 { "simple+pbkdf2" } else { "pbkdf2" })),
                ("pbkdf2_prf", text(prf.name())),
                ("salt", text(salt)),
                ("iterations", Value::from(i64::from(*iterations))),
                ("derived_key", text(&hex(key))),
            ],
            Self::Sha1 { digest, salt } => vec![
                ("password_scheme", text("simple")),
                ("salt", text(salt)),
                ("password_sha", text(&hex(digest))),
            ],
        }
    }

    /// Whether this is the password's hash. Takes as long as hashing does; the comparison itself
    /// takes the same time whatever comes out.
    pub fn verify(&self, password: &str) -> bool {
        match self {
            Self::Pbkdf2 { prf, key, salt, iterations, over_sha1 } => {
                let simple = over_sha1.then(|| hex(&sha1(password, salt)));
                let password = simple.as_deref().unwrap_or(password);
                let derived = hash::pbkdf2(*prf, password.as_bytes(), salt, *iterations, key.len());
                derived.ct_eq(key).into()
            }
            Self::Sha1 { digest, salt } => sha1(password, salt).ct_eq(digest).into(),
        }
    }

    /// The salt, which cookies are bound to: a new password makes old cookies worthless.
    pub fn salt(&self) -> &str {
        match self {
            Self::Pbkdf2 { salt, .. } | Self::Sha1 { salt, .. } => salt,
        }
    }

    /// What was derived from password and salt.
    pub(super) fn digest(&self) -> &[u8] {
        match self {
            Self::Pbkdf2 { key, .. } => key,
            Self::Sha1 { digest, .. } => digest,
        }
    }

    /// Rounds of PBKDF2; `None` for the other kind.
    pub(super) fn iterations(&self) -> Option<u32> {
        match self {
            Self::Pbkdf2 { iterations, .. } => Some(*iterations),
            Self::Sha1 { .. } => None,
        }
    }

    /// Whether a new password would be stored in a stronger way today.
    pub(super) fn is_weaker_than(&self, policy: &PasswordPolicy) -> bool {
        match (policy.scheme, self) {
            (PasswordScheme::Simple, _) => false,
            (PasswordScheme::Pbkdf2, Self::Sha1 { .. }) => true,
            (PasswordScheme::Pbkdf2, Self::Pbkdf2 { prf, iterations, over_sha1, .. }) => {
                *over_sha1 || *iterations < policy.iterations || prf.bytes() < policy.prf.bytes()
            }
        }
    }
}

impl fmt::Display for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pbkdf2 { prf, key, salt, iterations, .. } => {
                write!(f, "-pbkdf2:{}-{},{salt},{iterations}", prf.name(), hex(key))
            }
            Self::Sha1 { digest, salt } => write!(f, "-hashed-{},{salt}", hex(digest)),
        }
    }
}

fn sha1(password: &str, salt: &str) -> Vec<u8> {
    let mut sha = Sha1::new();
    sha.update(password);
    sha.update(salt);
    sha.finalize().to_vec()
}

fn random_salt() -> Result<String, getrandom::Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    Ok(hex(&random))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect()
}

fn digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

/// Reads hexadecimal digits; `None` if they are none, or more than any key has.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() > 2 * MAX_KEY_BYTES || !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let pair = str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
        u8::from_str_radix(pair, 16).ok()
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> StoredPassword {
        StoredPassword::parse(value).unwrap().unwrap()
    }

    #[test]
    fn sha1_key_of_rfc_6070() {
        let stored = parse("-pbkdf2-4b007901b765489abead49d926f721d065a429c1,salt,4096");
        assert!(stored.verify("password"));
        assert!(!stored.verify("passwore"));
        assert_eq!(stored.salt(), "salt");
    }

    #[test]
    fn sha256_key_of_rfc_7914() {
        let key = "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
                   49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783";
        let stored = parse(&format!("-pbkdf2:sha256-{key},salt,1"));
        assert!(stored.verify("passwd"));
        assert!(!stored.verify(""));
    }

    #[test]
    fn old_sha1_hashes() {
        // SHA-1 of "secretpepper".
        let mut sha = Sha1::new();
        sha.update("secretpepper");
        let stored = parse(&format!("-hashed-{},pepper", hex(&sha.finalize())));
        assert!(stored.verify("secret") && !stored.verify("Secret"));
    }

    #[test]
    fn plain_passwords_are_told_apart() {
        for plain in ["secret", "", "-", "-pbkdf2", "hashed-x,y"] {
            assert_eq!(StoredPassword::parse(plain).unwrap(), None, "{plain}");
        }
    }

    #[test]
    fn broken_hashes_are_refused() {
        let key = "00".repeat(20);
        for broken in [
            "-pbkdf2-,salt,10".to_owned(),
            "-pbkdf2-zz,salt,10".to_owned(),
            "-pbkdf2-00,salt,10".to_owned(),
            format!("-pbkdf2-{key},salt"),
            format!("-pbkdf2-{key},salt,0"),
            format!("-pbkdf2-{key},salt,many"),
            format!("-pbkdf2-{key},salt,10,more"),
            format!("-pbkdf2-{key},salt,4000000000"),
            format!("-pbkdf2:md5-{key},salt,10"),
            format!("-pbkdf2:sha256-{},salt,10", "00".repeat(65)),
            "-hashed-00,salt".to_owned(),
            "-hashed-nosalt".to_owned(),
        ] {
            assert!(StoredPassword::parse(&broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn hashes_read_back() {
        let one = StoredPassword::new("pass,word-é", 10).unwrap();
        let other = StoredPassword::new("pass,word-é", 10).unwrap();
        assert_ne!(one, other, "each has its own salt");
        assert_eq!(parse(&one.to_string()), one);
        assert!(one.verify("pass,word-é"));
    }

    fn document(json: &str) -> Result<Option<StoredPassword>, HashError> {
        StoredPassword::from_document(&Value::parse(json.as_bytes()).unwrap())
    }

    #[test]
    fn user_documents_of_all_ages() {
        let sha1 = hex(&sha1("secret", "pepper"));
        let simple = format!(r#"{{"password_sha":"{sha1}","salt":"pepper"}}"#);
        assert!(document(&simple).unwrap().unwrap().verify("secret"));
        let key = hex(&hash::pbkdf2(HashFunction::Sha1, b"secret", "pepper", 10, 20));
        let old = format!(
            r#"{{"password_scheme":"pbkdf2","iterations":10,"derived_key":"{key}","salt":"pepper"}}"#
        );
        assert!(document(&old).unwrap().unwrap().verify("secret"));
        let key = hex(&hash::pbkdf2(HashFunction::Sha256, sha1.as_bytes(), "pepper", 10, 32));
        let both = format!(
            r#"{{"password_scheme":"simple+pbkdf2","pbkdf2_prf":"sha256","iterations":10,
                 "derived_key":"{key}","salt":"pepper"}}"#
        );
        let both = document(&both).unwrap().unwrap();
        assert!(both.verify("secret") && !both.verify(&sha1));
    }

    #[test]
    fn user_documents_without_a_usable_hash() {
        assert_eq!(document("{}").unwrap(), None);
        assert_eq!(document(r#"{"salt":"a"}"#).unwrap(), None);
        for bad in [
            r#"{"salt":"a","password_sha":""}"#,
            r#"{"salt":"a","password_scheme":"pbkdf2","derived_key":"00","iterations":1}"#,
            r#"{"salt":"a","password_scheme":"bcrypt","derived_key":"00"}"#,
        ] {
            assert!(document(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_weaker() {
        let policy = crate::config::Settings::default().accounts.passwords;
        let strong = StoredPassword::Pbkdf2 {
            prf: HashFunction::Sha256,
            key: vec![0; 32],
            salt: String::new(),
            iterations: policy.iterations,
            over_sha1: false,
        };
        assert!(!strong.is_weaker_than(&policy));
        assert!(StoredPassword::new("a", 10).unwrap().is_weaker_than(&policy));
        assert!(parse(&format!("-hashed-{},a", "00".repeat(20))).is_weaker_than(&policy));
    }

    #[test]
    fn what_is_stored_of_a_password_in_a_document() {
        let stored = StoredPassword::new("secret", 10).unwrap();
        let members = stored.document_members();
        let names: Vec<_> = members.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, &HASH_MEMBERS[..5]);
        let object = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let read = StoredPassword::from_document(&Value::Object(object)).unwrap();
        assert_eq!(read, Some(stored));
    }
}
