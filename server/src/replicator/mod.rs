//! The replicator: replications that are asked for by requests or by documents, and are carried out while
//! the server runs.
//!
//! * `schedule` decides what runs when, and `jobs` does as it says; a job is one piece of `work`;
//! * `documents` follows the databases of replication documents and turns these into jobs;
//! * `hook` and `secrets` are the rules of those databases;
//! * `runner` carries replications out with [`settee_engine::replication`], which knows how to replicate
//!   and nothing of this folder;
//! * `active` and `metrics` tell others of it.
//!
//! What a request has to look like, and what is answered, is the business of `routes`.

mod active;
mod documents;
mod hook;
mod jobs;
mod metrics;
mod runner;
mod schedule;
mod secrets;
#[cfg(test)]
mod tests;
mod work;

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use settee_engine::replication::{Job, Replication, ReplicationError};
use settee_engine::{Databases, NameRange, Subscription};
use tokio::sync::mpsc;

use self::documents::DocumentSettings;
pub(crate) use self::documents::{DocKey, DocState, Documents, Endpoints, Entry, written_state};
use self::hook::DocumentHook;
pub(crate) use self::jobs::Jobs;
pub use self::metrics::ReplicatorCounts;
use self::runner::EngineRunner;
pub use self::schedule::Rules;
pub(crate) use self::schedule::{EventKind, Job as ScheduledJob, Millis, State};
use self::work::Runner as _;
pub(crate) use self::work::{Origin, Work};
use crate::app::App;
use crate::config::Settings;

/// The name of the replicator database, or the last segment of it.
const REPLICATOR: &str = "_replicator";

/// Whether a database of this name holds replication documents.
pub(crate) fn is_replicator_database(name: &str) -> bool {
    name.rsplit('/').next() == Some(REPLICATOR)
}

/// The replicator of a server.
pub struct Replicator {
    databases: Arc<Databases>,
    runner: Arc<EngineRunner>,
    jobs: Arc<Jobs>,
    documents: Arc<Documents>,
    hook: Arc<DocumentHook>,
    /// The databases to be followed, until they are.
    to_follow: Mutex<Option<mpsc::UnboundedReceiver<Subscription>>>,
}

impl Replicator {
    /// Nothing happens before [`Self::run`] runs, but that the rules of replication documents hold.
    pub fn new(databases: Arc<Databases>, settings: &Settings) -> Arc<Self> {
        let runner = Arc::new(EngineRunner::new(Arc::clone(&databases), settings));
        let hook = Arc::new(DocumentHook::default());
        databases.set_write_hook(REPLICATOR, Arc::<DocumentHook>::clone(&hook));
        databases.set_read_hook(REPLICATOR, Arc::<DocumentHook>::clone(&hook));
        let replicator = Arc::new_cyclic(|itself: &Weak<Self>| {
            let itself = itself.clone();
            let observer = Box::new(move |work: &Arc<Work>, event| {
                if let Some(replicator) = itself.upgrade() {
                    replicator.documents.job_event(work, event);
                }
            });
            let rules = settings.replicator.rules.clone();
            let tasks = Arc::clone(databases.tasks());
            let jobs = Jobs::new(rules, Arc::<EngineRunner>::clone(&runner), tasks, observer);
            let (documents, to_follow) = Documents::new(
                Arc::clone(&databases),
                Arc::<EngineRunner>::clone(&runner),
                Arc::clone(&jobs),
                document_settings(settings),
            );
            let to_follow = Mutex::new(Some(to_follow));
            Self { databases, runner, jobs, documents, hook, to_follow }
        });
        let documents = Arc::downgrade(&replicator.documents);
        replicator.hook.listen(Box::new(move |database| {
            if let Some(documents) = documents.upgrade() {
                documents.notice(database);
            }
        }));
        replicator.hook.configure(&settings.replicator.defaults);
        replicator
    }

    /// Puts other settings into effect.
    pub fn configure(&self, settings: &Settings) {
        self.runner.configure(settings);
        self.hook.configure(&settings.replicator.defaults);
        self.documents.configure(document_settings(settings));
        self.jobs.configure(settings.replicator.rules.clone());
    }

    /// Does the work until the server stops.
    pub async fn run(self: Arc<Self>, app: Arc<App>) {
        let Some(mut to_follow) = self.to_follow.lock().take() else { return };
        let existing = Arc::clone(&self);
        let found = tokio::task::spawn_blocking(move || existing.notice_all());
        let follow = Arc::clone(&self.documents).follow(&mut to_follow);
        tokio::select! {
            () = Arc::clone(&self.jobs).drive(app.stopping()) => {}
            () = follow => {}
        }
        drop(found.await);
    }

    /// Stops all replications, once they have written their last checkpoints; no more begin.
    pub async fn stop(&self) {
        self.jobs.stop_all().await;
    }

    /// Has the replicator databases followed that there are.
    fn notice_all(&self) {
        let names = match self.databases.names(&NameRange::default()) {
            Ok(names) => names,
            Err(error) => {
                tracing::error!(%error, "replicator databases can't be looked for");
                return;
            }
        };
        for name in names.iter().filter(|name| is_replicator_database(name)) {
            match self.databases.get(name) {
                Ok(database) => self.documents.notice(&database),
                Err(error) => {
                    tracing::error!(database = name, %error, "a replicator database can't be opened");
                }
            }
        }
    }

    /// The jobs.
    pub(crate) fn jobs(&self) -> &Arc<Jobs> {
        &self.jobs
    }

    /// The documents.
    pub(crate) fn documents(&self) -> &Arc<Documents> {
        &self.documents
    }

    /// Finds out the id of a replication.
    ///
    /// # Errors
    ///
    /// When its filter can't be had from the source, or makes no sense.
    pub(crate) async fn prepare(&self, replication: Replication) -> Result<Job, ReplicationError> {
        self.runner.prepare(replication).await
    }

    /// What has been counted.
    pub fn counts(&self) -> ReplicatorCounts {
        let (jobs, documents) = (self.jobs.metrics(), self.documents.metrics());
        let [pending, running, crashed] = self.jobs.counts();
        ReplicatorCounts {
            adds: jobs.adds.get(),
            duplicate_adds: jobs.duplicate_adds.get(),
            removes: jobs.removes.get(),
            starts: jobs.starts.get(),
            stops: jobs.stops.get(),
            crashes: jobs.crashes.get(),
            pending,
            running,
            crashed,
            document_changes: documents.changes.get(),
            completed_documents: documents.completed.get(),
            failed_documents: documents.failed.get(),
        }
    }
}

fn document_settings(settings: &Settings) -> DocumentSettings {
    let replicator = &settings.replicator;
    DocumentSettings {
        defaults: replicator.defaults.clone(),
        rules: replicator.rules.clone(),
        update_docs: replicator.update_docs,
    }
}
