//! The changes feed over HTTP: what waits, what ends it, and what its filters say.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::time::{Duration, Instant};

use support::{Connection, Settee, admin_header};

fn start() -> Settee {
    let server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    server
}

/// Opens a feed and reads the head of its answer.
fn follow(server: &Settee, query: &str) -> Connection {
    let mut feed = server.connect();
    let admin = admin_header();
    feed.send(
        format!("GET /db/_changes?{query} HTTP/1.1\r\nHost: s\r\nAuthorization: {admin}\r\n\r\n")
            .as_bytes(),
    );
    assert_eq!(feed.head().unwrap().status, 200);
    feed
}

/// The next piece of a feed, as text.
fn next(feed: &mut Connection) -> String {
    String::from_utf8(feed.chunk().expect("the feed has ended")).unwrap()
}

/// The rest of a feed, up to its end.
fn rest(feed: &mut Connection) -> String {
    let mut text = String::new();
    while let Some(chunk) = feed.chunk() {
        text += str::from_utf8(&chunk).unwrap();
    }
    text
}

#[test]
fn a_continuous_feed_ends_at_its_limit() {
    let server = start();
    let mut feed = follow(&server, "feed=continuous&limit=2");
    server.ask("PUT", "/db/a", "{}").expect(201);
    assert!(next(&mut feed).contains("\"id\":\"a\""));
    server.ask("PUT", "/db/b", "{}").expect(201);
    let text = rest(&mut feed);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("\"id\":\"b\""), "{text}");
    assert!(lines[1].starts_with("{\"last_seq\":\"2-"), "{text}");
    assert_eq!(lines.len(), 2);
}

#[test]
fn a_long_poll_answers_with_the_first_change_that_passes() {
    let server = start();
    server.ask("PUT", "/db/old", "{}").expect(201);
    let mut feed = follow(&server, "feed=longpoll&filter=_design");
    server.ask("PUT", "/db/a", "{}").expect(201);
    server.ask("PUT", "/db/_design/d", "{}").expect(201);
    let text = rest(&mut feed);
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["results"].as_array().unwrap().len(), 1, "{text}");
    assert_eq!(answer["results"][0]["id"], "_design/d");
    assert!(answer["last_seq"].as_str().unwrap().starts_with("3-"));
}

#[test]
fn heartbeats_keep_events_apart() {
    let server = start();
    let mut feed = follow(&server, "feed=eventsource&heartbeat=50");
    assert_eq!(next(&mut feed), "event: heartbeat\ndata: \n\n");
    server.ask("PUT", "/db/a", "{}").expect(201);
    let mut event = next(&mut feed);
    while event.starts_with("event: heartbeat") {
        event = next(&mut feed);
    }
    assert!(event.starts_with("data: {\"seq\":\"1-"), "{event}");
    assert!(event.contains("}\nid: \"1-") && event.ends_with("\"\n\n"), "{event}");
}

#[test]
fn deleting_the_database_ends_its_feeds() {
    let server = start();
    let mut feed = follow(&server, "feed=continuous&heartbeat=60000");
    let mut poll = follow(&server, "feed=longpoll&heartbeat=60000");
    server.ask("DELETE", "/db", "").expect(200);
    assert!(rest(&mut feed).starts_with("{\"last_seq\":"));
    assert!(rest(&mut poll).starts_with("{\"results\":[\n\n],\n\"last_seq\":"));
}

#[test]
fn a_timeout_ends_a_feed_that_has_nothing_to_say() {
    let server = start();
    let started = Instant::now();
    let mut feed = follow(&server, "feed=continuous&timeout=100");
    assert!(rest(&mut feed).starts_with("{\"last_seq\":\"0-"));
    assert!(started.elapsed() >= Duration::from_millis(100));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_long_history_arrives_whole_and_in_order() {
    let server = start();
    let documents: Vec<String> = (0..3000)
        .map(|n| format!("{{\"_id\":\"{n:04}\",\"text\":\"{}\"}}", "x".repeat(100)))
        .collect();
    let body = format!("{{\"docs\":[{}]}}", documents.join(","));
    server.ask("POST", "/db/_bulk_docs", &body).expect(201);
    let mut feed = follow(&server, "feed=continuous&include_docs=true&timeout=100");
    let text = rest(&mut feed);
    let ids = text.lines().filter_map(|line| line.split("\"id\":\"").nth(1)?.get(..4));
    assert!(ids.eq((0..3000).map(|n| format!("{n:04}"))));
    assert!(text.ends_with("\"pending\":0}\n"));
}

#[test]
fn functions_decide_which_changes_pass() {
    let server = start();
    let design = r#"{"filters":{"f":"function(doc,req){return doc.v==req.query.v}","e":"function(d){return d.a.b}"},
        "views":{"v":{"map":"function(doc){if(doc.v>1)emit(1)}"}}}"#;
    server.ask("PUT", "/db/_design/d", design).expect(201);
    let reason = |query: &str, status: u16| {
        let answer = server.ask("GET", &format!("/db/_changes?{query}"), "").expect(status);
        answer.json()["reason"].as_str().unwrap().to_owned()
    };
    for v in 1..4 {
        server.ask("PUT", &format!("/db/doc{v}"), &format!(r#"{{"v":{v}}}"#)).expect(201);
    }
    let passing = |query: &str| {
        let answer = server.ask("GET", &format!("/db/_changes?{query}"), "").expect(200);
        let rows = answer.json()["results"].as_array().unwrap().clone();
        rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(passing("filter=d/f&v=2"), ["doc2"]);
    assert_eq!(passing("filter=d/f&v=3&feed=longpoll"), ["doc3"]);
    assert_eq!(passing("filter=_view&view=d/v&include_docs=true"), ["doc2", "doc3"]);
    let mut feed = follow(&server, "feed=continuous&filter=d/f&v=9");
    server.ask("PUT", "/db/other", r#"{"v":8}"#).expect(201);
    server.ask("PUT", "/db/wanted", r#"{"v":9}"#).expect(201);
    assert!(next(&mut feed).contains("\"id\":\"wanted\""));
    assert!(reason("filter=d/e", 500).contains("TypeError"));
    assert_eq!(reason("filter=d/g", 404), "missing json key: g");
    assert_eq!(reason("filter=_view&view=d/w", 404), "missing json key: w");
    assert_eq!(reason("filter=e/f", 404), "missing");
}
