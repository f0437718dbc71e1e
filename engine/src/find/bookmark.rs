//! Where a query goes on: the last row of the page before.
//!
//! A bookmark is the base64url of a version digit and a JSON array: the document's id, and the key of its row if
//! an index was read.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::FindError;
use crate::json::{Value, write_string};

const VERSION: u8 = b'1';
/// What is given where there was no row, and taken for no bookmark.
pub(super) const NIL: &str = "nil";

/// The place of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bookmark {
    pub(super) id: String,
    /// The row's key as JSON text.
    pub(super) key: Option<Vec<u8>>,
}

impl Bookmark {
    pub(super) fn encode(&self) -> String {
        let mut text = vec![VERSION, b'['];
        write_string(&self.id, &mut text);
        if let Some(key) = &self.key {
            text.push(b',');
            text.extend_from_slice(key);
        }
        text.push(b']');
        URL_SAFE_NO_PAD.encode(text)
    }

    pub(super) fn decode(text: &str) -> Result<Self, FindError> {
        Bookmark::read(text).ok_or_else(|| {
            let mut quoted = Vec::new();
            write_string(text, &mut quoted);
            FindError::InvalidBookmark(String::from_utf8_lossy(&quoted).into_owned())
        })
    }

    fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let json = bytes.strip_prefix(&[VERSION])?;
        let value = Value::parse(json).ok()?;
        let (id, key) = match value.as_array()? {
            [id] => (id, None),
            [id, key @ Value::Array(_)] => (id, Some(key.to_json())),
            _ => return None,
        };
        Some(Bookmark { id: id.as_str()?.to_owned(), key })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bookmarks_come_back(id: String, key in prop::option::of(Just(br#"[1,"a",{"b":null}]"#.to_vec()))) {
            let bookmark = Bookmark { id, key };
            prop_assert_eq!(Bookmark::decode(&bookmark.encode()).unwrap(), bookmark);
        }

        #[test]
        fn others_are_refused(text in "[a-zA-Z0-9_-]{0,20}") {
            let error = Bookmark::decode(&text).unwrap_err();
            prop_assert_eq!(error.to_string(), format!("Invalid bookmark value: \"{text}\""));
        }
    }
}
