//! How many threads help with a copy.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread::available_parallelism,
};

use crate::store::Counts;

/// Most threads that help with copies at a time, of all stores of the process together: a server has other
/// things to do, and disks have an end.
const MAX_HELPERS: usize = 3;
/// Documents for each thread: with fewer, beginning one takes longer than it saves.
const DOCUMENTS_PER_THREAD: u64 = 8192;

/// Those that help now.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// Threads that a copy may begin, until this is dropped.
#[derive(Debug)]
pub(super) struct Helpers<'b> {
    count: usize,
    /// Where they are counted, if they are.
    busy: Option<&'b AtomicUsize>,
}

impl Helpers<'static> {
    /// As many as were asked for, or as the machine has, others do not have and the documents are worth.
    pub(super) fn take(wanted: Option<usize>, counts: Counts) -> Self {
        match wanted {
            Some(count) => Helpers { count, busy: None },
            None => {
                let cores = available_parallelism().map_or(1, usize::from);
                Helpers::of(&BUSY, cores.saturating_sub(1).min(MAX_HELPERS), worth(counts))
            }
        }
    }
}

impl<'b> Helpers<'b> {
    /// Takes up to so many, as long as there are no more than `most` in all.
    fn of(busy: &'b AtomicUsize, most: usize, wanted: usize) -> Self {
        let free = |busy: usize| most.saturating_sub(busy).min(wanted);
        // It only counts; what the threads do is ordered by their being begun and joined.
        let before =
            busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |busy| Some(busy + free(busy)));
        let (Ok(before) | Err(before)) = before;
        Helpers { count: free(before), busy: Some(busy) }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }
}

impl Drop for Helpers<'_> {
    fn drop(&mut self) {
        if let Some(busy) = self.busy {
            busy.fetch_sub(self.count, Ordering::Relaxed);
        }
    }
}

/// Helpers that so many documents keep busy.
fn worth(counts: Counts) -> usize {
    let threads = counts.documents() / DOCUMENTS_PER_THREAD;
    usize::try_from(threads.saturating_sub(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(live: u64) -> Counts {
        Counts { live, ..Counts::default() }
    }

    #[test]
    fn few_documents_are_copied_by_one_thread() {
        assert_eq!(worth(documents(0)), 0);
        assert_eq!(worth(documents(2 * DOCUMENTS_PER_THREAD - 1)), 0);
        assert_eq!(worth(documents(3 * DOCUMENTS_PER_THREAD)), 2);
        assert_eq!(Helpers::take(None, documents(100)).count(), 0);
        assert_eq!(Helpers::take(Some(2), documents(100)).count(), 2);
    }

    #[test]
    fn copies_at_the_same_time_share_the_helpers() {
        let busy = AtomicUsize::new(0);
        let first = Helpers::of(&busy, 3, 2);
        let second = Helpers::of(&busy, 3, 2);
        let third = Helpers::of(&busy, 3, 2);
        assert_eq!([&first, &second, &third].map(Helpers::count), [2, 1, 0]);
        drop(first);
        assert_eq!(Helpers::of(&busy, 3, 9).count(), 2);
        drop((second, third));
        assert_eq!(busy.into_inner(), 0);
    }
}
