//! Reductions of rows, group by group. What lies in a group as a whole subtree is taken by the sum that is
//! stored for it.

use std::{cell::RefCell, ops::ControlFlow, rc::Rc};

use settee_storage::{
    Direction, KeyRange,
    tree::{Fold, Malformed, Step},
};

use super::{Grouping, QueryParams, ViewHead, ViewReader, ViewSelection, ViewSink, range};
use crate::{
    error::Result,
    json::raw,
    view::{
        key::group_length,
        reduce::{
            ReduceLimits, ReduceSpec,
            accumulator::{Accumulator, SharedReducer},
            stored::stored_reduction,
        },
        row::Row,
    },
};

/// Writes the reductions a request asks for.
pub(super) fn write(
    view: &ViewReader,
    params: &QueryParams,
    grouping: Grouping,
    sink: &mut dyn ViewSink,
) -> Result<()> {
    let ranges = range::ranges(params, &view.definition)?;
    let head = ViewHead { counts: None, update_seq: view.update_seq() };
    let flow = sink.head(&head);
    let (Some(current), Some(spec)) = (&view.current, &view.view.reduce) else { return Ok(()) };
    if flow.is_break() || params.limit == Some(0) {
        return Ok(());
    }
    let direction = match params.descending {
        false => Direction::Forward,
        true => Direction::Backward,
    };
    let script = match spec {
        ReduceSpec::JavaScript(source) => {
            Some(Rc::new(RefCell::new(view.group.source.reducer(source)?)))
        }
        _ => None,
    };
    let mut groups = Groups {
        spec,
        script,
        limits: view.reader.database.shared.view_settings().reduce_limits,
        stored: current.meta.reducers.iter().position(|stored| stored == spec),
        direction,
        // The keys of a list are groups by themselves.
        grouping: match params.selection {
            ViewSelection::Keys(_) => Grouping::Exact,
            _ => grouping,
        },
        partition: range::partition_prefix(params).len(),
        context: view.context(),
        skip: params.skip,
        limit: params.limit,
        sink,
        group: None,
        row: Vec::new(),
        outcome: Ok(()),
    };
    for range in ranges {
        if groups.is_full() {
            break;
        }
        groups.fold(current, &range)?;
    }
    Ok(())
}

/// Groups being reduced and written.
struct Groups<'g> {
    spec: &'g ReduceSpec,
    script: Option<SharedReducer>,
    limits: ReduceLimits,
    /// The number of the reduction among those stored, if it is.
    stored: Option<usize>,
    direction: Direction,
    grouping: Grouping,
    /// Length of what stands before the keys.
    partition: usize,
    context: String,
    skip: u64,
    limit: Option<u64>,
    sink: &'g mut dyn ViewSink,
    group: Option<Group>,
    row: Vec<u8>,
    /// What went wrong inside the fold.
    outcome: Result<()>,
}

/// The group the walk is in.
struct Group {
    /// What the encoded rows of the group begin with.
    prefix: Vec<u8>,
    /// Its key as JSON.
    key: Vec<u8>,
    /// Nothing if the group is passed over.
    accumulator: Option<Accumulator>,
}

impl Groups<'_> {
    fn is_full(&self) -> bool {
        self.limit == Some(0)
    }

    fn fold(&mut self, current: &crate::view::index::Current, range: &KeyRange) -> Result<()> {
        let direction = self.direction;
        current.rows().fold(range, direction, self)?;
        std::mem::replace(&mut self.outcome, Ok(()))?;
        self.end_group()
    }

    /// Writes the group the walk was in.
    fn end_group(&mut self) -> Result<()> {
        let Some(Group { key, accumulator, .. }) = self.group.take() else { return Ok(()) };
        let Some(accumulator) = accumulator else {
            self.skip -= 1;
            return Ok(());
        };
        if !accumulator.is_touched() {
            return Ok(());
        }
        self.row.clear();
        self.row.extend_from_slice(b"{\"key\":");
        self.row.extend_from_slice(&key);
        self.row.extend_from_slice(b",\"value\":");
        accumulator.finish()?.write(self.spec, &self.context, &mut self.row)?;
        self.row.push(b'}');
        self.limit = self.limit.map(|limit| limit.saturating_sub(1));
        if let ControlFlow::Break(()) = self.sink.row(&self.row) {
            self.limit = Some(0);
        }
        Ok(())
    }

    /// Whether the row belongs to the group the walk is in.
    fn is_inside(&self, encoded: &[u8]) -> bool {
        let Some(group) = &self.group else { return false };
        match self.grouping {
            Grouping::None => true,
            Grouping::Exact => group.prefix == encoded,
            // No encoding begins another, so what begins like the group is in it.
            Grouping::Level(_) => encoded.starts_with(&group.prefix),
        }
    }

    /// How much of an encoded key its group has in common.
    fn length(&self, encoded: &[u8]) -> usize {
        let key = encoded.get(self.partition..).unwrap_or_default();
        match self.grouping {
            Grouping::None => 0,
            Grouping::Exact => encoded.len(),
            Grouping::Level(level) => self.partition + group_length(key, level),
        }
    }

    fn begin_group(&mut self, row: &Row<'_>) -> Result<()> {
        let prefix = row.encoded.get(..self.length(row.encoded)).unwrap_or_default().to_vec();
        let key = match self.grouping {
            Grouping::None => b"null".to_vec(),
            Grouping::Exact => row.key.to_vec(),
            Grouping::Level(level) => first_items(row.key, level),
        };
        let accumulator = match self.skip {
            0 => Some(Accumulator::new(
                self.spec,
                self.script.as_ref(),
                self.direction,
                self.limits,
            )?),
            _ => None,
        };
        self.group = Some(Group { prefix, key, accumulator });
        Ok(())
    }

    fn add_row(&mut self, row: &Row<'_>) -> Result<Step> {
        if !self.is_inside(row.encoded) {
            self.end_group()?;
            if self.is_full() {
                return Ok(Step::End);
            }
            self.begin_group(row)?;
        }
        if let Some(Group { accumulator: Some(accumulator), .. }) = &mut self.group {
            accumulator.row(row)?;
        }
        Ok(Step::Take)
    }

    /// Whether all keys from `from` up to `to` lie in the group the walk is in.
    fn holds(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> bool {
        let Some(group) = &self.group else { return false };
        if self.grouping == Grouping::None {
            return true;
        }
        // Whole arrays that are shorter than the level, and keys themselves, are followed by an id; rows of
        // the group and no others begin with the prefix then. So are those of a level.
        let inside = |key: &[u8]| key.starts_with(&group.prefix);
        from.is_some_and(inside) && to.is_some_and(inside)
    }

    /// Keeps an error until the walk has ended.
    fn step(&mut self, outcome: Result<Step>) -> Step {
        outcome.unwrap_or_else(|error| {
            self.outcome = Err(error);
            Step::End
        })
    }

    fn add_subtree(&mut self, sum: &[u8]) -> Result<Step, Malformed> {
        let Some(group) = &mut self.group else { return Ok(Step::Open) };
        let Some(accumulator) = &mut group.accumulator else { return Ok(Step::Take) };
        let Some(number) = self.stored else { return Ok(Step::Open) };
        let Some(reduction) = stored_reduction(sum, number)? else { return Ok(Step::Open) };
        let outcome = accumulator.stored(&reduction).map(|()| Step::Take);
        Ok(self.step(outcome))
    }
}

impl Fold for Groups<'_> {
    fn subtree(
        &mut self,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
        sum: &[u8],
    ) -> Result<Step, Malformed> {
        match (&self.group, self.grouping) {
            // Everything is one group, and it needs no first row to know its key.
            (None, Grouping::None) => {
                let nothing = Row::decode(&[], &[0, 0]).map_err(|_| Malformed("an empty row"))?;
                if let Err(error) = self.begin_group(&nothing) {
                    self.outcome = Err(error);
                    return Ok(Step::End);
                }
                self.add_subtree(sum)
            }
            _ if self.holds(from, to) => self.add_subtree(sum),
            _ => Ok(Step::Open),
        }
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<Step, Malformed> {
        let outcome = Row::decode(key, value).and_then(|row| self.add_row(&row));
        Ok(self.step(outcome))
    }
}

/// The key of a group: the first items of an array; anything else as a whole.
fn first_items(key: &[u8], level: u64) -> Vec<u8> {
    let level = usize::try_from(level).unwrap_or(usize::MAX);
    if key.first() != Some(&b'[') {
        return key.to_vec();
    }
    let items: Vec<&[u8]> = raw::items(key).take(level).collect();
    [&b"["[..], &items.join(&b','), b"]"].concat()
}
