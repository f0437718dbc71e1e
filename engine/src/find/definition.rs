//! Indexes over fields, as design documents of the language `query` define them, and the rows they have.

use super::{
    FieldPath, Selector, UseIndex,
    path::Found,
    sort::{direction, is_descending},
};
use crate::{
    error::Result,
    json::{Object, Value},
    name::DESIGN_PREFIX,
    view::{Emit, RowMapper, RowSource},
};

/// The language of design documents that define such indexes.
pub(crate) const LANGUAGE: &str = "query";
/// The member of a definition that says which documents are indexed.
pub(super) const PARTIAL_FILTER: &str = "partial_filter_selector";
/// How a design document's text begins. None is found by a selector, so none is indexed.
const DESIGN_DOCUMENT: &[u8] = b"{\"_id\":\"_design/";
/// What that member was called once.
const LEGACY_FILTER: &str = "selector";

/// One field of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// As it was named.
    pub(super) name: String,
    pub(super) path: FieldPath,
    descending: bool,
}

impl Column {
    /// Ascending columns over these fields; names that are none are left out.
    pub(super) fn of(names: &[&str]) -> Vec<Self> {
        let column = |name: &&str| {
            let path = FieldPath::parse(name).ok()?;
            Some(Column { name: (*name).to_owned(), path, descending: false })
        };
        names.iter().filter_map(column).collect()
    }

    /// Whether one of the fields lies within another.
    pub(super) fn overlap(columns: &[Column]) -> bool {
        let mut paths: Vec<Vec<&str>> =
            columns.iter().map(|column| column.path.parts().collect()).collect();
        paths.sort_unstable();
        let lies_within = |pair: &[Vec<&str>]| match pair {
            [outer, inner] => inner.starts_with(outer),
            _ => false,
        };
        paths.windows(2).any(lies_within)
    }
}

/// Which rows an index has: one for each document that has all the fields and matches the filter, under the
/// array of their values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Definition {
    pub(super) columns: Vec<Column>,
    filter: Selector,
}

impl Definition {
    /// Reads the member `map` of a view; nothing if it is no definition.
    fn parse(map: &Object) -> Option<Self> {
        let column = |(name, direction): (&str, &Value)| {
            let path = FieldPath::parse(name).ok()?;
            Some(Column { name: name.to_owned(), path, descending: is_descending(direction)? })
        };
        let columns = map.get("fields")?.as_object()?.iter().map(column).collect::<Option<_>>()?;
        let filter = match filter(map) {
            Some(filter) => Selector::parse(filter).ok()?,
            None => Selector::Everything,
        };
        Some(Definition { columns, filter })
    }

    /// Writes the key of a document's row. False if it has none.
    fn write_key(&self, document: &[u8], out: &mut Vec<u8>) -> bool {
        if !self.filter.matches(document) {
            return false;
        }
        out.push(b'[');
        for (number, column) in self.columns.iter().enumerate() {
            let Found::Value(value) = column.path.find(document) else { return false };
            if number > 0 {
                out.push(b',');
            }
            out.extend_from_slice(value);
        }
        out.push(b']');
        true
    }
}

fn filter(map: &Object) -> Option<&Value> {
    let is_some = |filter: &&Value| filter.as_object().is_none_or(|filter| !filter.is_empty());
    map.get(PARTIAL_FILTER).filter(is_some).or_else(|| map.get(LEGACY_FILTER).filter(is_some))
}

/// An index over fields.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonIndex {
    /// The design document's id.
    pub(super) design: String,
    pub(super) name: String,
    /// Its rows are kept by partition.
    pub(super) partitioned: bool,
    pub(super) definition: Definition,
    /// The definition as it stands in the design document.
    map: Object,
}

impl JsonIndex {
    /// The indexes of a design document, in the order of their names.
    pub(super) fn of_design(id: &str, body: &Value, partitioned_database: bool) -> Vec<Self> {
        if body.get("language").and_then(Value::as_str) != Some(LANGUAGE) {
            return Vec::new();
        }
        let option = body.get("options").and_then(|options| options.get("partitioned"));
        let partitioned = option.and_then(Value::as_bool).unwrap_or(partitioned_database);
        let views = body.get("views").and_then(Value::as_object).into_iter().flat_map(Object::iter);
        let index = |(name, view): (&str, &Value)| {
            view.get("options")?.as_object()?;
            let map = view.get("map")?.as_object()?.clone();
            let definition = Definition::parse(&map)?;
            let (design, name) = (id.to_owned(), name.to_owned());
            Some(JsonIndex { design, name, partitioned, definition, map })
        };
        let mut indexes: Vec<_> = views.filter_map(index).collect();
        indexes.sort_by(|a, b| a.name.cmp(&b.name));
        indexes
    }

    /// Whether it holds only some of the documents that have its fields.
    pub(super) fn is_partial(&self) -> bool {
        filter(&self.map).is_some()
    }

    /// Whether it is the index, or in the design document, that a query names.
    pub(super) fn is_named(&self, by: &UseIndex) -> bool {
        self.design.strip_prefix(DESIGN_PREFIX) == Some(&by.design)
            && by.name.as_ref().is_none_or(|name| *name == self.name)
    }

    /// As lists of indexes show it.
    pub(super) fn to_value(&self) -> Value {
        let mut def = Object::new();
        for (name, value) in self.map.iter() {
            match (name, value) {
                ("fields", _) => {
                    let columns = &self.definition.columns;
                    let fields = columns.iter().map(|column| {
                        let direction = Value::from(direction(column.descending));
                        Value::Object(Object::from_iter([(column.name.clone(), direction)]))
                    });
                    def.insert(name, fields.collect::<Vec<_>>());
                }
                (PARTIAL_FILTER, Value::Object(filter)) if filter.is_empty() => {}
                _ => def.insert(name, value.clone()),
            }
        }
        let mut index = Object::new();
        index.insert("ddoc", self.design.as_str());
        index.insert("name", self.name.as_str());
        index.insert("type", "json");
        index.insert("partitioned", self.partitioned);
        index.insert("def", def);
        index.into()
    }
}

/// The rows of some indexes of one design document.
#[derive(Debug)]
pub(crate) struct JsonIndexes {
    /// By number of the function; what is no definition has no rows.
    definitions: Vec<Option<Definition>>,
}

impl JsonIndexes {
    /// The indexes with these definitions, each the text of a view's member `map`.
    pub(crate) fn new<'t>(maps: impl IntoIterator<Item = &'t str>) -> Self {
        let definition = |text: &str| {
            let map = Value::from_canonical(text.as_bytes()).ok()?;
            Definition::parse(map.as_object()?)
        };
        JsonIndexes { definitions: maps.into_iter().map(definition).collect() }
    }
}

impl RowSource for JsonIndexes {
    fn mapper(&self, functions: &[usize]) -> Result<Box<dyn RowMapper>> {
        let definition = |number: &usize| self.definitions.get(*number).cloned().flatten();
        let definitions = functions.iter().map(definition).collect();
        Ok(Box::new(Mapper { definitions, key: Vec::new() }))
    }
}

struct Mapper {
    definitions: Vec<Option<Definition>>,
    key: Vec<u8>,
}

impl RowMapper for Mapper {
    fn map(&mut self, document: &[u8], emit: &mut Emit<'_>) -> Result<()> {
        if document.starts_with(DESIGN_DOCUMENT) {
            return Ok(());
        }
        for (number, definition) in self.definitions.iter().enumerate() {
            self.key.clear();
            if definition.as_ref().is_some_and(|it| it.write_key(document, &mut self.key)) {
                emit(number, &self.key, b"null");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(map: &str, document: &str) -> Vec<String> {
        let mut rows = Vec::new();
        let source = JsonIndexes::new([map]);
        let mut mapper = source.mapper(&[0]).unwrap();
        let mut emit = |_, key: &[u8], _: &[u8]| rows.push(String::from_utf8_lossy(key).into());
        mapper.map(document.as_bytes(), &mut emit).unwrap();
        rows
    }

    #[test]
    fn a_document_with_all_fields_has_one_row() {
        let map = r#"{"fields":{"a":"asc","b.c":"asc"}}"#;
        assert_eq!(rows(map, r#"{"_id":"x","a":[1],"b":{"c":null}}"#), ["[[1],null]"]);
        for without in [r#"{"_id":"x","a":1}"#, r#"{"_id":"x","a":1,"b":2}"#, r#"{"_id":"x"}"#] {
            assert!(rows(map, without).is_empty(), "{without}");
        }
        assert_eq!(rows(r#"{"fields":{}}"#, r#"{"_id":"x"}"#), ["[]"]);
    }

    #[test]
    fn a_filter_leaves_documents_out() {
        let map = r#"{"fields":{"a":"asc"},"partial_filter_selector":{"b":{"$gt":1}}}"#;
        assert_eq!(rows(map, r#"{"_id":"x","a":1,"b":2}"#), ["[1]"]);
        assert!(rows(map, r#"{"_id":"x","a":1,"b":1}"#).is_empty());
    }

    #[test]
    fn what_is_no_definition_has_no_rows() {
        for map in [
            "1",
            "{}",
            r#"{"fields":["a"]}"#,
            r#"{"fields":{"a":"up"}}"#,
            r#"{"fields":{"a..b":"asc"}}"#,
            r#"{"fields":{"a":"asc"},"partial_filter_selector":{"$no":1}}"#,
        ] {
            assert!(rows(map, r#"{"_id":"x","a":1}"#).is_empty(), "{map}");
        }
    }
}
