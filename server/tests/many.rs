//! Many databases and many feeds at once, far more than may be open.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::{fs, thread};

use support::{Connection, Settee, admin_header};

const DATABASES: usize = 2000;
const FEEDS: usize = 300;
const CONNECTIONS: usize = 8;
/// How many databases the server may keep open here.
const OPEN: usize = 20;
/// Descriptors of a server with `OPEN` databases, without its connections, at most.
const DESCRIPTORS: usize = 2 * OPEN + 40;

fn start() -> Settee {
    let ini = format!("[chttpd_auth]\niterations = 100\n[couchdb]\nmax_dbs_open = {OPEN}\n");
    let admin = vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)];
    Settee::start_with(&ini, admin, &["--quiet"])
}

fn name(n: usize) -> String {
    format!("many-{n:06}")
}

/// Sends a request for each number, over a few connections, and expects a status.
fn for_each(server: &Settee, count: usize, method: &str, status: u16, suffix: &str, body: &str) {
    let headers = [("Authorization", &*admin_header())];
    thread::scope(|scope| {
        for first in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut connection = server.connect();
                for n in (first..count).step_by(CONNECTIONS) {
                    let path = format!("/{}{suffix}", name(n));
                    connection.ask(method, &path, &headers, body).expect(status);
                }
            });
        }
    });
}

fn list(server: &Settee, query: &str) -> Vec<String> {
    let answer = server.ask("GET", &format!("/_all_dbs?{query}"), "").expect(200);
    serde_json::from_value(answer.json()).unwrap()
}

#[cfg(target_os = "linux")]
fn descriptors(server: &Settee) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

#[cfg(not(target_os = "linux"))]
fn descriptors(_: &Settee) -> usize {
    0
}

#[test]
fn thousands_of_databases_are_created_listed_touched_and_deleted() {
    let mut server = start();
    for_each(&server, DATABASES, "PUT", 201, "", "");
    for_each(&server, DATABASES, "PUT", 201, "/doc", "{}");
    assert!(descriptors(&server) <= DESCRIPTORS + CONNECTIONS, "{}", descriptors(&server));
    server.restart();
    assert_eq!(list(&server, "startkey=%22m%22").len(), DATABASES);
    let page = list(&server, "startkey=%22many-000100%22&endkey=%22many-001%22&skip=2&limit=3");
    assert_eq!(page, [name(102), name(103), name(104)]);
    for_each(&server, DATABASES, "GET", 200, "/doc", "");
    let keys: Vec<String> = (0..100).map(|n| name(n * 20)).collect();
    let body = serde_json::json!({ "keys": keys }).to_string();
    let infos = server.ask("POST", "/_dbs_info", &body).expect(200).json();
    assert!(infos.as_array().unwrap().iter().all(|entry| entry["info"]["doc_count"] == 1));
    let infos = server.ask("GET", "/_dbs_info?startkey=%22many%22", "").expect(200);
    assert_eq!(infos.json().as_array().unwrap().len(), DATABASES);
    assert!(descriptors(&server) <= DESCRIPTORS, "{}", descriptors(&server));
    for_each(&server, DATABASES, "DELETE", 200, "", "");
    assert_eq!(list(&server, "startkey=%22m%22"), [""; 0]);
}

/// Opens a continuous feed from now on.
fn follow(server: &Settee, name: &str) -> Connection {
    let mut feed = server.connect();
    let admin = admin_header();
    let query = "feed=continuous&heartbeat=600000&since=now";
    let head =
        format!("GET /{name}/_changes?{query} HTTP/1.1\r\nHost: s\r\nAuthorization: {admin}");
    feed.send(format!("{head}\r\n\r\n").as_bytes());
    assert_eq!(feed.head().unwrap().status, 200);
    feed
}

#[test]
fn feeds_wait_for_closed_databases() {
    let server = start();
    for_each(&server, FEEDS, "PUT", 201, "", "");
    let mut feeds: Vec<Connection> = (0..FEEDS).map(|n| follow(&server, &name(n))).collect();
    // All that wait hold a connection each and nothing else.
    for_each(&server, FEEDS, "GET", 200, "", "");
    assert!(descriptors(&server) <= DESCRIPTORS + FEEDS + CONNECTIONS, "{}", descriptors(&server));
    for round in 1..3 {
        for_each(&server, FEEDS, "PUT", 201, &format!("/doc{round}"), "{}");
        for feed in &mut feeds {
            let row = String::from_utf8(feed.chunk().expect("the feed has ended")).unwrap();
            assert!(row.starts_with(&format!("{{\"seq\":\"{round}-")), "{row}");
        }
    }
    for_each(&server, FEEDS, "DELETE", 200, "", "");
    for feed in &mut feeds {
        let end = String::from_utf8(feed.chunk().unwrap()).unwrap();
        assert!(end.starts_with("{\"last_seq\":\"2-"), "{end}");
        assert!(feed.chunk().is_none());
    }
}

#[test]
fn a_file_put_into_the_folder_is_a_database() {
    let server = start();
    server.ask("PUT", "/original", "").expect(201);
    server.ask("PUT", "/original/doc", "{}").expect(201);
    let file = |name: &str| server.data_dir().join(format!("{name}.settee"));
    fs::copy(file("original"), file("restored")).unwrap();
    server.ask("GET", "/restored/doc", "").expect(200);
    assert_eq!(list(&server, "key=%22restored%22"), ["restored"]);
    fs::copy(file("original"), file("other")).unwrap();
    while list(&server, "key=%22other%22").is_empty() {
        thread::sleep(std::time::Duration::from_millis(50));
    }
    fs::remove_file(file("other")).unwrap();
    server.ask("GET", "/other", "").expect(404);
    assert_eq!(list(&server, "key=%22other%22"), [""; 0]);
}
