//! Which index answers a query: CouchDB's choice, step by step.

use std::sync::{Arc, LazyLock};

use super::{
    FieldPath, FindError, FindRequest, JsonIndex, UseIndex,
    definition::Column,
    range::{self, Ranges, field_ranges, indexable_fields},
    selector::{self, Comparison, Condition, Selector},
};
use crate::{
    database::Database,
    error::Result,
    json::{Object, Value},
    view::ViewGroup,
};

/// The field that the index of all documents is ordered by.
pub(super) const ID: &str = "_id";

/// The columns of the index of all documents.
static ID_COLUMN: LazyLock<Vec<Column>> = LazyLock::new(|| Column::of(&[ID]));

/// An index a query may be answered from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Index {
    /// The documents themselves.
    AllDocs,
    /// One over fields.
    Json(Arc<JsonIndex>),
}

impl Index {
    pub(super) fn columns(&self) -> &[Column] {
        match self {
            Index::AllDocs => &ID_COLUMN,
            Index::Json(index) => &index.definition.columns,
        }
    }

    fn is_partial(&self) -> bool {
        matches!(self, Index::Json(index) if index.is_partial())
    }

    pub(super) fn is_named(&self, by: &UseIndex) -> bool {
        matches!(self, Index::Json(index) if index.is_named(by))
    }

    /// As lists of indexes show it.
    pub(super) fn to_value(&self) -> Value {
        let Index::Json(index) = self else {
            let field = Object::from_iter([(ID.to_owned(), Value::from("asc"))]);
            let def = Object::from_iter([("fields".to_owned(), vec![field.into()].into())]);
            let mut all_docs = Object::new();
            all_docs.insert("ddoc", Value::Null);
            all_docs.insert("name", "_all_docs");
            all_docs.insert("type", "special");
            all_docs.insert("def", def);
            return all_docs.into();
        };
        index.to_value()
    }

    /// Whether it holds everything that is asked about and shown.
    pub(super) fn covers<'f>(&self, fields: impl IntoIterator<Item = &'f FieldPath>) -> bool {
        let Index::Json(index) = self else { return false };
        let columns = &index.definition.columns;
        let is_there = |field: &FieldPath| {
            let columns = columns.iter().chain(&*ID_COLUMN);
            columns.into_iter().any(|column| column.path == *field)
        };
        fields.into_iter().all(is_there) && !Column::overlap(columns)
    }
}

/// Why an index is not the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    IsPartial,
    ScopeMismatch,
    FieldMismatch,
    SortOrderMismatch,
    ExcludedByUser,
    UnfavoredType,
    LessOverlap,
    TooManyFields,
    AlphabeticallyComesAfter,
}

impl Reason {
    pub(super) fn name(self) -> &'static str {
        match self {
            Reason::IsPartial => "is_partial",
            Reason::ScopeMismatch => "scope_mismatch",
            Reason::FieldMismatch => "field_mismatch",
            Reason::SortOrderMismatch => "sort_order_mismatch",
            Reason::ExcludedByUser => "excluded_by_user",
            Reason::UnfavoredType => "unfavored_type",
            Reason::LessOverlap => "less_overlap",
            Reason::TooManyFields => "too_many_fields",
            Reason::AlphabeticallyComesAfter => "alphabetically_comes_after",
        }
    }
}

/// How far an index came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Partial,
    OutOfScope,
    NotUsable(Reason),
    Excluded,
    Unfavored,
    /// Among those of which the best was taken, at this place from 0 and this far from the selector.
    Ranked {
        place: usize,
        distance: usize,
    },
}

/// The indexes there are and what became of each.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// That of all documents first, then the others in order.
    pub(super) indexes: Vec<Index>,
    pub(super) fates: Vec<Fate>,
}

impl Choice {
    /// The index chosen.
    pub(super) fn winner(&self) -> Option<&Index> {
        let is_best = |fate: &Fate| matches!(fate, Fate::Ranked { place: 0, .. });
        self.indexes.get(self.fates.iter().position(is_best)?)
    }
}

/// A query and how it will be answered: made by [`Database::plan_find`].
#[derive(Clone, Debug)]
pub struct FindPlan {
    pub(super) database: Arc<Database>,
    pub(super) request: Arc<FindRequest>,
    pub(super) choice: Choice,
    /// The index and where it is, unless that of all documents is taken.
    pub(super) group: Option<(Arc<ViewGroup>, usize)>,
}

impl Database {
    /// Chooses the index for a query.
    ///
    /// # Errors
    /// [`FindError`] if there is none; [`crate::Error::BadRequest`] if the database has no partitions and
    /// one was named.
    pub fn plan_find(self: &Arc<Self>, request: FindRequest) -> Result<FindPlan> {
        let plan = self.plan_explain(request)?;
        if plan.choice.winner().is_none() {
            let among = match (self.props().partitioned, &plan.request.partition) {
                (false, _) => "",
                (true, Some(_)) => "partitioned ",
                (true, None) => "global ",
            };
            return Err(FindError::NoUsableIndex(among).into());
        }
        Ok(plan)
    }

    /// The same to be explained only, which a query without an index can be, too.
    ///
    /// # Errors
    /// As [`Database::plan_find`].
    pub fn plan_explain(self: &Arc<Self>, request: FindRequest) -> Result<FindPlan> {
        if let Some(partition) = &request.partition {
            self.check_partition(partition)?;
        }
        if has_text(&request.selector) {
            return Err(FindError::ServiceUnavailable("text").into());
        }
        let json = self.read()?.json_indexes()?;
        let indexes = std::iter::once(Index::AllDocs)
            .chain(json.iter().map(|index| Index::Json(Arc::clone(index))));
        let choice = choose(indexes.collect(), &request)?;
        let group = match choice.winner() {
            Some(Index::Json(index)) => self.find_group(index)?,
            _ => None,
        };
        Ok(FindPlan { database: Arc::clone(self), request: Arc::new(request), choice, group })
    }

    /// Where the rows of an index are; nothing if its design document was changed just now.
    pub(super) fn find_group(
        self: &Arc<Self>,
        index: &JsonIndex,
    ) -> Result<Option<(Arc<ViewGroup>, usize)>> {
        let group = self.view_group(&index.design)?;
        let number = group.views.get(&index.name).map(|view| view.index);
        Ok(number.map(|number| (group, number)))
    }
}

impl FindPlan {
    /// Documents that are asked for.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.request.limit
    }

    /// The indexes that have to be brought up to date before the query runs.
    #[must_use]
    pub fn wants_update(&self) -> Option<&Arc<ViewGroup>> {
        let wanted = self.request.wants_update() && !self.is_empty();
        self.group.as_ref().filter(|_| wanted).map(|(group, _)| group)
    }

    /// Whether CouchDB does not even look: the conditions on a column contradict each other, or there are
    /// none in a list of them.
    pub(super) fn is_empty(&self) -> bool {
        let selector = &self.request.selector;
        match selector {
            Selector::And(list) | Selector::Or(list) if list.is_empty() => return true,
            _ => {}
        }
        let ranges = field_ranges(selector);
        let Some(index) = self.choice.winner() else { return false };
        range::prefix(index.columns(), &ranges).iter().any(Option::is_none)
    }

    /// Whether documents need not be read.
    pub(super) fn is_covered(&self) -> bool {
        let Some(names) = &self.request.fields else { return false };
        let Ok(mut fields) = paths(names) else { return false };
        selector::fields(&self.request.selector, &mut |path, _| fields.push(path.clone()));
        self.choice.winner().is_some_and(|index| index.covers(&fields))
    }
}

/// Fields by their names.
pub(super) fn paths(names: &[String]) -> Result<Vec<FieldPath>, super::SelectorError> {
    names.iter().map(|name| FieldPath::parse(name)).collect()
}

fn has_text(selector: &Selector) -> bool {
    match selector {
        Selector::Text(_) => true,
        Selector::And(list) | Selector::Or(list) | Selector::Nor(list) => list.iter().any(has_text),
        Selector::Not(selector) => has_text(selector),
        Selector::Everything | Selector::Field(..) => false,
    }
}

fn choose(indexes: Vec<Index>, request: &FindRequest) -> Result<Choice, FindError> {
    let is_named =
        |index: &Index| request.use_index.as_ref().is_some_and(|name| index.is_named(name));
    let mut fates: Vec<Option<Fate>> = Vec::with_capacity(indexes.len());
    for index in &indexes {
        fates.push(match index {
            index if index.is_partial() && !is_named(index) => Some(Fate::Partial),
            Index::Json(json) if json.partitioned != request.partition.is_some() => {
                Some(Fate::OutOfScope)
            }
            index => unusable(index, request).map(Fate::NotUsable),
        });
    }
    let usable = fates.iter().filter(|fate| fate.is_none()).count();
    let set_aside = |fates: &mut Vec<Option<Fate>>, fate, keep: &dyn Fn(&Index) -> bool| {
        let open = fates.iter_mut().zip(&indexes).filter(|(fate, _)| fate.is_none());
        open.filter(|(_, index)| !keep(index)).for_each(|(slot, _)| *slot = Some(fate));
    };
    let remain = |fates: &[Option<Fate>], keep: &dyn Fn(&Index) -> bool| {
        fates.iter().zip(&indexes).any(|(fate, index)| fate.is_none() && keep(index))
    };
    if remain(&fates, &is_named) {
        set_aside(&mut fates, Fate::Excluded, &is_named);
    } else if !request.allow_fallback && (request.use_index.is_some() || usable < 2) {
        return Err(match &request.use_index {
            None => FindError::IndexNotNamed,
            Some(index) => FindError::IndexNotSuitable(index.shown()),
        });
    }
    let is_json = |index: &Index| matches!(index, Index::Json(_));
    if remain(&fates, &is_json) {
        set_aside(&mut fates, Fate::Unfavored, &is_json);
    }
    let fates = rank(&indexes, fates, &request.selector);
    Ok(Choice { indexes, fates })
}

/// Ranks those that are left: by how much of the selector they leave open, then by their columns, then by name.
fn rank(indexes: &[Index], fates: Vec<Option<Fate>>, selector: &Selector) -> Vec<Fate> {
    let ranges = field_ranges(selector);
    let left = fates.iter().enumerate().filter(|(_, fate)| fate.is_none()).map(|(at, _)| at);
    let mut ranked: Vec<(usize, usize, usize)> = left
        .filter_map(|at| {
            let index = indexes.get(at)?;
            Some((distance(index, &ranges), index.columns().len(), at))
        })
        .collect();
    ranked.sort_unstable();
    let fate = |(at, fate): (usize, Option<Fate>)| {
        let place = ranked.iter().position(|(_, _, ranked)| *ranked == at);
        let distance =
            place.and_then(|place| ranked.get(place)).map_or(0, |(distance, ..)| *distance);
        fate.unwrap_or(Fate::Ranked { place: place.unwrap_or_default(), distance })
    };
    fates.into_iter().enumerate().map(fate).collect()
}

/// How many of the fields with a range are not among the first columns.
fn distance(index: &Index, ranges: &Ranges<'_>) -> usize {
    let prefix = range::prefix(index.columns(), ranges).len();
    match index {
        Index::Json(_) => ranges.len() - prefix,
        // CouchDB adds a range over all ids here, which no other index competes with.
        Index::AllDocs => (ranges.len() + 1).saturating_sub(prefix.max(1)),
    }
}

/// Why an index cannot answer the query, if it cannot.
fn unusable(index: &Index, request: &FindRequest) -> Option<Reason> {
    let (selector, sort) = (&request.selector, &request.sort);
    let sorted: Vec<&str> = sort.fields().collect();
    let columns = index.columns();
    let has_fields = match index {
        Index::AllDocs => {
            let is_id = |column: &Column| indexable_fields(selector).contains(&&column.path);
            sorted.is_empty() || columns.iter().all(is_id)
        }
        Index::Json(_) => {
            let is_open = |column: &&Column| {
                !sorted.contains(&column.name.as_str())
                    && !matches!(column.name.as_str(), ID | "_rev")
            };
            let open = columns.iter().filter(is_open).map(|column| &column.path).collect();
            missing(selector, open).is_empty()
        }
    };
    if !has_fields {
        return Some(Reason::FieldMismatch);
    }
    let in_order = match index {
        Index::AllDocs => is_prefix(&sorted, columns),
        Index::Json(_) => delivers(columns, &sorted, selector),
    };
    (!in_order).then_some(Reason::SortOrderMismatch)
}

fn is_prefix(sorted: &[&str], columns: &[Column]) -> bool {
    sorted.len() <= columns.len()
        && sorted.iter().zip(columns).all(|(field, column)| *field == column.name)
}

/// Whether rows in the order of the columns are in the order asked for: columns with one value do not count.
fn delivers(columns: &[Column], sorted: &[&str], selector: &Selector) -> bool {
    match (columns, sorted) {
        (_, []) => true,
        ([], _) => false,
        ([column, ..], [field, ..]) if column.name == *field => is_prefix(sorted, columns),
        ([column, rest @ ..], _) => {
            is_constant(selector, &column.path) && delivers(rest, sorted, selector)
        }
    }
}

fn is_constant(selector: &Selector, field: &FieldPath) -> bool {
    match selector {
        Selector::And(all) => all.iter().any(|selector| is_constant(selector, field)),
        Selector::Field(path, Condition::Compare(Comparison::Equal, _)) => path == field,
        _ => false,
    }
}

/// Those of some fields that a document may lack and still match.
fn missing<'f>(selector: &Selector, fields: Vec<&'f FieldPath>) -> Vec<&'f FieldPath> {
    match selector {
        Selector::And(all) => all.iter().fold(fields, |fields, selector| missing(selector, fields)),
        Selector::Or(any) if !any.is_empty() => {
            let lacks: Vec<_> =
                any.iter().map(|selector| missing(selector, fields.clone())).collect();
            let lacked = |field: &&FieldPath| lacks.iter().any(|fields| fields.contains(field));
            fields.into_iter().filter(lacked).collect()
        }
        Selector::Field(path, condition) if *condition != Condition::Exists(false) => {
            fields.into_iter().filter(|field| *field != path).collect()
        }
        _ => fields,
    }
}
