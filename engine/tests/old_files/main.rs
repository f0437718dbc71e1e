//! Files written by every version of the format there has been: each opens, and shows what its
//! manifest says, byte by byte of the documents and attachments in it.
//!
//! When the format changes, the files that are here stay as they are, and one of the new version is
//! added to them:
//!
//! ```sh
//! SETTEE_OLD_FILE=v2 cargo test -p settee-engine --test old_files -- --ignored
//! ```
//!
//! writes `v2.settee.gz` and `v2.txt` beside this file; the new one has to contain what is new (see
//! `specimen`). A manifest of a file that was released is never written again.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod specimen;

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use settee_engine::{
    AllDocsQuery, ChangeRow, ChangesQuery, Database, Databases, Document, GetOptions, Namespace,
    Options, Reader, RowSink, ShowOptions, Style, WriteMode, attachment::digest, document::Limits,
    json::Value,
};
use settee_storage::disk::{Disk, MemoryDisk, OpenMode, write_all_at};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/old_files")
}

/// The files that are here, with their manifests.
fn files() -> Vec<(String, Vec<u8>, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(version) = name.strip_suffix(".settee.gz") else { continue };
        let mut bytes = Vec::new();
        GzDecoder::new(fs::File::open(&path).unwrap()).read_to_end(&mut bytes).unwrap();
        let manifest = fs::read_to_string(folder().join(format!("{version}.txt"))).unwrap();
        files.push((version.to_owned(), bytes, manifest));
    }
    assert!(!files.is_empty());
    files
}

fn open(bytes: &[u8]) -> (Arc<dyn Disk>, Arc<Databases>) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    disk.create_dir_all(Path::new("data")).unwrap();
    let file = disk.open(Path::new("data/old.settee"), OpenMode::CreateNew).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
    let all = Databases::open(Arc::clone(&disk), "data", Options::default()).unwrap();
    (disk, all)
}

#[test]
fn files_of_every_version_show_what_they_hold() {
    for (version, bytes, manifest) in files() {
        let (disk, all) = open(&bytes);
        let db = all.get("old").unwrap();
        assert_same(&version, &describe(&db), &manifest);

        // They can be written to, and brought up to date.
        let doc = Document::parse(b"{}", Some("new"), &Limits::default()).unwrap();
        db.write(vec![doc], WriteMode::Interactive).unwrap().remove(0).unwrap();
        db.checkpoint().unwrap();
        drop(db);
        all.close().unwrap();
        drop(all);
        let all = Databases::open(disk, "data", Options::default()).unwrap();
        let db = all.get("old").unwrap();
        let found = describe(&db);
        for line in manifest.lines().filter(|line| line.starts_with("leaf ")) {
            assert!(found.contains(line), "{version}: {line}");
        }
        assert!(found.contains("leaf new "));
    }
}

fn assert_same(version: &str, found: &str, manifest: &str) {
    for (found, expected) in found.lines().zip(manifest.lines()) {
        assert_eq!(found, expected, "{version}");
    }
    assert_eq!(found.lines().count(), manifest.lines().count(), "{version}");
}

#[test]
#[ignore = "writes a file of the present version"]
fn write_a_file_of_this_version() {
    let version = std::env::var("SETTEE_OLD_FILE").unwrap();
    let bytes = specimen::file();
    let manifest = describe(&open(&bytes).1.get("old").unwrap());
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&bytes).unwrap();
    fs::write(folder().join(format!("{version}.settee.gz")), packed.finish().unwrap()).unwrap();
    fs::write(folder().join(format!("{version}.txt")), manifest).unwrap();
}

/// Everything a database shows, as lines of text.
fn describe(db: &Arc<Database>) -> String {
    let mut out = String::new();
    let info = db.info().unwrap();
    let counts = (info.doc_count, info.doc_del_count, info.update_seq, info.purge_seq);
    writeln!(out, "counts {counts:?} external {}", info.sizes.external).unwrap();
    let limits = (db.revs_limit(), db.purged_infos_limit());
    writeln!(out, "settings {} {limits:?} {:?}", db.security(), db.props()).unwrap();
    let reader = db.read().unwrap();
    for purged in reader.purged_infos().unwrap() {
        writeln!(out, "purged {} {:?}", purged.id, purged.revs).unwrap();
    }
    for id in local_ids(&reader) {
        writeln!(out, "local {}", json(&reader, &id, &GetOptions::default()).unwrap()).unwrap();
    }
    for (seq, id) in changes(&reader) {
        writeln!(out, "change {seq} {id}").unwrap();
        describe_doc(&mut out, &reader, &id);
    }
    out
}

fn describe_doc(out: &mut String, reader: &Reader, id: &str) {
    let show = ShowOptions { revs: true, att_encoding_info: true, ..ShowOptions::default() };
    for leaf in reader.leaves(id, &show).unwrap() {
        let mut text = Vec::new();
        leaf.write_json(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        writeln!(out, "leaf {id} deleted {} {text}", leaf.deleted()).unwrap();
        for record in leaf.attachments() {
            let found = reader.attachment(id, Some(leaf.rev()), &record.name).unwrap();
            let mut bytes = Vec::new();
            found.stored().unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(digest::md5(&bytes), record.digest, "{id} {}", record.name);
            bytes.clear();
            found.identity().unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, record.identity_len, "{id} {}", record.name);
        }
        let shown = Value::parse(text.as_bytes()).unwrap();
        let ids = shown.get("_revisions").and_then(|it| it.get("ids")).unwrap();
        let revs = (1..=leaf.rev().generation).rev().zip(ids.as_array().unwrap());
        for (generation, id_of_rev) in revs.skip(1) {
            let rev = format!("{generation}-{}", id_of_rev.as_str().unwrap());
            let rev = Some(settee_engine::Rev::parse(rev.as_bytes()).unwrap());
            let older = json(reader, id, &GetOptions { rev, ..GetOptions::default() });
            writeln!(out, "older {}", older.unwrap_or_else(|error| error)).unwrap();
        }
    }
}

fn json(reader: &Reader, id: &str, options: &GetOptions) -> Result<String, String> {
    let mut text = Vec::new();
    let found = reader.get(id, options).map_err(|error| error.to_string())?;
    found.write_json(&mut text).unwrap();
    Ok(String::from_utf8(text).unwrap())
}

fn changes(reader: &Reader) -> Vec<(u64, String)> {
    let mut rows = Vec::new();
    let query = ChangesQuery { style: Style::AllDocs, ..ChangesQuery::default() };
    let mut row = |row: ChangeRow<'_>| {
        rows.push((row.seq, id_of(row.json)));
        ControlFlow::Continue(())
    };
    reader.changes(&query, &mut row).unwrap();
    rows
}

fn local_ids(reader: &Reader) -> Vec<String> {
    #[derive(Default)]
    struct Ids(Vec<String>);
    impl RowSink for Ids {
        fn head(&mut self, _: &settee_engine::AllDocsHead) -> ControlFlow<()> {
            ControlFlow::Continue(())
        }

        fn row(&mut self, json: &[u8]) -> ControlFlow<()> {
            self.0.push(id_of(json));
            ControlFlow::Continue(())
        }
    }
    let mut ids = Ids::default();
    let query = AllDocsQuery { namespace: Namespace::Local, ..AllDocsQuery::default() };
    reader.all_docs(&query, &mut ids).unwrap();
    ids.0
}

fn id_of(json: &[u8]) -> String {
    Value::parse(json).unwrap().get("id").and_then(Value::as_str).unwrap().to_owned()
}
