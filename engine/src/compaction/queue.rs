//! Databases and indexes that wait to be compacted, and the threads that do it.
//!
//! There is no thread as long as nothing waits that might be done; for what has to wait for a time of day,
//! there is one. Databases wait by name, so that a long queue keeps none of them open; one that is gone
//! when its turn comes is passed over. Nothing is polled: databases are offered when their files have
//! grown (see `gauge`), and those that somebody asked for go first.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use super::channel::{Channel, ChannelOf, Measure, Window, minute_of_day};
use crate::{
    database::Database,
    error::{Error, Result},
    view::Signature,
};

/// How many databases are compacted at once because somebody asked for it.
const MAX_ASKED_RUNNING: usize = 2;
/// How many of these may wait.
const MAX_ASKED_WAITING: usize = 100_000;
/// How many databases are compacted at once, whatever the channels say.
const MAX_THREADS: usize = 16;

/// Opens a database by its name; `None` once the registry is gone.
type Open = Box<dyn Fn(&str) -> Option<Arc<Database>> + Send + Sync>;

/// The compactions of one folder.
#[derive(Default)]
pub(crate) struct CompactionQueue {
    open: OnceLock<Open>,
    state: Mutex<State>,
    /// Told when something came that may be done, when a thread ends, and when all is to end.
    changed: Condvar,
}

/// What can wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Item {
    /// The name of the database.
    database: String,
    part: Part,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Part {
    /// The database itself.
    Documents,
    /// The index with this signature, defined by a design document with this id.
    Index { design: String, signature: Signature },
    /// Indexes that no design document defines.
    OldIndexes,
}

impl Item {
    pub(crate) fn database(name: &str) -> Self {
        Item { database: name.to_owned(), part: Part::Documents }
    }

    pub(crate) fn index(name: &str, design: &str, signature: Signature) -> Self {
        let part = Part::Index { design: design.to_owned(), signature };
        Item { database: name.to_owned(), part }
    }

    pub(crate) fn old_indexes(name: &str) -> Self {
        Item { database: name.to_owned(), part: Part::OldIndexes }
    }

    fn is_of(&self, channel: ChannelOf) -> bool {
        channel
            == match self.part {
                Part::Documents => ChannelOf::Databases,
                Part::Index { .. } => ChannelOf::Views,
                Part::OldIndexes => ChannelOf::OldIndexes,
            }
    }

    /// Does what it waited for, as long as `go_on` says so. Whoever asked was answered long ago; that it failed
    /// shows in the file's size, and the next request or growth tries again.
    fn run(&self, database: &Arc<Database>, go_on: &dyn Fn() -> bool) {
        let _ = match &self.part {
            Part::Documents => database.compact_while(go_on).map(drop),
            Part::Index { design, signature } => {
                database.compact_index_while(design, *signature, go_on)
            }
            Part::OldIndexes => database.clean_up_replaced_views(),
        };
    }
}

/// How much a channel compacts and how much waits for it.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelStatus {
    /// The channel's name.
    pub name: String,
    /// What is being compacted.
    pub active: usize,
    /// What waits.
    pub waiting: usize,
    /// The least and the greatest gain of those that wait.
    pub range: Option<(f64, f64)>,
}

/// Something whose turn it is.
struct Job {
    item: Item,
    /// The channel it waited in; `None` if somebody asked for it.
    channel: Option<String>,
    /// The time of day by which it has to be done.
    window: Option<Window>,
}

enum Next {
    Job(Job),
    /// Something waits for a time of day that is this far.
    Later(Duration),
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Asked,
    /// In the channel of this index, with this gain.
    Waiting(usize, u64),
    Running,
}

struct Waiting {
    channel: Channel,
    /// Gains, whose bits order as they do because they are positive, and whose they are.
    items: BTreeSet<(u64, Item)>,
}

#[derive(Default)]
struct State {
    channels: Vec<Waiting>,
    asked: VecDeque<Item>,
    asked_running: usize,
    /// By the names of channels.
    running: HashMap<String, usize>,
    /// Where everything is that waits or runs.
    places: HashMap<Item, Place>,
    threads: usize,
    /// A thread waits for a time of day.
    is_watched: bool,
    stopped: bool,
}

impl State {
    fn next(&mut self, minute: u16) -> Next {
        if self.stopped {
            return Next::Nothing;
        }
        if self.asked_running < MAX_ASKED_RUNNING
            && let Some(item) = self.asked.pop_front()
        {
            self.asked_running += 1;
            self.places.insert(item.clone(), Place::Running);
            return Next::Job(Job { item, channel: None, window: None });
        }
        let mut later = None::<Duration>;
        for waiting in &mut self.channels {
            let Channel { name, concurrency, window, .. } = &waiting.channel;
            let running = self.running.entry(name.clone()).or_default();
            if *running >= *concurrency || waiting.items.is_empty() {
                continue;
            }
            if let Some(closed) = window.filter(|window| !window.contains(minute)) {
                let opens = closed.begins_in(minute);
                later = Some(later.map_or(opens, |later| later.min(opens)));
            } else if let Some((_, item)) = waiting.items.pop_last() {
                *running += 1;
                self.places.insert(item.clone(), Place::Running);
                let window = window.filter(|window| window.strict);
                return Next::Job(Job { item, channel: Some(name.clone()), window });
            }
        }
        later.map_or(Next::Nothing, Next::Later)
    }

    fn finish(&mut self, job: &Job) {
        self.places.remove(&job.item);
        match &job.channel {
            None => self.asked_running -= 1,
            Some(channel) => {
                if let Some(running) = self.running.get_mut(channel) {
                    *running -= 1;
                }
            }
        }
    }

    /// Takes something out of the channel it waits in.
    fn withdraw(&mut self, item: &Item, channel: usize, gain: u64) {
        self.places.remove(item);
        if let Some(waiting) = self.channels.get_mut(channel) {
            waiting.items.remove(&(gain, item.clone()));
        }
    }

    /// Puts something into the first channel that takes it; true if it did not wait before.
    fn offer(&mut self, item: Item, measure: Measure) -> bool {
        let known = self.places.get(&item).copied();
        if self.stopped || matches!(known, Some(Place::Asked | Place::Running)) {
            return false;
        }
        if let Some(Place::Waiting(channel, gain)) = known {
            self.withdraw(&item, channel, gain);
        }
        let taking = self.channels.iter_mut().enumerate().find_map(|(index, waiting)| {
            let channel = Some(&waiting.channel).filter(|channel| item.is_of(channel.of))?;
            Some((index, channel.priority(measure)?.to_bits(), waiting))
        });
        let Some((index, gain, waiting)) = taking else { return false };
        waiting.items.insert((gain, item.clone()));
        self.places.insert(item, Place::Waiting(index, gain));
        if waiting.items.len() > waiting.channel.capacity
            && let Some((_, least)) = waiting.items.pop_first()
        {
            self.places.remove(&least);
        }
        known.is_none()
    }
}

impl fmt::Debug for CompactionQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("CompactionQueue")
            .field("items", &state.places.len())
            .field("threads", &state.threads)
            .finish_non_exhaustive()
    }
}

impl CompactionQueue {
    /// Says how databases are opened. Until then, nothing is compacted.
    pub(crate) fn open_by(&self, open: Open) {
        // A registry has one queue and says it once.
        let _ = self.open.set(open);
    }

    /// Replaces the channels. What waits in the old ones comes back when it grows.
    pub(crate) fn set_channels(&self, channels: Vec<Channel>) {
        let mut state = self.state.lock();
        if state.channels.iter().map(|waiting| &waiting.channel).eq(&channels) {
            return;
        }
        state.places.retain(|_, place| !matches!(place, Place::Waiting(..)));
        let waiting = |channel| Waiting { channel, items: BTreeSet::new() };
        state.channels = channels.into_iter().map(waiting).collect();
    }

    /// What each channel does.
    pub(crate) fn status(&self) -> Vec<ChannelStatus> {
        let state = self.state.lock();
        let status = |waiting: &Waiting| {
            let name = waiting.channel.name.clone();
            let gain = |end: Option<&(u64, Item)>| end.map(|(bits, _)| f64::from_bits(*bits));
            let items = &waiting.items;
            ChannelStatus {
                active: state.running.get(&name).copied().unwrap_or_default(),
                waiting: items.len(),
                range: gain(items.first()).zip(gain(items.last())),
                name,
            }
        };
        state.channels.iter().map(status).collect()
    }

    /// Whether a database is being compacted, or waits for it because somebody asked.
    pub(crate) fn has(&self, name: &str) -> bool {
        let place = self.state.lock().places.get(&Item::database(name)).copied();
        matches!(place, Some(Place::Asked | Place::Running))
    }

    /// Lets a database wait in front of those that nobody asked for.
    pub(crate) fn request(self: &Arc<Self>, name: &str) -> Result<()> {
        let mut state = self.state.lock();
        let item = Item::database(name);
        match state.places.get(&item).copied() {
            _ if state.stopped => return Ok(()),
            Some(Place::Asked | Place::Running) => return Ok(()),
            Some(Place::Waiting(channel, gain)) => state.withdraw(&item, channel, gain),
            None => {}
        }
        if state.asked.len() >= MAX_ASKED_WAITING {
            return Err(Error::Overloaded("too many databases wait to be compacted"));
        }
        state.places.insert(item.clone(), Place::Asked);
        state.asked.push_back(item.clone());
        if self.wake(&mut state) {
            return Ok(());
        }
        state.asked.pop_back();
        state.places.remove(&item);
        Err(Error::Overloaded("no thread can be started for a compaction"))
    }

    /// Lets something wait if a channel finds that it pays.
    pub(crate) fn offer(self: &Arc<Self>, item: Item, measure: Measure) {
        let mut state = self.state.lock();
        if state.offer(item, measure) {
            // Without a thread, the next that is offered brings one.
            self.wake(&mut state);
        }
    }

    /// Sees to it that somebody looks at what waits; false if there is nobody and none can be had.
    fn wake(self: &Arc<Self>, state: &mut State) -> bool {
        self.changed.notify_all();
        if state.threads >= MAX_THREADS {
            return true;
        }
        let queue = Arc::clone(self);
        let thread = std::thread::Builder::new().name("settee-compact".into());
        match thread.spawn(move || queue.work()) {
            Ok(_) => {
                state.threads += 1;
                true
            }
            Err(_) => state.threads > 0,
        }
    }

    /// Compacts what waits until there is nothing to be done.
    fn work(&self) {
        while let Some(job) = self.next() {
            let database = self.open.get().and_then(|open| open(&job.item.database));
            if let Some(database) = database {
                let in_time = || job.window.is_none_or(|window| window.contains(minute_of_day()));
                job.item.run(&database, &in_time);
            }
            self.state.lock().finish(&job);
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            match state.next(minute_of_day()) {
                Next::Job(job) => return Some(job),
                Next::Later(wait) if !state.is_watched => {
                    state.is_watched = true;
                    self.changed.wait_for(&mut state, wait);
                    state.is_watched = false;
                }
                Next::Later(_) | Next::Nothing => {
                    state.threads -= 1;
                    self.changed.notify_all();
                    return None;
                }
            }
        }
    }

    /// Begins no further compaction. Those under way end when their databases are closed.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        state.asked.clear();
        state.places.retain(|_, place| *place == Place::Running);
        for waiting in &mut state.channels {
            waiting.items.clear();
        }
        self.changed.notify_all();
    }

    /// Waits for the threads, after [`CompactionQueue::stop`].
    pub(crate) fn join(&self) {
        let mut state = self.state.lock();
        while state.threads > 0 {
            self.changed.wait(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(file: u64) -> Measure {
        Measure { file, active: 1_000_000, changes: 1 }
    }

    fn state(channels: Vec<Channel>) -> State {
        let queue = CompactionQueue::default();
        queue.set_channels(channels);
        queue.state.into_inner()
    }

    fn job(state: &mut State, minute: u16) -> Option<(String, Option<String>)> {
        match state.next(minute) {
            Next::Job(job) => Some((job.item.database, job.channel)),
            _ => None,
        }
    }

    fn ratio(name: &str) -> Option<(String, Option<String>)> {
        Some((name.into(), Some("ratio_dbs".into())))
    }

    #[test]
    fn the_greatest_gain_goes_first_and_only_so_many_at_once() {
        let mut state = state(vec![Channel { capacity: 3, ..Channel::ratio() }]);
        for (name, file) in [("a", 3), ("b", 5), ("c", 4), ("small", 1), ("d", 9)] {
            assert_eq!(
                state.offer(Item::database(name), measure(file * 1_000_000)),
                name != "small"
            );
        }
        assert!(!state.places.contains_key(&Item::database("a")), "the least gain gave way");
        // Offered again, it has only grown.
        assert!(!state.offer(Item::database("c"), measure(20_000_000)));
        assert_eq!(job(&mut state, 0), ratio("c"));
        assert_eq!(job(&mut state, 0), None, "one at a time");
        assert!(!state.offer(Item::database("c"), measure(30_000_000)), "it runs");
        state.finish(&Job {
            item: Item::database("c"),
            channel: Some("ratio_dbs".into()),
            window: None,
        });
        assert_eq!(job(&mut state, 0), ratio("d"));
    }

    #[test]
    fn a_window_is_waited_for_and_requests_are_not() {
        let window = Window::new(100, 200, true);
        let mut state = state(vec![Channel { window, ..Channel::ratio() }]);
        state.offer(Item::database("a"), measure(3_000_000));
        assert!(matches!(state.next(90), Next::Later(wait) if wait == Duration::from_secs(600)));
        state.places.insert(Item::database("asked"), Place::Asked);
        state.asked.push_back(Item::database("asked"));
        assert_eq!(job(&mut state, 90), Some(("asked".into(), None)));
        let Next::Job(job) = state.next(150) else { panic!("the window is open") };
        assert_eq!((job.item.database.as_str(), job.window), ("a", window));
    }

    #[test]
    fn a_database_that_no_longer_gains_waits_no_longer() {
        let mut state = state(vec![Channel::ratio(), Channel::slack()]);
        assert!(state.offer(Item::database("a"), measure(3_000_000)));
        assert!(!state.offer(Item::database("a"), measure(1_500_000)));
        assert!(state.places.is_empty() && state.channels[0].items.is_empty());
        state.offer(Item::database("a"), Measure { file: 3 << 30, active: 2 << 30, changes: 0 });
        assert_eq!(job(&mut state, 0), Some(("a".into(), Some("slack_dbs".into()))));
    }
    #[test]
    fn indexes_wait_in_channels_of_their_own() {
        let views =
            Channel { name: "ratio_views".into(), of: ChannelOf::Views, ..Channel::ratio() };
        let mut state = state(vec![Channel::ratio(), views, Channel::index_cleanup()]);
        let index = |n| Item::index("a", "_design/d", Signature([n; 16]));
        assert!(state.offer(index(1), measure(3_000_000)));
        assert!(state.offer(index(2), measure(4_000_000)));
        assert!(!state.offer(index(3), measure(1_500_000)), "it gains too little");
        assert!(state.offer(Item::database("a"), measure(5_000_000)));
        assert!(state.offer(Item::old_indexes("a"), Measure::default()));
        let mut channels = Vec::new();
        while let Next::Job(job) = state.next(0) {
            channels.push((job.channel.unwrap(), job.item));
        }
        assert_eq!(
            channels,
            [
                ("ratio_dbs".into(), Item::database("a")),
                ("ratio_views".into(), index(2)),
                ("index_cleanup".into(), Item::old_indexes("a")),
            ]
        );
    }
}
