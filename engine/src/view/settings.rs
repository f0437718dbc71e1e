//! What can be set about indexing.

use super::reduce::ReduceLimits;

/// How indexes are built and served.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewSettings {
    /// Threads that build the indexes of one design document.
    pub build_threads: usize,
    /// Memory for sorting while they are built, in bytes.
    pub build_memory_bytes: usize,
    /// Design documents whose indexes are changed at a time.
    pub concurrent_updates: usize,
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
            concurrent_updates: cores.max(2),
            reduce_limits: ReduceLimits::default(),
            background: true,
        }
    }
}
