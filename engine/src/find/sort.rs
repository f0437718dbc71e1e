//! Fields with a direction: the order of a query, the fields of an index.

use super::{FindError, error::shown};
use crate::json::{Object, Value};

/// A list of fields, all of them ascending or all of them descending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sort {
    fields: Vec<String>,
    descending: bool,
}

impl Sort {
    /// Reads an array of fields: `"a"` or `{"a": "asc"}`.
    ///
    /// # Errors
    /// [`FindError::InvalidSort`], [`FindError::InvalidSortField`], [`FindError::MixedSort`].
    pub fn parse(value: &Value) -> Result<Self, FindError> {
        let items = value.as_array().ok_or_else(|| FindError::InvalidSort(shown(value)))?;
        let mut sort = Sort::default();
        for (number, item) in items.iter().enumerate() {
            let (field, descending) =
                field(item).ok_or_else(|| FindError::InvalidSortField(shown(item)))?;
            if number > 0 && descending != sort.descending {
                return Err(FindError::MixedSort);
            }
            sort.fields.push(field.to_owned());
            sort.descending = descending;
        }
        Ok(sort)
    }

    /// The fields, as they were named.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = &str> {
        self.fields.iter().map(String::as_str)
    }

    /// True if there are no fields: any order will do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// True if the greatest comes first.
    #[must_use]
    pub fn descending(&self) -> bool {
        self.descending
    }

    /// `{"a": "asc"}`
    #[must_use]
    pub fn to_object(&self) -> Object {
        let mut object = Object::new();
        for field in &self.fields {
            object.insert(field.as_str(), direction(self.descending));
        }
        object
    }
}

/// `asc` or `desc`.
pub(super) fn direction(descending: bool) -> &'static str {
    if descending { "desc" } else { "asc" }
}

/// What a direction's name stands for.
pub(super) fn is_descending(direction: &Value) -> Option<bool> {
    match direction.as_str()? {
        "asc" => Some(false),
        "desc" => Some(true),
        _ => None,
    }
}

fn field(item: &Value) -> Option<(&str, bool)> {
    match item {
        Value::String(field) if !field.is_empty() => Some((field, false)),
        Value::Object(members) if members.len() == 1 => {
            let (field, direction) = members.iter().next()?;
            Some((field, is_descending(direction)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Sort, FindError> {
        Sort::parse(&Value::parse(json.as_bytes()).unwrap())
    }

    #[test]
    fn sorts_are_read() {
        let sort = parse(r#"["a",{"b.c":"asc"}]"#).unwrap();
        assert_eq!(sort.fields().collect::<Vec<_>>(), ["a", "b.c"]);
        assert!(!sort.descending());
        let sort = parse(r#"[{"a":"desc"},{"b":"desc"}]"#).unwrap();
        assert!(sort.descending());
        assert_eq!(Value::from(sort.to_object()).to_json(), br#"{"a":"desc","b":"desc"}"#);
        assert!(parse("[]").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_sort_is_refused() {
        for (json, id) in [
            (r#""a""#, "invalid_sort_json"),
            ("[5]", "invalid_sort_field"),
            (r#"[""]"#, "invalid_sort_field"),
            (r#"[{"a":"up"}]"#, "invalid_sort_field"),
            (r#"[{"a":"asc","b":"asc"}]"#, "invalid_sort_field"),
            (r#"["a",{"b":"desc"}]"#, "unsupported_mixed_sort"),
        ] {
            assert_eq!(parse(json).unwrap_err().id(), id, "{json}");
        }
    }
}
