//! What is for browsers: the pages at `/_utils/`, the way to the one where people log in, and answers as scripts.

use crate::support::{Settee, admin_header};

fn option(server: &Settee, path: &str, value: &str) {
    server.ask("PUT", &format!("/_node/_local/_config/{path}"), &format!("{value:?}")).expect(200);
}

#[test]
fn the_pages_are_part_of_the_server() {
    let server = Settee::start();
    let redirect = server.ask_as_nobody("GET", "/_utils", "").expect(301);
    assert_eq!(redirect.header("location"), Some("http://settee/_utils/"));
    for (path, kind) in [
        ("", "text/html; charset=utf-8"),
        ("index.html", "text/html; charset=utf-8"),
        ("session.html", "text/html; charset=utf-8"),
        ("app.js", "text/javascript; charset=utf-8"),
        ("settee.css", "text/css; charset=utf-8"),
        ("settee.svg", "image/svg+xml"),
    ] {
        let path = format!("/_utils/{path}");
        let answer = server.ask_as_nobody("GET", &path, "").expect(200);
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        assert_eq!(answer.header("cache-control"), Some("private, must-revalidate"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let headers = [("If-None-Match", answer.header("etag").unwrap())];
        server.connect().ask("GET", &path, &headers, "").expect(304);
        // Whatever the pages are made of comes from this server: no script, style or address of another.
        let text = answer.text().replace("http://www.w3.org/2000/svg", "");
        for foreign in ["http:", "https:", "<style", "style=", "innerHTML", "eval("] {
            assert!(!text.contains(foreign), "{path} has {foreign}");
        }
    }
    for path in
        ["/_utils/nothing.html", "/_utils/../Cargo.toml", "/_utils/%2e%2e/x", "/_utils/app.js/x"]
    {
        server.ask_as_nobody("GET", path, "").expect(404);
    }
    server.ask_as_nobody("POST", "/_utils/", "{}").expect(405);
    option(&server, "csp/utils_enable", "false");
    let answer = server.ask_as_nobody("GET", "/_utils/", "").expect(200);
    assert_eq!(answer.header("content-security-policy"), None);
}

#[test]
fn people_are_sent_to_the_page_where_they_log_in_and_programs_are_told() {
    let server = Settee::start();
    let ask =
        |path: &str, accept: &str| server.connect().ask("GET", path, &[("Accept", accept)], "");
    let page = ask("/_all_dbs?limit=1", "text/html,application/xhtml+xml").expect(302);
    let location = page.header("location").unwrap();
    assert_eq!(
        location,
        "http://settee/_utils/session.html?return=%2F_all_dbs%3Flimit%3D1\
         &reason=You%20are%20not%20a%20server%20admin."
    );
    for accept in ["application/json", "text/html, application/json", "*/*", "image/png"] {
        assert_eq!(ask("/_all_dbs", accept).status, 401, "{accept}");
    }
    let everything = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (dest, status) in [("document", 302), ("empty", 401), ("script", 401)] {
        let headers = [("Accept", everything), ("Sec-Fetch-Dest", dest)];
        server.connect().ask("GET", "/_all_dbs", &headers, "").expect(status);
    }
    // Where nobody is served without a name, the page itself can't be had: no way round and round.
    option(&server, "chttpd/require_valid_user_except_for_up", "true");
    for path in ["/_utils/session.html", "/_utils/", "/_all_dbs"] {
        let answer = ask(path, "text/html").expect(401);
        assert!(answer.header("www-authenticate").is_some(), "the browser asks: {path}");
    }
}

#[test]
fn answers_become_scripts_only_where_that_is_switched_on() {
    let server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    server.ask("PUT", "/db/doc", "{}").expect(201);
    server.connect().ask(
        "PUT",
        "/db/file/file",
        &[("Authorization", &admin_header()), ("Content-Type", "application/json")],
        "",
    );
    let plain = server.ask("GET", "/db/doc?callback=f", "").expect(200);
    assert_eq!(plain.header("content-type"), Some("application/json"));
    option(&server, "chttpd/allow_jsonp", "true");
    for (path, status) in
        [("/db/doc", 200), ("/db/_all_docs", 200), ("/db/_changes", 200), ("/db/none", 404)]
    {
        let before = server.ask("GET", path, "").expect(status);
        let answer = server.ask("GET", &format!("{path}?callback=my.f"), "").expect(status);
        assert_eq!(answer.header("content-type"), Some("application/javascript"), "{path}");
        let script = answer.text();
        let json =
            script.strip_prefix("/* CouchDB */my.f(").and_then(|rest| rest.strip_suffix(");\n"));
        assert_eq!(json.unwrap().trim_end(), before.text().trim_end(), "{path}");
    }
    // More than one buffer, so that it streams.
    let docs: Vec<String> =
        (0..3000).map(|n| format!(r#"{{"_id":"doc-with-a-long-name-{n}"}}"#)).collect();
    server
        .ask("POST", "/db/_bulk_docs", &format!(r#"{{"docs":[{}]}}"#, docs.join(",")))
        .expect(201);
    let long = server.ask("GET", "/db/_all_docs?callback=f", "").expect(200);
    let json =
        long.text().strip_prefix("/* CouchDB */f(").and_then(|rest| rest.strip_suffix(");\n"));
    let json: serde_json::Value = serde_json::from_str(json.unwrap()).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 3002);
    let file = server.ask("GET", "/db/file/file?callback=f", "").expect(200);
    assert_eq!(file.header("content-type"), Some("application/json"), "it is what was stored");
    let bad = server.ask("GET", "/db/doc?callback=alert(1)", "").expect(400);
    assert_eq!(bad.json()["reason"], "invalid_callback");
}

#[test]
fn the_header_that_names_the_client_is_the_one_that_is_configured() {
    let server = Settee::start();
    server.add_user("anna", "pw", &[]);
    option(&server, "chttpd/peer_header", "X-Real-IP");
    let ask = |address: &str, password: &str| {
        let authorization = crate::support::basic("anna", password);
        let headers = [
            ("Authorization", &*authorization),
            ("X-Real-IP", address),
            // What the client itself has sent along.
            ("X-Forwarded-For", "9.9.9.9"),
        ];
        server.connect().ask("GET", "/", &headers, "").status
    };
    for _ in 0..5 {
        assert_eq!(ask("192.0.2.1", "wrong"), 401);
    }
    assert_eq!(ask("192.0.2.1", "pw"), 403, "who has guessed is locked out");
    assert_eq!(ask("192.0.2.2", "pw"), 200, "and nobody else");
    let log = server.log();
    assert!(log.contains("peer=192.0.2.1 "), "{log}");
    assert!(!log.contains("9.9.9.9"), "{log}");
}
