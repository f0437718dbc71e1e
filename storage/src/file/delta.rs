//! A value expressed through an older one: a literal head, a range copied from the old value, a literal
//! tail.
//!
//! A document with a thousand revisions has a by-id value of some 16 KB, of which an edit changes a few
//! bytes at either end and shifts the rest. Logging the whole value with each edit would make the log
//! twenty times as large as the edit.

use memchr::memmem;

use super::codec::{Input, length, put_bytes, put_varint};

/// Values shorter than this are written out; there is little to save.
const MIN_VALUE_BYTES: usize = 128;
/// A shared range shorter than this is not worth a lookup of the old value at replay.
const MIN_SHARED_BYTES: usize = 96;
/// Length of the piece of the old value that is searched for in the new one.
const PROBE_BYTES: usize = 32;
/// Where the pieces are taken, in eighths of the old value.
const PROBES_AT: [usize; 3] = [4, 2, 6];

/// The longest range found that both values have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shared {
    old_start: usize,
    new_start: usize,
    len: usize,
}

/// Looks for a long range of `old` inside `new`; `None` if writing `new` out is the better choice.
pub(super) fn find(old: &[u8], new: &[u8]) -> Option<Shared> {
    if old.len() < MIN_VALUE_BYTES || new.len() < MIN_VALUE_BYTES {
        return None;
    }
    let enough = new.len() - new.len() / 8;
    let mut best: Option<Shared> = None;
    for eighth in PROBES_AT {
        let at = old.len() / 8 * eighth;
        let probe = old.get(at..at + PROBE_BYTES)?;
        let Some(found) = memmem::find(new, probe) else { continue };
        let shared = extend(old, new, at, found);
        if best.is_none_or(|best| shared.len > best.len) {
            best = Some(shared);
        }
        if shared.len >= enough {
            break;
        }
    }
    best.filter(|best| best.len >= MIN_SHARED_BYTES)
}

/// The longest common range around two positions known to be equal.
fn extend(old: &[u8], new: &[u8], old_at: usize, new_at: usize) -> Shared {
    let (old_head, old_tail) = old.split_at(old_at);
    let (new_head, new_tail) = new.split_at(new_at);
    let back = old_head.iter().rev().zip(new_head.iter().rev()).take_while(|(a, b)| a == b).count();
    let forth = old_tail.iter().zip(new_tail).take_while(|(a, b)| a == b).count();
    Shared { old_start: old_at - back, new_start: new_at - back, len: back + forth }
}

/// Appends `new` with the shared range left out.
pub(super) fn encode(shared: Shared, new: &[u8], out: &mut Vec<u8>) {
    let (head, rest) = new.split_at(shared.new_start);
    put_bytes(out, head);
    put_varint(out, length(shared.old_start));
    put_varint(out, length(shared.len));
    put_bytes(out, &rest[shared.len..]);
}

/// What [`encode`] wrote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delta<'b> {
    pub(super) head: &'b [u8],
    /// Where the shared range begins in the old value.
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) tail: &'b [u8],
}

impl<'b> Delta<'b> {
    pub(super) fn decode(input: &mut Input<'b>) -> Option<Self> {
        Some(Delta {
            head: input.bytes()?,
            start: input.size()?,
            len: input.size()?,
            tail: input.bytes()?,
        })
    }

    /// Puts the value together again; `None` if the old value is not the one it was made from.
    pub(super) fn apply(self, old: &[u8]) -> Option<Vec<u8>> {
        let middle = old.get(self.start..self.start.checked_add(self.len)?)?;
        Some([self.head, middle, self.tail].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(old: &[u8], new: &[u8]) -> Option<usize> {
        let shared = find(old, new)?;
        let mut out = Vec::new();
        encode(shared, new, &mut out);
        let mut input = Input::new(&out);
        let delta = Delta::decode(&mut input).unwrap();
        assert_eq!(delta.apply(old).as_deref(), Some(new));
        assert!(input.is_empty());
        Some(out.len())
    }

    fn revisions(first: u64, count: u64) -> Vec<u8> {
        let mut out = vec![count as u8, 1, 2, 3];
        for number in (first..first + count).rev() {
            out.extend_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            out.extend_from_slice(&number.wrapping_mul(0xc2b2_ae3d_27d4_eb4f).to_be_bytes());
        }
        out
    }

    #[test]
    fn a_long_history_that_shifts_by_one_costs_a_few_bytes() {
        let cost = round_trip(&revisions(1, 1000), &revisions(2, 1000)).unwrap();
        assert!(cost < 64, "{cost} bytes");
    }

    #[test]
    fn unlike_and_short_values_are_written_out() {
        assert_eq!(find(&[1; 20], &[1; 20]), None);
        assert_eq!(find(&revisions(1, 40), &revisions(1000, 40)), None);
    }

    #[test]
    fn a_range_outside_the_old_value_is_refused() {
        let mut out = Vec::new();
        let old = revisions(1, 40);
        encode(find(&old, &old).unwrap(), &old, &mut out);
        assert_eq!(Delta::decode(&mut Input::new(&out)).unwrap().apply(&old[..100]), None);
    }

    proptest! {
        #[test]
        fn whatever_is_found_comes_back(
            old in proptest::collection::vec(0u8..3, 0..600),
            cut in 0usize..600, drop in 0usize..40, insert: Vec<u8>,
        ) {
            let cut = cut.min(old.len());
            let end = (cut + drop).min(old.len());
            let new = [&old[..cut], &insert, &old[end..]].concat();
            round_trip(&old, &new);
        }
    }
}
