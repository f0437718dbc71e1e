//! `_replicate`: who may ask for what, and what they are told.

use serde_json::{Value, json};

use super::support::{Answer, Settee, basic};
use super::{count, create, eventually, fill, start, url};

fn replicate(server: &Settee, user: &str, body: &Value) -> Answer {
    let header = match user {
        "admin" => super::support::admin_header(),
        name => basic(name, "pw"),
    };
    server.connect().ask("POST", "/_replicate", &[("Authorization", &header)], &body.to_string())
}

#[test]
fn databases_without_a_url_are_used_with_ones_own_rights() {
    let server = start();
    create(&server, &["a", "b", "secret"]);
    fill(&server, "a", "d", 3);
    server.ask("PUT", "/a/_design/d", r#"{"views":{}}"#).expect(201);
    for name in ["reader", "writer", "stranger"] {
        server.add_user(name, "pw", &[]);
    }
    let members =
        |names: &[&str]| json!({"admins": {"roles": ["_admin"]}, "members": {"names": names}});
    server.ask("PUT", "/a/_security", &members(&["reader", "writer"]).to_string()).expect(200);
    server.ask("PUT", "/b/_security", &members(&["writer"]).to_string()).expect(200);
    let both = json!({"source": "a", "target": "b"});
    for (user, status) in [("stranger", 403), ("reader", 403)] {
        let answer = replicate(&server, user, &both);
        assert!(answer.status >= 400, "{user}: {} {}, not {status}", answer.status, answer.text());
    }
    assert_eq!(count(&server, "b"), 0);
    let done = replicate(&server, "writer", &both).expect(200).json();
    // The design document is an administrator's to write.
    assert_eq!((done["history"][0]["docs_written"].as_u64(), count(&server, "b")), (Some(3), 3));
    assert_eq!(done["history"][0]["doc_write_failures"], 1);
    assert!(
        replicate(
            &server,
            "writer",
            &json!({"source": "a", "target": "new", "create_target": true})
        )
        .status
            >= 400
    );
    server.ask("GET", "/new", "").expect(404);
    replicate(&server, "admin", &json!({"source": "a", "target": "new", "create_target": true}))
        .expect(200);
    assert_eq!(count(&server, "new"), 4);
    for source in ["_users", "_replicator", "secret"] {
        let answer = replicate(&server, "writer", &json!({"source": source, "target": "b"}));
        assert!(answer.status >= 400, "{source}: {}", answer.text());
    }
    assert_eq!(server.ask_as_nobody("POST", "/_replicate", &both.to_string()).status, 401);
}

#[test]
fn continuous_ones_are_cancelled_by_their_owners() {
    let server = start();
    create(&server, &["a", "b"]);
    server.add_user("anna", "pw", &[]);
    server.add_user("otto", "pw", &[]);
    for name in ["a", "b"] {
        server.ask("PUT", &format!("/{name}/_security"), "{}").expect(200);
    }
    let body = json!({"source": "a", "target": "b", "continuous": true});
    let started = replicate(&server, "anna", &body).expect(202).json();
    let id = started["_local_id"].as_str().unwrap().to_owned();
    assert!(id.ends_with("+continuous"));
    assert_eq!(replicate(&server, "anna", &body).expect(202).json(), started);
    fill(&server, "a", "d", 10);
    eventually("they come", || (count(&server, "b") == 10).then_some(()));
    let jobs = server.ask("GET", "/_scheduler/jobs", "").json();
    assert_eq!(
        (jobs["jobs"][0]["user"].as_str(), jobs["jobs"][0]["doc_id"].as_str()),
        (Some("anna"), None)
    );
    replicate(&server, "otto", &json!({"id": id, "cancel": true})).expect(401);
    let cancelled = replicate(&server, "anna", &json!({"replication_id": id, "cancel": true}));
    assert_eq!(cancelled.expect(200).json(), json!({"ok": true, "_local_id": id}));
    replicate(&server, "anna", &json!({"id": id, "cancel": true})).expect(404);
    replicate(&server, "anna", &body).expect(202);
    let mut cancel = body.clone();
    cancel["cancel"] = json!(true);
    replicate(&server, "anna", &cancel).expect(200);
    assert_eq!(server.ask("GET", "/_scheduler/jobs", "").json()["total_rows"], 0);
}

#[test]
fn errors_are_couchdbs() {
    let server = start();
    create(&server, &["a", "b"]);
    let a_and_b = || json!({"source": url(&server, "a"), "target": url(&server, "b")});
    let with = |name: &str, value: Value| {
        let mut body = a_and_b();
        body[name] = value;
        body
    };
    let refused = |body: Value, status: u16, error: &str, reason: &str| {
        let answer = replicate(&server, "admin", &body);
        let told = (answer.status, answer.json());
        assert_eq!(told, (status, json!({"error": error, "reason": reason})), "{body}");
    };
    refused(
        with("doc_ids", json!("x")),
        400,
        "bad_request",
        "parameter `doc_ids` must be an array",
    );
    refused(
        with("source", json!("http://")),
        400,
        "invalid_replication",
        "endpoint has an invalid url",
    );
    refused(
        with("proxy", json!("gopher://x")),
        400,
        "invalid_replication",
        "proxy has an invalid url",
    );
    let params = with("filter", json!("x/y"));
    let mut wrong = params.clone();
    wrong["query_params"] = json!({"n": 5});
    refused(wrong, 400, "bad_request", "n value must be a string.");
    assert_eq!(replicate(&server, "admin", &params).expect(404).json()["error"], "not_found");
    let missing = format!("could not open {}/none/", server.url());
    refused(with("source", json!(url(&server, "none"))), 500, "db_not_found", &missing);
    let stranger = json!(format!("http://admin:wrong@{}/a", server.address()));
    let reason = format!("unauthorized to access or create database {}/a/", server.url());
    refused(with("source", stranger), 401, "unauthorized", &reason);
    refused(with("cancel", json!(true)), 404, "not_found", "missing");
    assert_eq!(
        server.ask("GET", "/_replicate", "").expect(400).json()["reason"],
        "Missing request body"
    );
    server
        .connect()
        .ask("POST", "/_replicate", &[("Authorization", &super::support::admin_header())], "")
        .expect(415);
}
