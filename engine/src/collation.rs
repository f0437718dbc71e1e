//! The order of values in views and selectors.
//!
//! `null`, `false`, `true`, numbers, strings, arrays, objects. Numbers are compared by value, strings as
//! the root locale of Unicode collates them (a before A before b, and strings that differ only in how
//! their characters are composed are equal), arrays item by item, objects member by member in the order
//! they stand in.

mod memo;

use std::{cmp::Ordering, sync::LazyLock};

use icu_collator::{Collator, CollatorBorrowed, CollatorPreferences, options::CollatorOptions};

use crate::json::{Object, Value};

/// The root locale's collation, with its data compiled in.
static ROOT: LazyLock<Option<CollatorBorrowed<'static>>> = LazyLock::new(|| {
    Collator::try_new(CollatorPreferences::default(), CollatorOptions::default()).ok()
});

/// Compares two strings.
#[must_use]
pub fn compare_strings(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    match &*ROOT {
        Some(collator) => collator.compare(a, b),
        None => unreachable!("the root collation is compiled in"),
    }
}

/// Appends the sort key of a string: the order of sort keys as bytes is that of the strings, and none has
/// a zero in it.
pub(crate) fn write_sort_key(text: &str, out: &mut Vec<u8>) {
    memo::sort_key(text, out, make_sort_key);
}

fn make_sort_key(text: &str, out: &mut Vec<u8>) {
    match &*ROOT {
        Some(collator) => {
            let Ok(()) = collator.write_sort_key_to(text, out);
        }
        None => unreachable!("the root collation is compiled in"),
    }
}

/// Compares two values.
///
/// ```
/// use std::cmp::Ordering;
/// use settee_engine::{collation::compare, json::Value};
///
/// let value = |json: &str| Value::parse(json.as_bytes());
/// assert_eq!(compare(&value("1")?, &value("1.0")?), Ordering::Equal);
/// assert_eq!(compare(&value("\"b\"")?, &value("\"A\"")?), Ordering::Greater);
/// assert_eq!(compare(&value("9")?, &value("\"A\"")?), Ordering::Less);
/// # Ok::<(), settee_engine::Error>(())
/// ```
#[must_use]
pub fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.compare(b),
        (Value::String(a), Value::String(b)) => compare_strings(a, b),
        (Value::Array(a), Value::Array(b)) => compare_all(a.iter(), b.iter(), compare),
        (Value::Object(a), Value::Object(b)) => compare_objects(a, b),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

fn compare_objects(a: &Object, b: &Object) -> Ordering {
    compare_all(a.iter(), b.iter(), |(a_name, a), (b_name, b)| {
        compare_strings(a_name, b_name).then_with(|| compare(a, b))
    })
}

/// Compares item by item; what ends first comes first.
fn compare_all<T>(
    mut a: impl Iterator<Item = T>,
    mut b: impl Iterator<Item = T>,
    compare: impl Fn(T, T) -> Ordering,
) -> Ordering {
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => compare(a, b),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// The order of the types.
fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::test_values::any_value;

    /// Orders of keys recorded from CouchDB's views.
    const RECORDED: &str = include_str!("../tests/data/collation.jsonl");

    #[test]
    fn keys_are_ordered_as_couchdb_orders_them() {
        assert!(RECORDED.lines().count() >= 7);
        for line in RECORDED.lines() {
            let Value::Array(keys) = Value::parse(line.as_bytes()).unwrap() else {
                panic!("{line}")
            };
            for pair in keys.windows(2) {
                assert_ne!(compare(&pair[0], &pair[1]), Ordering::Greater, "{pair:?}");
            }
        }
    }

    #[test]
    fn strings_that_look_the_same_are_equal() {
        assert_eq!(compare_strings("\u{e9}", "e\u{301}"), Ordering::Equal);
        assert_eq!(compare_strings("a", "A"), Ordering::Less);
        assert_eq!(compare_strings("A", "aa"), Ordering::Less);
        assert_eq!(compare_strings("", " "), Ordering::Less);
    }

    #[test]
    fn what_is_a_prefix_comes_first() {
        let value = |json: &str| Value::parse(json.as_bytes()).unwrap();
        let ascending = [
            "[]",
            "[1]",
            "[1,null]",
            "[2]",
            "{}",
            r#"{"a":1}"#,
            r#"{"a":1,"b":0}"#,
            r#"{"a":2}"#,
            r#"{"b":0}"#,
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(&value(a), &value(b)), i.cmp(&j), "{a} {b}");
            }
        }
    }

    proptest! {
        #[test]
        fn remembered_sort_keys_are_those_of_the_collation(texts in prop::collection::vec("[a-cA-Cé ]{0,3}|\\PC{0,40}", 1..40)) {
            for text in texts.iter().chain(&texts) {
                let (mut remembered, mut made) = (b"before".to_vec(), b"before".to_vec());
                write_sort_key(text, &mut remembered);
                make_sort_key(text, &mut made);
                prop_assert_eq!(remembered, made, "{}", text);
            }
        }

        #[test]
        fn it_is_an_order(a in any_value(), b in any_value(), c in any_value()) {
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }
    }
}
