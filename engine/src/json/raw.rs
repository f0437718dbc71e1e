//! Looking into text that the scanner wrote, without building anything.
//!
//! Text in any other form gives some other answer, but does no harm.

use super::value::string_length;

/// The members of an object: names without quotes and values, both as they are spelled.
#[must_use]
pub fn members(object: &[u8]) -> Members<'_> {
    Members { rest: object.strip_prefix(b"{").unwrap_or_default() }
}

/// The items of an array, as they are spelled.
#[must_use]
pub fn items(array: &[u8]) -> Items<'_> {
    Items { rest: array.strip_prefix(b"[").unwrap_or_default() }
}

/// The value of an object's member `name`, which needs no escapes.
#[must_use]
pub fn member<'t>(object: &'t [u8], name: &str) -> Option<&'t [u8]> {
    members(object).find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
}

/// The inside of a string, as it is spelled.
#[must_use]
pub fn string(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// See [`members`].
#[derive(Clone, Debug)]
pub struct Members<'t> {
    rest: &'t [u8],
}

impl<'t> Iterator for Members<'t> {
    type Item = (&'t [u8], &'t [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let inside = self.rest.strip_prefix(b"\"")?;
        let (name, rest) = inside.split_at_checked(string_length(inside)?)?;
        let rest = rest.strip_prefix(b"\":")?;
        let (value, rest) = rest.split_at_checked(value_length(rest)?)?;
        self.rest = rest.get(1..).unwrap_or_default();
        Some((name, value))
    }
}

/// See [`items`].
#[derive(Clone, Debug)]
pub struct Items<'t> {
    rest: &'t [u8],
}

impl<'t> Iterator for Items<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        let (item, rest) = self.rest.split_at_checked(value_length(self.rest)?)?;
        self.rest = rest.get(1..).unwrap_or_default();
        (!item.is_empty()).then_some(item)
    }
}

/// Length of the value at the front of `text`, up to the comma or bracket that ends it.
fn value_length(text: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at += string_length(text.get(at + 1..)?)? + 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return Some(at),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_and_items_are_found() {
        let text = br#"{"a":1,"b\"":{"c":[1,{"d":"]}"}]},"":"","e":[]}"#;
        let found: Vec<_> = members(text)
            .map(|(name, value)| [name, value].map(|part| std::str::from_utf8(part).unwrap()))
            .collect();
        assert_eq!(
            found,
            [["a", "1"], ["b\\\"", r#"{"c":[1,{"d":"]}"}]}"#], ["", "\"\""], ["e", "[]"]]
        );
        let found: Vec<_> = items(br#"[1,"a,]",[2,3],{}]"#).collect();
        assert_eq!(found, [&b"1"[..], b"\"a,]\"", b"[2,3]", b"{}"]);
        assert_eq!(items(b"[]").count() + members(b"{}").count() + items(b"1").count(), 0);
        assert_eq!(member(text, "e"), Some(&b"[]"[..]));
        assert_eq!(string(b"\"x\""), Some(&b"x"[..]));
    }

    proptest! {
        #[test]
        fn hostile_text_does_no_harm(text in r#"[\[\]{}",:\\a0]{0,24}"#) {
            members(text.as_bytes()).for_each(drop);
            items(text.as_bytes()).for_each(drop);
        }
    }
}
