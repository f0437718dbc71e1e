//! The parameters of a listing, from the query string and from a JSON body.
//!
//! They are those of views, of which a listing is the simplest: the last of several values counts,
//! unknown names are ignored, and bad values are refused in CouchDB's words.

use settee_engine::json::{Object, Value};
use settee_engine::{AllDocsQuery, AttachmentForm, DocKey, Namespace, Selection};

use crate::http::{Failure, Query};

/// A value as it was given.
#[derive(Clone, Copy)]
pub(in crate::routes) enum Given<'v> {
    /// In the query string.
    Text(&'v [u8]),
    /// In a JSON body.
    Json(&'v Value),
}

/// What a request for a listing asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Params {
    key: Option<DocKey>,
    keys: Option<Vec<DocKey>>,
    start: Option<DocKey>,
    end: Option<DocKey>,
    exclusive_end: bool,
    descending: bool,
    skip: u64,
    limit: Option<u64>,
    include_docs: bool,
    conflicts: bool,
    attachments: bool,
    att_encoding_info: bool,
    include_system: bool,
    grouped: bool,
    reduced: bool,
    pub(super) update_seq: bool,
    pub(super) partition: Option<String>,
}

impl Params {
    /// Takes over what a query string says.
    pub(super) fn with_query(mut self, query: &Query) -> Result<Self, Failure> {
        for (name, value) in query.iter() {
            self.set(name, Given::Text(value))?;
        }
        Ok(self)
    }

    /// Takes over what the members of a body say.
    pub(super) fn with_members(mut self, members: &Object) -> Result<Self, Failure> {
        for (name, value) in members.iter() {
            self.set(name, Given::Json(value))?;
        }
        Ok(self)
    }

    fn set(&mut self, name: &str, value: Given<'_>) -> Result<(), Failure> {
        match name {
            "key" => self.key = Some(value.key()?),
            "keys" => self.keys = Some(value.keys()?),
            "startkey" | "start_key" => self.start = Some(value.key()?),
            "endkey" | "end_key" => self.end = Some(value.key()?),
            "inclusive_end" => self.exclusive_end = !value.boolean()?,
            "descending" => self.descending = value.boolean()?,
            "skip" => self.skip = value.count()?,
            "limit" => self.limit = Some(value.count()?),
            "include_docs" => self.include_docs = value.boolean()?,
            "conflicts" => self.conflicts = value.boolean()?,
            "attachments" => self.attachments = value.boolean()?,
            "att_encoding_info" => self.att_encoding_info = value.boolean()?,
            "include_system" => self.include_system = value.boolean()?,
            "update_seq" => self.update_seq = value.boolean()?,
            "partition" => self.partition = Some(value.name()),
            _ => return self.set_for_views(name, value),
        }
        Ok(())
    }

    /// Parameters that mean something to views only; their values are checked all the same.
    fn set_for_views(&mut self, name: &str, value: Given<'_>) -> Result<(), Failure> {
        match name {
            "sorted" => drop(value.boolean()?),
            "reduce" => self.reduced = value.boolean()?,
            "group" => self.grouped = value.boolean()?,
            "group_level" => self.grouped |= value.count()? > 0,
            "stale" => drop(value.one_of(name, &["ok", "update_after"])?),
            "stable" => drop(value.one_of(name, &["true", "false"])?),
            "update" => drop(value.one_of(name, &["true", "false", "lazy"])?),
            _ => {}
        }
        Ok(())
    }

    /// The engine's request, once all parameters are known.
    pub(super) fn into_query(self, namespace: Namespace) -> Result<AllDocsQuery, Failure> {
        if self.grouped {
            return Err(Failure::query_parse_error("Invalid use of grouping on a map view."));
        }
        if self.reduced {
            return Err(Failure::query_parse_error("Reduce is invalid for map-only views."));
        }
        let bounded = self.key.is_some() || self.start.is_some() || self.end.is_some();
        if bounded && self.keys.as_ref().is_some_and(|keys| !keys.is_empty()) {
            return Err(Failure::query_parse_error(
                "`keys` is incompatible with `key`, `start_key` and `end_key`",
            ));
        }
        let mut query = AllDocsQuery {
            namespace,
            partition: self.partition,
            descending: self.descending,
            skip: self.skip,
            limit: self.limit,
            include_docs: self.include_docs,
            include_system: self.include_system,
            selection: match (self.keys, self.key) {
                (Some(keys), _) => Selection::Keys(keys),
                (None, Some(key)) => Selection::key(key),
                (None, None) => Selection::Range {
                    start: self.start,
                    end: self.end,
                    inclusive_end: !self.exclusive_end,
                },
            },
            ..AllDocsQuery::default()
        };
        query.show.conflicts = self.conflicts;
        query.show.att_encoding_info = self.att_encoding_info;
        if self.attachments {
            query.show.attachments = AttachmentForm::Inline;
        }
        Ok(query)
    }
}

impl Given<'_> {
    /// How the value appears in a refusal.
    fn quoted(self) -> String {
        match self {
            // Erlang's empty string is an empty list.
            Given::Text(b"") => "[]".to_owned(),
            Given::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
            Given::Json(Value::String(text)) => format!("<<{text:?}>>"),
            Given::Json(value) => text(value),
        }
    }

    fn word(self) -> Option<String> {
        match self {
            Given::Text(text) => str::from_utf8(text).ok().map(str::to_owned),
            Given::Json(Value::String(text)) => Some(text.clone()),
            Given::Json(_) => None,
        }
    }

    pub(in crate::routes) fn boolean(self) -> Result<bool, Failure> {
        if let Given::Json(Value::Bool(value)) = self {
            return Ok(*value);
        }
        match self.word().map(|word| word.to_ascii_lowercase()).as_deref() {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => Err(Failure::query_parse_error(format!(
                "Invalid boolean parameter: {}",
                self.quoted()
            ))),
        }
    }

    /// A whole number from zero up.
    pub(in crate::routes) fn count(self) -> Result<u64, Failure> {
        let digits = match self {
            Given::Json(value @ Value::Number(_)) => text(value),
            other => other.word().unwrap_or_default(),
        };
        let kind = match digits.strip_prefix('-') {
            None => match digits.parse::<u64>() {
                Ok(count) => return Ok(count),
                Err(_) => "integer",
            },
            Some(rest) if rest.parse::<u64>().is_ok() => "positive integer",
            Some(_) => "integer",
        };
        Err(Failure::query_parse_error(format!("Invalid value for {kind}: {}", self.quoted())))
    }

    /// The position of the value among the words that may be given.
    pub(in crate::routes) fn one_of(self, name: &str, words: &[&str]) -> Result<usize, Failure> {
        let word = match self {
            Given::Json(Value::Bool(value)) => Some(value.to_string()),
            other => other.word(),
        };
        let position = word.and_then(|word| words.iter().position(|known| *known == word));
        let refused = || Failure::query_parse_error(format!("Invalid value for `{name}`."));
        position.ok_or_else(refused)
    }

    pub(in crate::routes) fn json(self) -> Result<Value, Failure> {
        match self {
            Given::Text(text) => Ok(Value::parse(text)?),
            Given::Json(value) => Ok(value.clone()),
        }
    }

    fn key(self) -> Result<DocKey, Failure> {
        self.json().map(key)
    }

    fn keys(self) -> Result<Vec<DocKey>, Failure> {
        let place = match self {
            Given::Text(_) => "parameter",
            Given::Json(_) => "body member",
        };
        match self.json()? {
            Value::Array(items) => Ok(items.into_iter().map(key).collect()),
            _ => Err(Failure::bad_request(format!("`keys` {place} must be an array."))),
        }
    }

    /// A partition's name: bare text in a query string, a string in a body.
    pub(in crate::routes) fn name(self) -> String {
        self.word().unwrap_or_else(|| match self {
            Given::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Given::Json(value) => text(value),
        })
    }
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(&value.to_json()).into_owned()
}

fn key(value: Value) -> DocKey {
    match value {
        Value::String(id) => DocKey::Id(id),
        other => DocKey::Other(text(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(json: &str) -> Object {
        Value::parse(json.as_bytes()).unwrap().as_object().unwrap().clone()
    }

    fn query(text: &str) -> Result<AllDocsQuery, Failure> {
        Params::default().with_query(&Query::parse(text).unwrap())?.into_query(Namespace::All)
    }

    fn check_refused(text: &str, reason: &str) {
        assert_eq!(query(text).unwrap_err().reason(), reason, "{text}");
    }

    #[test]
    fn ranges_and_keys() {
        let range = query("startkey=\"a\"&end_key=3&inclusive_end=false&skip=1&limit=2").unwrap();
        let expected = Selection::Range {
            start: Some(DocKey::Id("a".into())),
            end: Some(DocKey::Other("3".into())),
            inclusive_end: false,
        };
        assert_eq!((range.selection, range.skip, range.limit), (expected, 1, Some(2)));
        let keys = query("keys=[\"b\",null]").unwrap().selection;
        let expected = vec![DocKey::Id("b".into()), DocKey::Other("null".into())];
        assert_eq!(keys, Selection::Keys(expected));
    }

    #[test]
    fn the_query_string_overrides_the_body() {
        let members = members(r#"{"limit": 1, "descending": true, "x": []}"#);
        let params = Params::default().with_members(&members).unwrap();
        let params = params.with_query(&Query::parse("limit=5").unwrap()).unwrap();
        let query = params.into_query(Namespace::All).unwrap();
        assert_eq!((query.limit, query.descending), (Some(5), true));
    }

    #[test]
    fn refusals() {
        check_refused("limit=x", "Invalid value for integer: \"x\"");
        check_refused("limit=1.5", "Invalid value for integer: \"1.5\"");
        check_refused("skip=-1", "Invalid value for positive integer: \"-1\"");
        check_refused("descending=maybe", "Invalid boolean parameter: \"maybe\"");
        check_refused("stale=x", "Invalid value for `stale`.");
        check_refused("key=nojson", "invalid UTF-8 JSON");
        check_refused("keys={}", "`keys` parameter must be an array.");
        let incompatible = "`keys` is incompatible with `key`, `start_key` and `end_key`";
        check_refused("keys=[\"a\"]&key=\"a\"", incompatible);
        check_refused("keys=[\"a\"]&endkey=\"a\"", incompatible);
        check_refused("group=true", "Invalid use of grouping on a map view.");
        check_refused("reduce=true", "Reduce is invalid for map-only views.");
        let refusal = Params::default().with_members(&members(r#"{"limit": []}"#)).unwrap_err();
        assert_eq!(refusal.reason(), "Invalid value for integer: []");
    }
}
