//! One replication that is to be carried out: what it is, where it comes from, and how far it is.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use settee_engine::replication::{Control, Job, Outcome, Replication, ReplicationError};
use tokio::sync::watch;

/// How a run ended; shared by all who wait for it.
pub(crate) type RunResult = Arc<Result<Outcome, ReplicationError>>;

/// A future that can be handed around.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Carries replications out. The scheduler knows no other way, so that tests can put something simpler in
/// the place of two servers.
pub(crate) trait Runner: Send + Sync {
    /// Finds out the id of a replication, for which its source may have to be asked.
    fn prepare(&self, replication: Replication) -> Boxed<Result<Job, ReplicationError>>;

    /// Runs it.
    fn run(&self, job: &Job, control: Control) -> Boxed<Result<Outcome, ReplicationError>>;
}

/// Where a replication comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A request to `_replicate`.
    Request,
    /// A document.
    Document {
        /// The database it is in,
        database: Arc<str>,
        /// and its id.
        id: Arc<str>,
    },
}

/// A replication that is to be carried out.
pub(crate) struct Work {
    pub(crate) job: Job,
    /// The replication's id in full.
    pub(crate) id: Arc<str>,
    pub(crate) origin: Origin,
    /// Whose it is.
    pub(crate) user: Option<String>,
    /// A run failed because a server limits how often it may be asked: the next ones ask less of it.
    is_slow: AtomicBool,
    /// The handle of the run there is, or was last.
    control: Mutex<Control>,
    /// How many runs have ended so that somebody is told, and how the last of them did.
    ended: watch::Sender<(u64, RunResult)>,
}

impl Work {
    pub(crate) fn new(job: Job, origin: Origin, user: Option<String>) -> Arc<Self> {
        Arc::new(Self {
            id: job.id.to_string().into(),
            job,
            origin,
            user,
            is_slow: AtomicBool::new(false),
            control: Mutex::default(),
            ended: watch::Sender::new((0, stopped())),
        })
    }

    /// What the next run is to do.
    pub(super) fn next_run(&self) -> Job {
        let mut job = self.job.clone();
        if self.is_slow.load(Ordering::Relaxed) {
            job.replication.slow_down();
        }
        job
    }

    /// Learns from how a run ended.
    pub(super) fn learn(&self, result: &Result<Outcome, ReplicationError>) {
        if let Err(ReplicationError::RateLimited { .. }) = result {
            self.is_slow.store(true, Ordering::Relaxed);
        }
    }

    /// The handle of the present run, or of the last one.
    pub(crate) fn control(&self) -> Control {
        self.control.lock().clone()
    }

    /// A handle for a new run, which goes on counting where the last one stopped.
    pub(super) fn renew(&self) -> Control {
        let mut control = self.control.lock();
        let before = control.progress().stats();
        *control = Control::new();
        control.progress().resume(&before);
        control.clone()
    }

    /// Tells those who wait how a run ended, or that there will be no more.
    pub(super) fn tell(&self, result: RunResult) {
        self.ended.send_modify(|ended| *ended = (ended.0 + 1, result));
    }

    /// Waits until the next run has ended, done or failed, or the job is taken away.
    pub(crate) fn outcome(self: &Arc<Self>) -> impl Future<Output = RunResult> + use<> {
        let mut ended = self.ended.subscribe();
        // Whatever was told before is about another request.
        let before = ended.borrow().0;
        let work = Arc::clone(self);
        async move {
            let told = ended.wait_for(|(count, _)| *count > before).await;
            let result = told.map(|told| Arc::clone(&told.1));
            // The sender lives as long as the work does.
            drop(work);
            result.unwrap_or_else(|_| stopped())
        }
    }

    /// The database of the document it comes from; jobs of requests have a group of their own.
    pub(super) fn group(&self) -> Arc<str> {
        match &self.origin {
            Origin::Request => Arc::from(""),
            Origin::Document { database, .. } => Arc::clone(database),
        }
    }

    pub(crate) fn database(&self) -> Option<&str> {
        match &self.origin {
            Origin::Request => None,
            Origin::Document { database, .. } => Some(database),
        }
    }

    pub(crate) fn doc_id(&self) -> Option<&str> {
        match &self.origin {
            Origin::Request => None,
            Origin::Document { id, .. } => Some(id),
        }
    }
}

/// What those are told who wait for a replication that is taken away.
pub(super) fn stopped() -> RunResult {
    let checkpoint = settee_engine::json::Object::new();
    Arc::new(Ok(Outcome { stopped: true, checkpoint }))
}
