//! When a database or an index is compacted by itself: channels, as CouchDB's `[smoosh.NAME]` sections
//! describe them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MINUTES_PER_DAY: u16 = 24 * 60;

/// What a compaction would gain, as a number that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// Bytes of the file for each byte that is in use.
    Ratio,
    /// Bytes of the file that are not in use.
    Slack,
}

/// What waits in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOf {
    /// Databases.
    Databases,
    /// Indexes.
    Views,
    /// Databases whose design documents were changed, to have indexes removed that none defines any more.
    /// Whoever comes is taken.
    OldIndexes,
}

/// One reason to compact something, and how much of that goes on at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// What waits in it.
    pub of: ChannelOf,
    /// What is compared.
    pub gain: Gain,
    /// A database gains at least this.
    pub min_priority: f64,
    /// And at most this.
    pub max_priority: Option<f64>,
    /// Its file has at least so many bytes.
    pub min_size: u64,
    /// And at most so many.
    pub max_size: Option<u64>,
    /// So many changes were made since it was compacted last, as far as this process knows. As in CouchDB,
    /// this is asked of databases only.
    pub min_changes: u64,
    /// How many databases may wait; those that gain least are forgotten first.
    pub capacity: usize,
    /// How many are compacted at once.
    pub concurrency: usize,
    /// The time of day at which compactions begin.
    pub window: Option<Window>,
}

impl Channel {
    /// CouchDB's `ratio_dbs`: files twice as large as what is in them.
    #[must_use]
    pub fn ratio() -> Self {
        Channel {
            name: "ratio_dbs".into(),
            gain: Gain::Ratio,
            min_priority: 2.0,
            ..Channel::slack()
        }
    }

    /// CouchDB's `slack_dbs`: half a gigabyte to be gained.
    #[must_use]
    pub fn slack() -> Self {
        Channel {
            name: "slack_dbs".into(),
            of: ChannelOf::Databases,
            gain: Gain::Slack,
            min_priority: 536_870_912.0,
            max_priority: None,
            min_size: 1_048_576,
            max_size: None,
            min_changes: 0,
            capacity: 9999,
            concurrency: 1,
            window: None,
        }
    }

    /// CouchDB's `index_cleanup`.
    #[must_use]
    pub fn index_cleanup() -> Self {
        let (name, of) = ("index_cleanup".into(), ChannelOf::OldIndexes);
        Channel { name, of, ..Channel::ratio() }
    }

    /// What something gains here; `None` if that is no reason to compact it.
    pub(super) fn priority(&self, measure: Measure) -> Option<f64> {
        if self.of == ChannelOf::OldIndexes {
            return Some(1.0);
        }
        let Measure { file, active, changes } = measure;
        let size_fits = file >= self.min_size && self.max_size.is_none_or(|max| file <= max);
        let gain = match self.gain {
            // Sizes in memory and on disk are far below 2^53.
            Gain::Ratio => file as f64 / active.max(1) as f64,
            Gain::Slack => file.saturating_sub(active) as f64,
        };
        let fits = size_fits
            && changes >= self.min_changes
            && gain >= self.min_priority
            && self.max_priority.is_none_or(|max| gain <= max);
        fits.then_some(gain)
    }
}

/// The sizes that decide.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measure {
    /// Bytes of the file.
    pub(crate) file: u64,
    /// Bytes of it that are in use.
    pub(crate) active: u64,
    /// Changes since the last compaction.
    pub(crate) changes: u64,
}

/// A time of day, in UTC; it may lie across midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: u16,
    to: u16,
    /// Whether compactions that are not done when it ends are given up.
    pub strict: bool,
}

impl Window {
    /// From and to this minute of the day, the latter exclusive; `None` if there are not so many, or it
    /// is always.
    #[must_use]
    pub fn new(from: u16, to: u16, strict: bool) -> Option<Self> {
        let fits = from < MINUTES_PER_DAY && to < MINUTES_PER_DAY && from != to;
        fits.then_some(Window { from, to, strict })
    }

    /// Whether a minute of the day is in it.
    pub(super) fn contains(self, minute: u16) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }

    /// How long it is from this minute until it begins.
    pub(super) fn begins_in(self, minute: u16) -> Duration {
        let minutes = (MINUTES_PER_DAY + self.from - minute.min(MINUTES_PER_DAY)) % MINUTES_PER_DAY;
        Duration::from_secs(60 * u64::from(minutes))
    }
}

/// Minutes since midnight, in UTC.
pub(super) fn minute_of_day() -> u16 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    u16::try_from(seconds / 60 % u64::from(MINUTES_PER_DAY)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_takes_what_gains_enough() {
        let measure = |file, active| Measure { file, active, changes: 10 };
        let ratio = Channel::ratio();
        assert_eq!(ratio.priority(measure(4_000_000, 1_000_000)), Some(4.0));
        assert_eq!(ratio.priority(measure(1_900_000, 1_000_000)), None);
        assert_eq!(ratio.priority(measure(1_000_000, 1)), None, "too small");
        assert_eq!(ratio.priority(measure(2_000_000, 0)), Some(2_000_000.0));
        let few = Channel { max_priority: Some(3.0), min_changes: 11, ..Channel::ratio() };
        assert_eq!(few.priority(measure(2_500_000, 1_000_000)), None, "too few changes");
        let slack = Channel::slack();
        assert_eq!(slack.priority(measure(4 << 30, 3 << 30)), Some(f64::from(1 << 30)));
        assert_eq!(slack.priority(measure(4 << 30, 4 << 30)), None);
        let small = Channel { max_size: Some(1 << 30), ..Channel::slack() };
        assert_eq!(small.priority(measure(4 << 30, 1)), None, "too large");
    }

    #[test]
    fn windows_may_lie_across_midnight() {
        let day = Window::new(60, 120, false).unwrap();
        assert!(day.contains(60) && day.contains(119) && !day.contains(120) && !day.contains(59));
        let night = Window::new(23 * 60, 4 * 60, true).unwrap();
        assert!(night.contains(23 * 60) && night.contains(0) && night.contains(239));
        assert!(!night.contains(240) && !night.contains(1379));
        assert_eq!(day.begins_in(59), Duration::from_secs(60));
        assert_eq!(day.begins_in(61), Duration::from_secs(60 * (24 * 60 - 1)));
        assert!(Window::new(5, 5, false).is_none() && Window::new(1440, 0, false).is_none());
        assert!(minute_of_day() < MINUTES_PER_DAY);
    }
}
