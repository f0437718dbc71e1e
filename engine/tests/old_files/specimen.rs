//! A database with everything in it that the format has a form for.

use std::{path::Path, sync::Arc};

use settee_engine::{
    Database, Databases, Document, Options, Props, PurgeRequest, Rev, StageOptions, WriteMode,
    document::{AttachmentSource, IncomingAttachment, Limits},
};
use settee_storage::disk::{Disk, MemoryDisk, OpenMode, read_exact_at};

/// Small, so that the file goes through several checkpoints.
const CHECKPOINT_LOG_BYTES: u64 = 24 * 1024;
/// Documents enough for trees of more than one level.
const DOCUMENTS: usize = 300;

/// The file as a process that was killed leaves it: the last commits are in no tree.
pub(crate) fn file() -> Vec<u8> {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let mut options = Options::default();
    options.store.identity = Some(*b"the salt of it, the creation id.");
    options.store.checkpoint_log_bytes = CHECKPOINT_LOG_BYTES;
    let all = Databases::open(Arc::clone(&disk), "data", options).unwrap();
    let db = all.create("old", Props { q: 8, n: 3, partitioned: false }).unwrap();
    fill(&db);
    let file = disk.open(Path::new("data/old.settee"), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    read_exact_at(file.as_ref(), &mut bytes, 0).unwrap();
    bytes
}

fn fill(db: &Arc<Database>) {
    let numbers: Vec<_> = (0..DOCUMENTS).collect();
    for numbers in numbers.chunks(50) {
        let text = |n: &usize| format!(r#"{{"_id":"doc{n:03}","n":{n},"text":"grüße {n}"}}"#);
        write(db, &numbers.iter().map(text).collect::<Vec<_>>(), WriteMode::Interactive);
    }
    let mut rev = put(db, r#"{"_id":"long","n":0}"#);
    for n in 1..30 {
        rev = put(db, &format!(r#"{{"_id":"long","_rev":"{rev}","n":{n}}}"#));
    }
    conflicts(db);
    attachments(db);
    purges(db);
    put(db, r#"{"_id":"_design/d","language":"query"}"#);
    put(db, r#"{"_id":"_local/checkpoint","seq":17}"#);
    let gone = put(db, r#"{"_id":"_local/gone"}"#);
    put(db, &format!(r#"{{"_id":"_local/gone","_rev":"{gone}","_deleted":true}}"#));
    db.set_security(br#"{"admins":{"names":["anna"],"roles":[]},"x":[1.50]}"#).unwrap();
    db.set_revs_limit(20).unwrap();
    db.set_purged_infos_limit(3).unwrap();
    // From here on it is a file of version 2: blobs, streams and trees as compaction lays them down.
    db.compact().unwrap();
    let again = |n: &usize| {
        let rev = first_rev(db, &format!("doc{n:03}"));
        format!(r#"{{"_id":"doc{n:03}","_rev":"{rev}","n":{n},"again":true}}"#)
    };
    write(db, &(10..20).map(|n| again(&n)).collect::<Vec<_>>(), WriteMode::Interactive);
    attach(db, "chunks too", "larger.png", "image/png", &pattern(700_000, 11));
    db.checkpoint().unwrap();
    // What follows stands in commits only.
    rev = put(db, &format!(r#"{{"_id":"long","_rev":"{rev}","n":"stemmed"}}"#));
    put(db, &format!(r#"{{"_id":"long","_rev":"{rev}","n":"last","_deleted":true}}"#));
    put(db, r#"{"_id":"_local/checkpoint","_rev":"0-1","seq":18}"#);
    attach(db, "late", "later.bin", "application/octet-stream", &pattern(1000, 7));
    purge(db, "doc007", &first_rev(db, "doc007"));
    db.set_purged_infos_limit(2).unwrap();
}

fn conflicts(db: &Arc<Database>) {
    let [a, b, c] = ["a", "b", "c"].map(|digit| digit.repeat(32));
    let revisions = |ids: &str| format!(r#""_revisions":{{"start":3,"ids":[{ids}]}}"#);
    for (ids, rest) in [
        (format!(r#""{c}","{b}","{a}""#), r#""branch":1"#),
        (format!(r#""{b}","{b}","{a}""#), r#""branch":2,"_deleted":true"#),
        (format!(r#""opaque","{b}""#), r#""branch":3"#),
        (format!(r#""{a}""#), r#""branch":4"#),
    ] {
        let doc = format!(r#"{{"_id":"conflicts",{},{rest}}}"#, revisions(&ids));
        write(db, &[doc], WriteMode::Replicated);
    }
}

fn attachments(db: &Arc<Database>) {
    put(
        db,
        r#"{"_id":"inline","_attachments":{"a.txt":{"content_type":"text/plain","data":"aGVsbG8gaGVsbG8="},
            "b.png":{"content_type":"image/png","data":"AAECAw=="}}}"#,
    );
    attach(db, "chunks", "large.png", "image/png", &pattern(600_000, 3));
    attach(db, "packed", "large.txt", "text/plain", &pattern(300_000, 5));
    attach(db, "empty", "nothing", "image/png", b"");
}

fn purges(db: &Arc<Database>) {
    let rev = put(db, r#"{"_id":"purged","n":1}"#);
    purge(db, "purged", &rev);
    purge(db, "conflicts", &format!("3-{}", "c".repeat(32)));
    purge(db, "unknown", &rev);
}

fn purge(db: &Arc<Database>, id: &str, rev: &str) {
    let revs = vec![Rev::parse(rev.as_bytes()).unwrap()];
    db.purge(vec![PurgeRequest { id: id.into(), revs }]).unwrap();
}

fn first_rev(db: &Arc<Database>, id: &str) -> String {
    let reader = db.read().unwrap();
    reader.get(id, &settee_engine::GetOptions::default()).unwrap().rev().to_string()
}

/// Bytes that repeat, so that the file packs well.
fn pattern(len: usize, step: usize) -> Vec<u8> {
    (0..len).map(|at| (at * step % 251) as u8).collect()
}

fn attach(db: &Arc<Database>, id: &str, name: &str, content_type: &str, bytes: &[u8]) {
    let mut writer = db.stage_attachment(name, content_type, StageOptions::default()).unwrap();
    bytes.chunks(70_000).for_each(|piece| writer.write(piece).unwrap());
    let source = AttachmentSource::Staged(writer.finish().unwrap());
    let mut doc = parse(&format!(r#"{{"_id":"{id}"}}"#));
    let (name, content_type) = (name.to_owned(), content_type.to_owned());
    doc.attachments.push(IncomingAttachment { name, content_type, revpos: None, source });
    db.write(vec![doc], WriteMode::Interactive).unwrap().remove(0).unwrap();
}

fn put(db: &Arc<Database>, json: &str) -> String {
    write(db, &[json], WriteMode::Interactive).remove(0)
}

fn write(db: &Arc<Database>, docs: &[impl AsRef<str>], mode: WriteMode) -> Vec<String> {
    let docs = docs.iter().map(|json| parse(json.as_ref())).collect();
    let results = db.write(docs, mode).unwrap().into_iter();
    results.map(|result| result.unwrap().to_string()).collect()
}

fn parse(json: &str) -> Document {
    Document::parse(json.as_bytes(), None, &Limits::default()).unwrap()
}
