//! Makes the corpora that no hand can write: small databases and revision trees by the real code.
//!
//! ```sh
//! cargo test -p settee-fuzz-harness --test seeds -- --ignored
//! ```

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{fs, path::Path, sync::Arc};

use settee_engine::{
    Database, Databases, Document, Options, Props, PurgeRequest, Rev, RevId, RevTree, WriteMode,
    document::Limits, revtree::Stored,
};
use settee_storage::{
    BlobRef,
    disk::{Disk, MemoryDisk, OpenMode, read_exact_at},
};

fn keep(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

fn put(db: &Arc<Database>, json: &str, mode: WriteMode) -> Rev {
    let doc = Document::parse(json.as_bytes(), None, &Limits::default()).unwrap();
    db.write(vec![doc], mode).unwrap().remove(0).unwrap()
}

/// A file with some documents, at a checkpoint or not.
fn file(checkpoint: bool) -> Vec<u8> {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let mut options = Options::default();
    options.store.identity = Some([9; 32]);
    options.store.max_prepare_bytes = 0;
    let all = Databases::open(Arc::clone(&disk), "data", options).unwrap();
    let db = all.create("db", Props::default()).unwrap();
    let rev = put(&db, r#"{"_id":"doc1","a":1}"#, WriteMode::Interactive);
    put(&db, &format!(r#"{{"_id":"doc1","_rev":"{rev}","a":2}}"#), WriteMode::Interactive);
    put(&db, &format!(r#"{{"_id":"doc2","_rev":"2-{}"}}"#, "c".repeat(32)), WriteMode::Replicated);
    put(&db, &format!(r#"{{"_id":"doc2","_rev":"1-{}"}}"#, "d".repeat(32)), WriteMode::Replicated);
    let attached =
        r#"{"_id":"doc3","_attachments":{"f":{"content_type":"text/plain","data":"aGk="}}}"#;
    let rev = put(&db, attached, WriteMode::Interactive);
    put(&db, r#"{"_id":"_local/1","x":1}"#, WriteMode::Interactive);
    db.set_security(b"{}").unwrap();
    if checkpoint {
        db.checkpoint().unwrap();
        db.purge(vec![PurgeRequest { id: "doc3".into(), revs: vec![rev] }]).unwrap();
    }
    let file = disk.open(Path::new("data/db.settee"), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    read_exact_at(file.as_ref(), &mut bytes, 0).unwrap();
    bytes
}

fn tree() -> Vec<u8> {
    let mut tree = RevTree::new();
    let stored = |seq, deleted| {
        let body = BlobRef { offset: 5000 + seq, len: 9, crc: 7 };
        Stored { deleted, body, seq, active_bytes: 9, external_bytes: 5 }
    };
    let ids =
        |text: &str| text.split(' ').map(|id| RevId::from_bytes(id.as_bytes())).collect::<Vec<_>>();
    tree.merge(3, &ids("c b a"), stored(1, false));
    tree.merge(3, &ids("d b a"), stored(2, true));
    tree.merge(7, &ids("0123456789abcdef x"), stored(3, false));
    let mut out = Vec::new();
    tree.encode(&mut out);
    out
}

#[test]
#[ignore = "writes the corpora"]
fn write_corpora() {
    for (name, checkpoint) in [("commits", false), ("checkpoint", true)] {
        let bytes = file(checkpoint);
        keep("database", name, &bytes);
        keep("file_open", name, &[&[1], &bytes[..]].concat());
        keep("file_open", &format!("{name}-as-it-is"), &[&[0], &bytes[..]].concat());
    }
    keep("revtree", "three-branches", &tree());
}
