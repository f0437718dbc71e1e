//! What all replications of a server have in common.

use std::{fmt, path::PathBuf, sync::Arc};

use tokio::sync::Semaphore;

use super::http::Clients;
use crate::{caller::Caller, databases::Databases, document::Limits, error::Result};

/// What tells this server from others in the ids of replications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerIdentity {
    /// `[couchdb] uuid`.
    pub uuid: String,
    /// The machine's name, for ids of CouchDB 1.
    pub host_name: String,
    /// The port it listens on, for ids of CouchDB 1.
    pub port: u16,
}

/// What is to be done in a database of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Make it.
    Create,
    /// Read from it.
    Read,
    /// Write documents and checkpoints.
    Write,
    /// Write design documents.
    WriteDesign,
}

/// Says who may do what in the databases of this server. It is asked when a replication opens a
/// database, and again before each batch, so that a right that was taken away is gone.
pub trait AccessRules: fmt::Debug + Send + Sync {
    /// Whether the caller may do this. Must not block for long.
    ///
    /// # Errors
    /// [`Error::Unauthorized`](crate::Error::Unauthorized) or [`Error::Forbidden`](crate::Error::Forbidden) if not.
    fn check(&self, caller: &Caller, database: &str, access: Access) -> Result<()>;
}

/// Everybody may do everything: who embeds the engine decides by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unrestricted;

impl AccessRules for Unrestricted {
    fn check(&self, _: &Caller, _: &str, _: Access) -> Result<()> {
        Ok(())
    }
}

/// How other servers are talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// What the client calls itself.
    pub user_agent: String,
    /// Whether certificates are checked.
    pub verify_certificates: bool,
    /// A file of certificates to trust (PEM) instead of those that the system trusts.
    pub trusted_certificates: Option<PathBuf>,
    /// A certificate and its key to present (PEM).
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Logs in for a cookie before it sends credentials with each request.
    pub use_sessions: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        HttpSettings {
            user_agent: concat!("CouchDB-Replicator/", env!("CARGO_PKG_VERSION")).to_owned(),
            verify_certificates: true,
            trusted_certificates: None,
            client_certificate: None,
            use_sessions: true,
        }
    }
}

/// What all replications of a server share: its databases, and the connections to other servers.
#[derive(Clone, Debug)]
pub struct Context {
    pub(super) databases: Arc<Databases>,
    pub(super) server: ServerIdentity,
    pub(super) access: Arc<dyn AccessRules>,
    pub(super) limits: Limits,
    pub(super) clients: Arc<Clients>,
    pub(super) streams: Streams,
}

/// Attachments that threads of this process read or write at the same time, of all replications: such a
/// thread waits for another server, which may be slow, and there are only so many.
const MAX_STREAMS: usize = 64;

/// What limits them. Reading and writing wait for each other, so each has its own.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) reading: Arc<Semaphore>,
    pub(super) writing: Arc<Semaphore>,
}

impl Default for Streams {
    fn default() -> Self {
        let limit = || Arc::new(Semaphore::new(MAX_STREAMS));
        Streams { reading: limit(), writing: limit() }
    }
}

impl Context {
    /// A context without rules, with default settings.
    #[must_use]
    pub fn new(databases: Arc<Databases>, server: ServerIdentity) -> Self {
        Context {
            databases,
            server,
            access: Arc::new(Unrestricted),
            limits: Limits::default(),
            clients: Arc::new(Clients::new(HttpSettings::default())),
            streams: Streams::default(),
        }
    }

    /// Sets who may do what.
    #[must_use]
    pub fn with_access(mut self, access: Arc<dyn AccessRules>) -> Self {
        self.access = access;
        self
    }

    /// Sets the sizes beyond which documents are not written to databases of this server.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how other servers are talked to. Connections are made anew.
    #[must_use]
    pub fn with_http(mut self, settings: HttpSettings) -> Self {
        self.clients = Arc::new(Clients::new(settings));
        self
    }
}
