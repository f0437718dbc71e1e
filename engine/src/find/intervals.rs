//! Which parts of an index a selector can find anything in: sets of intervals of encoded values, so that
//! `$in` and `$or` become several short ranges. An interval may be wider than the condition: whatever is
//! found is matched against the selector.

use std::ops::Bound;

use settee_storage::KeyRange;

use super::{
    FieldPath,
    definition::Column,
    plan::ID,
    selector::{Comparison, Condition, Selector},
};
use crate::{
    json::Value,
    view::{
        Collation,
        key::{AFTER, ARRAY, FALSE, MAX_ENCODED_BYTES, NULL, NUMBER, OBJECT, STRING},
    },
};

/// Most ranges a query reads; what would come to more is read as one.
const MAX_RANGES: usize = 10_000;

/// Bytes from `start` on, before `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interval {
    start: Vec<u8>,
    end: Vec<u8>,
    /// It holds the encoding of a single value.
    point: bool,
}

/// Intervals in ascending order that do not overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Intervals(Vec<Interval>);

impl Intervals {
    const NONE: Intervals = Intervals(Vec::new());

    fn one(start: Vec<u8>, end: Vec<u8>) -> Self {
        Intervals(vec![Interval { start, end, point: false }])
    }

    fn all() -> Self {
        Intervals::one(Vec::new(), vec![AFTER])
    }

    fn union(sets: impl IntoIterator<Item = Intervals>) -> Self {
        let mut all: Vec<Interval> = sets.into_iter().flat_map(|set| set.0).collect();
        all.sort_by(|a, b| a.start.cmp(&b.start).then_with(|| a.end.cmp(&b.end)));
        let mut joined: Vec<Interval> = Vec::new();
        for interval in all {
            match joined.last_mut() {
                Some(last) if interval.start <= last.end => {
                    let same = last.start == interval.start && last.end == interval.end;
                    last.point &= interval.point && same;
                    last.end = interval.end.max(std::mem::take(&mut last.end));
                }
                _ => joined.push(interval),
            }
        }
        Intervals(joined)
    }

    fn intersect(&self, other: &Intervals) -> Self {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            let (start, end) =
                (x.start.clone().max(y.start.clone()), x.end.clone().min(y.end.clone()));
            if start < end {
                both.push(Interval { start, end, point: x.point || y.point });
            }
            if x.end <= y.end {
                a.next()
            } else {
                b.next()
            };
        }
        Intervals(both)
    }
}

/// How the conditions on a field translate.
trait Encoding {
    fn condition(&self, condition: &Condition) -> Intervals;
}

/// What is left of a field's values by a selector.
fn of_field(selector: &Selector, field: &FieldPath, encoding: &dyn Encoding) -> Intervals {
    match selector {
        Selector::And(all) => all.iter().fold(Intervals::all(), |left, selector| {
            left.intersect(&of_field(selector, field, encoding))
        }),
        Selector::Or(any) if !any.is_empty() => {
            Intervals::union(any.iter().map(|selector| of_field(selector, field, encoding)))
        }
        Selector::Field(path, condition) if path == field => encoding.condition(condition),
        _ => Intervals::all(),
    }
}

/// Values as indexes encode them.
struct Collated;

impl Collated {
    fn encode(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        Collation::Unicode.encode(&value.to_json(), &mut out);
        out
    }

    fn behind(value: &Value) -> Vec<u8> {
        let mut out = Collated::encode(value);
        out.push(AFTER);
        out
    }

    fn point(value: &Value) -> Intervals {
        let (start, end) = (Collated::encode(value), Collated::behind(value));
        Intervals(vec![Interval { start, end, point: true }])
    }

    /// All values whose encoding begins with one of these tags.
    fn tags(first: u8, last: u8) -> Intervals {
        Intervals::one(vec![first], vec![last + 1])
    }

    fn compare(comparison: Comparison, value: &Value) -> Intervals {
        match comparison {
            Comparison::Less => Intervals::one(Vec::new(), Collated::encode(value)),
            Comparison::LessOrEqual => Intervals::one(Vec::new(), Collated::behind(value)),
            Comparison::Equal => Collated::point(value),
            Comparison::NotEqual => Intervals::all(),
            Comparison::GreaterOrEqual => Intervals::one(Collated::encode(value), vec![AFTER]),
            Comparison::Greater => Intervals::one(Collated::behind(value), vec![AFTER]),
        }
    }

    fn of_type(name: &str) -> Intervals {
        match name {
            "null" => Collated::tags(NULL, NULL),
            "boolean" => Collated::tags(FALSE, NUMBER - 1),
            "number" => Collated::tags(NUMBER, NUMBER),
            "string" => Collated::tags(STRING, STRING),
            "array" => Collated::tags(ARRAY, ARRAY),
            "object" => Collated::tags(OBJECT, OBJECT),
            _ => Intervals::NONE,
        }
    }

    /// In the order of strings, what begins with other letters may stand between those that begin with
    /// some letter; only with ASCII it does not.
    fn begins_with(prefix: &str) -> Intervals {
        if !prefix.is_ascii() {
            return Collated::of_type("string");
        }
        let last = Collated::behind(&Value::from(format!("{prefix}\u{ffff}")));
        Intervals::one(Collated::encode(&Value::from(prefix)), last)
    }
}

impl Encoding for Collated {
    fn condition(&self, condition: &Condition) -> Intervals {
        match condition {
            Condition::Compare(comparison, value) => Collated::compare(*comparison, value),
            Condition::In(values) => {
                // Arrays match by their items.
                let arrays = Collated::of_type("array");
                Intervals::union(values.iter().map(Collated::point).chain([arrays]))
            }
            Condition::Type(name) => Collated::of_type(name),
            Condition::Mod { .. } => Collated::of_type("number"),
            Condition::Regex(_) => Collated::of_type("string"),
            Condition::BeginsWith(prefix) => Collated::begins_with(prefix),
            Condition::All(_)
            | Condition::Size(_)
            | Condition::ElemMatch(_)
            | Condition::AllMatch(_) => Collated::of_type("array"),
            Condition::KeyMapMatch(_) => Collated::of_type("object"),
            Condition::NotIn(_) | Condition::Exists(_) | Condition::Not(_) => Intervals::all(),
        }
    }
}

/// Ids in an index over fields: they lie there in the order of strings, but are compared as bytes.
struct CollatedIds;

impl Encoding for CollatedIds {
    fn condition(&self, condition: &Condition) -> Intervals {
        match condition {
            Condition::Compare(Comparison::Equal, id) => Collated::point(id),
            Condition::In(ids) => Intervals::union(ids.iter().map(Collated::point)),
            _ => Intervals::all(),
        }
    }
}

/// Documents' ids: bytes, and greater than everything that is no string.
struct Ids;

impl Ids {
    fn behind(id: &str) -> Vec<u8> {
        [id.as_bytes(), &[0]].concat()
    }

    fn point(id: &str) -> Intervals {
        Intervals(vec![Interval { start: id.into(), end: Ids::behind(id), point: true }])
    }
}

impl Encoding for Ids {
    fn condition(&self, condition: &Condition) -> Intervals {
        match condition {
            Condition::Compare(comparison, Value::String(id)) => match comparison {
                Comparison::Less => Intervals::one(Vec::new(), id.as_bytes().to_vec()),
                Comparison::LessOrEqual => Intervals::one(Vec::new(), Ids::behind(id)),
                Comparison::Equal => Ids::point(id),
                Comparison::NotEqual => Intervals::all(),
                Comparison::GreaterOrEqual => Intervals::one(id.as_bytes().to_vec(), vec![AFTER]),
                Comparison::Greater => Intervals::one(Ids::behind(id), vec![AFTER]),
            },
            Condition::Compare(
                Comparison::Less | Comparison::LessOrEqual | Comparison::Equal,
                _,
            ) => Intervals::NONE,
            Condition::In(values) => {
                Intervals::union(values.iter().filter_map(Value::as_str).map(Ids::point))
            }
            Condition::BeginsWith(prefix) => {
                // No UTF-8 has this byte.
                Intervals::one(prefix.clone().into(), [prefix.as_bytes(), &[AFTER]].concat())
            }
            _ => Intervals::all(),
        }
    }
}

/// The ranges of ids in which documents may match, ascending.
pub(super) fn id_ranges(selector: &Selector, id: &FieldPath) -> Vec<KeyRange> {
    finish(of_field(selector, id, &Ids).0)
}

/// The ranges of an index's rows in which documents may match, ascending.
pub(super) fn index_ranges(selector: &Selector, columns: &[Column]) -> Vec<KeyRange> {
    let whole = Interval { start: vec![ARRAY], end: vec![ARRAY, AFTER], point: true };
    let mut found = vec![whole];
    for column in columns {
        let encoding: &dyn Encoding = if column.name == ID { &CollatedIds } else { &Collated };
        let of_column = of_field(selector, &column.path, encoding);
        let points = found.iter().filter(|interval| interval.point).count();
        if points == 0 || points.saturating_mul(of_column.0.len()) > MAX_RANGES {
            break;
        }
        found = found.into_iter().flat_map(|before| within(before, &of_column)).collect();
    }
    finish(found)
}

/// An interval of the first columns, and what is left of it by the next one.
fn within(before: Interval, next: &Intervals) -> Vec<Interval> {
    if !before.point {
        return vec![before];
    }
    let put = |end: &[u8]| [&before.start[..], end].concat();
    let inner = |next: &Interval| Interval {
        start: put(&next.start),
        end: put(&next.end),
        point: next.point,
    };
    next.0.iter().map(inner).collect()
}

/// Makes ranges of intervals; those that are longer than encodings are kept become wider.
fn finish(intervals: Vec<Interval>) -> Vec<KeyRange> {
    let cut = |mut interval: Interval| {
        interval.start.truncate(MAX_ENCODED_BYTES);
        if interval.end.len() > MAX_ENCODED_BYTES {
            interval.end.truncate(MAX_ENCODED_BYTES);
            interval.end.extend_from_slice(&[AFTER; 32]);
        }
        Intervals(vec![interval])
    };
    let mut joined = Intervals::union(intervals.into_iter().map(cut)).0;
    if joined.len() > MAX_RANGES {
        let last = joined.pop().map(|last| last.end).unwrap_or_default();
        joined.truncate(1);
        joined.iter_mut().for_each(|first| first.end.clone_from(&last));
    }
    let range = |Interval { start, end, .. }| KeyRange {
        start: Bound::Included(start),
        end: Bound::Excluded(end),
    };
    joined.into_iter().map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(json: &str) -> Selector {
        Selector::parse(&Value::parse(json.as_bytes()).unwrap()).unwrap()
    }

    fn counts(json: &str) -> (usize, usize) {
        let path = |name: &str| FieldPath::parse(name).unwrap();
        let set = of_field(&selector(json), &path("a"), &Collated);
        (set.0.len(), set.0.iter().filter(|interval| interval.point).count())
    }

    #[test]
    fn conditions_become_intervals() {
        // Intervals, and how many of them are single values.
        assert_eq!(counts(r#"{"b":1}"#), (1, 0));
        assert_eq!(counts(r#"{"a":1}"#), (1, 1));
        assert_eq!(counts(r#"{"a":{"$in":[3,1,"x",1.0]}}"#), (4, 3));
        assert_eq!(counts(r#"{"$or":[{"a":3},{"a":{"$lt":2}},{"a":1}]}"#), (2, 1));
        assert_eq!(counts(r#"{"$or":[{"a":3},{"b":1}]}"#), (1, 0));
        assert_eq!(counts(r#"{"$or":[{"a":3,"b":1},{"a":5}]}"#), (2, 2));
        // Arrays may hold one of the values; that none is below the empty one is not seen.
        assert_eq!(counts(r#"{"a":{"$in":[1,2,3],"$gt":1,"$lt":[]}}"#), (3, 2));
        assert_eq!(counts(r#"{"a":{"$type":"number","$gt":"x"}}"#), (0, 0));
        assert_eq!(counts(r#"{"a":{"$regex":"x"}}"#), (1, 0));
    }

    #[test]
    fn ids_are_bytes() {
        let ranges = |json: &str| id_ranges(&selector(json), &FieldPath::parse("_id").unwrap());
        let range = |start: &str, end: &[u8]| KeyRange {
            start: Bound::Included(start.into()),
            end: Bound::Excluded(end.to_vec()),
        };
        assert_eq!(ranges(r#"{"_id":"a"}"#), [range("a", b"a\0")]);
        assert_eq!(ranges(r#"{"_id":{"$gt":null}}"#), [range("", b"\xff")]);
        assert_eq!(ranges(r#"{"_id":{"$lt":5}}"#), []);
        assert_eq!(
            ranges(r#"{"_id":{"$in":["b",5,"a"]}}"#),
            [range("a", b"a\0"), range("b", b"b\0")]
        );
        assert_eq!(ranges(r#"{"_id":{"$beginsWith":"x"}}"#), [range("x", b"x\xff")]);
    }
}
