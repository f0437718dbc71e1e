//! What all requests share.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use settee_engine::attachment::gzip::CompressibleTypes;
use settee_engine::javascript::JsSettings;
use settee_engine::{AttachmentSettings, Database, Databases};
use tokio::sync::watch;

use crate::auth::{self, Accounts};
use crate::config::{Config, ConfigError, Settings};
use crate::global_changes::GlobalChanges;
use crate::http::Failure;
use crate::logging;
use crate::metrics::Metrics;
use crate::per_user::PerUser;
use crate::replicator::Replicator;
use crate::uuids::Uuids;

/// The name this one node answers to where CouchDB's API names nodes.
const NODE_NAME: &str = "couchdb@127.0.0.1";

/// The running server: configuration, accounts, databases.
pub struct App {
    config: Config,
    settings: ArcSwap<Settings>,
    accounts: Accounts,
    per_user: Arc<PerUser>,
    global_changes: Arc<GlobalChanges>,
    replicator: Arc<Replicator>,
    databases: Arc<Databases>,
    uuids: Uuids,
    address: OnceLock<SocketAddr>,
    started: Instant,
    stopping: watch::Sender<bool>,
    /// Somebody has asked for the server to start anew.
    restart: watch::Sender<bool>,
    metrics: Metrics,
    /// Counts the changes of the configuration.
    changes: watch::Sender<u64>,
}

impl App {
    /// Puts the parts together.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers to give.
    pub fn new(config: Config, databases: Arc<Databases>) -> Result<Arc<Self>, getrandom::Error> {
        let settings = config.settings();
        let (users, per_user) = (auth::users_database(&settings), &settings.accounts.per_user);
        let app = Self {
            per_user: Arc::new(PerUser::new(Arc::clone(&databases), users, per_user)),
            global_changes: Arc::new(GlobalChanges::new(
                Arc::clone(&databases),
                settings.global_changes,
            )),
            replicator: Replicator::new(Arc::clone(&databases), &settings),
            settings: ArcSwap::from_pointee(settings),
            accounts: Accounts::new(&config, &databases)?,
            config,
            databases,
            uuids: Uuids::new()?,
            address: OnceLock::new(),
            started: Instant::now(),
            stopping: watch::Sender::new(false),
            restart: watch::Sender::new(false),
            metrics: Metrics::default(),
            changes: watch::Sender::new(0),
        };
        app.apply();
        Ok(Arc::new(app))
    }

    /// The options in effect now. A request that reads several of them should keep what this
    /// returns; one that waits should not.
    pub fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// The text of the configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The accounts.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// What gives every user a database.
    pub fn per_user(&self) -> &Arc<PerUser> {
        &self.per_user
    }

    /// What writes down what happens to databases.
    pub(crate) fn global_changes(&self) -> &Arc<GlobalChanges> {
        &self.global_changes
    }

    /// What carries out replications.
    pub fn replicator(&self) -> &Arc<Replicator> {
        &self.replicator
    }

    /// The databases.
    pub fn databases(&self) -> &Arc<Databases> {
        &self.databases
    }

    /// The database of this name. One that is closed is opened here, which reads its file: short
    /// enough for a thread of the runtime, of which there are more than cores for such waits.
    ///
    /// # Errors
    ///
    /// 404 when there is none; 500 when its file is damaged.
    pub fn database(&self, name: &str) -> Result<Arc<Database>, Failure> {
        Ok(self.databases.get(name)?)
    }

    /// A new id, made as `[uuids]` says.
    pub fn new_uuid(&self) -> String {
        self.uuids.next(&self.settings())
    }

    /// The name of this node.
    pub fn node_name(&self) -> &'static str {
        NODE_NAME
    }

    /// What the server counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Tells whoever waits for it that the configuration has changed or was read again.
    pub fn configuration_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// When the server started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Changes an option while the server runs and returns its former value; a plain password in
    /// `[admins]` is hashed first, which takes its time.
    ///
    /// # Errors
    ///
    /// As [`Config::set`].
    pub fn set_option(
        &self,
        section: &str,
        key: &str,
        value: Option<&str>,
        persist: bool,
    ) -> Result<Option<String>, ConfigError> {
        let hashed = match value {
            Some(password) if section == "admins" => {
                auth::hash_unless_hashed(password, &self.settings().accounts.passwords)?
            }
            _ => None,
        };
        let previous = self.config.set(section, key, hashed.as_deref().or(value), persist)?;
        self.apply();
        Ok(previous)
    }

    /// Reads the configuration files again.
    ///
    /// # Errors
    ///
    /// As [`Config::reload`].
    pub fn reload(&self) -> Result<(), ConfigError> {
        self.config.reload()?;
        self.apply();
        Ok(())
    }

    /// Puts the configuration into effect.
    fn apply(&self) {
        let settings = self.config.settings();
        self.databases.set_attachment_settings(AttachmentSettings {
            compressible: CompressibleTypes::parse(&settings.compressible_types),
            level: settings.compression_level,
            max_bytes: settings.max_attachment_size,
        });
        self.databases.set_javascript(JsSettings {
            timeout: Duration::from_millis(settings.function_timeout_ms),
            memory_bytes: settings.function_memory_bytes,
            projects: settings.project_documents,
            simple_maps: settings.simple_maps,
            log: Arc::new(|message| tracing::info!(target: "settee::functions", "{message}")),
            ..JsSettings::default()
        });
        self.accounts.reload(&self.config, &settings);
        self.per_user.configure(auth::users_database(&settings), &settings.accounts.per_user);
        self.global_changes.configure(settings.global_changes);
        self.replicator.configure(&settings);
        self.databases.set_view_settings(settings.views.clone());
        self.databases.set_body_compression(settings.file_compression);
        self.databases.set_compaction_channels(settings.compaction_channels.clone());
        self.settings.store(Arc::new(settings));
        logging::follow(&self.config);
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// The address the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address.get().copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Says which address the server listens on, once it does.
    pub fn listens_on(&self, address: SocketAddr) {
        // A second listener would not change what `Location` headers name.
        let _ = self.address.set(address);
    }

    /// Tells everything that waits to come to an end: the server stops.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Asks the server to end and start anew.
    pub(crate) fn request_restart(&self) {
        self.restart.send_replace(true);
    }

    /// Resolves when somebody asks for that.
    pub(crate) async fn restart_requested(&self) {
        let mut restart = self.restart.subscribe();
        // As for `stopping`.
        drop(restart.wait_for(|restart| *restart).await);
    }

    /// Whether somebody has.
    pub(crate) fn is_to_restart(&self) -> bool {
        *self.restart.borrow()
    }

    /// Resolves when the server stops. Whoever follows changes waits for this too.
    pub async fn stopping(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as the app does.
        drop(stopping.wait_for(|stopping| *stopping).await);
    }
}
