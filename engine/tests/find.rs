//! Queries by selector against a naive scan: every query over random documents, with whatever indexes there
//! are, gives what matching all documents one by one and sorting them gives, whole and page by page.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::{ops::ControlFlow, sync::Arc};

use proptest::{collection::vec, prelude::*};
use settee_engine::{
    AllDocsQuery, Caller, Database, Databases, Props,
    collation::compare,
    document::Limits,
    find::{
        FieldPath, FindEnd, FindRequest, FindSettings, FindSink, IndexRequest, Selector,
        parse_bulk_delete, path::Found,
    },
    json::{Object, Value},
};
use support::{database, put};

#[derive(Default)]
struct Collected(Vec<String>);

impl FindSink for Collected {
    fn document(&mut self, json: &[u8]) -> ControlFlow<()> {
        self.0.push(String::from_utf8(json.to_vec()).unwrap());
        ControlFlow::Continue(())
    }
}

fn object(json: &str) -> Object {
    match Value::parse(json.as_bytes()).unwrap() {
        Value::Object(object) => object,
        other => panic!("no object: {other:?}"),
    }
}

fn index(database: &Arc<Database>, json: &str) {
    let request = IndexRequest::parse(&object(json)).unwrap();
    database.create_index(&Caller::admin(), &request, &Limits::default()).unwrap();
}

fn request(json: &str) -> FindRequest {
    FindRequest::parse(&object(json), None, &FindSettings::default()).unwrap()
}

fn find(database: &Arc<Database>, json: &str) -> Result<(Vec<String>, FindEnd), String> {
    let plan = database.plan_find(request(json)).map_err(|error| error.to_string())?;
    if let Some(group) = plan.wants_update() {
        database.refresh_views(group).unwrap();
    }
    let mut found = Collected::default();
    let end = plan.run(&mut found).map_err(|error| error.to_string())?;
    Ok((found.0, end))
}

/// All results, page by page.
fn paged(database: &Arc<Database>, query: &Object, size: usize) -> Vec<String> {
    let mut query = query.clone();
    query.insert("limit", size as u64);
    let mut all = Vec::new();
    loop {
        let json = String::from_utf8(Value::from(query.clone()).to_json()).unwrap();
        let (page, end) = find(database, &json).unwrap();
        let is_last = page.len() < size;
        all.extend(page);
        match end.bookmark {
            Some(bookmark) if !is_last => query.insert("bookmark", bookmark),
            _ => return all,
        }
    }
}

#[derive(Default)]
struct Documents(Vec<Vec<u8>>);

impl settee_engine::RowSink for Documents {
    fn head(&mut self, _: &settee_engine::AllDocsHead) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn row(&mut self, json: &[u8]) -> ControlFlow<()> {
        let document = settee_engine::json::raw::member(json, "doc").unwrap();
        self.0.push(document.to_vec());
        ControlFlow::Continue(())
    }
}

fn field(document: &[u8], name: &str) -> Option<Value> {
    match FieldPath::parse(name).unwrap().find(document) {
        Found::Value(value) => Value::from_canonical(value).ok(),
        _ => None,
    }
}

/// What a query should find.
fn scanned(database: &Arc<Database>, query: &Object) -> Vec<String> {
    let selector = Selector::parse(query.get("selector").unwrap()).unwrap();
    let mut documents = Documents::default();
    let all = AllDocsQuery { include_docs: true, ..AllDocsQuery::default() };
    database.read().unwrap().all_docs(&all, &mut documents).unwrap();
    let mut found = documents.0;
    found.retain(|document| {
        selector.matches(document) && !document.starts_with(b"{\"_id\":\"_design/")
    });
    if let Some(Value::Array(fields)) = query.get("sort") {
        let names = fields.iter().filter_map(Value::as_object).flat_map(Object::iter);
        for (name, _) in names {
            found.retain(|document| field(document, name).is_some());
        }
    }
    found.into_iter().map(|document| String::from_utf8(document).unwrap()).collect()
}

fn scalar() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "1",
        "1.0",
        "2",
        "-3",
        "1e300",
        "\"\"",
        "\"a\"",
        "\"A\"",
        "\"ab\"",
        "\"á\"",
        "\"a\\u0301\"",
        "\"z\"",
        "\"เก\"",
        "[]",
        "[1]",
        "[\"a\",2]",
        "{}",
        "{\"x\":1}",
    ])
    .prop_map(str::to_owned)
}

fn document() -> impl Strategy<Value = String> {
    let member = |name: &'static str| {
        prop::option::weighted(0.8, scalar())
            .prop_map(move |value| value.map(|v| format!("\"{name}\":{v}")))
    };
    let inner =
        prop::option::of(scalar()).prop_map(|value| value.map(|v| format!("\"d\":{{\"e\":{v}}}")));
    (member("a"), member("b"), member("c"), inner)
        .prop_map(|(a, b, c, d)| [a, b, c, d].into_iter().flatten().collect::<Vec<_>>().join(","))
}

fn condition() -> impl Strategy<Value = String> {
    let compare =
        (prop::sample::select(vec!["$lt", "$lte", "$eq", "$ne", "$gte", "$gt"]), scalar())
            .prop_map(|(operator, value)| format!("{{\"{operator}\":{value}}}"));
    let list = (prop::sample::select(vec!["$in", "$nin", "$all"]), vec(scalar(), 0..4))
        .prop_map(|(operator, values)| format!("{{\"{operator}\":[{}]}}", values.join(",")));
    let fixed = prop::sample::select(vec![
        r#"{"$exists":true}"#,
        r#"{"$exists":false}"#,
        r#"{"$type":"string"}"#,
        r#"{"$type":"number"}"#,
        r#"{"$type":"boolean"}"#,
        r#"{"$type":"array"}"#,
        r#"{"$size":1}"#,
        r#"{"$mod":[2,1]}"#,
        r#"{"$regex":"a"}"#,
        r#"{"$beginsWith":"a"}"#,
        r#"{"$beginsWith":""}"#,
        r#"{"$beginsWith":"เ"}"#,
        r#"{"$elemMatch":{"$gt":0}}"#,
        r#"{"$not":{"$regex":"a"}}"#,
        r#"{"$gt":0,"$lt":[]}"#,
    ]);
    prop_oneof![3 => compare, 2 => list, 2 => fixed.prop_map(str::to_owned)]
}

fn selector() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec!["a", "b", "c", "d.e", "_id"]);
    let leaf =
        (names, condition()).prop_map(|(name, condition)| format!("{{\"{name}\":{condition}}}"));
    leaf.prop_recursive(3, 8, 3, |inner| {
        let operator = prop::sample::select(vec!["$and", "$or", "$nor"]);
        prop_oneof![
            (operator, vec(inner.clone(), 1..4))
                .prop_map(|(operator, list)| format!("{{\"{operator}\":[{}]}}", list.join(","))),
            inner.prop_map(|inner| format!("{{\"$not\":{inner}}}")),
        ]
    })
}

fn order() -> impl Strategy<Value = Option<(&'static str, bool)>> {
    prop::option::of((prop::sample::select(vec!["a", "b", "d.e"]), any::<bool>()))
}

const INDEXES: [&str; 8] = [
    r#"{"index":{"fields":["a"]}}"#,
    r#"{"index":{"fields":["b"]},"ddoc":"two"}"#,
    r#"{"index":{"fields":["a","b"]},"ddoc":"two"}"#,
    r#"{"index":{"fields":[{"b":"desc"},{"a":"desc"}]}}"#,
    r#"{"index":{"fields":["a","b","c"]}}"#,
    r#"{"index":{"fields":["d.e"]}}"#,
    r#"{"index":{"fields":["c","_id"]}}"#,
    r#"{"index":{"fields":["b"],"partial_filter_selector":{"a":{"$gt":0}}},"ddoc":"part"}"#,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn queries_equal_a_scan(
        documents in vec(document(), 0..24),
        late in vec((0usize..24, prop::option::of(document())), 0..6),
        indexes in vec(prop::sample::select(INDEXES.to_vec()), 0..5),
        queries in vec((selector(), order()), 1..6),
        size in 1usize..6,
    ) {
        let database = database();
        let mut revs = Vec::new();
        for (number, body) in documents.iter().enumerate() {
            let comma = if body.is_empty() { "" } else { "," };
            revs.push(Some(put(&database, &format!("{{\"_id\":\"{number:02}\"{comma}{body}}}")).unwrap()));
        }
        indexes.iter().for_each(|json| index(&database, json));
        for (selector, sort) in &queries {
            check(&database, selector, *sort, size)?;
        }
        for (number, body) in late {
            // A document that was deleted stays so.
            let Some(Some(rev)) = revs.get(number).cloned() else { continue };
            let members = match &body {
                Some(body) if body.is_empty() => String::new(),
                Some(body) => format!(",{body}"),
                None => ",\"_deleted\":true".into(),
            };
            let document = format!("{{\"_id\":\"{number:02}\",\"_rev\":\"{rev}\"{members}}}");
            let rev = put(&database, &document).unwrap();
            revs[number] = body.map(|_| rev);
        }
        for (selector, sort) in &queries {
            check(&database, selector, *sort, size)?;
        }
    }
}

fn check(
    database: &Arc<Database>,
    selector: &str,
    order: Option<(&str, bool)>,
    size: usize,
) -> Result<(), TestCaseError> {
    let direction = |descending| if descending { "desc" } else { "asc" };
    let sort = order.map_or_else(String::new, |(field, descending)| {
        format!(",\"sort\":[{{\"{field}\":\"{}\"}}]", direction(descending))
    });
    let query = format!("{{\"selector\":{selector}{sort},\"limit\":100}}");
    let expected = scanned(database, &object(&query));
    match find(database, &query) {
        Ok((found, end)) => {
            let sorted = |mut list: Vec<String>| {
                list.sort();
                list
            };
            let shown = end.warning.clone().unwrap_or_default();
            prop_assert_eq!(sorted(found.clone()), sorted(expected), "{} {}", query, shown);
            if let Some((name, descending)) = order {
                let order = |pair: &[String]| {
                    let [a, b] =
                        [&pair[0], &pair[1]].map(|text| field(text.as_bytes(), name).unwrap());
                    if descending { compare(&b, &a) } else { compare(&a, &b) }
                };
                prop_assert!(found.windows(2).all(|pair| order(pair).is_le()), "{}", query);
            }
            if end.bookmark.is_some() {
                let pages = paged(database, &object(&query), size);
                prop_assert_eq!(&pages, &found, "by pages: {}", query);
            }
        }
        Err(error) => {
            prop_assert!(
                error.ends_with("try indexing by the sort fields."),
                "{}: {}",
                query,
                error
            );
        }
    }
    let explained = database.plan_explain(request(&query)).unwrap().explain();
    prop_assert!(explained.is_ok());
    Ok(())
}

fn people() -> Arc<Database> {
    let database = database();
    for (id, body) in [
        ("ada", r#""name":"Ada","age":36,"town":"London""#),
        ("bob", r#""name":"Bob","age":20,"town":"Paris""#),
        ("cid", r#""name":"Cid","age":36"#),
        ("dee", r#""name":"Dee","age":"36","town":"London""#),
        ("eve", r#""name":"Eve","age":41.5,"town":"Rome""#),
    ] {
        put(&database, &format!("{{\"_id\":\"{id}\",{body}}}")).unwrap();
    }
    database
}

fn explained(database: &Arc<Database>, json: &str) -> Value {
    database.plan_explain(request(json)).unwrap().explain().unwrap()
}

fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(value, |value, name| value.get(name).unwrap())
}

fn text(value: &Value) -> String {
    String::from_utf8(value.to_json()).unwrap()
}

#[test]
fn an_index_that_covers_a_query_spares_the_documents() {
    let database = people();
    index(&database, r#"{"index":{"fields":["age","name"]},"name":"by-age"}"#);
    let query = r#"{"selector":{"age":36,"name":{"$gt":null}},"fields":["name","_id"],"execution_stats":true}"#;
    let (found, end) = find(&database, query).unwrap();
    assert_eq!(found, [r#"{"name":"Ada","_id":"ada"}"#, r#"{"name":"Cid","_id":"cid"}"#]);
    let stats = end.stats.unwrap();
    assert_eq!((stats.keys_examined, stats.docs_examined, stats.results_returned), (2, 0, 2));
    assert_eq!(*at(&explained(&database, query), "covering"), Value::Bool(true));
    let whole = r#"{"selector":{"age":36,"name":{"$gt":null}},"execution_stats":true}"#;
    assert_eq!(find(&database, whole).unwrap().1.stats.unwrap().docs_examined, 2);
    assert_eq!(*at(&explained(&database, whole), "covering"), Value::Bool(false));
}

#[test]
fn lists_and_alternatives_read_only_their_rows() {
    let database = people();
    index(&database, r#"{"index":{"fields":["age"]},"name":"by-age"}"#);
    for (selector, rows) in [
        (r#"{"age":{"$in":[20,41.5]}}"#, 2),
        (r#"{"$or":[{"age":20},{"age":{"$gt":41,"$lt":50}},{"age":20}]}"#, 2),
        (r#"{"age":{"$type":"string"}}"#, 1),
        (r#"{"age":{"$in":[]}}"#, 0),
    ] {
        let query = format!(r#"{{"selector":{selector},"fields":["_id"],"execution_stats":true}}"#);
        // CouchDB would say so even if it cannot find anything.
        let (found, end) = find(&database, &query).unwrap();
        assert_eq!(found.len(), rows, "{selector}");
        assert!(end.bookmark.is_some());
        assert_eq!(end.stats.unwrap().keys_examined, rows as u64, "{selector}");
        assert_eq!(*at(&explained(&database, &query), "rows_to_read"), Value::from(rows as u64));
    }
    let several = explained(&database, r#"{"selector":{"age":{"$in":[20,41.5]}}}"#);
    assert_eq!(text(at(&several, "ranges_to_read")), "3");
    let by_id = r#"{"selector":{"_id":{"$in":["eve","no","ada"]}},"fields":["_id"],"execution_stats":true}"#;
    let (found, end) = find(&database, by_id).unwrap();
    assert_eq!(found, [r#"{"_id":"ada"}"#, r#"{"_id":"eve"}"#]);
    assert_eq!(end.stats.unwrap().docs_examined, 2);
}

#[test]
fn a_plan_is_explained() {
    let database = people();
    index(&database, r#"{"index":{"fields":["age"]},"ddoc":"one","name":"age"}"#);
    index(&database, r#"{"index":{"fields":["age","town"]},"ddoc":"two","name":"age-town"}"#);
    index(
        &database,
        r#"{"index":{"fields":["age"],"partial_filter_selector":{"town":"Rome"}},"ddoc":"part","name":"p"}"#,
    );
    let query = r#"{"selector":{"age":{"$gt":20},"name":{"$regex":"A"}},"sort":[{"age":"desc"}]}"#;
    let explained = explained(&database, query);
    assert_eq!(text(at(&explained, "index.name")), "\"age\"");
    assert_eq!(
        text(at(&explained, "mrargs")),
        r#"{"include_docs":true,"view_type":"map","reduce":false,"partition":null,"start_key":["<MAX>"],"end_key":[20],"direction":"rev","stable":false,"update":true,"conflicts":"undefined"}"#
    );
    assert_eq!(
        text(at(&explained, "selector_hints")),
        r#"[{"type":"json","indexable_fields":["age"],"unindexable_fields":["name"]}]"#
    );
    let candidates = at(&explained, "index_candidates").as_array().unwrap();
    let verdicts: Vec<String> = candidates
        .iter()
        .map(|candidate| {
            let reason = &at(candidate, "analysis.reasons").as_array().unwrap()[0];
            format!("{} {}", text(at(candidate, "index.name")), text(at(reason, "name")))
        })
        .collect();
    assert_eq!(
        verdicts,
        [
            "\"age-town\" \"field_mismatch\"",
            "\"p\" \"is_partial\"",
            "\"_all_docs\" \"field_mismatch\"",
        ]
    );
}

#[test]
fn named_indexes_are_used_or_reported() {
    let database = people();
    index(&database, r#"{"index":{"fields":["age"]},"ddoc":"one","name":"age"}"#);
    let part = r#"{"index":{"fields":["name"],"partial_filter_selector":{"town":"London"}},"ddoc":"part","name":"p"}"#;
    index(&database, part);
    let all = r#"{"selector":{"name":{"$gt":null}},"fields":["_id"]}"#;
    assert_eq!(find(&database, all).unwrap().0.len(), 5);
    let named = r#"{"selector":{"name":{"$gt":null}},"fields":["_id"],"use_index":"part/p"}"#;
    let (found, end) = find(&database, named).unwrap();
    assert_eq!((found.len(), end.warning), (2, None));
    let missing = r#"{"selector":{"age":20},"use_index":["no","such"]}"#;
    let warning = find(&database, missing).unwrap().1.warning.unwrap();
    assert_eq!(
        warning,
        "_design/no, such was not used because it is not a valid index for this query."
    );
    for (query, error) in [
        (
            r#"{"selector":{"age":20},"use_index":"no","allow_fallback":false}"#,
            "_design/no specified by `use_index` could not be found or it is not suitable.",
        ),
        (
            r#"{"selector":{"name":"Ada"},"allow_fallback":false}"#,
            "You must specify an index with the `use_index` parameter.",
        ),
        (r#"{"selector":{"$text":"x"}}"#, "text"),
        (r#"{"selector":{},"bookmark":"bm90"}"#, "Invalid bookmark value: \"bm90\""),
    ] {
        assert_eq!(find(&database, query).unwrap_err(), error, "{query}");
    }
}

#[test]
fn a_contradiction_has_no_bookmark_and_no_page_gets_lost() {
    let database = people();
    let (found, end) = find(&database, r#"{"selector":{"_id":{"$gt":"b","$lt":"a"}}}"#).unwrap();
    assert!(found.is_empty());
    assert_eq!(end, FindEnd::default());
    let first = r#"{"selector":{},"fields":["_id"],"limit":2,"skip":1}"#;
    let (found, end) = find(&database, first).unwrap();
    assert_eq!(found, [r#"{"_id":"bob"}"#, r#"{"_id":"cid"}"#]);
    // The row the bookmark stands for may be gone.
    let rev = support::get(&database, "cid").unwrap();
    let rev = text(Value::parse(rev.as_bytes()).unwrap().get("_rev").unwrap());
    put(&database, &format!(r#"{{"_id":"cid","_rev":{rev},"_deleted":true}}"#)).unwrap();
    let bookmark = end.bookmark.unwrap();
    let next = format!(r#"{{"selector":{{}},"fields":["_id"],"limit":9,"bookmark":"{bookmark}"}}"#);
    assert_eq!(find(&database, &next).unwrap().0, [r#"{"_id":"dee"}"#, r#"{"_id":"eve"}"#]);
}

#[test]
fn partitions_have_indexes_of_their_own() {
    let props = Props { partitioned: true, ..Props::default() };
    let database = Databases::in_memory().create("db", props).unwrap();
    for partition in ["p", "q"] {
        for number in 0..5 {
            put(&database, &format!(r#"{{"_id":"{partition}:{number}","n":{number}}}"#)).unwrap();
        }
    }
    index(&database, r#"{"index":{"fields":["n"]},"ddoc":"local","name":"n"}"#);
    index(
        &database,
        r#"{"index":{"fields":["n"]},"ddoc":"global","name":"n","partitioned":false}"#,
    );
    let one =
        r#"{"selector":{"n":{"$gte":3}},"fields":["_id"],"partition":"q","sort":[{"n":"desc"}]}"#;
    let (found, end) = find(&database, one).unwrap();
    assert_eq!(found, [r#"{"_id":"q:4"}"#, r#"{"_id":"q:3"}"#]);
    assert_eq!(end.warning, None);
    assert_eq!(text(at(&explained(&database, one), "index.ddoc")), "\"_design/local\"");
    let all = r#"{"selector":{"n":{"$gte":3}},"fields":["_id"],"sort":["n"]}"#;
    assert_eq!(find(&database, all).unwrap().0.len(), 4);
    assert_eq!(text(at(&explained(&database, all), "index.ddoc")), "\"_design/global\"");
    let ids = r#"{"selector":{"_id":{"$gt":"p:3"}},"fields":["_id"],"partition":"p"}"#;
    assert_eq!(find(&database, ids).unwrap().0, [r#"{"_id":"p:4"}"#]);
    let sort = r#"{"selector":{"x":1},"sort":["x"],"partition":"p"}"#;
    let expected = "No partitioned index exists for this sort, try indexing by the sort fields.";
    assert_eq!(find(&database, sort).unwrap_err(), expected);
}

#[test]
fn indexes_are_listed_and_deleted() {
    let database = people();
    let admin = Caller::admin();
    for fields in ["a", "b"] {
        index(
            &database,
            &format!(r#"{{"index":{{"fields":["{fields}"]}},"ddoc":"d","name":"{fields}"}}"#),
        );
    }
    let listed = || -> Vec<String> { database.list_indexes().unwrap().iter().map(text).collect() };
    assert_eq!(
        listed()[1],
        r#"{"ddoc":"_design/d","name":"a","type":"json","partitioned":false,"def":{"fields":[{"a":"asc"}]}}"#
    );
    assert_eq!(listed().len(), 3);
    database.delete_index(&admin, "d", "json", "a").unwrap();
    assert!(database.delete_index(&admin, "d", "json", "a").is_err());
    assert!(database.delete_index(&admin, "d", "text", "b").is_err());
    assert_eq!(listed().len(), 2);
    let both = parse_bulk_delete(&object(r#"{"docids":["_design/d","no"]}"#)).unwrap();
    let outcome = database.delete_all_indexes(&admin, &both).unwrap();
    assert_eq!(outcome.deleted, ["_design/d"]);
    assert_eq!(outcome.failed, [("_design/no".to_owned(), "not_found")]);
    assert_eq!(listed().len(), 1);
    // The design document is deleted, and may come back.
    index(&database, r#"{"index":{"fields":["c"]},"ddoc":"d","name":"c"}"#);
    assert_eq!(listed().len(), 2);
}

#[test]
fn ids_in_an_index_are_compared_as_ids() {
    let database = database();
    for id in ["a", "Z"] {
        put(&database, &format!(r#"{{"_id":"{id}","c":1}}"#)).unwrap();
    }
    index(&database, r#"{"index":{"fields":["c","_id"]},"name":"c-id"}"#);
    // As bytes, `a` comes after `Z`; as a word, before it.
    let query = r#"{"selector":{"c":1,"_id":{"$gt":"Z"}},"fields":["_id"]}"#;
    assert_eq!(find(&database, query).unwrap().0, [r#"{"_id":"a"}"#]);
    let query = r#"{"selector":{"c":1,"_id":{"$in":["Z"]}},"fields":["_id"]}"#;
    assert_eq!(find(&database, query).unwrap().0, [r#"{"_id":"Z"}"#]);
}

#[test]
fn long_values_are_found() {
    let database = database();
    let long = |end: &str| format!("{}{end}", "x".repeat(40_000));
    for (id, end) in [("a", "1"), ("b", "2"), ("c", "3")] {
        put(&database, &format!(r#"{{"_id":"{id}","v":"{}"}}"#, long(end))).unwrap();
    }
    put(&database, r#"{"_id":"d","v":"y"}"#).unwrap();
    index(&database, r#"{"index":{"fields":["v"]},"name":"v"}"#);
    let query = format!(
        r#"{{"selector":{{"v":{{"$in":["{}","{}","y"]}}}},"fields":["_id"]}}"#,
        long("1"),
        long("3")
    );
    let (mut found, _) = find(&database, &query).unwrap();
    found.sort();
    assert_eq!(found, [r#"{"_id":"a"}"#, r#"{"_id":"c"}"#, r#"{"_id":"d"}"#]);
}
