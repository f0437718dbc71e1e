//! Which writes are accepted, and what they leave behind. Expected revisions are those CouchDB gave.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use settee_engine::{ChangesQuery, Document, Error, GetOptions, WriteMode, document::Limits};
use support::{
    changes, database, doc, get, get_with, leaves, long_rev, put, replicate, rev, write,
};

const CONFLICT: &str = "Document update conflict.";

#[test]
fn an_edit_gets_the_revision_couchdb_would_give_it() {
    let db = database();
    assert_eq!(put(&db, r#"{"_id":"a"}"#).unwrap(), "1-967a00dff5e02add41819138abb3284d");
    let second = r#"{"_id":"b","v":1}"#;
    assert_eq!(put(&db, second).unwrap(), "1-7a7e4b29f3af401e69b6f86e4c26b727");
    let third = r#"{"_id":"b","_rev":"1-7a7e4b29f3af401e69b6f86e4c26b727","v":11}"#;
    assert_eq!(put(&db, third).unwrap(), "2-199d6f4cb0ab51aafccacee16486d6b3");
    assert_eq!(
        get(&db, "b").unwrap(),
        r#"{"_id":"b","_rev":"2-199d6f4cb0ab51aafccacee16486d6b3","v":11}"#
    );
}

#[test]
fn a_write_has_to_name_a_leaf() {
    let db = database();
    let first = put(&db, r#"{"_id":"a","v":1}"#).unwrap();
    assert_eq!(put(&db, r#"{"_id":"a","v":2}"#), Err(CONFLICT.into()));
    let unknown = format!(r#"{{"_id":"a","_rev":"{}"}}"#, long_rev(1, "f"));
    assert_eq!(put(&db, &unknown), Err(CONFLICT.into()));
    let next = format!(r#"{{"_id":"a","_rev":"{first}"}}"#);
    put(&db, &next).unwrap();
    assert_eq!(put(&db, &next), Err(CONFLICT.into()), "the same edit again");
    assert_eq!(db.info().unwrap().update_seq, 2, "refused writes take no sequence");
}

#[test]
fn a_deleted_document_comes_back_without_a_revision_only() {
    let db = database();
    let first = put(&db, r#"{"_id":"a","v":1}"#).unwrap();
    let tombstone =
        put(&db, &format!(r#"{{"_id":"a","_rev":"{first}","_deleted":true}}"#)).unwrap();
    assert_eq!(tombstone, "2-d9b15b235a7d0afdfe6058d5fb8afbd1");
    assert_eq!(get(&db, "a"), Err("deleted".into()));
    let named = format!(r#"{{"_id":"a","_rev":"{tombstone}","v":3}}"#);
    assert_eq!(put(&db, &named), Err(CONFLICT.into()));
    assert_eq!(put(&db, r#"{"_id":"a","_deleted":true}"#), Err(CONFLICT.into()));
    assert_eq!(put(&db, r#"{"_id":"a","v":3}"#).unwrap(), "3-bc4576fb8be36f52ca2ce76ade247e2a");
    assert!(leaves(&db, "a")[0].contains(r#""_revisions":{"start":3,"#));
}

/// Found by PouchDB's tests: the revisions in between have bodies, until the database is compacted.
#[test]
fn a_branch_that_comes_at_once_is_kept_with_all_its_bodies() {
    let db = database();
    let docs = [
        r#"{"_id":"x","_rev":"1-a","v":1}"#,
        r#"{"_id":"x","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"v":2}"#,
        r#"{"_id":"x","_rev":"3-c","_revisions":{"start":3,"ids":["c","b","a"]},"_deleted":true}"#,
        r#"{"_id":"x","_rev":"1-d","v":4}"#,
    ];
    replicate(&db, &docs);
    let of = |rev: &str| {
        get_with(&db, "x", &GetOptions { rev: Some(self::rev(rev)), ..GetOptions::default() })
    };
    assert_eq!(of("1-a").unwrap(), r#"{"_id":"x","_rev":"1-a","v":1}"#);
    assert_eq!(of("2-b").unwrap(), r#"{"_id":"x","_rev":"2-b","v":2}"#);
    assert_eq!(of("3-c").unwrap(), r#"{"_id":"x","_rev":"3-c","_deleted":true}"#);
    assert_eq!(of("1-d").unwrap(), r#"{"_id":"x","_rev":"1-d","v":4}"#);
    db.compact().unwrap();
    assert!(of("1-a").is_err() && of("2-b").is_err() && of("3-c").is_ok() && of("1-d").is_ok());
}

#[test]
fn any_leaf_may_be_followed_while_one_is_alive() {
    let db = database();
    let [a, b] = ["a", "b"].map(|digit| long_rev(1, digit));
    let docs = [format!(r#"{{"_id":"x","_rev":"{a}"}}"#), format!(r#"{{"_id":"x","_rev":"{b}"}}"#)];
    replicate(&db, &docs.each_ref().map(String::as_str));
    assert_eq!(db.info().unwrap().update_seq, 1, "one sequence for both");
    assert_eq!(put(&db, r#"{"_id":"x"}"#), Err(CONFLICT.into()));
    let dead = put(&db, &format!(r#"{{"_id":"x","_rev":"{a}","_deleted":true}}"#)).unwrap();
    assert!(get(&db, "x").unwrap().contains(&b), "the other leaf wins now");
    let revived = put(&db, &format!(r#"{{"_id":"x","_rev":"{dead}"}}"#)).unwrap();
    assert!(revived.starts_with("3-"));
    assert!(get(&db, "x").unwrap().contains(&revived));
}

#[test]
fn an_unknown_document_takes_a_named_revision_on_trust_unless_it_is_looked_up() {
    let rev = long_rev(1, "f");
    let named = format!(r#"{{"_id":"new","_rev":"{rev}"}}"#);
    let with_attachment = named.replace("\"new\"", r#""other","_attachments":{"f":{"data":""}}"#);
    let db = database();
    assert_eq!(put(&db, &named), Err(CONFLICT.into()), "a new database looks first");
    put(&db, r#"{"_id":"any"}"#).unwrap();
    assert_eq!(put(&db, &with_attachment), Err(CONFLICT.into()));
    assert_eq!(put(&db, &named).unwrap(), "2-53c7905a44dfade1f0b2d33c19d71162");
    put(&db, r#"{"_id":"_design/d"}"#).unwrap();
    assert_eq!(put(&db, &named.replace("new", "newer")), Err(CONFLICT.into()));
}

#[test]
fn of_several_edits_of_one_document_the_first_wins() {
    let db = database();
    let docs = [r#"{"_id":"b","v":1}"#, r#"{"_id":"a"}"#, r#"{"_id":"b","v":2}"#];
    let results = write(&db, &docs, WriteMode::Interactive).unwrap();
    assert!(results[0].is_ok() && results[1].is_ok());
    assert_eq!(results[2], Err(CONFLICT.into()));
    let (rows, _) = changes(&db, &ChangesQuery::default());
    assert!(rows[0].contains(r#"{"seq":1,"id":"a""#), "sequences go by id: {rows:?}");
    assert!(rows[1].contains(r#"{"seq":2,"id":"b""#));
}

#[test]
fn a_known_revision_changes_nothing_but_may_bring_a_missing_body() {
    let db = database();
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    let with_history = |body: &str| {
        format!(
            r#"{{"_id":"x","_rev":"2-{b}","_revisions":{{"start":2,"ids":["{b}","{a}"]}}{body}}}"#
        )
    };
    replicate(&db, &[&with_history(r#","v":2"#)]);
    replicate(&db, &[&with_history(r#","v":"other""#)]);
    assert_eq!(db.info().unwrap().update_seq, 1);
    assert_eq!(get(&db, "x").unwrap(), format!(r#"{{"_id":"x","_rev":"2-{b}","v":2}}"#));
    let interior = GetOptions { rev: Some(rev(&format!("1-{a}"))), ..GetOptions::default() };
    assert_eq!(get_with(&db, "x", &interior), Err("missing".into()));
    replicate(&db, &[&format!(r#"{{"_id":"x","_rev":"1-{a}","v":"old"}}"#)]);
    assert_eq!(db.info().unwrap().update_seq, 2);
    assert!(get_with(&db, "x", &interior).unwrap().contains("old"));
}

/// Found by the simulation (seed 245): the ancestors were added, cut off again, and the document had a
/// new sequence, at each round of a replication from a database that keeps more of them.
#[test]
fn a_known_revision_with_ancestors_beyond_the_limit_changes_nothing() {
    let db = database();
    put(&db, r#"{"_id":"another"}"#).unwrap();
    db.set_revs_limit(2).unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|digit| digit.repeat(32));
    let revisions = format!(r#"{{"start":3,"ids":["{c}","{b}","{a}"]}}"#);
    let doc = format!(r#"{{"_id":"x","_rev":"3-{c}","_revisions":{revisions}}}"#);
    replicate(&db, &[&doc]);
    let before = db.info().unwrap().update_seq;
    replicate(&db, &[&doc]);
    assert_eq!(db.info().unwrap().update_seq, before);
    db.set_revs_limit(3).unwrap();
    replicate(&db, &[&doc]);
    assert_eq!(db.info().unwrap().update_seq, before + 1, "there is room for another one now");
}

#[test]
fn replicated_writes_need_a_revision() {
    let reason = "When `new_edits: false`, the document needs `_rev` or `_revisions` specified";
    let db = database();
    let docs = [r#"{"_id":"b","_rev":"1-x"}"#, r#"{"_id":"a"}"#];
    assert_eq!(write(&db, &docs, WriteMode::Replicated), Err(reason.into()));
    assert_eq!(db.info().unwrap().update_seq, 0, "nothing of the call is stored");
}

#[test]
fn branches_are_stemmed_to_the_limit() {
    let db = database();
    db.set_revs_limit(3).unwrap();
    let mut last = put(&db, r#"{"_id":"a","n":0}"#).unwrap();
    let first = last.clone();
    for n in 1..5 {
        last = put(&db, &format!(r#"{{"_id":"a","_rev":"{last}","n":{n}}}"#)).unwrap();
    }
    let leaf = &leaves(&db, "a")[0];
    assert_eq!(leaf.matches(',').count(), 6, "three ids: {leaf}");
    let stemmed = GetOptions { rev: Some(rev(&first)), ..GetOptions::default() };
    assert_eq!(get_with(&db, "a", &stemmed), Err("missing".into()));
    db.set_revs_limit(1).unwrap();
    assert!(leaves(&db, "a")[0].matches(',').count() == 4, "reading goes by the limit, too");
    assert!(db.set_revs_limit(0).is_err());
}

#[test]
fn local_documents_are_counters() {
    let db = database();
    assert_eq!(put(&db, r#"{"_id":"_local/a","v":1}"#).unwrap(), "0-1");
    assert_eq!(put(&db, r#"{"_id":"_local/a","_rev":"0-1","v":2}"#).unwrap(), "0-2");
    assert_eq!(get(&db, "_local/a").unwrap(), r#"{"_id":"_local/a","_rev":"0-2","v":2}"#);
    assert_eq!(put(&db, r#"{"_id":"_local/a","v":3}"#).unwrap(), "0-1");
    let counted = r#"{"_id":"_local/a","_revisions":{"start":0,"ids":["5"]}}"#;
    assert_eq!(put(&db, counted).unwrap(), "0-6");
    let wrong = write(&db, &[r#"{"_id":"_local/a","_rev":"1-1"}"#], WriteMode::Interactive);
    assert_eq!(wrong, Err("Invalid rev format".into()));
    assert_eq!(db.info().unwrap().update_seq, 0);
    assert_eq!(put(&db, r#"{"_id":"_local/a","_deleted":true}"#).unwrap(), "0-0");
    assert_eq!(get(&db, "_local/a"), Err("missing".into()));
}

#[test]
fn counts_follow_the_winners() {
    let db = database();
    let first = put(&db, r#"{"_id":"a"}"#).unwrap();
    put(&db, r#"{"_id":"b","text":"some text"}"#).unwrap();
    put(&db, &format!(r#"{{"_id":"a","_rev":"{first}","_deleted":true}}"#)).unwrap();
    let info = db.info().unwrap();
    assert_eq!((info.doc_count, info.doc_del_count, info.update_seq), (1, 1, 3));
    assert_eq!(info.sizes.external, 2 + r#"{"text":"some text"}"#.len() as u64);
    assert!(info.sizes.active >= info.sizes.external && info.sizes.file > info.sizes.active);
}

#[test]
fn a_large_call_is_cut_into_edits_and_answered_in_order() {
    let db = database();
    let text = "x".repeat(60_000);
    let docs: Vec<Document> = (0..700)
        .map(|n| doc(&format!(r#"{{"_id":"d{:03}","text":"{text}"}}"#, (n * 3) % 350)))
        .collect();
    let results = db.write(docs, WriteMode::Interactive).unwrap();
    assert!(results[..350].iter().all(Result::is_ok));
    assert!(results[350..].iter().all(|result| matches!(result, Err(Error::Conflict))));
    assert_eq!(db.info().unwrap().doc_count, 350);
}

#[test]
fn partitioned_ids_are_checked_before_anything_is_written() {
    let props = settee_engine::Props { partitioned: true, ..Default::default() };
    let db = support::databases().create("db", props).unwrap();
    put(&db, r#"{"_id":"a:1"}"#).unwrap();
    let reason = "Doc id must be of form partition:id";
    let docs = [r#"{"_id":"a:9"}"#, r#"{"_id":"bad"}"#];
    assert_eq!(write(&db, &docs, WriteMode::Interactive), Err(reason.into()));
    assert_eq!(get(&db, "bad"), Err(reason.into()));
    put(&db, r#"{"_id":"_design/x"}"#).unwrap();
    let partition = db.partition_info("a").unwrap();
    assert_eq!((partition.doc_count, partition.external), (1, 2));
    assert_eq!(
        db.partition_info("_a").unwrap_err().to_string(),
        "Partition must not start with an underscore"
    );
    assert!(database().partition_info("a").is_err());
}

#[test]
fn ids_the_store_cannot_hold_are_refused() {
    let db = database();
    let mut document = doc("{}");
    for id in ["", "_x", "_design/"] {
        document.id = id.to_owned();
        let outcome = db.write(vec![document.clone()], WriteMode::Interactive);
        assert!(matches!(outcome, Err(Error::IllegalDocId(_))), "{id}");
    }
    let limits = Limits { document_bytes: 10, ..Limits::default() };
    assert!(Document::parse(br#"{"text":"too long"}"#, Some("a"), &limits).is_err());
}
