//! Reading views.
//!
//! * `request`: what is asked for, and whether that makes sense for the view
//! * `range`: from keys to ranges of encoded rows
//! * `map`: rows; `documents`: the documents shown with them
//! * `groups`: reductions, over whole subtrees where they will do
//!
//! A query reads one moment of the index and one of the database. Answers are text, written row by row into
//! a [`ViewSink`].

mod documents;
mod groups;
mod map;
mod range;
mod request;

use std::{ops::ControlFlow, sync::Arc};

use settee_storage::Seq;

use self::request::{Grouping, Plan};
pub use self::request::{KeyBound, QueryParams, ViewSelection};
use super::{
    definition::{IndexDefinition, ViewDefinition, ViewGroup},
    index::Current,
};
use crate::{
    database::Database,
    error::{Error, Result},
    read::Reader,
};

/// What precedes the rows of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewHead {
    /// Rows of the index and rows before the first one, in the direction of the walk; nothing for
    /// reductions and where rows are asked for in any order.
    pub counts: Option<(u64, u64)>,
    /// The sequence of the database the index is at.
    pub update_seq: Seq,
}

/// Receives an answer. Rows are JSON text without separators or line ends. Breaking ends the scan.
pub trait ViewSink {
    /// Called once, before any row.
    fn head(&mut self, head: &ViewHead) -> ControlFlow<()>;
    /// Called for each row; the bytes are valid during the call.
    fn row(&mut self, json: &[u8]) -> ControlFlow<()>;
}

/// A view as it can be read now: one moment of its index and one of the database.
pub struct ViewReader {
    group: Arc<ViewGroup>,
    view: ViewDefinition,
    definition: IndexDefinition,
    name: String,
    current: Option<Arc<Current>>,
    reader: Reader,
}

impl Database {
    /// A view of a group, as its index is now: it is not brought up to date here. One that was never built
    /// has no rows.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such view, those of opening the index.
    pub fn read_view(self: &Arc<Self>, group: &Arc<ViewGroup>, name: &str) -> Result<ViewReader> {
        let (view, definition) = group.view(name)?;
        let current = self.view_index(definition.signature)?.current();
        Ok(ViewReader {
            view: view.clone(),
            definition: definition.clone(),
            name: name.to_owned(),
            group: Arc::clone(group),
            current,
            reader: self.read()?,
        })
    }
}

impl Database {
    /// As [`Database::read_view`]; a view whose index was never built is read as it was last defined when it
    /// was.
    ///
    /// # Errors
    /// As [`Database::read_view`].
    pub fn read_old_view(
        self: &Arc<Self>,
        group: &Arc<ViewGroup>,
        name: &str,
    ) -> Result<ViewReader> {
        match self.read_former_view(group, name)? {
            Some(former) => Ok(former),
            None => self.read_view(group, name),
        }
    }

    /// A view that has no index yet, as it was last defined when it had one. Nothing if it has an index, or
    /// never had one.
    ///
    /// # Errors
    /// As [`Database::read_view`].
    pub fn read_former_view(
        self: &Arc<Self>,
        group: &Arc<ViewGroup>,
        name: &str,
    ) -> Result<Option<ViewReader>> {
        let (_, definition) = group.view(name)?;
        if self.view_index(definition.signature)?.current().is_some() {
            return Ok(None);
        }
        for former in self.former_groups(&group.id)? {
            let former = Arc::new(former);
            let Ok((_, definition)) = former.view(name) else { continue };
            if self.view_index(definition.signature)?.current().is_some() {
                return self.read_view(&former, name).map(Some);
            }
        }
        Ok(None)
    }
}

impl ViewReader {
    /// The text clients see for a sequence.
    #[must_use]
    pub fn sequence_text(&self, seq: Seq) -> String {
        self.reader.database.sequence_text(seq)
    }

    /// Whether the view has a reduction.
    #[must_use]
    pub fn has_reduce(&self) -> bool {
        self.view.reduce.is_some()
    }

    /// Checks a request before anything of the answer is written.
    ///
    /// # Errors
    /// [`Error::QueryParse`] in CouchDB's words.
    pub fn check(&self, params: &QueryParams) -> Result<()> {
        params.plan(self.view.reduce.is_some())?;
        self.check_partition(params)?;
        range::ranges(params, &self.definition).map(drop)
    }

    fn check_partition(&self, params: &QueryParams) -> Result<()> {
        let refused = |reason: &str| Err(Error::QueryParse(reason.into()));
        match &params.partition {
            Some(_) if !self.reader.database.props().partitioned => {
                refused("`partition` parameter is not supported on this db")
            }
            Some(_) if !self.definition.partitioned => {
                refused("`partition` parameter is not supported in this design doc")
            }
            None if self.definition.partitioned => {
                refused("`partition` parameter is mandatory for queries to this view.")
            }
            Some(partition) => self.reader.database.check_partition(partition),
            None => Ok(()),
        }
    }

    /// Writes the answer to a request.
    ///
    /// # Errors
    /// [`Error::QueryParse`]; [`Error::InvalidReduceValue`] where a reduction cannot be had; those of reduce
    /// functions and of the store. Rows that were written before stay written.
    pub fn query(&self, params: &QueryParams, sink: &mut dyn ViewSink) -> Result<()> {
        let plan = params.plan(self.view.reduce.is_some())?;
        self.check_partition(params)?;
        match plan {
            Plan::Map => map::write(self, params, sink),
            Plan::Reduce(grouping) => groups::write(self, params, grouping, sink),
        }
    }

    fn update_seq(&self) -> Seq {
        self.current.as_ref().map_or(0, |current| current.meta.seq)
    }

    /// How errors name the view.
    fn context(&self) -> String {
        let Self { reader, group, name, .. } = self;
        format!("{}/{}/_view/{name}", reader.database.name(), group.id)
    }
}

impl std::fmt::Debug for ViewReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ViewReader").field("view", &self.context()).finish_non_exhaustive()
    }
}
