//! Which replications run when: a state machine that does nothing by itself and knows no clock.
//!
//! Whoever drives it tells it the time with every call, carries out the [`Action`]s that [`Schedule::run`]
//! returns, reports how runs end, and calls `run` again after anything has happened and when
//! [`Schedule::next`] says so. Between two calls nothing is due: idle jobs cost nothing.
//!
//! A job waits for a slot, runs, and then is done (and forgotten), was stopped (and waits again) or has
//! crashed: then it waits for ever longer times before it may run again. Whoever waits starts as soon as
//! there is a slot, not at the next turn as in CouchDB. Where more jobs want to run than may, at every turn
//! some that run for ever give way to others, by the shares of their databases.
//!
//! * `rules`: limits and times; `shares`: who goes first; `history`: what is remembered of a job

mod history;
mod rules;
mod shares;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub(crate) use self::history::{EventKind, History};
pub(crate) use self::rules::Millis;
pub use self::rules::Rules;
use self::shares::Groups;

/// One life of a job, from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RunId(u64);

impl RunId {
    /// Counted from the start of the server.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start the job after this time.
    Start { id: Arc<str>, run: RunId, after: Millis },
    /// Ask this run to end; that it has ended is reported as of any other.
    Stop { run: RunId },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It did all there was to do: the job is forgotten.
    Completed,
    /// It was told to stop.
    Stopped,
    /// It failed, for this reason.
    Crashed(String),
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Running,
    Crashing,
}

/// A job, and what the schedule knows of it.
#[derive(Debug)]
pub(crate) struct Job<T> {
    /// What the job is.
    pub(crate) work: T,
    group: Arc<str>,
    /// It runs for ever, and so gives way to others now and then.
    endless: bool,
    phase: Phase,
    failures: u32,
    history: History,
    added: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for a slot.
    Waiting {
        since: Millis,
    },
    /// Waits for the run of an earlier job of this id to end.
    Blocked,
    /// Waits because it has crashed.
    BackedOff {
        until: Millis,
    },
    Running(Run),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    id: RunId,
    since: Millis,
    /// The last sign of life, and when it was noticed.
    pulse: (u64, Millis),
    /// It was told to stop, and why.
    stopping: Option<Why>,
}

/// Why a run is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Others wait, or the limits have changed.
    GivesWay,
    /// It showed no sign of life.
    Stuck,
}

impl<T> Job<T> {
    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Running(_) => State::Running,
            _ if self.history.crash().is_some() => State::Crashing,
            _ => State::Pending,
        }
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// When the job was added, in milliseconds since 1970.
    pub(crate) fn added(&self) -> Millis {
        self.added
    }

    /// The run, if it runs.
    pub(crate) fn run(&self) -> Option<RunId> {
        match &self.phase {
            Phase::Running(run) => Some(run.id),
            _ => None,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    rules: Rules,
    jobs: BTreeMap<Arc<str>, Job<T>>,
    groups: Groups,
    /// When jobs that have crashed may try again.
    retries: BTreeSet<(Millis, Arc<str>)>,
    /// Runs of jobs that are there.
    running: HashMap<RunId, Arc<str>>,
    /// Runs whose job was removed: they hold a slot until they have ended.
    orphans: HashMap<RunId, Arc<str>>,
    /// When the next turn is, while anything runs.
    turn: Millis,
    /// Since when starts are counted, and how many there were.
    starts: (Millis, usize),
    next_run: u64,
    random: u64,
}

impl<T> Schedule<T> {
    /// An empty schedule; `seed` decides by how much starts are spread.
    pub(crate) fn new(rules: Rules, seed: u64) -> Self {
        Self {
            rules,
            jobs: BTreeMap::new(),
            groups: Groups::default(),
            retries: BTreeSet::new(),
            running: HashMap::new(),
            orphans: HashMap::new(),
            turn: 0,
            starts: (0, 0),
            next_run: 0,
            random: seed | 1,
        }
    }

    /// Puts other rules into effect.
    pub(crate) fn configure(&mut self, rules: Rules, now: Millis) {
        if rules == self.rules {
            return;
        }
        self.groups.configure(&rules, now);
        self.turn = self.turn.min(now.saturating_add(rules.interval));
        self.rules = rules;
        self.shorten_waits(now);
    }

    /// No wait may end later than the present ceiling says.
    fn shorten_waits(&mut self, now: Millis) {
        let latest = now.saturating_add(self.rules.max_backoff);
        let late = self.retries.iter().rev().take_while(|(until, _)| *until > latest);
        for (until, id) in late.cloned().collect::<Vec<_>>() {
            self.retries.remove(&(until, Arc::clone(&id)));
            if let Some(job) = self.jobs.get_mut(&id) {
                job.phase = Phase::BackedOff { until: latest };
                self.retries.insert((latest, id));
            }
        }
    }

    /// Adds a job; false, and nothing happens, if there is one of this id.
    pub(crate) fn add(
        &mut self,
        now: Millis,
        id: &Arc<str>,
        group: &Arc<str>,
        endless: bool,
        work: T,
    ) -> bool {
        if self.jobs.contains_key(id) {
            return false;
        }
        let mut history = History::default();
        history.note(now, EventKind::Added, self.rules.max_history);
        let blocked = self.orphans.values().any(|orphan| orphan == id);
        let phase = if blocked { Phase::Blocked } else { Phase::Waiting { since: now } };
        if !blocked {
            self.groups.wait(group, &self.rules, now, id);
        }
        let group = Arc::clone(group);
        let job = Job { work, group, endless, phase, failures: 0, history, added: now };
        self.jobs.insert(Arc::clone(id), job);
        true
    }

    /// Removes a job and returns what it was, with the run that is to be told to stop.
    pub(crate) fn remove(&mut self, id: &str, now: Millis) -> Option<(T, Option<RunId>)> {
        let (id, job) = self.jobs.remove_entry(id)?;
        let run = match job.phase {
            Phase::Waiting { since } => {
                self.groups.wait_no_longer(&job.group, since, &id);
                None
            }
            Phase::BackedOff { until } => {
                self.retries.remove(&(until, id));
                None
            }
            Phase::Blocked => None,
            Phase::Running(run) => {
                self.running.remove(&run.id);
                self.groups.end(&job.group, run.since, now, &id);
                self.orphans.insert(run.id, id);
                Some(run.id)
            }
        };
        Some((job.work, run))
    }

    /// Has a job that has crashed try again now; false if it doesn't wait for that.
    pub(crate) fn retry(&mut self, id: &str, now: Millis) -> bool {
        let Some((id, job)) = self.jobs.get_key_value(id) else { return false };
        let Phase::BackedOff { until } = job.phase else { return false };
        let id = Arc::clone(id);
        self.retries.remove(&(until, Arc::clone(&id)));
        self.queue(&id, now);
        true
    }

    /// Reports the end of a run. Returns the job if it is done and forgotten now.
    pub(crate) fn ended(&mut self, run: RunId, how: Ended, now: Millis) -> Option<(Arc<str>, T)> {
        if let Some(id) = self.orphans.remove(&run) {
            let blocked = self.jobs.get(&id).is_some_and(|job| job.phase == Phase::Blocked);
            if blocked {
                self.queue(&id, now);
            }
            return None;
        }
        let id = self.running.remove(&run)?;
        let job = self.jobs.get_mut(&id)?;
        let Phase::Running(run) = job.phase else { return None };
        self.groups.end(&job.group, run.since, now, &id);
        let crash = match (how, run.stopping) {
            (Ended::Completed, _) => return self.jobs.remove(&id).map(|job| (id, job.work)),
            (_, Some(Why::Stuck)) => "it showed no sign of life and was stopped".to_owned(),
            (Ended::Crashed(reason), _) => reason,
            (Ended::Stopped, _) => {
                job.history.note(now, EventKind::Stopped, self.rules.max_history);
                self.queue(&id, now);
                return None;
            }
        };
        self.crashed(&id, now.saturating_sub(run.since), crash, now);
        None
    }

    fn crashed(&mut self, id: &Arc<str>, ran: Millis, reason: String, now: Millis) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.failures = match ran >= self.rules.health_threshold {
            true => 1,
            false => job.failures.saturating_add(1),
        };
        job.history.note(now, EventKind::Crashed(reason), self.rules.max_history);
        let until = now.saturating_add(self.rules.backoff(job.failures));
        job.phase = Phase::BackedOff { until };
        self.retries.insert((until, Arc::clone(id)));
    }

    /// Lets a job wait for a slot.
    fn queue(&mut self, id: &Arc<str>, now: Millis) {
        if let Some(job) = self.jobs.get_mut(id) {
            job.phase = Phase::Waiting { since: now };
            self.groups.wait(&job.group, &self.rules, now, id);
        }
    }

    /// When [`Self::run`] is to be called next, if nothing happens before.
    pub(crate) fn next(&self) -> Option<Millis> {
        let retry = self.retries.first().map(|(until, _)| *until);
        let turn = (!self.running.is_empty() && self.has_turns()).then_some(self.turn);
        [retry, turn].into_iter().flatten().min()
    }

    /// Whether anything is to be done at a turn: jobs wait, or are looked after.
    fn has_turns(&self) -> bool {
        self.rules.stuck_after > 0 || self.groups.next(self.turn).is_some()
    }

    /// What is due now. `pulse` tells a number that changes while a run lives.
    pub(crate) fn run(&mut self, now: Millis, pulse: impl Fn(RunId) -> Option<u64>) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some((until, id)) = self.retries.first().cloned()
            && until <= now
        {
            self.retries.remove(&(until, Arc::clone(&id)));
            self.queue(&id, now);
        }
        if self.running.is_empty() {
            self.turn = now.saturating_add(self.rules.interval);
        }
        self.stop_excess(now, &mut actions);
        self.fill_slots(now, &mut actions);
        if now >= self.turn {
            self.turn = now.saturating_add(self.rules.interval);
            self.stop_stuck(now, pulse, &mut actions);
            self.rotate(now, &mut actions);
            self.groups.forget_idle();
        }
        actions
    }

    fn slots_taken(&self) -> usize {
        self.running.len() + self.orphans.len()
    }

    fn fill_slots(&mut self, now: Millis, actions: &mut Vec<Action>) {
        while self.slots_taken() < self.rules.max_jobs {
            let Some(id) = self.groups.next(now) else { return };
            let after = self.delay(now);
            let Some(job) = self.jobs.get_mut(&id) else { return };
            let Phase::Waiting { since } = job.phase else { return };
            self.next_run += 1;
            let run = RunId(self.next_run);
            self.groups.wait_no_longer(&job.group, since, &id);
            self.groups.begin(&job.group, now, &id, job.endless);
            job.phase =
                Phase::Running(Run { id: run, since: now, pulse: (0, now), stopping: None });
            job.history.note(now, EventKind::Started, self.rules.max_history);
            self.running.insert(run, Arc::clone(&id));
            actions.push(Action::Start { id, run, after });
        }
    }

    /// A few jobs start at once; many that start together are spread out.
    fn delay(&mut self, now: Millis) -> Millis {
        let (since, count) = &mut self.starts;
        if now.saturating_sub(*since) >= self.rules.startup_jitter.max(1) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count <= self.rules.max_churn || self.rules.startup_jitter == 0 {
            return 0;
        }
        // Xorshift: which job waits how long matters to nobody.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % self.rules.startup_jitter
    }

    /// When the limit was lowered, endless jobs stop; the others are let finish.
    fn stop_excess(&mut self, now: Millis, actions: &mut Vec<Action>) {
        let stopping = self.stopping();
        let excess = (self.running.len() - stopping).saturating_sub(self.rules.max_jobs);
        for _ in 0..excess {
            let Some(id) = self.groups.yielding(now, now) else { return };
            self.stop(&id, Why::GivesWay, actions);
        }
    }

    fn stopping(&self) -> usize {
        let is_stopping = |id: &&Arc<str>| {
            let phase = self.jobs.get(*id).map(|job| job.phase);
            matches!(phase, Some(Phase::Running(Run { stopping: Some(_), .. })))
        };
        self.running.values().filter(is_stopping).count()
    }

    /// Lets waiting jobs have the slots of some that have run long enough.
    fn rotate(&mut self, now: Millis, actions: &mut Vec<Action>) {
        let before = now.saturating_sub(self.rules.interval);
        for _ in self.stopping()..self.rules.max_churn.min(self.groups.waiting()) {
            let Some(id) = self.groups.yielding(now, before) else { return };
            self.stop(&id, Why::GivesWay, actions);
        }
    }

    /// Stops the runs that have shown no sign of life since long.
    fn stop_stuck(
        &mut self,
        now: Millis,
        pulse: impl Fn(RunId) -> Option<u64>,
        actions: &mut Vec<Action>,
    ) {
        let mut stuck = Vec::new();
        for (run_id, id) in &self.running {
            let Some(Job { phase: Phase::Running(run), .. }) = self.jobs.get_mut(id) else {
                continue;
            };
            match pulse(*run_id) {
                Some(beats) if beats == run.pulse.0 => {
                    let silent = now.saturating_sub(run.pulse.1);
                    if self.rules.stuck_after > 0 && silent >= self.rules.stuck_after {
                        stuck.push(Arc::clone(id));
                    }
                }
                beats => run.pulse = (beats.unwrap_or_default(), now),
            }
        }
        for id in stuck {
            self.stop(&id, Why::Stuck, actions);
        }
    }

    fn stop(&mut self, id: &Arc<str>, why: Why, actions: &mut Vec<Action>) {
        let Some(Job { phase: Phase::Running(run), group, .. }) = self.jobs.get_mut(id) else {
            return;
        };
        self.groups.yields(group, run.since, id);
        if run.stopping.replace(why).is_none() {
            actions.push(Action::Stop { run: run.id });
        }
    }

    /// The job of this id.
    pub(crate) fn get(&self, id: &str) -> Option<&Job<T>> {
        self.jobs.get(id)
    }

    /// All jobs, by id.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = (&Arc<str>, &Job<T>)> {
        self.jobs.iter()
    }

    /// How many jobs there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.jobs.len()
    }
}
