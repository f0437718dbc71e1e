//! The MD5 digest of an attachment, in the forms CouchDB gives it.

use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};

/// What a digest begins with in JSON.
const PREFIX: &str = "md5-";

/// Computes the digest of bytes that come piece by piece.
#[derive(Clone, Default)]
pub struct Hasher(Md5);

impl Hasher {
    /// Begins a digest.
    #[must_use]
    pub fn new() -> Self {
        Hasher::default()
    }

    /// Takes in further bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes.
    #[must_use]
    pub fn finish(self) -> [u8; 16] {
        self.0.finalize().into()
    }
}

/// The digest of `bytes`.
#[must_use]
pub fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// The digest as JSON has it: `md5-` and base64.
#[must_use]
pub fn to_text(digest: &[u8; 16]) -> String {
    format!("{PREFIX}{}", to_base64(digest))
}

/// The digest as `Content-MD5` and the `ETag` of an attachment have it: base64.
#[must_use]
pub fn to_base64(digest: &[u8; 16]) -> String {
    STANDARD.encode(digest)
}

/// Reads either form back.
#[must_use]
pub fn parse(text: &str) -> Option<[u8; 16]> {
    let base64 = text.strip_prefix(PREFIX).unwrap_or(text);
    STANDARD.decode(base64).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_couchdb() {
        assert_eq!(to_text(&md5(b"bbb")), "md5-CPjgJgxkQYUQzvsrBu7lzQ==");
        let mut hasher = Hasher::new();
        hasher.update(b"a");
        hasher.update(b"a");
        assert_eq!(to_text(&hasher.finish()), "md5-QSS8CpM1wn8IbyS6IHpJEg==");
    }

    #[test]
    fn both_forms_are_read() {
        let digest = md5(b"");
        assert_eq!(parse(&to_text(&digest)), Some(digest));
        assert_eq!(parse(&to_base64(&digest)), Some(digest));
        assert_eq!(parse("md5-CPjg"), None);
        assert_eq!(parse("md5-???"), None);
    }
}
