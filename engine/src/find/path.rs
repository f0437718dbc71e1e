//! Names of fields: `a.b` is the member `b` of the member `a`, `a.0` the first item of an array, and
//! `a\.b` a member whose name has a point.

use std::fmt;

use super::SelectorError;
use crate::json::{raw, write_string};

/// One part of a field's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    name: String,
    /// The name as a scanned object spells it, without quotes.
    pub(super) spelled: Vec<u8>,
    /// The name as the number of an array's item.
    pub(super) index: Option<usize>,
}

/// Where a field is inside a document. The empty path is the document itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath(Vec<Part>);

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'t> {
    /// A value, as it is spelled.
    Value(&'t [u8]),
    /// Nothing: an object on the way lacks the member.
    Nothing,
    /// The way leads through something that is no object, or beyond the end of an array.
    NoWay,
}

impl FieldPath {
    /// Reads a field's name.
    ///
    /// # Errors
    /// [`SelectorError::InvalidFieldName`] if a part of it is empty.
    pub fn parse(field: &str) -> Result<Self, SelectorError> {
        let mut parts = vec![String::new()];
        let mut escaped = false;
        for character in field.chars() {
            match (character, parts.last_mut()) {
                ('.', _) if !escaped => parts.push(String::new()),
                ('\\', _) => {}
                (character, Some(part)) => part.push(character),
                (_, None) => {}
            }
            escaped = character == '\\';
        }
        if parts.iter().any(String::is_empty) {
            return Err(SelectorError::InvalidFieldName(field.to_owned()));
        }
        Ok(FieldPath(parts.into_iter().map(Part::new).collect()))
    }

    /// The path of the field `inner` of the value at this path.
    #[must_use]
    pub fn join(&self, inner: &FieldPath) -> Self {
        FieldPath(self.0.iter().chain(&inner.0).cloned().collect())
    }

    /// True for the path of the document itself.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parts of the name.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|part| part.name.as_str())
    }

    /// The parts as they are looked up.
    pub(super) fn spelled_parts(&self) -> &[Part] {
        &self.0
    }

    /// True if it leads to or into a member that is not part of a document's body, such as `_rev`.
    pub(super) fn is_special(&self) -> bool {
        self.0.first().is_none_or(|part| part.name.starts_with('_'))
    }

    /// What is there in a text that [`crate::json::Scanner`] or
    /// [`crate::document::DocumentView`] wrote.
    #[must_use]
    pub fn find<'t>(&self, json: &'t [u8]) -> Found<'t> {
        let mut value = json;
        for part in &self.0 {
            value = match part.find(value) {
                Found::Value(value) => value,
                nowhere => return nowhere,
            };
        }
        Found::Value(value)
    }
}

impl Part {
    /// What is there in a value.
    pub(super) fn find<'t>(&self, value: &'t [u8]) -> Found<'t> {
        match (value.first(), self.index) {
            (Some(b'{'), _) => {
                let member = raw::members(value).find(|(name, _)| *name == self.spelled);
                member.map_or(Found::Nothing, |(_, value)| Found::Value(value))
            }
            (Some(b'['), Some(index)) => {
                raw::items(value).nth(index).map_or(Found::NoWay, Found::Value)
            }
            _ => Found::NoWay,
        }
    }

    fn new(name: String) -> Self {
        let mut quoted = Vec::new();
        write_string(&name, &mut quoted);
        let spelled = raw::string(&quoted).unwrap_or_default().to_vec();
        let index = name.parse().ok();
        Part { name, spelled, index }
    }
}

impl fmt::Display for FieldPath {
    /// The parts with points between them, as CouchDB shows a field; points inside a part are not
    /// marked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(".")?;
            }
            f.write_str(&part.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(field: &str) -> Vec<String> {
        FieldPath::parse(field).unwrap().parts().map(str::to_owned).collect()
    }

    #[test]
    fn names_are_split_at_points() {
        assert_eq!(parts("ab"), ["ab"]);
        assert_eq!(parts("a.b.0"), ["a", "b", "0"]);
        assert_eq!(parts(r"a\.b.c"), ["a.b", "c"]);
        assert_eq!(parts(r"\$a"), ["$a"]);
        for wrong in ["", ".", "a.", ".a", "a..b", r"\"] {
            let error = FieldPath::parse(wrong).unwrap_err();
            assert_eq!(error, SelectorError::InvalidFieldName(wrong.into()));
        }
        assert_eq!(FieldPath::parse(r"a\.b.c").unwrap().to_string(), "a.b.c");
    }

    #[test]
    fn values_are_found() {
        let json = r#"{"a":{"b":[1,{"c":"x"}],"\"":2},"d.e":3,"n":null}"#;
        let find = |field: &str| FieldPath::parse(field).unwrap().find(json.as_bytes());
        assert_eq!(find("a.b.0"), Found::Value(b"1"));
        assert_eq!(find("a.b.1.c"), Found::Value(b"\"x\""));
        assert_eq!(find("a.\""), Found::Value(b"2"));
        assert_eq!(find(r"d\.e"), Found::Value(b"3"));
        assert_eq!(find("n"), Found::Value(b"null"));
        assert_eq!(FieldPath::default().find(b"1"), Found::Value(b"1"));
        for nothing in ["x", "a.x", "d.e", "x.y.z", "a.b.1.x"] {
            assert_eq!(find(nothing), Found::Nothing, "{nothing}");
        }
        for no_way in ["n.x", "a.b.x", "a.b.2", "a.b.-1", "a.b.0.x"] {
            assert_eq!(find(no_way), Found::NoWay, "{no_way}");
        }
    }
}
