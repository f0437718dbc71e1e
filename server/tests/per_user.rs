//! A database for every user, from outside.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use serde_json::json;
use support::Settee;

fn start(more: &str) -> Settee {
    let ini = format!("[chttpd_auth]\niterations = 1\n[couch_peruser]\nenable = true\n{more}");
    let environment =
        vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)];
    Settee::start_with(&ini, environment, &[])
}

fn exists(server: &Settee, database: &str) -> bool {
    server.ask("HEAD", &format!("/{database}"), "").status == 200
}

#[test]
fn the_database_is_there_when_the_account_is() {
    let server = start("");
    server.add_user("bob", "pw", &[]);
    let header = support::basic("bob", "pw");
    let headers = [("Authorization", header.as_str())];
    server.connect().ask("PUT", "/userdb-626f62/note", &headers, r#"{"v":1}"#).expect(201);
    server.connect().ask("PUT", "/userdb-626f62/_design/d", &headers, "{}").expect(201);
    server.add_user("eve", "pw", &[]);
    let header = support::basic("eve", "pw");
    let answer = server.connect().ask("GET", "/userdb-626f62", &[("Authorization", &header)], "");
    assert_eq!(answer.status, 403);
    assert_eq!(server.ask_as_nobody("GET", "/userdb-626f62", "").status, 401);

    let document = |n: u32| json!({"_id": format!("org.couchdb.user:u{n}"), "name": format!("u{n}"), "type": "user", "roles": []});
    let bulk = json!({"docs": (0..20).map(document).collect::<Vec<_>>()});
    server.ask("POST", "/_users/_bulk_docs", &bulk.to_string()).expect(201);
    assert!(exists(&server, "userdb-7530") && exists(&server, "userdb-753139"));
}

#[test]
fn nothing_is_lost_over_a_crash_or_while_it_is_switched_off() {
    let mut server = start("");
    server.add_user("bob", "pw", &[]);
    let option = "/_node/_local/_config/couch_peruser/enable";
    server.ask("PUT", option, r#""false""#).expect(200);
    server.add_user("eve", "pw", &[]);
    assert!(!exists(&server, "userdb-657665"));
    // As if the crash had come between the account and its database.
    server.ask("DELETE", "/userdb-626f62", "").expect(200);
    server.kill();
    let ini = server.data_dir().join("local.ini");
    let text = std::fs::read_to_string(&ini).unwrap();
    std::fs::write(&ini, text.replace("enable = false", "enable = true")).unwrap();
    server.launch();
    // Its answer waits for all that came before.
    server.add_user("last", "pw", &[]);
    for database in ["userdb-626f62", "userdb-657665", "userdb-6c617374"] {
        assert!(exists(&server, database), "{database}");
    }
}

#[test]
fn a_deleted_user_loses_access_or_the_database() {
    for (more, stays) in [("", true), ("delete_dbs = true\n", false)] {
        let server = start(more);
        let rev = server.add_user("bob", "pw", &[])["rev"].as_str().unwrap().to_owned();
        server.ask("DELETE", &format!("/_users/org.couchdb.user:bob?rev={rev}"), "").expect(200);
        assert_eq!(exists(&server, "userdb-626f62"), stays);
        if stays {
            let security = server.ask("GET", "/userdb-626f62/_security", "").json();
            assert_eq!(security["members"], json!({"roles": ["_admin"], "names": []}));
        }
    }
}

/// Smaller in CI; `SETTEE_USERS=10000` makes it as large as the promise.
#[test]
fn many_users_at_once() {
    let count: usize = std::env::var("SETTEE_USERS").map_or(150, |users| users.parse().unwrap());
    let server = start("");
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = server.connect();
                let admin = support::admin_header();
                let headers = [("Authorization", admin.as_str())];
                loop {
                    let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    let body = json!({"name": format!("u{n}"), "password": "pw", "type": "user", "roles": []});
                    let path = format!("/_users/org.couchdb.user:u{n}");
                    connection.ask("PUT", &path, &headers, &body.to_string()).expect(201);
                    let name: String = format!("u{n}").bytes().map(|byte| format!("{byte:02x}")).collect();
                    connection.ask("GET", &format!("/userdb-{name}"), &headers, "").expect(200);
                }
            });
        }
    });
    let names = server.ask("GET", "/_all_dbs?startkey=%22userdb-%22", "").json();
    assert_eq!(names.as_array().unwrap().len(), count);
}
