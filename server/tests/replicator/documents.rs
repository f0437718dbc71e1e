//! Replication documents: what becomes of them, over edits, deletions and crashes.

use serde_json::{Value, json};

use super::support::Settee;
use super::{count, create, eventually, fill, scheduled, start, start_with, url, wait_for_state};

fn order(server: &Settee, database: &str, id: &str, document: &Value) {
    let database = database.replace('/', "%2F");
    server.ask("PUT", &format!("/{database}/{id}"), &document.to_string()).expect(201);
}

fn document(server: &Settee, id: &str) -> Value {
    server.ask("GET", &format!("/_replicator/{id}"), "").expect(200).json()
}

#[test]
fn a_one_shot_says_in_its_document_what_it_did() {
    let server = start();
    create(&server, &["a", "b"]);
    fill(&server, "a", "d", 1200);
    order(
        &server,
        "_replicator",
        "job",
        &json!({"source": url(&server, "a"), "target": url(&server, "b")}),
    );
    let done = eventually("it is done", || {
        let document = document(&server, "job");
        (document["_replication_state"] == "completed").then_some(document)
    });
    assert_eq!((done["owner"].as_str(), count(&server, "b")), (Some("admin"), 1200));
    let stats = &done["_replication_stats"];
    assert_eq!(
        (stats["docs_written"].as_u64(), stats["docs_read"].as_u64()),
        (Some(1200), Some(1200))
    );
    let shown = eventually("the list is up to date", || {
        let shown = scheduled(&server, "_replicator", "job");
        (shown["state"] == "completed" && shown.get("node").is_none()).then_some(shown)
    });
    assert_eq!(shown["source"], format!("{}/a/", server.url()));
    assert_eq!(shown["info"]["docs_written"], 1200);
    // Nothing starts it again but somebody who clears its state, and then there is nothing left to do.
    let rev = done["_rev"].as_str().unwrap();
    let again = json!({"_rev": rev, "source": url(&server, "a"), "target": url(&server, "b"), "owner": "admin"});
    order(&server, "_replicator", "job", &again);
    let again = eventually("it is done again", || {
        let document = document(&server, "job");
        (document["_replication_state"] == "completed").then_some(document)
    });
    // The figures go on from the checkpoint.
    assert_eq!(again["_replication_stats"]["docs_written"], 1200);
}

#[test]
fn a_continuous_one_goes_on_over_a_crash_on_either_side_and_ends_with_its_document() {
    let mut source = start();
    let mut target = start();
    create(&source, &["a"]);
    create(&target, &["b"]);
    fill(&source, "a", "first", 3000);
    let job = json!({"source": "a", "target": url(&target, "b"), "continuous": true});
    let refused = source.ask("PUT", "/_replicator/live", &job.to_string()).expect(403).json();
    assert_eq!(refused["reason"], "local_endpoints_not_supported");
    // Through a port that stays the same when the server comes back on another.
    let (to_source, to_target) =
        (super::ring::Proxy::to(source.address()), super::ring::Proxy::to(target.address()));
    let job = json!({"source": to_source.url("a"), "target": to_target.url("b"), "continuous": true,
                     "checkpoint_interval": 500});
    order(&target, "_replicator", "live", &job);
    eventually("it has begun", || (count(&target, "b") > 0).then_some(()));
    target.restart();
    to_target.lead_to(target.address());
    fill(&source, "a", "second", 500);
    eventually("all is there", || (count(&target, "b") == 3500).then_some(()));
    source.kill();
    to_source.cut();
    let shown = wait_for_state(&target, "_replicator", "live", "crashing");
    assert!(
        shown["info"]["error"].as_str().is_some_and(|error| error.starts_with("source: ")),
        "{shown}"
    );
    assert!(shown["error_count"].as_u64() >= Some(1));
    source.launch();
    to_source.lead_to(source.address());
    fill(&source, "a", "third", 10);
    eventually("it goes on", || (count(&target, "b") == 3510).then_some(()));
    assert_eq!(document(&target, "live").get("_replication_state"), None);
    let rev = document(&target, "live")["_rev"].as_str().unwrap().to_owned();
    target.ask("DELETE", &format!("/_replicator/live?rev={rev}"), "").expect(200);
    eventually("the job is gone", || {
        scheduled(&target, "_replicator", "live").is_null().then_some(())
    });
    eventually("nothing runs", || {
        (target.ask("GET", "/_active_tasks", "").json() == json!([])).then_some(())
    });
    fill(&source, "a", "fourth", 10);
    assert_eq!(count(&target, "b"), 3510);
    let jobs = target.ask("GET", "/_scheduler/jobs", "").expect(200).json();
    assert_eq!(jobs, json!({"total_rows": 0, "offset": 0, "jobs": []}));
}

#[test]
fn what_crashes_waits_and_is_tried_at_once_when_told_to() {
    let server = start_with("min_backoff = 3600000\nmax_backoff = 3600000\nupdate_docs = true\n");
    create(&server, &["b"]);
    order(
        &server,
        "_replicator",
        "job",
        &json!({"source": url(&server, "a"), "target": url(&server, "b"),
                                                 "continuous": true}),
    );
    let shown = wait_for_state(&server, "_replicator", "job", "crashing");
    assert!(shown["info"]["error"].as_str().unwrap().contains("could not open"), "{shown}");
    eventually("it says so", || {
        (document(&server, "job")["_replication_state"] == "error").then_some(())
    });
    create(&server, &["a"]);
    fill(&server, "a", "d", 3);
    let id = shown["id"].as_str().unwrap().replace('+', "%2B");
    server.ask("GET", &format!("/_scheduler/jobs/{id}/_retry"), "").expect(405);
    server.ask("POST", "/_scheduler/jobs/none/_retry", "").expect(404);
    let told = server.ask("POST", &format!("/_scheduler/jobs/{id}/_retry"), "").expect(200).json();
    assert_eq!(told, json!({"ok": true, "retried": true}));
    eventually("it works", || (count(&server, "b") == 3).then_some(()));
    eventually("it says so", || {
        (document(&server, "job")["_replication_state"] == "triggered").then_some(())
    });
    let job = server.ask("GET", &format!("/_scheduler/jobs/{id}"), "").expect(200).json();
    let events: Vec<_> =
        job["history"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(events, ["started", "crashed", "started", "added"]);
    assert_eq!(
        (job["database"].as_str(), job["doc_id"].as_str()),
        (Some("_replicator"), Some("job"))
    );
    let stats =
        server.ask("GET", "/_node/_local/_stats/couch_replicator/jobs", "").expect(200).json();
    assert_eq!(
        (stats["crashes"]["value"].as_u64(), stats["running"]["value"].as_u64()),
        (Some(1), Some(1))
    );
    let tasks = server.ask("GET", "/_active_tasks", "").expect(200).json();
    assert_eq!(
        (tasks[0]["type"].as_str(), tasks[0]["doc_id"].as_str()),
        (Some("replication"), Some("job"))
    );
    assert_eq!(tasks[0]["replication_id"], shown["id"]);
}

#[test]
fn other_replicator_databases_are_followed_from_when_they_are_made() {
    let mut server = start();
    create(&server, &["a", "b", "team/_replicator"]);
    fill(&server, "a", "d", 5);
    let port = super::ring::Proxy::to(server.address());
    let both = json!({"source": port.url("a"), "target": port.url("b"), "continuous": true});
    order(&server, "team/_replicator", "job", &both);
    wait_for_state(&server, "team/_replicator", "job", "running");
    let shown = server.ask("GET", "/_scheduler/docs/team/_replicator/job", "").expect(200).json();
    assert_eq!(shown["database"], "team/_replicator");
    assert_eq!(server.ask("GET", "/_scheduler/docs", "").json()["total_rows"], 0);
    // The same again, in another database.
    order(&server, "_replicator", "twin", &both);
    let shown = wait_for_state(&server, "_replicator", "twin", "failed");
    let reason = shown["info"]["error"].as_str().unwrap();
    assert!(reason.ends_with("triggered by document `job` from db `team/_replicator`"), "{reason}");
    server.kill();
    port.cut();
    server.launch();
    wait_for_state(&server, "team/_replicator", "job", "crashing");
    port.lead_to(server.address());
    wait_for_state(&server, "team/_replicator", "job", "running");
    assert_eq!(scheduled(&server, "_replicator", "twin")["state"], "failed");
    server.ask("DELETE", "/team%2F_replicator", "").expect(200);
    eventually("its jobs are gone", || {
        (server.ask("GET", "/_scheduler/jobs", "").json()["total_rows"] == 0).then_some(())
    });
    create(&server, &["team/_replicator"]);
    let here = json!({"source": url(&server, "a"), "target": url(&server, "b")});
    order(&server, "team/_replicator", "job", &here);
    wait_for_state(&server, "team/_replicator", "job", "completed");
    assert_eq!(count(&server, "b"), 5);
}

#[test]
fn lists_of_documents_are_cut_as_asked() {
    let server = start();
    create(&server, &["b"]);
    for id in ["a", "b", "c", "d"] {
        let bad = json!({"source": format!("http://127.0.0.1:1/{id}"), "target": url(&server, "b"),
                         "filter": if id == "d" { json!("x/y") } else { Value::Null }});
        let mut bad = bad;
        if bad["filter"].is_null() {
            bad.as_object_mut().unwrap().remove("filter");
        }
        order(&server, "_replicator", id, &bad);
    }
    wait_for_state(&server, "_replicator", "d", "error");
    let list = |query: &str| {
        let list = server.ask("GET", &format!("/_scheduler/docs{query}"), "").expect(200).json();
        let ids = list["docs"].as_array().unwrap().iter();
        let ids: Vec<_> = ids.map(|doc| doc["doc_id"].as_str().unwrap().to_owned()).collect();
        (ids.concat(), list["total_rows"].as_u64().unwrap(), list["offset"].as_u64().unwrap())
    };
    assert_eq!(list(""), ("abcd".into(), 4, 0));
    assert_eq!(list("?limit=2&skip=1"), ("bc".into(), 4, 1));
    assert_eq!(list("?descending=true&limit=1"), ("d".into(), 4, 0));
    assert_eq!(list("?startkey=%22b%22&endkey=%22c%22"), ("bc".into(), 4, 0));
    assert_eq!(list("?states=ERROR"), ("d".into(), 1, 0));
    assert_eq!(list("?states=completed,failed"), (String::new(), 0, 0));
    for (query, reason) in [
        ("?limit=x", "Invalid value for integer: \"x\""),
        (
            "?states=",
            "States must be one or more of [initializing, error, pending, running, crashing, completed, failed]",
        ),
        (
            "?states=error,lost",
            "Unknown states [lost]. Choose from: [initializing, error, pending, running, crashing, completed, failed]",
        ),
    ] {
        let refused = server.ask("GET", &format!("/_scheduler/docs{query}"), "").expect(400).json();
        assert_eq!(
            (refused["error"].as_str(), refused["reason"].as_str()),
            (Some("query_parse_error"), Some(reason))
        );
    }
    for (method, path, status) in [
        ("GET", "/_scheduler/docs/nowhere", 400),
        ("GET", "/_scheduler/docs/x/_replicator", 404),
        ("GET", "/_scheduler/docs/_replicator/none", 404),
        ("GET", "/_scheduler/jobs/none", 404),
        ("GET", "/_scheduler/other", 404),
        ("GET", "/_scheduler/jobs?skip=-1", 400),
        ("GET", "/_scheduler/jobs?limit=x", 400),
        ("POST", "/_scheduler/jobs", 405),
        ("DELETE", "/_scheduler/docs/_replicator/a", 405),
        ("POST", "/_scheduler/docs/_replicator/d/_retry", 200),
        ("POST", "/_scheduler/docs/_replicator/none/_retry", 404),
    ] {
        assert_eq!(server.ask(method, path, "").status, status, "{method} {path}");
    }
}
