//! `/_db_updates`: what happens to databases.

use serde_json::{Value, json};

use crate::support::{Answer, Settee, admin_header, basic};

/// A server that keeps events.
fn server() -> Settee {
    let server = Settee::start();
    server.ask("PUT", "/_global_changes", "").expect(201);
    server
}

/// `type:db_name` of each row.
fn told(rows: &Value) -> Vec<String> {
    let text = |row: &Value, member: &str| row[member].as_str().unwrap().to_owned();
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| format!("{}:{}", text(row, "type"), text(row, "db_name"))).collect()
}

fn updates(server: &Settee, query: &str) -> Value {
    server.ask("GET", &format!("/_db_updates{query}"), "").expect(200).json()
}

#[test]
fn events_are_told_once_there_is_a_database_for_them() {
    let mut server = Settee::start();
    server.ask("PUT", "/before", "").expect(201);
    let answer = server.ask("GET", "/_db_updates", "").expect(404);
    assert_eq!(answer.json()["reason"], "Database does not exist.");
    server.ask("PUT", "/_global_changes", "").expect(201);
    let empty = server.ask("GET", "/_db_updates", "").expect(200);
    assert!(empty.text().starts_with("{\"results\":[\n\n],\n\"last_seq\":\""), "{}", empty.text());

    server.ask("PUT", "/a", "").expect(201);
    for n in 0..3 {
        server.ask("PUT", &format!("/before/{n}"), "{}").expect(201);
    }
    server.ask("PUT", "/a/_local/x", "{}").expect(201);
    let all = updates(&server, "");
    assert_eq!(told(&all["results"]), ["created:a", "updated:before"]);
    assert_eq!(all["last_seq"], all["results"][1]["seq"]);
    assert_eq!(all.as_object().unwrap().len(), 2, "{all}");
    server.ask("DELETE", "/a", "").expect(200);
    let since = all["last_seq"].as_str().unwrap();
    assert_eq!(told(&updates(&server, &format!("?since={since}"))["results"]), ["deleted:a"]);
    assert_eq!(told(&updates(&server, "?since=now")["results"]), [""; 0]);
    assert_eq!(told(&updates(&server, "?limit=1")["results"]), ["created:a"]);
    assert_eq!(told(&updates(&server, "?descending=true&limit=1")["results"]), ["deleted:a"]);

    let first = server.ask("GET", "/_db_updates", "").expect(200);
    let tag = first.header("etag").unwrap();
    let admin = admin_header();
    let headers = [("Authorization", &*admin), ("If-None-Match", tag)];
    server.connect().ask("GET", "/_db_updates", &headers, "").expect(304);
    server.restart();
    let events = ["created:a", "updated:before", "deleted:a"];
    assert_eq!(told(&updates(&server, "")["results"]), events, "they outlive the server");
    server.ask("PUT", "/_node/_local/_config/global_changes/update_db", "\"false\"").expect(200);
    server.ask("PUT", "/c", "").expect(201);
    assert_eq!(told(&updates(&server, "")["results"]), events);
}

#[test]
fn feeds_tell_of_events_as_they_come() {
    let server = server();
    let admin = admin_header();
    let ask = |query: &str| {
        let mut connection = server.connect();
        let head = format!(
            "GET /_db_updates?{query} HTTP/1.1\r\nHost: s\r\nAuthorization: {admin}\r\n\r\n"
        );
        connection.send(head.as_bytes());
        connection
    };
    let mut longpoll = ask("feed=longpoll&since=now");
    let mut continuous = ask("feed=continuous&since=now&heartbeat=60000");
    let mut events = ask("feed=eventsource&since=now&heartbeat=60000");
    for feed in [&mut longpoll, &mut continuous, &mut events] {
        assert_eq!(feed.head().unwrap().status, 200);
    }
    // The beginning of the answer means that the feed is there.
    assert_eq!(longpoll.chunk().unwrap(), b"{\"results\":[\n");
    server.ask("PUT", "/a", "").expect(201);
    let mut rest = Vec::new();
    while let Some(chunk) = longpoll.chunk() {
        rest.extend(chunk);
    }
    let whole = [&b"{\"results\":["[..], &rest].concat();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(told(&whole["results"]), ["created:a"]);
    let line = continuous.chunk().unwrap();
    let row: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!((&row["type"], &row["db_name"]), (&json!("created"), &json!("a")));
    assert!(line.ends_with(b"}\n"));
    let event = String::from_utf8(events.chunk().unwrap()).unwrap();
    assert!(event.starts_with("data: {\"db_name\":\"a\",\"type\":\"created\","), "{event}");
    assert!(event.contains("\nid: ") && event.ends_with("\n\n"), "{event}");
    server.ask("PUT", "/a/doc", "{}").expect(201);
    let row: Value = serde_json::from_slice(&continuous.chunk().unwrap()).unwrap();
    assert_eq!((&row["type"], &row["db_name"]), (&json!("updated"), &json!("a")));
}

#[test]
fn bad_parameters_and_strangers_are_refused() {
    let server = server();
    let reason = |query: &str| {
        let answer = server.ask("GET", &format!("/_db_updates?{query}"), "").expect(400);
        answer.json()["reason"].as_str().unwrap().to_owned()
    };
    for query in ["limit=x", "limit=-1", "timeout=x", "heartbeat=x"] {
        assert_eq!(reason(query), "invalid_integer", "{query}");
    }
    let feeds = "Supported `feed` types: normal, continuous, longpoll, eventsource";
    assert_eq!(reason("feed=live"), feeds);
    server.add_user("anna", "pw", &[]);
    let anna = basic("anna", "pw");
    let ask = |headers: &[(&str, &str)]| -> Answer {
        server.connect().ask("GET", "/_db_updates", headers, "")
    };
    ask(&[("Authorization", &anna)]).expect(401);
    ask(&[]).expect(401);
    server.ask("POST", "/_db_updates", "{}").expect(405);
}
