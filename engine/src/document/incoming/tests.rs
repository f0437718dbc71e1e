use proptest::prelude::*;

use super::*;
use crate::json::{Object, Value};

fn parse(json: &str) -> Result<Document> {
    Document::parse(json.as_bytes(), None, &Limits::default())
}

/// What is wrong with a document, as CouchDB says it.
#[track_caller]
fn check(json: &str, reason: &str) {
    match parse(json) {
        Ok(document) => panic!("{json} was taken as {document:?}"),
        Err(error) => assert_eq!(error.to_string(), reason, "{json}"),
    }
}

#[track_caller]
fn body(json: &str) -> String {
    String::from_utf8(parse(json).unwrap().body.into_bytes()).unwrap()
}

#[test]
fn special_members_are_taken_out_of_the_body() {
    let json = r#"{"_id":"a\u0041","x":1,"_rev":"2-x","y":[2.50],"_deleted":true,"_local_seq":7,
        "_conflicts":[],"_revs_info":null,"_deleted_conflicts":1,"z":{"_id":1}}"#;
    let document = parse(json).unwrap();
    assert_eq!(document.id, "aA");
    assert_eq!(document.rev.unwrap().to_string(), "2-x");
    assert!(document.deleted && document.history.is_empty() && document.attachments.is_empty());
    assert_eq!(document.body.as_bytes(), br#"{"x":1,"y":[2.5],"z":{"_id":1}}"#);
}

#[test]
fn bodies_of_all_shapes() {
    assert_eq!(body(r#"{"_id":"a"}"#), "{}");
    assert_eq!(body(r#"{"_id":"a","b":1}"#), r#"{"b":1}"#);
    assert_eq!(body(r#"{"b":1,"_id":"a"}"#), r#"{"b":1}"#);
    assert_eq!(body(r#"{"b":1,"_id":"a","c":2,"_rev":"1-a"}"#), r#"{"b":1,"c":2}"#);
    assert_eq!(body(r#"{"":1," ":2}"#), r#"{"":1," ":2}"#);
    assert_eq!(body(r#"{"_id":"a","x":-0.0}"#), r#"{"x":0.0}"#);
    assert_eq!(body(r#"{"a":1,"a":2,"_id":"x","_id":"y"}"#), r#"{"a":2}"#);
    let stored = r#"{"_access":[1],"_replication_state":"x","_replication_state_time":1,"_replication_state_reason":"","_replication_id":2,"_replication_stats":{}}"#;
    assert_eq!(body(stored), stored);
    assert_eq!(body(&format!(r#"{{"_rev":"1-a",{}"#, &stored[1..])), stored);
}

#[test]
fn the_id_of_the_url_wins_but_the_other_is_checked() {
    let limits = Limits::default();
    let document = Document::parse(br#"{"_id":"other"}"#, Some("b"), &limits).unwrap();
    assert_eq!(document.id, "b");
    let refused = |json: &str, id: &str| {
        Document::parse(json.as_bytes(), Some(id), &limits).unwrap_err().to_string()
    };
    assert_eq!(refused(r#"{"_id":3}"#, "c"), "Document id must be a string");
    assert_eq!(refused(r#"{"#, "_foo"), "Only reserved document ids may start with underscore.");
    assert_eq!(parse("{}").unwrap().id, "");
}

#[test]
fn ids_are_checked() {
    check(r#"{"_id":"_foo"}"#, "Only reserved document ids may start with underscore.");
    check(r#"{"_id":""}"#, "Document id must not be empty");
    check(r#"{"_id":"_design/"}"#, "Illegal document id `_design/`");
    check(r#"{"_id":"_local/"}"#, "Illegal document id `_local/`");
    for id in ["null", "true", "[\"a\"]", "3"] {
        check(&format!("{{\"_id\":{id}}}"), "Document id must be a string");
    }
    let limits = Limits { id_bytes: 3, ..Limits::default() };
    assert!(Document::parse(br#"{"_id":"abc"}"#, None, &limits).is_ok());
    let error = Document::parse(br#"{"_id":"abcd"}"#, None, &limits).unwrap_err();
    assert_eq!(error.to_string(), "Document id is too long");
}

#[test]
fn what_is_no_document() {
    for json in ["[]", "\"x\"", "1", "null", "true"] {
        check(json, "Document must be a JSON object");
    }
    for json in ["", "{", "{} {}", "{'a':1}", "{\"a\":1,}", "\u{feff}{}"] {
        check(json, "invalid UTF-8 JSON");
    }
}

#[test]
fn unknown_special_members_are_refused() {
    check(r#"{"_foo":1}"#, "Bad special document member: _foo");
    check(r#"{"_":1}"#, "Bad special document member: _");
    check(r#"{"ok":1,"_b\"ar":{}}"#, "Bad special document member: _b\"ar");
    check(r#"{"_deleted":"yes"}"#, "Bad special document member: _deleted");
    check(r#"{"_deleted":null}"#, "Bad special document member: _deleted");
    check(r#"{"_attachments":[]}"#, "Bad special document member: _attachments");
    check(r#"{"_revisions":1}"#, "Bad special document member: _revisions");
    assert!(!parse(r#"{"_deleted":false}"#).unwrap().deleted);
}

#[test]
fn of_several_faults_the_first_counts() {
    check(r#"{"_foo":1,"_id":3}"#, "Bad special document member: _foo");
    check(r#"{"_id":3,"_foo":1}"#, "Document id must be a string");
    check(r#"{"_foo":1"#, "invalid UTF-8 JSON");
    check(r#"{"_attachments":{"_a":{"data":"!"}}}"#, "Invalid attachment data for _a");
}

#[test]
fn revisions_are_checked() {
    for rev in ["5", "null", "\"nonsense\"", "\"1\"", "\"x-1\"", "\"\""] {
        check(&format!("{{\"_rev\":{rev}}}"), "Invalid rev format");
    }
    check(r#"{"_revisions":{"ids":[]}}"#, "_revisions.start isn't an integer.");
    check(r#"{"_revisions":{"start":"1","ids":[]}}"#, "_revisions.start isn't an integer.");
    check(r#"{"_revisions":{"start":1.0,"ids":[]}}"#, "_revisions.start isn't an integer.");
    check(r#"{"_revisions":{"start":1}}"#, "_revisions.ids isn't a array.");
    check(r#"{"_revisions":{"start":1,"ids":"x"}}"#, "_revisions.ids isn't a array.");
    check(r#"{"_revisions":{"start":1,"ids":[1]}}"#, "RevId isn't a string");
    check(r#"{"_revisions":{"start":-1,"ids":["a"]}}"#, "RevId isn't a string");
    check(r#"{"_revisions":{"start":-1,"ids":[]}}"#, "Invalid rev format");
    let no_hex = "z".repeat(32);
    check(
        &format!(r#"{{"_revisions":{{"start":1,"ids":["{no_hex}"]}}}}"#),
        "RevId isn't a valid hexadecimal",
    );
    check(
        r#"{"_revisions":{"start":1,"ids":["a","b"]}}"#,
        "_revisions.ids has more entries than _revisions.start generations.",
    );
}

#[test]
fn revisions_say_more_than_the_revision() {
    let history = r#""_revisions":{"start":3,"ids":["c","b"]}"#;
    for json in [
        format!(r#"{{"_rev":"2-x",{history}}}"#),
        format!(r#"{{{history},"_rev":"2-x"}}"#),
        format!(r#"{{{history},"_rev":"not looked at"}}"#),
    ] {
        let document = parse(&json).unwrap();
        assert_eq!(document.rev.as_ref().unwrap().to_string(), "3-c");
        assert_eq!(document.history, [RevId::Opaque(b"b".as_slice().into())]);
        assert_eq!(document.path().unwrap().1.len(), 2);
    }
    let local = parse(r#"{"_id":"_local/x","_revisions":{"start":0,"ids":["5"]}}"#).unwrap();
    assert_eq!(local.rev.unwrap().to_string(), "0-5");
    let none = parse(r#"{"_revisions":{"start":0,"ids":[]}}"#).unwrap();
    assert!(none.rev.is_none() && none.require_rev().is_err() && none.path().is_none());
}

#[test]
fn attachments_in_their_three_forms() {
    let json = r#"{"_attachments":{
        "b":{"data":"Ym\nJi"},
        "a/\u00e4":{"stub":true,"revpos":3,"content_type":"image/png","data":"!"},
        "c":{"follows":true,"content_type":"text/plain","length":9,"encoding":"gzip","encoded_length":5,"digest":"md5-CPjgJgxkQYUQzvsrBu7lzQ=="},
        "d":{"follows":true},
        "e":{"stub":false,"data":"","revpos":2}}}"#.replace("\\n", "\\r\\n ");
    let attachments = parse(&json).unwrap().attachments;
    let names: Vec<_> = attachments.iter().map(|attachment| attachment.name.as_str()).collect();
    assert_eq!(names, ["b", "a/ä", "c", "d", "e"]);
    assert_eq!(attachments[0].content_type, DEFAULT_CONTENT_TYPE);
    assert_eq!(attachments[0].source, AttachmentSource::Inline(b"bbb".to_vec()));
    assert_eq!(
        (attachments[1].revpos, attachments[1].content_type.as_str()),
        (Some(3), "image/png")
    );
    assert_eq!(attachments[1].source, AttachmentSource::Stub);
    let follows = |length, identity_length, encoding, digest| AttachmentSource::Follows {
        length,
        identity_length,
        encoding,
        digest,
    };
    assert_eq!(
        attachments[2].source,
        follows(Some(5), Some(9), Encoding::Gzip, Some(digest::md5(b"bbb")))
    );
    assert_eq!(attachments[3].source, follows(None, None, Encoding::Identity, None));
    assert_eq!(attachments[4].source, AttachmentSource::Inline(Vec::new()));
    assert_eq!(attachments[4].revpos, Some(2));
}

#[test]
fn attachments_are_checked() {
    for wrong in [
        "{}",
        r#"{"data":1}"#,
        r#"{"data":"YQ"}"#,
        r#"{"data":"a!=="}"#,
        r#"{"data":"YQ==","content_type":1}"#,
        "1",
    ] {
        check(
            &format!(r#"{{"_attachments":{{"n\"":{wrong}}}}}"#),
            "Invalid attachment data for n\"",
        );
    }
    check(
        r#"{"_attachments":{"_x":{"data":""}}}"#,
        "Attachment name '_x' starts with prohibited character '_'",
    );
    check(
        r#"{"_attachments":{"x":{"follows":true,"encoding":"br"}}}"#,
        "Only gzip and identity content-encodings are supported",
    );
    // Erlang's base64 does not mind bits that the padding hides.
    assert!(parse(r#"{"_attachments":{"x":{"data":"YR=="}}}"#).is_ok());
}

#[test]
fn sizes_are_limited() {
    let limits = Limits { document_bytes: 10, attachment_bytes: 3, ..Limits::default() };
    let parse = |json: &str| Document::parse(json.as_bytes(), None, &limits);
    assert!(parse(r#"{"_id":"a","x":"1234"}"#).is_err());
    assert!(parse(r#"{"_id":"a", "x" : "12"}"#).is_ok());
    assert!(parse(r#"{"_id":"a","_attachments":{"f":{"data":"YWFh"}}}"#).is_ok());
    let big = parse(r#"{"_id":"a","x":"12345"}"#).unwrap_err();
    assert!(matches!(big, Error::DocumentTooLarge(id) if id == "a"));
    for wrong in [r#"{"data":"YWFhYQ=="}"#, r#"{"follows":true,"length":4}"#] {
        let json = format!(r#"{{"_attachments":{{"f":{wrong}}}}}"#);
        assert!(matches!(parse(&json), Err(Error::AttachmentTooLarge(name)) if name == "f"));
    }
}

/// Names and values that mean something to the parser, and some that do not.
fn any_member() -> impl Strategy<Value = (String, Value)> {
    let names = prop::sample::select(vec![
        "_id",
        "_rev",
        "_deleted",
        "_revisions",
        "_attachments",
        "_local_seq",
        "_x",
        "a",
        "b",
        "",
    ]);
    let json = prop::sample::select(vec![
        "\"a\"",
        "\"1-a\"",
        "\"_design/x\"",
        "true",
        "false",
        "null",
        "-0.0",
        "[1,{}]",
        r#"{"start":2,"ids":["b","a"]}"#,
        r#"{"start":1,"ids":["b","a"]}"#,
        r#"{"f":{"data":"YQ=="},"g":{"stub":true},"h":{"follows":true,"length":1}}"#,
        r#"{"f":{"data":"Y"}}"#,
    ]);
    (names, json).prop_map(|(name, json)| (name.to_owned(), Value::parse(json.as_bytes()).unwrap()))
}

proptest! {
    /// A document that is taken has the body that a tree without the special members spells.
    #[test]
    fn bodies_are_what_is_left(members in prop::collection::vec(any_member(), 0..6)) {
        let mut object = Object::new();
        for (name, value) in members {
            object.insert(name, value);
        }
        if let Ok(document) = Document::parse(&Value::from(object.clone()).to_json(), None, &Limits::default()) {
            let rest: Object = object.into_iter().filter(|(name, _)| !name.starts_with('_')).collect();
            prop_assert_eq!(document.body.to_value().unwrap(), Value::parse(&Value::from(rest).to_json()).unwrap());
        }
    }

    #[test]
    fn hostile_bytes_do_no_harm(json in r#"[{}\[\]":,_a-z0-9\\]{0,40}"#) {
        let _ = parse(&json);
        let _ = parse(&format!("{{\"_attachments\":{json}}}"));
        let _ = parse(&format!("{{\"_revisions\":{json}}}"));
    }
}
