//! `_all_docs`, `_design_docs` and `_local_docs`: documents in the order of their ids.

use std::ops::ControlFlow;

use crate::database::ShowOptions;

/// A key of a listing. Ids are strings, and every other JSON value sorts below all strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocKey {
    /// A string: an id or where one would be.
    Id(String),
    /// Any other JSON value, as text. No document has it; a list of keys repeats it in its answer.
    Other(String),
}

/// Which documents of the namespace are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// A range in the direction of the walk: with `descending`, `start` is the upper end.
    Range {
        /// Where to begin.
        start: Option<DocKey>,
        /// Where to end.
        end: Option<DocKey>,
        /// Whether a document at `end` belongs to it.
        inclusive_end: bool,
    },
    /// These keys in this order, unknown and deleted ones included.
    Keys(Vec<DocKey>),
}

impl Selection {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Selection::Range { start: None, end: None, inclusive_end: true }
    }

    /// One key.
    #[must_use]
    pub fn key(key: DocKey) -> Self {
        Selection::Range { start: Some(key.clone()), end: Some(key), inclusive_end: true }
    }
}

/// Which documents a listing is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Namespace {
    /// All but local ones.
    #[default]
    All,
    /// Those whose id begins with `_design/`.
    Design,
    /// Local documents.
    Local,
}

/// A request for a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllDocsQuery {
    /// Which documents.
    pub namespace: Namespace,
    /// Only ids of this partition (a partitioned database's `name:`); does not bind a list of keys.
    pub partition: Option<String>,
    /// Which keys.
    pub selection: Selection,
    /// Highest id first; a list of keys is taken from its end.
    pub descending: bool,
    /// Passes over this many rows.
    pub skip: u64,
    /// At most this many rows.
    pub limit: Option<u64>,
    /// Adds `doc`.
    pub include_docs: bool,
    /// How `doc` is shown.
    pub show: ShowOptions,
    /// With [`Namespace::Local`]: internal checkpoints, too.
    pub include_system: bool,
}

impl Default for AllDocsQuery {
    fn default() -> Self {
        AllDocsQuery {
            namespace: Namespace::All,
            partition: None,
            selection: Selection::all(),
            descending: false,
            skip: 0,
            limit: None,
            include_docs: false,
            show: ShowOptions::default(),
            include_system: false,
        }
    }
}

/// What precedes the rows of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllDocsHead {
    /// Documents in the namespace; `None` for local ones.
    pub total_rows: Option<u64>,
    /// Documents of the database before the first row, in the direction of the walk; `None` for lists
    /// of keys and local documents.
    pub offset: Option<u64>,
    /// Sequence of the snapshot that was read.
    pub update_seq: settee_storage::Seq,
}

/// Receives a listing. Rows are JSON text without separators or line ends. Breaking ends the scan.
pub trait RowSink {
    /// Called once, before any row.
    fn head(&mut self, head: &AllDocsHead) -> ControlFlow<()>;
    /// Called for each row; the bytes are valid during the call.
    fn row(&mut self, json: &[u8]) -> ControlFlow<()>;
}
