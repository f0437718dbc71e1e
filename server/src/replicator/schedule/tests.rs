use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A schedule, its clock, and what was started and not stopped yet.
struct World {
    schedule: Schedule<()>,
    now: Millis,
    /// Runs, with the job and whether they were told to stop.
    runs: BTreeMap<RunId, (Arc<str>, bool)>,
    delays: Vec<Millis>,
    /// Runs that show no sign of life.
    silent: Vec<RunId>,
}

impl World {
    fn new(rules: Rules) -> Self {
        Self {
            schedule: Schedule::new(rules, 7),
            now: 1_000_000,
            runs: BTreeMap::new(),
            delays: Vec::new(),
            silent: Vec::new(),
        }
    }

    fn add(&mut self, id: &str, group: &str, endless: bool) {
        assert!(self.schedule.add(self.now, &Arc::from(id), &Arc::from(group), endless, ()));
        self.act();
    }

    fn act(&mut self) {
        let (silent, now) = (&self.silent, self.now);
        let pulse = |run: RunId| Some(if silent.contains(&run) { 0 } else { now });
        for action in self.schedule.run(now, pulse) {
            match action {
                Action::Start { id, run, after } => {
                    assert!(
                        self.runs.values().all(|(running, _)| *running != id),
                        "{id} runs twice"
                    );
                    self.runs.insert(run, (id, false));
                    self.delays.push(after);
                }
                Action::Stop { run } => {
                    let told =
                        self.runs.get_mut(&run).map(|(_, told)| std::mem::replace(told, true));
                    assert_eq!(told, Some(false), "told twice, or not running");
                }
            }
        }
    }

    /// Lets time pass, event by event.
    fn pass(&mut self, span: Millis) {
        let end = self.now + span;
        while let Some(next) = self.schedule.next().filter(|next| *next <= end) {
            assert!(next > self.now, "it would be called without end");
            self.now = next;
            self.act();
            self.end_told();
        }
        self.now = end;
    }

    /// Ends the runs that were told to.
    fn end_told(&mut self) {
        let told: Vec<_> =
            self.runs.iter().filter(|(_, (_, told))| *told).map(|(run, _)| *run).collect();
        for run in told {
            self.end(run, Ended::Stopped);
        }
    }

    fn end(&mut self, run: RunId, how: Ended) {
        self.runs.remove(&run);
        self.schedule.ended(run, how, self.now);
        self.act();
    }

    fn run_of(&self, id: &str) -> RunId {
        *self.runs.iter().find(|(_, (running, _))| &**running == id).unwrap().0
    }

    fn crash(&mut self, id: &str) {
        self.end(self.run_of(id), Ended::Crashed("no luck".to_owned()));
    }

    fn running(&self) -> Vec<&str> {
        let mut ids: Vec<_> = self.runs.values().map(|(id, _)| &**id).collect();
        ids.sort_unstable();
        ids
    }

    fn state(&self, id: &str) -> State {
        self.schedule.get(id).unwrap().state()
    }

    fn events(&self, id: &str) -> Vec<&'static str> {
        self.schedule.get(id).unwrap().history().iter().map(|event| event.kind.name()).collect()
    }
}

#[test]
fn a_job_starts_at_once_and_is_forgotten_when_it_is_done() {
    let mut world = World::new(Rules::default());
    world.add("a", "_replicator", false);
    assert_eq!((world.running(), world.state("a")), (vec!["a"], State::Running));
    assert_eq!(world.events("a"), ["started", "added"]);
    let run = world.run_of("a");
    assert!(world.schedule.ended(run, Ended::Completed, world.now).is_some());
    assert_eq!((world.schedule.len(), world.schedule.next()), (0, None));
}

#[test]
fn a_free_slot_is_taken_at_once() {
    let mut world = World::new(Rules { max_jobs: 1, ..Rules::default() });
    world.add("a", "_replicator", false);
    world.add("b", "_replicator", false);
    assert_eq!((world.running(), world.state("b")), (vec!["a"], State::Pending));
    world.end(world.run_of("a"), Ended::Completed);
    assert_eq!(world.running(), ["b"]);
}

#[test]
fn failures_wait_longer_and_longer_until_one_run_goes_well() {
    let mut world = World::new(Rules::default());
    world.add("a", "_replicator", true);
    for wait in [30, 60, 120, 240] {
        world.crash("a");
        assert_eq!((world.running().len(), world.state("a")), (0, State::Crashing));
        world.pass(wait * 1000 - 1);
        assert_eq!(world.running().len(), 0, "it waits {wait} s");
        world.pass(1);
        assert_eq!(world.running(), ["a"]);
    }
    assert_eq!(world.schedule.get("a").unwrap().failures(), 4);
    world.pass(120_000);
    world.crash("a");
    assert_eq!(world.schedule.get("a").unwrap().failures(), 1);
    world.pass(30_000);
    assert_eq!(world.running(), ["a"]);
}

#[test]
fn who_is_told_to_tries_again_now() {
    let mut world = World::new(Rules::default());
    world.add("a", "_replicator", true);
    assert!(!world.schedule.retry("a", world.now), "it runs");
    world.crash("a");
    assert!(world.schedule.retry("a", world.now) && !world.schedule.retry("b", world.now));
    world.act();
    assert_eq!((world.running(), world.schedule.next()), (vec!["a"], Some(world.now + 60_000)));
}

#[test]
fn a_lower_ceiling_shortens_the_waits_there_are() {
    let mut world = World::new(Rules::default());
    world.add("a", "_replicator", true);
    for _ in 0..6 {
        world.crash("a");
        world.schedule.retry("a", world.now);
        world.act();
    }
    world.crash("a");
    world.schedule.configure(Rules { max_backoff: 5_000, ..Rules::default() }, world.now);
    world.pass(5_000);
    assert_eq!(world.running(), ["a"]);
}

#[test]
fn the_history_is_bounded() {
    let mut world = World::new(Rules { max_history: 3, ..Rules::default() });
    world.add("a", "_replicator", true);
    world.crash("a");
    world.pass(30_000);
    world.crash("a");
    assert_eq!(world.events("a"), ["crashed", "started", "crashed"]);
}

#[test]
fn endless_jobs_give_way_at_every_turn_and_others_dont() {
    let mut world = World::new(Rules { max_jobs: 2, max_churn: 1, ..Rules::default() });
    world.add("once", "_replicator", false);
    for id in ["a", "b", "c"] {
        world.add(id, "_replicator", true);
    }
    let mut seen = Vec::new();
    for _ in 0..6 {
        let running = world.running();
        assert!(running.contains(&"once") && running.len() == 2);
        seen.push(running[0].to_owned());
        world.pass(60_000);
    }
    assert_eq!(seen, ["a", "b", "c", "a", "b", "c"]);
    assert_eq!(world.events("a")[..3], ["started", "stopped", "started"]);
}

#[test]
fn nobody_gives_way_where_nobody_waits() {
    let mut world = World::new(Rules { stuck_after: 0, ..Rules::default() });
    world.add("a", "_replicator", true);
    assert_eq!(world.schedule.next(), None, "an idle job costs nothing at all");
    world.pass(600_000);
    assert_eq!(world.events("a"), ["started", "added"]);
}

#[test]
fn time_is_shared_as_the_configuration_says() {
    let shares = [("x/_replicator".to_owned(), 300)].into();
    let rules = Rules { max_jobs: 4, max_churn: 4, shares, ..Rules::default() };
    let mut world = World::new(rules);
    for n in 0..8 {
        world.add(&format!("x{n}"), "x/_replicator", true);
        world.add(&format!("y{n}"), "y/_replicator", true);
    }
    let (mut x, mut y) = (0, 0);
    for _ in 0..400 {
        world.pass(60_000);
        x += world.running().iter().filter(|id| id.starts_with('x')).count();
        y += world.running().iter().filter(|id| id.starts_with('y')).count();
    }
    let ratio = f64::from(u32::try_from(x).unwrap()) / f64::from(u32::try_from(y).unwrap());
    assert!((2.5..3.5).contains(&ratio), "{x} to {y}");
    for id in world.schedule.jobs.keys() {
        assert!(world.events(id).contains(&"started"), "{id} never ran");
    }
}

#[test]
fn a_newcomer_is_not_ahead_of_those_who_have_run_all_the_time() {
    let mut world = World::new(Rules { max_jobs: 2, max_churn: 2, ..Rules::default() });
    for n in 0..4 {
        world.add(&format!("x{n}"), "x/_replicator", true);
    }
    world.pass(3_600_000);
    for n in 0..4 {
        world.add(&format!("y{n}"), "y/_replicator", true);
    }
    let mut x = 0;
    for _ in 0..20 {
        world.pass(60_000);
        x += world.running().iter().filter(|id| id.starts_with('x')).count();
    }
    assert!((15..=25).contains(&x), "{x} of 40");
}

#[test]
fn many_starts_are_spread_out() {
    let mut world = World::new(Rules { max_churn: 3, ..Rules::default() });
    for n in 0..50 {
        world.add(&format!("{n}"), "_replicator", true);
    }
    assert_eq!(world.delays[..3], [0, 0, 0]);
    assert!(world.delays[3..].iter().all(|delay| *delay < 5_000));
    assert!(world.delays[3..].iter().filter(|delay| **delay > 1_000).count() > 20);
    world.pass(5_000);
    world.add("later", "_replicator", true);
    assert_eq!(world.delays.last(), Some(&0));
}

#[test]
fn a_stuck_job_is_stopped_and_counts_as_crashed() {
    let mut world = World::new(Rules::default());
    world.add("a", "_replicator", true);
    world.add("b", "_replicator", true);
    world.silent.push(world.run_of("a"));
    world.pass(300_000);
    assert_eq!((world.state("a"), world.state("b")), (State::Crashing, State::Running));
    let reason = world.schedule.get("a").unwrap().history().crash().unwrap().to_owned();
    assert!(reason.contains("no sign of life"), "{reason}");
    world.pass(30_000);
    assert_eq!(world.running(), ["a", "b"]);
}

#[test]
fn a_lower_limit_stops_endless_jobs() {
    let mut world = World::new(Rules::default());
    for id in ["a", "b", "c"] {
        world.add(id, "_replicator", true);
    }
    world.add("once", "_replicator", false);
    world.schedule.configure(Rules { max_jobs: 2, ..Rules::default() }, world.now);
    world.act();
    world.end_told();
    assert_eq!(world.running().len(), 2);
    assert!(world.running().contains(&"once"));
}

#[test]
fn a_job_that_comes_again_waits_for_its_former_run_to_end() {
    let mut world = World::new(Rules::default());
    world.add("a", "_replicator", true);
    let first = world.run_of("a");
    let (_, run) = world.schedule.remove("a", world.now).unwrap();
    assert_eq!(run, Some(first));
    assert!(world.schedule.add(world.now, &Arc::from("a"), &Arc::from("_replicator"), true, ()));
    world.act();
    assert_eq!((world.state("a"), world.runs.len()), (State::Pending, 1), "the old run only");
    world.end(first, Ended::Stopped);
    assert_eq!((world.state("a"), world.runs.len()), (State::Running, 1));
    assert_ne!(world.run_of("a"), first);
}

/// What may happen to a schedule.
#[derive(Clone, Debug)]
enum Step {
    Add { id: u8, group: u8, endless: bool },
    Remove(u8),
    Retry(u8),
    Crash(u8),
    Complete(u8),
    Pass(Millis),
    Limit(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..12, 0u8..3, any::<bool>()).prop_map(|(id, group, endless)| Step::Add { id, group, endless }),
        1 => (0u8..12).prop_map(Step::Remove),
        1 => (0u8..12).prop_map(Step::Retry),
        2 => (0u8..12).prop_map(Step::Crash),
        1 => (0u8..12).prop_map(Step::Complete),
        3 => (0u64..400_000).prop_map(Step::Pass),
        1 => (0usize..6).prop_map(Step::Limit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens: no job runs twice at a time, none beyond the limit starts, a slot stays free only if
    /// nobody may take it, and what was added comes to run.
    #[test]
    fn slots_are_used_and_never_overbooked(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new(Rules { max_jobs: 3, max_churn: 2, ..Rules::default() });
        let mut limit = 3;
        for step in steps {
            let running = world.runs.len();
            match step {
                Step::Add { id, group, endless } => {
                    let (id, group) = (Arc::from(id.to_string()), Arc::from(group.to_string()));
                    world.schedule.add(world.now, &id, &group, endless, ());
                    world.act();
                }
                Step::Remove(id) => {
                    if let Some((_, Some(run))) = world.schedule.remove(&id.to_string(), world.now) {
                        world.end(run, Ended::Stopped);
                    }
                    world.act();
                }
                Step::Retry(id) => {
                    world.schedule.retry(&id.to_string(), world.now);
                    world.act();
                }
                Step::Crash(id) | Step::Complete(id) => {
                    let run = world.schedule.get(&id.to_string()).and_then(Job::run);
                    if let Some(run) = run {
                        let how = match step {
                            Step::Crash(_) => Ended::Crashed("x".to_owned()),
                            _ => Ended::Completed,
                        };
                        world.end(run, how);
                    }
                }
                Step::Pass(span) => world.pass(span),
                Step::Limit(max_jobs) => {
                    limit = max_jobs;
                    let rules = Rules { max_jobs, max_churn: 2, ..Rules::default() };
                    world.schedule.configure(rules, world.now);
                    world.act();
                    world.end_told();
                }
            }
            prop_assert!(world.runs.len() <= limit.max(running), "{} run", world.runs.len());
            let waits = world.schedule.groups.next(world.now).is_some();
            prop_assert!(!waits || world.runs.len() >= limit, "a slot is free, and somebody waits");
        }
        // With a slot for everybody, everybody runs in the end.
        world.schedule.configure(Rules { max_jobs: 100, ..Rules::default() }, world.now);
        world.act();
        world.pass(31_000_000);
        prop_assert_eq!(world.runs.len(), world.schedule.len());
    }
}
