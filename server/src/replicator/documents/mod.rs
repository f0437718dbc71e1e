//! Replication documents: from what is written in replicator databases to jobs, and from what becomes of
//! the jobs back into the documents.
//!
//! * `entry`: one document and its state; `follower`: where changes come from; `write_back`: what is
//!   written into documents
//! * this file: what follows from what
//!
//! A document that makes sense becomes a job (`jobs` runs those); until its id is found out it is
//! *initializing*, and in *error* as long as that fails for a reason that may pass. One that makes no sense,
//! or orders what another document has ordered, has *failed*. Documents that have come to their end,
//! *completed* or *failed*, are in the database only.

mod entry;
mod follower;
mod write_back;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use settee_engine::json::Value;
use settee_engine::replication::{Defaults, Job, Replication, ReplicationError};
use settee_engine::sequence::Uuid;
use settee_engine::{Database, Databases, Subscription};
use tokio::sync::{Semaphore, mpsc};

pub(crate) use self::entry::{DocKey, DocState, Endpoints, Entry, written_state};
use self::entry::{spec_of, user_of};
use self::write_back::NewState;
use super::jobs::{JobEvent, Jobs};
use super::metrics::DocumentMetrics;
use super::schedule::Rules;
use super::work::{Origin, Runner, Work};

/// Documents whose id is being found out at a time, for which their sources may be asked.
const RESOLVED_AT_A_TIME: usize = 20;

/// The pause before a state that could not be written into its document is tried again.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// What of the configuration concerns documents.
#[derive(Clone, Debug, Default)]
pub(super) struct DocumentSettings {
    pub(super) defaults: Defaults,
    pub(super) rules: Rules,
    pub(super) update_docs: bool,
}

/// All replication documents that have not come to their end.
pub(crate) struct Documents {
    databases: Arc<Databases>,
    runner: Arc<dyn Runner>,
    jobs: Arc<Jobs>,
    settings: RwLock<Arc<DocumentSettings>>,
    table: Mutex<Table>,
    resolving: Semaphore,
    /// The databases that are followed.
    followed: Mutex<HashMap<String, Uuid>>,
    to_follow: mpsc::UnboundedSender<Subscription>,
    metrics: DocumentMetrics,
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<DocKey, Entry>,
    attempts: u64,
}

impl Table {
    /// The entry, if what was found out about it by this attempt is still wanted.
    fn current(&mut self, key: &DocKey, attempt: u64) -> Option<&mut Entry> {
        self.entries.get_mut(key).filter(|entry| entry.attempt == attempt)
    }

    fn next_attempt(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }
}

impl Documents {
    /// Follows nothing before [`Self::follow`] runs with what this returns beside it.
    pub(super) fn new(
        databases: Arc<Databases>,
        runner: Arc<dyn Runner>,
        jobs: Arc<Jobs>,
        settings: DocumentSettings,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Subscription>) {
        let (to_follow, subscriptions) = mpsc::unbounded_channel();
        let documents = Self {
            databases,
            runner,
            jobs,
            settings: RwLock::new(Arc::new(settings)),
            table: Mutex::default(),
            resolving: Semaphore::new(RESOLVED_AT_A_TIME),
            followed: Mutex::default(),
            to_follow,
            metrics: DocumentMetrics::default(),
        };
        (Arc::new(documents), subscriptions)
    }

    pub(super) fn configure(&self, settings: DocumentSettings) {
        *self.settings.write() = Arc::new(settings);
    }

    fn settings(&self) -> Arc<DocumentSettings> {
        Arc::clone(&self.settings.read())
    }

    pub(super) fn metrics(&self) -> &DocumentMetrics {
        &self.metrics
    }

    /// Sees to it that a database is followed.
    pub(super) fn notice(&self, database: &Arc<Database>) {
        let before = self.followed.lock().insert(database.name().to_owned(), database.uuid());
        if before != Some(database.uuid()) {
            // There is a receiver until the server stops.
            drop(self.to_follow.send(database.subscribe()));
        }
    }

    /// Follows the databases it is told of, for ever.
    pub(super) async fn follow(
        self: Arc<Self>,
        subscriptions: &mut mpsc::UnboundedReceiver<Subscription>,
    ) {
        let mut followers = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                Some(subscription) = subscriptions.recv() => {
                    followers.spawn(follower::follow(Arc::clone(&self), subscription));
                }
                Some(_) = followers.join_next() => {}
            }
        }
    }

    /// A database is no longer there: its documents' jobs end.
    fn database_gone(&self, database: &str, uuid: Uuid) {
        {
            let mut followed = self.followed.lock();
            match followed.get(database) {
                // There is another of its name already, whose follower has begun.
                Some(now) if *now != uuid => {}
                _ => drop(followed.remove(database)),
            }
        }
        let keys: Vec<DocKey> = self.entries(database).into_keys().collect();
        for key in keys {
            self.forget(&key);
        }
    }

    /// A document was written, or deleted.
    fn changed(self: &Arc<Self>, key: DocKey, document: Option<Value>) {
        self.metrics.changes.add();
        let written = document.as_ref().and_then(written_state).map(str::to_owned);
        let document = document.filter(|_| !is_final(written.as_deref()));
        let Some(document) = document else { return self.forget(&key) };
        let spec = spec_of(&document);
        if self.is_known(&key, &spec, written.is_none()) {
            return;
        }
        let (before, attempt) = {
            let mut table = self.table.lock();
            let attempt = table.next_attempt();
            let entry = Entry::new(attempt, Arc::new(spec), self.jobs.now());
            (table.entries.insert(key.clone(), entry), attempt)
        };
        self.end(before);
        if written.is_some() && !self.settings().update_docs {
            self.write(&key, attempt, NewState::Cleared);
        }
        self.resolve_soon(key, attempt);
    }

    /// Whether the document orders what it has ordered before. If so, and it was written by somebody else
    /// than the server, what waits after a failure is tried at once.
    fn is_known(self: &Arc<Self>, key: &DocKey, spec: &Value, touched: bool) -> bool {
        let retry = {
            let mut table = self.table.lock();
            let attempt = table.next_attempt();
            let Some(entry) = table.entries.get_mut(key) else { return false };
            if *entry.spec != *spec || entry.state.is_final() {
                return false;
            }
            match &entry.state {
                DocState::Job(work) if touched => Some(Ok(Arc::clone(work))),
                DocState::Error(_) if touched => {
                    entry.attempt = attempt;
                    Some(Err(attempt))
                }
                _ => None,
            }
        };
        match retry {
            Some(Ok(work)) => drop(self.jobs.retry(&work.id)),
            Some(Err(attempt)) => self.resolve_soon(key.clone(), attempt),
            None => {}
        }
        true
    }

    /// Has a document that waits after a failure tried at once; false if there is nothing to be tried.
    pub(crate) fn retry(self: &Arc<Self>, key: &DocKey) -> bool {
        let retried = {
            let mut table = self.table.lock();
            let attempt = table.next_attempt();
            match table.entries.get_mut(key) {
                Some(Entry { state: DocState::Job(work), .. }) => Ok(Arc::clone(work)),
                Some(entry) if matches!(entry.state, DocState::Error(_)) => {
                    entry.attempt = attempt;
                    Err(Some(attempt))
                }
                _ => Err(None),
            }
        };
        match retried {
            Ok(work) => self.jobs.retry(&work.id),
            Err(Some(attempt)) => {
                self.resolve_soon(key.clone(), attempt);
                true
            }
            Err(None) => false,
        }
    }

    /// The document is gone, or at its end.
    fn forget(&self, key: &DocKey) {
        let entry = self.table.lock().entries.remove(key);
        self.end(entry);
    }

    fn end(&self, entry: Option<Entry>) {
        if let Some(Entry { state: DocState::Job(work), .. }) = entry {
            self.jobs.remove(&work);
        }
    }

    fn resolve_soon(self: &Arc<Self>, key: DocKey, attempt: u64) {
        let documents = Arc::clone(self);
        tokio::spawn(async move { documents.resolve(key, attempt).await });
    }

    /// Finds out what a document orders, and makes it a job.
    async fn resolve(self: Arc<Self>, key: DocKey, attempt: u64) {
        // The semaphore is never closed.
        let Ok(_turn) = self.resolving.acquire().await else { return };
        let Some(spec) = self.table.lock().current(&key, attempt).map(|e| Arc::clone(&e.spec))
        else {
            return;
        };
        let replication = match Replication::parse(&spec, &self.settings().defaults) {
            Ok(replication) => replication,
            Err(refusal) => return self.fail(&key, attempt, refusal.to_string()),
        };
        match self.runner.prepare(replication).await {
            Ok(job) => self.become_job(&key, attempt, job, &spec),
            Err(ReplicationError::Invalid(refusal)) => {
                self.fail(&key, attempt, refusal.to_string());
            }
            Err(error) => self.stumble(key, attempt, error.to_string()),
        }
    }

    fn become_job(self: &Arc<Self>, key: &DocKey, attempt: u64, job: Job, spec: &Value) {
        let origin =
            Origin::Document { database: Arc::clone(&key.database), id: Arc::clone(&key.id) };
        let work = Work::new(job, origin, user_of(spec));
        let added = {
            // Held over both, or a document that is deleted meanwhile would leave its job behind.
            let mut table = self.table.lock();
            let Some(entry) = table.current(key, attempt) else { return };
            let added = self.jobs.add(&work);
            if added.is_ok() {
                entry.set(DocState::Job(Arc::clone(&work)), self.jobs.now());
            }
            added
        };
        let Err(other) = added else { return };
        let Work { id, .. } = &*work;
        match &other.origin {
            Origin::Document { database, id: first } => {
                let reason = format!(
                    "Replication `{id}` specified by document `{}` already started, triggered by \
                     document `{first}` from db `{database}`",
                    key.id
                );
                self.fail(key, attempt, reason);
            }
            Origin::Request => {
                let reason = format!(
                    "Replication `{id}` specified by document `{}` is running already because of a \
                     request to _replicate; it is taken over when that is done or cancelled",
                    key.id
                );
                self.stumble(key.clone(), attempt, reason);
            }
        }
    }

    /// Nothing can come of the document as it is.
    fn fail(self: &Arc<Self>, key: &DocKey, attempt: u64, reason: String) {
        {
            let mut table = self.table.lock();
            let Some(entry) = table.current(key, attempt) else { return };
            entry.set(DocState::Failed(reason.clone()), self.jobs.now());
        }
        self.metrics.failed.add();
        tracing::error!(database = &*key.database, document = &*key.id, %reason, "a replication document failed");
        self.write(key, attempt, NewState::Failed(reason));
    }

    /// It can't be a job now; it is tried again later.
    fn stumble(self: &Arc<Self>, key: DocKey, attempt: u64, reason: String) {
        tracing::warn!(database = &*key.database, document = &*key.id, %reason, "a replication can't start yet");
        let settings = self.settings();
        let (next, wait) = {
            let mut table = self.table.lock();
            let next = table.next_attempt();
            let Some(entry) = table.current(&key, attempt) else { return };
            entry.attempt = next;
            entry.failures = entry.failures.saturating_add(1);
            entry.set(DocState::Error(reason.clone()), self.jobs.now());
            (next, Duration::from_millis(settings.rules.backoff(entry.failures)))
        };
        if settings.update_docs {
            self.write(&key, next, NewState::Error { reason, id: None });
        }
        let documents = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            documents.resolve(key, next).await;
        });
    }

    /// Something has happened to a job that came from a document.
    pub(super) fn job_event(self: &Arc<Self>, work: &Arc<Work>, event: JobEvent) {
        let Origin::Document { database, id } = &work.origin else { return };
        let key = DocKey { database: Arc::clone(database), id: Arc::clone(id) };
        let update_docs = self.settings().update_docs;
        let attempt = {
            let mut table = self.table.lock();
            let Some(entry) = table.entries.get_mut(&key) else { return };
            let is_its = matches!(&entry.state, DocState::Job(own) if Arc::ptr_eq(own, work));
            if !is_its {
                return;
            }
            if matches!(event, JobEvent::Completed) {
                let stats = work.control().progress().final_stats();
                entry.set(DocState::Completed(stats), self.jobs.now());
            }
            entry.attempt
        };
        match event {
            JobEvent::Completed => {
                self.metrics.completed.add();
                let stats = work.control().progress().final_stats();
                self.write(&key, attempt, NewState::Completed(stats));
            }
            JobEvent::Started if update_docs => {
                self.write(&key, attempt, NewState::Triggered(work.id.to_string()));
            }
            JobEvent::Crashed(reason) if update_docs => {
                let id = Some(work.id.to_string());
                self.write(&key, attempt, NewState::Error { reason, id });
            }
            JobEvent::Started | JobEvent::Crashed(_) => {}
        }
    }

    /// Writes a state into a document in the background.
    fn write(self: &Arc<Self>, key: &DocKey, attempt: u64, state: NewState) {
        let Some(spec) = self.table.lock().current(key, attempt).map(|e| Arc::clone(&e.spec))
        else {
            return;
        };
        let (documents, key) = (Arc::clone(self), key.clone());
        tokio::spawn(async move {
            while documents.table.lock().current(&key, attempt).is_some() {
                let (databases, at) = (Arc::clone(&documents.databases), key.clone());
                let (order, state) = (Arc::clone(&spec), state.clone());
                let write = move || write_back::write(&databases, &at, &order, &state);
                match tokio::task::spawn_blocking(write).await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => {
                        tracing::error!(
                            database = &*key.database, document = &*key.id, %error,
                            "a replication's state can't be written into its document yet"
                        );
                    }
                    Err(_) => return,
                }
                tokio::time::sleep(WRITE_AGAIN_AFTER).await;
            }
        });
    }

    /// What is known of a document; nothing if it is not there or has come to its end.
    pub(crate) fn entry(&self, key: &DocKey) -> Option<Entry> {
        self.table.lock().entries.get(key).cloned()
    }

    /// What is known of the documents of a database.
    pub(crate) fn entries(&self, database: &str) -> BTreeMap<DocKey, Entry> {
        let first = DocKey { database: database.into(), id: "".into() };
        let table = self.table.lock();
        let of_it = table
            .entries
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(|(key, _)| &*key.database == database);
        of_it.map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }

    /// What holds for documents that don't say otherwise.
    pub(crate) fn defaults(&self) -> Defaults {
        self.settings().defaults.clone()
    }
}

/// Whether a document that says this of its state has come to its end.
fn is_final(written: Option<&str>) -> bool {
    matches!(written, Some("completed" | "failed"))
}
