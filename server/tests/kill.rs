//! `kill -9` of the real server, again and again, while clients write and remember what they were told:
//! what was acknowledged is there afterwards, what was under way is there as a whole or not at all.
//!
//! A few kills are part of every test run. A long run:
//!
//! ```sh
//! SETTEE_KILLS=200 cargo test --release -p settee-server --test kill -- --nocapture
//! ```

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use settee_storage::disk::sim::Random;
use support::{Answer, Connection, Settee, admin_header};

/// Kills in an ordinary test run.
const KILLS: u64 = 4;
/// Clients that write at once.
const WRITERS: u64 = 6;
/// Documents of each.
const DOCUMENTS: u64 = 12;
/// Documents of one `_bulk_docs`.
const BULK: u64 = 8;

/// A sum over bytes, to tell them from others.
fn sum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// A document as its writer knows it; the number is in its body and another one after each edit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Doc {
    number: u64,
    /// A sum over its attachment.
    attachment: Option<u64>,
}

/// A client with documents of its own.
struct Writer {
    name: u64,
    random: Random,
    /// What is acknowledged: the document and its revision, or that there is none.
    docs: BTreeMap<String, Option<(Doc, String)>>,
    /// What the request under way makes of some documents.
    under_way: BTreeMap<String, Option<Doc>>,
    /// Whether its own database is there, and what is under way with it.
    database: bool,
    database_under_way: Option<bool>,
    edits: u64,
}

impl Writer {
    fn new(name: u64) -> Self {
        Writer {
            name,
            random: Random::new(name),
            docs: BTreeMap::new(),
            under_way: BTreeMap::new(),
            database: false,
            database_under_way: None,
            edits: 0,
        }
    }

    /// Writes until the server is gone.
    fn write(&mut self, address: &str) -> io::Result<()> {
        let mut connection = Connection::try_open(address)?;
        loop {
            self.step(&mut connection)?;
            self.edits += 1;
        }
    }

    fn step(&mut self, connection: &mut Connection) -> io::Result<()> {
        match self.random.below(12) {
            0..5 => self.put(connection),
            5 => self.delete(connection),
            6 | 7 => self.bulk(connection),
            8 => self.attach(connection, 300),
            9 => self.attach(connection, 600_000),
            10 => self.local(connection),
            _ => self.own_database(connection),
        }
    }

    fn id(&mut self) -> String {
        format!("{}-{}", self.name, self.random.below(DOCUMENTS))
    }

    fn rev(&self, id: &str) -> Option<&str> {
        self.docs.get(id)?.as_ref().map(|(_, rev)| rev.as_str())
    }

    fn doc(&self, id: &str) -> Option<&Doc> {
        self.docs.get(id)?.as_ref().map(|(doc, _)| doc)
    }

    /// The next edit of a document, which keeps its attachment.
    fn edit(&mut self, id: &str) -> Value {
        let number = self.random.next() >> 12;
        let text = "x".repeat(self.random.below(400) as usize);
        let mut json = json!({ "_id": id, "number": number, "text": text });
        if let Some(rev) = self.rev(id) {
            json["_rev"] = rev.into();
        }
        let attachment = self.doc(id).and_then(|doc| doc.attachment);
        if attachment.is_some() {
            json["_attachments"] = json!({ "file": { "stub": true } });
        }
        self.under_way.insert(id.to_owned(), Some(Doc { number, attachment }));
        json
    }

    /// Sends what is under way; the revisions in the answer make it acknowledged.
    fn send(
        &mut self,
        connection: &mut Connection,
        request: (&str, &str),
        content_type: &str,
        body: &[u8],
    ) -> io::Result<()> {
        let headers = [("Authorization", &*admin_header()), ("Content-Type", content_type)];
        let answer = connection.try_ask(request.0, request.1, &headers, body)?;
        assert!((200..300).contains(&answer.status), "{request:?}: {}", answer.text());
        let answer = answer.json();
        let results = answer.as_array().cloned().unwrap_or_else(|| vec![answer]);
        for result in results {
            let id = result["id"].as_str().unwrap();
            let rev = result["rev"].as_str().unwrap_or_else(|| panic!("{request:?}: {result}"));
            let doc = self.under_way.remove(id).expect("an answer about another document");
            self.docs.insert(id.to_owned(), doc.map(|doc| (doc, rev.to_owned())));
        }
        assert!(self.under_way.is_empty());
        Ok(())
    }

    fn put(&mut self, connection: &mut Connection) -> io::Result<()> {
        let id = self.id();
        let json = self.edit(&id).to_string();
        self.send(connection, ("PUT", &format!("/db/{id}")), "application/json", json.as_bytes())
    }

    fn delete(&mut self, connection: &mut Connection) -> io::Result<()> {
        let id = self.id();
        let Some(rev) = self.rev(&id) else { return Ok(()) };
        let path = format!("/db/{id}?rev={rev}");
        self.under_way.insert(id, None);
        self.send(connection, ("DELETE", &path), "application/json", b"")
    }

    fn bulk(&mut self, connection: &mut Connection) -> io::Result<()> {
        let first = self.random.below(DOCUMENTS);
        let ids = (first..first + BULK).map(|n| format!("{}-{}", self.name, n % DOCUMENTS));
        let docs: Vec<_> = ids.collect::<Vec<_>>().iter().map(|id| self.edit(id)).collect();
        let json = json!({ "docs": docs }).to_string();
        self.send(connection, ("POST", "/db/_bulk_docs"), "application/json", json.as_bytes())
    }

    fn attach(&mut self, connection: &mut Connection, most: u64) -> io::Result<()> {
        let id = self.id();
        let Some((mut doc, rev)) = self.docs.get(&id).cloned().flatten() else { return Ok(()) };
        let content = self.bytes(most);
        doc.attachment = Some(sum(&content));
        self.under_way.insert(id.clone(), Some(doc));
        let path = format!("/db/{id}/file?rev={rev}");
        self.send(connection, ("PUT", &path), "image/png", &content)
    }

    /// Less than so many bytes.
    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let len = self.random.below(most) as usize;
        std::iter::repeat_with(|| self.random.next().to_le_bytes()).flatten().take(len).collect()
    }

    fn local(&mut self, connection: &mut Connection) -> io::Result<()> {
        let id = format!("_local/{}", self.name);
        let json = self.edit(&id).to_string();
        self.send(connection, ("PUT", &format!("/db/{id}")), "application/json", json.as_bytes())
    }

    fn own_database(&mut self, connection: &mut Connection) -> io::Result<()> {
        let method = if self.database { "DELETE" } else { "PUT" };
        self.database_under_way = Some(!self.database);
        let path = format!("/own{}", self.name);
        let headers = [("Authorization", &*admin_header())];
        let answer = connection.try_ask(method, &path, &headers, b"")?;
        assert!(matches!(answer.status, 200 | 201), "{method} {path}: {}", answer.text());
        self.database = self.database_under_way.take().unwrap();
        Ok(())
    }

    /// Compares what the server has now with what was acknowledged, and with what was under way.
    fn check(&mut self, server: &Settee) {
        let under_way = std::mem::take(&mut self.under_way);
        let ids: Vec<_> = self.docs.keys().chain(under_way.keys()).cloned().collect();
        let mut took_effect = None;
        for id in ids {
            let (found, rev) = find(server, &id).unzip();
            let acknowledged = self.doc(&id);
            let next = under_way.get(&id);
            let changed = found.as_ref() != acknowledged;
            if changed && next.map(Option::as_ref) != Some(found.as_ref()) {
                panic!("{id}: {found:?} instead of {acknowledged:?} or, under way, {next:?}");
            }
            if let Some(next) = next.filter(|next| next.as_ref() != acknowledged) {
                let took = next.as_ref() == found.as_ref();
                assert_eq!(*took_effect.get_or_insert(took), took, "half of a request is there");
            }
            self.docs.insert(id, found.zip(rev));
        }
        let there = server.ask("GET", &format!("/own{}", self.name), "").status == 200;
        let next = self.database_under_way.take();
        assert!(there == self.database || next == Some(there), "its own database: {there}");
        self.database = there;
    }

    fn live(&self) -> usize {
        let docs = self.docs.iter().filter(|(id, _)| !id.starts_with("_local/"));
        docs.filter(|(_, doc)| doc.is_some()).count()
    }
}

/// A document as the server has it, with its attachment's bytes compared.
fn find(server: &Settee, id: &str) -> Option<(Doc, String)> {
    let answer = server.ask("GET", &format!("/db/{id}"), "");
    if answer.status == 404 {
        return None;
    }
    let json = answer.expect(200).json();
    let rev = json["_rev"].as_str().unwrap().to_owned();
    let attachment = json["_attachments"].get("file").map(|stub| {
        let bytes = server.ask("GET", &format!("/db/{id}/file"), "").expect(200).body;
        assert_eq!(stub["length"].as_u64().unwrap(), bytes.len() as u64);
        sum(&bytes)
    });
    Some((Doc { number: json["number"].as_u64().unwrap(), attachment }, rev))
}

/// Both indexes and the counts agree with each other and with the writers.
fn check_database(server: &Settee, writers: &[Writer]) {
    let info = server.ask("GET", "/db", "").expect(200).json();
    let live: usize = writers.iter().map(Writer::live).sum();
    assert_eq!(info["doc_count"], live);
    let listed = server.ask("GET", "/db/_all_docs", "").expect(200).json();
    assert_eq!(listed["rows"].as_array().unwrap().len(), live);
    let changes = server.ask("GET", "/db/_changes", "").expect(200).json();
    let number =
        |seq: &Value| -> u64 { seq.as_str().unwrap().split('-').next().unwrap().parse().unwrap() };
    let changes = changes["results"].as_array().unwrap().clone();
    let seqs: Vec<_> = changes.iter().map(|change| number(&change["seq"])).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "sequences ascend");
    assert!(seqs.last() <= Some(&number(&info["update_seq"])));
    let deleted = info["doc_del_count"].as_u64().unwrap() as usize;
    assert_eq!(changes.len(), live + deleted);
}

/// Asks for compactions, as far as the server knows them, until it is gone.
fn compact(address: &str) -> io::Result<u64> {
    let mut connection = Connection::try_open(address)?;
    let headers = [("Authorization", &*admin_header()), ("Content-Type", "application/json")];
    let mut count = 0;
    loop {
        let answer: Answer = connection.try_ask("POST", "/db/_compact", &headers, b"")?;
        assert!(matches!(answer.status, 202 | 501), "_compact: {}", answer.text());
        count += u64::from(answer.status == 202);
        COMPACTIONS.fetch_add(u64::from(answer.status == 202), Ordering::Relaxed);
        thread::sleep(Duration::from_millis(30 + count % 50));
    }
}

static COMPACTIONS: AtomicU64 = AtomicU64::new(0);

#[test]
fn what_was_acknowledged_survives_kill_after_kill() {
    let kills = std::env::var("SETTEE_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    let mut writers: Vec<_> = (0..WRITERS).map(Writer::new).collect();
    let mut random = Random::new(99);
    for kill in 1..=kills {
        let address = server.address().to_owned();
        thread::scope(|scope| {
            for writer in &mut writers {
                let address = &address;
                scope.spawn(move || drop(writer.write(address).unwrap_err()));
            }
            scope.spawn(|| drop(compact(&address).unwrap_err()));
            thread::sleep(Duration::from_millis(20 + random.below(600)));
            server.kill();
        });
        server.launch();
        writers.iter_mut().for_each(|writer| writer.check(&server));
        check_database(&server, &writers);
        let edits: u64 = writers.iter().map(|writer| writer.edits).sum();
        println!("kill {kill} of {kills}: {edits} requests answered so far");
    }
    let edits: u64 = writers.iter().map(|writer| writer.edits).sum();
    println!("{kills} kills, {edits} requests, {COMPACTIONS:?} compactions begun");
    assert!(edits > kills, "hardly anything was written");
}
