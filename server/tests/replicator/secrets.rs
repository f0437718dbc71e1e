//! Nobody sees others' credentials, whichever way they ask.

use serde_json::{Value, json};

use super::support::{Answer, Settee, basic};
use super::{create, start, url};

fn ask(server: &Settee, user: &str, method: &str, path: &str, body: &str) -> Answer {
    server.connect().ask(method, path, &[("Authorization", &basic(user, "pw"))], body)
}

/// Every way that documents of a replicator database come out.
const WAYS: [(&str, &str, &str); 14] = [
    ("GET", "/job", ""),
    ("GET", "/job?revs=true&revs_info=true&conflicts=true", ""),
    ("GET", "/job?attachments=true", ""),
    ("GET", "/job?open_revs=all", ""),
    ("POST", "/_bulk_get", r#"{"docs":[{"id":"job"}]}"#),
    ("GET", "/_all_docs?include_docs=true", ""),
    ("POST", "/_all_docs?include_docs=true", r#"{"keys":["job"]}"#),
    ("POST", "/_all_docs/queries", r#"{"queries":[{"include_docs":true}]}"#),
    ("GET", "/_changes?include_docs=true", ""),
    ("GET", "/_changes?include_docs=true&feed=longpoll", ""),
    ("POST", "/_changes?filter=_selector&include_docs=true", r#"{"selector":{"_id":"job"}}"#),
    ("POST", "/_find", r#"{"selector":{"_id":"job"}}"#),
    ("GET", "/_design/d/_view/all?include_docs=true", ""),
    ("GET", "/_design/d/_show/all/job", ""),
];

#[test]
fn secrets_come_out_for_owners_and_administrators_only() {
    let server = start();
    create(&server, &["a", "b", "team/_replicator"]);
    for name in ["anna", "otto"] {
        server.add_user(name, "pw", &[]);
    }
    let security = json!({"admins": {"roles": ["_admin"]}, "members": {"names": ["anna", "otto"]}});
    server.ask("PUT", "/team%2F_replicator/_security", &security.to_string()).expect(200);
    let design = json!({"views": {"all": {"map": "function(d){emit(d._id,null)}"}},
                        "shows": {"all": "function(d){return JSON.stringify(d)}"}});
    server.ask("PUT", "/team%2F_replicator/_design/d", &design.to_string()).expect(201);
    let target = json!({"url": url(&server, "b"), "headers": {"x-token": "hush-hush"},
                        "auth": {"basic": {"username": "admin", "password": "secret"}}});
    let job = json!({"source": url(&server, "a"), "target": target, "proxy": "http://p:hush@127.0.0.1:1",
                     "continuous": true});
    let base = "/team%2F_replicator";
    ask(&server, "anna", "PUT", &format!("{base}/job"), &job.to_string()).expect(201);
    for (method, path, body) in WAYS {
        let path = format!("{base}{path}");
        let told = ask(&server, "otto", method, &path, body);
        let told = String::from_utf8_lossy(&told.body).into_owned();
        assert!(!told.contains("secret") && !told.contains("hush"), "{method} {path}: {told}");
        assert!(server.ask(method, &path, body).status < 300, "{method} {path}");
    }
    let own = ask(&server, "anna", "GET", &format!("{base}/job"), "").expect(200).json();
    assert_eq!(own["source"], job["source"]);
    let others = ask(&server, "otto", "GET", &format!("{base}/job"), "").expect(200).json();
    assert_eq!(others["source"], format!("{}/a", server.url()));
    assert_ne!(others["_rev"], own["_rev"]);
    // A selector that others may send sees no more than they do.
    let guess = r#"{"selector":{"source":{"$regex":"secret"}}}"#;
    let found = ask(&server, "otto", "POST", &format!("{base}/_changes?filter=_selector"), guess);
    assert_eq!(found.expect(200).json()["results"], json!([]));
    let copy = ask(&server, "otto", "GET", "/_scheduler/docs/team%2F_replicator", "");
    assert_eq!(copy.status, 401);
    let shown = server.ask("GET", "/_scheduler/docs/team%2F_replicator/job", "");
    let jobs = server.ask("GET", "/_scheduler/jobs", "");
    let tasks = server.ask("GET", "/_active_tasks", "");
    for answer in [shown, jobs, tasks] {
        let told = answer.expect(200);
        assert!(
            !told.text().contains("secret") && !told.text().contains("hush"),
            "{}",
            told.text()
        );
    }
    for (method, path, body) in writes(&own, &job) {
        let answer = ask(&server, "otto", method, &path, &body);
        let refused =
            answer.status == 403 || (answer.status == 201 && answer.text().contains("forbidden"));
        assert!(refused, "{method} {path}: {} {}", answer.status, answer.text());
    }
    assert!(!server.log().contains("hush"), "secrets are not logged");
}

/// Ways of writing over somebody else's document.
fn writes(own: &Value, job: &Value) -> Vec<(&'static str, String, String)> {
    let rev = own["_rev"].as_str().unwrap();
    let base = "/team%2F_replicator";
    let mut hijacked = job.clone();
    hijacked["_rev"] = json!(rev);
    hijacked["_id"] = json!("job");
    let mut forged = hijacked.clone();
    forged["_rev"] = json!("9-ffffffffffffffffffffffffffffffff");
    vec![
        ("PUT", format!("{base}/job"), hijacked.to_string()),
        ("POST", format!("{base}/_bulk_docs"), json!({"docs": [hijacked]}).to_string()),
        (
            "POST",
            format!("{base}/_bulk_docs"),
            json!({"new_edits": false, "docs": [forged]}).to_string(),
        ),
        ("DELETE", format!("{base}/job?rev={rev}"), String::new()),
        ("PUT", format!("{base}/job/file?rev={rev}"), r#""x""#.to_owned()),
    ]
}
