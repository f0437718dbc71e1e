//! The JSON text that is stored of a document.

use crate::{
    error::{Error, Result},
    json::{Scanner, Value},
};

/// A document's body: a JSON object in CouchDB's spelling, without special members.
///
/// CouchDB writes `-0.0` as `0.0`, but computes revision ids from the number it was sent; a body
/// therefore remembers its negative zeros until it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    text: Vec<u8>,
    /// Where in the text a `0.0` stands that was sent as `-0.0`, ascending.
    negative_zeros: Vec<usize>,
}

impl Body {
    /// The body without members.
    #[must_use]
    pub fn empty() -> Self {
        Body { text: b"{}".to_vec(), negative_zeros: Vec::new() }
    }

    /// Reads any JSON object as a body; members are taken as they are.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] if the text is not JSON, [`Error::BadRequest`] if it is not an object.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let mut scanner = Scanner::new(json)?;
        let mut text = Vec::with_capacity(json.len());
        scanner.value(&mut text)?;
        scanner.end()?;
        if text.first() != Some(&b'{') {
            return Err(Error::BadRequest("Document must be a JSON object".into()));
        }
        Ok(Body::from_scanned(text, scanner.has_negative_zero()))
    }

    /// A body read back from the store.
    #[must_use]
    pub fn from_stored(text: Vec<u8>) -> Self {
        Body { text, negative_zeros: Vec::new() }
    }

    /// A body as the scanner wrote it.
    pub(crate) fn from_scanned(text: Vec<u8>, negative_zero: bool) -> Self {
        if !negative_zero {
            return Body { text, negative_zeros: Vec::new() };
        }
        let mut body = Body { text: Vec::with_capacity(text.len()), negative_zeros: Vec::new() };
        let mut rest = &text[..];
        while let Some(number) = find_negative_zero(rest) {
            let (before, after) = rest.split_at(number);
            body.text.extend_from_slice(before);
            body.negative_zeros.push(body.text.len());
            rest = after.get(1..).unwrap_or_default();
        }
        body.text.extend_from_slice(rest);
        body
    }

    /// The text to be stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The text to be stored.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.text
    }

    /// The body as a tree.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] if a body from the store is damaged.
    pub fn to_value(&self) -> Result<Value> {
        Value::from_canonical(&self.text)
    }

    pub(crate) fn negative_zeros(&self) -> &[usize] {
        &self.negative_zeros
    }
}

/// The first `-0.0` of a canonical text that is a number, not part of a string.
fn find_negative_zero(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'-', text.get(at..)?)?;
        let rest = text.get(at..)?;
        match rest {
            [b'"', inside @ ..] => at += crate::json::value::string_length(inside)? + 2,
            [b'-', b'0', b'.', b'0', b',' | b'}' | b']', ..] => return Some(at),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_zeros_are_written_without_sign_and_remembered() {
        let body =
            Body::parse(br#"{"a":[-0.0,"-0.0",-0e9,-0.05],"-0.0":-0.0,"s":"\"-0.0,"}"#).unwrap();
        let text = br#"{"a":[0.0,"-0.0",0.0,-0.05],"-0.0":0.0,"s":"\"-0.0,"}"#;
        assert_eq!(String::from_utf8_lossy(body.as_bytes()), String::from_utf8_lossy(text));
        assert_eq!(body.negative_zeros(), [6, 17, 35]);
    }

    #[test]
    fn only_objects_are_bodies() {
        assert!(matches!(Body::parse(b"[]"), Err(Error::BadRequest(_))));
        assert!(matches!(Body::parse(b"{"), Err(Error::InvalidJson)));
        assert_eq!(Body::parse(b" { } ").unwrap(), Body::empty());
    }
}
