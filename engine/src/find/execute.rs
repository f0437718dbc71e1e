//! Running a query: rows one by one, matched and shown.

use std::{
    ops::{Bound, ControlFlow},
    time::Instant,
};

use settee_storage::{Direction, KeyRange, Seq};

use super::{
    FieldPath, FindPlan, FindRequest,
    bookmark::{Bookmark, NIL},
    intervals,
    plan::{ID, Index},
    selector,
};
use crate::{
    all_docs::{id_text, narrow},
    database::ShowOptions,
    document::{DocHead, Summary},
    error::Result,
    json::{Object, Value, raw, write_string},
    name::DocKind,
    partition,
    read::Reader,
    view::IndexReader,
};

/// Rows between two looks at whether anybody still wants them.
const ROWS_BETWEEN_LOOKS: u64 = 1024;
/// Longest buffer that is kept between documents, in bytes.
const KEEP_BYTES: usize = 1024 * 1024;

const NO_INDEX: &str = "No matching index found, create an index to optimize query time.";
const SCANNED: &str = "The number of documents examined is high in proportion to the number of results \
    returned. Consider adding a more specific index to improve this.";

/// Receives the documents found. Breaking ends the query.
pub trait FindSink {
    /// Called for each document; the JSON text is valid during the call.
    fn document(&mut self, json: &[u8]) -> ControlFlow<()>;
    /// Called now and then while nothing is found: whether anybody still waits.
    fn waits(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// How much a query had to read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExecutionStats {
    /// Rows of the index.
    pub keys_examined: u64,
    /// Documents.
    pub docs_examined: u64,
    /// Documents read for a query with `r` above 1.
    pub quorum_docs_examined: u64,
    /// Documents found.
    pub results_returned: u64,
    /// How long it took, in milliseconds.
    pub time_ms: f64,
}

/// What is said behind the documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FindEnd {
    /// Where the next page begins. Nothing if there cannot be any result.
    pub bookmark: Option<String>,
    /// How much was read, if that was asked for.
    pub stats: Option<ExecutionStats>,
    /// What the user should know, line by line.
    pub warning: Option<String>,
}

impl FindPlan {
    /// Runs the query and hands out what it finds. The index is read as it is; see
    /// [`FindPlan::wants_update`].
    ///
    /// # Errors
    /// [`super::FindError::InvalidBookmark`] before anything is handed out, those of the store.
    pub fn run(&self, sink: &mut dyn FindSink) -> Result<FindEnd> {
        Ok(self.run_within(u64::MAX, sink)?.unwrap_or_default())
    }

    /// The same, but given up (nothing is returned) when more rows than so many would have to be looked at. What
    /// was handed out until then is for the bin.
    ///
    /// # Errors
    /// As [`FindPlan::run`].
    pub fn run_within(&self, most_rows: u64, sink: &mut dyn FindSink) -> Result<Option<FindEnd>> {
        let started = Instant::now();
        if self.is_empty() {
            return Ok(Some(FindEnd::default()));
        }
        let resume = self.request.bookmark.as_deref().map(Bookmark::decode).transpose()?;
        let reader = self.database.read()?;
        let mut run = Run::new(self, &reader, most_rows, sink);
        // Whether the sink had enough makes no difference to the caller.
        let (ControlFlow::Continue(()) | ControlFlow::Break(())) = match &self.group {
            None => run.all_docs(resume.as_ref())?,
            Some((group, number)) => match self.database.read_index(group, *number)? {
                Some(index) => run.index(&index, resume.as_ref())?,
                None => ControlFlow::Continue(()),
            },
        };
        if run.stats.keys_examined > most_rows {
            return Ok(None);
        }
        let bookmark = run.last.as_ref().map(Bookmark::encode);
        let mut stats = run.stats;
        stats.time_ms = started.elapsed().as_secs_f64() * 1000.0;
        Ok(Some(FindEnd {
            bookmark: bookmark.or_else(|| self.request.bookmark.clone()).or(Some(NIL.into())),
            stats: self.request.execution_stats.then_some(stats),
            warning: self.warning(&stats),
        }))
    }

    fn warning(&self, stats: &ExecutionStats) -> Option<String> {
        let mut warnings = Vec::new();
        let index = self.choice.winner();
        if let Some(named) = &self.request.use_index
            && !index.is_some_and(|index| index.is_named(named))
        {
            let why = match named.name {
                None => "it does not contain a valid index for this query.",
                Some(_) => "it is not a valid index for this query.",
            };
            warnings.push(format!("_design/{} was not used because {why}", named.shown()));
        }
        if index == Some(&Index::AllDocs) {
            warnings.push(NO_INDEX.to_owned());
        }
        if self.request.has_scanned_much(stats) {
            warnings.push(SCANNED.to_owned());
        }
        (!warnings.is_empty()).then(|| warnings.join("\n"))
    }
}

impl FindRequest {
    fn has_scanned_much(&self, stats: &ExecutionStats) -> bool {
        let threshold = self.index_scan_warning_threshold;
        let examined = stats.docs_examined + stats.quorum_docs_examined;
        threshold > 0 && examined > threshold.saturating_mul(stats.results_returned.max(1))
    }
}

/// A query that is running.
struct Run<'r> {
    plan: &'r FindPlan,
    request: &'r FindRequest,
    reader: &'r Reader,
    sink: &'r mut dyn FindSink,
    show: ShowOptions,
    /// Documents are matched by their bodies alone, and put together only if they match. That is for scans: of what
    /// an index finds most match, and each body is read once then.
    by_body: bool,
    skip: u64,
    left: u64,
    most_rows: u64,
    stats: ExecutionStats,
    /// The last row that matched.
    last: Option<Bookmark>,
    document: Vec<u8>,
    projected: Vec<u8>,
}

type Flow = Result<ControlFlow<()>>;

impl<'r> Run<'r> {
    fn new(
        plan: &'r FindPlan,
        reader: &'r Reader,
        most_rows: u64,
        sink: &'r mut dyn FindSink,
    ) -> Self {
        let request = &*plan.request;
        let mut by_body = plan.group.is_none();
        selector::fields(&request.selector, &mut |path, _| by_body &= !path.is_special());
        Run {
            plan,
            request,
            reader,
            sink,
            show: ShowOptions { conflicts: request.conflicts, ..ShowOptions::default() },
            by_body,
            skip: request.skip,
            left: request.limit,
            most_rows,
            stats: ExecutionStats::default(),
            last: None,
            document: Vec::new(),
            projected: Vec::new(),
        }
    }

    fn direction(&self) -> Direction {
        match self.request.sort.descending() {
            false => Direction::Forward,
            true => Direction::Backward,
        }
    }

    fn all_docs(&mut self, resume: Option<&Bookmark>) -> Flow {
        let mut ranges = self.plan.id_ranges()?;
        if let Some(resume) = resume {
            let place = (resume.id.clone().into_bytes(), [resume.id.as_bytes(), &[0]].concat());
            ranges = behind(ranges, self.direction(), &place);
        }
        if self.direction() == Direction::Backward {
            ranges.reverse();
        }
        for range in &ranges {
            let mut cursor = self.reader.snapshot.docs(range, self.direction(), true)?;
            while let Some(row) = cursor.next()? {
                let head = DocHead::decode(row.value)?;
                if self.row(id_text(row.id)?, &head, row.seq, None)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn index(&mut self, index: &IndexReader, resume: Option<&Bookmark>) -> Flow {
        let mut ranges = self.plan.index_ranges();
        if let Some(resume) = resume
            && let Some(key) = &resume.key
        {
            ranges = behind(ranges, self.direction(), &index.place(key, &resume.id));
        }
        if self.direction() == Direction::Backward {
            ranges.reverse();
        }
        let covered = self.plan.is_covered();
        for range in ranges {
            let range = self.plan.in_partition(index, range);
            let mut cursor = index.cursor(&range, self.direction());
            while let Some(row) = cursor.next()? {
                let id = row.id()?;
                let flow = match covered {
                    true => self.covered_row(&id, row.key())?,
                    false => self.index_row(&id, row.key())?,
                };
                if flow.is_break() {
                    return Ok(flow);
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A row whose document has to be read. The index may be older or newer than the document.
    fn index_row(&mut self, id: &str, key: &[u8]) -> Flow {
        let reader = self.reader;
        match reader.snapshot.doc(id.as_bytes())? {
            Some(entry) => {
                let head = DocHead::decode(&entry.value)?;
                match head.winner.deleted {
                    false => self.row(id, &head, entry.seq, Some(key)),
                    true => self.counted(),
                }
            }
            None => self.counted(),
        }
    }

    /// Counts a row of the index.
    fn counted(&mut self) -> Flow {
        self.stats.keys_examined += 1;
        if self.stats.keys_examined > self.most_rows {
            return Ok(ControlFlow::Break(()));
        }
        match self.stats.keys_examined % ROWS_BETWEEN_LOOKS {
            0 => Ok(self.sink.waits()),
            _ => Ok(ControlFlow::Continue(())),
        }
    }

    fn row(&mut self, id: &str, head: &DocHead<'_>, seq: Seq, key: Option<&[u8]>) -> Flow {
        let mut flow = self.counted()?;
        let matched = self.matches(id, head, seq)?;
        let is_design = matched && DocKind::of(id) == DocKind::Design;
        if !is_design {
            match self.request.r {
                1 => self.stats.docs_examined += 1,
                _ => self.stats.quorum_docs_examined += 1,
            }
        }
        if flow.is_continue() {
            flow = match matched && !is_design {
                true => self.found(id, key, |run| {
                    if run.by_body {
                        run.write_document(id, head, seq)?;
                    }
                    Ok(())
                })?,
                false => self.not_found(),
            };
        }
        Ok(flow)
    }

    fn matches(&mut self, id: &str, head: &DocHead<'_>, seq: Seq) -> Result<bool> {
        if self.by_body {
            let blob = self.reader.snapshot.blob(head.winner.body)?;
            let body = self.reader.body(&Summary::decode(&blob)?)?;
            return Ok(self.request.selector.matches(&body));
        }
        self.write_document(id, head, seq)?;
        Ok(self.request.selector.matches(&self.document))
    }

    fn write_document(&mut self, id: &str, head: &DocHead<'_>, seq: Seq) -> Result<()> {
        if self.document.capacity() > KEEP_BYTES {
            self.document = Vec::new();
        }
        self.document.clear();
        let meta = self.reader.meta(head, seq, &self.show)?;
        self.reader.write_doc(id, head.winner.clone(), meta, &self.show, &mut self.document)
    }

    /// A row that has all there is to say.
    fn covered_row(&mut self, id: &str, key: &[u8]) -> Flow {
        let flow = self.counted()?;
        if flow.is_break() {
            return Ok(flow);
        }
        self.derive_document(id, key);
        match self.request.selector.matches(&self.document) {
            true => self.found(id, Some(key), |_| Ok(())),
            false => Ok(self.not_found()),
        }
    }

    /// Makes a document of an index row: its id and the fields of the columns.
    fn derive_document(&mut self, id: &str, key: &[u8]) {
        let columns = self.plan.choice.winner().map(Index::columns).unwrap_or_default();
        let out = &mut self.document;
        out.clear();
        out.extend_from_slice(b"{\"_id\":");
        write_string(id, out);
        let mut nested = Object::new();
        for (column, value) in columns.iter().zip(raw::items(key)) {
            match column.path.spelled_parts() {
                [part] if column.name != ID => {
                    out.extend_from_slice(b",\"");
                    out.extend_from_slice(&part.spelled);
                    out.extend_from_slice(b"\":");
                    out.extend_from_slice(value);
                }
                [_] => {}
                _ => {
                    if let Ok(value) = Value::from_canonical(value) {
                        put(&mut nested, &column.path.parts().collect::<Vec<_>>(), value);
                    }
                }
            }
        }
        for (name, value) in nested.iter() {
            out.push(b',');
            write_string(name, out);
            out.push(b':');
            value.write(out);
        }
        out.push(b'}');
    }

    /// A row that does not match. Behind the last result, rows are looked at only as long as that may say
    /// whether there is reason for a warning.
    fn not_found(&self) -> ControlFlow<()> {
        match self.left == 0 && self.request.has_scanned_much(&self.stats) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// A row that matches; `write` puts its document in place.
    fn found(
        &mut self,
        id: &str,
        key: Option<&[u8]>,
        write: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Flow {
        if self.left == 0 {
            return Ok(ControlFlow::Break(()));
        }
        let last = self.last.get_or_insert_with(|| Bookmark { id: String::new(), key: None });
        last.id.clear();
        last.id.push_str(id);
        if let Some(key) = key {
            let kept = last.key.get_or_insert_default();
            kept.clear();
            kept.extend_from_slice(key);
        }
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(ControlFlow::Continue(()));
        }
        write(self)?;
        self.left -= 1;
        self.stats.results_returned += 1;
        let flow = match &self.request.projection {
            None => self.sink.document(&self.document),
            Some(fields) => {
                self.projected.clear();
                fields.write(&self.document, &mut self.projected);
                self.sink.document(&self.projected)
            }
        };
        let done = self.left == 0 && self.request.index_scan_warning_threshold == 0;
        Ok(if done { ControlFlow::Break(()) } else { flow })
    }
}

impl FindPlan {
    /// The ids of documents that may match, ascending.
    pub(super) fn id_ranges(&self) -> Result<Vec<KeyRange>> {
        let ranges = intervals::id_ranges(&self.request.selector, &FieldPath::parse(ID)?);
        let Some(partition) = &self.request.partition else { return Ok(ranges) };
        let within = partition::range(partition);
        Ok(ranges.into_iter().map(|range| narrow(range, within.clone())).collect())
    }

    /// The rows of the chosen index that may match, ascending and without the partition.
    fn index_ranges(&self) -> Vec<KeyRange> {
        let columns = self.choice.winner().map(Index::columns).unwrap_or_default();
        intervals::index_ranges(&self.request.selector, columns)
    }

    /// A range within the partition asked for, if there is one.
    pub(super) fn in_partition(&self, index: &IndexReader, range: KeyRange) -> KeyRange {
        match &self.request.partition {
            Some(partition) => index.in_partition(partition, range),
            None => range,
        }
    }
}

/// What is left of ranges behind a place (from, to), in the direction of the walk.
fn behind(
    ranges: Vec<KeyRange>,
    direction: Direction,
    (from, to): &(Vec<u8>, Vec<u8>),
) -> Vec<KeyRange> {
    let rest = match direction {
        Direction::Forward => {
            KeyRange { start: Bound::Included(to.clone()), end: Bound::Unbounded }
        }
        Direction::Backward => {
            KeyRange { start: Bound::Unbounded, end: Bound::Excluded(from.clone()) }
        }
    };
    let holds_some = |range: &KeyRange| match (&range.start, &range.end) {
        (Bound::Included(start), Bound::Excluded(end)) => start < end,
        _ => true,
    };
    ranges.into_iter().map(|range| narrow(range, rest.clone())).filter(holds_some).collect()
}

/// Puts a value into an object at a path, making the objects on the way.
fn put(object: &mut Object, path: &[&str], value: Value) {
    match path {
        [] => {}
        [name] => object.insert(*name, value),
        [name, rest @ ..] => {
            let mut inner = match object.remove(name) {
                Some(Value::Object(inner)) => inner,
                _ => Object::new(),
            };
            put(&mut inner, rest, value);
            object.insert(*name, inner);
        }
    }
}
