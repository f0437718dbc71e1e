//! Attachments: staged, sent inline, kept by stubs, shared, read back.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::{io::Read, sync::Arc};

use settee_engine::{
    AttachmentForm, Database, Document, Error, FoundAttachment, GetOptions, Rev, ShowOptions,
    StageOptions, WriteMode,
    attachment::{digest, gzip},
    document::{AttachmentSource, Encoding, IncomingAttachment},
};
use support::{database, doc, get, get_with, leaves, long_rev, put, replicate, rev, write};

const BINARY: &str = "application/octet-stream";

/// Stages bytes in small pieces.
fn stage(
    db: &Arc<Database>,
    name: &str,
    content_type: &str,
    bytes: &[u8],
    options: StageOptions,
) -> Result<IncomingAttachment, Error> {
    let mut writer = db.stage_attachment(name, content_type, options)?;
    for piece in bytes.chunks(1000) {
        writer.write(piece)?;
    }
    let source = AttachmentSource::Staged(writer.finish()?);
    Ok(IncomingAttachment {
        name: name.into(),
        content_type: content_type.into(),
        revpos: None,
        source,
    })
}

fn write_with(db: &Arc<Database>, json: &str, attachment: IncomingAttachment) -> Rev {
    let mut document = doc(json);
    document.attachments.insert(0, attachment);
    db.write(vec![document], WriteMode::Interactive).unwrap().remove(0).unwrap()
}

fn found(db: &Arc<Database>, id: &str, name: &str) -> FoundAttachment {
    db.read().unwrap().attachment(id, None, name).unwrap()
}

fn bytes(attachment: &FoundAttachment) -> Vec<u8> {
    let mut bytes = Vec::new();
    attachment.identity().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn inline_attachments_come_back_as_stubs_and_as_data() {
    let db = database();
    let json = r#"{"_id":"d","_attachments":{"b.bin":{"content_type":"application/octet-stream","data":"YmJi"},"a.bin":{"content_type":"image/png","data":"YWE="}}}"#;
    assert_eq!(put(&db, json).unwrap(), "1-86caeee5171ba6bb059f3ed9ac7a33a0");
    let shown = get(&db, "d").unwrap();
    assert!(shown.contains(
        r#""_attachments":{"b.bin":{"content_type":"application/octet-stream","revpos":1,"digest":"md5-CPjgJgxkQYUQzvsrBu7lzQ==","length":3,"stub":true},"a.bin""#
    ));
    let show = ShowOptions { attachments: AttachmentForm::Inline, ..ShowOptions::default() };
    let inline = get_with(&db, "d", &GetOptions { show, ..GetOptions::default() }).unwrap();
    assert!(inline.contains(r#""digest":"md5-CPjgJgxkQYUQzvsrBu7lzQ==","data":"YmJi"}"#));
}

#[test]
fn what_is_not_mentioned_is_removed_and_stubs_are_kept() {
    let db = database();
    let json = r#"{"_id":"d","_attachments":{"one":{"data":"MQ=="},"two":{"data":"Mg=="}}}"#;
    let first = put(&db, json).unwrap();
    let json =
        format!(r#"{{"_id":"d","_rev":"{first}","_attachments":{{"one":{{"stub":true}}}}}}"#);
    let second = put(&db, &json).unwrap();
    let shown = get(&db, "d").unwrap();
    assert!(shown.contains(r#""revpos":1"#) && !shown.contains("two"), "{shown}");
    let reader = db.read().unwrap();
    assert!(matches!(reader.attachment("d", None, "two"), Err(Error::NotFound(_))));
    assert_eq!(bytes(&reader.attachment("d", Some(&rev(&first)), "two").unwrap()), b"2");
    assert_eq!(reader.attachment("d", None, "one").unwrap().rev().to_string(), second);
    let again =
        format!(r#"{{"_id":"d","_rev":"{second}","_attachments":{{"one":{{"data":"MQ=="}}}}}}"#);
    put(&db, &again).unwrap();
    assert!(get(&db, "d").unwrap().contains(r#""revpos":3"#), "sent anew");
}

#[test]
fn a_stub_without_its_attachment_fails_the_whole_call() {
    let db = database();
    let reason = "Invalid attachment stub in d for x";
    let stub = r#"{"_id":"d","_attachments":{"x":{"stub":true}}}"#;
    for mode in [WriteMode::Interactive, WriteMode::Replicated] {
        let docs =
            [r#"{"_id":"a","_rev":"1-x"}"#, &stub.replace("\"d\",", "\"d\",\"_rev\":\"1-x\",")];
        let docs = if mode == WriteMode::Interactive { [r#"{"_id":"a"}"#, stub] } else { docs };
        assert_eq!(write(&db, &docs, mode), Err(reason.into()));
        assert_eq!(db.info().unwrap().doc_count, 0, "nothing is stored");
    }
    let first = put(&db, r#"{"_id":"d","_attachments":{"x":{"data":"MQ=="}}}"#).unwrap();
    let wrong = format!(
        r#"{{"_id":"d","_rev":"{first}","_attachments":{{"x":{{"stub":true,"revpos":7}}}}}}"#
    );
    assert_eq!(write(&db, &[&wrong], WriteMode::Interactive), Err(reason.into()));
}

#[test]
fn replicated_attachments_keep_the_position_they_are_given() {
    let db = database();
    let c = "c".repeat(32);
    let with = |attachment: &str, rev: &str| {
        format!(r#"{{"_id":"x",{rev},"_attachments":{{"f":{attachment}}}}}"#)
    };
    let first = format!(r#""_rev":"2-{c}""#);
    replicate(&db, &[&with(r#"{"data":"YWJj","revpos":2}"#, &first)]);
    assert!(
        get(&db, "x").unwrap().contains(r#""revpos":2,"digest":"md5-kAFQmDzST7DWlj99KOF/cg==""#)
    );
    let d = "d".repeat(32);
    let second = format!(r#""_revisions":{{"start":3,"ids":["{d}","{c}"]}}"#);
    replicate(&db, &[&with(r#"{"stub":true,"revpos":2}"#, &second)]);
    assert!(get(&db, "x").unwrap().contains(r#""revpos":2"#));
    let none = r#"{"_id":"y","_rev":"1-y","_attachments":{"f":{"data":"YWJj"}}}"#;
    replicate(&db, &[none]);
    assert!(get(&db, "y").unwrap().contains(r#""revpos":0"#));
}

#[test]
fn staged_bytes_are_checked_against_what_was_announced() {
    let db = database();
    let announce = |length: u64, text: &[u8]| StageOptions {
        length: Some(length),
        md5: Some(digest::md5(text)),
        ..StageOptions::default()
    };
    let try_with = |options| stage(&db, "f", BINARY, b"hello bytes", options).map(drop);
    try_with(announce(11, b"hello bytes")).unwrap();
    assert_eq!(
        try_with(announce(12, b"")).unwrap_err().to_string(),
        "attachment shorter than expected"
    );
    assert_eq!(
        try_with(announce(10, b"")).unwrap_err().to_string(),
        "attachment longer than expected"
    );
    assert!(matches!(try_with(announce(11, b"other")), Err(Error::Md5Mismatch)));
    assert!(matches!(
        db.stage_attachment("_f", BINARY, StageOptions::default()),
        Err(Error::BadRequest(_))
    ));
    let text = stage(&db, "f", "text/plain", b"hello bytes", announce(11, b"hello bytes"));
    assert!(text.is_ok(), "the digest may be that of the bytes as sent");
}

#[test]
fn text_is_stored_compressed_and_read_either_way() {
    let db = database();
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(20_000);
    for (id, inline) in [("staged", false), ("inline", true)] {
        let attachment = if inline {
            IncomingAttachment {
                name: "t".into(),
                content_type: "text/plain".into(),
                revpos: None,
                source: AttachmentSource::Inline(text.clone().into_bytes()),
            }
        } else {
            stage(&db, "t", "text/plain", text.as_bytes(), StageOptions::default()).unwrap()
        };
        write_with(&db, &format!(r#"{{"_id":"{id}"}}"#), attachment);
        let found = found(&db, id, "t");
        let compressed = gzip::compress(text.as_bytes(), gzip::DEFAULT_LEVEL);
        assert_eq!(found.record().encoding, Encoding::Gzip);
        assert_eq!(found.record().digest, digest::md5(&compressed));
        assert_eq!(found.record().identity_len, text.len() as u64);
        assert_eq!(bytes(&found), text.as_bytes());
        let mut stored = Vec::new();
        found.stored().unwrap().read_to_end(&mut stored).unwrap();
        assert_eq!(stored, compressed);
    }
    let sent = gzip::compress(b"some text", 8);
    let options = StageOptions { encoding: Encoding::Gzip, ..StageOptions::default() };
    let attachment = stage(&db, "z", "text/plain", &sent, options).unwrap();
    write_with(&db, r#"{"_id":"gzip"}"#, attachment);
    let found = found(&db, "gzip", "z");
    assert_eq!((found.record().stored_len, found.record().identity_len), (sent.len() as u64, 9));
    assert_eq!(bytes(&found), b"some text");
}

#[test]
fn parts_are_read_without_the_rest() {
    let db = database();
    let long: Vec<u8> = (0..1_000_000u32).flat_map(|n| n.to_le_bytes()).collect();
    let attachment = stage(&db, "f", BINARY, &long, StageOptions::default()).unwrap();
    write_with(&db, r#"{"_id":"d"}"#, attachment);
    let found = found(&db, "d", "f");
    let part = |from: u64, to: u64| {
        let mut part = Vec::new();
        found.stored_range(from..to).unwrap().read_to_end(&mut part).unwrap();
        part
    };
    assert_eq!(part(1_000_001, 1_000_101), long[1_000_001..1_000_101]);
    assert_eq!(part(3_999_990, 5_000_000), long[3_999_990..]);
    assert_eq!(part(5_000_000, 5_000_001), b"");
    assert_eq!(bytes(&found), long);
}

#[test]
fn equal_bytes_of_a_document_are_stored_once() {
    let db = database();
    let bytes = vec![7; 10_000];
    let first = stage(&db, "f", BINARY, &bytes, StageOptions::default()).unwrap();
    let written = write_with(&db, r#"{"_id":"d"}"#, first);
    let place = found(&db, "d", "f").record().place;
    let second = stage(&db, "g", BINARY, &bytes, StageOptions::default()).unwrap();
    write_with(&db, &format!(r#"{{"_id":"d","_rev":"{written}"}}"#), second);
    assert_eq!(found(&db, "d", "g").record().place, place);
    let elsewhere = stage(&db, "f", BINARY, &bytes, StageOptions::default()).unwrap();
    write_with(&db, r#"{"_id":"e"}"#, elsewhere);
    assert_ne!(found(&db, "e", "f").record().place, place);
}

#[test]
fn only_what_the_asker_has_not_seen_is_sent() {
    let db = database();
    let first = put(&db, r#"{"_id":"d","_attachments":{"one":{"data":"MQ=="}}}"#).unwrap();
    let two = stage(&db, "two", BINARY, b"2", StageOptions::default()).unwrap();
    let mut edit = db.read().unwrap().edit("d", Some(&rev(&first))).unwrap();
    edit.attachments.insert(0, two);
    let second = db.write(vec![edit], WriteMode::Interactive).unwrap().remove(0).unwrap();
    assert_eq!(second.to_string(), "2-84cf4fd0b8e190fbd87fec172dd56452");
    let with_data = |since: &[&str]| {
        let show = ShowOptions {
            attachments: AttachmentForm::Inline,
            atts_since: Some(since.iter().map(|text| rev(text)).collect()),
            ..ShowOptions::default()
        };
        let shown = get_with(&db, "d", &GetOptions { show, ..GetOptions::default() }).unwrap();
        shown.matches("\"data\"").count()
    };
    assert_eq!(with_data(&[&first]), 1);
    assert_eq!(with_data(&[&second.to_string()]), 0);
    assert_eq!(with_data(&[]), 2);
    assert_eq!(with_data(&[&long_rev(9, "9")]), 2);
    assert_eq!(with_data(&[&first, &second.to_string()]), 0);
}

#[test]
fn following_attachments_come_in_the_documents_order() {
    let db = database();
    put(&db, r#"{"_id":"d","_attachments":{"b":{"data":"YmJi"},"a":{"data":"YWE="}}}"#).unwrap();
    let show = ShowOptions { attachments: AttachmentForm::Follows, ..ShowOptions::default() };
    let reader = db.read().unwrap();
    let options = GetOptions { show, ..GetOptions::default() };
    let document = reader.get("d", &options).unwrap();
    let mut text = Vec::new();
    document.write_json(&mut text).unwrap();
    assert_eq!(String::from_utf8(text).unwrap().matches("\"follows\":true").count(), 2);
    let following: Vec<_> = document.following().map(|found| bytes(&found)).collect();
    assert_eq!(following, [b"bbb".to_vec(), b"aa".to_vec()]);
}

#[test]
fn a_copy_takes_its_attachments_along_and_an_edit_keeps_them() {
    let db = database();
    let json = r#"{"_id":"d","v":1,"_attachments":{"f":{"data":"ZGF0YQ=="}}}"#;
    assert_eq!(put(&db, json).unwrap(), "1-1af1e1078411d829dd255bfef419174e");
    let copy = db.read().unwrap().copy("d", None, "e").unwrap();
    let written = db.write(vec![copy], WriteMode::Interactive).unwrap().remove(0).unwrap();
    assert_eq!(written.to_string(), "1-1af1e1078411d829dd255bfef419174e");
    assert_eq!(bytes(&found(&db, "e", "f")), b"data");
    let reader = db.read().unwrap();
    let missing = |rev: Option<&Rev>| reader.edit("none", rev).unwrap_err().to_string();
    assert_eq!(missing(None), "missing");
    assert_eq!(missing(Some(&rev("1-x"))), "missing_rev");
}

#[test]
fn a_revived_document_counts_its_attachments_as_couchdb_does() {
    let db = database();
    let first = put(&db, r#"{"_id":"d"}"#).unwrap();
    put(&db, &format!(r#"{{"_id":"d","_rev":"{first}","_deleted":true}}"#)).unwrap();
    put(&db, r#"{"_id":"d","_attachments":{"f":{"data":"MQ=="}}}"#).unwrap();
    let revived = &leaves(&db, "d")[0];
    assert!(revived.contains(r#""_rev":"3-"#) && revived.contains(r#""revpos":1"#), "{revived}");
}

#[test]
fn a_text_with_long_attachments_is_written_piece_by_piece() {
    struct Pieces(Vec<u8>, usize);
    impl std::io::Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.1 = self.1.max(bytes.len());
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let db = database();
    let long = vec![b'x'; 1_000_000];
    let attachment = stage(&db, "long", "text/plain", &long, StageOptions::default()).unwrap();
    let rest = r#"{"_id":"d","v":1,"_attachments":{"short":{"data":"MQ=="}}}"#;
    write_with(&db, rest, attachment);
    let show = ShowOptions { attachments: AttachmentForm::Inline, ..ShowOptions::default() };
    let (reader, options) = (db.read().unwrap(), GetOptions { show, ..GetOptions::default() });
    let document = reader.get("d", &options).unwrap();
    let mut pieces = Pieces(Vec::new(), 0);
    document.stream_json(&mut pieces).unwrap();
    let mut whole = Vec::new();
    document.write_json(&mut whole).unwrap();
    assert_eq!(pieces.0, whole);
    assert!(pieces.1 < 100_000, "{}", pieces.1);
    let again = Document::parse(&whole, None, &Default::default()).unwrap();
    assert_eq!(again.attachments[0].source, AttachmentSource::Inline(long));
    assert_eq!(again.attachments[1].source, AttachmentSource::Inline(b"1".to_vec()));
}

#[test]
fn what_was_announced_but_never_sent_is_refused() {
    let db = database();
    let follows = r#"{"_id":"d","_attachments":{"f":{"follows":true,"length":1}}}"#;
    assert!(write(&db, &[follows], WriteMode::Interactive).is_err());
    let document: Document = doc(r#"{"_id":"d"}"#);
    assert!(document.attachments.is_empty());
}

/// Found by PouchDB's tests: CouchDB takes such a document, and keeps no attachment of it.
#[test]
fn attachments_of_local_documents_are_dropped() {
    let db = database();
    let local = r#"{"_id":"_local/d","v":1,"_attachments":{"f":{"content_type":"text/plain","data":"MQ=="},"g":{"stub":true}}}"#;
    write(&db, &[local], WriteMode::Interactive).unwrap();
    let reader = db.read().unwrap();
    let mut text = Vec::new();
    reader.get("_local/d", &GetOptions::default()).unwrap().write_json(&mut text).unwrap();
    assert_eq!(text, br#"{"_id":"_local/d","_rev":"0-1","v":1}"#);
}
