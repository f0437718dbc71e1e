//! Functions of design documents over HTTP: what they answer, and that none of them holds up the server.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use support::{Answer, Settee, admin_header};

fn start() -> Settee {
    let server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    server
}

/// Stores a design document.
fn put_design(server: &Settee, members: serde_json::Value) {
    server.ask("PUT", "/db/_design/d", &members.to_string()).expect(201);
}

fn reason(answer: &Answer) -> String {
    answer.json()["reason"].as_str().unwrap().to_owned()
}

#[test]
fn shows_have_tags_and_policies() {
    let server = start();
    server.ask("PUT", "/db/a", r#"{"t":"<b>"}"#).expect(201);
    put_design(
        &server,
        serde_json::json!({"shows": {
            "s": "function(doc, req) { return doc.t + req.method + req.headers.Host.length }",
            "bad": "function() { return {headers: {'X-A': 'b', 'bad name': 'c'}} }",
            "odd": "function() { return {bdy: 'x'} }",
            "throws": "function() { throw({error: 'forbidden', reason: 'not you'}) }",
        }}),
    );
    let first = server.ask("GET", "/db/_design/d/_show/s/a", "").expect(200);
    assert!(first.text().starts_with("<b>GET"));
    assert_eq!(first.header("content-security-policy"), Some("sandbox"));
    assert_eq!(first.header("vary"), Some("Accept"));
    let etag = first.header("etag").unwrap().to_owned();
    let admin = admin_header();
    let again = [("Authorization", admin.as_str()), ("If-None-Match", etag.as_str())];
    let mut connection = server.connect();
    connection.ask("GET", "/db/_design/d/_show/s/a", &again, "").expect(304);
    let rev = server.ask("GET", "/db/a", "").json()["_rev"].as_str().unwrap().to_owned();
    server.ask("PUT", "/db/a", &format!(r#"{{"_rev":"{rev}","t":"x"}}"#)).expect(201);
    connection.ask("GET", "/db/_design/d/_show/s/a", &again, "").expect(200);
    server.ask("GET", "/db/_design/d/_show/bad", "").expect(500);
    let odd = server.ask("GET", "/db/_design/d/_show/odd", "").expect(500);
    assert_eq!(odd.json()["error"], "external_response_error");
    let missing = server.ask("GET", "/db/_design/d/_show/s/nosuch", "").expect(404);
    assert_eq!(reason(&missing), "document not found");
    assert_eq!(reason(&server.ask("GET", "/db/_design/d/_show/throws", "").expect(403)), "not you");
}

#[test]
fn lists_stream_all_documents() {
    let server = start();
    for n in 0..500 {
        server.ask("PUT", &format!("/db/d{n:03}?batch=ok"), "{}").expect(202);
    }
    put_design(
        &server,
        serde_json::json!({"lists": {
            "ids": "function(head, req) { start({headers: {'Content-Type': 'text/plain'}}); var r, n = 0;\
                while (r = getRow()) { if (r.id[0] == 'd') { n++; send(r.id + ' ') } } return head.total_rows + '=' + n }",
            "first": "function() { var r = getRow(); send(r.id); return '' }",
            "late": "function() { start({code: 202}); send('some'); getRow(); nosuch() }",
            "early": "function() { nosuch() }",
            "types": "function() { provides('csv', function() { send('a,b'); getRow(); return '\\nc' }); }",
        }}),
    );
    let all = || server.ask("GET", "/db/_design/d/_list/ids/_all_docs", "").expect(200);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !all().text().ends_with("501=500") {
        assert!(std::time::Instant::now() < deadline, "{}", all().text());
    }
    assert_eq!(all().header("content-type"), Some("text/plain"));
    let first = "/db/_design/d/_list/first/_all_docs?startkey=\"d1\"";
    assert_eq!(server.ask("GET", &first.replace('"', "%22"), "").expect(200).text(), "d100");
    let late = server.ask("GET", "/db/_design/d/_list/late/_all_docs", "").expect(202);
    assert!(late.text().starts_with("some{\"error\":\"render_error\""), "{}", late.text());
    server.ask("GET", "/db/_design/d/_list/early/_all_docs", "").expect(500);
    let keys = server.ask("POST", "/db/_design/d/_list/ids/_all_docs", r#"{"keys":["d001"]}"#);
    assert_eq!(keys.expect(200).text(), "d001 501=1");
    let admin = admin_header();
    let csv = [("Authorization", admin.as_str()), ("Accept", "text/csv")];
    let answer = server.connect().ask("GET", "/db/_design/d/_list/types/_all_docs", &csv, "");
    assert_eq!((answer.text(), answer.header("content-type")), ("a,b\nc", Some("text/csv")));
    server.ask("DELETE", "/db/_design/d/_list/ids/_all_docs", "").expect(405);
}

#[test]
fn rewrites_go_round_only_so_often() {
    let server = start();
    server.ask("PUT", "/db/a", r#"{"v":1}"#).expect(201);
    let function = "function(req) { var p = req.path.slice(4).join('/');\
        if (p == 'round') return '_rewrite/round'; if (p == 'no') return null;\
        if (p == 'done') return {code: 418, body: 'tea', headers: {'X-A': 'b'}};\
        if (p == 'made') return {path: '../..', method: 'POST', body: '{\"_id\":\"made\"}', headers: {'Content-Type': 'application/json'}};\
        if (p == 'bad') return {method: 5, path: 'x'}; if (p == 'none') return {}; return '../../' + p }";
    put_design(&server, serde_json::json!({ "rewrites": function }));
    let get = |path: &str| server.ask("GET", &format!("/db/_design/d/_rewrite/{path}"), "");
    assert_eq!(get("a").expect(200).json()["v"], 1);
    assert_eq!(reason(&get("round").expect(400)), "Exceeded rewrite recursion limit");
    get("no").expect(404);
    let done = get("done").expect(418);
    assert_eq!((done.text(), done.header("x-a")), ("tea", Some("b")));
    get("made").expect(201);
    server.ask("GET", "/db/made", "").expect(200);
    assert_eq!(reason(&get("bad").expect(500)), "bad method");
    assert_eq!(reason(&get("none").expect(500)), "Rewrite result must produce a new path.");
    let up = serde_json::json!({"rewrites": [{"from": "up", "to": "../../../_up"}]});
    server.ask("PUT", "/db/_design/u", &up.to_string()).expect(201);
    let up = server.ask("GET", "/db/_design/u/_rewrite/up", "").expect(500);
    assert_eq!(reason(&up), "too many ../.. segments");
}

#[test]
fn functions_that_run_on_are_ended() {
    let ini = "[chttpd_auth]\niterations = 100\n[couchdb]\nos_process_timeout = 300\n";
    let account = vec![("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "secret")];
    let server = Settee::start_with(ini, account, &[]);
    server.ask("PUT", "/db", "").expect(201);
    put_design(
        &server,
        serde_json::json!({
            "shows": {"endless": "function() { for (;;); }", "fine": "function() { return 'x' }"},
            "validate_doc_update": "function(doc) { if (doc.endless) for (;;); }",
        }),
    );
    let ended = server.ask("GET", "/db/_design/d/_show/endless", "").expect(500);
    assert_eq!(ended.json()["error"], "os_process_error");
    let told = reason(&ended);
    assert!(told.starts_with("OS process timed out.") && told.contains("shows.endless"), "{told}");
    assert_eq!(server.ask("GET", "/db/_design/d/_show/fine", "").expect(200).text(), "x");
    let refused = server.ask("PUT", "/db/a", r#"{"endless":true}"#).expect(500);
    assert!(reason(&refused).contains("validate_doc_update"), "{}", reason(&refused));
    server.ask("PUT", "/db/a", "{}").expect(201);
    server.ask("POST", "/_reload_query_servers", "").expect(200);
    server.ask("PUT", "/db/b", "{}").expect(201);
}
