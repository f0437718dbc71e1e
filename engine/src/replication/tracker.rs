//! Up to where everything is written, while batches are done in any order.

use std::collections::VecDeque;

use crate::json::Value;

/// The batches under way, in the order of the feed.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    /// Number of the batch at the front.
    first: u64,
    batches: VecDeque<Batch>,
}

#[derive(Debug)]
struct Batch {
    seq: Option<Value>,
    is_done: bool,
}

impl Tracker {
    /// A batch has been begun that brings the replication to `seq`; returns its number.
    pub(super) fn begin(&mut self, seq: Option<Value>) -> u64 {
        self.batches.push_back(Batch { seq, is_done: false });
        self.first + self.batches.len() as u64 - 1
    }

    /// A batch is done. Returns the sequence up to which everything is, if that has moved.
    pub(super) fn done(&mut self, number: u64) -> Option<Value> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.batches.get_mut(at)?.is_done = true;
        let mut reached = None;
        while self.batches.front().is_some_and(|batch| batch.is_done) {
            let batch = self.batches.pop_front();
            self.first += 1;
            reached = batch.and_then(|batch| batch.seq).or(reached);
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sequence_is_reached_when_all_before_it_are_done(
            order in Just((0u64..12).collect::<Vec<_>>()).prop_shuffle(),
            unnamed in prop::collection::vec(any::<bool>(), 12),
            ahead in 1usize..12,
        ) {
            let seq = |number: u64| (!unnamed[number as usize]).then(|| Value::from(number));
            let mut tracker = Tracker::default();
            let mut begun = 0;
            let mut done = [false; 12];
            let mut reached = None;
            // Batches are begun `ahead` of the ones that are done, as workers do.
            for number in order {
                while begun < 12 && begun <= number + ahead as u64 {
                    prop_assert_eq!(tracker.begin(seq(begun)), begun);
                    begun += 1;
                }
                done[number as usize] = true;
                reached = tracker.done(number).or(reached);
                let prefix = done.iter().take_while(|done| **done).count() as u64;
                let expected = (0..prefix).rev().find_map(seq);
                prop_assert_eq!(&reached, &expected);
            }
        }
    }

    #[test]
    fn numbers_that_are_none_do_no_harm() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.done(0), None);
        let number = tracker.begin(Some(Value::from(5u64)));
        assert_eq!(tracker.done(number), Some(Value::from(5u64)));
        assert_eq!(tracker.done(number), None);
    }
}
