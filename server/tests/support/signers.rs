//! Keys of every kind that signs tokens, as an issuer has them.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use p521::ecdsa::signature::Signer as _;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use ring::{hmac, rand};
use serde_json::{Value, json};

use super::tokens::{signed, unsigned};

/// A file of `fixtures/jwt`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/jwt").join(name)
}

/// A key that signs.
pub(crate) enum Signer {
    Hmac(Vec<u8>),
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    P521(p521::ecdsa::SigningKey),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    pub(crate) fn hmac(secret: &[u8]) -> Self {
        Self::Hmac(secret.to_vec())
    }

    /// Always the same: making one takes seconds.
    pub(crate) fn rsa() -> Self {
        let pem = std::fs::read_to_string(fixture("rsa.key.pem")).unwrap();
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        Self::Rsa(RsaKeyPair::from_pkcs8(&STANDARD.decode(base64).unwrap()).unwrap())
    }

    pub(crate) fn p256() -> Self {
        Self::P256(curve(&signature::ECDSA_P256_SHA256_FIXED_SIGNING))
    }

    pub(crate) fn p384() -> Self {
        Self::P384(curve(&signature::ECDSA_P384_SHA384_FIXED_SIGNING))
    }

    pub(crate) fn p521() -> Self {
        let mut secret = [0; 66];
        rand::SecureRandom::fill(&SystemRandom::new(), &mut secret[1..]).unwrap();
        Self::P521(p521::ecdsa::SigningKey::from_slice(&secret).unwrap())
    }

    pub(crate) fn ed25519() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    /// The algorithms it can sign with.
    pub(crate) fn algorithms(&self) -> &'static [&'static str] {
        match self {
            Self::Hmac(_) => &["HS256", "HS384", "HS512"],
            Self::Rsa(_) => &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
            Self::P256(_) => &["ES256"],
            Self::P384(_) => &["ES384"],
            Self::P521(_) => &["ES512"],
            Self::Ed25519(_) => &["EdDSA"],
        }
    }

    /// A token with this header, signed as `algorithm` says, whatever the header says.
    pub(crate) fn sign_as(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let unsigned = unsigned(header, claims);
        let signature = self.signature(algorithm, unsigned.as_bytes());
        signed(&unsigned, &signature)
    }

    /// A token signed by the first of its algorithms.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        self.sign_as(self.algorithms()[0], header, claims)
    }

    fn signature(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Hmac(secret) => {
                let function = match algorithm {
                    "HS256" => hmac::HMAC_SHA256,
                    "HS384" => hmac::HMAC_SHA384,
                    _ => hmac::HMAC_SHA512,
                };
                hmac::sign(&hmac::Key::new(function, secret), message).as_ref().to_vec()
            }
            Self::Rsa(pair) => {
                let padding: &dyn signature::RsaEncoding = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_SHA256,
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    _ => &signature::RSA_PSS_SHA512,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Self::P256(pair) | Self::P384(pair) => {
                pair.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Self::P521(key) => {
                let signature: p521::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// The public key, as its algorithm encodes it.
    fn public(&self) -> Vec<u8> {
        match self {
            Self::Hmac(_) => panic!("a secret has no public side"),
            Self::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Self::P256(pair) | Self::P384(pair) => pair.public_key().as_ref().to_vec(),
            Self::P521(key) => key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            Self::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// The kind of the key and its value, as `[jwt_keys]` has them.
    pub(crate) fn config(&self) -> (&'static str, String) {
        // The algorithm and, where there is one, the curve.
        let (kind, identifier): (_, &[u8]) = match self {
            Self::Hmac(secret) => return ("hmac", STANDARD.encode(secret)),
            Self::Rsa(_) => ("rsa", b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00"),
            Self::P256(_) => (
                "ec",
                b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
            ),
            Self::P384(_) => {
                ("ec", b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22")
            }
            Self::P521(_) => {
                ("ec", b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23")
            }
            Self::Ed25519(_) => ("eddsa", b"\x06\x03\x2b\x65\x70"),
        };
        let bits = element(0x03, &[&[0], &self.public()[..]].concat());
        let der = element(0x30, &[element(0x30, identifier), bits].concat());
        let pem = STANDARD.encode(der);
        (kind, format!("-----BEGIN PUBLIC KEY-----\\n{pem}\\n-----END PUBLIC KEY-----"))
    }

    /// The line of `[jwt_keys]` that makes the key known by this name.
    pub(crate) fn line(&self, kid: &str) -> String {
        let (kind, value) = self.config();
        format!("{kind}:{kid} = {value}\n")
    }

    /// The key as an issuer publishes it.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let public = self.public();
        let point = |curve: &str| {
            let (x, y) = public[1..].split_at(public.len() / 2);
            json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
        };
        let mut jwk = match self {
            Self::Hmac(_) => unreachable!("it has no public side"),
            Self::Rsa(pair) => {
                let numbers = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "n": encode(&numbers.n), "e": encode(&numbers.e)})
            }
            Self::P256(_) => point("P-256"),
            Self::P384(_) => point("P-384"),
            Self::P521(_) => point("P-521"),
            Self::Ed25519(_) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&public)}),
        };
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        jwk
    }
}

fn curve(algorithm: &'static signature::EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()
}

/// An element of ASN.1 with this tag.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let [high, low] = length.to_be_bytes();
    let length = match length {
        0..0x80 => vec![low],
        0x80..0x100 => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag][..], &length, content].concat()
}
