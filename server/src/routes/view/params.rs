//! The parameters of a view, from the query string and from a JSON body.

use settee_engine::AttachmentForm;
use settee_engine::json::{Object, Value};
use settee_engine::view::{KeyBound, QueryParams, ViewSelection};

use crate::http::{Failure, Query};
use crate::routes::all_docs::params::Given;

/// How new the rows must be. What is demanded more comes later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Freshness {
    /// `update=false`
    Old,
    /// `update=lazy`
    OldThenUpdate,
    /// `update=true`
    #[default]
    New,
}

/// What a request for a view asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Params {
    pub(super) query: QueryParams,
    pub(super) freshness: Freshness,
    pub(super) update_seq: bool,
    keys: Option<Vec<Vec<u8>>>,
    start: Option<Vec<u8>>,
    start_id: Option<String>,
    end: Option<Vec<u8>>,
    end_id: Option<String>,
    exclusive_end: bool,
}

impl Params {
    /// Takes over what a query string says.
    pub(super) fn with_query(mut self, query: &Query) -> Result<Self, Failure> {
        for (name, value) in query.iter() {
            self.set(name, Given::Text(value))?;
        }
        self.select()
    }

    /// Takes over what the members of a body say.
    pub(super) fn with_members(mut self, members: &Object) -> Result<Self, Failure> {
        for (name, value) in members.iter() {
            self.set(name, Given::Json(value))?;
        }
        self.select()
    }

    fn set(&mut self, name: &str, value: Given<'_>) -> Result<(), Failure> {
        match name {
            "key" => {
                let key = json(value)?;
                (self.start, self.end) = (Some(key.clone()), Some(key));
            }
            "keys" => self.set_keys(value)?,
            "startkey" | "start_key" => self.start = Some(json(value)?),
            "endkey" | "end_key" => self.end = Some(json(value)?),
            "startkey_docid" | "start_key_doc_id" => self.start_id = Some(id("start", value)?),
            "endkey_docid" | "end_key_doc_id" => self.end_id = Some(id("end", value)?),
            "inclusive_end" => self.exclusive_end = !value.boolean()?,
            "descending" => self.query.descending = value.boolean()?,
            "skip" => self.query.skip = value.count()?,
            "limit" => self.query.limit = Some(value.count()?),
            "reduce" => self.query.reduce = Some(value.boolean()?),
            "group" => self.query.group = Some(value.boolean()?),
            "group_level" => self.query.group_level = Some(value.count()?),
            "partition" => self.query.partition = Some(value.name()),
            _ => return self.set_presentation(name, value),
        }
        Ok(())
    }

    /// How rows are shown, and how new they must be.
    fn set_presentation(&mut self, name: &str, value: Given<'_>) -> Result<(), Failure> {
        match name {
            "include_docs" => self.query.include_docs = value.boolean()?,
            "conflicts" => self.query.show.conflicts = value.boolean()?,
            "attachments" => {
                self.query.show.attachments = match value.boolean()? {
                    true => AttachmentForm::Inline,
                    false => AttachmentForm::Stub,
                };
            }
            "att_encoding_info" => self.query.show.att_encoding_info = value.boolean()?,
            "update_seq" => self.update_seq = value.boolean()?,
            "sorted" => self.query.sorted = value.boolean()?,
            "stable" => drop(value.one_of(name, &["true", "false"])?),
            "stale" => {
                self.freshness = match value.one_of(name, &["ok", "update_after"])? {
                    0 => Freshness::Old,
                    _ => Freshness::OldThenUpdate,
                };
            }
            "update" => {
                self.freshness = match value.one_of(name, &["true", "false", "lazy"])? {
                    0 => Freshness::New,
                    1 => Freshness::Old,
                    _ => Freshness::OldThenUpdate,
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// A list of one key is that key, which later parameters may still change.
    fn set_keys(&mut self, value: Given<'_>) -> Result<(), Failure> {
        let Value::Array(keys) = value.json()? else {
            return Err(Failure::query_parse_error("`keys` must be an array of strings."));
        };
        let mut keys: Vec<Vec<u8>> = keys.iter().map(Value::to_json).collect();
        if keys.len() == 1 {
            self.keys = None;
            self.start = keys.pop();
            self.end.clone_from(&self.start);
        } else {
            self.keys = Some(keys);
        }
        Ok(())
    }

    /// Puts the rows to be read together.
    fn select(mut self) -> Result<Self, Failure> {
        let bounded = self.start.is_some() || self.end.is_some();
        self.query.selection = match &self.keys {
            Some(keys) if !keys.is_empty() && bounded => {
                return Err(Failure::query_parse_error(
                    "`keys` is incompatible with `key`, `start_key` and `end_key`",
                ));
            }
            Some(keys) => ViewSelection::Keys(keys.clone()),
            None => {
                let bound = |key: &Option<Vec<u8>>, id: &Option<String>| {
                    key.clone().map(|key| KeyBound { key, id: id.clone() })
                };
                ViewSelection::Range {
                    start: bound(&self.start, &self.start_id),
                    end: bound(&self.end, &self.end_id),
                    inclusive_end: !self.exclusive_end,
                }
            }
        };
        Ok(self)
    }

    /// Refuses more rows than `[query_server_config] query_limit` allows, if it is set.
    pub(super) fn check_limit(&self, most: Option<u64>) -> Result<(), Failure> {
        match (self.query.limit, most) {
            (Some(limit), Some(most)) if limit > most => Err(Failure::query_parse_error(format!(
                "Limit is too large, must not exceed {most}"
            ))),
            _ => Ok(()),
        }
    }
}

/// A key, in the spelling of the engine.
fn json(value: Given<'_>) -> Result<Vec<u8>, Failure> {
    Ok(value.json()?.to_json())
}

fn id(end: &str, value: Given<'_>) -> Result<String, Failure> {
    match value {
        Given::Json(Value::String(id)) => Ok(id.clone()),
        Given::Text(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        Given::Json(_) => {
            Err(Failure::query_parse_error(format!("`{end}_key_docid` must be a string.")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Result<Params, Failure> {
        Params::default().with_query(&Query::parse(query).unwrap())
    }

    fn refused(query: &str) -> String {
        params(query).unwrap_err().reason().to_owned()
    }

    #[test]
    fn a_list_of_one_key_is_that_key_until_something_else_is_said() {
        let key = |text: &str| Some(KeyBound { key: text.into(), id: None });
        let range = |start, end| ViewSelection::Range { start, end, inclusive_end: true };
        assert_eq!(params("keys=[2]").unwrap().query.selection, range(key("2"), key("2")));
        let later = params("keys=[2]&startkey=1").unwrap().query.selection;
        assert_eq!(later, range(key("1"), key("2")));
        let keys = vec![b"2".to_vec(), b"\"a\"".to_vec()];
        assert_eq!(params("keys=[2,%22a%22]").unwrap().query.selection, ViewSelection::Keys(keys));
    }

    #[test]
    fn how_new_rows_must_be() {
        let freshness = |query| params(query).unwrap().freshness;
        assert_eq!(freshness(""), Freshness::New);
        assert_eq!(freshness("stale=ok"), Freshness::Old);
        assert_eq!(freshness("stale=update_after"), Freshness::OldThenUpdate);
        assert_eq!(freshness("update=false&update=lazy"), Freshness::OldThenUpdate);
        assert!(Freshness::New > Freshness::OldThenUpdate);
    }

    #[test]
    fn refusals() {
        assert_eq!(refused("keys=2"), "`keys` must be an array of strings.");
        assert_eq!(refused("limit="), "Invalid value for integer: []");
        assert_eq!(refused("stable=x"), "Invalid value for `stable`.");
        let incompatible = "`keys` is incompatible with `key`, `start_key` and `end_key`";
        assert_eq!(refused("keys=[1,2]&endkey=2"), incompatible);
        let members = Value::parse(br#"{"startkey_docid": 1}"#).unwrap();
        let refusal = Params::default().with_members(members.as_object().unwrap()).unwrap_err();
        assert_eq!(refusal.reason(), "`start_key_docid` must be a string.");
    }
}
