//! The query string of a request.

use std::borrow::Cow;

use super::{Failure, percent};

/// The parameters of a query string in the order they came, decoded (`+` is a blank).
///
/// Values are bytes: a value that isn't UTF-8 has to reach the parser of its parameter, which
/// answers for it.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Query {
    /// Decodes a raw query string (without the `?`). A name without `=` has an empty value, as
    /// has a name whose escapes are broken.
    ///
    /// # Errors
    ///
    /// 400 `invalid_url_encoding` when a `%` isn't followed by two hexadecimal digits.
    pub fn parse(raw: &str) -> Result<Self, Failure> {
        let pairs = raw
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name)?, decode(value)?))
            })
            .collect::<Result<_, Failure>>()?;
        Ok(Self { pairs })
    }

    /// Every parameter in order; names that aren't UTF-8 are left out, for no parameter is called
    /// that. Parsers that fold left to right (the last value wins) walk this.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.pairs
            .iter()
            .filter_map(|(name, value)| Some((str::from_utf8(name).ok()?, value.as_slice())))
    }

    /// The first value given for `name`, as it came.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.pairs.iter().find(|(key, _)| key == name.as_bytes())?;
        Some(value)
    }

    /// The first value given for `name` as text; bytes that aren't UTF-8 become U+FFFD.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.bytes(name).map(String::from_utf8_lossy)
    }

    /// Whether the first value given for `name` is exactly `true`.
    pub fn is_true(&self, name: &str) -> bool {
        self.bytes(name) == Some(b"true")
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

fn decode(raw: &str) -> Result<Vec<u8>, Failure> {
    let mut decoded = Vec::with_capacity(raw.len());
    percent::decode_into(raw.as_bytes(), true, &mut decoded)
        .ok_or_else(|| Failure::bad_request("invalid_url_encoding"))?;
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_values_is_looked_up() {
        let query = Query::parse("rev=1-a&rev=2-b&flag&x=a+b%20c").unwrap();
        assert_eq!(query.text("rev").as_deref(), Some("1-a"));
        assert_eq!(query.text("flag").as_deref(), Some(""));
        assert_eq!(query.text("x").as_deref(), Some("a b c"));
        assert_eq!(query.text("y"), None);
        let all: Vec<_> = query.iter().filter(|(name, _)| *name == "rev").collect();
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn values_may_hold_equals_signs_and_any_byte() {
        let query = Query::parse("key=%22%FF=%22&").unwrap();
        assert_eq!(query.bytes("key"), Some(b"\"\xff=\"".as_slice()));
        assert!(Query::parse("").unwrap().is_empty());
    }
}
