//! Hooks of system databases: what they see, refuse and change.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::{ops::ControlFlow, sync::Arc};

use settee_engine::{
    AllDocsHead, AllDocsQuery, Caller, ChangeRow, ChangesQuery, Database, Document, Error,
    GetOptions, PendingWrite, Props, ReadHook, Redaction, Result, RowSink, ShowOptions, WriteHook,
    WriteMode, document::Body, json::Value,
};
use support::{databases, doc};

/// Refuses documents that say so, and writes into all others what it knows of the write.
struct Scribe;

impl WriteHook for Scribe {
    fn before_write(&self, write: &PendingWrite<'_>, document: &mut Document) -> Result<()> {
        let body = document.body.to_value()?;
        if body.get("refuse").is_some() {
            return Err(Error::Forbidden("as it says".into()));
        }
        let previous = write.previous(document)?.map_or(b"null".to_vec(), |body| body.to_json());
        let previous = String::from_utf8_lossy(&previous).replace('"', "'");
        let name = write.caller().name().unwrap_or("nobody");
        let told =
            format!(r#"{{"by":"{name}","mode":"{:?}","previous":"{previous}"}}"#, write.mode());
        document.body = Body::parse(told.as_bytes())?;
        Ok(())
    }
}

fn hooked() -> Arc<Database> {
    let databases = databases();
    databases.set_write_hook("_users", Arc::new(Scribe));
    databases.create("_users", Props::default()).unwrap()
}

fn body(database: &Arc<Database>, id: &str) -> String {
    let reader = database.read().unwrap();
    let found = reader.get(id, &GetOptions::default()).unwrap();
    String::from_utf8(found.body().to_vec()).unwrap()
}

fn anna() -> Caller {
    Caller::new(Some("anna".into()), Arc::new([]))
}

#[test]
fn a_refusal_is_one_documents_and_the_others_are_changed_and_stored() {
    let database = hooked();
    let docs = vec![doc(r#"{"_id":"b"}"#), doc(r#"{"_id":"x","refuse":1}"#), doc(r#"{"_id":"a"}"#)];
    let results = database.write_as(&anna(), docs, WriteMode::Interactive).unwrap();
    assert!(results[0].is_ok() && results[2].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err().to_string(), "as it says");
    assert_eq!(database.info().unwrap().doc_count, 2);
    let expected = r#"{"by":"anna","mode":"Interactive","previous":"null"}"#;
    assert_eq!((body(&database, "a"), body(&database, "b")), (expected.into(), expected.into()));
}

#[test]
fn a_call_of_nothing_but_refusals_is_answered_too() {
    let database = hooked();
    let docs = vec![doc(r#"{"_id":"x","refuse":1}"#)];
    let results = database.write(docs, WriteMode::Replicated).unwrap();
    assert!(matches!(results[..], [Err(Error::Forbidden(_))]));
    assert_eq!(database.info().unwrap().doc_count, 0);
}

#[test]
fn the_previous_revision_is_the_one_that_is_followed() {
    let database = hooked();
    let write = |json: &str, mode| database.write(vec![doc(json)], mode).unwrap().pop().unwrap();
    write(r#"{"_id":"a","_revisions":{"start":1,"ids":["a"]}}"#, WriteMode::Replicated).unwrap();
    write(r#"{"_id":"a","_revisions":{"start":1,"ids":["b"]}}"#, WriteMode::Replicated).unwrap();
    // The generation in between is not here.
    write(r#"{"_id":"a","_revisions":{"start":3,"ids":["d","c","b"]}}"#, WriteMode::Replicated)
        .unwrap();
    let third = body(&database, "a");
    assert!(third.contains("Replicated") && third.contains("'previous':'null'"), "{third}");
    write(r#"{"_id":"a","_rev":"1-a"}"#, WriteMode::Interactive).unwrap();
    for stale in [r#"{"_id":"a"}"#, r#"{"_id":"a","_rev":"1-b"}"#, r#"{"_id":"a","_rev":"9-x"}"#] {
        let refused = write(stale, WriteMode::Interactive);
        assert!(matches!(refused, Err(Error::Conflict)), "{stale}");
    }
}

#[test]
fn local_and_design_documents_have_rules_of_their_own() {
    let database = hooked();
    let docs = vec![doc(r#"{"_id":"_local/a","v":1}"#), doc(r#"{"_id":"_design/a","v":1}"#)];
    for result in database.write(docs, WriteMode::Interactive).unwrap() {
        result.unwrap();
    }
    assert_eq!(body(&database, "_local/a"), r#"{"v":1}"#);
    assert_eq!(body(&database, "_design/a"), r#"{"v":1}"#);
}

#[test]
fn hooks_belong_to_the_last_segment_of_a_name() {
    let databases = databases();
    databases.set_write_hook("users", Arc::new(Scribe));
    for (name, hooked) in [("users", true), ("team/users", true), ("users/team", false)] {
        let database = databases.create(name, Props::default()).unwrap();
        let results =
            database.write(vec![doc(r#"{"_id":"x","refuse":1}"#)], WriteMode::Interactive);
        assert_eq!(results.unwrap()[0].is_err(), hooked, "{name}");
    }
}

/// Shows a body without its `secret`, unless the reader is anna.
struct Discreet;

impl ReadHook for Discreet {
    fn redaction(&self, _: &Database, caller: &Caller) -> Option<Arc<dyn Redaction>> {
        (caller.name() != Some("anna")).then(|| Arc::new(Discreet) as Arc<dyn Redaction>)
    }
}

impl Redaction for Discreet {
    fn redact(&self, body: &Value) -> Option<Value> {
        let mut members = body.as_object()?.clone();
        members.remove("secret")?;
        Some(Value::Object(members))
    }
}

/// All that reading as somebody shows of a database.
fn all_that_is_shown(database: &Arc<Database>, caller: &Caller) -> String {
    let reader = database.read_as(caller).unwrap();
    let mut text = Vec::new();
    let show = ShowOptions { revs: true, ..ShowOptions::default() };
    reader
        .get("a", &GetOptions { show: show.clone(), ..GetOptions::default() })
        .unwrap()
        .write_json(&mut text)
        .unwrap();
    for leaf in reader.leaves("a", &show).unwrap() {
        leaf.write_json(&mut text).unwrap();
    }
    let mut rows = Rows(text);
    let query = AllDocsQuery { include_docs: true, ..AllDocsQuery::default() };
    reader.all_docs(&query, &mut rows).unwrap();
    let query = ChangesQuery { include_docs: true, ..ChangesQuery::default() };
    let taken = &mut |row: ChangeRow<'_>| {
        rows.0.extend_from_slice(row.json);
        ControlFlow::Continue(())
    };
    reader.changes(&query, taken).unwrap();
    String::from_utf8(rows.0).unwrap()
}

struct Rows(Vec<u8>);

impl RowSink for Rows {
    fn head(&mut self, _: &AllDocsHead) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn row(&mut self, json: &[u8]) -> ControlFlow<()> {
        self.0.extend_from_slice(json);
        ControlFlow::Continue(())
    }
}

#[test]
fn what_is_kept_from_a_reader_comes_out_nowhere() {
    let databases = databases();
    databases.set_read_hook("_users", Arc::new(Discreet));
    let database = databases.create("_users", Props::default()).unwrap();
    let docs = vec![doc(r#"{"_id":"a","secret":"hush","open":1}"#), doc(r#"{"_id":"b","open":2}"#)];
    let revs = database.write(docs, WriteMode::Interactive).unwrap();
    let revs: Vec<String> = revs.into_iter().map(|rev| rev.unwrap().id.to_string()).collect();
    let told = all_that_is_shown(&database, &Caller::default());
    assert!(told.contains(r#""open":1"#) && told.contains(r#""open":2"#), "{told}");
    assert!(!told.contains("hush"), "{told}");
    assert!(told.contains(&revs[1]), "what is shown as it is keeps its revision");
    let told = all_that_is_shown(&database, &anna());
    assert!(told.contains("hush") && told.contains(&revs[0]), "{told}");
    // A revision that others are shown is not one that they could go on from.
    let reader = database.read_as(&Caller::default()).unwrap();
    let shown = reader.get("a", &GetOptions::default()).unwrap().rev().to_string();
    assert!(!shown.ends_with(&revs[0]));
}
