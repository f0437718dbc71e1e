//! A replication as it is asked for: the body of `_replicate`, or a document of `_replicator`.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::{endpoint::Endpoint, error::RequestError, filter::Filter, id::ReplicationId};
use crate::{
    caller::Caller,
    json::{Object, Value},
};

/// Most workers of one replication; more are taken for this many.
const MAX_WORKERS: u64 = 64;
/// Most rows of the feed that one worker takes at once.
const MAX_BATCH_ROWS: u64 = 10_000;
/// Most connections of one replication to one side.
const MAX_CONNECTIONS: u64 = 256;
/// Most attempts at one request.
const MAX_RETRIES: u64 = 100;
/// Workers, rows of a batch, connections and time between checkpoints of a replication with a server that
/// limits how often it may be asked; CouchDB's figures.
const SLOW_WORKERS: usize = 2;
const SLOW_BATCH_ROWS: usize = 100;
const SLOW_CONNECTIONS: usize = 5;
const SLOW_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);
/// Longest of all times that can be set.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

/// What holds for replications that do not say otherwise (`[replicator]`).
#[derive(Clone, Debug)]
pub struct Defaults {
    /// How many workers move revisions at the same time (`worker_processes`).
    pub workers: u64,
    /// How many rows of the feed a worker takes at once (`worker_batch_size`).
    pub batch_rows: u64,
    /// Connections to each side (`http_connections`).
    pub connections: u64,
    /// How long nothing may come of an answer (`connection_timeout`).
    pub connection_timeout: Duration,
    /// How often a request is tried again (`retries_per_request`).
    pub retries: u64,
    /// Time between checkpoints (`checkpoint_interval`).
    pub checkpoint_interval: Duration,
    /// Whether checkpoints are kept (`use_checkpoints`).
    pub use_checkpoints: bool,
    /// Whether revisions are fetched many at once (`use_bulk_get`).
    pub use_bulk_get: bool,
    /// Schemes of URLs of databases (`valid_endpoint_protocols`).
    pub endpoint_protocols: Vec<String>,
    /// Schemes of URLs of proxies (`valid_proxy_protocols`).
    pub proxy_protocols: Vec<String>,
    /// Databases of this server may be named without a URL, and this is how.
    pub local: Option<LocalNames>,
}

/// How databases of this server are named and used.
#[derive(Clone, Debug)]
pub struct LocalNames {
    /// URL of this server, to show them by.
    pub url: String,
    /// Who uses them.
    pub caller: Caller,
}

impl Default for Defaults {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Defaults {
            workers: 4,
            batch_rows: 500,
            connections: 20,
            connection_timeout: Duration::from_secs(30),
            retries: 5,
            checkpoint_interval: Duration::from_secs(30),
            use_checkpoints: true,
            use_bulk_get: true,
            endpoint_protocols: list(&["http", "https"]),
            proxy_protocols: list(&["http", "https", "socks5"]),
            local: None,
        }
    }
}

/// A replication: from where to where, of what, and how.
///
/// ```
/// use settee_engine::{json::Value, replication::{Defaults, Replication}};
///
/// let body = br#"{"source": "http://example.org/a", "target": "http://ada:x@example.org/b", "continuous": true}"#;
/// let replication = Replication::parse(&Value::parse(body)?, &Defaults::default()).unwrap();
/// assert!(replication.continuous);
/// assert_eq!(replication.target.to_string(), "http://example.org/b/");
/// # Ok::<(), settee_engine::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Replication {
    /// Where revisions are read.
    pub source: Endpoint,
    /// Where they are written.
    pub target: Endpoint,
    /// Goes on with changes to come.
    pub continuous: bool,
    /// Makes the target if it is not there.
    pub create_target: bool,
    /// With which parameters.
    pub create_target_params: Object,
    /// Of which documents.
    pub filter: Filter,
    /// Where to begin in the source if there is no checkpoint.
    pub since_seq: Option<Value>,
    /// Leaves out the losers of conflicts.
    pub winning_revs_only: bool,
    /// Whether checkpoints are read and written.
    pub use_checkpoints: bool,
    /// Time between checkpoints.
    pub checkpoint_interval: Duration,
    /// Whether revisions are fetched many at once.
    pub use_bulk_get: bool,
    /// How many workers move revisions at the same time.
    pub workers: usize,
    /// How many rows of the feed a worker takes at once.
    pub batch_rows: usize,
    /// Connections to each side.
    pub connections: usize,
    /// How long nothing may come of an answer.
    pub connection_timeout: Duration,
    /// How often a request is tried again.
    pub retries: u32,
}

/// What `cancel` says.
#[derive(Clone, Debug, PartialEq)]
pub enum Cancel {
    /// Nothing, or no.
    No,
    /// End the replication of this id.
    ById(ReplicationId),
    /// End the replication that the rest of the request describes.
    ByRequest,
}

impl Cancel {
    /// Reads `cancel` and the id beside it.
    ///
    /// # Errors
    /// If `cancel` is not a boolean, or the id not a string.
    pub fn parse(request: &Value) -> Result<Self, RequestError> {
        let cancel = match request.get("cancel") {
            None => false,
            Some(value) => boolean("cancel", value)?,
        };
        let id = ["_local_id", "replication_id", "id"].iter().find_map(|name| request.get(name));
        match (cancel, id) {
            (false, _) => Ok(Cancel::No),
            (true, None) => Ok(Cancel::ByRequest),
            (true, Some(Value::String(id))) => Ok(Cancel::ById(ReplicationId::parse(id))),
            (true, Some(_)) => Err(RequestError::bad("the id of a replication is a string")),
        }
    }
}

impl Replication {
    /// Reads a request. Members that mean nothing here are passed over.
    ///
    /// # Errors
    /// With CouchDB's texts, the first member that is wrong first.
    pub fn parse(request: &Value, defaults: &Defaults) -> Result<Self, RequestError> {
        let members = request.as_object();
        let members =
            members.ok_or_else(|| RequestError::bad("Request body must be a JSON object"))?;
        let (source_proxy, target_proxy) = proxies(members)?;
        let mut options = Options::new(defaults);
        members.iter().try_for_each(|(name, value)| options.take(name, value))?;
        let source = Endpoint::parse(members.get("source"), source_proxy, defaults)?;
        let target = Endpoint::parse(members.get("target"), target_proxy, defaults)?;
        options.finish(source, target)
    }

    /// Asks less of both sides, for one that limits how often it may be asked: fewer workers and
    /// connections, smaller batches, checkpoints sooner. What is less already stays as it is, and so does
    /// the id.
    pub fn slow_down(&mut self) {
        self.workers = self.workers.min(SLOW_WORKERS);
        self.batch_rows = self.batch_rows.min(SLOW_BATCH_ROWS);
        self.connections = self.connections.min(SLOW_CONNECTIONS);
        self.checkpoint_interval = self.checkpoint_interval.min(SLOW_CHECKPOINT_INTERVAL);
    }

    /// Makes sure that the parameters for a filter are strings, as `_replicate` wants them.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn require_string_params(&self) -> Result<(), RequestError> {
        let params = self.filter.query_params();
        let wrong =
            params.and_then(|params| params.iter().find(|(_, value)| value.as_str().is_none()));
        match wrong {
            Some((name, _)) => Err(RequestError::bad(format!("{name} value must be a string."))),
            None => Ok(()),
        }
    }
}

/// The proxies of source and target.
fn proxies(members: &Object) -> Result<(&str, &str), RequestError> {
    let text = |name: &str| match members.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(RequestError::InvalidProxy),
    };
    let (both, source, target) = (text("proxy")?, text("source_proxy")?, text("target_proxy")?);
    let excluded =
        |other| Err(RequestError::bad(format!("`proxy` is mutually exclusive with `{other}`")));
    match (both.is_empty(), source.is_empty(), target.is_empty()) {
        (false, false, _) => excluded("source_proxy"),
        (false, _, false) => excluded("target_proxy"),
        (false, true, true) => Ok((both, both)),
        (true, ..) => Ok((source, target)),
    }
}

/// What has been read of a request.
struct Options {
    continuous: bool,
    create_target: bool,
    create_target_params: Object,
    filter: Option<Value>,
    query_params: Object,
    doc_ids: Option<Vec<String>>,
    selector: Option<Value>,
    since_seq: Option<Value>,
    winning_revs_only: bool,
    use_checkpoints: bool,
    use_bulk_get: bool,
    checkpoint_interval: Duration,
    workers: u64,
    batch_rows: u64,
    connections: u64,
    connection_timeout: Duration,
    retries: u64,
}

impl Options {
    fn new(defaults: &Defaults) -> Self {
        Options {
            continuous: false,
            create_target: false,
            create_target_params: Object::new(),
            filter: None,
            query_params: Object::new(),
            doc_ids: None,
            selector: None,
            since_seq: None,
            winning_revs_only: false,
            use_checkpoints: defaults.use_checkpoints,
            use_bulk_get: defaults.use_bulk_get,
            checkpoint_interval: defaults.checkpoint_interval,
            workers: defaults.workers,
            batch_rows: defaults.batch_rows,
            connections: defaults.connections,
            connection_timeout: defaults.connection_timeout,
            retries: defaults.retries,
        }
    }

    fn take(&mut self, name: &str, value: &Value) -> Result<(), RequestError> {
        match name {
            "cancel" => {
                boolean(name, value)?;
            }
            "continuous" => self.continuous = boolean(name, value)?,
            "create_target" => self.create_target = boolean(name, value)?,
            "winning_revs_only" => self.winning_revs_only = boolean(name, value)?,
            "use_bulk_get" => self.use_bulk_get = boolean(name, value)?,
            "use_checkpoints" => self.use_checkpoints = *value != Value::Bool(false),
            "create_target_params" => {
                self.create_target_params = object(name, value, "a JSON object")?;
            }
            "query_params" => self.query_params = object(name, value, "an object")?,
            "filter" => self.filter = Some(value.clone()),
            "doc_ids" => self.doc_ids = doc_ids(value)?,
            "selector" => {
                self.selector = Some(Value::Object(object(name, value, "a JSON object")?));
            }
            "since_seq" => self.since_seq = Some(value.clone()),
            "worker_processes" => self.workers = integer(name, value)?,
            "worker_batch_size" => self.batch_rows = integer(name, value)?,
            "http_connections" => self.connections = integer(name, value)?,
            "retries_per_request" => self.retries = integer(name, value)?,
            "connection_timeout" => self.connection_timeout = milliseconds(name, value)?,
            "checkpoint_interval" => self.checkpoint_interval = milliseconds(name, value)?,
            _ => {}
        }
        Ok(())
    }

    fn finish(self, source: Endpoint, target: Endpoint) -> Result<Replication, RequestError> {
        let size = |value: u64, most: u64| usize::try_from(value.clamp(1, most)).unwrap_or(1);
        let filter = match (self.doc_ids, self.filter, self.selector) {
            (None, None, None) => Filter::None,
            (Some(ids), None, None) => Filter::DocIds(ids),
            (None, Some(filter), None) => Filter::parse(&filter, self.query_params)?,
            (None, None, Some(selector)) => Filter::Selector(selector),
            _ => {
                let reason = "`doc_ids`,`filter`,`selector` are mutually exclusive";
                return Err(RequestError::bad(reason));
            }
        };
        Ok(Replication {
            source,
            target,
            continuous: self.continuous,
            create_target: self.create_target,
            create_target_params: self.create_target_params,
            filter,
            since_seq: self.since_seq,
            winning_revs_only: self.winning_revs_only,
            use_checkpoints: self.use_checkpoints,
            checkpoint_interval: self.checkpoint_interval.min(MAX_TIME),
            use_bulk_get: self.use_bulk_get,
            workers: size(self.workers, MAX_WORKERS),
            batch_rows: size(self.batch_rows, MAX_BATCH_ROWS),
            connections: size(self.connections, MAX_CONNECTIONS),
            connection_timeout: self.connection_timeout.clamp(Duration::from_millis(1), MAX_TIME),
            retries: u32::try_from(self.retries.min(MAX_RETRIES)).unwrap_or_default(),
        })
    }
}

fn wrong(name: &str, expected: &str) -> RequestError {
    RequestError::bad(format!("parameter `{name}` must be {expected}"))
}

fn boolean(name: &str, value: &Value) -> Result<bool, RequestError> {
    value.as_bool().ok_or_else(|| wrong(name, "a boolean"))
}

fn object(name: &str, value: &Value, expected: &str) -> Result<Object, RequestError> {
    value.as_object().cloned().ok_or_else(|| wrong(name, expected))
}

/// An integer, also one in quotes.
fn integer(name: &str, value: &Value) -> Result<u64, RequestError> {
    let parsed = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    parsed.ok_or_else(|| wrong(name, "a positive integer"))
}

fn milliseconds(name: &str, value: &Value) -> Result<Duration, RequestError> {
    integer(name, value).map(Duration::from_millis)
}

/// Ids as they may come in URLs, sorted and each once.
fn doc_ids(value: &Value) -> Result<Option<Vec<String>>, RequestError> {
    let items = match value {
        Value::Null => return Ok(None),
        Value::Array(items) => items,
        _ => return Err(wrong("doc_ids", "an array")),
    };
    let decoded = |item: &Value| {
        let id = percent_decode_str(item.as_str()?).decode_utf8().ok()?;
        Some(id.into_owned())
    };
    let ids: Option<Vec<String>> = items.iter().map(decoded).collect();
    let mut ids = ids.ok_or_else(|| wrong("doc_ids", "an array of strings"))?;
    ids.sort_unstable();
    ids.dedup();
    Ok(Some(ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &str) -> Result<Replication, RequestError> {
        let text = format!(r#"{{"source":"http://h/a","target":"http://h/b"{options}}}"#);
        Replication::parse(&Value::parse(text.as_bytes()).unwrap(), &Defaults::default())
    }

    #[track_caller]
    fn refused(options: &str, reason: &str) {
        assert_eq!(parse(options).unwrap_err().to_string(), reason, "{options}");
    }

    #[test]
    fn what_is_refused() {
        for name in ["continuous", "create_target", "winning_revs_only", "use_bulk_get", "cancel"] {
            refused(&format!(r#","{name}":1"#), &format!("parameter `{name}` must be a boolean"));
        }
        refused(
            r#","create_target_params":1"#,
            "parameter `create_target_params` must be a JSON object",
        );
        refused(r#","query_params":1"#, "parameter `query_params` must be an object");
        refused(r#","doc_ids":"x""#, "parameter `doc_ids` must be an array");
        refused(r#","selector":[]"#, "parameter `selector` must be a JSON object");
        let exclusive = "`doc_ids`,`filter`,`selector` are mutually exclusive";
        refused(r#","doc_ids":[],"selector":{}"#, exclusive);
        refused(r#","filter":"a/b","selector":{}"#, exclusive);
        refused(r#","filter":"ab""#, "Invalid filter. Must match `ddocname/filtername`.");
        refused(r#","filter":"_view""#, "Invalid `view` parameter.");
        refused(
            r#","proxy":"http://p","source_proxy":"http://p""#,
            "`proxy` is mutually exclusive with `source_proxy`",
        );
        refused(
            r#","proxy":"http://p","target_proxy":"http://p""#,
            "`proxy` is mutually exclusive with `target_proxy`",
        );
        refused(r#","proxy":"ftp://p""#, "proxy has an invalid url");
        refused(
            r#","worker_processes":"x""#,
            "parameter `worker_processes` must be a positive integer",
        );
    }

    #[test]
    fn what_is_read() {
        let ids = r#","doc_ids":["b%2Fc","a","a"],"worker_batch_size":"7","checkpoint_interval":5"#;
        let replication = parse(ids).unwrap();
        assert_eq!(replication.filter, Filter::DocIds(vec!["a".into(), "b/c".into()]));
        assert_eq!(replication.batch_rows, 7);
        assert_eq!(replication.checkpoint_interval, Duration::from_millis(5));
        let proxied = parse(r#","proxy":"socks5://u:p@proxy:1080""#).unwrap();
        assert_eq!(proxied.source.proxy_url(), Some("socks5://proxy:1080"));
        let view = parse(r#","filter":"_view","query_params":{"view":"d/v"}"#).unwrap();
        assert!(matches!(view.filter, Filter::View { ref design, .. } if design == "d"));
        let params = parse(r#","filter":"d/f","query_params":{"a":"b","n":1}"#).unwrap();
        let error = params.require_string_params().unwrap_err();
        assert_eq!(error.to_string(), "n value must be a string.");
    }

    #[test]
    fn slowing_down_raises_nothing() {
        let mut replication = parse(r#","worker_processes":1"#).unwrap();
        replication.slow_down();
        let Replication { workers, batch_rows, connections, checkpoint_interval, .. } = replication;
        assert_eq!((workers, batch_rows, connections), (1, SLOW_BATCH_ROWS, SLOW_CONNECTIONS));
        assert_eq!(checkpoint_interval, SLOW_CHECKPOINT_INTERVAL);
    }

    #[test]
    fn cancelling() {
        let cancel = |text: &str| Cancel::parse(&Value::parse(text.as_bytes()).unwrap());
        assert_eq!(cancel("{}"), Ok(Cancel::No));
        assert_eq!(cancel(r#"{"cancel":true}"#), Ok(Cancel::ByRequest));
        let id = ReplicationId { base: "abc".into(), suffix: "+continuous".into() };
        assert_eq!(cancel(r#"{"cancel":true,"id":"abc continuous"}"#), Ok(Cancel::ById(id)));
        assert!(cancel(r#"{"cancel":1}"#).is_err());
    }
}
