//! What can be set about indexing.

use super::reduce::ReduceLimits;

/// Design documents whose indexes change at a time, unless [`ViewSettings`] says otherwise.
const DEFAULT_CONCURRENT_UPDATES: usize = 20;
/// Design documents whose indexes are built at a time, unless [`ViewSettings`] says otherwise.
const DEFAULT_CONCURRENT_BUILDS: usize = 2;

/// How indexes are built and served.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewSettings {
    /// Threads that build the indexes of one design document.
    pub build_threads: usize,
    /// Memory for sorting while they are built, in bytes.
    pub build_memory_bytes: usize,
    /// Design documents whose indexes are brought up to date with a few changes at a time.
    pub concurrent_updates: usize,
    /// Design documents whose indexes are built, or brought up to date with many changes, at a time.
    pub concurrent_builds: usize,
    /// When a reduction is too large.
    pub reduce_limits: ReduceLimits,
    /// Whether indexes are brought up to date while nobody asks.
    pub background: bool,
}

impl Default for ViewSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        ViewSettings {
            build_threads: cores,
            build_memory_bytes: 64 * 1024 * 1024,
            concurrent_updates: DEFAULT_CONCURRENT_UPDATES,
            concurrent_builds: DEFAULT_CONCURRENT_BUILDS,
            reduce_limits: ReduceLimits::default(),
            background: true,
        }
    }
}
