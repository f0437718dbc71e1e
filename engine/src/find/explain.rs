//! Telling how a query would be answered.

use std::{borrow::Cow, collections::BTreeSet};

use super::{
    FindPlan, intervals,
    plan::{Choice, Fate, Index, Reason, paths},
    range::{self, Bound, FieldRange, field_ranges, indexable_fields},
    selector,
};
use crate::{
    error::Result,
    json::{Object, Value},
    read::Reader,
};

/// How the greatest key is shown.
const GREATEST: &str = "<MAX>";

impl FindPlan {
    /// The answer to `_explain`, as CouchDB gives it. Beyond that it says how many rows would be read:
    /// `rows_to_read` for the index chosen and in the analysis of each other one, null where an index
    /// was not built yet; `ranges_to_read` in how many pieces.
    ///
    /// # Errors
    /// Those of the store.
    pub fn explain(&self) -> Result<Value> {
        let request = &self.request;
        let winner = self.choice.winner();
        let reader = self.database.read()?;
        let mut explained = Object::new();
        explained.insert("dbname", self.database.name());
        explained.insert("index", winner.map_or(Value::Null, Index::to_value));
        explained.insert("partitioned", self.database.props().partitioned);
        explained.insert("selector", request.selector.to_value());
        explained.insert("opts", request.options());
        explained.insert("limit", request.limit);
        explained.insert("skip", request.skip);
        let names = request.fields.as_deref().unwrap_or_default();
        let fields = names.iter().map(|name| Value::from(name.as_str()));
        explained.insert("fields", fields.collect::<Vec<_>>());
        explained.insert("index_candidates", self.candidates(&reader)?);
        explained.insert("selector_hints", vec![self.hints()]);
        if let Some(index) = winner {
            let (ranges, rows) = self.to_read(&reader, index)?;
            explained.insert("mrargs", self.arguments(index));
            explained.insert("covering", self.is_covered());
            explained.insert("rows_to_read", rows);
            explained.insert("ranges_to_read", ranges);
        }
        Ok(explained.into())
    }

    /// Ranges and rows of an index that the query would read.
    fn to_read(&self, reader: &Reader, index: &Index) -> Result<(u64, Value)> {
        let Index::Json(json) = index else {
            let ranges = self.id_ranges()?;
            let mut rows = 0;
            for range in &ranges {
                rows += reader.snapshot.count_docs(range)?.live;
            }
            return Ok((ranges.len() as u64, rows.into()));
        };
        let ranges = intervals::index_ranges(&self.request.selector, index.columns());
        let count = ranges.len() as u64;
        let Some((group, number)) = self.database.find_group(json)? else {
            return Ok((count, Value::Null));
        };
        let Some(built) = self.database.read_index(&group, number)? else {
            return Ok((count, Value::Null));
        };
        let mut rows = 0;
        for range in ranges {
            // An index of other scope cannot be read in this query's.
            let range = match json.partitioned {
                true => self.in_partition(&built, range),
                false => range,
            };
            rows += built.count(&range)?;
        }
        Ok((count, rows.into()))
    }

    /// The indexes that were not chosen, last first as CouchDB has them.
    fn candidates(&self, reader: &Reader) -> Result<Vec<Value>> {
        let ranks = Ranks::of(&self.choice);
        let shown = self.request.fields.as_deref().map(paths).transpose()?;
        let mut candidates = Vec::new();
        for (index, fate) in self.choice.indexes.iter().zip(&self.choice.fates).rev() {
            if Some(index) == self.choice.winner() {
                continue;
            }
            let (usable, reason, ranking) = self.verdict(index, *fate, &ranks);
            let covering = match index {
                Index::AllDocs => Value::Null,
                Index::Json(_) => shown.as_ref().is_some_and(|fields| index.covers(fields)).into(),
            };
            let mut named = Object::new();
            named.insert("name", reason.name());
            let mut analysis = Object::new();
            analysis.insert("usable", usable);
            analysis.insert("reasons", vec![named.into()]);
            analysis.insert("ranking", ranking);
            analysis.insert("covering", covering);
            let (ranges, rows) = self.to_read(reader, index)?;
            analysis.insert("rows_to_read", rows);
            analysis.insert("ranges_to_read", ranges);
            let mut candidate = Object::new();
            candidate.insert("index", index.to_value());
            candidate.insert("analysis", analysis);
            candidates.push(candidate.into());
        }
        Ok(candidates)
    }

    /// Whether an index could have been used, why it was not, and its place among all.
    fn verdict(&self, index: &Index, fate: Fate, ranks: &Ranks) -> (bool, Reason, u64) {
        if matches!(index, Index::Json(json) if json.is_partial()) {
            return (false, Reason::IsPartial, ranks.partial);
        }
        let columns = self.choice.winner().map_or(0, |winner| winner.columns().len());
        match fate {
            Fate::Partial => (false, Reason::IsPartial, ranks.partial),
            Fate::OutOfScope => (false, Reason::ScopeMismatch, ranks.out_of_scope),
            Fate::NotUsable(reason) => (false, reason, ranks.not_usable),
            Fate::Excluded => (true, Reason::ExcludedByUser, ranks.excluded),
            Fate::Unfavored => (true, Reason::UnfavoredType, ranks.unfavored),
            Fate::Ranked { place, distance } => {
                let reason = match distance {
                    0 if index.columns().len() > columns => Reason::TooManyFields,
                    0 => Reason::AlphabeticallyComesAfter,
                    _ => Reason::LessOverlap,
                };
                (true, reason, place as u64)
            }
        }
    }

    /// Which fields of the selector an index could bound.
    fn hints(&self) -> Value {
        let names = |names: BTreeSet<String>| -> Vec<Value> {
            names.into_iter().map(Value::from).collect()
        };
        let indexable: BTreeSet<String> =
            indexable_fields(&self.request.selector).iter().map(ToString::to_string).collect();
        let mut others = BTreeSet::new();
        selector::fields(&self.request.selector, &mut |path, _| {
            others.insert(path.to_string());
        });
        let others = others.difference(&indexable).cloned().collect();
        let mut hints = Object::new();
        hints.insert("type", "json");
        hints.insert("indexable_fields", names(indexable));
        hints.insert("unindexable_fields", names(others));
        hints.into()
    }

    /// How CouchDB would ask the view.
    fn arguments(&self, index: &Index) -> Value {
        let request = &self.request;
        let descending = request.sort.descending();
        let (mut start, mut end) = match self.is_empty() {
            true => (Value::Null, Value::Null),
            false => self.keys(index),
        };
        if descending {
            std::mem::swap(&mut start, &mut end);
        }
        let mut arguments = Object::new();
        arguments.insert("include_docs", request.r == 1 && !self.is_covered());
        arguments.insert("view_type", "map");
        arguments.insert("reduce", false);
        let partition = request.partition.as_deref().map_or(Value::Null, Value::from);
        arguments.insert("partition", partition);
        arguments.insert("start_key", start);
        arguments.insert("end_key", end);
        arguments.insert("direction", if descending { "rev" } else { "fwd" });
        arguments.insert("stable", request.stable || request.stale);
        arguments.insert("update", request.wants_update());
        let conflicts = if request.conflicts { Value::from(true) } else { "undefined".into() };
        arguments.insert("conflicts", conflicts);
        arguments.into()
    }

    fn keys(&self, index: &Index) -> (Value, Value) {
        let ranges = field_ranges(&self.request.selector);
        let prefix: Vec<FieldRange<'_>> =
            range::prefix(index.columns(), &ranges).into_iter().flatten().collect();
        if *index == Index::AllDocs {
            let first = prefix.first();
            let low = first.and_then(|range| value(&range.low)).unwrap_or_else(|| "".into());
            let high = first.and_then(|range| value(&range.high));
            return (low, high.unwrap_or_else(|| GREATEST.into()));
        }
        let low: Vec<Value> = prefix.iter().map_while(|range| value(&range.low)).collect();
        let mut high: Vec<Value> = prefix.iter().map_while(|range| value(&range.high)).collect();
        high.push(GREATEST.into());
        (low.into(), high.into())
    }
}

fn value(bound: &Bound<'_>) -> Option<Value> {
    match bound {
        Bound::Open => None,
        Bound::Exclusive(value) | Bound::Inclusive(value) => Some(Cow::clone(value).into_owned()),
    }
}

/// The places of those that did not come to be ranked: each group behind the one that came further.
struct Ranks {
    unfavored: u64,
    excluded: u64,
    not_usable: u64,
    out_of_scope: u64,
    partial: u64,
}

impl Ranks {
    fn of(choice: &Choice) -> Self {
        let any = |is: &dyn Fn(&Fate) -> bool| u64::from(choice.fates.iter().any(is));
        let ranked = choice.fates.iter().filter(|fate| matches!(fate, Fate::Ranked { .. }));
        let unfavored = (ranked.count() as u64).max(1);
        let excluded = unfavored + any(&|fate| *fate == Fate::Unfavored);
        let not_usable = excluded + any(&|fate| *fate == Fate::Excluded);
        let out_of_scope = not_usable + any(&|fate| matches!(fate, Fate::NotUsable(_)));
        let partial = out_of_scope + any(&|fate| *fate == Fate::OutOfScope);
        Ranks { unfavored, excluded, not_usable, out_of_scope, partial }
    }
}
