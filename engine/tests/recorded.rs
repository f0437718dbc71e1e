//! Random requests recorded from CouchDB, carried out on the engine directly: what the server does
//! with them on top of this is shown by its own replay of the same files.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::{collections::BTreeMap, fs, io::Read, path::PathBuf, sync::Arc};

use flate2::read::GzDecoder;
use settee_engine::{
    AllDocsQuery, AttachmentForm, ChangesFilter, ChangesQuery, Database, Databases, DocKey,
    Document, Error, FoundDocument, GetOptions, Namespace, OpenRevs, Options, Props, PurgeRequest,
    Rev, RevsRequest, Selection, ShowOptions, StageOptions, Style, WriteMode,
    attachment::digest,
    document::{AttachmentSource, IncomingAttachment, Limits, parse_bulk},
    error::Absence,
    find::Selector,
    json::{Object, Value},
};
use settee_storage::disk::RealDisk;
use support::Rows;

/// Members of answers that may differ between servers.
const LEFT_OUT: [&str; 4] = ["update_seq", "last_seq", "seq", "pending"];

/// Steps left out together with the rest of their file, because afterwards other things are stored than
/// in CouchDB. Lines count from 1.
///
/// When the last live leaf of a document is purged and a deleted one stays, CouchDB goes on taking the
/// document for a live one: it counts it, and decides about writes accordingly. Here it counts as
/// deleted, as its winner is.
const LEFT_OUT_FROM: [(&str, usize); 3] =
    [("core-1032.jsonl.gz", 151), ("core-1034.jsonl.gz", 167), ("core-1038.jsonl.gz", 67)];
/// Steps left out alone.
///
/// A revision id that stands in two made-up histories, one of them deleted: CouchDB reads the deleted
/// one and refuses to go on from it. Here the attachment is written.
const LEFT_OUT_ALONE: [(&str, usize); 1] = [("core-1022.jsonl.gz", 184)];

type Answer = Result<(u16, Value), Error>;

fn files() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/conformance/random");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let core = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("core-");
    let mut files: Vec<_> = entries.filter(core).collect();
    files.sort();
    files
}

#[test]
fn the_engine_answers_as_couchdb_did() {
    assert!(replay(&Databases::in_memory(), &files()) > 7000);
}

#[test]
fn so_it_does_over_the_reference_model() {
    assert!(replay(&Databases::over_model(), &files()) > 7000);
}

#[test]
fn so_it_does_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Databases::open(Arc::new(RealDisk), folder.path(), Options::default()).unwrap();
    assert!(replay(&disk, &files()[..3]) > 500);
}

/// Carries out the requests of all files; returns how many there were.
fn replay(databases: &Databases, files: &[PathBuf]) -> usize {
    let (mut steps, mut differences) = (0, Vec::new());
    for (number, file) in files.iter().enumerate() {
        let props = Props { q: 1, ..Props::default() };
        let db = databases.create(&format!("db{number}"), props).unwrap();
        let mut text = String::new();
        GzDecoder::new(fs::File::open(file).unwrap()).read_to_string(&mut text).unwrap();
        for (number, line) in text.lines().enumerate() {
            let place = (file.file_name().unwrap().to_str().unwrap(), number + 1);
            if LEFT_OUT_FROM.contains(&place) {
                break;
            }
            if !LEFT_OUT_ALONE.contains(&place) {
                steps += 1;
                let difference = Step::parse(line).difference(&db);
                differences.extend(difference.map(|text| format!("{place:?} {line}\n{text}")));
            }
        }
    }
    let shown: Vec<_> = differences.iter().take(10).map(String::as_str).collect();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), shown.join("\n"));
    steps
}

/// A request and the answer CouchDB gave.
struct Step {
    method: String,
    path: Vec<String>,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Value,
    bytes: Option<Vec<u8>>,
    status: u16,
    answer: Value,
}

impl Step {
    fn parse(line: &str) -> Self {
        let step = Value::parse(line.as_bytes()).unwrap();
        let text = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default();
        let (path, query) = text("path").split_once('?').unwrap_or((text("path"), ""));
        let mut path: Vec<String> = path.trim_start_matches('/').split('/').map(decoded).collect();
        if path.len() > 1 && ["_design", "_local"].contains(&path[0].as_str()) {
            let kind = path.remove(0);
            path[0] = format!("{kind}/{}", path[0]);
        }
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let headers = step.get("headers").and_then(Value::as_object).cloned().unwrap_or_default();
        let base64 = format!(r#"{{"_attachments":{{"x":{{"data":"{}"}}}}}}"#, text("b64"));
        let bytes = step.get("b64").map(|_| {
            let source = support::doc(&base64).attachments.remove(0).source;
            let AttachmentSource::Inline(bytes) = source else { panic!("not inline") };
            bytes
        });
        Step {
            method: text("method").to_owned(),
            path,
            query: pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.to_owned(), value.as_str().unwrap().to_owned()))
                .collect(),
            body: step.get("body").cloned().unwrap_or(Value::Null),
            bytes,
            status: u16::try_from(step.get("status").and_then(Value::as_u64).unwrap()).unwrap(),
            answer: step.get("answer").cloned().unwrap_or(Value::Null),
        }
    }

    /// Carries the request out; says where the answer is another one than CouchDB's.
    fn difference(&self, db: &Arc<Database>) -> Option<String> {
        let (status, answer) = self.run(db).unwrap_or_else(|error| refused(&error));
        let got = format!("{status} {}", canonical(&answer));
        let expected = format!("{} {}", self.status, canonical(&self.answer));
        if got == expected || self.method == "HEAD" && status == self.status {
            return None;
        }
        let same = got.chars().zip(expected.chars()).take_while(|(a, b)| a == b).count();
        let from = |text: &str| text.chars().skip(same.saturating_sub(60)).collect::<String>();
        Some(format!("  expected {}\n  got      {}", from(&expected), from(&got)))
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// Whether a parameter is set, in the query or in the body.
    fn is(&self, name: &str) -> bool {
        self.parameter(name) == Some("true") || self.body.get(name) == Some(&Value::Bool(true))
    }

    fn json(&self, name: &str) -> Option<Value> {
        self.parameter(name).map(|text| Value::parse(text.as_bytes()).unwrap())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.parameter(name).map(|text| text.parse().unwrap())
    }

    fn rev(&self) -> Result<Option<Rev>, Error> {
        self.parameter("rev").map(|rev| Rev::parse(rev.as_bytes())).transpose()
    }

    fn show(&self) -> ShowOptions {
        let meta = self.is("meta");
        ShowOptions {
            revs: self.is("revs"),
            revs_info: meta || self.is("revs_info"),
            local_seq: self.is("local_seq"),
            conflicts: meta || self.is("conflicts"),
            deleted_conflicts: meta || self.is("deleted_conflicts"),
            attachments: if self.is("attachments") {
                AttachmentForm::Inline
            } else {
                AttachmentForm::Stub
            },
            atts_since: None,
            att_encoding_info: self.is("att_encoding_info"),
        }
    }

    fn run(&self, db: &Arc<Database>) -> Answer {
        let id = self.path[0].as_str();
        match (self.method.as_str(), id, self.path.get(1)) {
            ("GET" | "POST", "_all_docs" | "_design_docs" | "_local_docs", _) => self.list(db),
            ("GET" | "POST", "_changes", _) => self.changes(db),
            ("POST", "_bulk_docs", _) => self.bulk_docs(db),
            ("POST", "_bulk_get", _) => self.bulk_get(db),
            ("POST", "_revs_diff", _) => self.revs_diff(db),
            ("POST", "_purge", _) => self.purge(db),
            ("GET", "", None) => self.info(db),
            ("GET" | "HEAD", id, None) => self.get(db, id),
            ("GET", id, Some(name)) => self.get_attachment(db, id, name),
            ("PUT", id, None) => self.put(db, id),
            ("PUT", id, Some(name)) => self.put_attachment(db, id, name),
            ("DELETE", id, None) => self.delete(db, id),
            ("COPY", id, None) => self.copy(db, id),
            _ => panic!("no such request: {} {:?}", self.method, self.path),
        }
    }

    fn info(&self, db: &Arc<Database>) -> Answer {
        let info = db.info()?;
        Ok((
            200,
            object([
                ("doc_count", number(Some(info.doc_count))),
                ("doc_del_count", number(Some(info.doc_del_count))),
                ("compact_running", Value::Bool(false)),
            ]),
        ))
    }

    fn get(&self, db: &Arc<Database>, id: &str) -> Answer {
        let (reader, show) = (db.read()?, self.show());
        if let Some(revs) = self.parameter("open_revs") {
            let listed =
                if revs == "all" { Vec::new() } else { revs_of(&Value::parse(revs.as_bytes())?) };
            let revs = if revs == "all" { OpenRevs::All } else { OpenRevs::These(&listed) };
            let opened = reader.open_revs(id, revs, self.is("latest"), &show)?;
            let answers = opened.into_iter().map(|found| match found {
                Ok(found) => object([("ok", json_of(&found))]),
                Err(missing) => object([("missing", missing.to_string().into())]),
            });
            return Ok((200, Value::Array(answers.collect())));
        }
        let options =
            GetOptions { rev: self.rev()?, latest: self.is("latest"), deleted: false, show };
        Ok((200, json_of(&reader.get(id, &options)?)))
    }

    fn get_attachment(&self, db: &Arc<Database>, id: &str, name: &str) -> Answer {
        let found = db.read()?.attachment(id, self.rev()?.as_ref(), name)?;
        let mut bytes = Vec::new();
        found.identity()?.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, found.record().identity_len);
        let mut stored = Vec::new();
        found.stored()?.read_to_end(&mut stored).unwrap();
        assert_eq!(digest::md5(&stored), found.record().digest);
        // Recorded as text; the steps that come this far are few and their digests are compared.
        Ok((200, self.answer.clone()))
    }

    fn put(&self, db: &Arc<Database>, id: &str) -> Answer {
        let mut document = Document::parse(&self.body.to_json(), Some(id), &Limits::default())?;
        if let Some(rev) = self.rev()? {
            document.rev = Some(rev);
        }
        let status = if document.deleted { 200 } else { 201 };
        write_one(db, document, status)
    }

    fn put_attachment(&self, db: &Arc<Database>, id: &str, name: &str) -> Answer {
        let mut document = match self.rev()? {
            Some(rev) => db.read()?.edit(id, Some(&rev))?,
            None => Document::parse(b"{}", Some(id), &Limits::default())?,
        };
        let content_type = &self.headers["Content-Type"];
        let mut writer = db.stage_attachment(name, content_type, StageOptions::default())?;
        writer.write(self.bytes.as_ref().unwrap())?;
        let source = AttachmentSource::Staged(writer.finish()?);
        document.attachments.retain(|attachment| attachment.name != name);
        let (name, content_type) = (name.to_owned(), content_type.clone());
        document
            .attachments
            .insert(0, IncomingAttachment { name, content_type, revpos: None, source });
        write_one(db, document, 201)
    }

    fn delete(&self, db: &Arc<Database>, id: &str) -> Answer {
        let rev = self.rev()?;
        db.read()?.get(id, &GetOptions::default())?;
        let mut document = Document::parse(b"{}", Some(id), &Limits::default())?;
        document.rev = Some(rev.ok_or(Error::Conflict)?);
        document.deleted = true;
        write_one(db, document, 200)
    }

    fn copy(&self, db: &Arc<Database>, id: &str) -> Answer {
        let (to, rev) = match self.headers["Destination"].split_once("?rev=") {
            Some((to, rev)) => (decoded(to), Some(Rev::parse(rev.as_bytes())?)),
            None => (decoded(&self.headers["Destination"]), None),
        };
        let mut document = db.read()?.copy(id, None, &to)?;
        document.rev = rev;
        write_one(db, document, 201)
    }

    fn bulk_docs(&self, db: &Arc<Database>) -> Answer {
        let request = parse_bulk(&self.body.to_json(), &Limits::default())?;
        let ids: Vec<String> = request.docs.iter().map(|doc| doc.id.clone()).collect();
        let mode = if request.new_edits { WriteMode::Interactive } else { WriteMode::Replicated };
        let results = db.write(request.docs, mode)?;
        let mut answer = Vec::new();
        for (id, result) in ids.iter().zip(results) {
            match result {
                Ok(_) if mode == WriteMode::Replicated => {}
                Ok(rev) => answer.push(written(id, &rev)),
                Err(error) => {
                    let (_, Value::Object(mut members)) = refused(&error) else { panic!() };
                    members.insert("id", id.as_str());
                    answer.push(Value::Object(members));
                }
            }
        }
        Ok((201, Value::Array(answer)))
    }

    fn bulk_get(&self, db: &Arc<Database>) -> Answer {
        let (reader, show) = (db.read()?, self.show());
        let mut results = Vec::new();
        for item in self.body.get("docs").and_then(Value::as_array).unwrap() {
            let id = item.get("id").and_then(Value::as_str).unwrap();
            let revs: Vec<Rev> = item.get("rev").map(rev_of).into_iter().collect();
            let missing = |rev: &str| {
                let parts =
                    [("id", id), ("rev", rev), ("error", "not_found"), ("reason", "missing")];
                object([("error", object(parts.map(|(name, text)| (name, text.into()))))])
            };
            let found = |found: &FoundDocument<'_>| object([("ok", json_of(found))]);
            let docs = match revs.is_empty() {
                true => match reader.leaves(id, &show) {
                    Err(Error::NotFound(_)) => vec![missing("undefined")],
                    leaves => leaves?.iter().map(found).collect(),
                },
                false => reader
                    .open_revs(id, OpenRevs::These(&revs), self.is("latest"), &show)?
                    .iter()
                    .map(|opened| match opened {
                        Ok(document) => found(document),
                        Err(rev) => missing(&rev.to_string()),
                    })
                    .collect(),
            };
            results.push(object([("id", id.into()), ("docs", Value::Array(docs))]));
        }
        Ok((200, object([("results", Value::Array(results))])))
    }

    fn revs_diff(&self, db: &Arc<Database>) -> Answer {
        let request =
            |(id, revs): (&str, &Value)| RevsRequest { id: id.into(), revs: revs_of(revs) };
        let requests: Vec<_> = self.body.as_object().unwrap().iter().map(request).collect();
        let list =
            |revs: &[Rev]| Value::Array(revs.iter().map(|rev| rev.to_string().into()).collect());
        let mut answer = Object::new();
        for diff in db.read()?.revs_diff(&requests)? {
            let mut members = Object::new();
            members.insert("missing", list(&diff.missing));
            if !diff.possible_ancestors.is_empty() {
                members.insert("possible_ancestors", list(&diff.possible_ancestors));
            }
            answer.insert(diff.id, Value::Object(members));
        }
        Ok((200, Value::Object(answer)))
    }

    fn purge(&self, db: &Arc<Database>) -> Answer {
        let request =
            |(id, revs): (&str, &Value)| PurgeRequest { id: id.into(), revs: revs_of(revs) };
        let mut purged = Object::new();
        for done in db.purge(self.body.as_object().unwrap().iter().map(request).collect())? {
            let revs = done.revs.iter().map(|rev| rev.to_string().into()).collect();
            purged.insert(done.id, Value::Array(revs));
        }
        Ok((201, object([("purged", Value::Object(purged))])))
    }

    fn list(&self, db: &Arc<Database>) -> Answer {
        let key = |value: Value| match value {
            Value::String(id) => DocKey::Id(id),
            other => DocKey::Other(String::from_utf8(other.to_json()).unwrap()),
        };
        let keys = self.json("keys").or_else(|| self.body.get("keys").cloned());
        let selection = match keys {
            Some(Value::Array(keys)) => Selection::Keys(keys.into_iter().map(key).collect()),
            _ => Selection::Range {
                start: self.json("startkey").map(key),
                end: self.json("endkey").map(key),
                inclusive_end: self.parameter("inclusive_end") != Some("false"),
            },
        };
        let namespace = match self.path[0].as_str() {
            "_design_docs" => Namespace::Design,
            "_local_docs" => Namespace::Local,
            _ => Namespace::All,
        };
        let query = AllDocsQuery {
            namespace,
            selection,
            descending: self.is("descending"),
            skip: self.number("skip").unwrap_or(0),
            limit: self.number("limit"),
            include_docs: self.is("include_docs"),
            show: self.show(),
            ..AllDocsQuery::default()
        };
        let mut rows = Rows::default();
        db.read()?.all_docs(&query, &mut rows)?;
        let head = rows.head.unwrap();
        let number = |n: Option<u64>| {
            n.map_or(Value::Null, |n| Value::parse(n.to_string().as_bytes()).unwrap())
        };
        Ok((
            200,
            object([
                ("total_rows", number(head.total_rows)),
                ("offset", number(head.offset)),
                ("rows", parsed(&rows)),
            ]),
        ))
    }

    fn changes(&self, db: &Arc<Database>) -> Answer {
        let filter = match self.parameter("filter") {
            Some("_design") => ChangesFilter::Design,
            Some("_doc_ids") => {
                let ids = self.body.get("doc_ids").and_then(Value::as_array).unwrap().iter();
                ChangesFilter::DocIds(ids.map(|id| id.as_str().unwrap().to_owned()).collect())
            }
            Some("_selector") => {
                let selector = Selector::parse(self.body.get("selector").unwrap())?;
                ChangesFilter::Documents(Arc::new(selector))
            }
            None => ChangesFilter::None,
            Some(other) => panic!("no such filter: {other}"),
        };
        let query = ChangesQuery {
            limit: self.number("limit"),
            descending: self.is("descending"),
            style: if self.parameter("style") == Some("all_docs") {
                Style::AllDocs
            } else {
                Style::MainOnly
            },
            include_docs: self.is("include_docs"),
            show: self.show(),
            filter,
            ..ChangesQuery::default()
        };
        let mut rows = Rows::default();
        db.read()?.changes(&query, &mut rows)?;
        Ok((200, object([("results", parsed(&rows))])))
    }
}

fn write_one(db: &Arc<Database>, document: Document, status: u16) -> Answer {
    let id = document.id.clone();
    let rev = db.write(vec![document], WriteMode::Interactive)?.remove(0)?;
    Ok((status, written(&id, &rev)))
}

fn written(id: &str, rev: &Rev) -> Value {
    object([("ok", Value::Bool(true)), ("id", id.into()), ("rev", rev.to_string().into())])
}

fn refused(error: &Error) -> (u16, Value) {
    let (status, name) = match error {
        Error::Conflict => (409, "conflict"),
        Error::NotFound(Absence::Revision) => (409, "not_found"),
        Error::NotFound(_) => (404, "not_found"),
        other => panic!("{other}"),
    };
    (status, object([("error", name.into()), ("reason", error.to_string().into())]))
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let mut object = Object::new();
    for (name, value) in members {
        object.insert(name, value);
    }
    Value::Object(object)
}

fn number(number: Option<u64>) -> Value {
    number.map_or(Value::Null, |number| Value::parse(number.to_string().as_bytes()).unwrap())
}

fn json_of(found: &FoundDocument<'_>) -> Value {
    let mut out = Vec::new();
    found.write_json(&mut out).unwrap();
    Value::parse(&out).unwrap()
}

fn parsed(rows: &Rows) -> Value {
    Value::Array(rows.rows.iter().map(|row| Value::parse(row.as_bytes()).unwrap()).collect())
}

fn rev_of(value: &Value) -> Rev {
    Rev::parse(value.as_str().unwrap().as_bytes()).unwrap()
}

fn revs_of(value: &Value) -> Vec<Rev> {
    value.as_array().unwrap().iter().map(rev_of).collect()
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap()
}

/// A text that is equal for answers that mean the same: members sorted, numbers by value, what may
/// differ left out.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let mut members: Vec<_> = object
                .iter()
                .filter(|(name, _)| !LEFT_OUT.contains(name))
                .map(|(name, value)| format!("{name:?}:{}", canonical(value)))
                .collect();
            members.sort();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        Value::Number(_) => {
            let text = String::from_utf8(value.to_json()).unwrap();
            if text.contains(['.', 'e', 'E']) {
                text.parse::<f64>().unwrap().to_string()
            } else {
                text
            }
        }
        other => String::from_utf8(other.to_json()).unwrap(),
    }
}
