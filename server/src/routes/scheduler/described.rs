//! One replication document as `/_scheduler/docs` shows it.

use std::sync::Arc;

use serde_json::{Value, json};
use settee_engine::json::Value as Document;

use super::{jobs, time, to_serde};
use crate::http::Request;
use crate::replicator::{DocState, Endpoints, Entry, Replicator, State, written_state};

/// One document as it is shown, and the state it is in.
pub(super) struct Described {
    pub(super) state: &'static str,
    pub(super) json: Value,
}

/// What describing documents takes.
pub(super) struct Shown {
    pub(super) replicator: Arc<Replicator>,
    node: &'static str,
    defaults: settee_engine::replication::Defaults,
}

impl Shown {
    pub(super) fn new(request: &Request) -> Self {
        let replicator = Arc::clone(request.app.replicator());
        let defaults = replicator.documents().defaults();
        Self { replicator, node: request.app.node_name(), defaults }
    }

    pub(super) fn describe(
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
