//! The real binary, from outside: starting, serving, stopping, and what a connection may carry.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Settee, admin_header, basic};

#[test]
fn a_first_start_makes_an_administrator_and_says_so_once() {
    let mut server = Settee::start_with("[chttpd_auth]\niterations = 100\n", vec![], &[]);
    let said = server.said().join("\n");
    let value = |name: &str| {
        let line = said.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split_whitespace().last().unwrap().to_owned()
    };
    let header = basic(&value("name"), &value("password"));
    let ask = |server: &Settee| {
        server.connect().ask("GET", "/_all_dbs", &[("Authorization", &header)], "").status
    };
    assert_eq!(ask(&server), 200);
    assert_eq!(server.ask_as_nobody("GET", "/_all_dbs", "").status, 401);
    let ini = std::fs::read_to_string(server.data_dir().join("local.ini")).unwrap();
    assert!(!ini.contains(&value("password")), "it is stored hashed only");

    server.restart();
    assert_eq!(server.said().len(), 1, "the second start makes nobody: {:?}", server.said());
    assert_eq!(ask(&server), 200);
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let mut server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    let before: Vec<_> = (0..50)
        .map(|n| server.ask("PUT", &format!("/db/{n}"), r#"{"v":1}"#).expect(201).json())
        .collect();
    server.restart();
    for written in before {
        let path = format!("/db/{}", written["id"].as_str().unwrap());
        assert_eq!(server.ask("GET", &path, "").expect(200).json()["_rev"], written["rev"]);
    }
}

#[test]
#[cfg(unix)]
fn stopping_lets_requests_finish_and_ends_feeds() {
    let mut server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    let mut feed = server.connect();
    let admin = format!("Authorization: {}\r\n", admin_header());
    feed.send(
        format!(
            "GET /db/_changes?feed=continuous&heartbeat=60000 HTTP/1.1\r\nHost: s\r\n{admin}\r\n"
        )
        .as_bytes(),
    );
    assert_eq!(feed.head().unwrap().status, 200);
    let mut upload = server.connect();
    let head = "Content-Type: application/json\r\nContent-Length: 8\r\n";
    upload.send(format!("PUT /db/slow HTTP/1.1\r\nHost: s\r\n{admin}{head}\r\n{{\"v\"").as_bytes());
    // The server must have begun to serve it before it is told to stop.
    thread::sleep(Duration::from_millis(200));

    let started = Instant::now();
    server.ask_to_stop();
    while feed.chunk().is_some() {}
    upload.send(b": 1}");
    assert_eq!(upload.answer("PUT").status, 201);
    assert!(server.wait().success());
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());

    server.launch();
    assert_eq!(server.ask("GET", "/db/slow", "").expect(200).json()["v"], 1);
}

#[test]
fn a_second_server_on_the_same_folder_is_refused() {
    let server = Settee::start();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_settee"))
        .args(["--port", "0", "--data-dir"])
        .arg(server.data_dir())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(error.contains("is in use by another settee"), "{error}");
}

#[test]
fn a_configuration_that_means_nothing_is_refused() {
    let server = Settee::start();
    let path = server.folder().join("bad.ini");
    std::fs::write(&path, "[chttpd]\nport = many\n").unwrap();
    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_settee"))
        .arg("--config")
        .arg(&path)
        .env_remove("PORT")
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("[chttpd] port = many"), "{error}");
}

#[test]
fn flags_environment_and_files_override_each_other_in_this_order() {
    let ini = "[chttpd_auth]\niterations = 100\n[couchdb]\nmax_document_size = 77\n";
    let environment = vec![
        ("COUCHDB_USER", "admin"),
        ("COUCHDB_PASSWORD", "secret"),
        ("COUCHDB_SECRET", "from the environment"),
        ("SETTEE_BIND", "no such address"),
    ];
    let server = Settee::start_with(ini, environment, &["--bind", "127.0.0.1"]);
    let option = |path: &str| {
        server.ask("GET", &format!("/_node/_local/_config/{path}"), "").expect(200).json()
    };
    assert_eq!(option("couchdb/max_document_size"), "77");
    assert_eq!(option("chttpd_auth/secret"), "********", "it is not shown");
    let ini = std::fs::read_to_string(server.data_dir().join("local.ini")).unwrap();
    assert!(!ini.contains("secret = "), "one that is given is not made: {ini}");
    assert_eq!(option("chttpd/bind_address"), "127.0.0.1");
}

#[test]
fn options_changed_over_http_hold_at_once_and_after_a_restart() {
    let mut server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    let path = "/_node/_local/_config/couchdb/max_document_size";
    assert_eq!(server.ask("PUT", path, "\"20\"").expect(200).json(), "8000000");
    let large = r#"{"text":"more than twenty bytes"}"#;
    server.ask("PUT", "/db/large", large).expect(413);
    server.restart();
    server.ask("PUT", "/db/large", large).expect(413);
    server.ask("PUT", path, "\"many\"").expect(400);
    server.ask("DELETE", path, "").expect(200);
    server.ask("PUT", "/db/large", large).expect(201);
}

#[test]
fn sessions() {
    let mut server = Settee::start();
    let login = server
        .ask_as_nobody("POST", "/_session", r#"{"name":"admin","password":"secret"}"#)
        .expect(200);
    let cookie = login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let who = |server: &Settee| {
        let answer = server.connect().ask("GET", "/_session", &[("Cookie", &cookie)], "");
        answer.expect(200).json()["userCtx"]["name"].clone()
    };
    assert_eq!(who(&server), "admin");
    server.restart();
    assert_eq!(who(&server), "admin", "the secret and the salt are still the same");
    server.ask("PUT", "/_node/_local/_config/admins/admin", "\"other\"").expect(200);
    assert!(who(&server).is_null(), "a new password makes old cookies worthless");
    server.ask("GET", "/_session", "").expect(401);
}

#[test]
fn a_connection_carries_requests_one_after_another() {
    let server = Settee::start();
    let mut connection = server.connect();
    for _ in 0..3 {
        connection.ask("GET", "/", &[], "").expect(200);
        connection.ask("GET", "/_all_dbs", &[], "").expect(401);
        connection.ask("POST", "/_session", &[], "{").expect(400);
    }
    // Unread bodies are in nobody's way.
    let body = format!("\"{}\"", "x".repeat(500_000));
    connection.ask("PUT", "/nowhere/doc", &[], &body).expect(404);
    connection.ask("GET", "/_up", &[], "").expect(200);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Settee::start();
    let mut connection = server.connect();
    let requests: String = (0..20)
        .map(|n| {
            let path = if n % 2 == 0 { "/_up" } else { "/_all_dbs" };
            format!("GET {path} HTTP/1.1\r\nHost: s\r\nX-Couch-Request-ID: n{n}\r\n\r\n")
        })
        .collect();
    connection.send(requests.as_bytes());
    for n in 0..20 {
        let answer = connection.answer("GET");
        assert_eq!(answer.status, if n % 2 == 0 { 200 } else { 401 });
        assert_eq!(answer.header("x-couch-request-id"), Some(&*format!("n{n}")));
    }
}

#[test]
fn bodies_wait_for_leave_when_the_client_asks_for_it() {
    let server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    let head = |path: &str| {
        let admin = admin_header();
        format!(
            "PUT {path} HTTP/1.1\r\nHost: s\r\nAuthorization: {admin}\r\nExpect: 100-continue\r\n\
             Content-Length: 7\r\n\r\n"
        )
    };
    let mut connection = server.connect();
    connection.send(head("/db/doc").as_bytes());
    assert_eq!(connection.answer("PUT").status, 100);
    connection.send(b"{\"a\":1}");
    assert_eq!(connection.answer("PUT").status, 201);
    // Refused without having been asked for.
    let mut connection = server.connect();
    connection.send(head("/nowhere/doc").as_bytes());
    assert_eq!(connection.answer("PUT").status, 404);
}

#[test]
fn a_body_past_the_limit_is_refused_and_the_connection_closed() {
    let server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    server.ask("PUT", "/_node/_local/_config/chttpd/max_http_request_size", "\"100\"").expect(200);
    let admin = admin_header();
    let mut connection = server.connect();
    connection.send(
        format!("PUT /db/doc HTTP/1.1\r\nHost: s\r\nAuthorization: {admin}\r\nContent-Length: 101\r\n\r\n")
            .as_bytes(),
    );
    let answer = connection.answer("PUT");
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    assert_eq!(answer.json()["error"], "too_large");
    assert!(connection.is_closed());

    // Without a length it is found out on the way.
    let mut connection = server.connect();
    connection.send(
        format!(
            "PUT /db/doc HTTP/1.1\r\nHost: s\r\nAuthorization: {admin}\r\nTransfer-Encoding: chunked\r\n\r\n\
             80\r\n{}\r\n",
            "x".repeat(128)
        )
        .as_bytes(),
    );
    assert_eq!(connection.answer("PUT").status, 413);
    server.ask("GET", "/db/doc", "").expect(404);
}

#[test]
fn bodies_may_come_as_gzip() {
    use std::io::Write as _;
    let server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(br#"{"packed":true}"#).unwrap();
    let good = encoder.finish().unwrap();
    let send = |path: &str, coding: &str, body: &[u8]| {
        let (admin, length) = (admin_header(), body.len());
        let mut connection = server.connect();
        connection.send(
            format!(
                "PUT {path} HTTP/1.1\r\nHost: s\r\nAuthorization: {admin}\r\n\
                 Content-Encoding: {coding}\r\nContent-Length: {length}\r\n\r\n"
            )
            .as_bytes(),
        );
        connection.send(body);
        connection.answer("PUT")
    };
    send("/db/good", "gzip", &good).expect(201);
    assert_eq!(server.ask("GET", "/db/good", "").expect(200).json()["packed"], true);
    let broken = send("/db/bad", "gzip", &good[..good.len() - 5]).expect(400);
    assert_eq!(broken.json()["reason"], "Request body is not properly gzipped.");
    send("/db/bad", "brotli", b"{}").expect(415);
    server.ask("GET", "/db/bad", "").expect(404);
}

#[test]
fn nonsense_gets_an_answer_or_a_closed_connection_and_harms_nobody() {
    let server = Settee::start();
    for nonsense in [
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: s\r\n\r\n",
        "GET /?%q HTTP/1.1\r\nHost: s\r\n\r\n",
        "POST /_session HTTP/1.1\r\nHost: s\r\nContent-Length: -1\r\n\r\n",
        "POST /_session HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "\u{0}\u{1}\u{2}\u{16}\u{3}\u{1}",
    ] {
        let mut connection = server.connect();
        connection.send(nonsense.as_bytes());
        connection.finish();
        if let Some(answer) = connection.head() {
            assert!((400..500).contains(&answer.status), "{nonsense:?}: {}", answer.status);
        }
    }
    let long = format!("/{}", "a".repeat(9000));
    let refused = server.ask("GET", &long, "").expect(414);
    assert_eq!(refused.json()["error"], "too_long");
    server.ask("GET", "/_up", "").expect(200);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn answers_carry_what_every_answer_carries() {
    let server = Settee::start();
    for (path, status) in [("/", 200), ("/nowhere", 404), ("/_all_dbs", 401)] {
        let answer = server.ask_as_nobody("GET", path, "").expect(status);
        assert!(answer.header("server").unwrap().starts_with("CouchDB/3."));
        assert_eq!(answer.header("x-couch-request-id").unwrap().len(), 10);
        assert_eq!(answer.header("x-couchdb-body-time"), Some("0"));
        assert_eq!(answer.header("cache-control"), Some("must-revalidate"));
        assert!(answer.header("date").unwrap().ends_with(" GMT"));
        assert!(answer.text().ends_with("}\n"));
    }
    let minimal = server.connect().ask("GET", "/", &[("Prefer", "return=minimal")], "");
    assert_eq!(minimal.header("x-couch-request-id"), None);
    assert!(minimal.header("server").is_some());
    let head = server.ask("HEAD", "/", "");
    assert_eq!(head.header("content-length").map(str::len), Some(3));
    let overridden = server.connect().ask("POST", "/", &[("X-HTTP-Method-Override", "GET")], "");
    assert_eq!(overridden.status, 200);
}

#[test]
fn what_is_not_built_yet_says_so() {
    let server = Settee::start();
    let answer = server.ask("GET", "/_reshard", "").expect(501);
    assert_eq!(answer.json()["error"], "not_implemented");
}

#[test]
fn design_documents_are_not_for_everybody() {
    let server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    server.ask_as_nobody("PUT", "/db/doc", "{}").expect(401);
    server.ask("PUT", "/db/_security", "{}").expect(200);
    server.ask_as_nobody("PUT", "/db/doc", "{}").expect(201);
    for (method, path, body) in [
        ("PUT", "/db/_design/a", "{}"),
        ("PUT", "/db/_design%2Fa", "{}"),
        ("PUT", "/db/_design/a/file", "x"),
        ("POST", "/db", r#"{"_id":"_design/a"}"#),
        ("POST", "/db?batch=ok", r#"{"_id":"_design/a"}"#),
    ] {
        server.ask_as_nobody(method, path, body).expect(401);
    }
    let copy = [("Destination", "_design/a")];
    server.connect().ask("COPY", "/db/doc", &copy, "").expect(401);
    let bulk = r#"{"docs":[{"_id":"_design/a"},{"_id":"b"}]}"#;
    let results = server.ask_as_nobody("POST", "/db/_bulk_docs", bulk).expect(201).json();
    assert_eq!(results[0]["error"], "unauthorized");
    assert_eq!(results[1]["ok"], true);
    assert_eq!(server.ask("GET", "/db", "").json()["doc_count"], 2);
}

#[test]
fn the_command_line_explains_itself() {
    let run = |argument: &str| {
        let output =
            std::process::Command::new(env!("CARGO_BIN_EXE_settee")).arg(argument).output();
        let output = output.unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let help = run("--help");
    for word in ["--data-dir", "--bind", "--port", "--config", "COUCHDB_USER", "[default: 5984]"] {
        assert!(help.contains(word), "{word} is missing from\n{help}");
    }
    assert!(run("--version").starts_with("settee "));
}

/// Index files grow by updates and are rewritten as soon as that pays; those of a definition that was replaced
/// go when the new one is built.
#[test]
fn indexes_are_compacted_and_old_ones_removed_by_themselves() {
    let ini = "[chttpd_auth]\niterations = 100\n[smoosh]\ndb_channels = ,\n\
               [smoosh.ratio_views]\nmin_size = 100000\nmin_priority = 1.5\n";
    let environment =
        vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)];
    let server = Settee::start_with(ini, environment, &[]);
    server.ask("PUT", "/db", "").expect(201);
    let design = |map: &str, rev: Option<&Value>| {
        let mut design = json!({"views": {"v": {"map": map}}});
        if let Some(rev) = rev {
            design["_rev"] = rev.clone();
        }
        server.ask("PUT", "/db/_design/d", &design.to_string()).expect(201).json()["rev"].clone()
    };
    let rev = design("function (doc) { emit(doc._id, doc.text); }", None);
    let (mut largest, mut is_compacted) = (0, false);
    for n in 0..2000u64 {
        let docs: Vec<_> = (0..100)
            .map(|id| {
                let ids: Vec<_> = (n.max(1) - 1..=n).rev().map(|n| n.to_string()).collect();
                let text = format!("{n} {}", "x".repeat(100));
                json!({"_id": id.to_string(), "text": text, "_revisions": {"start": n + 1, "ids": ids}})
            })
            .collect();
        let body = json!({"new_edits": false, "docs": docs}).to_string();
        server.ask("POST", "/db/_bulk_docs", &body).expect(201);
        server.ask("GET", "/db/_design/d/_view/v?limit=1", "").expect(200);
        let info = server.ask("GET", "/db/_design/d/_info", "").expect(200).json();
        let file = info["view_index"]["sizes"]["file"].as_u64().unwrap();
        is_compacted = file < largest;
        if is_compacted {
            break;
        }
        largest = file;
    }
    assert!(is_compacted, "{largest}");
    let status = server.ask("GET", "/_node/_local/_smoosh/status", "").expect(200).json();
    let channels = status["channels"].as_object().unwrap();
    let names: Vec<_> = channels.keys().collect();
    assert_eq!(names, ["ratio_views", "slack_views", "index_cleanup"]);
    for status in channels.values() {
        assert!(status["active"].is_u64() && status["waiting"]["size"].is_u64(), "{status}");
    }
    server.ask("PUT", "/_node/_local/_smoosh/status", "").expect(405);

    design("function (doc) { emit(doc.text, 1); }", Some(&rev));
    server.ask("GET", "/db/_design/d/_view/v?limit=1", "").expect(200);
    let files = || std::fs::read_dir(server.data_dir().join("db.views")).unwrap().count();
    let started = Instant::now();
    while files() > 1 {
        assert!(started.elapsed().as_secs() < 20, "{} files", files());
        thread::sleep(Duration::from_millis(20));
    }
}
