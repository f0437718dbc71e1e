//! Password hashes in the forms `[admins]` holds.

use std::fmt;

use pbkdf2::pbkdf2_hmac;
use sha1::{Digest as _, Sha1};
use sha2::{Sha224, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq as _;

/// The longest derived key that is read, in bytes: the length of SHA-512.
const MAX_KEY_BYTES: usize = 64;

/// The longest salt that is read, in bytes.
const MAX_SALT_BYTES: usize = 1024;

/// The most iterations that are read: CouchDB's `max_iterations`.
const MAX_ITERATIONS: u32 = 1_000_000_000;

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
        prf: Prf,
        /// The derived key.
        key: Vec<u8>,
        /// The salt, as text.
        salt: String,
        /// Rounds.
        iterations: u32,
    },
    /// CouchDB 1.2's SHA-1 of password and salt: read, never made.
    Sha1 {
        /// The digest.
        digest: Vec<u8>,
        /// The salt, as text.
        salt: String,
    },
}

/// The hash function inside HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prf {
    /// SHA-1.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A value that looks like a hash and isn't one.
#[derive(Debug, thiserror::Error)]
#[error("not a password hash this version can read")]
pub struct HashError;

impl StoredPassword {
    /// Hashes a password with a new random salt. This takes as long as `iterations` ask for; not
    /// to be done on a thread that serves others.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers to give.
    pub fn new(password: &str, iterations: u32) -> Result<Self, getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let (prf, salt) = (Prf::Sha256, hex(&random));
        let key = prf.derive(password, &salt, iterations, Prf::Sha256.bytes());
        Ok(Self::Pbkdf2 { prf, key, salt, iterations })
    }

    /// Reads a value of `[admins]`; `None` when it is a plain password.
    ///
    /// # Errors
    ///
    /// When it begins like a hash and goes on like none.
    pub fn parse(value: &str) -> Result<Option<Self>, HashError> {
        let stored = if let Some(rest) = value.strip_prefix("-pbkdf2:") {
            let (prf, rest) = rest.split_once('-').ok_or(HashError)?;
            Self::parse_pbkdf2(Prf::parse(prf).ok_or(HashError)?, rest)
        } else if let Some(rest) = value.strip_prefix("-pbkdf2-") {
            Self::parse_pbkdf2(Prf::Sha1, rest)
        } else if let Some(rest) = value.strip_prefix("-hashed-") {
            Self::parse_sha1(rest)
        } else {
            return Ok(None);
        };
        stored.map(Some).ok_or(HashError)
    }

    fn parse_pbkdf2(prf: Prf, rest: &str) -> Option<Self> {
        let mut parts = rest.split(',');
        let key = unhex(parts.next()?)?;
        let salt = parts.next().filter(|salt| salt.len() <= MAX_SALT_BYTES)?.to_owned();
        let iterations = parts.next()?.parse().ok()?;
        let whole = parts.next().is_none() && (1..=MAX_ITERATIONS).contains(&iterations);
        // An empty or short key would let any, or too many, passwords in.
        let strong = key.len() >= Prf::Sha1.bytes() && key.len() <= MAX_KEY_BYTES;
        (whole && strong).then_some(Self::Pbkdf2 { prf, key, salt, iterations })
    }

    fn parse_sha1(rest: &str) -> Option<Self> {
        let (digest, salt) = rest.split_once(',')?;
        let digest = unhex(digest).filter(|digest| digest.len() == Prf::Sha1.bytes())?;
        (salt.len() <= MAX_SALT_BYTES).then(|| Self::Sha1 { digest, salt: salt.to_owned() })
    }

    /// Whether this is the password's hash. Takes as long as hashing does; the comparison itself
    /// takes the same time whatever comes out.
    pub fn verify(&self, password: &str) -> bool {
        match self {
            Self::Pbkdf2 { prf, key, salt, iterations } => {
                prf.derive(password, salt, *iterations, key.len()).ct_eq(key).into()
            }
            Self::Sha1 { digest, salt } => {
                let mut sha = Sha1::new();
                sha.update(password);
                sha.update(salt);
                sha.finalize().as_slice().ct_eq(digest).into()
            }
        }
    }

    /// The salt, which cookies are bound to: a new password makes old cookies worthless.
    pub fn salt(&self) -> &str {
        match self {
            Self::Pbkdf2 { salt, .. } | Self::Sha1 { salt, .. } => salt,
        }
    }
}

impl fmt::Display for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pbkdf2 { prf, key, salt, iterations } => {
                write!(f, "-pbkdf2:{}-{},{salt},{iterations}", prf.name(), hex(key))
            }
            Self::Sha1 { digest, salt } => write!(f, "-hashed-{},{salt}", hex(digest)),
        }
    }
}

impl Prf {
    const ALL: [Self; 5] = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|prf| prf.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of the function's output.
    fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn derive(self, password: &str, salt: &str, iterations: u32, bytes: usize) -> Vec<u8> {
        let mut key = vec![0; bytes];
        let (password, salt) = (password.as_bytes(), salt.as_bytes());
        match self {
            Self::Sha1 => pbkdf2_hmac::<Sha1>(password, salt, iterations, &mut key),
            Self::Sha224 => pbkdf2_hmac::<Sha224>(password, salt, iterations, &mut key),
            Self::Sha256 => pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut key),
            Self::Sha384 => pbkdf2_hmac::<Sha384>(password, salt, iterations, &mut key),
            Self::Sha512 => pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut key),
        }
        key
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect()
}

fn digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

fn unhex(text: &str) -> Option<Vec<u8>> {
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
}
