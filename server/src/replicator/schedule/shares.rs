//! Fair shares: whose job starts next, and whose gives way.
//!
//! Jobs are grouped by the database their documents are in. Each group is charged the time its jobs run,
//! divided by its shares; the group that was charged least goes first. A group that comes anew, or again,
//! starts where the least charged of those with jobs stands: having been away saves nothing up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::rules::{Millis, Rules};

/// Since when a job waits or runs, and its id.
type Entry = (Millis, Arc<str>);

#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<Arc<str>, Group>);

#[derive(Debug)]
struct Group {
    shares: u32,
    /// Milliseconds that its jobs have run, of those that have ended, divided by the shares.
    charged: f64,
    waiting: BTreeSet<Entry>,
    /// The jobs that can give way.
    yielding: BTreeSet<Entry>,
    /// All that run: how many, and the sum of when they began.
    running: u64,
    began: u128,
}

impl Group {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }

    /// What it is charged with at `now`, for the jobs that run too.
    fn charge(&self, now: Millis) -> f64 {
        let ran = (u128::from(now) * u128::from(self.running)).saturating_sub(self.began);
        self.charged + to_f64(ran) / f64::from(self.shares)
    }
}

/// Times are far below what a double holds exactly.
fn to_f64(millis: u128) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shares need no more precision than that")]
    let float = millis as f64;
    float
}

impl Groups {
    /// Takes other rules into account.
    pub(super) fn configure(&mut self, rules: &Rules, now: Millis) {
        for (name, group) in &mut self.0 {
            // What has run so far was charged by the old shares.
            group.charged = group.charge(now);
            group.began = u128::from(now) * u128::from(group.running);
            group.shares = rules.shares_of(name);
        }
    }

    fn group(&mut self, name: &Arc<str>, rules: &Rules, now: Millis) -> &mut Group {
        let busy = self.0.values().filter(|group| !group.is_idle());
        let least = busy.map(|group| group.charge(now)).min_by(f64::total_cmp).unwrap_or_default();
        let group = self.0.entry(Arc::clone(name)).or_insert_with(|| Group {
            shares: rules.shares_of(name),
            charged: 0.0,
            waiting: BTreeSet::new(),
            yielding: BTreeSet::new(),
            running: 0,
            began: 0,
        });
        if group.is_idle() {
            group.charged = group.charged.max(least);
        }
        group
    }

    pub(super) fn wait(&mut self, name: &Arc<str>, rules: &Rules, since: Millis, id: &Arc<str>) {
        self.group(name, rules, since).waiting.insert((since, Arc::clone(id)));
    }

    pub(super) fn wait_no_longer(&mut self, name: &Arc<str>, since: Millis, id: &Arc<str>) {
        if let Some(group) = self.0.get_mut(name) {
            group.waiting.remove(&(since, Arc::clone(id)));
        }
    }

    /// Notes that a job runs; `yields` if it can give way to others.
    pub(super) fn begin(&mut self, name: &Arc<str>, since: Millis, id: &Arc<str>, yields: bool) {
        let Some(group) = self.0.get_mut(name) else { return };
        group.running += 1;
        group.began += u128::from(since);
        if yields {
            group.yielding.insert((since, Arc::clone(id)));
        }
    }

    /// Notes that a job was told to stop: it can't be told again.
    pub(super) fn yields(&mut self, name: &Arc<str>, since: Millis, id: &Arc<str>) {
        if let Some(group) = self.0.get_mut(name) {
            group.yielding.remove(&(since, Arc::clone(id)));
        }
    }

    /// Notes that a job has ended, and charges its group.
    pub(super) fn end(&mut self, name: &Arc<str>, since: Millis, now: Millis, id: &Arc<str>) {
        self.yields(name, since, id);
        let Some(group) = self.0.get_mut(name) else { return };
        group.running = group.running.saturating_sub(1);
        group.began = group.began.saturating_sub(u128::from(since));
        group.charged += to_f64(u128::from(now.saturating_sub(since))) / f64::from(group.shares);
    }

    /// How many jobs wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.values().map(|group| group.waiting.len()).sum()
    }

    /// The job that starts next.
    pub(super) fn next(&self, now: Millis) -> Option<Arc<str>> {
        let waiting = self.0.iter().filter(|(_, group)| !group.waiting.is_empty());
        // Of equals the one that has waited longest.
        let first = |group: &Group| group.waiting.first().map(|(since, _)| *since);
        let (_, group) = waiting.min_by(|(a_name, a), (b_name, b)| {
            let by_charge = a.charge(now).total_cmp(&b.charge(now));
            by_charge.then_with(|| (first(a), a_name).cmp(&(first(b), b_name)))
        })?;
        group.waiting.first().map(|(_, id)| Arc::clone(id))
    }

    /// The job that gives way to one that waits: of the group charged most, the one that has run longest, if
    /// that is since `before`.
    pub(super) fn yielding(&self, now: Millis, before: Millis) -> Option<Arc<str>> {
        let oldest =
            |group: &Group| group.yielding.first().filter(|(since, _)| *since <= before).cloned();
        let candidates = self
            .0
            .iter()
            .filter_map(|(name, group)| Some((group.charge(now), name, oldest(group)?)));
        let most = candidates.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)));
        most.map(|(_, _, (_, id))| id)
    }

    /// Forgets groups that have no jobs and nothing to come back to.
    pub(super) fn forget_idle(&mut self) {
        let busy = self.0.values().filter(|group| !group.is_idle());
        let least = busy.map(|group| group.charged).min_by(f64::total_cmp);
        let owes = |group: &Group| least.is_some_and(|least| group.charged > least);
        self.0.retain(|_, group| !group.is_idle() || owes(group));
    }
}
