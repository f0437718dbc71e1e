//! How many files and connections the process may have open, and who gets how many of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of one open database: one to write, one to read.
const PER_DATABASE: u64 = 2;
/// Descriptors for everything else: the listener, the runtime, the log, work in the background.
const RESERVED: u64 = 128;
/// Connections below which databases have to give way.
const MIN_CONNECTIONS: u64 = 1024;
/// Most connections, however many descriptors there are.
const MAX_CONNECTIONS: u64 = 65_536;

/// The descriptors of the process, shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How many the process may have in all.
    pub limit: u64,
    /// Databases that may be open while unused.
    pub open_databases: usize,
    /// Connections at a time.
    pub connections: usize,
}

impl Budget {
    /// Raises the limit as far as the process may, and shares it out.
    pub fn of_process(wanted_databases: usize) -> Self {
        Self::share(raise_limit(), wanted_databases)
    }

    /// Databases get what is configured, but no more than half of what would leave too few connections.
    fn share(limit: u64, wanted_databases: usize) -> Self {
        let free = limit.saturating_sub(RESERVED);
        let wanted = u64::try_from(wanted_databases).unwrap_or(u64::MAX);
        let spare = free.saturating_sub(MIN_CONNECTIONS).max(free / 2);
        let databases = wanted.min(spare / PER_DATABASE).max(1);
        let connections = free.saturating_sub(databases * PER_DATABASE).clamp(1, MAX_CONNECTIONS);
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self { limit, open_databases: count(databases), connections: count(connections) }
    }

    /// What to tell people when the limit is lower than the configuration asks for.
    pub fn complaint(&self, wanted_databases: usize) -> Option<String> {
        let Self { limit, open_databases, connections } = self;
        let few = *open_databases < wanted_databases || (*connections as u64) < MIN_CONNECTIONS;
        few.then(|| {
            format!(
                "only {limit} files and connections may be open at a time: at most {open_databases} \
                 databases stay open, and {connections} connections are served; raise the limit \
                 (ulimit -n, LimitNOFILE) to {} or more",
                RESERVED + MIN_CONNECTIONS + wanted_databases as u64 * PER_DATABASE
            )
        })
    }
}

/// Raises the soft limit to the hard one; returns what holds now. Only programs that use `select` have
/// reason to keep it low.
fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum
        || setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err()
    {
        return current.unwrap_or(u64::MAX);
    }
    maximum.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limit: u64, wanted: usize, open_databases: usize, connections: usize) -> bool {
        let budget = Budget::share(limit, wanted);
        assert_eq!(budget, Budget { limit, open_databases, connections });
        budget.complaint(wanted).is_some()
    }

    #[test]
    fn the_budget_never_exceeds_the_limit_and_says_when_it_is_short() {
        assert!(!check(u64::MAX, 500, 500, 65_536));
        assert!(!check(20_000, 500, 500, 18_872));
        assert!(!check(2152, 500, 500, 1024));
        assert!(check(1024, 500, 224, 448));
        assert!(check(256, 500, 32, 64));
        assert!(check(20_000, 100_000, 9424, 1024));
        assert!(check(0, 500, 1, 1));
    }

    #[test]
    fn this_process_may_have_some_files_open() {
        assert!(Budget::of_process(10).limit > 10);
    }
}
