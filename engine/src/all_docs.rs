//! `_all_docs`, `_design_docs` and `_local_docs`: documents in the order of their ids.

use std::{
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use settee_storage::{Direction, KeyRange, Seq};

use crate::{
    database::ShowOptions,
    document::{DocHead, DocumentView, Winner, splice::write_rev},
    error::{Error, Result},
    json::write_string,
    name::{self, DocKind},
    partition,
    read::{FoundDocument, Meta, Reader},
    revision::Rev,
    write::LocalDocument,
};

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
    pub update_seq: Seq,
}

/// Receives a listing. Rows are JSON text without separators or line ends. Breaking ends the scan.
pub trait RowSink {
    /// Called once, before any row.
    fn head(&mut self, head: &AllDocsHead) -> ControlFlow<()>;
    /// Called for each row; the bytes are valid during the call.
    fn row(&mut self, json: &[u8]) -> ControlFlow<()>;
}

/// Longest row buffer that is kept between rows, in bytes.
const KEEP_ROW_BYTES: usize = 1024 * 1024;

impl Reader {
    /// Writes a listing to `sink`.
    ///
    /// # Errors
    /// [`Error::IllegalDocId`] and [`Error::IllegalPartition`] in a partitioned database, those of the
    /// store. Rows that were written before stay written.
    pub fn all_docs(&self, query: &AllDocsQuery, sink: &mut dyn RowSink) -> Result<()> {
        if let Some(partition) = &query.partition {
            self.database.check_partition(partition)?;
        }
        let mut rows = Rows { reader: self, query, row: Vec::new() };
        let outcome = match (&query.selection, query.namespace) {
            (Selection::Keys(keys), _) => rows.keys(keys, sink)?,
            (Selection::Range { .. }, Namespace::Local) => rows.local_range(sink)?,
            (Selection::Range { .. }, _) => rows.range(sink)?,
        };
        // Whether the sink had enough makes no difference to the caller.
        let (ControlFlow::Continue(()) | ControlFlow::Break(())) = outcome;
        Ok(())
    }

    /// Appends a document's winner, as rows of listings and feeds carry it.
    pub(crate) fn write_doc(
        &self,
        id: &str,
        winner: Winner,
        meta: Meta,
        show: &ShowOptions,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let Winner { rev, deleted, body, .. } = winner;
        FoundDocument::load(self, id, (rev, deleted, body), meta, show)?.write_json(out)
    }
}

/// A listing being written.
struct Rows<'q> {
    reader: &'q Reader,
    query: &'q AllDocsQuery,
    row: Vec<u8>,
}

impl Rows<'_> {
    fn head(&self, offset: Option<u64>) -> Result<AllDocsHead> {
        let snapshot = &self.reader.snapshot;
        let total_rows = match self.query.namespace {
            Namespace::All => Some(snapshot.counts().live),
            Namespace::Design => Some(snapshot.count_docs(&design_range())?.live),
            Namespace::Local => None,
        };
        // CouchDB counts what is passed over in the whole database, but never beyond the total.
        let offset = offset.map(|offset| total_rows.map_or(offset, |total| offset.min(total)));
        Ok(AllDocsHead { total_rows, offset, update_seq: snapshot.seq() })
    }

    fn limit(&self) -> u64 {
        self.query.limit.unwrap_or(u64::MAX)
    }

    /// Live documents in a range of ids.
    fn range(&mut self, sink: &mut dyn RowSink) -> Result<ControlFlow<()>> {
        let snapshot = Arc::clone(&self.reader.snapshot);
        let range = self.key_range();
        let (direction, before) = match self.query.descending {
            false => (Direction::Forward, outside_low(&range)),
            true => (Direction::Backward, outside_high(&range)),
        };
        let before = before
            .map_or(Ok(0), |before| snapshot.count_docs(&before).map(|counts| counts.live))?;
        let mut cursor = snapshot.docs(&range, direction, true)?;
        cursor.skip(self.query.skip)?;
        let mut flow = sink.head(&self.head(Some(before.saturating_add(self.query.skip)))?);
        for _ in 0..self.limit() {
            if flow.is_break() {
                break;
            }
            let Some(found) = cursor.next()? else { break };
            let head = DocHead::decode(found.value)?;
            self.doc_row(id_text(found.id)?, &head, found.seq)?;
            flow = sink.row(&self.row);
        }
        Ok(flow)
    }

    /// A row for each key, found or not.
    fn keys(&mut self, keys: &[DocKey], sink: &mut dyn RowSink) -> Result<ControlFlow<()>> {
        for key in keys {
            if let DocKey::Id(id) = key {
                self.reader.database.check_doc_id(id)?;
            }
        }
        let skip = usize::try_from(self.query.skip).unwrap_or(usize::MAX);
        let limit = usize::try_from(self.limit()).unwrap_or(usize::MAX);
        let mut flow = sink.head(&self.head(None)?);
        let wanted: Box<dyn Iterator<Item = &DocKey>> = match self.query.descending {
            false => Box::new(keys.iter()),
            true => Box::new(keys.iter().rev()),
        };
        let namespace = self.query.namespace;
        for key in wanted.skip(skip).take(limit).filter(|key| in_namespace(key, namespace)) {
            if flow.is_break() {
                break;
            }
            self.key_row(key)?;
            flow = sink.row(&self.row);
        }
        Ok(flow)
    }

    fn key_row(&mut self, key: &DocKey) -> Result<()> {
        let DocKey::Id(id) = key else {
            self.missing_row(key);
            return Ok(());
        };
        let snapshot = Arc::clone(&self.reader.snapshot);
        if DocKind::of(id) == DocKind::Local {
            return match snapshot.local(id.as_bytes())? {
                Some(value) => self.local_row(id, &value),
                None => {
                    self.missing_row(key);
                    Ok(())
                }
            };
        }
        match snapshot.doc(id.as_bytes())? {
            Some(entry) => {
                let head = DocHead::decode(&entry.value)?;
                self.doc_row(id, &head, entry.seq)
            }
            None => {
                self.missing_row(key);
                Ok(())
            }
        }
    }

    fn missing_row(&mut self, key: &DocKey) {
        self.row.clear();
        self.row.extend_from_slice(b"{\"key\":");
        match key {
            DocKey::Id(id) => write_string(id, &mut self.row),
            DocKey::Other(json) => self.row.extend_from_slice(json.as_bytes()),
        }
        self.row.extend_from_slice(b",\"error\":\"not_found\"}");
    }

    fn doc_row(&mut self, id: &str, head: &DocHead<'_>, seq: Seq) -> Result<()> {
        let winner = &head.winner;
        self.begin_row(id, &winner.rev);
        if winner.deleted {
            self.row.extend_from_slice(b",\"deleted\":true");
        }
        self.row.push(b'}');
        if self.query.include_docs {
            self.row.extend_from_slice(b",\"doc\":");
            if winner.deleted {
                self.row.extend_from_slice(b"null");
            } else {
                let show = &self.query.show;
                let meta = self.reader.meta(head, seq, show)?;
                self.reader.write_doc(id, winner.clone(), meta, show, &mut self.row)?;
            }
        }
        self.row.push(b'}');
        Ok(())
    }

    /// `{"id":…,"key":…,"value":{"rev":…`
    fn begin_row(&mut self, id: &str, rev: &Rev) {
        if self.row.capacity() > KEEP_ROW_BYTES {
            self.row = Vec::new();
        }
        let row = &mut self.row;
        row.clear();
        row.extend_from_slice(b"{\"id\":");
        let start = row.len();
        write_string(id, row);
        let end = row.len();
        row.extend_from_slice(b",\"key\":");
        row.extend_from_within(start..end);
        row.extend_from_slice(b",\"value\":{\"rev\":");
        write_rev(rev, row);
    }

    fn local_range(&mut self, sink: &mut dyn RowSink) -> Result<ControlFlow<()>> {
        let snapshot = Arc::clone(&self.reader.snapshot);
        let direction = match self.query.descending {
            false => Direction::Forward,
            true => Direction::Backward,
        };
        let mut cursor = snapshot.locals(&self.key_range(), direction)?;
        let mut flow = sink.head(&self.head(None)?);
        let (mut to_skip, mut left) = (self.query.skip, self.limit());
        while left > 0 && flow.is_continue() {
            let Some((id, value)) = cursor.next()? else { break };
            let id = id_text(id)?;
            if !self.query.include_system && is_system(id) {
                continue;
            }
            if to_skip > 0 {
                to_skip -= 1;
                continue;
            }
            left -= 1;
            self.local_row(id, value)?;
            flow = sink.row(&self.row);
        }
        Ok(flow)
    }

    fn local_row(&mut self, id: &str, value: &[u8]) -> Result<()> {
        let local = LocalDocument::decode(value)?;
        let rev = local.rev();
        self.begin_row(id, &rev);
        self.row.push(b'}');
        if self.query.include_docs {
            self.row.extend_from_slice(b",\"doc\":");
            DocumentView::new(id, &rev, local.body).write_json(&mut self.row);
        }
        self.row.push(b'}');
        Ok(())
    }

    /// The keys of the selection that are in the namespace and the partition.
    fn key_range(&self) -> KeyRange {
        let mut range = match self.query.namespace {
            Namespace::All => KeyRange::all(),
            Namespace::Design => design_range(),
            Namespace::Local => KeyRange::prefix(name::LOCAL_PREFIX.as_bytes()),
        };
        if let Some(partition) = &self.query.partition {
            range = narrow(range, partition::range(partition));
        }
        let Selection::Range { start, end, inclusive_end } = &self.query.selection else {
            return range;
        };
        let start = start.as_ref().map(|start| (start, true));
        let end = end.as_ref().map(|end| (end, *inclusive_end));
        let (low, high) = match self.query.descending {
            false => (start, end),
            true => (end, start),
        };
        let selected = KeyRange {
            start: low.map_or(Bound::Unbounded, |(key, inclusive)| low_bound(key, inclusive)),
            end: high.map_or(Bound::Unbounded, |(key, inclusive)| high_bound(key, inclusive)),
        };
        narrow(range, selected)
    }
}

/// Keys outside the namespace are left out of listings of design and local documents.
fn in_namespace(key: &DocKey, namespace: Namespace) -> bool {
    let kind = match key {
        DocKey::Id(id) => Some(DocKind::of(id)),
        DocKey::Other(_) => None,
    };
    match namespace {
        Namespace::All => true,
        Namespace::Design => kind == Some(DocKind::Design),
        Namespace::Local => kind == Some(DocKind::Local),
    }
}

fn design_range() -> KeyRange {
    KeyRange::prefix(name::DESIGN_PREFIX.as_bytes())
}

fn low_bound(key: &DocKey, inclusive: bool) -> Bound<Vec<u8>> {
    match key {
        DocKey::Other(_) => Bound::Unbounded,
        DocKey::Id(id) if inclusive => Bound::Included(id.clone().into_bytes()),
        DocKey::Id(id) => Bound::Excluded(id.clone().into_bytes()),
    }
}

fn high_bound(key: &DocKey, inclusive: bool) -> Bound<Vec<u8>> {
    match key {
        // Nothing that is listed sorts as low as this.
        DocKey::Other(_) => Bound::Excluded(Vec::new()),
        DocKey::Id(id) if inclusive => Bound::Included(id.clone().into_bytes()),
        DocKey::Id(id) => Bound::Excluded(id.clone().into_bytes()),
    }
}

/// The keys that are in both ranges.
pub(crate) fn narrow(a: KeyRange, b: KeyRange) -> KeyRange {
    let later = |a: Bound<Vec<u8>>, b: Bound<Vec<u8>>| match (key_of(&a), key_of(&b)) {
        (None, _) => b,
        (_, None) => a,
        (Some(x), Some(y)) if x == y && matches!(a, Bound::Excluded(_)) => a,
        (Some(x), Some(y)) if x > y => a,
        _ => b,
    };
    let earlier = |a: Bound<Vec<u8>>, b: Bound<Vec<u8>>| match (key_of(&a), key_of(&b)) {
        (None, _) => b,
        (_, None) => a,
        (Some(x), Some(y)) if x == y && matches!(a, Bound::Excluded(_)) => a,
        (Some(x), Some(y)) if x < y => a,
        _ => b,
    };
    KeyRange { start: later(a.start, b.start), end: earlier(a.end, b.end) }
}

fn key_of(bound: &Bound<Vec<u8>>) -> Option<&Vec<u8>> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    }
}

/// All keys before a range; `None` if there can be none.
fn outside_low(range: &KeyRange) -> Option<KeyRange> {
    let end = match &range.start {
        Bound::Unbounded => return None,
        Bound::Included(key) => Bound::Excluded(key.clone()),
        Bound::Excluded(key) => Bound::Included(key.clone()),
    };
    Some(KeyRange { start: Bound::Unbounded, end })
}

/// All keys behind a range; `None` if there can be none.
fn outside_high(range: &KeyRange) -> Option<KeyRange> {
    let start = match &range.end {
        Bound::Unbounded => return None,
        Bound::Included(key) => Bound::Excluded(key.clone()),
        Bound::Excluded(key) => Bound::Included(key.clone()),
    };
    Some(KeyRange { start, end: Bound::Unbounded })
}

/// Checkpoints of internal processes, which listings leave out.
fn is_system(id: &str) -> bool {
    id.starts_with("_local/purge-") || id.starts_with("_local/shard-sync-")
}

/// The text of a stored id.
pub(crate) fn id_text(id: &[u8]) -> Result<&str> {
    std::str::from_utf8(id).map_err(|_| Error::Damaged("document id"))
}
