//! How fast a server may be asked: slower after each refusal (429, or 503 with `Retry-After`), a little
//! faster again with every answer.
//!
//! Requests go out many at a time, so many refusals come for the same pace. Only those count whose
//! request was sent since the pace last changed: the others say nothing new.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The wait after the first refusal.
const FIRST: Duration = Duration::from_millis(100);
/// By how much a refusal lengthens the wait.
const SLOWER: f32 = 1.5;
/// The part of the wait that an answer takes off it.
const FASTER: u32 = 10;
/// What an answer takes off the wait at the least.
const SHORTEST_STEP: Duration = Duration::from_millis(20);
/// Beyond this wait, the server is left alone; also the longest that `Retry-After` is obeyed.
const LONGEST: Duration = Duration::from_secs(25);
/// After so long without a request, the pace is no longer known.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// The wait before each request to a server.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wait: Duration,
    /// When the wait was last changed.
    changed: Option<Instant>,
    /// The server said that it does not want to be asked before.
    closed_until: Option<Instant>,
}

impl State {
    /// Whether a request that was sent then knew of the present pace.
    fn is_news(&self, sent: Instant) -> bool {
        self.changed.is_none_or(|changed| sent > changed)
    }
}

impl Pace {
    /// How long to wait before the next request.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let mut state = self.0.lock();
        if state.changed.is_some_and(|changed| now.duration_since(changed) > FORGOTTEN) {
            *state = State::default();
        }
        let closed = state.closed_until.map_or(Duration::ZERO, |until| until.duration_since(now));
        state.wait.max(closed)
    }

    /// A request was refused that was sent at `sent`. Returns whether the server may be asked again.
    pub(super) fn refused(
        &self,
        sent: Instant,
        now: Instant,
        retry_after: Option<Duration>,
    ) -> bool {
        let mut state = self.0.lock();
        if let Some(closed) = retry_after {
            state.closed_until = state.closed_until.max(Some(now + closed.min(LONGEST)));
        }
        if state.is_news(sent) {
            state.wait = state.wait.mul_f32(SLOWER).max(FIRST);
            state.changed = Some(now);
        }
        state.wait <= LONGEST
    }

    /// A request was answered that was sent at `sent`.
    pub(super) fn answered(&self, sent: Instant, now: Instant) {
        let mut state = self.0.lock();
        if !state.wait.is_zero() && state.is_news(sent) {
            let step = (state.wait / FASTER).max(SHORTEST_STEP);
            state.wait = state.wait.saturating_sub(step);
            state.changed = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks one request after the other, each answered in no time.
    struct Asker {
        pace: Pace,
        now: Instant,
    }

    impl Asker {
        fn new() -> Self {
            Asker { pace: Pace::default(), now: Instant::now() }
        }

        fn wait(&self) -> Duration {
            self.pace.wait(self.now)
        }

        /// Waits and sends.
        fn send(&mut self) -> Instant {
            self.now += self.wait() + Duration::from_millis(1);
            self.now
        }

        fn refused(&mut self, retry_after: Option<u64>) -> bool {
            let sent = self.send();
            self.pace.refused(sent, self.now, retry_after.map(Duration::from_secs))
        }

        fn answered(&mut self) {
            let sent = self.send();
            self.pace.answered(sent, self.now);
        }
    }

    #[test]
    fn refusals_slow_down_until_it_is_too_much() {
        let mut asker = Asker::new();
        assert_eq!(asker.wait(), Duration::ZERO);
        assert!(asker.refused(None));
        assert_eq!(asker.wait(), FIRST);
        let began = asker.now;
        assert_eq!((0..50).take_while(|_| asker.refused(None)).count(), 13);
        assert!(asker.now - began > Duration::from_secs(45), "it is patient");
    }

    #[test]
    fn answers_make_it_faster_again() {
        let mut asker = Asker::new();
        (0..10).for_each(|_| assert!(asker.refused(None)));
        let slow = asker.wait();
        asker.answered();
        assert!(asker.wait() < slow && asker.wait() > slow / 2, "by and by");
        (0..40).for_each(|_| asker.answered());
        assert_eq!(asker.wait(), Duration::ZERO);
    }

    /// With twenty connections, one moment in which the server had enough was taken for twenty.
    #[test]
    fn refusals_of_requests_sent_together_count_once() {
        let mut asker = Asker::new();
        let sent = asker.send();
        for late in 0..20 {
            assert!(asker.pace.refused(sent, sent + Duration::from_millis(late), None));
        }
        assert_eq!(asker.wait(), FIRST);
        asker.pace.answered(sent, sent + Duration::from_millis(20));
        assert_eq!(asker.wait(), FIRST, "an answer from before says nothing either");
    }

    #[test]
    fn a_server_says_when_to_come_back() {
        let mut asker = Asker::new();
        assert!(asker.refused(Some(3)));
        assert_eq!(asker.wait(), Duration::from_secs(3));
        asker.answered();
        assert!(asker.wait() < FIRST, "once, not before every request");
        assert!(asker.refused(Some(100_000)));
        assert_eq!(asker.wait(), LONGEST);
    }

    #[test]
    fn a_pace_is_forgotten() {
        let mut asker = Asker::new();
        assert!(asker.refused(None));
        asker.now += FORGOTTEN * 2;
        assert_eq!(asker.wait(), Duration::ZERO);
    }
}
