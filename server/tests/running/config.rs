//! The configuration of the real binary, from outside: files of a CouchDB, changes over HTTP, secrets,
//! and what `settee config check` says.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{self, Settee, basic};

const FAST: &str = "[chttpd_auth]\niterations = 100\n";

fn fixture(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name))
        .unwrap()
}

fn settee(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_settee")).args(arguments).env_clear().output().unwrap()
}

fn option(path: &str) -> String {
    format!("/_node/_local/_config/{path}")
}

#[test]
fn a_couchdbs_file_starts_settee_and_is_kept_as_it_is() {
    let ini = fixture("couchdb-local.ini");
    let mut server = Settee::start_with(&ini, vec![], &["-v"]);
    let anna = basic("anna", "relax");
    let ask = |server: &Settee, method: &str, path: &str, body: &str| {
        server.connect().ask(method, path, &[("Authorization", &anna)], body)
    };
    ask(&server, "PUT", "/notes", "").expect(201);
    assert_eq!(ask(&server, "GET", "/", "").json()["uuid"], "5fa5b1c4d8e24b0c9d3a7e1f2b6c8d90");
    // What it says about virtual hosts and other origins holds.
    let headers =
        [("Host", "notes.example"), ("Origin", "https://notes.example"), ("Authorization", &anna)];
    let mut connection = server.connect();
    let head: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    connection.send(format!("GET /_all_docs HTTP/1.1\r\n{head}\r\n").as_bytes());
    let answer = connection.answer("GET").expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://notes.example"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));

    let log = server.log();
    assert!(log.contains("ignored, for it has no effect here: [couchdb] view_index_dir"), "{log}");
    assert!(!log.contains("unknown option"), "{log}");

    ask(&server, "PUT", &option("couchdb/max_document_size"), "\"1000\"").expect(200);
    let after = fs::read_to_string(server.data_dir().join("local.ini")).unwrap();
    let remarks = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with(';')).map(str::to_owned).collect()
    };
    assert_eq!(remarks(&after), remarks(&ini), "remarks are kept");
    server.restart();
    let size = ask(&server, "GET", &option("couchdb/max_document_size"), "").expect(200);
    assert_eq!(size.json(), "1000");
}

#[test]
fn local_d_stands_above_local_ini_and_takes_the_changes() {
    let mut server = Settee::start_with(
        FAST,
        vec![("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "secret")],
        &[],
    );
    let folder = server.data_dir().join("local.d");
    server.kill();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("10-size.ini"), "[couchdb]\nmax_document_size = 10\n").unwrap();
    fs::write(folder.join("20-size.ini"), "; mine\n[couchdb]\nmax_document_size = 20\n").unwrap();
    server.launch();
    let path = option("couchdb/max_document_size");
    assert_eq!(server.ask("PUT", &path, "\"30\"").expect(200).json(), "20");
    let text = fs::read_to_string(folder.join("20-size.ini")).unwrap();
    assert_eq!(text, "; mine\n[couchdb]\nmax_document_size = 30\n");
    fs::write(folder.join("20-size.ini"), "[couchdb]\nmax_document_size = 40\n").unwrap();
    server.ask("POST", &option("_reload"), "{}").expect(200);
    assert_eq!(server.ask("GET", &path, "").expect(200).json(), "40");
    fs::write(folder.join("20-size.ini"), "[couchdb]\nmax_document_size = many\n").unwrap();
    server.ask("POST", &option("_reload"), "{}").expect(400);
    assert_eq!(
        server.ask("GET", &path, "").expect(200).json(),
        "40",
        "what is wrong changes nothing"
    );
}

#[test]
fn secrets_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    fs::write(&file, "k-one-of-a-kind\n").unwrap();
    let file: &'static str = Box::leak(file.to_str().unwrap().to_owned().into_boxed_str());
    let environment = vec![
        ("COUCHDB_USER", "admin"),
        ("COUCHDB_PASSWORD", "secret"),
        ("COUCHDB_SECRET_FILE", file),
    ];
    let ini = format!("{FAST}[jwt_keys]\nhmac:_default = k-one-of-a-kind\nrsa:x = public\n");
    let server = Settee::start_with(&ini, environment, &["-vv"]);
    let mut shown = String::new();
    for path in ["", "chttpd_auth", "chttpd_auth/secret", "jwt_keys", "jwt_keys/hmac:_default"] {
        let answer = server.ask("GET", &option(path), "").expect(200);
        assert!(answer.text().contains("********"), "{path}");
        shown.push_str(answer.text());
    }
    let previous =
        server.ask("PUT", &option("chttpd_auth/secret"), "\"k-one-of-a-kind-2\"").expect(200);
    shown.push_str(previous.text());
    // A client that writes back what it read would lose the secret.
    shown.push_str(
        server.ask("PUT", &option("chttpd_auth/secret"), "\"********\"").expect(400).text(),
    );
    shown.push_str(
        server
            .ask("PUT", &option("chttpd_auth/secret"), "\"k-one-of-a-kind ; x\"")
            .expect(400)
            .text(),
    );
    shown.push_str(server.ask("DELETE", &option("jwt_keys/hmac:_default"), "").expect(200).text());
    shown.push_str(&server.log());
    assert!(!shown.contains("one-of-a-kind"), "{shown}");
    assert!(shown.contains("public"));
}

#[test]
fn line_breaks_and_what_is_not_listed_are_refused() {
    let server = Settee::start();
    for value in [r#""1\r\n[admins]\nroot = toor""#, r#""a\nb""#, r#""a\u0000b""#] {
        server.ask("PUT", &option("vendor/name"), value).expect(400);
    }
    server.ask("PUT", &option("vendor/na%0D%0Ame"), "\"x\"").expect(400);
    let ini = fs::read_to_string(server.data_dir().join("local.ini")).unwrap();
    assert!(!ini.contains("root"), "{ini}");
    for section in ["httpd_global_handlers", "proxy", "proxy:_app", "os_daemons"] {
        server.ask("PUT", &option(&format!("{section}/x")), "\"y\"").expect(403);
    }
    server.ask("PUT", &option("chttpd/config_whitelist"), r#""[{log, level}]""#).expect(200);
    let refused = server.ask("PUT", &option("vendor/name"), "\"x\"").expect(400);
    assert_eq!(refused.json()["error"], "modification_not_allowed");
    server.ask("PUT", &option("log/level"), "\"info\"").expect(200);
    server.ask("DELETE", &option("chttpd/config_whitelist"), "").expect(400);
}

#[test]
fn changes_hold_at_once() {
    let server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    let origin = |server: &Settee| {
        let answer = server.connect().ask("GET", "/", &[("Origin", "http://a")], "").expect(200);
        answer.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(origin(&server), None);
    server.ask("PUT", &option("chttpd/enable_cors"), "\"true\"").expect(200);
    server.ask("PUT", &option("cors/origins"), "\"http://a\"").expect(200);
    assert_eq!(origin(&server).as_deref(), Some("http://a"));
    server.ask("PUT", &option("vhosts/db.example"), "\"/db\"").expect(200);
    let mut connection = server.connect();
    let admin = support::admin_header();
    connection.send(
        format!("GET / HTTP/1.1\r\nHost: db.example\r\nAuthorization: {admin}\r\n\r\n").as_bytes(),
    );
    assert_eq!(connection.answer("GET").expect(200).json()["db_name"], "db");
    server.ask("PUT", &option("chttpd/enable_xframe_options"), "\"true\"").expect(200);
    assert_eq!(server.ask("GET", "/", "").header("x-frame-options"), Some("DENY"));
    server.ask("PUT", &option("chttpd/valid_hosts"), "\"settee\"").expect(200);
    server.ask("PUT", &option("chttpd/validate_host"), "\"true\"").expect(200);
    server.ask("GET", "/", "").expect(200);
    connection.send(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(connection.answer("GET").expect(400).json()["reason"], "Invalid host header");
}

#[test]
fn a_check_names_what_is_wrong_unknown_and_without_effect() {
    let dir = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let path = dir.path().join("local.ini");
        fs::write(&path, text).unwrap();
        let output = settee(&["config", "check", "--config", dir.path().to_str().unwrap()]);
        let text =
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.success(), text)
    };
    let (good, text) = check(&fixture("couchdb-local.ini"));
    assert!(good && text.contains("ignored  [couchdb] view_index_dir"), "{text}");
    assert!(text.ends_with("the configuration is good\n"), "{text}");
    let (good, text) = check("[chttpd]\nprot = 1\n");
    assert!(good && text.contains("unknown  [chttpd] prot (did you mean port?)"), "{text}");
    let (good, text) = check("[chttpd]\nport = many\n");
    assert!(!good && text.contains("[chttpd] port = many"), "{text}");
    let (good, text) = check("[vendor]\nname = a\rb\n");
    assert!(!good && text.contains("[vendor] name"), "{text}");
}

#[test]
fn the_first_starts_administrator_can_be_replaced_and_never_be_the_last_to_go() {
    let mut server = Settee::start_with(FAST, vec![], &[]);
    let change = server.said().iter().find(|line| line.contains("change")).unwrap();
    assert!(
        change.contains("/_node/_local/_config/admins/admin -d '\"another password\"'"),
        "{change}"
    );
    let password = server.said().iter().find(|line| line.contains("password  ")).unwrap();
    let made = basic("admin", password.split_whitespace().last().unwrap());
    let ask = |server: &Settee, who: &str, method: &str, path: &str, body: &str| {
        server.connect().ask(method, path, &[("Authorization", who)], body)
    };
    ask(&server, &made, "PUT", &option("admins/admin"), "\"mine\"").expect(200);
    ask(&server, &made, "GET", "/_all_dbs", "").expect(401);
    let mine = basic("admin", "mine");
    ask(&server, &mine, "DELETE", &option("admins/admin"), "").expect(400);
    ask(&server, &mine, "PUT", &option("admins/anna"), "\"relax\"").expect(200);
    let anna = basic("anna", "relax");
    ask(&server, &anna, "DELETE", &option("admins/admin"), "").expect(200);
    ask(&server, &mine, "GET", "/_all_dbs", "").expect(401);
    server.restart();
    assert_eq!(server.said().len(), 1, "nobody is made: {:?}", server.said());
    ask(&server, &anna, "GET", "/_all_dbs", "").expect(200);
}

#[cfg(unix)]
#[test]
fn a_restart_forgets_what_was_not_written_down_and_keeps_the_rest() {
    let server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    server.ask("PUT", "/db/a", "{}").expect(201);
    let authorization = support::admin_header();
    let passing = [("Authorization", &*authorization), ("X-Couch-Persist", "false")];
    let size = option("couchdb/max_document_size");
    server.connect().ask("PUT", &size, &passing, "\"1234\"").expect(200);
    server.ask("PUT", &option("log/level"), "\"warning\"").expect(200);
    server.ask("GET", "/_node/_local/_restart", "").expect(405);
    let mut connection = server.connect();
    connection.ask("POST", "/_node/_local/_restart", &passing[..1], "").expect(200);
    server.is_back(&mut connection);
    let size = server.ask("GET", &size, "").expect(200).json();
    assert_ne!(size, "1234");
    server.ask("GET", "/db/a", "").expect(200);
    assert_eq!(server.ask("GET", &option("log/level"), "").expect(200).json(), "warning");
}

#[test]
fn set_up_as_installers_do() {
    let mut server = Settee::start_with(
        FAST,
        vec![("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "secret")],
        &[],
    );
    let set_up = |server: &Settee, body: &str| server.ask("POST", "/_cluster_setup", body);
    let refused = |server: &Settee, body: &str| -> String {
        let answer = set_up(server, body).expect(400).json();
        assert_eq!(answer["error"], "bad_request");
        answer["reason"].as_str().unwrap().to_owned()
    };
    server.ask_as_nobody("GET", "/_cluster_setup", "").expect(401);
    server.ask("DELETE", "/_cluster_setup", "").expect(405);
    let state = server.ask("GET", "/_cluster_setup", "").expect(200).json();
    assert_eq!(state["state"], "single_node_enabled");

    assert_eq!(refused(&server, "[]"), "Missing JSON body'");
    assert_eq!(refused(&server, "{}"), "Invalid Action'");
    assert_eq!(refused(&server, r#"{"action":"add_node","host":"a"}"#), "Cluster is not enabled.");
    assert_eq!(refused(&server, r#"{"action":"finish_cluster"}"#), "Cluster is already finished");
    refused(&server, r#"{"action":"enable_cluster","node_count":3}"#);
    refused(&server, r#"{"action":"enable_single_node","ensure_dbs_exist":7}"#);
    refused(&server, r#"{"action":"enable_single_node","username":"anna"}"#);
    refused(&server, r#"{"action":"enable_single_node","port":"many"}"#);
    let finish = r#"{"action":"finish_cluster","ensure_dbs_exist":["_users","_global_changes"]}"#;
    set_up(&server, finish).expect(201);
    server.ask("GET", "/_global_changes", "").expect(200);
    assert_eq!(refused(&server, finish), "Cluster is already finished");

    let enable = r#"{"action":"enable_single_node","username":"anna","password":"relax",
        "bind_address":"127.0.0.1","port":5999}"#;
    set_up(&server, enable).expect(201);
    let anna = basic("anna", "relax");
    let ask = |server: &Settee, path: &str| {
        server.connect().ask("GET", path, &[("Authorization", &anna)], "").expect(200).json()
    };
    assert_eq!(ask(&server, &option("chttpd/port")), "5999");
    let ini = fs::read_to_string(server.data_dir().join("local.ini")).unwrap();
    assert!(ini.contains("anna = -pbkdf2") && !ini.contains("relax"), "{ini}");
    // The command line has another port to offer, and it has the say.
    server.restart();
    assert_eq!(ask(&server, "/_session")["userCtx"]["name"], "anna");
}
