//! The schedule at work: starts and stops runs as it says, tells it the time and how they end.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use serde_json::Value;
use settee_engine::replication::{Control, Outcome, ReplicationError};
use settee_engine::tasks::{Task, Tasks};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::active;
use super::metrics::JobMetrics;
use super::schedule::{Action, Ended, Job, Millis, Rules, RunId, Schedule, State};
use super::work::{Origin, Runner, Work, stopped};

/// How long a run may take to write its last checkpoint after it was told to stop.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// How long the server waits for its replications when it stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Jobs of requests that may be there at a time: nothing but memory holds them.
const MAX_REQUESTED: usize = 10_000;

/// Something that has happened to a job, for those whose job it is.
#[derive(Clone, Debug)]
pub(super) enum JobEvent {
    Started,
    Completed,
    /// It failed, for this reason, and will be tried again.
    Crashed(String),
}

/// Who is told what happens to jobs. Called without any lock held.
type Observer = Box<dyn Fn(&Arc<Work>, JobEvent) + Send + Sync>;

/// A run that there is.
struct Running {
    control: Control,
    /// Its entry in `_active_tasks`, and what that last showed.
    task: Option<(Task, Value)>,
}

/// All jobs of the server.
pub(crate) struct Jobs {
    schedule: Mutex<Schedule<Arc<Work>>>,
    runs: Mutex<HashMap<RunId, Running>>,
    runner: Arc<dyn Runner>,
    observer: Observer,
    tasks: Arc<Tasks>,
    clock: Clock,
    /// Told when the timer has to be set anew.
    changed: Notify,
    /// How many runs there are, and whether more may start.
    count: watch::Sender<usize>,
    stopping: watch::Sender<bool>,
    metrics: JobMetrics,
}

/// Time that never goes backwards, counted from 1970.
struct Clock {
    started: Instant,
    offset: Millis,
}

impl Clock {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), offset: millis(since) }
    }

    fn now(&self) -> Millis {
        self.offset.saturating_add(millis(self.started.elapsed()))
    }

    /// Something that changes while a run lives; `None` for one that has written all it has read.
    fn pulse(&self, control: &Control) -> Option<u64> {
        let progress = control.progress();
        let shown = progress.snapshot();
        let moved = progress.last_moved().saturating_duration_since(self.started.into_std());
        (shown.get("source_seq") != shown.get("through_seq")).then_some(millis(moved))
    }

    fn instant(&self, at: Millis) -> Option<Instant> {
        self.started.checked_add(Duration::from_millis(at.saturating_sub(self.offset)))
    }
}

fn millis(span: Duration) -> Millis {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Jobs {
    pub(super) fn new(
        rules: Rules,
        runner: Arc<dyn Runner>,
        tasks: Arc<Tasks>,
        observer: Observer,
    ) -> Arc<Self> {
        let clock = Clock::new();
        Arc::new(Self {
            schedule: Mutex::new(Schedule::new(rules, clock.offset)),
            runs: Mutex::default(),
            runner,
            observer,
            tasks,
            clock,
            changed: Notify::new(),
            count: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            metrics: JobMetrics::default(),
        })
    }

    /// Milliseconds since 1970.
    pub(super) fn now(&self) -> Millis {
        self.clock.now()
    }

    pub(super) fn metrics(&self) -> &JobMetrics {
        &self.metrics
    }

    pub(super) fn configure(self: &Arc<Self>, rules: Rules) {
        self.schedule.lock().configure(rules, self.now());
        self.pump();
    }

    /// Adds a job.
    ///
    /// # Errors
    ///
    /// The work that has this id already.
    pub(crate) fn add(self: &Arc<Self>, work: &Arc<Work>) -> Result<(), Arc<Work>> {
        {
            let mut schedule = self.schedule.lock();
            if let Some(known) = schedule.get(&work.id) {
                self.metrics.duplicate_adds.add();
                return Err(Arc::clone(&known.work));
            }
            let endless = work.job.replication.continuous;
            schedule.add(self.now(), &work.id, &work.group(), endless, Arc::clone(work));
        }
        self.metrics.adds.add();
        self.pump();
        Ok(())
    }

    /// Removes a job, if it is this work that has the id.
    pub(crate) fn remove(self: &Arc<Self>, work: &Arc<Work>) -> bool {
        let removed = self.take(work);
        if removed {
            work.tell(stopped());
            self.pump();
        }
        removed
    }

    /// Takes a job off the schedule, and tells its run to stop.
    fn take(&self, work: &Arc<Work>) -> bool {
        let removed = {
            let mut schedule = self.schedule.lock();
            let is_it = schedule.get(&work.id).is_some_and(|job| Arc::ptr_eq(&job.work, work));
            if is_it { schedule.remove(&work.id, self.now()) } else { None }
        };
        let Some((_, run)) = removed else { return false };
        self.metrics.removes.add();
        if let Some(run) = run {
            self.stop(run);
        }
        true
    }

    /// Has a job that has crashed try again at once.
    pub(crate) fn retry(self: &Arc<Self>, id: &str) -> bool {
        let retried = self.schedule.lock().retry(id, self.now());
        self.pump();
        retried
    }

    /// Whether there may be one more job that nobody has written a document for.
    pub(crate) fn has_room_for_requests(&self) -> bool {
        let schedule = self.schedule.lock();
        let requested = schedule.jobs().filter(|(_, job)| job.work.origin == Origin::Request);
        requested.count() < MAX_REQUESTED
    }

    /// Looks at the job of this id.
    pub(crate) fn with<R>(&self, id: &str, look: impl FnOnce(&Job<Arc<Work>>) -> R) -> Option<R> {
        self.schedule.lock().get(id).map(look)
    }

    /// Looks at all jobs in the order of their ids.
    pub(crate) fn map<R>(&self, look: impl FnMut(&Job<Arc<Work>>) -> R) -> Vec<R> {
        self.schedule.lock().jobs().map(|(_, job)| job).map(look).collect()
    }

    /// How many jobs are pending, running, and waiting after a crash.
    pub(super) fn counts(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        for (_, job) in self.schedule.lock().jobs() {
            let [pending, running, crashed] = &mut counts;
            *match job.state() {
                State::Pending => pending,
                State::Running => running,
                State::Crashing => crashed,
            } += 1;
        }
        counts
    }

    /// Brings the entries of runs in `_active_tasks` up to date.
    pub(crate) fn refresh_tasks(&self) {
        for running in self.runs.lock().values_mut() {
            let Some((task, shown)) = &mut running.task else { continue };
            let now = active::progress(&running.control);
            if now != *shown {
                task.set(active::members(&now));
                *shown = now;
            }
        }
    }

    /// Does what the schedule says is due.
    fn pump(self: &Arc<Self>) {
        if *self.stopping.borrow() {
            return;
        }
        let actions = {
            let runs = self.runs.lock();
            let pulse = |run| self.clock.pulse(&runs.get(&run)?.control);
            self.schedule.lock().run(self.now(), pulse)
        };
        for action in actions {
            match action {
                Action::Start { id, run, after } => self.start(&id, run, after),
                Action::Stop { run } => self.stop(run),
            }
        }
        self.changed.notify_one();
    }

    fn start(self: &Arc<Self>, id: &str, run: RunId, after: Millis) {
        let work = self.schedule.lock().get(id).map(|job| Arc::clone(&job.work));
        // It was removed again meanwhile: its run is over before it began.
        let Some(work) = work else { return self.ended(run, &None, Ok(stopped_outcome())) };
        let control = work.renew();
        let running = Running { control: control.clone(), task: None };
        let count = {
            let mut runs = self.runs.lock();
            runs.insert(run, running);
            runs.len()
        };
        self.count.send_replace(count);
        self.metrics.starts.add();
        let jobs = Arc::clone(self);
        tokio::spawn(async move {
            let result = jobs.live(&work, run, control, after).await;
            jobs.ended(run, &Some(work), result);
        });
    }

    /// One run from its start to its end, whichever way it ends.
    async fn live(
        &self,
        work: &Arc<Work>,
        run: RunId,
        control: Control,
        after: Millis,
    ) -> Result<Outcome, ReplicationError> {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(after)) => {}
            () = control.stopped() => {}
        }
        if control.is_stopped() || *self.stopping.borrow() {
            return Ok(stopped_outcome());
        }
        self.list(work, run, &control);
        (self.observer)(work, JobEvent::Started);
        let impatient = async {
            control.stopped().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        let run = self.runner.run(&work.next_run(), control.clone());
        let running = AssertUnwindSafe(run).catch_unwind();
        tokio::select! {
            result = running => result.unwrap_or_else(|_| {
                Err(ReplicationError::Internal("the replication failed inside the server".into()))
            }),
            () = impatient => {
                Err(ReplicationError::Internal("it was told to stop and did not".into()))
            }
        }
    }

    /// Puts the run on the list of `_active_tasks`.
    fn list(&self, work: &Arc<Work>, run: RunId, control: &Control) {
        let task = self.tasks.begin("replication", active::members(&active::description(work)));
        let shown = active::progress(control);
        task.set(active::members(&shown));
        if let Some(running) = self.runs.lock().get_mut(&run) {
            running.task = Some((task, shown));
        }
    }

    fn stop(&self, run: RunId) {
        if let Some(running) = self.runs.lock().get(&run) {
            running.control.stop();
        }
    }

    fn ended(
        self: &Arc<Self>,
        run: RunId,
        work: &Option<Arc<Work>>,
        result: Result<Outcome, ReplicationError>,
    ) {
        let count = {
            let mut runs = self.runs.lock();
            runs.remove(&run);
            runs.len()
        };
        let is_endless = work.as_ref().is_some_and(|work| work.job.replication.continuous);
        let how = match &result {
            Ok(outcome) if outcome.stopped => Ended::Stopped,
            Ok(_) if is_endless => Ended::Crashed("the feed of changes came to an end".to_owned()),
            Ok(_) => Ended::Completed,
            Err(error) => Ended::Crashed(error.to_string()),
        };
        let (is_known, done) = {
            let mut schedule = self.schedule.lock();
            let is_known = work.as_ref().is_some_and(|work| {
                schedule.get(&work.id).is_some_and(|job| job.run() == Some(run))
            });
            (is_known, schedule.ended(run, how.clone(), self.now()).is_some())
        };
        if let Some(work) = work.as_ref().filter(|_| is_known) {
            work.learn(&result);
            self.report(work, how, result, done);
        }
        self.pump();
        self.count.send_replace(count);
    }

    /// Tells those whose job it is how a run has ended.
    fn report(
        self: &Arc<Self>,
        work: &Arc<Work>,
        how: Ended,
        result: Result<Outcome, ReplicationError>,
        done: bool,
    ) {
        match how {
            Ended::Stopped => self.metrics.stops.add(),
            Ended::Completed => (self.observer)(work, JobEvent::Completed),
            Ended::Crashed(reason) => {
                self.metrics.crashes.add();
                tracing::warn!(replication = &*work.id, %reason, "a replication failed");
                (self.observer)(work, JobEvent::Crashed(reason));
                // Who asked for it is told now, and nobody would know of another try.
                if work.origin == Origin::Request && !work.job.replication.continuous {
                    self.take(work);
                }
                return work.tell(Arc::new(result));
            }
        }
        if done {
            work.tell(Arc::new(result));
        }
    }

    /// Calls the schedule when it wants to be called, until the server stops; then stops all runs.
    pub(super) async fn drive(self: Arc<Self>, server_stops: impl Future<Output = ()>) {
        tokio::pin!(server_stops);
        loop {
            let next = self.schedule.lock().next().and_then(|next| self.clock.instant(next));
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => self.pump(),
                () = self.changed.notified() => {}
                () = &mut server_stops => break,
            }
        }
        self.stop_all().await;
    }

    /// Stops all runs and starts no more; returns when they have ended, or have had the time for it.
    pub(super) async fn stop_all(&self) {
        self.stopping.send_replace(true);
        let mut count = self.count.subscribe();
        for running in self.runs.lock().values() {
            running.control.stop();
        }
        let all = count.wait_for(|count| *count == 0);
        if tokio::time::timeout(SHUTDOWN_GRACE, all).await.is_err() {
            tracing::warn!(
                "some replications didn't stop in time; they go on from their checkpoints"
            );
        }
    }
}

fn stopped_outcome() -> Outcome {
    Outcome { stopped: true, checkpoint: settee_engine::json::Object::new() }
}
