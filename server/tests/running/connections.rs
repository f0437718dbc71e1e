//! What one connection may carry, how many there may be, and what slow or strange clients meet.

use std::time::Duration;

use crate::support::{Connection, Settee, admin_header};

const ENVIRONMENT: [(&str, &str); 2] = [("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "secret")];

fn server(ini: &str) -> Settee {
    Settee::start_with(
        &format!("[chttpd_auth]\niterations = 100\n{ini}"),
        ENVIRONMENT.to_vec(),
        &[],
    )
}

#[test]
fn connections_beyond_the_cap_are_told_so_and_a_place_is_free_again_at_once() {
    let server = server("[chttpd]\nmax_connections = 3\n");
    let mut held: Vec<Connection> = (0..3).map(|_| server.connect()).collect();
    for connection in &mut held {
        connection.ask("GET", "/_up", &[], "").expect(200);
    }
    for _ in 0..3 {
        let mut extra = server.connect();
        let refusal = extra.ask("GET", "/_up", &[], "").expect(503);
        assert_eq!(refusal.json()["error"], "too_many_connections");
        assert_eq!(refusal.header("retry-after"), Some("5"));
        assert!(extra.is_closed());
    }
    held[0].ask("GET", "/_up", &[], "").expect(200);
    held.pop();
    let free = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        server.connect().ask("GET", "/_up", &[], "").status == 200
    });
    assert!(free, "the place of a closed connection stays taken");
}

#[test]
fn the_limits_of_the_configuration_hold() {
    let server = server(
        "[couchdb]\nmax_document_size = 100\nmax_attachment_size = 50\nmax_bulk_docs_count = 2\n\
         max_bulk_get_count = 2\nmax_document_id_length = 10\n[chttpd]\nmax_http_request_size = 1000\n",
    );
    server.ask("PUT", "/db", "").expect(201);
    let refused = |method: &str, path: &str, body: &str, status: u16, error: &str| {
        let answer = server.ask(method, path, body).expect(status);
        assert_eq!(answer.json()["error"], error, "{path}");
    };
    let long = "x".repeat(200);
    refused("PUT", "/db/a", &format!(r#"{{"x":"{long}"}}"#), 413, "document_too_large");
    refused("PUT", "/db/abcdefghijk", "{}", 400, "illegal_docid");
    refused("PUT", "/db/a", &format!(r#"{{"x":"{}"}}"#, long.repeat(6)), 413, "too_large");
    let docs = r#"{"docs":[{"_id":"a"},{"_id":"b"},{"_id":"c"}]}"#;
    refused("POST", "/db/_bulk_docs", docs, 413, "max_bulk_docs_count_exceeded");
    server.ask("GET", "/db/a", "").expect(404);
    let wanted = r#"{"docs":[{"id":"a"},{"id":"b"},{"id":"c"}]}"#;
    refused("POST", "/db/_bulk_get", wanted, 413, "max_bulk_get_count_exceeded");
    refused("PUT", "/db/a/file", &long, 413, "attachment_too_large");
    server.ask("POST", "/db/_bulk_docs", r#"{"docs":[{"_id":"a"},{"_id":"b"}]}"#).expect(201);
}

#[test]
fn heads_have_a_size_and_a_number_of_lines() {
    let server = server("");
    let head = |extra: &str| {
        let mut connection = server.connect();
        connection.send(format!("GET /_up HTTP/1.1\r\nHost: s\r\n{extra}\r\n").as_bytes());
        connection.head().map(|answer| answer.status)
    };
    assert_eq!(head(""), Some(200));
    let lines: String = (0..90).map(|n| format!("X-{n}: y\r\n")).collect();
    assert_eq!(head(&lines), Some(200));
    let lines: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    assert_eq!(head(&lines), Some(431));
    let mut connection = server.connect();
    connection.send(format!("GET /{} HTTP/1.1\r\nHost: s\r\n\r\n", "a".repeat(9000)).as_bytes());
    assert_eq!(connection.answer("GET").expect(414).json()["error"], "too_long");
}

#[test]
fn requests_that_can_be_read_in_two_ways_are_refused_or_read_in_one() {
    let server = server("");
    let admin = format!("Authorization: {}\r\nContent-Type: application/json\r\n", admin_header());
    for (name, head) in [
        ("two lengths", "Content-Length: 2\r\nContent-Length: 3\r\n"),
        ("a signed length", "Content-Length: +2\r\n"),
        ("a list of lengths", "Content-Length: 2, 3\r\n"),
        ("an unknown coding", "Transfer-Encoding: chunked, identity\r\n"),
        ("a blank before the colon", "Content-Length : 2\r\n"),
        ("a folded line", "X-A: b\r\n Content-Length: 2\r\n"),
    ] {
        let mut connection = server.connect();
        connection.send(format!("PUT /db HTTP/1.1\r\nHost: s\r\n{admin}{head}\r\n{{}}").as_bytes());
        let status = connection.head().map(|answer| answer.status);
        assert_eq!(status, Some(400), "{name}");
        assert!(connection.is_closed() || connection.head().is_none(), "{name}");
    }
    assert_eq!(
        server.ask("GET", "/_all_dbs", "").expect(200).json(),
        serde_json::json!(["_replicator", "_users"])
    );

    // Chunks win over a length, and what follows is no second request.
    let mut connection = server.connect();
    connection.send(
        format!(
            "POST /_session HTTP/1.1\r\nHost: s\r\n{admin}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
             0\r\n\r\nDELETE /_users HTTP/1.1\r\nHost: s\r\n{admin}\r\n"
        )
        .as_bytes(),
    );
    let first = connection.head().unwrap().status;
    assert!(first == 400, "{first}");
    server.ask("GET", "/_users", "").expect(200);
}
