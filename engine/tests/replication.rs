//! Replication between databases of one server: everything arrives, once, and nothing else.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::{
    collections::BTreeMap,
    io::Read as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;
use settee_engine::{
    AttachmentForm, Caller, ChangeRow, ChangesQuery, Database, Databases, Error, OpenRevs, Props,
    ShowOptions, WriteMode,
    json::Value,
    replication::{
        Access, AccessRules, Context, Control, Defaults, Job, LocalNames, Outcome, Replication,
        ReplicationError, ServerIdentity, Side,
    },
};
use support::{get, leaves, long_rev, put, replicate, write};

/// Databases and what replications need.
struct Server {
    databases: Arc<Databases>,
    context: Context,
}

impl Server {
    fn new() -> Self {
        let databases = support::databases();
        let identity = ServerIdentity { uuid: "5a".repeat(16), ..ServerIdentity::default() };
        let context = Context::new(Arc::clone(&databases), identity);
        Server { databases, context }
    }

    fn with_access(self, access: Arc<dyn AccessRules>) -> Self {
        Server { context: self.context.with_access(access), ..self }
    }

    fn create(&self, name: &str) -> Arc<Database> {
        self.databases.create(name, Props::default()).unwrap()
    }

    /// Replicates `a` to `b`, with further members of the request.
    fn replicate(&self, options: &str) -> Result<Outcome, ReplicationError> {
        Job::run_blocking(request(options), &self.context, &Control::new())
    }

    fn replicated(&self, options: &str) -> Value {
        Value::from(self.replicate(options).unwrap().to_answer())
    }
}

fn request(options: &str) -> Replication {
    let local = LocalNames { url: "http://localhost:5984".into(), caller: Caller::admin() };
    let defaults = Defaults { local: Some(local), ..Defaults::default() };
    let text = format!(r#"{{"source":"a","target":"b"{options}}}"#);
    Replication::parse(&Value::parse(text.as_bytes()).unwrap(), &defaults).unwrap()
}

/// Of the newest session of an answer.
fn stat(answer: &Value, name: &str) -> u64 {
    answer.get("history").unwrap().as_array().unwrap()[0].get(name).unwrap().as_u64().unwrap()
}

/// Ids and revisions of all leaves, the winner first.
fn all_leaves(database: &Arc<Database>) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    let style = settee_engine::Style::AllDocs;
    let query = ChangesQuery { style, ..ChangesQuery::default() };
    let mut take = |row: ChangeRow<'_>| {
        let row = Value::parse(row.json).unwrap();
        let revs = row.get("changes").unwrap().as_array().unwrap().iter();
        let revs = revs.map(|rev| rev.get("rev").unwrap().as_str().unwrap().to_owned());
        found.insert(row.get("id").unwrap().as_str().unwrap().to_owned(), revs.collect());
        std::ops::ControlFlow::Continue(())
    };
    database.read().unwrap().changes(&query, &mut take).unwrap();
    found
}

/// The bytes of all attachments of a document's leaves.
fn attachments(database: &Arc<Database>, id: &str) -> Vec<(String, String, Vec<u8>)> {
    let reader = database.read().unwrap();
    let show = ShowOptions { attachments: AttachmentForm::Follows, ..ShowOptions::default() };
    let opened = reader.open_revs(id, OpenRevs::All, false, &show).unwrap();
    let mut found = Vec::new();
    for document in opened.into_iter().flatten() {
        for attachment in document.following() {
            let mut bytes = Vec::new();
            attachment.identity().unwrap().read_to_end(&mut bytes).unwrap();
            found.push((document.rev().to_string(), attachment.record().name.clone(), bytes));
        }
    }
    found
}

/// Both have the same leaves with the same bodies, histories and attachments, and the same winners.
fn assert_equal(a: &Arc<Database>, b: &Arc<Database>) {
    let (left, right) = (all_leaves(a), all_leaves(b));
    assert_eq!(left, right);
    for id in left.keys() {
        assert_eq!(leaves(a, id), leaves(b, id));
        assert!(attachments(a, id) == attachments(b, id), "attachments of {id} differ");
    }
}

/// Documents of every kind.
fn fill(a: &Arc<Database>) {
    for n in 0..20 {
        put(a, &format!(r#"{{"_id":"plain-{n:02}","n":{n}}}"#)).unwrap();
    }
    let gone = put(a, r#"{"_id":"gone"}"#).unwrap();
    put(a, &format!(r#"{{"_id":"gone","_rev":"{gone}","_deleted":true,"why":"x"}}"#)).unwrap();
    let one = long_rev(1, "a");
    replicate(
        a,
        &[
            &format!(r#"{{"_id":"torn","_rev":"{}","v":1}}"#, long_rev(1, "b")),
            &format!(r#"{{"_id":"torn","_rev":"{one}","v":2}}"#),
            &format!(
                r#"{{"_id":"torn","_deleted":true,"_revisions":{{"start":2,"ids":["{}","{}"]}}}}"#,
                "c".repeat(32),
                "a".repeat(32)
            ),
            &format!(r#"{{"_id":"torn","_rev":"{}","v":3}}"#, long_rev(4, "d")),
        ],
    );
    put(a, r#"{"_id":"_design/d","views":{"v":{"map":"function(doc){emit(doc.n)}"}}}"#).unwrap();
    put(a, r#"{"_id":"slash/and ü+?#\"","n":1}"#).unwrap();
    let data = |length: usize| {
        use base64::Engine as _;
        let bytes: Vec<u8> = (0..length).map(|n| (n * n % 251) as u8).collect();
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    put(
        a,
        &format!(
            r#"{{"_id":"attached","_attachments":{{"empty":{{"data":""}},"text":{{"content_type":"text/plain","data":"{}"}},"bytes":{{"data":"{}"}},"large":{{"data":"{}"}}}}}}"#,
            data(100),
            data(1024),
            data(3 * 1024 * 1024)
        ),
    )
    .unwrap();
}

#[test]
fn everything_arrives_and_only_once() {
    let server = Server::new();
    let (a, b) = (server.create("a"), server.create("b"));
    fill(&a);
    let first = server.replicated("");
    assert_equal(&a, &b);
    let leaves: usize = all_leaves(&a).values().map(Vec::len).sum();
    assert_eq!(stat(&first, "docs_written"), leaves as u64);
    assert_eq!(stat(&first, "missing_checked"), leaves as u64);
    assert_eq!(stat(&first, "doc_write_failures"), 0);
    assert_eq!(first.get("no_changes"), None);

    let again = server.replicated("");
    assert_eq!(again.get("no_changes"), Some(&Value::Bool(true)));
    assert_eq!(again.get("session_id"), first.get("session_id"));

    put(&a, r#"{"_id":"new"}"#).unwrap();
    let more = server.replicated("");
    assert_equal(&a, &b);
    assert_eq!(stat(&more, "docs_written"), leaves as u64 + 1, "sessions add up");
    assert_eq!(more.get("history").unwrap().as_array().unwrap().len(), 2);
    assert_eq!(
        more.get("source_last_seq"),
        more.get("history").unwrap().as_array().unwrap()[0].get("end_last_seq")
    );
}

#[test]
fn an_edit_of_a_document_with_attachments_sends_only_what_is_new() {
    let server = Server::new();
    let (a, b) = (server.create("a"), server.create("b"));
    let first = put(&a, r#"{"_id":"d","_attachments":{"x":{"data":"YWJj"}}}"#).unwrap();
    server.replicated("");
    let edit = format!(
        r#"{{"_id":"d","_rev":"{first}","n":1,"_attachments":{{"x":{{"stub":true}},"y":{{"data":"ZGVm"}}}}}}"#
    );
    put(&a, &edit).unwrap();
    server.replicated("");
    assert_equal(&a, &b);
    // A target that lost what the stubs stand for gets everything.
    server.databases.delete("b").unwrap();
    let b = server.create("b");
    server.replicated("");
    assert_equal(&a, &b);
}

#[test]
fn filters_of_every_kind() {
    let cases = [
        (r#","doc_ids":["one","three","none"]"#, vec!["one", "three"]),
        (r#","selector":{"n":{"$gt":1}}"#, vec!["three", "two"]),
        (r#","filter":"f/min","query_params":{"min":"3"}"#, vec!["three"]),
        (r#","filter":"_view","query_params":{"view":"f/even"}"#, vec!["two"]),
        (r#","filter":"_design""#, vec!["_design/f"]),
    ];
    for (options, expected) in cases {
        let server = Server::new();
        let (a, b) = (server.create("a"), server.create("b"));
        for (id, n) in [("one", 1), ("two", 2), ("three", 3)] {
            put(&a, &format!(r#"{{"_id":"{id}","n":{n}}}"#)).unwrap();
        }
        put(&a, r#"{"_id":"_design/f","filters":{"min":"function(doc,req){return doc.n>=parseInt(req.query.min)}"},"views":{"even":{"map":"function(doc){if(doc.n%2===0)emit(1)}"}}}"#).unwrap();
        server.replicated(options);
        assert_eq!(all_leaves(&b).into_keys().collect::<Vec<_>>(), expected, "{options}");
        // Each has checkpoints of its own.
        let rest = server.replicated("");
        assert_equal(&a, &b);
        assert_eq!(stat(&rest, "missing_found"), 4 - expected.len() as u64, "{options}");
    }
}

#[test]
fn filters_that_cannot_be_had() {
    let server = Server::new();
    server.create("a");
    server.create("b");
    for options in
        [r#","filter":"none/x""#, r#","filter":"_view","query_params":{"view":"none/x"}"#]
    {
        let error = server.replicate(options).unwrap_err();
        assert!(matches!(error, ReplicationError::FilterFetch(_)), "{error}");
        assert_eq!(error.side(), Some(Side::Source));
    }
    let error = server.replicate(r#","filter":"_nosuch""#).unwrap_err();
    assert_eq!(error.code(), "bad_request");
    let error = server.replicate(r#","selector":{"$nosuch":1}"#).unwrap_err();
    assert_eq!(error.code(), "bad_request");
}

#[test]
fn documents_that_the_target_refuses_are_counted_and_passed_over() {
    let server = Server::new();
    let (a, b) = (server.create("a"), server.create("b"));
    put(&b, r#"{"_id":"_design/v","validate_doc_update":"function(doc){if(doc.n===2)throw({forbidden:'no'});if(doc.n===3)throw({unauthorized:'who'})}"}"#).unwrap();
    for n in 0..5 {
        put(&a, &format!(r#"{{"_id":"{n}","n":{n}}}"#)).unwrap();
    }
    let answer = server.replicated("");
    assert_eq!((stat(&answer, "docs_written"), stat(&answer, "doc_write_failures")), (3, 2));
    let ids: Vec<_> = all_leaves(&b).into_keys().collect();
    assert_eq!(ids, ["0", "1", "4", "_design/v"]);
    // They are not tried again and again.
    assert_eq!(server.replicated("").get("no_changes"), Some(&Value::Bool(true)));
}

#[test]
fn winners_alone() {
    let server = Server::new();
    let (a, b) = (server.create("a"), server.create("b"));
    fill(&a);
    server.replicated(r#","winning_revs_only":true"#);
    let winners: BTreeMap<_, _> =
        all_leaves(&a).into_iter().map(|(id, revs)| (id, vec![revs[0].clone()])).collect();
    assert_eq!(all_leaves(&b), winners);
    server.replicated("");
    assert_equal(&a, &b);
}

#[test]
fn histories_longer_than_the_limit_come_as_long_as_it_is() {
    let server = Server::new();
    let (a, b) = (server.create("a"), server.create("b"));
    a.set_revs_limit(5).unwrap();
    let mut rev = put(&a, r#"{"_id":"d"}"#).unwrap();
    for n in 0..4 {
        rev = put(&a, &format!(r#"{{"_id":"d","_rev":"{rev}","n":{n}}}"#)).unwrap();
    }
    server.replicated("");
    for n in 0..20 {
        rev = put(&a, &format!(r#"{{"_id":"d","_rev":"{rev}","m":{n}}}"#)).unwrap();
    }
    server.replicated("");
    assert_eq!(all_leaves(&a)["d"], all_leaves(&b)["d"][..1], "the newest wins on both sides");
    assert!(get(&b, "d").unwrap().contains("\"m\":19"));
}

#[test]
fn targets_are_made_on_the_way() {
    let server = Server::new();
    let a = server.create("a");
    put(&a, r#"{"_id":"p:1"}"#).unwrap();
    let error = server.replicate("").unwrap_err();
    assert_eq!(error.code(), "db_not_found");
    assert_eq!(error.reason(), "could not open http://localhost:5984/b/");
    assert_eq!(error.side(), Some(Side::Target));
    let options = r#","create_target":true,"create_target_params":{"q":1,"partitioned":true}"#;
    server.replicated(options);
    let b = server.databases.get("b").unwrap();
    assert_eq!((b.props().q, b.props().partitioned), (1, true));
    assert_equal(&a, &b);
    // An id that has no partition is refused, and the rest goes on.
    put(&a, r#"{"_id":"none"}"#).unwrap();
    put(&a, r#"{"_id":"p:2"}"#).unwrap();
    let answer = server.replicated(options);
    assert_eq!(stat(&answer, "doc_write_failures"), 1);
    assert_eq!(all_leaves(&b).into_keys().collect::<Vec<_>>(), ["p:1", "p:2"]);
}

#[test]
fn where_to_begin_without_a_checkpoint() {
    let server = Server::new();
    let (a, b) = (server.create("a"), server.create("b"));
    put(&a, r#"{"_id":"before"}"#).unwrap();
    let since = a.sequence_text(a.read().unwrap().seq());
    put(&a, r#"{"_id":"after"}"#).unwrap();
    server.replicated(&format!(r#","since_seq":"{since}""#));
    assert_eq!(all_leaves(&b).into_keys().collect::<Vec<_>>(), ["after"]);
    let error = server.replicate(r#","since_seq":"nonsense""#).unwrap_err();
    assert_eq!(error.code(), "bad_request");
}

#[test]
fn without_checkpoints_nothing_is_kept() {
    let server = Server::new();
    let (a, b) = (server.create("a"), server.create("b"));
    put(&a, r#"{"_id":"d"}"#).unwrap();
    for _ in 0..2 {
        let answer = server.replicated(r#","use_checkpoints":false"#);
        assert_eq!(Value::to_json(&answer), br#"{"ok":true,"use_checkpoints":false}"#);
    }
    assert_equal(&a, &b);
    let answer = server.replicated("");
    assert_eq!((stat(&answer, "missing_checked"), stat(&answer, "missing_found")), (1, 0));
}

#[test]
fn a_target_that_was_rolled_back_gets_what_it_lost() {
    let server = Server::new();
    let (a, b) = (server.create("a"), server.create("b"));
    put(&a, r#"{"_id":"1"}"#).unwrap();
    let first = server.replicated("");
    put(&a, r#"{"_id":"2"}"#).unwrap();
    server.replicated("");
    // The target as it was after the first session.
    let id = Job::run_blocking(request(""), &server.context, &Control::new())
        .map(|_| checkpoint_id(&server));
    let local = format!("_local/{}", id.unwrap());
    server.databases.delete("b").unwrap();
    let restored = server.create("b");
    replicate(&restored, &leaves(&a, "1").iter().map(String::as_str).collect::<Vec<_>>());
    let mut old = first.as_object().unwrap().clone();
    old.remove("ok");
    old.insert("_id", local.as_str());
    put(&restored, &String::from_utf8(Value::from(old).to_json()).unwrap()).unwrap();
    drop(b);
    let answer = server.replicated("");
    assert_equal(&a, &restored);
    let newest = answer.get("history").unwrap().as_array().unwrap()[0].clone();
    assert_eq!(newest.get("start_last_seq"), first.get("source_last_seq"));
}

fn checkpoint_id(server: &Server) -> String {
    let runtime = runtime();
    runtime.block_on(Job::prepare(request(""), &server.context)).unwrap().id.base
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not come to pass that {what}");
}

#[test]
fn a_continuous_replication_follows_and_stops() {
    let server = Server::new();
    let (a, b) = (server.create("a"), server.create("b"));
    put(&a, r#"{"_id":"before"}"#).unwrap();
    let control = Control::new();
    let runtime = runtime();
    let outcome = runtime.block_on(async {
        let job = Job::prepare(request(r#","continuous":true"#), &server.context).await.unwrap();
        assert_eq!(job.id.suffix, "+continuous");
        let (context, handle) = (server.context.clone(), control.clone());
        let run = tokio::spawn(async move { job.run(&context, &handle).await });
        eventually("the first arrives", || get(&b, "before").is_ok()).await;
        for n in 0..10 {
            put(&a, &format!(r#"{{"_id":"{n}"}}"#)).unwrap();
            eventually("an edit arrives", || get(&b, &n.to_string()).is_ok()).await;
        }
        eventually("it is counted", || control.progress().stats().docs_written == 11).await;
        control.stop();
        run.await.unwrap().unwrap()
    });
    assert!(outcome.stopped);
    assert_eq!(Value::from(outcome.to_answer()).to_json(), br#"{"ok":"stopped"}"#);
    let snapshot = Value::from(control.progress().snapshot());
    assert_eq!(snapshot.get("checkpointed_source_seq"), snapshot.get("through_seq"));
    // What was done counts for the next one, continuous or not.
    assert_eq!(server.replicated("").get("no_changes"), Some(&Value::Bool(true)));
}

#[test]
fn a_source_that_is_made_anew_ends_the_replication() {
    let server = Server::new();
    let a = server.create("a");
    let b = server.create("b");
    put(&a, r#"{"_id":"old"}"#).unwrap();
    let runtime = runtime();
    let error = runtime.block_on(async {
        let job = Job::prepare(request(r#","continuous":true"#), &server.context).await.unwrap();
        let context = server.context.clone();
        let run = tokio::spawn(async move { job.run(&context, &Control::new()).await });
        eventually("the first arrives", || get(&b, "old").is_ok()).await;
        server.databases.delete("a").unwrap();
        server.create("a");
        run.await.unwrap().unwrap_err()
    });
    let reason = "instance_start_time on source database has changed since last checkpoint.";
    assert_eq!((error.code(), &*error.reason()), ("checkpoint_commit_failure", reason));
    // The next run begins at the beginning of the new one.
    let a = server.databases.get("a").unwrap();
    put(&a, r#"{"_id":"new"}"#).unwrap();
    server.replicated("");
    assert!(get(&b, "new").is_ok());
}

/// Refuses what it is told to, and from some question on everything.
#[derive(Debug)]
struct Rules {
    refused: Option<Access>,
    /// Questions until everything is refused.
    left: AtomicU64,
}

impl AccessRules for Rules {
    fn check(&self, caller: &Caller, database: &str, access: Access) -> Result<(), Error> {
        assert!(caller.is_admin() && matches!(database, "a" | "b"));
        let left =
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() || self.refused == Some(access) {
            return Err(Error::Forbidden("no".into()));
        }
        Ok(())
    }
}

#[test]
fn rights_are_asked_for() {
    let rules =
        |refused| Arc::new(Rules { refused: Some(refused), left: AtomicU64::new(u64::MAX) });
    let server = Server::new().with_access(rules(Access::Create));
    put(&server.create("a"), r#"{"_id":"_design/d"}"#).unwrap();
    let error = server.replicate(r#","create_target":true"#).unwrap_err();
    assert_eq!((error.code(), error.side()), ("forbidden", Some(Side::Target)));
    server.create("b");
    server.replicate(r#","create_target":true"#).unwrap();

    for (refused, side) in [(Access::Read, Side::Source), (Access::Write, Side::Target)] {
        let server = Server::new().with_access(rules(refused));
        server.create("a");
        server.create("b");
        let error = server.replicate("").unwrap_err();
        assert_eq!((error.code(), error.side()), ("forbidden", Some(side)));
    }

    let server = Server::new().with_access(rules(Access::WriteDesign));
    let (a, b) = (server.create("a"), server.create("b"));
    put(&a, r#"{"_id":"_design/d"}"#).unwrap();
    put(&a, r#"{"_id":"plain"}"#).unwrap();
    let answer = server.replicated("");
    assert_eq!((stat(&answer, "docs_written"), stat(&answer, "doc_write_failures")), (1, 1));
    assert_eq!(all_leaves(&b).into_keys().collect::<Vec<_>>(), ["plain"]);
}

#[test]
fn documents_too_large_for_the_target_are_refused() {
    let server = Server::new();
    let limits = settee_engine::document::Limits { document_bytes: 100, ..Default::default() };
    let server = Server { context: server.context.with_limits(limits), ..server };
    let (a, b) = (server.create("a"), server.create("b"));
    put(&a, &format!(r#"{{"_id":"large","x":"{}"}}"#, "x".repeat(200))).unwrap();
    put(&a, r#"{"_id":"small"}"#).unwrap();
    let answer = server.replicated("");
    assert_eq!(stat(&answer, "doc_write_failures"), 1);
    assert_eq!(all_leaves(&b).into_keys().collect::<Vec<_>>(), ["small"]);
}

/// One edit of the property test.
#[derive(Clone, Debug)]
struct Edit {
    doc: u8,
    /// A revision by itself instead of one on top of the winner.
    conflict: bool,
    deleted: bool,
    attachment: Option<u16>,
    /// In the target instead of the source.
    there: bool,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = (
        0u8..6,
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.3, 0u16..3000),
        prop::bool::weighted(0.2),
    );
    let edit = edit.prop_map(|(doc, conflict, deleted, attachment, there)| Edit {
        doc,
        conflict,
        deleted,
        attachment,
        there,
    });
    prop::collection::vec(edit, 1..25)
}

fn perform(database: &Arc<Database>, edit: &Edit, number: usize) {
    let id = format!("doc-{}", edit.doc);
    let attachments = edit.attachment.map_or(String::new(), |length| {
        use base64::Engine as _;
        let data =
            base64::engine::general_purpose::STANDARD.encode(vec![number as u8; length.into()]);
        format!(r#","_attachments":{{"f":{{"data":"{data}"}}}}"#)
    });
    let deleted = if edit.deleted { r#","_deleted":true"# } else { "" };
    if edit.conflict {
        let rev = format!("1-{number:032x}");
        let json = format!(r#"{{"_id":"{id}","_rev":"{rev}","n":{number}{deleted}{attachments}}}"#);
        replicate(database, &[&json]);
        return;
    }
    let current = all_leaves(database).get(&id).map(|revs| revs[0].clone());
    let rev = current.map_or(String::new(), |rev| format!(r#","_rev":"{rev}""#));
    let json = format!(r#"{{"_id":"{id}"{rev},"n":{number}{deleted}{attachments}}}"#);
    // An edit on top of a tombstone is refused, and no edit.
    write(database, &[&json], WriteMode::Interactive).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// However often a replication is broken off, and whatever happens on both sides between, in the end
    /// the target has what the source has, and back again.
    #[test]
    fn broken_off_anywhere_it_goes_on(
        rounds in prop::collection::vec((edits(), 0u64..30), 1..4),
        batch in 1usize..6,
        workers in 1usize..4,
    ) {
        let server = Server::new();
        let (a, b) = (server.create("a"), server.create("b"));
        let options = format!(r#","worker_batch_size":{batch},"worker_processes":{workers}"#);
        let mut number = 0;
        for (edits, left) in rounds {
            for edit in &edits {
                number += 1;
                perform(if edit.there { &b } else { &a }, edit, number);
            }
            let rules = Arc::new(Rules { refused: None, left: AtomicU64::new(left) });
            let context = server.context.clone().with_access(rules);
            let _ = Job::run_blocking(request(&options), &context, &Control::new());
        }
        server.replicated(&options);
        let back = Replication { source: request("").target, target: request("").source, ..request(&options) };
        Job::run_blocking(back, &server.context, &Control::new()).unwrap();
        server.replicated(&options);
        assert_equal(&a, &b);
    }
}

#[test]
fn purged_documents_are_no_reason_to_stop() {
    let server = Server::new();
    let (a, b) = (server.create("a"), server.create("b"));
    let rev = put(&a, r#"{"_id":"purged"}"#).unwrap();
    put(&a, r#"{"_id":"kept"}"#).unwrap();
    let revs = vec![support::rev(&rev)];
    a.purge(vec![settee_engine::PurgeRequest { id: "purged".into(), revs }]).unwrap();
    server.replicated("");
    assert_eq!(all_leaves(&b).into_keys().collect::<Vec<_>>(), ["kept"]);
}
