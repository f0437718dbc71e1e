//! Reductions of rows, group by group. What lies in a group as a whole subtree is taken by the sum that is
//! stored for it.

use std::{cell::RefCell, ops::ControlFlow, rc::Rc};

use settee_storage::{
    Direction, KeyRange,
    tree::{Fold, Malformed, Pages, Step, Tree},
};

use super::{Grouping, QueryParams, ViewHead, ViewReader, ViewSelection, ViewSink, range};
use crate::{
    error::Result,
    json::raw,
    view::{
        index::Current,
        key::group_length,
        reduce::{
            Limiter, ReduceSpec,
            accumulator::{Accumulator, SharedReducer},
            stored::{RowCount, stored_reduction},
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
    let mut groups = Groups::new(view, (current, spec), params, grouping, sink)?;
    for range in ranges {
        if groups.is_full() {
            break;
        }
        groups.fold(&current.rows(), &range)?;
    }
    Ok(())
}

/// Groups being reduced and written.
struct Groups<'g> {
    spec: &'g ReduceSpec,
    script: Option<SharedReducer>,
    limits: Limiter<'g>,
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
    group: Option<Group<'g>>,
    row: Vec<u8>,
    /// What went wrong inside the fold.
    outcome: Result<()>,
}

/// The group the walk is in.
struct Group<'g> {
    /// What the encoded rows of the group begin with.
    prefix: Vec<u8>,
    /// Its key as JSON.
    key: Vec<u8>,
    /// Nothing if the group is passed over.
    accumulator: Option<Accumulator<'g>>,
}

impl<'g> Groups<'g> {
    fn new(
        view: &'g ViewReader,
        (current, spec): (&Current, &'g ReduceSpec),
        params: &QueryParams,
        grouping: Grouping,
        sink: &'g mut dyn ViewSink,
    ) -> Result<Self> {
        let script = match spec {
            ReduceSpec::JavaScript(source) => {
                Some(Rc::new(RefCell::new(view.group.source.reducer(source)?)))
            }
            _ => None,
        };
        Ok(Groups {
            spec,
            script,
            limits: Limiter {
                limits: view.reader.database.shared.view_settings().reduce_limits,
                source: &*view.group.source,
            },
            stored: current.meta.reducers.iter().position(|stored| stored == spec),
            direction: match params.descending {
                false => Direction::Forward,
                true => Direction::Backward,
            },
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
        })
    }

    fn is_full(&self) -> bool {
        self.limit == Some(0)
    }

    fn fold<P: Pages + ?Sized>(
        &mut self,
        rows: &Tree<'_, P, RowCount>,
        range: &KeyRange,
    ) -> Result<()> {
        let direction = self.direction;
        rows.fold(range, direction, self)?;
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

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::Arc};

    use settee_storage::tree::{NodeRef, Page};

    use super::*;
    use crate::{
        Databases, Document, Props, WriteMode,
        document::Limits,
        view::{Emit, IndexDefinition, RowMapper, RowSource, Signature, ViewDefinition, ViewGroup},
    };

    /// Rows of a document, and groups of these under the first item of their keys.
    const ROWS: usize = 2000;
    const GROUPS: usize = 60;
    const DOCUMENTS: usize = 60;

    #[derive(Debug)]
    struct Many;

    impl RowSource for Many {
        fn mapper(&self, _functions: &[usize]) -> Result<Box<dyn RowMapper>> {
            Ok(Box::new(Many))
        }
    }

    impl RowMapper for Many {
        fn map(&mut self, document: &[u8], emit: &mut Emit<'_>) -> Result<()> {
            let number = raw::member(document, "n").unwrap_or(b"0");
            let number = String::from_utf8_lossy(number);
            for row in 0..ROWS {
                let key = format!("[{},{row},{number}]", row % GROUPS);
                emit(0, key.as_bytes(), row.to_string().as_bytes());
            }
            Ok(())
        }
    }

    /// Counts the nodes that are read.
    struct Counting<'p, P>(&'p P, Cell<usize>);

    impl<P: Pages> Pages for Counting<'_, P> {
        fn node(&self, at: NodeRef) -> settee_storage::Result<Page<'_>> {
            self.1.set(self.1.get() + 1);
            self.0.node(at)
        }

        fn corrupt(&self, at: NodeRef, what: &'static str) -> settee_storage::Error {
            self.0.corrupt(at, what)
        }
    }

    #[derive(Default)]
    struct Count(usize);

    impl ViewSink for Count {
        fn head(&mut self, _head: &ViewHead) -> ControlFlow<()> {
            ControlFlow::Continue(())
        }

        fn row(&mut self, _json: &[u8]) -> ControlFlow<()> {
            self.0 += 1;
            ControlFlow::Continue(())
        }
    }

    fn group() -> Arc<ViewGroup> {
        let mut definition = IndexDefinition::new(Signature::of(&[b"many"]), 0);
        definition.reducers = vec![ReduceSpec::Stats];
        let mut group = ViewGroup::new("_design/many", Arc::new(Many), vec![definition]);
        let view = ViewDefinition { index: 0, reduce: Some(ReduceSpec::Stats) };
        group.views.insert("many".into(), view);
        Arc::new(group)
    }

    /// Rows of the answer and nodes read for it.
    fn read(view: &ViewReader, params: &QueryParams, grouping: Grouping) -> (usize, usize) {
        let (current, spec) = (view.current.as_ref().unwrap(), view.view.reduce.as_ref().unwrap());
        let pages = Counting(current.snapshot.pages(), Cell::new(0));
        let tree = Tree::new(&pages, current.snapshot.root(0), RowCount);
        let mut sink = Count::default();
        let mut groups = Groups::new(view, (current, spec), params, grouping, &mut sink).unwrap();
        groups.fold(&tree, &KeyRange::all()).unwrap();
        (sink.0, pages.1.get())
    }

    #[test]
    fn groups_are_read_off_inner_nodes() {
        let database = Databases::in_memory().create("many", Props::default()).unwrap();
        let document = |n: usize| {
            Document::parse(
                format!("{{\"n\":{n}}}").as_bytes(),
                Some(&n.to_string()),
                &Limits::default(),
            )
        };
        let documents = (0..DOCUMENTS).map(|n| document(n).unwrap()).collect();
        database.write(documents, WriteMode::Interactive).unwrap();
        let group = group();
        database.refresh_views(&group).unwrap();
        let view = database.read_view(&group, "many").unwrap();
        let params = QueryParams::default();

        // Each row for itself: all nodes of the tree.
        let (rows, nodes) = read(&view, &params, Grouping::Exact);
        assert_eq!(rows, ROWS * DOCUMENTS);
        assert!(nodes > 15 * GROUPS, "the tree has {nodes} nodes");
        // The root alone.
        assert_eq!(read(&view, &params, Grouping::None), (1, 1));
        // A leaf where one group ends and the next begins, and the inner nodes.
        let (rows, nodes) = read(&view, &params, Grouping::Level(1));
        assert_eq!(rows, GROUPS);
        assert!(nodes < 2 * GROUPS, "{nodes} nodes for {GROUPS} groups");
    }
}
