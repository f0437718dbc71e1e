//! What is asked of a view.

use crate::{
    database::ShowOptions,
    error::{Error, Result},
};

/// One end of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyBound {
    /// The key as JSON, as the scanner spells it.
    pub key: Vec<u8>,
    /// Among rows with this key, that of the document with this id, or where it would be.
    pub id: Option<String>,
}

/// Which rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewSelection {
    /// A range in the direction of the walk: with `descending`, `start` is the upper end.
    Range {
        /// Where to begin.
        start: Option<KeyBound>,
        /// Where to end.
        end: Option<KeyBound>,
        /// Whether rows at `end` belong to it.
        inclusive_end: bool,
    },
    /// The rows of these keys, given as JSON, in this order.
    Keys(Vec<Vec<u8>>),
}

/// A request, as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryParams {
    /// Which rows.
    pub selection: ViewSelection,
    /// Only rows of this partition.
    pub partition: Option<String>,
    /// Highest key first; a list of keys is taken from its end.
    pub descending: bool,
    /// Passes over this many rows.
    pub skip: u64,
    /// At most this many rows.
    pub limit: Option<u64>,
    /// Whether to reduce; if not given, views that can be reduced are.
    pub reduce: Option<bool>,
    /// `group`.
    pub group: Option<bool>,
    /// `group_level`.
    pub group_level: Option<u64>,
    /// Adds `doc`.
    pub include_docs: bool,
    /// How `doc` is shown.
    pub show: ShowOptions,
    /// Whether rows come in order, with counts before them.
    pub sorted: bool,
}

impl Default for QueryParams {
    fn default() -> Self {
        QueryParams {
            selection: ViewSelection::Range { start: None, end: None, inclusive_end: true },
            partition: None,
            descending: false,
            skip: 0,
            limit: None,
            reduce: None,
            group: None,
            group_level: None,
            include_docs: false,
            show: ShowOptions::default(),
            sorted: true,
        }
    }
}

/// What the answer is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Rows.
    Map,
    /// Reductions.
    Reduce(Grouping),
}

/// Which rows are reduced together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    /// All.
    None,
    /// Those with equal keys.
    Exact,
    /// Those whose keys begin with the same items, so many.
    Level(u64),
}

impl QueryParams {
    /// What the request comes to for a view with or without a reduction.
    pub(super) fn plan(&self, has_reduce: bool) -> Result<Plan> {
        let grouping = self.grouping()?;
        if self.reduce == Some(true) && !has_reduce {
            return refused("Reduce is invalid for map-only views.");
        }
        if !has_reduce || self.reduce == Some(false) {
            return match grouping {
                Grouping::None => Ok(Plan::Map),
                _ => refused("Invalid use of grouping on a map view."),
            };
        }
        if self.include_docs {
            return refused("`include_docs` is invalid for reduce");
        }
        if self.show.conflicts {
            return refused("`conflicts` is invalid for reduce views.");
        }
        if matches!(&self.selection, ViewSelection::Keys(_)) && grouping != Grouping::Exact {
            return refused("Multi-key fetches for reduce views must use `group=true`");
        }
        Ok(Plan::Reduce(grouping))
    }

    fn grouping(&self) -> Result<Grouping> {
        match (self.group, self.group_level) {
            (Some(false), Some(1..)) => {
                refused("Can't specify group=false and group_level>0 at the same time")
            }
            (_, Some(level @ 1..)) => Ok(Grouping::Level(level)),
            (Some(true), _) => Ok(Grouping::Exact),
            _ => Ok(Grouping::None),
        }
    }
}

fn refused<T>(reason: &str) -> Result<T> {
    Err(Error::QueryParse(reason.into()))
}
