//! The range of values that a selector leaves for a field, in CouchDB's terms: what `_explain` shows as keys,
//! and whether there can be any result at all. What is read is planned by `intervals`.

use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap};

use super::{
    FieldPath,
    definition::Column,
    selector::{Comparison, Condition, Selector},
};
use crate::{collation::compare, json::Value};

/// One end of a range.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bound<'s> {
    Open,
    Exclusive(Cow<'s, Value>),
    Inclusive(Cow<'s, Value>),
}

impl Bound<'_> {
    fn value(&self) -> Option<&Value> {
        match self {
            Bound::Open => None,
            Bound::Exclusive(value) | Bound::Inclusive(value) => Some(value),
        }
    }
}

/// The values from one bound to another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FieldRange<'s> {
    pub(super) low: Bound<'s>,
    pub(super) high: Bound<'s>,
}

impl FieldRange<'_> {
    const ALL: FieldRange<'static> = FieldRange { low: Bound::Open, high: Bound::Open };
}

/// Where an argument lies.
enum Place {
    Below,
    Low,
    Between,
    High,
    Above,
}

impl<'s> FieldRange<'s> {
    /// Whether both ends are the same value.
    fn is_single(&self) -> bool {
        let ends = self.low.value().zip(self.high.value());
        ends.is_some_and(|(low, high)| compare(low, high) == Ordering::Equal)
    }

    fn place(&self, value: &Value) -> Place {
        match self.low.value().map(|low| compare(value, low)) {
            Some(Ordering::Less) => return Place::Below,
            Some(Ordering::Equal) => return Place::Low,
            Some(Ordering::Greater) | None => {}
        }
        match self.high.value().map(|high| compare(value, high)) {
            Some(Ordering::Less) | None => Place::Between,
            Some(Ordering::Equal) => Place::High,
            Some(Ordering::Greater) => Place::Above,
        }
    }

    fn only(value: Cow<'s, Value>) -> Option<Self> {
        Some(FieldRange { low: Bound::Inclusive(value.clone()), high: Bound::Inclusive(value) })
    }

    /// The part of the range where the comparison holds; nothing if there is none.
    fn narrow(self, comparison: Comparison, value: Cow<'s, Value>) -> Option<Self> {
        use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        let place = match self.place(&value) {
            // The only value left is the end on both sides.
            Place::Low if self.is_single() && comparison == Greater => return None,
            place => place,
        };
        let low_included = matches!(self.low, Bound::Inclusive(_));
        let high_included = matches!(self.high, Bound::Inclusive(_));
        match (comparison, place) {
            (NotEqual, _)
            | (Less | LessOrEqual, Place::Above)
            | (LessOrEqual, Place::High)
            | (Greater | GreaterOrEqual, Place::Below)
            | (GreaterOrEqual, Place::Low) => Some(self),
            (Less, Place::Between | Place::High) => {
                Some(FieldRange { high: Bound::Exclusive(value), ..self })
            }
            (LessOrEqual, Place::Between) => {
                Some(FieldRange { high: Bound::Inclusive(value), ..self })
            }
            (Greater, Place::Between | Place::Low) => {
                Some(FieldRange { low: Bound::Exclusive(value), ..self })
            }
            (GreaterOrEqual, Place::Between) => {
                Some(FieldRange { low: Bound::Inclusive(value), ..self })
            }
            (Equal, Place::Between) => FieldRange::only(value),
            (Equal | LessOrEqual, Place::Low) if low_included => FieldRange::only(value),
            (Equal | GreaterOrEqual, Place::High) if high_included => FieldRange::only(value),
            _ => None,
        }
    }
}

/// A field and the range left for it; no range if nothing is left.
pub(super) type Ranges<'s> = Vec<(&'s FieldPath, Option<FieldRange<'s>>)>;

/// The ranges of the fields whose conditions bound an index, in the order of the fields. If one of them is
/// empty, it is the only one.
pub(super) fn field_ranges(selector: &Selector) -> Ranges<'_> {
    let mut ranges = BTreeMap::new();
    collect(selector, &mut ranges);
    let empty = ranges.values().find(|(_, range)| range.is_none()).cloned();
    empty.map_or_else(|| ranges.into_values().collect(), |empty| vec![empty])
}

type ByName<'s> = BTreeMap<Vec<&'s str>, (&'s FieldPath, Option<FieldRange<'s>>)>;

fn collect<'s>(selector: &'s Selector, ranges: &mut ByName<'s>) {
    match selector {
        Selector::And(all) => all.iter().for_each(|selector| collect(selector, ranges)),
        Selector::Field(path, condition) if is_indexable(condition) => {
            let name = path.parts().collect();
            let (_, range) = ranges.entry(name).or_insert((path, Some(FieldRange::ALL)));
            *range = range.take().and_then(|range| narrow(condition, range));
        }
        _ => {}
    }
}

/// The fields whose conditions bound an index, in order, each once.
pub(super) fn indexable_fields(selector: &Selector) -> Vec<&FieldPath> {
    let mut ranges = BTreeMap::new();
    collect(selector, &mut ranges);
    ranges.into_values().map(|(path, _)| path).collect()
}

fn is_indexable(condition: &Condition) -> bool {
    match condition {
        Condition::Compare(comparison, _) => *comparison != Comparison::NotEqual,
        Condition::BeginsWith(_) | Condition::Exists(_) => true,
        _ => false,
    }
}

fn narrow<'s>(condition: &'s Condition, found: FieldRange<'s>) -> Option<FieldRange<'s>> {
    match condition {
        Condition::Compare(comparison, value) => found.narrow(*comparison, Cow::Borrowed(value)),
        Condition::BeginsWith(prefix) => {
            let low = Cow::Owned(Value::from(prefix.as_str()));
            let high = Cow::Owned(Value::from(format!("{prefix}\u{ffff}")));
            let found = found.narrow(Comparison::GreaterOrEqual, low)?;
            found.narrow(Comparison::LessOrEqual, high)
        }
        _ => Some(found),
    }
}

/// The ranges of the first columns, up to the first that has none.
pub(super) fn prefix<'s>(columns: &[Column], ranges: &Ranges<'s>) -> Vec<Option<FieldRange<'s>>> {
    let range = |column: &Column| {
        let found = ranges.binary_search_by(|(path, _)| path.parts().cmp(column.path.parts()));
        ranges.get(found.ok()?).map(|(_, range)| range.clone())
    };
    columns.iter().map_while(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(selector: &str) -> String {
        let selector = Selector::parse(&Value::parse(selector.as_bytes()).unwrap()).unwrap();
        let bound = |bound: &Bound<'_>| match bound {
            Bound::Open => "-".to_owned(),
            Bound::Exclusive(value) => format!("x{}", crate::find::error::shown(value)),
            Bound::Inclusive(value) => crate::find::error::shown(value),
        };
        let range = |(path, range): &(&FieldPath, Option<FieldRange<'_>>)| match range {
            None => format!("{path}: none"),
            Some(range) => format!("{path}: {} {}", bound(&range.low), bound(&range.high)),
        };
        field_ranges(&selector).iter().map(range).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn ranges_are_intersected() {
        assert_eq!(shown(r#"{"a":{"$gt":1,"$lte":5},"b":2}"#), "a: x1 5, b: 2 2");
        assert_eq!(shown(r#"{"a":{"$gte":1,"$lte":1}}"#), "a: 1 1");
        assert_eq!(shown(r#"{"a":{"$gt":1,"$gte":1,"$lt":3,"$lte":3}}"#), "a: x1 x3");
        assert_eq!(shown(r#"{"a":{"$exists":true},"b":{"$in":[1]}}"#), "a: - -");
        assert_eq!(shown(r#"{"a":{"$beginsWith":"x"}}"#), "a: \"x\" \"x\u{ffff}\"");
        assert_eq!(shown(r#"{"$or":[{"a":1}]}"#), "");
    }

    #[test]
    fn contradictions_leave_nothing() {
        for nothing in [
            r#"{"b":1,"a":{"$gt":5,"$lt":3}}"#,
            r#"{"b":1,"a":{"$gt":5,"$lte":5}}"#,
            r#"{"b":1,"a":{"$eq":5,"$gt":5}}"#,
            r#"{"b":1,"a":{"$eq":5,"$lt":5}}"#,
            r#"{"b":1,"$and":[{"a":5},{"a":6}]}"#,
        ] {
            assert_eq!(shown(nothing), "a: none", "{nothing}");
        }
    }
}
