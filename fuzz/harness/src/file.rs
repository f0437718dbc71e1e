//! Any bytes as a database file: a typed error, or something that can be used to its end.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use settee_engine::{
    AllDocsHead, AllDocsQuery, AttachmentForm, ChangeRow, ChangesQuery, Database, Databases,
    Document, NameRange, Namespace, Options, Reader, RowSink, ShowOptions, Style, WriteMode,
    document::Limits, json::Value,
};
use settee_storage::{
    Direction, FileStore, KeyRange, LocalCursor, Snapshot, Store,
    disk::{Disk, MemoryDisk, OpenMode, write_all_at},
    update,
};

use crate::stamp;

fn disk_with(path: &Path, bytes: &[u8]) -> Arc<dyn Disk> {
    let disk = MemoryDisk::default();
    if let Some(folder) = path.parent() {
        disk.create_dir_all(folder).expect("a memory disk takes a folder");
    }
    let file = disk.open(path, OpenMode::CreateNew).expect("a memory disk takes a file");
    write_all_at(&*file, bytes, 0).expect("a memory disk takes bytes");
    Arc::new(disk)
}

/// A file as it is (first byte even), or with checksums that are right (odd), opened by the store.
pub fn database_file(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if kind % 2 == 1 {
        stamp(&mut bytes);
    }
    let path = Path::new("db");
    let disk = disk_with(path, &bytes);
    let Ok(store) = FileStore::open(Arc::clone(&disk), path, Default::default()) else { return };
    if let Ok(snapshot) = store.snapshot() {
        read_all(snapshot.as_ref());
    }
    let store: Arc<dyn Store> = store;
    let written =
        update(&store, |edit| edit.put_doc(b"new", Default::default(), b"value", b"change"));
    let checkpointed = store.checkpoint();
    store.close();
    drop(store);
    if let (Ok(seq), Ok(())) = (written, checkpointed) {
        let again = FileStore::open(disk, path, Default::default()).expect("it was open before");
        let snapshot = again.snapshot().expect("it is open");
        assert_eq!(snapshot.seq(), seq);
        let found = snapshot.doc(b"new").expect("what was just written can be read");
        assert_eq!(found.map(|doc| doc.value.to_vec()), Some(b"value".to_vec()));
    }
}

fn read_all(snapshot: &dyn Snapshot) {
    for direction in [Direction::Forward, Direction::Backward] {
        if let Ok(mut docs) = snapshot.docs(&KeyRange::all(), direction, false) {
            while let Ok(Some(_)) = docs.next() {}
        }
        if let Ok(mut changes) = snapshot.changes(0, direction) {
            while let Ok(Some(_)) = changes.next() {}
        }
        drain(snapshot.locals(&KeyRange::all(), direction));
        drain(snapshot.metas(&KeyRange::all(), direction));
    }
    let _ = (snapshot.counts(), snapshot.count_changes(3), snapshot.doc(b"doc1"));
    let _ = snapshot.count_docs(&KeyRange::prefix(b"doc"));
}

fn drain(cursor: settee_storage::Result<Box<dyn LocalCursor + '_>>) {
    if let Ok(mut cursor) = cursor {
        while let Ok(Some(_)) = cursor.next() {}
    }
}

/// A file with checksums that are right, opened by the engine: all that it decodes is hostile.
pub fn database(input: &[u8]) {
    let mut bytes = input.to_vec();
    stamp(&mut bytes);
    let disk = disk_with(Path::new("data/db.settee"), &bytes);
    let Ok(all) = Databases::open(disk, "data", Options::default()) else { return };
    let _ = all.names(&NameRange::default());
    let Ok(db) = all.get("db") else { return };
    let _ = (db.info(), db.security());
    if let Ok(reader) = db.read() {
        read_documents(&reader);
    }
    write_documents(&db);
    let _ = db.checkpoint();
    let _ = all.close();
}

fn read_documents(reader: &Reader) {
    let show = ShowOptions {
        revs: true,
        revs_info: true,
        conflicts: true,
        deleted_conflicts: true,
        attachments: AttachmentForm::Inline,
        ..ShowOptions::default()
    };
    let mut rows = Rows::default();
    for namespace in [Namespace::All, Namespace::Local] {
        let query = AllDocsQuery { namespace, include_docs: true, ..AllDocsQuery::default() };
        let _ = reader.all_docs(&query, &mut rows);
    }
    let query =
        ChangesQuery { style: Style::AllDocs, include_docs: true, ..ChangesQuery::default() };
    let _ = reader.changes(&query, &mut |_: ChangeRow<'_>| ControlFlow::Continue(()));
    for row in &rows.0 {
        let Ok(row) = Value::parse(row) else { continue };
        let Some(id) = row.get("id").and_then(Value::as_str) else { continue };
        let Ok(leaves) = reader.leaves(id, &show) else { continue };
        for leaf in leaves {
            let _ = leaf.write_json(&mut Vec::new());
        }
    }
    let _ = reader.purged_infos();
}

fn write_documents(db: &Arc<Database>) {
    for id in ["doc1", "doc2", "_local/1", "new"] {
        let Ok(reader) = db.read() else { return };
        let mut doc = reader.edit(id, None).unwrap_or_else(|_| {
            Document::parse(b"{}", Some(id), &Limits::default()).expect("an empty document")
        });
        doc.id = id.to_owned();
        let _ = db.write(vec![doc], WriteMode::Interactive);
    }
}

#[derive(Default)]
struct Rows(Vec<Vec<u8>>);

impl RowSink for Rows {
    fn head(&mut self, _: &AllDocsHead) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn row(&mut self, json: &[u8]) -> ControlFlow<()> {
        self.0.push(json.to_vec());
        ControlFlow::Continue(())
    }
}
