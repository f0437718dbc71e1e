//! What a query asks for.

use super::{Fields, FindError, Selector, SelectorError, Sort, bookmark::NIL, error::shown};
use crate::{
    error::Result as EngineResult,
    json::{Object, Value},
    name::DESIGN_PREFIX,
    partition,
};

type Result<T, E = FindError> = std::result::Result<T, E>;

/// Most fields a query may ask for.
const MAX_FIELDS: usize = 4096;

/// What holds where a query does not say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FindSettings {
    /// Documents returned by a query that names no limit.
    pub default_limit: u64,
    /// Above how many documents read for each one returned there is a warning; 0 for never.
    pub index_scan_warning_threshold: u64,
}

impl Default for FindSettings {
    fn default() -> Self {
        FindSettings { default_limit: 25, index_scan_warning_threshold: 10 }
    }
}

/// The index a query wants to be answered from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UseIndex {
    /// The design document, without `_design/`.
    pub design: String,
    /// The index in it; any, if none is named.
    pub name: Option<String>,
}

impl UseIndex {
    pub(super) fn parse(value: &Value) -> Result<Option<Self>> {
        let wrong = || FindError::InvalidIndexName(shown(value));
        let parts: Vec<&str> = match value {
            Value::Null => return Ok(None),
            Value::String(text) => {
                let parts: Vec<&str> = text.split('/').collect();
                match parts.as_slice() {
                    ["_design", rest @ ..] if !rest.is_empty() => rest.to_vec(),
                    _ => parts,
                }
            }
            Value::Array(items) => {
                items.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        };
        let without_prefix =
            |design: &str| design.strip_prefix(DESIGN_PREFIX).unwrap_or(design).to_owned();
        match parts.as_slice() {
            [] => Ok(None),
            [design] => Ok(Some(UseIndex { design: without_prefix(design), name: None })),
            [design, name] => Ok(Some(UseIndex {
                design: without_prefix(design),
                name: Some((*name).to_owned()),
            })),
            _ => Err(wrong()),
        }
    }

    /// `design`, or `design, name`, as warnings and errors name it.
    pub(super) fn shown(&self) -> String {
        match &self.name {
            None => self.design.clone(),
            Some(name) => format!("{}, {name}", self.design),
        }
    }

    fn to_value(&self) -> Value {
        let parts = std::iter::once(&self.design).chain(&self.name);
        parts.map(|part| Value::from(part.as_str())).collect::<Vec<_>>().into()
    }
}

/// A query, checked.
///
/// ```
/// use settee_engine::{find::{FindRequest, FindSettings}, json::{Object, Value}};
///
/// let Value::Object(body) = Value::parse(br#"{"selector": {"age": {"$gt": 40}}, "limit": 5}"#)? else {
///     unreachable!()
/// };
/// let request = FindRequest::parse(&body, None, &FindSettings::default())?;
/// assert_eq!((request.limit, request.skip), (5, 0));
/// # Ok::<(), settee_engine::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FindRequest {
    /// Which documents.
    pub selector: Selector,
    /// The index to be used.
    pub use_index: Option<UseIndex>,
    /// Where the page before ended.
    pub bookmark: Option<String>,
    /// At most so many documents.
    pub limit: u64,
    /// Passes over so many.
    pub skip: u64,
    /// Their order.
    pub sort: Sort,
    /// The names of the fields shown; all, if nothing is said.
    pub fields: Option<Vec<String>>,
    /// The same, to be applied.
    pub projection: Option<Fields>,
    /// Only documents of this partition.
    pub partition: Option<String>,
    /// Copies to read; has no meaning on one node but for the statistics.
    pub r: u64,
    /// Adds `_conflicts`.
    pub conflicts: bool,
    /// `stale=ok`: as `update=false`.
    pub stale: bool,
    /// Waits for the index to be up to date.
    pub update: bool,
    /// Has no meaning on one node.
    pub stable: bool,
    /// Adds how much was read.
    pub execution_stats: bool,
    /// Whether another index may be used than the one named.
    pub allow_fallback: bool,
    /// See [`FindSettings`].
    pub index_scan_warning_threshold: u64,
}

/// All members there may be.
const MEMBERS: [&str; 15] = [
    "selector",
    "use_index",
    "bookmark",
    "limit",
    "skip",
    "sort",
    "fields",
    "partition",
    "r",
    "conflicts",
    "stale",
    "update",
    "stable",
    "execution_stats",
    "allow_fallback",
];

impl FindRequest {
    /// Reads the body of a request. `partition` is that of the path.
    ///
    /// # Errors
    /// [`FindError`] with the first fault, in CouchDB's order.
    pub fn parse(
        body: &Object,
        partition: Option<&str>,
        settings: &FindSettings,
    ) -> EngineResult<Self> {
        let selector = body.get("selector").ok_or(FindError::MissingKey("selector"))?;
        let selector = Selector::parse(selector).map_err(FindError::from)?;
        let use_index = body.get("use_index").map_or(Ok(None), UseIndex::parse)?;
        let bookmark = body.get("bookmark").map_or(Ok(None), bookmark)?;
        let limit = body.get("limit").map_or(Ok(settings.default_limit), count)?;
        let skip = body.get("skip").map_or(Ok(0), count)?;
        let sort = body.get("sort").map_or(Ok(Sort::default()), Sort::parse)?;
        let fields = body.get("fields").map_or(Ok(None), fields)?;
        let projection = fields.as_deref().map(projection).transpose().map_err(FindError::from)?;
        let partition = joined_partition(body.get("partition"), partition)?;
        let r = body.get("r").map_or(Ok(1), positive)?;
        let conflicts = flag(body, "conflicts", false)?;
        let stale = body.get("stale").map_or(Ok(false), stale)?;
        let request = FindRequest {
            selector,
            use_index,
            bookmark,
            limit,
            skip,
            sort,
            fields,
            projection,
            partition,
            r,
            conflicts,
            stale,
            update: flag(body, "update", true)?,
            stable: flag(body, "stable", false)?,
            execution_stats: flag(body, "execution_stats", false)?,
            allow_fallback: flag(body, "allow_fallback", true)?,
            index_scan_warning_threshold: settings.index_scan_warning_threshold,
        };
        check_members(body, &MEMBERS)?;
        Ok(request)
    }

    /// Whether the index has to be brought up to date first.
    #[must_use]
    pub fn wants_update(&self) -> bool {
        self.update && !self.stale
    }

    /// The options as `_explain` shows them.
    pub(super) fn options(&self) -> Value {
        let strings = |list: &[String]| -> Vec<Value> {
            list.iter().map(|text| Value::from(text.as_str())).collect()
        };
        let mut options = Object::new();
        let use_index = self.use_index.as_ref().map(UseIndex::to_value);
        options.insert("use_index", use_index.unwrap_or(Value::Array(Vec::new())));
        options.insert("bookmark", self.bookmark.as_deref().unwrap_or(NIL));
        options.insert("limit", self.limit);
        options.insert("skip", self.skip);
        options.insert("sort", self.sort.to_object());
        options.insert("fields", strings(self.fields.as_deref().unwrap_or_default()));
        options.insert("partition", self.partition.as_deref().unwrap_or_default());
        options.insert("r", self.r);
        options.insert("conflicts", self.conflicts);
        options.insert("stale", if self.stale { Value::from("ok") } else { false.into() });
        options.insert("update", self.update);
        options.insert("stable", self.stable);
        options.insert("execution_stats", self.execution_stats);
        options.insert("allow_fallback", self.allow_fallback);
        options.into()
    }
}

/// Refuses the first member that is none of these.
pub(super) fn check_members(body: &Object, known: &[&str]) -> Result<()> {
    match body.iter().find(|(name, _)| !known.contains(name)) {
        Some((name, _)) => Err(FindError::UnknownKey(name.to_owned())),
        None => Ok(()),
    }
}

fn bookmark(value: &Value) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() || text == NIL => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        other => Err(FindError::InvalidBookmark(shown(other))),
    }
}

fn count(value: &Value) -> Result<u64> {
    value.as_u64().ok_or_else(|| FindError::Negative(shown(value)))
}

pub(super) fn positive(value: &Value) -> Result<u64> {
    value.as_u64().filter(|n| *n > 0).ok_or_else(|| FindError::NotPositive(shown(value)))
}

pub(super) fn boolean(value: &Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| FindError::NotABoolean(shown(value)))
}

fn flag(body: &Object, name: &str, default: bool) -> Result<bool> {
    body.get(name).map_or(Ok(default), boolean)
}

fn stale(value: &Value) -> Result<bool> {
    match value {
        Value::Bool(false) => Ok(false),
        Value::String(text) if text == "ok" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        other => Err(FindError::InvalidStale(shown(other))),
    }
}

/// No fields stand for all of them.
fn fields(value: &Value) -> Result<Option<Vec<String>>> {
    let items = value.as_array().ok_or_else(|| FindError::InvalidFields(shown(value)))?;
    let name = |item: &Value| {
        item.as_str().map(str::to_owned).ok_or_else(|| FindError::InvalidField(shown(item)))
    };
    let names: Vec<String> = items.iter().map(name).collect::<Result<_>>()?;
    if names.len() > MAX_FIELDS {
        return Err(FindError::TooManyFields(MAX_FIELDS));
    }
    Ok((!names.is_empty()).then_some(names))
}

fn projection(names: &[String]) -> Result<Fields, SelectorError> {
    Fields::parse(names.iter().map(String::as_str))
}

fn joined_partition(body: Option<&Value>, path: Option<&str>) -> EngineResult<Option<String>> {
    let body = match body {
        None => None,
        Some(Value::String(name)) if name.is_empty() => None,
        Some(Value::String(name)) => {
            partition::check_name(name)?;
            Some(name.as_str())
        }
        Some(other) => return Err(FindError::NotAString(shown(other)).into()),
    };
    match (body, path) {
        (Some(body), Some(path)) if body != path => Err(FindError::ConflictingPartition.into()),
        (body, path) => Ok(path.or(body).map(str::to_owned)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> EngineResult<FindRequest> {
        let Value::Object(body) = Value::parse(json.as_bytes()).unwrap() else { unreachable!() };
        FindRequest::parse(&body, None, &FindSettings::default())
    }

    #[test]
    fn forms_of_use_index() {
        for (json, design, name) in [
            (r#""d""#, "d", None),
            (r#""_design/d""#, "d", None),
            (r#""d/n""#, "d", Some("n")),
            (r#""_design/d/n""#, "d", Some("n")),
            (r#"["d"]"#, "d", None),
            (r#"["_design/d","n"]"#, "d", Some("n")),
        ] {
            let request = parse(&format!(r#"{{"selector":{{}},"use_index":{json}}}"#)).unwrap();
            let expected = UseIndex { design: design.into(), name: name.map(str::to_owned) };
            assert_eq!(request.use_index, Some(expected), "{json}");
        }
        for json in ["null", "[]"] {
            let request = parse(&format!(r#"{{"selector":{{}},"use_index":{json}}}"#)).unwrap();
            assert_eq!(request.use_index, None, "{json}");
        }
    }

    #[test]
    fn faults_have_couchdbs_words() {
        for (member, expected) in [
            (r#""limit":-1"#, "-1 is not an integer greater than or equal to zero"),
            (r#""skip":"x""#, "\"x\" is not an integer greater than or equal to zero"),
            (r#""r":0"#, "0 is not an integer greater than zero"),
            (r#""conflicts":1"#, "Invalid boolean value: 1"),
            (r#""use_index":5"#, "Invalid index name: 5"),
            (r#""use_index":"a/b/c""#, "Invalid index name: \"a/b/c\""),
            (r#""fields":"x""#, "Fields must be an array of strings, not: \"x\""),
            (r#""fields":[5]"#, "Invalid JSON for field spec: 5"),
            (r#""fields":["a..b"]"#, "Invalid field name: a..b"),
            (r#""bookmark":5"#, "Invalid bookmark value: 5"),
            (r#""partition":"_x""#, "Partition must not start with an underscore"),
            (r#""what":1,"limit":"x""#, "\"x\" is not an integer greater than or equal to zero"),
            (r#""what":1"#, "Invalid key what for this request."),
        ] {
            let error = parse(&format!(r#"{{"selector":{{}},{member}}}"#)).unwrap_err();
            assert_eq!(error.to_string(), expected, "{member}");
        }
        assert_eq!(parse("{}").unwrap_err().to_string(), "Missing required key: selector");
    }
}
