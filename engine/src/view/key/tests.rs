//! The order of encodings against the comparator, the traces, and all of Unicode.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;
use crate::{
    collation::{compare, compare_strings},
    json::{Value, test_values::any_value},
};

fn encoded(collation: Collation, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    collation.encode(&value.to_json(), &mut out);
    out
}

fn value(json: &str) -> Value {
    Value::parse(json.as_bytes()).unwrap()
}

#[test]
fn recorded_orders_are_kept() {
    for line in include_str!("../../../tests/data/collation.jsonl").lines() {
        let Value::Array(keys) = value(line) else { panic!("{line}") };
        let keys: Vec<_> = keys.iter().map(|key| encoded(Collation::Unicode, key)).collect();
        assert!(keys.is_sorted(), "{line}");
    }
}

#[test]
fn raw_collation_is_that_of_erlang() {
    let ascending = [
        "-1",
        "0",
        "1.5",
        "10",
        "false",
        "null",
        "true",
        "{}",
        r#"{"a":1}"#,
        r#"{"a":1,"b":1}"#,
        r#"{"b":0}"#,
        "[]",
        "[1]",
        "[1,2]",
        "[2]",
        "\"\"",
        "\"\\u0000\"",
        "\"A\"",
        "\"B\"",
        "\"a\"",
        "\"a\\u0000\"",
        "\"a\\u0000b\"",
        "\"aa\"",
        "\"é\"",
    ];
    let keys: Vec<_> = ascending.iter().map(|key| encoded(Collation::Raw, &value(key))).collect();
    for (pair, names) in keys.windows(2).zip(ascending.windows(2)) {
        assert!(pair[0] < pair[1], "{names:?}");
        // Behind all rows of the first key lies what is before the second.
        assert!([&pair[0][..], &[AFTER]].concat() < [&pair[1][..], b"id"].concat(), "{names:?}");
    }
}

/// Every code point that is sorted by itself, compared with those around it.
#[test]
fn all_of_unicode_is_ordered_as_the_comparator_orders_it() {
    let step = |char: &u32| *char < 0x3000 || char % 17 == 0;
    let chars = (0..0x11_0000).filter(step).filter_map(char::from_u32);
    let mut strings: Vec<(Vec<u8>, String)> = chars
        .map(|char| {
            let text = char.to_string();
            (encoded(Collation::Unicode, &Value::from(text.as_str())), text)
        })
        .collect();
    strings.sort();
    assert!(strings.len() > 70_000);
    for pair in strings.windows(2) {
        let [(a_key, a), (b_key, b)] = pair else { continue };
        assert_eq!(a_key.cmp(b_key), compare_strings(a, b), "{a:?} {b:?}");
        let inside = &a_key[1..a_key.len() - 1];
        assert!(!inside.contains(&END), "{a:?} has a zero in its sort key");
    }
}

#[test]
fn numbers_beyond_the_doubles_are_told_apart() {
    let ascending = [
        "-1e+30",
        "-123456789012345678901",
        "-123456789012345678900",
        "-9007199254740993",
        "-9007199254740992",
        "-9007199254740991",
        "-1.5",
        "0",
        "0.5",
        "9007199254740991",
        "9007199254740992",
        "9007199254740993",
        "9007199254740994",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551617",
        "1e+20",
        "100000000000000000001",
        "1e+300",
    ];
    for pair in ascending.windows(2) {
        let [a, b] = [&pair[0], &pair[1]].map(|key| encoded(Collation::Unicode, &value(key)));
        assert!(a < b, "{pair:?}");
    }
}

#[test]
fn groups_are_the_first_items() {
    let key = encoded(Collation::Unicode, &value(r#"[1,"b",[2,{"a":9007199254740993}],null]"#));
    let first = encoded(Collation::Unicode, &value(r#"[1,"b"]"#));
    assert_eq!(key[..group_length(&key, 2)], first[..first.len() - 1]);
    assert_eq!(group_length(&key, 0), 1);
    assert_eq!(group_length(&key, 4), key.len() - 1);
    assert_eq!(group_length(&key, 5), key.len());
    let text = encoded(Collation::Raw, &value("\"abc\""));
    assert_eq!(group_length(&text, 1), text.len());
    let raw = encoded(Collation::Raw, &value("[\"a\\u0000b\",1,2]"));
    assert_eq!(group_length(&raw, 1), 1 + 6 + 0);
}

#[test]
fn long_keys_are_cut_and_told_apart() {
    let long = |last: &str| Value::from(format!("{}{last}", "x".repeat(40_000)).as_str());
    let [a, b] = [long("a"), long("b")].map(|key| encoded(Collation::Unicode, &key));
    assert_eq!((a.len(), b.len()), (MAX_ENCODED_BYTES + 16, MAX_ENCODED_BYTES + 16));
    assert_ne!(a, b);
    assert_eq!(group_length(&a, 1), a.len());
}

#[test]
fn the_version_is_stable_within_a_build() {
    assert_eq!(collation_version(), collation_version());
    assert!(collation_version().contains('.'));
}

proptest! {
    #[test]
    fn encodings_are_ordered_as_the_values(a in any_value(), b in any_value()) {
        let (a_key, b_key) = (encoded(Collation::Unicode, &a), encoded(Collation::Unicode, &b));
        prop_assert_eq!(a_key.cmp(&b_key), compare(&a, &b));
        prop_assert_eq!(value_length(&a_key), Some(a_key.len()));
        let raw = encoded(Collation::Raw, &a);
        prop_assert_eq!(value_length(&raw), Some(raw.len()));
        if a_key != b_key {
            prop_assert!(!b_key.starts_with(&a_key));
        }
    }

    #[test]
    fn strings_are_ordered_as_the_comparator_orders_them(a in "[a-eA-Eéàü\u{301}ßøあアーﾞ \\-0-2]{0,8}", b in "[a-eA-Eéàü\u{301}ßøあアーﾞ \\-0-2]{0,8}") {
        let (a, b) = (Value::from(a), Value::from(b));
        let order = encoded(Collation::Unicode, &a).cmp(&encoded(Collation::Unicode, &b));
        prop_assert_eq!(order, compare(&a, &b));
        prop_assert!(order != Ordering::Equal || compare(&b, &a) == Ordering::Equal);
    }

    #[test]
    fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(0u8..0x20, 0..40), level in 0u64..5) {
        let _ = value_length(&bytes);
        prop_assert!(group_length(&bytes, level) <= bytes.len());
        let mut out = Vec::new();
        Collation::Unicode.encode(&bytes, &mut out);
    }
}
