//! Revision ids computed here against those that CouchDB 3.5 gave for the same edits.
//!
//! `data/revision-ids.jsonl` holds one recorded edit on a line: the document as it was sent, the
//! revision it was put on, perhaps an attachment sent by itself, and the revision CouchDB answered.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use base64::{Engine, engine::general_purpose::STANDARD};
use settee_engine::{
    Document, Rev, RevId,
    attachment::{digest, gzip},
    document::{AttachmentSource, Body, Limits},
    json::Value,
    revision::{AttachmentDigest, revision_id},
};

/// The MD5 that CouchDB would compute for an attachment with these bytes.
fn stored_md5(content_type: &str, bytes: &[u8]) -> [u8; 16] {
    if gzip::CompressibleTypes::default().contains(content_type) {
        digest::md5(&gzip::compress(bytes, gzip::DEFAULT_LEVEL))
    } else {
        digest::md5(bytes)
    }
}

/// The revision that the recorded edit makes here.
fn computed(edit: &Value) -> String {
    let text = |name: &str| edit.get(name).and_then(Value::as_str);
    let document = text("doc").unwrap();
    let document = Document::parse(document.as_bytes(), Some("id"), &Limits::default()).unwrap();
    let parent = text("parent").map(|rev| Rev::parse(rev.as_bytes()).unwrap());
    let mut digests: Vec<_> = document
        .attachments
        .iter()
        .map(|attachment| {
            let AttachmentSource::Inline(bytes) = &attachment.source else { panic!("not inline") };
            let md5 = stored_md5(&attachment.content_type, bytes);
            (attachment.name.as_str(), attachment.content_type.as_str(), md5)
        })
        .collect();
    if let Some(attachment) = edit.get("attachment") {
        let text = |name: &str| attachment.get(name).and_then(Value::as_str).unwrap();
        let md5 = stored_md5(text("type"), &STANDARD.decode(text("b64")).unwrap());
        digests.push((text("name"), text("type"), md5));
    }
    let digests: Vec<_> = digests
        .into_iter()
        .map(|(name, content_type, md5)| AttachmentDigest::Known { name, content_type, md5 })
        .collect();
    let id = revision_id(document.deleted, parent.as_ref(), &document.body, &digests);
    let generation = parent.map_or(0, |parent| parent.generation) + 1;
    Rev::new(generation, RevId::Hash(id)).to_string()
}

#[test]
fn edits_get_the_ids_that_couchdb_gave_them() {
    let edits = include_str!("data/revision-ids.jsonl");
    let mut wrong = Vec::new();
    for line in edits.lines() {
        let edit = Value::parse(line.as_bytes()).unwrap();
        let expected = edit.get("rev").and_then(Value::as_str).unwrap();
        if computed(&edit) != expected {
            wrong.push(line);
        }
    }
    assert!(edits.lines().count() > 400);
    assert!(wrong.is_empty(), "{} wrong ids:\n{}", wrong.len(), wrong.join("\n"));
}

fn new_rev(body: &str, attachments: &[AttachmentDigest<'_>]) -> String {
    let body = Body::parse(body.as_bytes()).unwrap();
    Rev::new(1, RevId::Hash(revision_id(false, None, &body, attachments))).to_string()
}

#[test]
fn vectors_of_every_kind_of_term() {
    let cases = [
        ("{}", "1-967a00dff5e02add41819138abb3284d"),
        (r#"{"a":1}"#, "1-23202479633c2b380f79507a776743d5"),
        (r#"{"name":"x"}"#, "1-96f782522c437ac6a2ff41c83e93cae1"),
        (r#"{"a":[1,2,3]}"#, "1-308048961a84beb0c9e99e07facf0f5f"),
        (r#"{"a":[1,2,300]}"#, "1-a77dc9a33f4f57596bdf0a2121a0cb5e"),
        (
            r#"{"f":1.0,"n":null,"b":true,"big":12345678901234567890,"neg":-5}"#,
            "1-dddfc64d2390252ef994b15026b1e1d2",
        ),
        (r#"{"o":{"x":{},"y":[]}}"#, "1-997682083cccc8f6a5ddd1b173fe86e0"),
    ];
    for (body, rev) in cases {
        assert_eq!(new_rev(body, &[]), rev, "{body}");
    }
}

#[test]
fn attachments_count_back_to_front() {
    let attachment = |name, content_type, bytes: &str| AttachmentDigest::Known {
        name,
        content_type,
        md5: digest::md5(bytes.as_bytes()),
    };
    let foo = attachment("foo.txt", "text/plain", "this is 21 chars long");
    let bar = attachment("bar.txt", "text/plain", "this is 20 chars lon");
    let body = r#"{"body":"This is a body."}"#;
    assert_eq!(new_rev(body, &[foo, bar]), "1-afe15ffc473d31967d5003e2edeee5e8");
    assert_eq!(new_rev(body, &[bar, foo]), "1-5575e26acdeb1df561bb5b70b26ba151");
    let eels = attachment("file.txt", "application/octet-stream", "My hovercraft is full of eels!");
    assert_eq!(new_rev("{}", &[eels]), "1-f46b1869202d04376d7016b284816667");
}

#[test]
fn deleting_names_the_parent() {
    let parent = Rev::parse(b"1-967a00dff5e02add41819138abb3284d").unwrap();
    let id = revision_id(true, Some(&parent), &Body::empty(), &[]);
    assert_eq!(RevId::Hash(id).to_string(), "eec205a9d413992850a6e32678485900");
}
