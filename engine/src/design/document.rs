//! One design document whose functions can be called.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{
    check::JAVASCRIPT,
    pool::{Pool, Pooled},
};
use crate::{
    document::{Document, Limits},
    error::{Error, Result},
    javascript::{DesignFunction, FunctionSource, JsError, JsSettings, ListEnds, Mapper},
    json::{Value, raw},
    read::FoundDocument,
    revision::Rev,
};

/// A revision of a design document. Its functions are compiled when they are first called, and kept.
#[derive(Debug)]
pub struct DesignDocument {
    id: String,
    rev: Rev,
    text: Vec<u8>,
    members: Value,
    epoch: u64,
    settings: Arc<JsSettings>,
    pools: Mutex<HashMap<String, Arc<Pool>>>,
}

/// What an update function gives back.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// JSON text of the document to be written, if there is one.
    pub doc: Option<Vec<u8>>,
    /// The response object.
    pub response: Value,
}

impl DesignDocument {
    pub(super) fn new(
        found: &FoundDocument<'_>,
        epoch: u64,
        settings: Arc<JsSettings>,
    ) -> Result<Self> {
        let mut text = Vec::new();
        found.write_json(&mut text)?;
        let members = Value::from_canonical(&text)?;
        let (id, rev) = (found.id().to_owned(), found.rev().clone());
        Ok(DesignDocument { id, rev, text, members, epoch, settings, pools: Mutex::default() })
    }

    pub(super) fn is(&self, id: &str, rev: &Rev, epoch: u64) -> bool {
        self.id == id && &self.rev == rev && self.epoch == epoch
    }

    /// Its id, with `_design/`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its revision.
    #[must_use]
    pub fn rev(&self) -> &Rev {
        &self.rev
    }

    /// Its members.
    #[must_use]
    pub fn members(&self) -> &Value {
        &self.members
    }

    /// The text of a function, by the names that lead to it.
    ///
    /// # Errors
    /// [`Error::MissingKey`] with the name that is not there.
    pub fn source(&self, path: &[&str]) -> Result<&str> {
        let mut value = &self.members;
        for name in path {
            value = value.get(name).ok_or_else(|| Error::MissingKey((*name).to_owned()))?;
        }
        let wrong = || JsError::Compilation(format!("`{}` is no function", path.join(".")));
        Ok(value.as_str().ok_or_else(wrong)?)
    }

    /// Refuses languages other than JavaScript.
    ///
    /// # Errors
    /// [`JsError::UnknownLanguage`].
    pub fn check_language(&self) -> Result<()> {
        let language = self.members.get("language").and_then(Value::as_str);
        Ok(JsError::check_language(language.unwrap_or(JAVASCRIPT))?)
    }

    /// A function to be called, compiled if it is not yet.
    pub(super) fn function(&self, path: &[&str]) -> Result<Pooled> {
        let text = self.source(path)?;
        self.check_language()?;
        let name = format!("function '{}' of {}", path.join("."), self.id);
        let pool = Arc::clone(self.pools.lock().entry(name.clone()).or_default());
        let make = || {
            let function = FunctionSource { name: &name, text };
            DesignFunction::new(&self.settings, &self.text, function)
        };
        Ok(pool.take(make)?)
    }

    /// The map function of a view, compiled.
    ///
    /// # Errors
    /// [`Error::MissingKey`], [`Error::JavaScript`].
    pub fn mapper(&self, view: &str) -> Result<Mapper> {
        let text = self.source(&["views", view, "map"])?;
        self.check_language()?;
        let lib = raw::member(&self.text, "views").and_then(|views| raw::member(views, "lib"));
        let name = format!("map function of view '{view}' of {}", self.id);
        Ok(Mapper::new(&self.settings, lib, &[FunctionSource { name: &name, text }])?)
    }

    /// Runs a show function. `doc` is the document's JSON text, if there is one. Gives the response
    /// object.
    ///
    /// # Errors
    /// [`Error::MissingKey`], [`Error::JavaScript`].
    pub fn show(&self, name: &str, doc: Option<&[u8]>, req: &[u8]) -> Result<Value> {
        let mut function = self.function(&["shows", name])?;
        let response = function.run(|function| function.show(doc.unwrap_or(b"null"), req))?;
        Value::from_canonical(&response)
    }

    /// Runs an update function. `doc` is the document's JSON text, if there is one.
    ///
    /// # Errors
    /// [`Error::MissingKey`], [`Error::JavaScript`].
    pub fn update(&self, name: &str, doc: Option<&[u8]>, req: &[u8]) -> Result<Update> {
        let mut function = self.function(&["updates", name])?;
        let text = function.run(|function| function.update(doc.unwrap_or(b"null"), req))?;
        let doc = raw::member(&text, "doc").filter(|doc| *doc != b"null").map(<[u8]>::to_vec);
        let response = raw::member(&text, "response").unwrap_or(b"{}");
        Ok(Update { doc, response: Value::from_canonical(response)? })
    }

    /// Runs a list function: rows come from `ends`, and the answer goes there.
    ///
    /// # Errors
    /// [`Error::MissingKey`], [`Error::JavaScript`]; the answer may have begun then.
    pub fn list(&self, name: &str, head: &[u8], req: &[u8], ends: Box<dyn ListEnds>) -> Result<()> {
        let mut function = self.function(&["lists", name])?;
        Ok(function.run(|function| function.list(head, req, ends))?)
    }

    /// Runs the rewrite function. Gives the object that says where to go on; `None` if there is to be none.
    ///
    /// # Errors
    /// [`Error::MissingKey`], [`Error::JavaScript`].
    pub fn rewrite(&self, req: &[u8]) -> Result<Option<Value>> {
        let mut function = self.function(&["rewrites"])?;
        let answer = function.run(|function| function.rewrite(req))?;
        answer.map(|answer| Value::from_canonical(&answer)).transpose()
    }
}

impl Update {
    /// The document to be written as the engine takes it; `id` is the one it gets if it names none.
    ///
    /// # Errors
    /// As [`Document::parse`].
    pub fn document(&self, id: Option<&str>, limits: &Limits) -> Result<Option<Document>> {
        let Some(doc) = &self.doc else { return Ok(None) };
        let named = raw::member(doc, "_id").is_some();
        Document::parse(doc, id.filter(|_| !named), limits).map(Some)
    }
}
