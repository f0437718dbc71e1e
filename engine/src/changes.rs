//! The changes feed: documents in the order of their latest changes.

use std::{collections::HashSet, fmt, ops::ControlFlow, sync::Arc};

use settee_storage::{Direction, KeyRange, Seq};

use crate::{
    all_docs::id_text,
    database::{GetOptions, ShowOptions},
    document::{ChangeEntry, DocHead, OtherLeaf, entry::encode_change, splice::write_rev},
    error::Result,
    find::Selector,
    json::write_string,
    name,
    read::{Meta, Reader},
    sequence,
};

/// Listed ids up to which each is looked up; more of them are found by walking all changes, which is
/// what CouchDB does and what `pending` counts by.
pub const MAX_LOOKED_UP_IDS: usize = 100;

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
    /// Those whose document passes (with [`Style::AllDocs`], any leaf of it).
    Documents(Arc<dyn DocumentFilter>),
}

/// Decides by a document's text whether a change passes.
pub trait DocumentFilter: fmt::Debug + Send + Sync {
    /// Whether the document passes. It is JSON text with `_id`, `_rev`, `_deleted` and attachments as
    /// stubs.
    ///
    /// # Errors
    /// Those of the filter; they end the feed.
    fn passes(&self, document: &[u8]) -> Result<bool>;
}

impl DocumentFilter for Selector {
    fn passes(&self, document: &[u8]) -> Result<bool> {
        Ok(self.matches(document))
    }
}

/// Rewrites the `doc` of a row, for instance to keep only some of its members.
pub trait Projection: fmt::Debug + Send + Sync {
    /// Appends what is to be shown of the document.
    ///
    /// # Errors
    /// Those of the projection; they end the feed.
    fn project(&self, document: &[u8], out: &mut Vec<u8>) -> Result<()>;
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
    /// What becomes of `doc` (the `fields` of a selector filter).
    pub project: Option<Arc<dyn Projection>>,
    /// Only the rows before which a multiple of this is left of the limit carry their sequence, the others
    /// `null`.
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

impl<F: FnMut(ChangeRow<'_>) -> ControlFlow<()>> ChangeSink for F {
    fn row(&mut self, row: ChangeRow<'_>) -> ControlFlow<()> {
        self(row)
    }
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

/// The limit CouchDB assumes where none is given, in rows.
const LIMIT_IF_NONE: u64 = 1_000_000_000_000_000;
/// Longest row buffer that is kept between rows, in bytes.
const KEEP_ROW_BYTES: usize = 1024 * 1024;

impl Reader {
    /// Writes changes to `sink`.
    ///
    /// # Errors
    /// Those of the store. Rows that were written before stay written.
    pub fn changes(&self, query: &ChangesQuery, sink: &mut dyn ChangeSink) -> Result<ChangesEnd> {
        let feed = Feed {
            reader: self,
            query,
            since: if query.descending { 0 } else { query.since },
            row: Vec::new(),
            filtered: Vec::new(),
            rows: 0,
        };
        if query.limit == Some(0) {
            return feed.nothing();
        }
        match &query.filter {
            ChangesFilter::DocIds(ids) if ids.len() <= MAX_LOOKED_UP_IDS => {
                feed.look_up(ids.iter().map(String::as_str).collect(), sink)
            }
            ChangesFilter::Design => feed.design(sink),
            ChangesFilter::DocIds(ids) => {
                let ids: HashSet<&str> = ids.iter().map(String::as_str).collect();
                feed.scan(&|id| ids.contains(id), sink)
            }
            ChangesFilter::None | ChangesFilter::Documents(_) => feed.scan(&|_| true, sink),
        }
    }
}

/// A feed being written.
struct Feed<'q> {
    reader: &'q Reader,
    query: &'q ChangesQuery,
    since: Seq,
    row: Vec<u8>,
    /// A document as its filter sees it.
    filtered: Vec<u8>,
    /// Rows written.
    rows: u64,
}

/// One document's change, as read from the by-seq index or put together from the by-id index.
struct Found<'f> {
    seq: Seq,
    id: &'f str,
    entry: ChangeEntry<'f>,
}

impl Feed<'_> {
    fn total(&self) -> Result<u64> {
        Ok(self.reader.snapshot.count_changes(self.since)?)
    }

    fn nothing(&self) -> Result<ChangesEnd> {
        Ok(ChangesEnd { last_seq: self.since, pending: self.total()?, cut: true })
    }

    fn is_full(&self) -> bool {
        self.query.limit.is_some_and(|limit| self.rows >= limit)
    }

    /// Walks the by-seq index.
    fn scan(
        mut self,
        wanted: &dyn Fn(&str) -> bool,
        sink: &mut dyn ChangeSink,
    ) -> Result<ChangesEnd> {
        let direction = match self.query.descending {
            false => Direction::Forward,
            true => Direction::Backward,
        };
        let snapshot = Arc::clone(&self.reader.snapshot);
        let mut cursor = snapshot.changes(self.since, direction)?;
        let (mut last_seq, mut cut) = (self.since, false);
        let mut pending = self.total()?;
        while !cut {
            let Some(change) = cursor.next()? else { break };
            pending = pending.saturating_sub(1);
            last_seq = change.seq;
            let id = id_text(change.id)?;
            if wanted(id) {
                let entry = ChangeEntry::decode(change.value)?;
                cut = self.write(&Found { seq: change.seq, id, entry }, sink)?.is_break();
            }
        }
        Ok(ChangesEnd { last_seq, pending, cut })
    }

    /// Looks the documents up instead of walking past all others.
    fn look_up(mut self, ids: Vec<&str>, sink: &mut dyn ChangeSink) -> Result<ChangesEnd> {
        let snapshot = Arc::clone(&self.reader.snapshot);
        let mut found: Vec<(Seq, &str)> = Vec::new();
        for id in ids {
            let entry = snapshot.doc(id.as_bytes())?;
            found.extend(entry.filter(|entry| entry.seq > self.since).map(|entry| (entry.seq, id)));
        }
        found.sort_by_key(|(seq, _)| *seq);
        if self.query.descending {
            found.reverse();
        }
        let total = self.total()?;
        let (mut last_seq, mut cut) = (self.since, false);
        for (_, id) in found {
            let Some(entry) = snapshot.doc(id.as_bytes())? else { continue };
            let by_seq = encode_change(&DocHead::decode(&entry.value)?.tree()?)?;
            let entry = Found { seq: entry.seq, id, entry: ChangeEntry::decode(&by_seq)? };
            last_seq = entry.seq;
            cut = self.write(&entry, sink)?.is_break();
            if cut {
                break;
            }
        }
        if !cut && !self.query.descending {
            last_seq = snapshot.seq();
        }
        Ok(ChangesEnd { last_seq, pending: total.saturating_sub(self.rows), cut })
    }

    /// Looks up all design documents.
    fn design(self, sink: &mut dyn ChangeSink) -> Result<ChangesEnd> {
        let snapshot = Arc::clone(&self.reader.snapshot);
        let range = KeyRange::prefix(name::DESIGN_PREFIX.as_bytes());
        let mut ids = Vec::new();
        let mut cursor = snapshot.docs(&range, Direction::Forward, false)?;
        while let Some(row) = cursor.next()? {
            ids.push(id_text(row.id)?.to_owned());
        }
        self.look_up(ids.iter().map(String::as_str).collect(), sink)
    }

    /// Writes the row of a change if it passes the filter; breaks when there is to be no further one.
    fn write(&mut self, found: &Found<'_>, sink: &mut dyn ChangeSink) -> Result<ControlFlow<()>> {
        let Found { seq, id, entry } = found;
        let others = match (self.query.style, self.query.show.conflicts) {
            (Style::AllDocs, _) | (_, true) if entry.winner.has_losers() => entry.others()?,
            _ => Vec::new(),
        };
        if let ChangesFilter::Documents(filter) = &self.query.filter
            && !self.passes(&**filter, id, entry, &others)?
        {
            return Ok(ControlFlow::Continue(()));
        }
        self.write_row(*seq, id, entry, &others)?;
        self.rows += 1;
        let flow = sink.row(ChangeRow { seq: *seq, json: &self.row });
        Ok(if self.is_full() { ControlFlow::Break(()) } else { flow })
    }

    /// Whether the row about to be written carries its sequence. CouchDB counts the interval by what is left
    /// of the limit, not by what was sent; clients that ask for batches of one interval depend on it.
    fn carries_seq(&self) -> bool {
        let left = self.query.limit.unwrap_or(LIMIT_IF_NONE).saturating_sub(self.rows);
        self.query.seq_interval.is_none_or(|interval| left.is_multiple_of(interval.max(1)))
    }

    fn write_row(
        &mut self,
        seq: Seq,
        id: &str,
        entry: &ChangeEntry<'_>,
        others: &[OtherLeaf],
    ) -> Result<()> {
        if self.row.capacity() > KEEP_ROW_BYTES {
            self.row = Vec::new();
        }
        let carries_seq = self.carries_seq();
        let row = &mut self.row;
        row.clear();
        row.extend_from_slice(b"{\"seq\":");
        if carries_seq {
            row.push(b'"');
            sequence::write(&self.reader.database.uuid(), seq, row);
            row.push(b'"');
        } else {
            row.extend_from_slice(b"null");
        }
        row.extend_from_slice(b",\"id\":");
        write_string(id, row);
        row.extend_from_slice(b",\"changes\":[{\"rev\":");
        write_rev(&entry.winner.rev, row);
        if self.query.style == Style::AllDocs {
            for leaf in others {
                row.extend_from_slice(b"},{\"rev\":");
                write_rev(&leaf.rev, row);
            }
        }
        row.extend_from_slice(b"}]");
        if entry.winner.deleted {
            row.extend_from_slice(b",\"deleted\":true");
        }
        if self.query.include_docs {
            row.extend_from_slice(b",\"doc\":");
            self.write_doc(seq, id, entry, others)?;
        }
        self.row.push(b'}');
        Ok(())
    }

    fn write_doc(
        &mut self,
        seq: Seq,
        id: &str,
        entry: &ChangeEntry<'_>,
        others: &[OtherLeaf],
    ) -> Result<()> {
        let show = &self.query.show;
        let mut meta = Meta::default();
        if show.conflicts {
            let live = others.iter().filter(|leaf| !leaf.deleted);
            meta.conflicts = live.map(|leaf| leaf.rev.clone()).collect();
        }
        meta.local_seq = show.local_seq.then_some(seq);
        let winner = entry.winner.clone();
        match &self.query.project {
            None => self.reader.write_doc(id, winner, meta, show, &mut self.row),
            Some(project) => {
                self.filtered.clear();
                self.reader.write_doc(id, winner, meta, show, &mut self.filtered)?;
                project.project(&self.filtered, &mut self.row)
            }
        }
    }

    /// Whether the winner, or with [`Style::AllDocs`] any leaf, passes the filter.
    fn passes(
        &mut self,
        filter: &dyn DocumentFilter,
        id: &str,
        entry: &ChangeEntry<'_>,
        others: &[OtherLeaf],
    ) -> Result<bool> {
        let show = ShowOptions::default();
        self.filtered.clear();
        let winner = entry.winner.clone();
        self.reader.write_doc(id, winner, Meta::default(), &show, &mut self.filtered)?;
        if filter.passes(&self.filtered)? {
            return Ok(true);
        }
        if self.query.style == Style::MainOnly {
            return Ok(false);
        }
        for leaf in others {
            let options = GetOptions { rev: Some(leaf.rev.clone()), ..GetOptions::default() };
            self.filtered.clear();
            self.reader.get(id, &options)?.write_json(&mut self.filtered)?;
            if filter.passes(&self.filtered)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
