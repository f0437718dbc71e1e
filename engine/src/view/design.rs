//! From a design document to the views it defines.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use super::{
    definition::{IndexDefinition, Signature, ViewDefinition, ViewGroup},
    javascript::JavaScriptSource,
    key::Collation,
    reduce::ReduceSpec,
    source::RowSource,
    updating::UpdateQueue,
};
use crate::{
    database::Database,
    error::{Error, Result},
    find::definition::{self, JsonIndexes},
    json::{Object, Value},
};

/// The language of design documents that name none.
const JAVASCRIPT: &str = "javascript";
/// The member of `views` that holds modules instead of a view.
const LIB: &str = "lib";

/// One map function of a design document, each text once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MapFunction {
    /// A view it belongs to.
    pub(crate) view: String,
    pub(crate) text: String,
}

/// The views of the design document with this id and body.
pub(super) fn group(id: &str, body: &Value, database: &Database) -> Result<ViewGroup> {
    let options = Options::read(body, database.props().partitioned);
    let language = body.get("language").and_then(Value::as_str).unwrap_or(JAVASCRIPT);
    let empty = Object::new();
    let listed = body.get("views").and_then(Value::as_object).unwrap_or(&empty);
    let lib = listed.get(LIB).map(Value::to_json);
    let mut functions: Vec<MapFunction> = Vec::new();
    let mut indexes: Vec<IndexDefinition> = Vec::new();
    let mut views = BTreeMap::new();
    for (name, view) in listed.iter().filter(|(name, _)| *name != LIB) {
        let Some(text) = map_text(language, view) else { continue };
        let definition = options.index(language, lib.as_deref(), &text, view);
        let reduce = match view.get("reduce").and_then(Value::as_str) {
            Some(text) => Some(ReduceSpec::parse(text).map_err(Error::InvalidDesignDoc)?),
            None => None,
        };
        let known = indexes.iter().position(|index| index.signature == definition.signature);
        let index = known.unwrap_or_else(|| {
            functions.push(MapFunction { view: name.to_owned(), text: text.clone().into_owned() });
            indexes.push(IndexDefinition { function: indexes.len(), ..definition });
            indexes.len() - 1
        });
        if let (Some(reduce), Some(index)) = (&reduce, indexes.get_mut(index))
            && !index.reducers.contains(reduce)
        {
            index.reducers.push(reduce.clone());
        }
        views.insert(name.to_owned(), ViewDefinition { index, reduce });
    }
    let autoupdate = body.get("autoupdate").and_then(Value::as_bool).unwrap_or(true);
    Ok(ViewGroup {
        id: id.to_owned(),
        source: source(id, language, lib, functions, database)?,
        indexes,
        views,
        language: language.to_owned(),
        autoupdate,
        partitioned: options.partitioned,
        queue: UpdateQueue::default(),
    })
}

/// The text that defines a view's rows: a function, or the fields of an index as JSON.
fn map_text<'v>(language: &str, view: &'v Value) -> Option<Cow<'v, str>> {
    match (view.get("map")?, language) {
        (Value::String(text), _) => Some(Cow::Borrowed(text)),
        (map @ Value::Object(_), definition::LANGUAGE) => {
            String::from_utf8(map.to_json()).ok().map(Cow::Owned)
        }
        _ => None,
    }
}

/// What runs the functions of a language.
fn source(
    id: &str,
    language: &str,
    lib: Option<Vec<u8>>,
    functions: Vec<MapFunction>,
    database: &Database,
) -> Result<Arc<dyn RowSource>> {
    if language == definition::LANGUAGE {
        let maps = functions.iter().map(|function| function.text.as_str());
        return Ok(Arc::new(JsonIndexes::new(maps)));
    }
    if language != JAVASCRIPT {
        return Err(Error::UnknownQueryLanguage(language.to_owned()));
    }
    let shared = Arc::clone(&database.shared);
    Ok(Arc::new(JavaScriptSource { id: id.to_owned(), shared, lib, functions }))
}

/// The options of a design document.
struct Options {
    local_seq: bool,
    include_design: bool,
    partitioned: bool,
}

impl Options {
    fn read(body: &Value, partitioned_database: bool) -> Self {
        let option = |name| body.get("options")?.get(name)?.as_bool();
        Options {
            local_seq: option("local_seq").unwrap_or(false),
            include_design: option("include_design").unwrap_or(false),
            partitioned: option("partitioned").unwrap_or(partitioned_database),
        }
    }

    fn index(
        &self,
        language: &str,
        lib: Option<&[u8]>,
        map: &str,
        view: &Value,
    ) -> IndexDefinition {
        let collation = view.get("options").and_then(|options| options.get("collation"));
        let collation = match collation.and_then(Value::as_str) {
            Some("raw") => Collation::Raw,
            _ => Collation::Unicode,
        };
        let flags = [
            u8::from(self.local_seq),
            u8::from(self.include_design),
            u8::from(self.partitioned),
            u8::from(collation == Collation::Raw),
        ];
        let parts = [language.as_bytes(), map.as_bytes(), &flags, lib.unwrap_or_default()];
        IndexDefinition {
            collation,
            local_seq: self.local_seq,
            include_design: self.include_design,
            partitioned: self.partitioned,
            ..IndexDefinition::new(Signature::of(&parts), 0)
        }
    }
}
