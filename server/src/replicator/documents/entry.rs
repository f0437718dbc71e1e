//! One replication document, as far as the server knows it.

use std::sync::Arc;

use settee_engine::json::{Object, Value};
use settee_engine::replication::{Defaults, Endpoint, Replication};

use crate::replicator::schedule::Millis;
use crate::replicator::work::Work;

/// The members that the server writes into a document.
pub(crate) const STATE_MEMBERS: [&str; 5] = [
    "_replication_state",
    "_replication_state_time",
    "_replication_state_reason",
    "_replication_id",
    "_replication_stats",
];

/// A document: the database it is in, and its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DocKey {
    pub(crate) database: Arc<str>,
    pub(crate) id: Arc<str>,
}

/// How a document stands.
#[derive(Clone)]
pub(crate) enum DocState {
    /// Its id is being found out.
    Initializing,
    /// It could not become a job, for this reason; that will be tried again.
    Error(String),
    /// It is a job.
    Job(Arc<Work>),
    /// Its job is done, with these figures.
    Completed(Object),
    /// It can't become a job.
    Failed(String),
}

impl DocState {
    /// Whether nothing more comes of it.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Completed(_) | Self::Failed(_))
    }
}

/// What the server knows of a document that has not come to its end, or whose end is not written into it
/// yet.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Tells this attempt from earlier ones: what they find out comes too late.
    pub(super) attempt: u64,
    /// The document without what the server writes into it.
    pub(super) spec: Arc<Value>,
    pub(crate) state: DocState,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// When the document was first seen, and when its state last changed.
    pub(crate) started: Millis,
    pub(crate) updated: Millis,
}

impl Entry {
    pub(super) fn new(attempt: u64, spec: Arc<Value>, now: Millis) -> Self {
        let state = DocState::Initializing;
        Self { attempt, spec, state, failures: 0, started: now, updated: now }
    }

    pub(super) fn set(&mut self, state: DocState, now: Millis) {
        self.state = state;
        self.updated = now;
    }

    /// The document.
    pub(crate) fn document(&self) -> &Value {
        &self.spec
    }
}

/// The document without what the server writes into it.
pub(super) fn spec_of(document: &Value) -> Value {
    let members = document.as_object().into_iter().flat_map(Object::iter);
    let own = members.filter(|(name, _)| !STATE_MEMBERS.contains(name));
    Value::Object(own.map(|(name, value)| (name.to_owned(), value.clone())).collect())
}

/// What a document says of its state.
pub(crate) fn written_state(document: &Value) -> Option<&str> {
    document.get("_replication_state").and_then(Value::as_str)
}

/// The user in whose name a document's replication is carried out, if it says so.
pub(super) fn user_of(document: &Value) -> Option<String> {
    document.get("user_ctx")?.get("name")?.as_str().map(str::to_owned)
}

/// Source, target and their proxies, as they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub(crate) source: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) source_proxy: Option<String>,
    pub(crate) target_proxy: Option<String>,
}

impl Endpoints {
    /// Those of a replication.
    pub(crate) fn of(replication: &Replication) -> Self {
        let url = |endpoint: &Endpoint| Some(endpoint.url().to_owned());
        let proxy = |endpoint: &Endpoint| endpoint.proxy_url().map(str::to_owned);
        Self {
            source: url(&replication.source),
            target: url(&replication.target),
            source_proxy: proxy(&replication.source),
            target_proxy: proxy(&replication.target),
        }
    }

    /// Those of a document, as far as it makes sense.
    pub(crate) fn of_document(document: &Value, defaults: &Defaults) -> Self {
        let proxy = |name: &str| {
            let given = document.get(name).or_else(|| document.get("proxy"));
            given.and_then(Value::as_str).filter(|text| !text.is_empty())
        };
        let url = |name: &str, proxy: Option<&str>| {
            let proxy = proxy.unwrap_or_default();
            let endpoint = Endpoint::parse(document.get(name), proxy, defaults).ok()?;
            Some((endpoint.url().to_owned(), endpoint.proxy_url().map(str::to_owned)))
        };
        let (source, target) =
            (url("source", proxy("source_proxy")), url("target", proxy("target_proxy")));
        Self {
            source: source.as_ref().map(|(url, _)| url.clone()),
            target: target.as_ref().map(|(url, _)| url.clone()),
            source_proxy: source.and_then(|(_, proxy)| proxy),
            target_proxy: target.and_then(|(_, proxy)| proxy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Value {
        Value::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn what_the_server_writes_is_no_part_of_the_order() {
        let with =
            parse(r#"{"source":"a","_replication_state":"triggered","_replication_id":"x"}"#);
        assert_eq!(spec_of(&with), parse(r#"{"source":"a"}"#));
        assert_eq!(written_state(&with), Some("triggered"));
    }

    #[test]
    fn endpoints_are_shown_without_passwords() {
        let document = parse(
            r#"{"source":"http://a:b@h/s","target":{"url":"http://h/t/"},"proxy":"http://p:q@h:1"}"#,
        );
        let shown = Endpoints::of_document(&document, &Defaults::default());
        assert_eq!(shown.source.as_deref(), Some("http://h/s/"));
        assert_eq!(shown.target.as_deref(), Some("http://h/t/"));
        assert_eq!(shown.source_proxy, shown.target_proxy);
        assert!(!format!("{shown:?}").contains("q@"));
        assert_eq!(
            Endpoints::of_document(&parse("{}"), &Defaults::default()),
            Endpoints::default()
        );
    }
}
