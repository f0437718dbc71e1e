//! Rows.

use std::ops::{Bound, ControlFlow};

use settee_storage::{Direction, KeyRange};

use super::{QueryParams, ViewHead, ViewReader, ViewSink, documents, range};
use crate::{
    error::Result,
    json::write_string,
    view::{index::Current, key::AFTER, row::Row},
};

/// The number of the first row of a document, as it is encoded.
const FIRST_NUMBER: &[u8] = &[0];
const GO_ON: Result<ControlFlow<()>> = Ok(ControlFlow::Continue(()));
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
        match self.params.descending {
            false => {
                let Some(range) = self.skipped(range, skip)? else { return GO_ON };
                self.forward(&range, sink)
            }
            true => {
                let Some((range, passed)) = self.skipped_from_end(range, skip)? else {
                    return GO_ON;
                };
                self.backward(&range, passed, sink)
            }
        }
    }

    fn forward(&mut self, range: &KeyRange, sink: &mut dyn ViewSink) -> Result<ControlFlow<()>> {
        let current = self.current;
        let mut cursor = current.rows().cursor(range, Direction::Forward);
        let mut flow = ControlFlow::Continue(());
        while self.left != Some(0) && flow.is_continue() {
            let Some((key, value)) = cursor.next()? else { break };
            flow = self.give(&Row::decode(key, value)?, sink)?;
        }
        Ok(flow)
    }

    /// Walks a range from its end. Rows that one document has under one key come in the same order as ever:
    /// to CouchDB they are one entry of the tree. `passed` of the first such rows are left out.
    fn backward(
        &mut self,
        range: &KeyRange,
        mut passed: u64,
        sink: &mut dyn ViewSink,
    ) -> Result<ControlFlow<()>> {
        let current = self.current;
        let mut cursor = current.rows().cursor(range, Direction::Backward);
        let mut done: Vec<u8> = Vec::new();
        let mut flow = ControlFlow::Continue(());
        while self.left != Some(0) && flow.is_continue() {
            let Some((key, value)) = cursor.next()? else { break };
            let row = Row::decode(key, value)?;
            let (place, number) = row_place(key, &row)?;
            if number == FIRST_NUMBER && passed == 0 && place != done {
                // None can come before it.
                flow = self.give(&row, sink)?;
            } else if place != done {
                done = place.to_vec();
                flow = self.same_key(&done, std::mem::take(&mut passed), sink)?;
            }
        }
        Ok(flow)
    }

    /// The rows of one document under one key, without the first `passed`.
    fn same_key(
        &mut self,
        place: &[u8],
        passed: u64,
        sink: &mut dyn ViewSink,
    ) -> Result<ControlFlow<()>> {
        let mut range = rows_at(place);
        if passed > 0 {
            let rows = self.current.rows();
            let before =
                rows.sum(&KeyRange { start: Bound::Unbounded, end: until(&range.start) })?;
            let Some(first) = rows.find_rank(before + passed)? else { return GO_ON };
            range.start = Bound::Included(first);
        }
        self.forward(&range, sink)
    }

    /// Writes a row that may still be written.
    fn give(&mut self, row: &Row<'_>, sink: &mut dyn ViewSink) -> Result<ControlFlow<()>> {
        self.write_row(row)?;
        self.left = self.left.map(|left| left.saturating_sub(1));
        Ok(sink.row(&self.row))
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
        let before = rows.sum(&KeyRange { start: Bound::Unbounded, end: until(&range.start) })?;
        let first = rows.find_rank(before + std::mem::take(skip))?;
        Ok(first.map(|first| KeyRange { start: Bound::Included(first), end: range.end.clone() }))
    }

    /// The same from the end. The range ends with all rows that a document has under a key, of which the
    /// first so many have to be left out.
    fn skipped_from_end(
        &self,
        range: &KeyRange,
        skip: &mut u64,
    ) -> Result<Option<(KeyRange, u64)>> {
        if *skip == 0 {
            return Ok(Some((range.clone(), 0)));
        }
        let rows = self.current.rows();
        let inside = rows.sum(range)?;
        if inside <= *skip {
            *skip -= inside;
            return Ok(None);
        }
        let upto = |end| rows.sum(&KeyRange { start: Bound::Unbounded, end });
        let all = upto(range.end.clone())?;
        let rank = all - std::mem::take(skip) - 1;
        let Some(last) = rows.find_rank(rank)? else { return Ok(None) };
        let Some(value) = rows.get(&last)? else { return Ok(None) };
        let (place, _) = row_place(&last, &Row::decode(&last, &value)?)?;
        let end = rows_at(place).end;
        let passed = upto(end.clone())?.min(all) - rank - 1;
        Ok(Some((KeyRange { start: range.start.clone(), end }, passed)))
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

/// What stands before the number in a row's key, and the number.
fn row_place<'k>(key: &'k [u8], row: &Row<'k>) -> Result<(&'k [u8], &'k [u8])> {
    let number = row.number()?;
    Ok((key.get(..key.len() - number.len()).unwrap_or_default(), number))
}

/// All rows that one document has under one key.
fn rows_at(place: &[u8]) -> KeyRange {
    let end = Bound::Excluded(range::followed(place, &[AFTER]));
    KeyRange { start: Bound::Included(place.to_vec()), end }
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
