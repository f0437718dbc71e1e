//! Keys and the algorithms that work with them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use p521::ecdsa::signature::Verifier as _;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;

use super::der::{self, PublicKeyInfo};
use crate::auth::hash;
use crate::config::HashFunction;

// Object ids, as they are encoded.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum KeyKind {
    /// A secret.
    Hmac,
    /// An RSA public key.
    Rsa,
    /// A point on one of NIST's curves.
    Ec,
    /// An Ed25519 public key.
    EdDsa,
}

impl KeyKind {
    const ALL: [Self; 4] = [Self::Hmac, Self::Rsa, Self::Ec, Self::EdDsa];

    /// The kind of the keys of `[jwt_keys]` that begin like this.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_string() == name)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hmac => "hmac",
            Self::Rsa => "rsa",
            Self::Ec => "ec",
            Self::EdDsa => "eddsa",
        })
    }
}

/// An algorithm of RFC 7518 or RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// HMAC.
    Hs(HashFunction),
    /// RSA with the padding of PKCS #1.
    Rs(HashFunction),
    /// RSA with probabilistic padding.
    Ps(HashFunction),
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// ECDSA with P-521 and SHA-512.
    Es512,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The algorithm of this name; `none` is none.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let function = || match name.get(2..)? {
            "256" => Some(HashFunction::Sha256),
            "384" => Some(HashFunction::Sha384),
            "512" => Some(HashFunction::Sha512),
            _ => None,
        };
        match (name, name.get(..2)?) {
            ("ES256", _) => Some(Self::Es256),
            ("ES384", _) => Some(Self::Es384),
            ("ES512", _) => Some(Self::Es512),
            ("EdDSA", _) => Some(Self::EdDsa),
            (_, "HS") => function().map(Self::Hs),
            (_, "RS") => function().map(Self::Rs),
            (_, "PS") => function().map(Self::Ps),
            _ => None,
        }
    }

    /// The kind of keys it works with.
    pub(super) fn key_kind(self) -> KeyKind {
        match self {
            Self::Hs(_) => KeyKind::Hmac,
            Self::Rs(_) | Self::Ps(_) => KeyKind::Rsa,
            Self::Es256 | Self::Es384 | Self::Es512 => KeyKind::Ec,
            Self::EdDsa => KeyKind::EdDsa,
        }
    }
}

/// A key that signatures are checked with.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// The secret of an HMAC.
    Secret(Vec<u8>),
    /// An RSA public key, as PKCS #1 has it.
    RsaDer(Vec<u8>),
    /// An RSA public key: modulus and exponent, highest byte first.
    RsaNumbers { n: Vec<u8>, e: Vec<u8> },
    /// An uncompressed point on P-256.
    P256(Vec<u8>),
    /// An uncompressed point on P-384.
    P384(Vec<u8>),
    /// A point on P-521.
    P521(Box<p521::ecdsa::VerifyingKey>),
    /// An Ed25519 public key.
    Ed25519(Vec<u8>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

impl Key {
    /// Reads a value of `[jwt_keys]`: a secret in base64, or a public key in PEM whose line ends are
    /// written as `\n`.
    pub(super) fn from_config(kind: KeyKind, text: &str) -> Option<Self> {
        if kind == KeyKind::Hmac {
            let secret = STANDARD_NO_PAD.decode(text.trim().trim_end_matches('=')).ok()?;
            // With an empty secret anybody could sign.
            return (!secret.is_empty()).then_some(Self::Secret(secret));
        }
        let text = text.replace("\\n", "\n");
        let key = match pem(&text)? {
            ("RSA PUBLIC KEY", der) => Self::RsaDer(der),
            ("PUBLIC KEY", der) => Self::from_info(&der::public_key_info(&der)?)?,
            _ => return None,
        };
        (key.kind() == kind).then_some(key)
    }

    fn from_info(info: &PublicKeyInfo<'_>) -> Option<Self> {
        let key = info.key.to_vec();
        match (info.algorithm, info.parameter) {
            (RSA, _) => Some(Self::RsaDer(key)),
            (EC, Some(P256)) => Some(Self::P256(key)),
            (EC, Some(P384)) => Some(Self::P384(key)),
            (EC, Some(P521)) => Self::p521(&key),
            (ED25519, _) => Some(Self::Ed25519(key)),
            _ => None,
        }
    }

    /// Reads a public key as an issuer publishes it. Secrets are not taken: nobody publishes one.
    pub(super) fn from_jwk(jwk: &Value) -> Option<Self> {
        let bytes = |member: &str| URL_SAFE_NO_PAD.decode(jwk.get(member)?.as_str()?).ok();
        let text = |member: &str| jwk.get(member).and_then(Value::as_str);
        let point = || Some([vec![4], bytes("x")?, bytes("y")?].concat());
        match (text("kty")?, text("crv")) {
            ("RSA", _) => Some(Self::RsaNumbers { n: bytes("n")?, e: bytes("e")? }),
            ("EC", Some("P-256")) => point().map(Self::P256),
            ("EC", Some("P-384")) => point().map(Self::P384),
            ("EC", Some("P-521")) => Self::p521(&point()?),
            ("OKP", Some("Ed25519")) => bytes("x").map(Self::Ed25519),
            _ => None,
        }
    }

    fn p521(point: &[u8]) -> Option<Self> {
        let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
        Some(Self::P521(Box::new(key)))
    }

    /// What it is for.
    pub(super) fn kind(&self) -> KeyKind {
        match self {
            Self::Secret(_) => KeyKind::Hmac,
            Self::RsaDer(_) | Self::RsaNumbers { .. } => KeyKind::Rsa,
            Self::P256(_) | Self::P384(_) | Self::P521(_) => KeyKind::Ec,
            Self::Ed25519(_) => KeyKind::EdDsa,
        }
    }

    /// Whether the message was signed with this key by this algorithm. A key of another kind than the
    /// algorithm's has signed nothing.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signed: &[u8]) -> bool {
        let check = |algorithm: &'static dyn VerificationAlgorithm, key: &Vec<u8>| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signed).is_ok()
        };
        match (self, algorithm) {
            (Self::Secret(secret), Algorithm::Hs(function)) => {
                hash::is_hmac(function, secret, message, signed)
            }
            (Self::RsaDer(key), Algorithm::Rs(_) | Algorithm::Ps(_)) => {
                rsa(algorithm).is_some_and(|parameters| check(parameters, key))
            }
            (Self::RsaNumbers { n, e }, Algorithm::Rs(_) | Algorithm::Ps(_)) => {
                let key = RsaPublicKeyComponents { n, e };
                rsa(algorithm).is_some_and(|with| key.verify(with, message, signed).is_ok())
            }
            (Self::P256(key), Algorithm::Es256) => check(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Self::P384(key), Algorithm::Es384) => check(&signature::ECDSA_P384_SHA384_FIXED, key),
            (Self::P521(key), Algorithm::Es512) => p521::ecdsa::Signature::from_slice(signed)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            (Self::Ed25519(key), Algorithm::EdDsa) => check(&signature::ED25519, key),
            _ => false,
        }
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
    use HashFunction::{Sha256, Sha384, Sha512};
    match algorithm {
        Algorithm::Rs(Sha256) => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs(Sha384) => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs(Sha512) => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps(Sha256) => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps(Sha384) => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps(Sha512) => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

/// The label and the content of PEM text.
fn pem(text: &str) -> Option<(&str, Vec<u8>)> {
    let (label, rest) = text.trim().strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let (base64, end) = rest.split_once("-----END ")?;
    let base64: String = base64.split_whitespace().collect();
    let same = end.strip_suffix("-----") == Some(label);
    same.then_some(())?;
    Some((label, STANDARD.decode(base64).ok()?))
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};

    use super::*;

    const MESSAGE: &[u8] = b"header.claims";

    /// A public key as PEM text, its line ends as the configuration writes them.
    fn to_pem(algorithm: &[u8], parameter: &[u8], key: &[u8]) -> String {
        let element = |tag: u8, content: &[u8]| {
            [&[tag, content.len().try_into().unwrap()][..], content].concat()
        };
        let parameter = if parameter.is_empty() { vec![] } else { element(6, parameter) };
        let identifier = element(0x30, &[element(6, algorithm), parameter].concat());
        let bits = element(3, &[&[0][..], key].concat());
        let der = element(0x30, &[identifier, bits].concat());
        format!("-----BEGIN PUBLIC KEY-----\\n{}\\n-----END PUBLIC KEY-----", STANDARD.encode(der))
    }

    fn ec(algorithm: &'static signature::EcdsaSigningAlgorithm) -> (EcdsaKeyPair, SystemRandom) {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        (EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap(), random)
    }

    #[test]
    fn elliptic_curves_from_text_and_from_an_issuer() {
        let (pair, random) = ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING);
        let signed = pair.sign(&random, MESSAGE).unwrap();
        let public = pair.public_key().as_ref();
        let configured = Key::from_config(KeyKind::Ec, &to_pem(EC, P256, public)).unwrap();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = serde_json::json!({
            "kty": "EC", "crv": "P-256", "x": encode(&public[1..33]), "y": encode(&public[33..]),
        });
        for key in [configured, Key::from_jwk(&jwk).unwrap()] {
            assert!(key.verifies(Algorithm::Es256, MESSAGE, signed.as_ref()));
            assert!(!key.verifies(Algorithm::Es256, b"other", signed.as_ref()));
            assert!(!key.verifies(Algorithm::Es384, MESSAGE, signed.as_ref()));
            assert!(!key.verifies(Algorithm::Es256, MESSAGE, &signed.as_ref()[..63]));
            assert!(!key.verifies(Algorithm::Es256, MESSAGE, b""));
        }
        let (pair, random) = ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING);
        let signed = pair.sign(&random, MESSAGE).unwrap();
        let key = Key::from_config(KeyKind::Ec, &to_pem(EC, P384, pair.public_key().as_ref()));
        assert!(key.unwrap().verifies(Algorithm::Es384, MESSAGE, signed.as_ref()));
    }

    /// Made with OpenSSL: `openssl dgst -sha512 -sign` over [`MESSAGE`].
    #[test]
    fn the_curve_that_ring_does_not_have() {
        let jwk = serde_json::json!({
            "kty": "EC", "crv": "P-521",
            "x": "ANNvb8zFJD5cCiuoLvOvlbFvjU5OlsTGYQBbH6t1zzBnEMleOtWewmJZxYUKQ6IXHEqDezUBpHYC\
                  ppEM9ccCJCxt",
            "y": "AQ0mlFuYOLRbV3vfEQKgmTMt8kD6n_gYZKf9pJ27UjmwGN5swPK4zRjKvO0scwiAJ9_BD7nMCvaq\
                  O6_FcKvj9T9h",
        });
        let signed = "ANgb4CyWwv-3QpGXf7ijAar7BT7GWxsp_8J7gk1AHhwmxLyzFgY6-3HRnLbO29ESaFipbQv4oOJv\
                      TnL0Hz0-qwHAAHIj56eCrt97b6Zp5IHn9_CxgUzSkJcHOfO66rtVEAo76NIBA99eQJ0xlcjWsD_O\
                      lJLxdOsoz6_b3lYP4oubzCie";
        let signed = URL_SAFE_NO_PAD.decode(signed).unwrap();
        let key = Key::from_jwk(&jwk).unwrap();
        assert_eq!(key.kind(), KeyKind::Ec);
        assert!(key.verifies(Algorithm::Es512, MESSAGE, &signed));
        assert!(!key.verifies(Algorithm::Es384, MESSAGE, &signed));
        assert!(!key.verifies(Algorithm::Es512, b"other", &signed));
        for signed in [&signed[..131], &[0; 132], b""] {
            assert!(!key.verifies(Algorithm::Es512, MESSAGE, signed));
        }
        let mut off_the_curve = jwk;
        off_the_curve["y"] = off_the_curve["x"].clone();
        assert!(Key::from_jwk(&off_the_curve).is_none());
    }

    #[test]
    fn edwards_curves() {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let signed = pair.sign(MESSAGE);
        let key =
            Key::from_config(KeyKind::EdDsa, &to_pem(ED25519, &[], pair.public_key().as_ref()));
        assert!(key.unwrap().verifies(Algorithm::EdDsa, MESSAGE, signed.as_ref()));
    }

    #[test]
    fn a_public_key_is_never_a_secret() {
        let (pair, _) = ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING);
        let pem = to_pem(EC, P256, pair.public_key().as_ref());
        let key = Key::from_config(KeyKind::Ec, &pem).unwrap();
        let mac = hash::hmac(HashFunction::Sha256, pem.as_bytes(), MESSAGE);
        assert!(!key.verifies(Algorithm::Hs(HashFunction::Sha256), MESSAGE, &mac));
        for kind in [KeyKind::Rsa, KeyKind::EdDsa, KeyKind::Hmac] {
            assert!(Key::from_config(kind, &pem).is_none(), "{kind}");
        }
        let jwk = serde_json::json!({"kty": "oct", "k": "AAAA"});
        assert!(Key::from_jwk(&jwk).is_none());
    }

    #[test]
    fn secrets() {
        let key = Key::from_config(KeyKind::Hmac, "c2VjcmV0").unwrap();
        for function in [HashFunction::Sha256, HashFunction::Sha384, HashFunction::Sha512] {
            let mac = hash::hmac(function, b"secret", MESSAGE);
            assert!(key.verifies(Algorithm::Hs(function), MESSAGE, &mac));
        }
        assert!(!key.verifies(Algorithm::Es256, MESSAGE, b"secret"));
        assert!(Key::from_config(KeyKind::Hmac, "").is_none());
        assert!(Key::from_config(KeyKind::Hmac, "!").is_none());
    }

    #[test]
    fn names_of_algorithms() {
        for name in ["HS256", "RS384", "PS512", "ES256", "ES512", "EdDSA"] {
            assert!(Algorithm::parse(name).is_some(), "{name}");
        }
        for name in ["none", "", "hs256", "HS1", "HS2567", "é", "ES5"] {
            assert!(Algorithm::parse(name).is_none(), "{name}");
        }
    }
}
