//! Accounts, from outside: users and their documents, sessions, and what a change of them does.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::tokens::{SECRET, all_handlers, jwt, proxy};
use support::{Settee, basic};

/// A server on whose users' database everybody may write, as for self-registration.
fn open_users(more: &str) -> Settee {
    let ini = format!(
        "[couchdb]\nusers_db_security_editable = true\n[chttpd_auth]\niterations = 100\n{more}"
    );
    let environment =
        vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)];
    let server = Settee::start_with(&ini, environment, &[]);
    server.ask("PUT", "/_users/_security", "{}").expect(200);
    server
}

fn ask_as(server: &Settee, user: &str, method: &str, path: &str, body: &str) -> support::Answer {
    let header = basic(user, "pw");
    server.connect().ask(method, path, &[("Authorization", &header)], body)
}

#[test]
fn users_read_and_change_their_own_document_only() {
    let server = open_users("");
    for name in ["anna", "otto"] {
        server.add_user(name, "pw", &[]);
    }
    let (own, others) = ("/_users/org.couchdb.user:anna", "/_users/org.couchdb.user:otto");
    let document = ask_as(&server, "anna", "GET", own, "").expect(200).json();
    assert_eq!(document["name"], "anna");
    assert_eq!(document.get("password"), None);
    for method in ["GET", "PUT", "DELETE", "COPY", "POST"] {
        let answer = ask_as(&server, "anna", method, others, "{}");
        assert_eq!((answer.status, &answer.json()["reason"]), (404, &json!("missing")), "{method}");
    }
    assert_eq!(ask_as(&server, "anna", "GET", &format!("{others}/file"), "").status, 404);
    for (path, status) in [
        ("/_users/_all_docs", 401),
        ("/_users/_all_docs/queries", 401),
        ("/_users/_changes", 401),
        ("/_users/_design_docs", 401),
        ("/_users/_find", 401),
        ("/_users/_design/x", 403),
        ("/_users/_design%2Fx", 403),
        ("/_users/_design/x/_view/y", 403),
    ] {
        assert_eq!(ask_as(&server, "anna", "GET", path, "").status, status, "{path}");
    }
    let wanted = r#"{"docs":[{"id":"org.couchdb.user:otto"},{"id":"org.couchdb.user:anna"}]}"#;
    let found = ask_as(&server, "anna", "POST", "/_users/_bulk_get", wanted).expect(200).json();
    assert_eq!(found["results"][0]["docs"][0]["error"]["reason"], "missing");
    assert_eq!(found["results"][1]["docs"][0]["ok"]["name"], "anna");

    let mut changed = document.clone();
    changed["colour"] = json!("red");
    ask_as(&server, "anna", "PUT", own, &changed.to_string()).expect(201);
    changed["roles"] = json!(["staff"]);
    changed["_rev"] = server.ask("GET", own, "").json()["_rev"].clone();
    let refused = ask_as(&server, "anna", "PUT", own, &changed.to_string()).expect(403);
    assert_eq!(refused.json()["reason"], "Only _admin may edit roles");
    let bulk = json!({"docs": [changed, {"_id": "org.couchdb.user:otto", "type": "user"}]});
    let results = ask_as(&server, "anna", "POST", "/_users/_bulk_docs", &bulk.to_string());
    let results = results.expect(201).json();
    assert_eq!(results[0]["reason"], "Only _admin may edit roles");
    assert_eq!(results[1]["reason"], "missing");
    let rev = server.ask("GET", own, "").json()["_rev"].as_str().unwrap().to_owned();
    ask_as(&server, "anna", "DELETE", &format!("{own}?rev={rev}"), "").expect(200);
    assert_eq!(ask_as(&server, "anna", "GET", "/", "").status, 401, "the account is gone");
}

#[test]
fn whoever_has_no_name_makes_an_account_without_roles() {
    let server = open_users("");
    let document = |roles: &[&str]| {
        json!({"name": "eve", "password": "pw", "type": "user", "roles": roles}).to_string()
    };
    let path = "/_users/org.couchdb.user:eve";
    assert_eq!(server.ask_as_nobody("PUT", path, &document(&["staff"])).status, 403);
    server.ask_as_nobody("PUT", path, &document(&[])).expect(201);
    assert_eq!(server.ask_as_nobody("PUT", path, &document(&[])).status, 409);
    assert_eq!(server.ask_as_nobody("GET", path, "").status, 404);
    assert_eq!(server.who(&[("Authorization", &basic("eve", "pw"))]), Ok("eve".to_owned()));
}

/// A revision that comes with a history of its own stands beside those that are there, and may win.
#[test]
fn nobody_takes_over_an_account_by_a_replicated_revision() {
    let server = open_users("");
    let written = server.add_user("otto", "pw", &["staff"]);
    let rev = written["rev"].as_str().unwrap();
    let revision = |rev: &str, password: &str| {
        json!({
            "_id": "org.couchdb.user:otto", "_rev": rev, "name": "otto", "type": "user", "roles": [],
            "password": password,
        })
    };
    let strange = format!("9-{}", "f".repeat(32));
    let bulk = json!({"new_edits": false, "docs": [revision(&strange, "taken")]}).to_string();
    let results = server.ask_as_nobody("POST", "/_users/_bulk_docs", &bulk).expect(201).json();
    assert_eq!(results[0]["error"], "forbidden", "{results}");
    let path = "/_users/org.couchdb.user:otto?new_edits=false";
    server.ask_as_nobody("PUT", path, &revision(&strange, "taken").to_string()).expect(403);
    let path = format!("/_users/org.couchdb.user:otto?rev={rev}");
    server.ask_as_nobody("PUT", &path, &revision(rev, "taken").to_string()).expect(403);
    assert_eq!(server.who(&[("Authorization", &basic("otto", "taken"))]), Err(401));
    assert_eq!(server.who(&[("Authorization", &basic("otto", "pw"))]), Ok("otto".to_owned()));
    assert_eq!(server.ask("GET", "/_users/org.couchdb.user:otto", "").json()["_rev"], rev);
}

#[test]
fn of_others_everybody_sees_the_public_fields() {
    let server = open_users("public_fields = name, colour\n");
    for (name, colour) in [("anna", json!("red")), ("otto", json!(null))] {
        let mut document =
            json!({"name": name, "password": "pw", "type": "user", "roles": ["r"], "x": 1});
        document["colour"] = colour;
        let path = format!("/_users/org.couchdb.user:{name}");
        server.ask("PUT", &path, &document.to_string()).expect(201);
    }
    let seen = ask_as(&server, "otto", "GET", "/_users/org.couchdb.user:anna", "").expect(200);
    let seen = seen.json();
    let members: Vec<_> = seen.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["_id", "_rev", "name", "colour"]);
    assert_eq!(ask_as(&server, "otto", "GET", "/_users/org.couchdb.user:nobody", "").status, 404);
}

#[test]
fn changes_of_an_account_take_effect_with_the_next_request() {
    let server = Settee::start();
    server.add_user("anna", "pw", &["a"]);
    let header = basic("anna", "pw");
    let roles = |server: &Settee| {
        let answer = server.connect().ask("GET", "/_session", &[("Authorization", &header)], "");
        (answer.status, answer.json()["userCtx"]["roles"].clone())
    };
    let path = "/_users/org.couchdb.user:anna";
    for role in ["b", "c", "d"] {
        let mut document = server.ask("GET", path, "").json();
        document["roles"] = json!([role]);
        server.ask("PUT", path, &document.to_string()).expect(201);
        assert_eq!(roles(&server), (200, json!([role])));
    }
    let rev = server.ask("GET", path, "").json()["_rev"].as_str().unwrap().to_owned();
    server.ask("DELETE", &format!("{path}?rev={rev}"), "").expect(200);
    assert_eq!(roles(&server).0, 401);
}

#[test]
fn weak_hashes_let_in_once_and_become_strong_ones() {
    let server = Settee::start();
    // SHA-1 of "secretpepper".
    let sha1 = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, b"secretpepper");
    let hex: String = sha1.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let imported = json!({
        "name": "anna", "type": "user", "roles": [], "password_sha": hex, "salt": "pepper",
    });
    let path = "/_users/org.couchdb.user:anna";
    server.ask("PUT", path, &imported.to_string()).expect(201);
    let cookie = server.log_in("anna", "secret");
    let started = Instant::now();
    let document = loop {
        let document = server.ask("GET", path, "").json();
        if document["password_scheme"] == "pbkdf2" {
            break document;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{document}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!((&document["salt"], &document["iterations"]), (&json!("pepper"), &json!(100)));
    assert_eq!(document.get("password_sha"), None);
    assert_eq!(server.who(&[("Cookie", &cookie)]), Ok("anna".to_owned()), "the salt has stayed");
    server.log_in("anna", "secret");
}

#[test]
fn iteration_counts_out_of_bounds_let_nobody_in() {
    let server = open_users("min_iterations = 50\n");
    let document = json!({
        "name": "anna", "type": "user", "roles": [], "password_scheme": "pbkdf2", "salt": "a",
        "pbkdf2_prf": "sha256", "iterations": 10, "derived_key": "00".repeat(32),
    });
    server.ask("PUT", "/_users/org.couchdb.user:anna", &document.to_string()).expect(201);
    let answer = ask_as(&server, "anna", "GET", "/", "").expect(403);
    assert_eq!(answer.json()["reason"], "Iteration count is too low for this server");
}

#[test]
fn guessing_locks_the_guesser_out() {
    let server = Settee::start();
    server.add_user("anna", "pw", &[]);
    for _ in 0..5 {
        assert_eq!(server.who(&[("Authorization", &basic("anna", "wrong"))]), Err(401));
    }
    assert_eq!(server.who(&[("Authorization", &basic("anna", "pw"))]), Err(403));
    assert_eq!(server.who(&[("Authorization", &support::admin_header())]), Ok("admin".to_owned()));
}

#[test]
fn an_administrator_may_have_a_user_document_for_more_roles() {
    let server = Settee::start();
    server.add_user("admin", "ignored", &["editor"]);
    let answer = server.ask("GET", "/_session", "").json();
    assert_eq!(answer["userCtx"]["roles"], json!(["_admin", "editor"]));
    assert_eq!(server.who(&[("Authorization", &basic("admin", "ignored"))]), Err(401));
}

#[test]
fn a_second_factor_is_asked_for_at_log_in_only() {
    let server = Settee::start();
    let document = json!({
        "name": "anna", "password": "pw", "type": "user", "roles": [],
        "totp": {"key": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"},
    });
    server.ask("PUT", "/_users/org.couchdb.user:anna", &document.to_string()).expect(201);
    assert_eq!(server.who(&[("Authorization", &basic("anna", "pw"))]), Err(401));
    let log_in = |token: &str| {
        let body = json!({"name": "anna", "password": "pw", "token": token}).to_string();
        server.ask_as_nobody("POST", "/_session", &body).status
    };
    assert_eq!(log_in("000000"), 401);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert_eq!(log_in(&totp(b"12345678901234567890", now / 30)), 200);
}

/// The one-time password of RFC 4226.
fn totp(key: &[u8], step: u64) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mac = ring::hmac::sign(&key, &step.to_be_bytes());
    let mac = mac.as_ref();
    let offset = usize::from(mac[19] & 15);
    let number = u32::from_be_bytes(mac[offset..offset + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

#[test]
fn a_session_survives_a_restart_as_long_as_the_secret_does() {
    let mut server = Settee::start();
    server.add_user("anna", "pw", &[]);
    let cookie = server.log_in("anna", "pw");
    server.restart();
    assert_eq!(server.who(&[("Cookie", &cookie)]), Ok("anna".to_owned()));
    server.kill();
    let ini = server.data_dir().join("local.ini");
    let text = std::fs::read_to_string(&ini).unwrap();
    let kept: Vec<_> = text.lines().filter(|line| !line.starts_with("secret")).collect();
    assert!(kept.len() < text.lines().count(), "a first start makes a secret: {text}");
    std::fs::write(&ini, kept.join("\n")).unwrap();
    server.launch();
    assert_eq!(server.who(&[("Cookie", &cookie)]), Ok("nobody".to_owned()));
}

#[test]
fn a_replaced_secret_is_good_for_the_cookies_it_has_signed() {
    let server = Settee::start();
    server.add_user("anna", "pw", &[]);
    let old = server.log_in("anna", "pw");
    server.ask("PUT", "/_node/_local/_config/chttpd_auth/secret", r#""another""#).expect(200);
    let new = server.log_in("anna", "pw");
    for cookie in [old, new] {
        assert_eq!(server.who(&[("Cookie", &cookie)]), Ok("anna".to_owned()));
    }
}

#[test]
fn cookies_say_what_is_configured() {
    let ini = "[chttpd_auth]\niterations = 100\ncookie_domain = example.org\nsame_site = strict\n\
               timeout = 100\nhash_algorithms = sha512, sha\n";
    let environment =
        vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)];
    let server = Settee::start_with(ini, environment, &[]);
    let body = r#"{"name":"admin","password":"secret"}"#;
    let headers = [("X-Forwarded-Proto", "https")];
    let answer =
        server.connect().ask("POST", "/_session?next=/_utils/", &headers, body).expect(302);
    let cookie = answer.header("set-cookie").unwrap();
    for part in ["Max-Age=100", "Secure", "Domain=example.org", "HttpOnly", "SameSite=strict"] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    assert_eq!(answer.header("location"), Some("https://settee/_utils/"));
    let value = cookie.split(';').next().unwrap();
    assert_eq!(server.who(&[("Cookie", value)]), Ok("admin".to_owned()));
    for elsewhere in ["//evil.example", "https://evil.example", "/%5Cevil.example", "/%0d%0aX:%20y"]
    {
        let path = format!("/_session?next={elsewhere}");
        let answer = server.connect().ask("POST", &path, &[], body);
        let location = answer.header("location").unwrap_or("http://settee/");
        assert!(location.starts_with("http://settee/"), "{elsewhere}: {location}");
        assert_eq!(answer.header("x"), None, "{elsewhere}");
    }
}

#[test]
fn every_way_in_is_named_by_the_session() {
    let server = Settee::start_with(
        &all_handlers(),
        vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)],
        &[],
    );
    server.add_user("anna", "pw", &["r"]);
    let cookie = server.log_in("anna", "pw");
    let (_, token) = jwt("anna", &["r"]);
    let proxy = proxy("anna", "r");
    let proxy: Vec<_> = proxy.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let basic = basic("anna", "pw");
    for (way, headers) in [
        ("cookie", vec![("Cookie", cookie.as_str())]),
        ("default", vec![("Authorization", basic.as_str())]),
        ("jwt", vec![("Authorization", token.as_str())]),
        ("proxy", proxy),
    ] {
        let answer = server.connect().ask("GET", "/_session", &headers, "").expect(200).json();
        assert_eq!(answer["userCtx"], json!({"name": "anna", "roles": ["r"]}), "{way}");
        assert_eq!(answer["info"]["authenticated"], way);
        let handlers = json!(["cookie", "proxy", "jwt", "default"]);
        assert_eq!(answer["info"]["authentication_handlers"], handlers);
    }
}

#[test]
fn the_first_handler_of_the_list_that_knows_somebody_decides() {
    let start = |order: [&str; 2]| {
        let handlers = order.map(|name| format!("{{chttpd_auth, {name}_authentication_handler}}"));
        let ini = format!(
            "[chttpd]\nauthentication_handlers = {}\n[chttpd_auth]\niterations = 100\nsecret = {SECRET}\n\
             x_auth_username = X-Name\nx_auth_roles = X-Roles\nx_auth_token = X-Proof\n",
            handlers.join(", ")
        );
        let environment =
            vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)];
        let server = Settee::start_with(&ini, environment, &[]);
        server.add_user("otto", "pw", &[]);
        server
    };
    let proof = proxy("anna", "r");
    let otto = basic("otto", "pw");
    let both = [
        ("X-Name", "anna"),
        ("X-Roles", "r"),
        ("X-Proof", proof[2].1.as_str()),
        ("Authorization", otto.as_str()),
    ];
    let server = start(["proxy", "default"]);
    assert_eq!(server.who(&both), Ok("anna".to_owned()), "by headers that have other names here");
    let usual: Vec<_> = proof.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(server.who(&usual), Ok("nobody".to_owned()), "the usual names say nothing here");
    assert_eq!(server.who(&[("Cookie", "AuthSession=x")]), Ok("nobody".to_owned()), "no cookies");
    assert_eq!(start(["default", "proxy"]).who(&both), Ok("otto".to_owned()));
}

#[test]
fn everybody_is_told_the_databases_they_may_read() {
    let ini = "[chttpd]\nadmin_only_all_dbs = false\n[chttpd_auth]\niterations = 100\n";
    let environment =
        vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)];
    let server = Settee::start_with(ini, environment, &[]);
    server.add_user("anna", "pw", &["staff"]);
    for (name, security) in [
        ("annas", r#"{"members":{"names":["anna"]}}"#),
        ("closed", r#"{"members":{"names":["otto"]}}"#),
        ("public", "{}"),
        ("staff", r#"{"members":{"roles":["staff"]}}"#),
    ] {
        server.ask("PUT", &format!("/{name}"), "").expect(201);
        server.ask("PUT", &format!("/{name}/_security"), security).expect(200);
    }
    let told = |path: &str| ask_as(&server, "anna", "GET", path, "").expect(200).json();
    assert_eq!(told("/_all_dbs"), json!(["annas", "public", "staff"]));
    assert_eq!(told("/_all_dbs?skip=1&limit=1"), json!(["public"]));
    assert_eq!(told("/_dbs_info")[2]["key"], "staff");
    assert_eq!(server.ask_as_nobody("GET", "/_all_dbs", "").json(), json!(["public"]));
    let keys = r#"{"keys":["closed","annas"]}"#;
    let infos = ask_as(&server, "anna", "POST", "/_dbs_info", keys).expect(200).json();
    assert_eq!(infos[0], json!({"key": "closed", "error": "not_found"}));
    assert_eq!(infos[1]["info"]["db_name"], "annas");
    assert_eq!(server.ask("GET", "/_all_dbs", "").json().as_array().unwrap().len(), 6);

    server.ask("PUT", "/closed/_security", "{}").expect(200);
    server.ask("DELETE", "/public", "").expect(200);
    server.ask("PUT", "/public", "").expect(201);
    assert_eq!(told("/_all_dbs"), json!(["annas", "closed", "staff"]), "changes count at once");
    let config = "/_node/_local/_config/chttpd/all_dbs_lists_readable_only";
    server.ask("PUT", config, r#""false""#).expect(200);
    assert_eq!(told("/_all_dbs").as_array().unwrap().len(), 6);
}

#[test]
fn secrets_are_in_no_log_and_no_answer() {
    let server = Settee::start_with(
        &format!("{}[log]\nlevel = debug\n", all_handlers()),
        vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)],
        &["-v"],
    );
    server.add_user("anna", "annas-own-pw", &[]);
    let cookie = server.log_in("anna", "annas-own-pw");
    let (_, token) = jwt("anna", &[]);
    let mut answers = String::new();
    for (header, value) in [
        ("Authorization", basic("anna", "annas-own-pw")),
        ("Authorization", basic("anna", "annas-wrong-pw")),
        ("Authorization", token.clone()),
        ("Authorization", format!("{token}x")),
        ("Cookie", cookie.clone()),
        ("Cookie", format!("{cookie}x")),
    ] {
        for path in ["/_session", "/_node/_local/_config", "/_node/_local/_config/admins", "/db"] {
            let answer = server.connect().ask("GET", path, &[(header, &value)], "");
            assert!(!path.contains("_config") || answer.status != 200, "{path} {value}");
            answers.push_str(answer.text());
        }
    }
    let body = r#"{"name":"anna","type":"user","roles":[],"password":{"hidden":"annas-odd-pw"}}"#;
    server.ask_as_nobody("PUT", "/_users/org.couchdb.user:anna", body).expect(401);
    server.ask("PUT", "/_node/_local/_config/admins/eve", r#""eves-pw""#).expect(200);
    let document = server.ask("GET", "/_users/org.couchdb.user:anna", "").json();
    let log = server.log();
    assert!(log.contains("/_session"), "the log is empty: {log}");
    let (_, cookie) = cookie.split_once('=').unwrap();
    let secrets = [
        "annas-own-pw",
        "annas-wrong-pw",
        "annas-odd-pw",
        "eves-pw",
        support::PASSWORD,
        SECRET,
        cookie,
        token.split('.').next_back().unwrap(),
        document["derived_key"].as_str().unwrap(),
        document["salt"].as_str().unwrap(),
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
        assert!(!answers.contains(secret), "{secret} is in an answer:\n{answers}");
    }
}
