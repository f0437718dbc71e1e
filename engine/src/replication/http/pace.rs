//! How fast a server may be asked: slower after each 429, faster again as long as there is none.

use std::time::Duration;

use parking_lot::Mutex;

/// The wait after the first refusal.
const FIRST: Duration = Duration::from_millis(100);
/// Beyond this wait, the server is left alone.
const LONGEST: Duration = Duration::from_secs(25);
/// Below this wait, there is none.
const SHORTEST: Duration = Duration::from_millis(20);

/// The wait before each request to a server.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Duration>);

impl Pace {
    /// How long to wait before the next request.
    pub(super) fn wait(&self) -> Duration {
        *self.0.lock()
    }

    /// The server had enough. Returns whether it may be asked again.
    pub(super) fn refused(&self, retry_after: Option<Duration>) -> bool {
        let mut wait = self.0.lock();
        *wait = (*wait * 2).max(FIRST).max(retry_after.unwrap_or_default().min(LONGEST));
        *wait <= LONGEST
    }

    /// The server answered.
    pub(super) fn answered(&self) {
        let mut wait = self.0.lock();
        if !wait.is_zero() {
            *wait = wait.mul_f32(0.8);
            if *wait < SHORTEST {
                *wait = Duration::ZERO;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_slow_down_until_it_is_too_much() {
        let pace = Pace::default();
        assert!(pace.refused(None));
        assert_eq!(pace.wait(), FIRST);
        assert!(pace.refused(Some(Duration::from_secs(3))));
        assert_eq!(pace.wait(), Duration::from_secs(3));
        (0..40).for_each(|_| pace.answered());
        assert_eq!(pace.wait(), Duration::ZERO);
        assert_eq!((0..20).take_while(|_| pace.refused(None)).count(), 8);
    }
}
