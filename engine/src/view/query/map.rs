//! Rows.

use std::ops::{Bound, ControlFlow};

use settee_storage::{Direction, KeyRange};

use super::{QueryParams, ViewHead, ViewReader, ViewSink, documents, range};
use crate::{
    error::Result,
    json::write_string,
    view::{index::Current, row::Row},
};

/// Longest row buffer that is kept between rows, in bytes.
const KEEP_ROW_BYTES: usize = 1024 * 1024;

/// Writes the rows a request asks for.
pub(super) fn write(
    view: &ViewReader,
    params: &QueryParams,
    sink: &mut dyn ViewSink,
) -> Result<()> {
    let ranges = range::ranges(params, &view.definition)?;
    let Some(current) = &view.current else {
        let _ = sink.head(&view.head(params, 0, 0));
        return Ok(());
    };
    let rows = Rows { view, current, params, row: Vec::new(), left: params.limit };
    // Whether the sink had enough makes no difference to the caller.
    rows.write(&ranges, sink).map(drop)
}

impl ViewReader {
    fn head(&self, params: &QueryParams, total: u64, before: u64) -> ViewHead {
        let offset = before.saturating_add(params.skip).min(total);
        let counts = params.sorted.then_some((total, offset));
        ViewHead { counts, update_seq: self.update_seq() }
    }
}

struct Rows<'q> {
    view: &'q ViewReader,
    current: &'q Current,
    params: &'q QueryParams,
    row: Vec<u8>,
    /// Rows that may still be written.
    left: Option<u64>,
}

impl Rows<'_> {
    fn write(mut self, ranges: &[KeyRange], sink: &mut dyn ViewSink) -> Result<ControlFlow<()>> {
        let total = self.current.rows().total()?;
        let mut flow = sink.head(&self.view.head(self.params, total, self.before(ranges, total)?));
        let mut skip = self.params.skip;
        for range in ranges {
            if flow.is_break() || self.left == Some(0) {
                break;
            }
            flow = self.range(range, &mut skip, sink)?;
        }
        Ok(flow)
    }

    /// Rows before the first one that is found, in the direction of the walk; if there is none, before
    /// where the last was looked for.
    fn before(&self, ranges: &[KeyRange], total: u64) -> Result<u64> {
        if !self.params.sorted {
            return Ok(0);
        }
        let rows = self.current.rows();
        let mut before = 0;
        for range in ranges {
            before = match self.params.descending {
                false => {
                    rows.sum(&KeyRange { start: Bound::Unbounded, end: until(&range.start) })?
                }
                true => total.saturating_sub(
                    rows.sum(&KeyRange { start: Bound::Unbounded, end: range.end.clone() })?,
                ),
            };
            let last = ranges.len() == 1;
            if last || rows.sum(range)? > 0 {
                break;
            }
        }
        Ok(before)
    }

    fn range(
        &mut self,
        range: &KeyRange,
        skip: &mut u64,
        sink: &mut dyn ViewSink,
    ) -> Result<ControlFlow<()>> {
        let direction = match self.params.descending {
            false => Direction::Forward,
            true => Direction::Backward,
        };
        let Some(range) = self.skipped(range, skip)? else { return Ok(ControlFlow::Continue(())) };
        let current = self.current;
        let mut cursor = current.rows().cursor(&range, direction);
        let mut flow = ControlFlow::Continue(());
        while self.left != Some(0) && flow.is_continue() {
            let Some((key, value)) = cursor.next()? else { break };
            let row = Row::decode(key, value)?;
            self.write_row(&row)?;
            self.left = self.left.map(|left| left.saturating_sub(1));
            flow = sink.row(&self.row);
        }
        Ok(flow)
    }

    /// The range without its first `skip` rows; nothing if it has no more. What of `skip` it was too short
    /// for stays.
    fn skipped(&self, range: &KeyRange, skip: &mut u64) -> Result<Option<KeyRange>> {
        if *skip == 0 {
            return Ok(Some(range.clone()));
        }
        let rows = self.current.rows();
        let inside = rows.sum(range)?;
        if inside <= *skip {
            *skip -= inside;
            return Ok(None);
        }
        let mut range = range.clone();
        let upto = |end| rows.sum(&KeyRange { start: Bound::Unbounded, end });
        match self.params.descending {
            false => {
                let rank = upto(until(&range.start))? + *skip;
                range.start = rows.find_rank(rank)?.map_or(range.start, Bound::Included);
            }
            true => {
                let rank = upto(range.end.clone())? - *skip;
                range.end = rows.find_rank(rank)?.map_or(range.end, Bound::Excluded);
            }
        }
        *skip = 0;
        Ok(Some(range))
    }

    fn write_row(&mut self, row: &Row<'_>) -> Result<()> {
        if self.row.capacity() > KEEP_ROW_BYTES {
            self.row = Vec::new();
        }
        self.row.clear();
        let id = row.id()?;
        self.row.extend_from_slice(b"{\"id\":");
        write_string(&id, &mut self.row);
        self.row.extend_from_slice(b",\"key\":");
        self.row.extend_from_slice(row.key);
        self.row.extend_from_slice(b",\"value\":");
        self.row.extend_from_slice(row.value);
        if self.params.include_docs {
            self.row.extend_from_slice(b",\"doc\":");
            documents::write(&self.view.reader, &id, row.value, &self.params.show, &mut self.row)?;
        }
        self.row.push(b'}');
        Ok(())
    }
}

/// The end of what lies before a start.
fn until(start: &Bound<Vec<u8>>) -> Bound<Vec<u8>> {
    match start {
        Bound::Included(key) => Bound::Excluded(key.clone()),
        Bound::Excluded(key) => Bound::Included(key.clone()),
        // Nothing lies before everything.
        Bound::Unbounded => Bound::Excluded(Vec::new()),
    }
}
