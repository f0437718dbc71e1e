//! Replication between real servers, by the library of the engine: pull, push and between two others; over
//! connections that break and servers that are killed.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod answers;
mod faults;
mod large;
#[path = "../support/mod.rs"]
mod support;
mod ways;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;

use serde_json::{Value, json};
use settee_engine::json::Value as Json;
use settee_engine::replication::{
    Context, Control, Defaults, HttpSettings, Job, LocalNames, Outcome, Replication,
    ReplicationError, ServerIdentity, Side,
};
use settee_engine::{Caller, Databases, Document, Props, WriteMode, document::Limits};
use settee_storage::disk::sim::Random;
use support::{PASSWORD, Settee, admin_header};

fn context(databases: &Arc<Databases>) -> Context {
    let identity = ServerIdentity { uuid: "5a".repeat(16), ..ServerIdentity::default() };
    Context::new(Arc::clone(databases), identity)
}

fn parse(request: &Value) -> Replication {
    let local = LocalNames { url: "http://localhost:5984".into(), caller: Caller::admin() };
    let defaults = Defaults { local: Some(local), ..Defaults::default() };
    let request = Json::parse(request.to_string().as_bytes()).unwrap();
    Replication::parse(&request, &defaults).unwrap()
}

fn replicate(context: &Context, request: &Value) -> Result<Outcome, ReplicationError> {
    Job::run_blocking(parse(request), context, &Control::new())
}

fn answer(outcome: &Outcome) -> Value {
    serde_json::from_slice(&Json::from(outcome.to_answer()).to_json()).unwrap()
}

fn url(server: &Settee, database: &str) -> String {
    format!("{}/{database}", server.admin_url())
}

/// A request that must go well.
fn ask(server: &Settee, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = server.ask(method, path, &body);
    assert!(answer.status < 300, "{method} {path}: {answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

/// All leaves with bodies, histories and attachments, by id; the winner's revision in front.
fn contents(server: &Settee, database: &str) -> BTreeMap<String, Value> {
    let changes = ask(server, "GET", &format!("/{database}/_changes?style=all_docs"), &Value::Null);
    let rows = changes["results"].as_array().unwrap();
    let leaves = |row: &Value| {
        let id = row["id"].as_str().unwrap();
        let path = id
            .strip_prefix("_design/")
            .map_or_else(|| percent(id), |rest| format!("_design/{}", percent(rest)));
        let path = format!("/{database}/{path}?open_revs=all&revs=true&attachments=true");
        let headers = [("Authorization", &*admin_header()), ("Accept", "application/json")];
        let mut leaves = server.connect().ask("GET", &path, &headers, "").expect(200).json();
        leaves.as_array_mut().unwrap().sort_by_key(ToString::to_string);
        (id.to_owned(), json!([row["changes"][0], leaves]))
    };
    rows.iter().map(leaves).collect()
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Bytes that do not compress to nothing.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..length).map(|_| (random.next() >> 24) as u8).collect()
}

/// Documents of every kind.
fn fill(server: &Settee, database: &str) {
    let docs: Vec<Value> =
        (0..300).map(|n| json!({"_id": format!("plain-{n:04}"), "n": n})).collect();
    ask(server, "POST", &format!("/{database}/_bulk_docs"), &json!({"docs": docs}));
    let conflicts = json!({"new_edits": false, "docs": [
        {"_id": "torn", "_rev": format!("1-{}", "a".repeat(32)), "v": 1},
        {"_id": "torn", "_rev": format!("1-{}", "b".repeat(32)), "v": 2,
         "_attachments": {"f": {"content_type": "text/plain", "data": base64(b"loser")}}},
        {"_id": "torn", "_rev": format!("2-{}", "c".repeat(32)), "_deleted": true},
        {"_id": "gone", "_rev": "1-x", "_deleted": true, "why": "because"},
    ]});
    ask(server, "POST", &format!("/{database}/_bulk_docs"), &conflicts);
    ask(
        server,
        "PUT",
        &format!("/{database}/_design/d"),
        &json!({
            "views": {"v": {"map": "function(doc){emit(doc.n)}"}},
            "_attachments": {"page.html": {"content_type": "text/html", "data": base64(b"<p>hello")}},
        }),
    );
    ask(server, "PUT", &format!("/{database}/{}", percent("slash/and ü+?#\"%")), &json!({"n": 1}));
    ask(
        server,
        "PUT",
        &format!("/{database}/attached"),
        &json!({"_attachments": {
            "empty": {"content_type": "image/png", "data": ""},
            "text": {"content_type": "text/plain", "data": base64(&b"compresses well ".repeat(1000))},
            "kib": {"content_type": "image/png", "data": base64(&noise(1024, 1))},
            "large": {"content_type": "image/png", "data": base64(&noise(3 << 20, 2))},
        }}),
    );
    for n in 0..10u64 {
        ask(
            server,
            "PUT",
            &format!("/{database}/attached-{n}"),
            &json!({"_attachments": {
                "f": {"content_type": "image/png", "data": base64(&noise(5000, n))},
            }}),
        );
    }
}

#[test]
fn pull_push_and_between_two_others() {
    let (one, two) = (Settee::start(), Settee::start());
    ask(&one, "PUT", "/source", &Value::Null);
    fill(&one, "source");
    let expected = contents(&one, "source");
    let databases = Databases::in_memory();
    let context = context(&databases);
    let count: u64 = expected.values().map(|doc| doc[1].as_array().unwrap().len() as u64).sum();
    let steps = [
        json!({"source": url(&one, "source"), "target": url(&two, "between"), "create_target": true}),
        json!({"source": url(&two, "between"), "target": "here", "create_target": true}),
        json!({"source": "here", "target": url(&two, "pushed"), "create_target": true}),
        json!({"source": url(&two, "pushed"), "target": url(&one, "singly"), "create_target": true, "use_bulk_get": false}),
    ];
    for request in &steps {
        let done = answer(&replicate(&context, request).unwrap());
        assert_eq!(done["history"][0]["docs_written"], count, "{request}");
        assert_eq!(done["history"][0]["docs_read"], count, "{request}");
        assert_eq!(done["history"][0]["doc_write_failures"], 0);
        let again = answer(&replicate(&context, request).unwrap());
        assert_eq!(
            (&again["no_changes"], &again["session_id"]),
            (&json!(true), &done["session_id"])
        );
    }
    assert_eq!(contents(&two, "between"), expected);
    assert_eq!(contents(&two, "pushed"), expected);
    assert_eq!(contents(&one, "singly"), expected);

    // An edit that keeps its attachments sends no more than itself.
    let doc = ask(&one, "GET", "/source/attached", &Value::Null);
    let mut edited = doc;
    edited["edited"] = json!(true);
    ask(&one, "PUT", "/source/attached", &edited);
    for request in &steps {
        replicate(&context, request).unwrap();
    }
    assert_eq!(contents(&one, "singly"), contents(&one, "source"));
}

#[test]
fn filters_reach_the_source() {
    let (one, two) = (Settee::start(), Settee::start());
    ask(&one, "PUT", "/a", &Value::Null);
    for n in 1..=3 {
        ask(&one, "PUT", &format!("/a/{n}"), &json!({"n": n}));
    }
    ask(
        &one,
        "PUT",
        "/a/_design/f",
        &json!({
            "filters": {"min": "function(doc, req) { return doc.n >= parseInt(req.query.min) }"},
            "views": {"even": {"map": "function(doc) { if (doc.n % 2 === 0) emit(1) }"}},
        }),
    );
    let databases = Databases::in_memory();
    let context = context(&databases);
    let cases = [
        (json!({"doc_ids": ["1", "3"]}), vec!["1", "3"]),
        (json!({"selector": {"n": {"$gt": 1}}}), vec!["2", "3"]),
        (json!({"filter": "f/min", "query_params": {"min": "3"}}), vec!["3"]),
        (json!({"filter": "_view", "query_params": {"view": "f/even"}}), vec!["2"]),
        (json!({"filter": "_design"}), vec!["_design/f"]),
    ];
    for (at, (options, expected)) in cases.into_iter().enumerate() {
        let database = format!("b{at}");
        let mut request = json!({
            "source": url(&one, "a"), "target": url(&two, &database), "create_target": true,
        });
        request.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        replicate(&context, &request).unwrap();
        let ids: Vec<String> = contents(&two, &database).into_keys().collect();
        assert_eq!(ids, expected, "{options}");
    }
    let request = json!({"source": url(&one, "a"), "target": url(&two, "b0"), "filter": "f/none"});
    let error = replicate(&context, &request).unwrap_err();
    assert!(matches!(error, ReplicationError::FilterFetch(_)), "{error}");
}

#[test]
fn errors_say_which_side_and_why() {
    let server = Settee::start();
    ask(&server, "PUT", "/a", &Value::Null);
    let databases = Databases::in_memory();
    databases.create("here", Props::default()).unwrap();
    let context = context(&databases);
    let fails = |source: &str, target: &str| {
        let request = json!({"source": source, "target": target, "retries_per_request": 0});
        replicate(&context, &request).unwrap_err()
    };
    let there = url(&server, "a");
    let error = fails(&url(&server, "none"), "here");
    assert_eq!((error.code(), error.side()), ("db_not_found", Some(Side::Source)));
    assert_eq!(error.reason(), format!("could not open {}/none/", server.url()));
    let error = fails("here", &format!("{}/a", server.url()));
    assert_eq!((error.code(), error.side()), ("unauthorized", Some(Side::Target)));
    let wrong = there.replace(PASSWORD, "wrong");
    let error = fails(&wrong, "here");
    assert_eq!((error.code(), error.side()), ("unauthorized", Some(Side::Source)));
    assert!(!error.to_string().contains("wrong"), "{error}");
    let error = fails("http://no.such.host.invalid/a", "here");
    assert_eq!((error.code(), error.side()), ("nxdomain", Some(Side::Source)));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fails("here", &format!("http://{nobody}/a"));
    assert_eq!((error.code(), error.side()), ("conn_failed", Some(Side::Target)));
}

#[test]
fn documents_that_the_target_refuses_are_counted() {
    let server = Settee::start();
    ask(&server, "PUT", "/b", &Value::Null);
    ask(
        &server,
        "PUT",
        "/b/_design/v",
        &json!({
            "validate_doc_update": "function(doc) { if (doc.n === 2) throw({forbidden: 'no'}) }",
        }),
    );
    let databases = Databases::in_memory();
    let here = databases.create("here", Props::default()).unwrap();
    for n in 0..5 {
        let doc = Document::parse(
            json!({"_id": n.to_string(), "n": n}).to_string().as_bytes(),
            None,
            &Limits::default(),
        );
        here.write(vec![doc.unwrap()], WriteMode::Interactive).unwrap();
    }
    let done =
        replicate(&context(&databases), &json!({"source": "here", "target": url(&server, "b")}));
    let done = answer(&done.unwrap());
    assert_eq!(done["history"][0]["docs_written"], 4);
    assert_eq!(done["history"][0]["doc_write_failures"], 1);
}

#[test]
fn sessions_and_basic_authentication() {
    let server = Settee::start();
    ask(&server, "PUT", "/a", &Value::Null);
    ask(&server, "PUT", "/a/x", &json!({}));
    for use_sessions in [true, false] {
        let databases = Databases::in_memory();
        let settings = HttpSettings { use_sessions, ..HttpSettings::default() };
        let context = context(&databases).with_http(settings);
        let request = json!({"source": url(&server, "a"), "target": "here", "create_target": true});
        replicate(&context, &request).unwrap();
        assert_eq!(databases.get("here").unwrap().info().unwrap().doc_count, 1);
    }
}
