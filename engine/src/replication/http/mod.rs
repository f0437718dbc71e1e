//! Requests to other servers: pooled connections, retries, credentials, limits.
//!
//! * this file: what all replications share
//! * `connect`, `tls`: connections
//! * `call`: one request, repeated until it is answered or given up
//! * `answer`: what came back
//! * `session`: logging in
//! * `pace`: servers that have enough
//! * `inflate`: gzip
//!
//! Nothing here knows what a document is.

mod answer;
mod call;
mod connect;
mod inflate;
mod pace;
mod session;
mod tls;

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use parking_lot::Mutex;
use tokio_rustls::rustls::ClientConfig;

use super::{context::HttpSettings, endpoint::Proxy};
pub(super) use answer::{Answer, AnswerBody};
pub(super) use call::{Call, Payload, Remote, StreamedBody, encode, encode_id};
use connect::Connector;
use pace::Pace;
use session::Sessions;

/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(55);
/// Idle connections kept to one server.
const MAX_IDLE: usize = 32;
/// Servers whose pace is remembered.
const MAX_PACES: usize = 1024;

/// What a request carries.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, io::Error>;
type HttpClient = Client<Connector, RequestBody>;

/// Connections to other servers, shared by all replications.
pub(super) struct Clients {
    settings: HttpSettings,
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
    /// One for each proxy.
    clients: Mutex<HashMap<Option<Proxy>, (HttpClient, Connector)>>,
    sessions: Sessions,
    /// By scheme and authority.
    paces: Mutex<HashMap<String, Arc<Pace>>>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Clients {
    pub(super) fn new(settings: HttpSettings) -> Self {
        Clients {
            settings,
            tls: OnceLock::new(),
            clients: Mutex::default(),
            sessions: Sessions::default(),
            paces: Mutex::default(),
        }
    }

    /// The client that goes through `proxy`.
    fn client(&self, proxy: Option<&Proxy>) -> Result<(HttpClient, Connector), String> {
        let tls = self.tls.get_or_init(|| tls::config(&self.settings)).clone()?;
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(&proxy.cloned()) {
            return Ok(client.clone());
        }
        let connector = Connector::new(proxy, tls)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(connector.clone());
        clients.insert(proxy.cloned(), (client.clone(), connector.clone()));
        Ok((client, connector))
    }

    /// The pace of a server.
    fn pace(&self, origin: &str) -> Arc<Pace> {
        let mut paces = self.paces.lock();
        if paces.len() >= MAX_PACES {
            // Those that nobody holds and that are at full speed tell nothing.
            let now = Instant::now();
            paces.retain(|_, pace| Arc::strong_count(pace) > 1 || !pace.wait(now).is_zero());
        }
        Arc::clone(paces.entry(origin.to_owned()).or_default())
    }
}
