use proptest::prelude::*;

use super::*;
use crate::json::{MAX_INTEGER_DIGITS, Number, Object, Value};

fn scanned(text: &str) -> Option<String> {
    minify(text.as_bytes()).ok().map(|out| String::from_utf8(out).unwrap())
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(scanned(text).as_deref(), Some(expected), "{text}");
    assert_eq!(scanned(expected).as_deref(), Some(expected), "{expected} is not stable");
}

#[test]
fn blanks_are_left_out() {
    check(
        " \t\r\n{ \"a\" : [ 1 , 2 ,\n[ ] , { } ] , \"b c\" : \" \" } \n",
        r#"{"a":[1,2,[],{}],"b c":" "}"#,
    );
    check(" 1 ", "1");
    check(" null", "null");
}

#[test]
fn numbers_are_spelled_as_couchdb_does() {
    let cases = [
        ("-0", "0"),
        ("-1", "-1"),
        ("9007199254740993", "9007199254740993"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("1.0", "1.0"),
        ("1.10", "1.1"),
        ("1.5e3", "1500.0"),
        ("1E2", "100.0"),
        ("1e2", "100.0"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("1e-400", "0.0"),
        ("1e21", "1e+21"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"),
        ("100000.00", "100000.0"),
        ("[1.10,2,3.0e0]", "[1.1,2,3.0]"),
    ];
    for (text, expected) in cases {
        check(text, expected);
    }
    // Whoever stores it drops the sign: see `Scanner::has_negative_zero`.
    check("-0e0", "-0.0");
}

#[test]
fn strings_are_spelled_as_couchdb_does() {
    check(r#""\"\\\/\b\f\n\r\t""#, r#""\"\\/\b\f\n\r\t""#);
    check(r#""\u0001\u001f\u007f\u0080\u2028\u0041""#, "\"\\u0001\\u001F\u{7f}\u{80}\u{2028}A\"");
    check(r#""\ud83d\uDE00\u00e4""#, "\"😀ä\"");
    check(r#""\u0022\u005c\u000a""#, r#""\"\\\n""#);
    check("\"\u{ffff}\u{10ffff}\"", "\"\u{ffff}\u{10ffff}\"");
}

#[test]
fn what_is_not_json_is_refused() {
    let texts = [
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "[1,2,]",
        "[,]",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{'a':1}",
        "nul",
        "True",
        "undefined",
        "01",
        "00",
        "-",
        "- 1",
        "--1",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "1e-",
        "0x10",
        "NaN",
        "Infinity",
        "-Infinity",
        "1_000",
        "1e400",
        "-1e400",
        "\"a\tb\"",
        "\"a\nb\"",
        "\"abc",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800\\ud800\"",
        "\"\\",
        "\\",
        "{} {}",
        "{}garbage",
        "{\"a\":1}}",
        "\u{feff}{}",
        "\0",
        "[1]\0",
        "{\"a\":1 /* c */}",
        "[1 2]",
        "[1}",
        "{\"a\":1]",
    ];
    for text in texts {
        assert_eq!(scanned(text), None, "{text:?}");
    }
    let bytes: [&[u8]; 4] = [b"\"\xff\xfe\"", b"\"\xed\xa0\x80\"", b"\"\xc0\x80\"", b"\xff\xff"];
    for text in bytes {
        assert!(minify(text).is_err(), "{text:?}");
    }
}

#[test]
fn of_repeated_members_the_last_stays_at_its_place() {
    check(r#"{"a":1,"b":2,"a":3}"#, r#"{"b":2,"a":3}"#);
    check(r#"{"a":1,"a":2}"#, r#"{"a":2}"#);
    check(r#"[{"x":{"a":1,"a":{"a":1,"a":2}},"y":1,"x":[]}, 1]"#, r#"[{"y":1,"x":[]},1]"#);
    check(r#"{"x":{"a":1 , "a":{"a":1,"a":2},"b":[]}}"#, r#"{"x":{"a":{"a":2},"b":[]}}"#);
    check(
        r#"{"\u0061":1,"a":2,"long name here":1,"long name here":2}"#,
        r#"{"a":2,"long name here":2}"#,
    );
}

#[test]
fn of_many_members_repeated_ones_are_found() {
    let members = |range: std::ops::Range<usize>| {
        range.map(|n| format!("\"name{n}\":{n}")).collect::<Vec<_>>()
    };
    let text = format!("{{{},{}}}", members(0..100).join(","), members(50..200).join(","));
    let expected = format!("{{{},{}}}", members(0..50).join(","), members(50..200).join(","));
    check(&text, &expected);
}

#[test]
fn repeated_members_inside_repeated_members() {
    check(
        r#"{"z":0,"a":{"b":1,"b":2,"c":{"d":1,"d":2}},"e":{"f":1,"f":{"g":1,"g":2}},"a":3,"e":{"h":1,"h":[]}}"#,
        r#"{"z":0,"a":3,"e":{"h":[]}}"#,
    );
    // Nested as deep as may be, each level with a repeated name: linear, not quadratic.
    let level = |depth: usize| format!("{}[]{}", r#"{"a":1,"a":"#.repeat(depth), "}".repeat(depth));
    let expected = format!("{}[]{}", r#"{"a":"#.repeat(MAX_DEPTH - 1), "}".repeat(MAX_DEPTH - 1));
    check(&level(MAX_DEPTH - 1), &expected);
}

#[test]
fn members_of_the_outermost_object_are_known() {
    let text = br#" {"a" : {"x":1} , "b\u0022":[2.50,{"x":1,"x":2}], "a":"z"} "#;
    let mut scanner = Scanner::new(text).unwrap();
    let mut out = b"before".to_vec();
    scanner.value(&mut out).unwrap();
    let part = |range: &std::ops::Range<usize>| std::str::from_utf8(&out[range.clone()]).unwrap();
    let members: Vec<_> =
        scanner.members().iter().map(|member| (part(&member.name), part(&member.value))).collect();
    assert_eq!(members, [("b\\\"", "[2.5,{\"x\":2}]"), ("a", "\"z\"")]);
}

#[test]
fn several_values_can_be_read_one_after_the_other() {
    let mut scanner = Scanner::new(b" [ {\"a\":1} , 2 ] ").unwrap();
    let mut out = Vec::new();
    assert!(scanner.accept(b'['));
    scanner.value(&mut out).unwrap();
    assert_eq!(scanner.members().len(), 1);
    assert!(scanner.accept(b','));
    scanner.value(&mut out).unwrap();
    assert!(scanner.members().is_empty());
    assert!(scanner.accept(b']'));
    scanner.end().unwrap();
    assert_eq!(out, b"{\"a\":1}2");
}

#[test]
fn depth_and_digits_are_limited() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(scanned(&nested(MAX_DEPTH)).is_some());
    assert!(Value::parse(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert!(scanned(&nested(MAX_DEPTH + 1)).is_none());
    assert!(scanned(&"[".repeat(1 << 20)).is_none());
    assert!(scanned(&"9".repeat(MAX_INTEGER_DIGITS)).is_some());
    assert!(scanned(&"9".repeat(MAX_INTEGER_DIGITS + 1)).is_none());
}

pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let float = any::<f64>().prop_filter("JSON has finite numbers only", |float| float.is_finite());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        "-?[1-9][0-9]{19,40}".prop_map(|digits| Value::Number(Number::Big(digits.into()))),
        float.prop_map(|float| Value::Number(Number::Float(float + 0.0))),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        let names = prop::collection::hash_map("[a-c\"\\\\é]{0,3}", inner.clone(), 0..8);
        prop_oneof![
            prop::collection::vec(inner, 0..8).prop_map(Value::Array),
            names.prop_map(|members| Value::Object(members.into_iter().collect::<Object>())),
        ]
    })
}

/// Values whose objects repeat names.
fn any_repeating() -> impl Strategy<Value = Value> {
    let leaf = (0i64..10).prop_map(Value::from);
    leaf.prop_recursive(4, 48, 6, |inner| {
        let members = prop::collection::vec(("[ab\"]|a long name", inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..3).prop_map(Value::Array),
            members.prop_map(|members| Value::Object(members.into_iter().collect::<Object>())),
        ]
    })
}

/// The same, of members with one name only the last.
fn without_repetitions(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(without_repetitions).collect()),
        Value::Object(object) => {
            let members: Vec<_> = object.into_iter().collect();
            let again =
                |at: usize| members[at + 1..].iter().any(|(name, _)| *name == members[at].0);
            let last = (0..members.len()).filter(|at| !again(*at));
            let kept =
                last.map(|at| (members[at].0.clone(), without_repetitions(members[at].1.clone())));
            Value::Object(kept.collect())
        }
        value => value,
    }
}

proptest! {
    #[test]
    fn repeated_members_are_left_out(value in any_repeating()) {
        let text = value.to_json();
        let mut scanner = Scanner::new(&text).unwrap();
        let mut out = b"x".to_vec();
        scanner.value(&mut out).unwrap();
        let expected = without_repetitions(value);
        prop_assert_eq!(&out[1..], expected.to_json());
        let members = scanner.members().iter();
        let members = members.map(|member| (out[member.name.clone()].to_vec(), out[member.value.clone()].to_vec()));
        let object = expected.as_object().cloned().unwrap_or_default();
        let spelled = |name: &str| { let quoted = Value::from(name).to_json(); quoted[1..quoted.len() - 1].to_vec() };
        let expected: Vec<_> = object.iter().map(|(name, value)| (spelled(name), value.to_json())).collect();
        prop_assert_eq!(members.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn values_come_back(value in any_value()) {
        let text = value.to_json();
        prop_assert_eq!(&minify(&text).unwrap(), &text);
        prop_assert_eq!(Value::parse(&text).unwrap(), value);
    }

    #[test]
    fn another_reader_sees_the_same(value in any_value()) {
        // serde_json keeps the last of repeated members, too, but at the first one's place.
        let text = String::from_utf8(value.to_json()).unwrap();
        let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
        let spread = serde_json::to_string_pretty(&theirs).unwrap();
        prop_assert_eq!(Value::parse(spread.as_bytes()).unwrap(), value);
    }

    #[test]
    fn texts_like_json_are_judged_as_by_another_reader(text in r#"[\[\]{}:, "ab\\u0-9.eE+-]{0,12}"#) {
        let ours = scanned(&text);
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        // Numbers too great for a double are read by serde_json as they stand.
        if !text.contains(['e', 'E']) {
            prop_assert_eq!(ours.is_some(), theirs.is_ok(), "{}", text);
        }
        if let Some(ours) = ours {
            prop_assert_eq!(scanned(&ours), Some(ours));
        }
    }

    #[test]
    fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = minify(&bytes);
        let _ = Value::parse(&bytes);
        let _ = Value::from_canonical(&bytes);
    }

    #[test]
    fn damaged_json_does_no_harm(value in any_value(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut text = value.to_json();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(out) = minify(&text) {
            prop_assert_eq!(minify(&out).unwrap(), out);
        }
        let _ = Value::from_canonical(&text);
    }

    #[test]
    fn strings_of_any_length_end_where_they_should(
        plain in "[a-zé]{0,40}",
        special in prop_oneof![Just("\\n"), Just("\\\""), Just("\\\\"), Just("")],
        rest in "[a-z]{0,20}",
    ) {
        let text = format!("[\"{plain}{special}{rest}\",1]");
        prop_assert_eq!(scanned(&text), Some(text));
    }
}
