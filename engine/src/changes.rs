//! The changes feed: documents in the order of their latest changes.

use std::ops::ControlFlow;

use settee_storage::Seq;

use crate::{database::ShowOptions, find::selector::Selector};

/// Which revisions a row names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// The winner.
    #[default]
    MainOnly,
    /// Every leaf, the winner first.
    AllDocs,
}

/// Which changes pass.
#[derive(Clone, Debug, Default)]
pub enum ChangesFilter {
    /// All.
    #[default]
    None,
    /// Those of the listed documents. A document listed twice comes twice, as in CouchDB.
    DocIds(Vec<String>),
    /// Those of design documents.
    Design,
    /// Those whose document matches (with [`Style::AllDocs`], any leaf of it).
    Selector(Selector),
}

/// A request for changes.
#[derive(Clone, Debug, Default)]
pub struct ChangesQuery {
    /// Changes after this sequence; no bound when `descending`.
    pub since: Seq,
    /// At most this many rows; rows that don't pass the filter don't count.
    pub limit: Option<u64>,
    /// Newest first.
    pub descending: bool,
    /// Which revisions a row names.
    pub style: Style,
    /// Adds `doc`, the winner.
    pub include_docs: bool,
    /// How `doc` is shown.
    pub show: ShowOptions,
    /// Which changes pass.
    pub filter: ChangesFilter,
    /// Members of `doc` to keep (the `fields` of a selector filter); `None` keeps all.
    pub fields: Option<Vec<String>>,
    /// Only each n-th row carries its sequence, the others `null`.
    pub seq_interval: Option<u64>,
}

/// One row of the feed.
#[derive(Clone, Copy, Debug)]
pub struct ChangeRow<'r> {
    /// Its sequence.
    pub seq: Seq,
    /// `{"seq":…,"id":…,"changes":[…]…}` without line end; valid during the call.
    pub json: &'r [u8],
}

/// Receives changes. Breaking ends the scan after this row.
pub trait ChangeSink {
    /// Called for each row that passes.
    fn row(&mut self, row: ChangeRow<'_>) -> ControlFlow<()>;
}

/// Where a scan of changes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangesEnd {
    /// What to go on from.
    pub last_seq: Seq,
    /// Rows after it, before any filter.
    pub pending: u64,
    /// Whether the scan ended because the limit was reached or the sink broke off.
    pub cut: bool,
}
