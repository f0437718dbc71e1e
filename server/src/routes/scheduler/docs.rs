//! `/_scheduler/docs[/{db}[/{id}]]`: the documents of a replicator database, and how they stand. Those that
//! have come to their end say so themselves, the others the replicator knows.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::{Value, json};
use settee_engine::json::Value as Document;
use settee_engine::name::DESIGN_PREFIX;
use settee_engine::{AllDocsHead, AllDocsQuery, Database, Error, GetOptions, RowSink};

use super::described::Shown;
use crate::http::stream::{self, BlockingWriter};
use crate::http::{Failure, Outcome, Reply, Request};
use crate::replicator::{DocKey, Entry, is_replicator_database};

/// The states a document can be in.
const STATES: [&str; 7] =
    ["initializing", "error", "pending", "running", "crashing", "completed", "failed"];

/// What a path names.
enum Place {
    Database(String),
    Document(String, String),
}

impl Place {
    /// Reads the segments behind `docs`. The slashes of a database's name may have come unescaped.
    fn parse(path: &[&[u8]]) -> Result<Self, Failure> {
        let path: Vec<_> = path.iter().map(|segment| String::from_utf8_lossy(segment)).collect();
        match path.as_slice() {
            [] => return Ok(Self::Database("_replicator".to_owned())),
            [database] if is_replicator_database(database) => {
                return Ok(Self::Database(database.clone().into_owned()));
            }
            [database, id] if is_replicator_database(database) => {
                return Ok(Self::Document(database.clone().into_owned(), id.clone().into_owned()));
            }
            _ => {}
        }
        let end = path.iter().position(|segment| segment == "_replicator");
        let end = end.ok_or_else(|| Failure::bad_request("Invalid path"))?;
        let (database, rest) = path.split_at(end + 1);
        match rest {
            [] => Ok(Self::Database(database.join("/"))),
            [id] => Ok(Self::Document(database.join("/"), id.clone().into_owned())),
            _ => Err(Failure::bad_request("Invalid path")),
        }
    }
}

/// GET `/_scheduler/docs…`.
pub(super) async fn answer(request: &Request, path: &[&[u8]]) -> Outcome {
    match Place::parse(path)? {
        Place::Database(name) => {
            let wanted = Wanted::read(request)?;
            let database = request.app.database(&name)?;
            list(request, database, wanted).await
        }
        Place::Document(name, id) => one(request, &name, &id),
    }
}

/// POST `/_scheduler/docs/{db}/{id}/_retry`.
pub(super) fn retry(request: &Request, path: &[&[u8]]) -> Outcome {
    let Place::Document(database, id) = Place::parse(path)? else {
        return Err(Failure::bad_request("Invalid path"));
    };
    let key = DocKey { database: database.into(), id: id.into() };
    let documents = request.app.replicator().documents();
    let retried = documents.retry(&key);
    match documents.entry(&key) {
        Some(_) => Ok(Reply::value(200, &json!({"ok": true, "retried": retried}))),
        None => Err(Failure::not_found("missing")),
    }
}

fn one(request: &Request, name: &str, id: &str) -> Outcome {
    let missing = || Failure::not_found("missing");
    let database = request.app.database(name).map_err(|_| missing())?;
    let known = request
        .app
        .replicator()
        .documents()
        .entry(&DocKey { database: name.into(), id: id.into() });
    if id.starts_with(DESIGN_PREFIX) {
        return Err(missing());
    }
    let reader = database.read()?;
    let found = match reader.get(id, &GetOptions::default()) {
        Err(Error::NotFound(_)) => return Err(missing()),
        found => found?,
    };
    let body = Document::from_canonical(found.body())?;
    let shown = Shown::new(request).describe(name, id, known.as_ref(), &body);
    Ok(Reply::value(200, &shown.json))
}

/// Which documents a listing shows.
struct Wanted {
    states: Vec<String>,
    start: Option<String>,
    end: Option<String>,
    inclusive_end: bool,
    descending: bool,
    limit: usize,
    skip: usize,
}

impl Wanted {
    fn read(request: &Request) -> Result<Self, Failure> {
        let params = super::super::all_docs::query(
            request,
            &settee_engine::json::Object::new(),
            settee_engine::Namespace::All,
        )?;
        let (start, end, inclusive_end) = bounds(request)?;
        Ok(Self {
            states: states(request)?,
            start,
            end,
            inclusive_end,
            descending: params.descending,
            limit: params.limit.map_or(usize::MAX, rows),
            skip: rows(params.skip),
        })
    }

    fn covers(&self, id: &str) -> bool {
        let (low, high) = match self.descending {
            false => (&self.start, &self.end),
            true => (&self.end, &self.start),
        };
        let above = low.as_deref().is_none_or(|low| match self.descending && !self.inclusive_end {
            true => id > low,
            false => id >= low,
        });
        let below =
            high.as_deref().is_none_or(|high| match !self.descending && !self.inclusive_end {
                true => id < high,
                false => id <= high,
            });
        above && below
    }
}

/// More than fit are as good as all.
fn rows(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The first and the last id, and whether the last one is shown.
type Bounds = (Option<String>, Option<String>, bool);

fn bounds(request: &Request) -> Result<Bounds, Failure> {
    let text = |names: [&str; 2]| {
        let given = names.iter().find_map(|name| request.query.bytes(name));
        let parsed = given.map(serde_json::from_slice::<Value>).transpose();
        let parsed = parsed.map_err(|_| Failure::invalid_json())?;
        Ok::<_, Failure>(parsed.map(|key| key.as_str().unwrap_or_default().to_owned()))
    };
    if let Some(key) = text(["key", "key"])? {
        return Ok((Some(key.clone()), Some(key), true));
    }
    let inclusive = request.query.bytes("inclusive_end") != Some(b"false");
    Ok((text(["startkey", "start_key"])?, text(["endkey", "end_key"])?, inclusive))
}

fn states(request: &Request) -> Result<Vec<String>, Failure> {
    let Some(list) = request.query.text("states") else { return Ok(Vec::new()) };
    let known = STATES.join(", ");
    let states: Vec<String> = list.split(',').map(|name| name.trim().to_lowercase()).collect();
    if states.iter().all(String::is_empty) {
        let reason = format!("States must be one or more of [{known}]");
        return Err(Failure::query_parse_error(reason));
    }
    let unknown: Vec<_> =
        states.iter().filter(|name| !STATES.contains(&name.as_str())).cloned().collect();
    if unknown.is_empty() {
        return Ok(states);
    }
    let reason = format!("Unknown states [{}]. Choose from: [{known}]", unknown.join(", "));
    Err(Failure::query_parse_error(reason))
}

async fn list(request: &Request, database: Arc<Database>, wanted: Wanted) -> Outcome {
    let mut listing = Listing {
        shown: Shown::new(request),
        known: BTreeMap::new(),
        wanted,
        database: database.name().to_owned(),
        matching: 0,
        left_to_skip: 0,
        written: 0,
    };
    listing.left_to_skip = listing.wanted.skip;
    let produce = move |out: &mut BlockingWriter| {
        listing.known = listing.shown.replicator.documents().entries(&listing.database);
        listing.write(&database, out)
    };
    Ok(Reply::json_stream(stream::produce(produce).await?))
}

/// A listing on its way to a client.
struct Listing {
    shown: Shown,
    known: BTreeMap<DocKey, Entry>,
    wanted: Wanted,
    database: String,
    /// Documents in one of the wanted states.
    matching: usize,
    left_to_skip: usize,
    written: usize,
}

impl Listing {
    /// The number of all is known only at the end, so it comes last.
    fn write(mut self, database: &Arc<Database>, out: &mut BlockingWriter) -> Result<(), Failure> {
        out.buffer().extend_from_slice(b"{\"docs\":[");
        let query = AllDocsQuery {
            include_docs: true,
            descending: self.wanted.descending,
            ..AllDocsQuery::default()
        };
        let mut rows = Rows { listing: &mut self, out };
        database.read()?.all_docs(&query, &mut rows)?;
        let (total, offset) = (self.matching, self.wanted.skip.min(self.matching));
        let end = format!("],\"total_rows\":{total},\"offset\":{offset}}}\n");
        out.buffer().extend_from_slice(end.as_bytes());
        Ok(())
    }

    fn row(&mut self, json: &[u8], out: &mut Vec<u8>) {
        let Some(row) = Document::from_canonical(json).ok() else { return };
        let id = row.get("id").and_then(Document::as_str).unwrap_or_default();
        let Some(body) = row.get("doc").filter(|_| !id.starts_with(DESIGN_PREFIX)) else { return };
        let key = DocKey { database: self.database.as_str().into(), id: id.into() };
        let shown = self.shown.describe(&self.database, id, self.known.get(&key), body);
        let states = &self.wanted.states;
        if !states.is_empty() && !states.iter().any(|state| state == shown.state) {
            return;
        }
        self.matching += 1;
        if !self.wanted.covers(id) {
            return;
        }
        if self.left_to_skip > 0 {
            self.left_to_skip -= 1;
            return;
        }
        if self.written < self.wanted.limit {
            if self.written > 0 {
                out.push(b',');
            }
            self.written += 1;
            out.extend_from_slice(shown.json.to_string().as_bytes());
        }
    }
}

/// Takes the rows of `_all_docs` in.
struct Rows<'l> {
    listing: &'l mut Listing,
    out: &'l mut BlockingWriter,
}

impl RowSink for Rows<'_> {
    fn head(&mut self, _: &AllDocsHead) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn row(&mut self, json: &[u8]) -> ControlFlow<()> {
        self.listing.row(json, self.out.buffer());
        match self.out.spill() {
            Ok(()) => ControlFlow::Continue(()),
            Err(_gone) => ControlFlow::Break(()),
        }
    }
}
