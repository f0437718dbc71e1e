//! Making and deleting indexes, which is writing design documents.

use std::sync::Arc;

use super::{
    FindError, JsonIndex, Selector, Sort, UseIndex,
    definition::{LANGUAGE, PARTIAL_FILTER},
    error::shown,
    request::{boolean, check_members, positive},
};
use crate::{
    Caller,
    database::Database,
    document::{Body, Document, Limits},
    error::{Error, Result},
    json::{Object, Value},
    name::DESIGN_PREFIX,
    read::Reader,
    revision::index_name,
    write::WriteMode,
};

/// How often a design document is read and written again that somebody else is changing.
const MAX_ATTEMPTS: usize = 10;

/// An index that is to be made.
///
/// ```
/// use settee_engine::{find::IndexRequest, json::{Object, Value}};
///
/// let Value::Object(body) = Value::parse(br#"{"index": {"fields": ["age"]}, "name": "by-age"}"#)? else {
///     unreachable!()
/// };
/// let index = IndexRequest::parse(&body)?;
/// assert_eq!(index.name, "by-age");
/// # Ok::<(), settee_engine::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct IndexRequest {
    /// The design document's id.
    pub design: String,
    /// The index's name in it.
    pub name: String,
    /// Whether rows are kept by partition; as the database has it, if nothing is said.
    pub partitioned: Option<bool>,
    /// The view that stands for it.
    view: Object,
}

/// What became of an [`IndexRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexCreated {
    /// It was made.
    Created,
    /// There is just such an index.
    Exists,
}

/// What became of design documents whose indexes were to be deleted. Those that are there, the last first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkDeleted {
    /// Their indexes were deleted.
    pub deleted: Vec<String>,
    /// There were none, or they could not be; with CouchDB's word for it.
    pub failed: Vec<(String, &'static str)>,
}

const MEMBERS: [&str; 6] = ["index", "type", "name", "ddoc", "w", "partitioned"];

impl IndexRequest {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// [`FindError`] with the first fault, in CouchDB's order.
    pub fn parse(body: &Object) -> Result<Self, FindError> {
        let definition = body.get("index").ok_or(FindError::MissingKey("index"))?;
        let kind = body.get("type").map_or(Ok("json"), string)?;
        let name = body.get("name").map(non_empty).transpose()?;
        let design = body.get("ddoc").map(non_empty).transpose()?;
        let w = body.get("w").map_or(Ok(DEFAULT_W), positive)?;
        let partitioned = body.get("partitioned").map(boolean).transpose()?;
        check_members(body, &MEMBERS)?;
        match kind {
            "json" => {}
            "text" => return Err(FindError::ServiceUnavailable("text")),
            "nouveau" => return Err(FindError::ServiceUnavailable("nouveau")),
            other => return Err(FindError::InvalidIndexType(other.to_owned())),
        }
        let map = map(definition)?;
        let generated = || {
            let definition = Body::parse(&definition.to_json()).unwrap_or_else(|_| Body::empty());
            index_name(&definition, design, name, partitioned, w)
        };
        Ok(IndexRequest {
            design: design_id(design.map_or_else(generated, str::to_owned)),
            name: name.map_or_else(generated, str::to_owned),
            partitioned,
            view: view(map, definition),
        })
    }

    /// The design document with the index put into it.
    fn put_into(&self, mut design: Object, is_new: bool) -> Result<Object, FindError> {
        let mut views = match design.get("views") {
            Some(Value::Object(views)) => views.clone(),
            _ => Object::new(),
        };
        views.insert(self.name.as_str(), self.view.clone());
        design.insert("views", views);
        let partitioned = |options: &Value| options.get("partitioned")?.as_bool();
        if self.partitioned == design.get("options").and_then(partitioned) {
            return Ok(design);
        }
        match self.partitioned {
            Some(partitioned) if is_new => {
                let mut options = Object::new();
                options.insert("partitioned", partitioned);
                design.insert("options", options);
                Ok(design)
            }
            _ => Err(FindError::PartitionedMismatch(self.design.clone())),
        }
    }
}

/// CouchDB's default for `w`, which has no meaning on one node but goes into generated names.
const DEFAULT_W: u64 = 2;

fn string(value: &Value) -> Result<&str, FindError> {
    value.as_str().ok_or_else(|| FindError::NotAString(shown(value)))
}

fn non_empty(value: &Value) -> Result<&str, FindError> {
    match string(value)? {
        "" => Err(FindError::EmptyName),
        text => Ok(text),
    }
}

fn design_id(name: String) -> String {
    match name.starts_with(DESIGN_PREFIX) {
        true => name,
        false => format!("{DESIGN_PREFIX}{name}"),
    }
}

/// The checked definition, as it stands in the view's member `map`.
fn map(definition: &Value) -> Result<Object, FindError> {
    let definition =
        definition.as_object().ok_or_else(|| FindError::InvalidIndex(shown(definition)))?;
    let fields = definition.get("fields").ok_or(FindError::MissingKey("fields"))?;
    let fields = Sort::parse(fields)?;
    for field in fields.fields() {
        super::FieldPath::parse(field)?;
    }
    let filter = match definition.get(PARTIAL_FILTER) {
        Some(filter) => Selector::parse(filter)?.to_value(),
        None => Object::new().into(),
    };
    check_members(definition, &["fields", PARTIAL_FILTER])?;
    let mut map = Object::new();
    map.insert("fields", fields.to_object());
    map.insert(PARTIAL_FILTER, filter);
    Ok(map)
}

fn view(map: Object, definition: &Value) -> Object {
    let mut options = Object::new();
    options.insert("def", definition.clone());
    let mut view = Object::new();
    view.insert("map", map);
    view.insert("reduce", "_count");
    view.insert("options", options);
    view
}

/// The design documents that a request to delete indexes names.
///
/// # Errors
/// [`FindError`] with the first fault.
pub fn parse_bulk_delete(body: &Object) -> Result<Vec<String>, FindError> {
    let listed = body.get("docids").ok_or(FindError::MissingKey("docids"))?;
    let items = listed.as_array().ok_or_else(|| FindError::InvalidBulkDocs(shown(listed)))?;
    for item in items {
        UseIndex::parse(item)?;
    }
    body.get("w").map_or(Ok(DEFAULT_W), positive)?;
    check_members(body, &["docids", "w"])?;
    let id = |item: &Value| item.as_str().map(|name| design_id(name.to_owned()));
    items
        .iter()
        .map(|item| id(item).ok_or_else(|| FindError::InvalidBulkDocs(shown(listed))))
        .collect()
}

impl Database {
    /// Makes an index, in the name of somebody who may.
    ///
    /// # Errors
    /// [`FindError`] if the design document is of another kind; those of writing it.
    pub fn create_index(
        self: &Arc<Self>,
        caller: &Caller,
        request: &IndexRequest,
        limits: &Limits,
    ) -> Result<IndexCreated> {
        for _ in 0..MAX_ATTEMPTS {
            let stored = Design::read(&self.read()?, &request.design)?;
            let old = stored.as_ref().map(|design| design.body.clone());
            let is_new = old.is_none();
            let old = old.unwrap_or_else(|| {
                Object::from_iter([("language".to_owned(), Value::from(LANGUAGE))])
            });
            let new = request.put_into(old.clone(), is_new)?;
            if new == old {
                return Ok(IndexCreated::Exists);
            }
            let mut text = Vec::new();
            new.write(&mut text);
            let mut document = Document::parse(&text, Some(&request.design), limits)?;
            if let Some(Design { document: stored, .. }) = stored {
                document.rev = stored.rev;
                document.attachments = stored.attachments;
            }
            if self.write_design(caller, document)? {
                return Ok(IndexCreated::Created);
            }
        }
        Err(FindError::SavingConflict.into())
    }

    /// Deletes an index; with the last one its design document, if there is nothing else in that.
    ///
    /// # Errors
    /// [`FindError::IndexNotFound`]; those of writing the design document.
    pub fn delete_index(
        self: &Arc<Self>,
        caller: &Caller,
        design: &str,
        kind: &str,
        name: &str,
    ) -> Result<()> {
        let is_it = |index: &JsonIndex| kind == "json" && index.name == name;
        self.delete_indexes(caller, &design_id(design.to_owned()), &is_it)
    }

    /// Deletes all indexes of some design documents.
    ///
    /// # Errors
    /// Those of writing the design documents.
    pub fn delete_all_indexes(
        self: &Arc<Self>,
        caller: &Caller,
        designs: &[String],
    ) -> Result<BulkDeleted> {
        let mut outcome = BulkDeleted::default();
        for design in designs.iter().rev() {
            match self.delete_indexes(caller, design, &|_| true) {
                Ok(()) => outcome.deleted.push(design.clone()),
                Err(Error::Find(error)) => outcome.failed.push((design.clone(), error.id())),
                Err(error) => return Err(error),
            }
        }
        Ok(outcome)
    }

    fn delete_indexes(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
        which: &dyn Fn(&JsonIndex) -> bool,
    ) -> Result<()> {
        for _ in 0..MAX_ATTEMPTS {
            let reader = self.read()?;
            let indexes = reader.json_indexes()?;
            let names: Vec<&str> = indexes
                .iter()
                .filter(|index| index.design == id && which(index))
                .map(|index| index.name.as_str())
                .collect();
            if names.is_empty() {
                return Err(FindError::IndexNotFound.into());
            }
            let Some(design) = Design::read(&reader, id)? else {
                return Err(FindError::IndexNotFound.into());
            };
            if self.write_design(caller, design.without(&names)?)? {
                return Ok(());
            }
        }
        Err(FindError::SavingConflict.into())
    }

    /// False if somebody else was faster.
    fn write_design(self: &Arc<Self>, caller: &Caller, design: Document) -> Result<bool> {
        let mut results = self.write_as(caller, vec![design], WriteMode::Interactive)?;
        match results.pop() {
            Some(Ok(_)) => Ok(true),
            Some(Err(Error::Conflict)) | None => Ok(false),
            Some(Err(error)) => Err(error),
        }
    }
}

/// A design document of indexes.
struct Design {
    document: Document,
    body: Object,
}

impl Design {
    /// Nothing if there is none.
    fn read(reader: &Reader, id: &str) -> Result<Option<Self>> {
        let document = match reader.edit(id, None) {
            Ok(document) => document,
            Err(Error::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Value::Object(body) = document.body.to_value()? else {
            return Err(Error::Damaged("design document"));
        };
        match body.get("language") {
            Some(Value::String(language)) if language == LANGUAGE => {
                Ok(Some(Design { document, body }))
            }
            other => Err(FindError::InvalidLanguage(shown(other.unwrap_or(&Value::Null))).into()),
        }
    }

    /// The document without some indexes; deleted, if nothing remains.
    fn without(mut self, names: &[&str]) -> Result<Document> {
        let mut views = match self.body.get("views") {
            Some(Value::Object(views)) => views.clone(),
            _ => Object::new(),
        };
        for name in names {
            views.remove(name);
        }
        match views.is_empty() {
            true => drop(self.body.remove("views")),
            false => self.body.insert("views", views),
        }
        self.document.body = match self.body.len() {
            // The language alone.
            1 => {
                self.document.deleted = true;
                self.document.attachments.clear();
                Body::empty()
            }
            _ => Body::parse(&Value::Object(self.body).to_json())?,
        };
        Ok(self.document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<IndexRequest, FindError> {
        let Value::Object(body) = Value::parse(json.as_bytes()).unwrap() else { unreachable!() };
        IndexRequest::parse(&body)
    }

    #[test]
    fn generated_names_are_couchdbs() {
        let index = parse(r#"{"index":{"fields":[]}}"#).unwrap();
        assert_eq!(index.name, "16d64bc5aa5ac9a0662f02b45a7d70d4a6923ccc");
        assert_eq!(index.design, "_design/16d64bc5aa5ac9a0662f02b45a7d70d4a6923ccc");
        let named = parse(r#"{"index":{"fields":[]},"name":"n"}"#).unwrap();
        assert_ne!(named.design, index.design);
        assert_eq!(named.name, "n");
    }

    #[test]
    fn faults_have_couchdbs_words() {
        for (json, id) in [
            ("{}", "missing_required_key"),
            (r#"{"index":{}}"#, "missing_required_key"),
            (r#"{"index":5}"#, "invalid_index"),
            (r#"{"index":{"fields":["a"]},"type":"x"}"#, "invalid_index"),
            (r#"{"index":{"fields":["a"]},"type":5}"#, "invalid_string"),
            (r#"{"index":{"fields":["a"]},"type":"text"}"#, "required index service unavailable"),
            (r#"{"index":{"fields":["a"]},"ddoc":""}"#, "invalid_empty_string"),
            (r#"{"index":{"fields":["a"]},"w":0}"#, "invalid_pos_integer"),
            (r#"{"index":{"fields":["a"]},"what":0}"#, "invalid_key"),
            (r#"{"index":{"fields":["a"],"what":0}}"#, "invalid_key"),
            (r#"{"index":{"fields":["a..b"]}}"#, "invalid_field_name"),
            (r#"{"index":{"fields":["a",{"b":"desc"}]}}"#, "unsupported_mixed_sort"),
        ] {
            assert_eq!(parse(json).unwrap_err().id(), id, "{json}");
        }
    }
}
