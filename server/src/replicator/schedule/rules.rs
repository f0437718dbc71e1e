//! What the schedule goes by; see `[replicator]` in the configuration.

use std::collections::BTreeMap;

/// A span of time in milliseconds.
pub(crate) type Millis = u64;

/// The share of a database that `[replicator.shares]` doesn't name.
pub(crate) const DEFAULT_SHARES: u32 = 100;

/// The exponent beyond which doubling the wait makes no sense.
const MAX_DOUBLINGS: u32 = 30;

/// The rules. The default is CouchDB's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Jobs that run at a time.
    pub max_jobs: usize,
    /// How often running jobs give way to waiting ones.
    pub interval: Millis,
    /// Jobs that give way each time; also those that start together without being spread out.
    pub max_churn: usize,
    /// Over which time the starts of more jobs than that are spread.
    pub startup_jitter: Millis,
    /// Events remembered of each job.
    pub max_history: usize,
    /// The wait after the first failure; it doubles with every further one.
    pub min_backoff: Millis,
    /// The longest wait.
    pub max_backoff: Millis,
    /// A job that ran this long is well: failures before that don't count any longer.
    pub health_threshold: Millis,
    /// A job that shows no sign of life for this long is stopped and started again; 0 for never.
    pub stuck_after: Millis,
    /// By database: how much of the time its jobs get where there are more than can run.
    pub shares: BTreeMap<String, u32>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            max_jobs: 500,
            interval: 60_000,
            max_churn: 20,
            startup_jitter: 5_000,
            max_history: 20,
            min_backoff: 30_000,
            max_backoff: 30_720_000,
            health_threshold: 120_000,
            stuck_after: 300_000,
            shares: BTreeMap::new(),
        }
    }
}

impl Rules {
    /// How long to wait after the `failures`-th failure in a row.
    pub(crate) fn backoff(&self, failures: u32) -> Millis {
        let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
        self.min_backoff.saturating_mul(1 << doublings).min(self.max_backoff)
    }

    pub(super) fn shares_of(&self, group: &str) -> u32 {
        self.shares.get(group).copied().unwrap_or(DEFAULT_SHARES).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_the_ceiling() {
        let rules = Rules::default();
        let waits: Vec<_> = [0, 1, 2, 3, 11, 12, u32::MAX].map(|n| rules.backoff(n) / 1000).into();
        assert_eq!(waits, [30, 30, 60, 120, 30_720, 30_720, 30_720]);
        let impatient = Rules { max_backoff: 60_000, ..rules };
        assert_eq!(impatient.backoff(10), 60_000);
    }
}
