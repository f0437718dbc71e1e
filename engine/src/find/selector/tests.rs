use proptest::prelude::*;

use super::*;
use crate::{collation::compare, json::test_values::any_value};

/// Eight documents, selectors with the ids CouchDB 3.5 found, and selectors it refused.
const RECORDED: &str = include_str!("../../../tests/data/selectors.jsonl");

fn value(json: &str) -> Value {
    Value::parse(json.as_bytes()).unwrap()
}

fn selector(json: &str) -> Selector {
    Selector::parse(&value(json)).unwrap()
}

#[track_caller]
fn check(json: &str, document: &str, expected: bool) {
    let document = value(document).to_json();
    assert_eq!(selector(json).matches(&document), expected, "{json}");
}

#[track_caller]
fn check_normal_form(json: &str, expected: &str) {
    let normal = selector(json).to_value().to_json();
    assert_eq!(String::from_utf8(normal).unwrap(), expected);
}

#[track_caller]
fn check_error(json: &str, id: &str, reason: &str) {
    let error = Selector::parse(&value(json)).unwrap_err();
    assert_eq!((error.id(), error.to_string().as_str()), (id, reason), "{json}");
}

fn recorded(member: &str) -> Vec<(Value, Value)> {
    let lines = RECORDED.lines().map(value);
    lines.filter_map(|line| Some((line.get(member)?.clone(), line))).collect()
}

#[test]
fn selectors_find_what_couchdb_found() {
    let documents = recorded("documents").remove(0).0;
    let cases = recorded("ids");
    assert!(cases.len() > 70);
    for (ids, case) in cases {
        let selector = Selector::parse(case.get("selector").unwrap()).unwrap();
        let documents = documents.as_array().unwrap().iter();
        let found = documents.filter(|document| selector.matches(&document.to_json()));
        let found =
            Value::Array(found.map(|document| document.get("_id").unwrap().clone()).collect());
        assert_eq!(found, ids, "{}", String::from_utf8_lossy(&case.to_json()));
    }
}

#[test]
fn selectors_are_refused_as_couchdb_refused_them() {
    let cases = recorded("error");
    assert!(cases.len() > 15);
    for (id, case) in cases {
        let error = Selector::parse(case.get("selector").unwrap()).unwrap_err();
        assert_eq!(Some(error.id()), id.as_str());
        if let Some(reason) = case.get("reason").and_then(Value::as_str) {
            assert_eq!(error.to_string(), reason);
        }
    }
}

#[test]
fn normal_forms() {
    check_normal_form("{}", "{}");
    check_normal_form(r#"{"f":1}"#, r#"{"f":{"$eq":1}}"#);
    check_normal_form(r#"{"f":{}}"#, r#"{"f":{"$eq":{}}}"#);
    check_normal_form(r#"{"a":{"b":{"$gt":1}}}"#, r#"{"a.b":{"$gt":1}}"#);
    check_normal_form(
        r#"{"f":{"$gt":1,"$lt":5}}"#,
        r#"{"$and":[{"f":{"$gt":1}},{"f":{"$lt":5}}]}"#,
    );
    check_normal_form(
        r#"{"f":{"$or":[1,{"g":2}]}}"#,
        r#"{"$or":[{"f":{"$eq":1}},{"f.g":{"$eq":2}}]}"#,
    );
    check_normal_form(r#"{"\\$f":{"$regex":"a"}}"#, r#"{"$f":{"$regex":"a"}}"#);
    check_normal_form(r#"{"$text":"x"}"#, r#"{"$default":{"$text":"x"}}"#);
}

#[test]
fn negations_move_inwards() {
    check_normal_form(
        r#"{"$not":{"$and":[{"a":{"$lt":1}},{"$or":[{"b":{"$exists":true}},{"c":{"$in":[1]}}]}]}}"#,
        r#"{"$or":[{"a":{"$gte":1}},{"$and":[{"b":{"$exists":false}},{"c":{"$nin":[1]}}]}]}"#,
    );
    check_normal_form(
        r#"{"$nor":[{"a":1},{"$not":{"a":2}}]}"#,
        r#"{"$and":[{"a":{"$ne":1}},{"a":{"$eq":2}}]}"#,
    );
    check_normal_form(r#"{"$not":{"$nor":[{"a":{"$lte":1}}]}}"#, r#"{"$or":[{"a":{"$lte":1}}]}"#);
    check_normal_form(r#"{"a":{"$not":{"$regex":"x"}}}"#, r#"{"a":{"$not":{"$regex":"x"}}}"#);
    check_normal_form(
        r#"{"$not":{"a":{"$elemMatch":{"$not":{"b":1}}}}}"#,
        r#"{"a":{"$not":{"$elemMatch":{"$not":{"b":{"$eq":1}}}}}}"#,
    );
}

#[test]
fn a_missing_field_never_matches() {
    for condition in [
        "{\"$ne\":1}",
        "{\"$nin\":[1]}",
        "{\"$not\":{\"$regex\":\"x\"}}",
        "null",
        "{\"$exists\":true}",
    ] {
        check(&format!("{{\"f\":{condition}}}"), r#"{"g":1}"#, false);
    }
    check(r#"{"f":{"$exists":false}}"#, r#"{"g":1}"#, true);
    check(r#"{"f":{"$not":{"$exists":true}}}"#, r#"{"g":1}"#, true);
    check(r#"{"f.g":{"$exists":false}}"#, r#"{"f":1}"#, false);
    check(r#"{"f":null}"#, r#"{"f":null}"#, true);
}

#[test]
fn operators_on_values() {
    check(r#"{"f":{"$beginsWith":"Fé"}}"#, r#"{"f":"Féa"}"#, true);
    check(r#"{"f":{"$beginsWith":"Fé"}}"#, r#"{"f":["Féa"]}"#, false);
    check(r#"{"f":{"$regex":"^a\"\n"}}"#, r#"{"f":"a\"\nb"}"#, true);
    check(r#"{"f":{"$regex":"1"}}"#, r#"{"f":1}"#, false);
    check(r#"{"f":{"$mod":[5,-2]}}"#, r#"{"f":-7}"#, true);
    check(r#"{"f":{"$mod":[5,2]}}"#, r#"{"f":7.0}"#, false);
    check(r#"{"f":{"$mod":[-1,0]}}"#, r#"{"f":-9223372036854775808}"#, true);
    check(r#"{"f":{"$mod":[7,-2]}}"#, r#"{"f":-100000000000000000000}"#, true);
    check(r#"{"f":"é"}"#, "{\"f\":\"e\u{301}\"}", true);
    check(r#"{"f":{"$all":["é"]}}"#, "{\"f\":[\"e\u{301}\"]}", false);
    check(r#"{"f":{"$all":[1]}}"#, r#"{"f":[1.0]}"#, false);
    check(r#"{"f":{"$keyMapMatch":{"$eq":"b"}}}"#, r#"{"f":{"a":1,"b":2}}"#, true);
    check(r#"{"f":{"$keyMapMatch":{"$eq":"c"}}}"#, r#"{"f":{"a":1,"b":2}}"#, false);
    check(r#"{"f":{"$keyMapMatch":{"$eq":"a"}}}"#, r#"{"f":["a"]}"#, false);
    check(r#"{"f":{"$allMatch":{"$gt":0}}}"#, r#"{"f":[]}"#, false);
    check(r#"{"f":{"$size":0}}"#, r#"{"f":{}}"#, false);
    check(r#"{"f":{"$type":"boolean"}}"#, r#"{"f":false}"#, true);
}

#[test]
fn empty_lists_inside_a_selector() {
    check(r#"{"a":1,"$and":[]}"#, r#"{"a":1}"#, true);
    check(r#"{"a":1,"$or":[]}"#, r#"{"a":1}"#, true);
    check(r#"{"a":{"$in":[]}}"#, r#"{"a":1}"#, false);
    check(r#"{"a":{"$nin":[]}}"#, r#"{"a":1}"#, true);
    check(r#"{"a":{"$all":[]}}"#, r#"{"a":[]}"#, false);
}

#[test]
fn negations_inside_elem_match_are_taken_literally() {
    check(r#"{"f":{"$elemMatch":{"$not":{"a":1}}}}"#, r#"{"f":[{"b":1}]}"#, true);
    check(r#"{"f":{"$elemMatch":{"$nor":[{"a":1},{"b":1}]}}}"#, r#"{"f":[{"b":1}]}"#, false);
}

#[test]
fn what_is_wrong_with_a_selector() {
    check_error("5", "invalid_selector_json", "Selector must be a JSON object, not: 5");
    check_error(
        r#"{"$eq":1}"#,
        "invalid_selector",
        "One or more conditions is missing a field name.",
    );
    check_error(
        r#"{"$not":{}}"#,
        "invalid_selector",
        "One or more conditions is missing a field name.",
    );
    check_error(r#"{"a..b":1}"#, "invalid_field_name", "Invalid field name: a..b");
    check_error(r#"{"a":{"$where":"x"}}"#, "not_supported", "Unsupported operator: $where");
    check_error(r#"{"a":{"$regex":"("}}"#, "bad_arg", "Bad argument for operator $regex: \"(\"");
    check_error(r#"{"a":{"$regex":1}}"#, "invalid_operator", "Invalid operator: $regex");
    check_error(r#"{"a":{"$beginsWith":1}}"#, "invalid_operator", "Invalid operator: $beginsWith");
    check_error(r#"{"a":{"$mod":[0,0]}}"#, "bad_arg", "Bad argument for operator $mod: [0,0]");
    check_error(r#"{"$not":[]}"#, "bad_arg", "Bad argument for operator $not: []");
    check_error(
        r#"{"a":{"$text":"x"}}"#,
        "bad_field",
        r#"Invalid field normalization on selector: {"$default":{"$text":"x"}}"#,
    );
    check_error(r#"{"$text":null}"#, "bad_arg", "Bad argument for operator $text: null");
    // Operators are looked at before fields.
    check_error(r#"{"a..b":1,"c":{"$x":1}}"#, "invalid_operator", "Invalid operator: $x");
}

fn any_selector() -> impl Strategy<Value = Value> {
    let scalars =
        prop::sample::select(vec!["null", "1", "1.5", "\"a\"", "[1,\"a\"]", "{}", "true", "[]"]);
    let operators = prop::sample::select(vec![
        "$lt",
        "$lte",
        "$eq",
        "$ne",
        "$gte",
        "$gt",
        "$in",
        "$nin",
        "$all",
        "$exists",
        "$type",
        "$size",
        "$regex",
        "$beginsWith",
    ]);
    let leaf = prop_oneof![
        scalars.clone().prop_map(value),
        (operators, scalars).prop_map(|(operator, argument)| single(operator, value(argument))),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let lists = prop::sample::select(vec!["$and", "$or", "$nor"]);
        let wrappers = prop::sample::select(vec![
            "$not",
            "$elemMatch",
            "$allMatch",
            "$keyMapMatch",
            "a",
            "b",
            "a.b",
            "0",
        ]);
        prop_oneof![
            (lists, prop::collection::vec(inner.clone(), 0..3))
                .prop_map(|(name, list)| single(name, list)),
            (wrappers, inner.clone()).prop_map(|(name, argument)| single(name, argument)),
            (inner.clone(), inner).prop_map(|(a, b)| {
                let mut object = Object::new();
                object.insert("a", a);
                object.insert("b", b);
                Value::Object(object)
            }),
        ]
    })
}

proptest! {
    #[test]
    fn the_normal_form_is_its_own(selector in any_selector()) {
        if let Ok(parsed) = Selector::parse(&selector) {
            let normal = parsed.to_value();
            // A condition on the value itself, as inside `$elemMatch`, has no name to be read again.
            prop_assume!(!String::from_utf8_lossy(&normal.to_json()).contains("\"\":"));
            prop_assert_eq!(Selector::parse(&normal), Ok(parsed), "{:?}", normal);
        }
    }

    #[test]
    fn any_document_can_be_matched(selector in any_selector(), document in any_value()) {
        if let Ok(parsed) = Selector::parse(&selector) {
            let _ = parsed.matches(&document.to_json());
        }
    }

    #[test]
    fn comparisons_are_those_of_views(a in any_value(), b in any_value()) {
        let document = single("f", a.clone());
        for comparison in ["$lt", "$lte", "$eq", "$ne", "$gte", "$gt"] {
            let selector = Selector::parse(&single("f", single(comparison, b.clone()))).unwrap();
            let order = compare(&a, &b);
            let expected = match comparison {
                "$lt" => order.is_lt(),
                "$lte" => order.is_le(),
                "$eq" => order.is_eq(),
                "$ne" => order.is_ne(),
                "$gte" => order.is_ge(),
                _ => order.is_gt(),
            };
            prop_assert_eq!(selector.matches(&document.to_json()), expected);
        }
    }

    /// What is taken for different without asking the collation is.
    #[test]
    fn printable_ascii_is_equal_only_to_itself(a in "[ -~]{0,4}", b in "[ -~]{0,4}") {
        prop_assert_eq!(compare(&a.as_str().into(), &b.as_str().into()).is_eq(), a == b);
    }

    #[test]
    fn hostile_documents_do_no_harm(selector in any_selector(), document in r#"[{}\[\]":,a1]{0,24}"#) {
        if let Ok(parsed) = Selector::parse(&selector) {
            let _ = parsed.matches(document.as_bytes());
        }
    }
}
