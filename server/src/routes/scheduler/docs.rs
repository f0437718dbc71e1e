//! `/_scheduler/docs[/{db}[/{id}]]`: the documents of a replicator database, and how they stand. Those that
//! have come to their end say so themselves, the others the replicator knows.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::{Value, json};
use settee_engine::json::Value as Document;
use settee_engine::name::DESIGN_PREFIX;
use settee_engine::{AllDocsHead, AllDocsQuery, Database, Error, GetOptions, RowSink};

use super::{jobs, time, to_serde};
use crate::http::stream::{self, BlockingWriter};
use crate::http::{Failure, Outcome, Reply, Request};
use crate::replicator::{
    DocKey, DocState, Endpoints, Entry, Replicator, State, is_replicator_database, written_state,
};

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

/// One document as it is shown, and the state it is in.
struct Described {
    state: &'static str,
    json: Value,
}

/// What describing documents takes.
struct Shown {
    replicator: Arc<Replicator>,
    node: &'static str,
    defaults: settee_engine::replication::Defaults,
}

impl Shown {
    fn new(request: &Request) -> Self {
        let replicator = Arc::clone(request.app.replicator());
        let defaults = replicator.documents().defaults();
        Self { replicator, node: request.app.node_name(), defaults }
    }

    fn describe(
        &self,
        database: &str,
        id: &str,
        known: Option<&Entry>,
        body: &Document,
    ) -> Described {
        let says_its_end = matches!(written_state(body), Some("completed" | "failed"));
        let Some(entry) = known.filter(|_| !says_its_end) else {
            return self.as_written((database, id), body);
        };
        let (started, updated) = (Some(time(entry.started)), Some(time(entry.updated)));
        let ended = |state, info| {
            let ending = Ending { state, info: Some(info), job: None, started, updated };
            self.ended((database, id), entry.document(), ending)
        };
        match &entry.state {
            DocState::Completed(stats) => {
                ended("completed", to_serde(&Document::Object(stats.clone())))
            }
            DocState::Failed(reason) => ended("failed", json!({"error": reason})),
            _ => self.on_its_way((database, id), entry),
        }
    }

    fn on_its_way(&self, (database, id): (&str, &str), entry: &Entry) -> Described {
        let mut stand = Stand::of(entry, &self.replicator);
        if let Stand { job: None, .. } = stand {
            stand.endpoints = Endpoints::of_document(entry.document(), &self.defaults);
        }
        let json = json!({
            "database": database,
            "doc_id": id,
            "id": stand.job,
            "node": self.node,
            "source": stand.endpoints.source,
            "target": stand.endpoints.target,
            "state": stand.state,
            "info": stand.info,
            "error_count": stand.failures,
            "last_updated": time(stand.updated),
            "start_time": time(entry.started),
            "source_proxy": stand.endpoints.source_proxy,
            "target_proxy": stand.endpoints.target_proxy,
        });
        Described { state: stand.state, json }
    }

    /// A document that says itself how it has ended; or one that was only just written.
    fn as_written(&self, key: (&str, &str), body: &Document) -> Described {
        let text = |name: &str| body.get(name).and_then(Document::as_str).map(str::to_owned);
        let stats = body.get("_replication_stats");
        let (state, info) = match written_state(body) {
            Some("completed") => ("completed", stats.map(to_serde)),
            Some("failed") => {
                ("failed", text("_replication_state_reason").map(|why| json!({"error": why})))
            }
            _ => ("initializing", None),
        };
        let updated = text("_replication_state_time");
        let started = stats.and_then(|stats| stats.get("start_time")).and_then(Document::as_str);
        let started = started.map(str::to_owned).or_else(|| updated.clone());
        self.ended(
            key,
            body,
            Ending { state, info, job: text("_replication_id"), started, updated },
        )
    }

    fn ended(&self, (database, id): (&str, &str), body: &Document, ending: Ending) -> Described {
        let endpoints = Endpoints::of_document(body, &self.defaults);
        let json = json!({
            "database": database,
            "doc_id": id,
            "id": ending.job,
            "source": endpoints.source,
            "target": endpoints.target,
            "state": ending.state,
            "error_count": u32::from(ending.state == "failed"),
            "info": ending.info,
            "start_time": ending.started,
            "last_updated": ending.updated,
        });
        Described { state: ending.state, json }
    }
}

/// How a document has ended.
struct Ending {
    state: &'static str,
    info: Option<Value>,
    job: Option<String>,
    started: Option<String>,
    updated: Option<String>,
}

/// How a document stands that has not come to its end.
struct Stand {
    state: &'static str,
    info: Value,
    job: Option<String>,
    failures: u32,
    updated: crate::replicator::Millis,
    endpoints: Endpoints,
}

impl Stand {
    fn of(entry: &Entry, replicator: &Replicator) -> Self {
        let stand = |state, info| Self {
            state,
            info,
            job: None,
            failures: entry.failures,
            updated: entry.updated,
            endpoints: Endpoints::default(),
        };
        match &entry.state {
            DocState::Initializing | DocState::Completed(_) | DocState::Failed(_) => {
                stand("initializing", Value::Null)
            }
            DocState::Error(reason) => stand("error", json!({"error": reason})),
            DocState::Job(work) => {
                let look = |job: &crate::replicator::ScheduledJob<_>| {
                    let state = match job.state() {
                        State::Pending => "pending",
                        State::Running => "running",
                        State::Crashing => "crashing",
                    };
                    let last = job.history().last().map_or(entry.updated, |event| event.at);
                    Self {
                        job: Some(work.id.to_string()),
                        failures: job.failures(),
                        updated: last.max(entry.updated),
                        endpoints: Endpoints::of(&work.job.replication),
                        ..stand(state, jobs::info(job))
                    }
                };
                let found = replicator.jobs().with(&work.id, look);
                found.unwrap_or_else(|| stand("initializing", Value::Null))
            }
        }
    }
}
