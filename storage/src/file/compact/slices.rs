//! The changes of a state in slices that follow each other, for threads to take one after the other.

use parking_lot::Mutex;

use super::CHANGES_PER_LOOK;
use crate::{
    codec::length,
    error::Result,
    file::{rows, state::State},
    store::Seq,
};

/// Changes after `since`, up to and including `through`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) since: Seq,
    pub(super) through: Seq,
}

/// What nobody has taken yet.
#[derive(Debug)]
pub(super) struct Slices<'s> {
    state: &'s State,
    /// Rows of the tree, those included that the layers over it replace.
    rows: u64,
    /// Rows of a slice.
    changes: u64,
    next: Mutex<Next>,
}

#[derive(Debug)]
struct Next {
    since: Seq,
    /// Changes of the tree before it.
    rank: u64,
}

/// Slices that each thread can have, so that they end at about the same time.
const SLICES_PER_THREAD: u64 = 16;

impl<'s> Slices<'s> {
    /// Slices for so many threads.
    pub(super) fn new(state: &'s State, threads: usize) -> Result<Self> {
        let rows = state.trees.by_seq().total()?;
        let changes = match length(threads) {
            0 | 1 => CHANGES_PER_LOOK,
            threads => (rows / (threads * SLICES_PER_THREAD)).clamp(1, CHANGES_PER_LOOK),
        };
        Ok(Slices { state, rows, changes, next: Mutex::new(Next { since: 0, rank: 0 }) })
    }

    /// Takes the next slice; `None` if there are no more changes.
    pub(super) fn take(&self) -> Result<Option<Slice>> {
        let mut next = self.next.lock();
        let (since, last) = (next.since, self.state.head.seq);
        if since >= last {
            return Ok(None);
        }
        let through = if next.rank < self.rows {
            next.rank = next.rank.saturating_add(self.changes).min(self.rows);
            self.seq_at(next.rank - 1)?
        } else {
            // Behind the tree are the layers, in which sequences have few gaps.
            since.saturating_add(self.changes)
        };
        next.since = through.min(last);
        Ok(Some(Slice { since, through: next.since }))
    }

    /// The sequence of a row of the tree, which must be among those that nobody has taken.
    fn seq_at(&self, rank: u64) -> Result<Seq> {
        let trees = &self.state.trees;
        let key = trees.by_seq().find_rank(rank)?;
        key.as_deref().and_then(rows::decode_seq).ok_or_else(|| trees.bad_row())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        file::{FileStore, Options},
        store::{DocWeight, Store, update},
    };

    fn put(store: &Arc<dyn Store>, documents: std::ops::Range<u32>) {
        for number in documents {
            let put = move |id: u32| {
                update(store, move |edit| {
                    edit.put_doc(&id.to_be_bytes(), DocWeight::default(), b"", b"").map(drop)
                })
            };
            // Some several times, so that sequences have gaps.
            (0..=number % 3).for_each(|_| put(number).unwrap());
        }
    }

    /// Slices follow each other from the first sequence to the last, over the tree and the layers above it.
    #[test]
    fn every_change_is_in_one_slice() {
        for (checkpointed, later) in [(0, 0), (0, 40), (700, 0), (700, 100), (1, 1)] {
            let file = FileStore::in_memory(Options::default()).unwrap();
            let store: Arc<dyn Store> = file.clone();
            put(&store, 0..checkpointed);
            store.checkpoint().unwrap();
            // New documents, and some of the old ones once more.
            put(&store, checkpointed..checkpointed + later);
            put(&store, 0..later.min(checkpointed));
            let state = file.generation().state.load_full();
            for threads in [1, 2, 5] {
                let slices = Slices::new(&state, threads).unwrap();
                let mut reached = 0;
                while let Some(Slice { since, through }) = slices.take().unwrap() {
                    assert_eq!(since, reached);
                    assert!(through > since);
                    reached = through;
                }
                assert_eq!(reached, state.head.seq, "{checkpointed} {later} {threads}");
            }
        }
    }
}
