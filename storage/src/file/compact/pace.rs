//! Back-pressure: writers that outrun the copy are slowed down, so that the rounds become shorter.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Rounds that are left to converge by themselves.
const PATIENT_ROUNDS: u32 = 3;
/// Longest pause after one group of edits.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What each commit has to wait, in picoseconds for each of its bytes; 0 in general.
///
/// It is set to what the copy takes for a byte. A writer that takes as long as that *and* its own work is
/// slower than the copy, whatever the machine, so each round leaves less for the next.
#[derive(Debug, Default)]
pub(in crate::file) struct Drag(AtomicU64);

impl Drag {
    /// Waits after a group of edits that took so many bytes.
    pub(in crate::file) fn pull(&self, bytes: u64) {
        let picoseconds = self.0.load(Ordering::Relaxed);
        if picoseconds > 0 {
            let pause = Duration::from_nanos(bytes.saturating_mul(picoseconds) / 1000);
            std::thread::sleep(pause.min(MAX_PAUSE));
        }
    }
}

/// Watches the rounds of one compaction. The drag goes with it.
pub(super) struct Pace<'d> {
    drag: &'d Drag,
}

impl<'d> Pace<'d> {
    pub(super) fn new(drag: &'d Drag) -> Self {
        Pace { drag }
    }

    /// Begins a round; times it when patience is over.
    pub(super) fn begin(&self, round: u32) -> Option<Instant> {
        (round >= PATIENT_ROUNDS).then(Instant::now)
    }

    /// Ends a round that copied what was written in so many bytes of log.
    pub(super) fn end(&mut self, begun: Option<Instant>, bytes: u64) {
        let Some(begun) = begun else { return };
        let picoseconds =
            begun.elapsed().as_nanos().saturating_mul(1000) / u128::from(bytes.max(1));
        self.drag.0.store(u64::try_from(picoseconds).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Drop for Pace<'_> {
    fn drop(&mut self) {
        self.drag.0.store(0, Ordering::Relaxed);
    }
}
