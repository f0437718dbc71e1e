//! Sorting more entries than memory holds: [`Sorter`].
//!
//! Entries (a key and a value, both bytes) are collected in memory; when the budget is used up they are
//! sorted and written to a scratch file as one *run*. At the end the runs are merged. With few entries no
//! file is made at all.
//!
//! * `buffer`: entries in memory; `run`: the scratch file, its blocks and runs; `merge`: many runs as one
//!
//! What entries mean must not be known here.
//!
//! # The scratch file
//!
//! It loses its name as soon as it is made, so that nothing is left behind however the process ends. It
//! holds blocks: length of the entries 4, XXH3-64 of them 8, then the entries, each with the length of
//! its key, the key, the length of its value, the value (lengths are variable-length numbers). Nothing of
//! it is ever synced, and nothing of it outlives the sorter, so it has no version.

mod buffer;
mod merge;
mod run;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc};

pub use merge::Sorted;

use self::{
    buffer::Buffer,
    run::{Run, Scratch},
};
use crate::{
    disk::Disk,
    error::{Error, Result},
    tree::{MAX_ENTRY_KEY_BYTES, MAX_ENTRY_VALUE_BYTES},
};

/// Least memory a sorter works with, in bytes; a smaller budget is taken for this.
pub const MIN_SORT_BYTES: usize = 4 * 1024;

/// Sorts entries by key within a fixed budget of memory. Entries with equal keys keep the order in
/// which they came.
///
/// The budget holds for entries of normal size; one that is larger than the budget is still taken, and
/// during the merge one block of each run is in memory, which is as large as its largest entry.
///
/// ```
/// use settee_storage::{disk::MemoryDisk, sort::Sorter};
/// use std::sync::Arc;
///
/// let mut sorter = Sorter::new(Arc::new(MemoryDisk::new()), "/db.sort".into(), 64 * 1024);
/// for number in (0..10_000u32).rev() {
///     sorter.push(&number.to_be_bytes(), b"value")?;
/// }
/// let mut sorted = sorter.finish()?;
/// let (first, _) = sorted.next()?.expect("there are entries");
/// assert_eq!(first, 0u32.to_be_bytes());
/// # Ok::<(), settee_storage::Error>(())
/// ```
#[derive(Debug)]
pub struct Sorter {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    memory_bytes: usize,
    buffer: Buffer,
    scratch: Option<Arc<Scratch>>,
    runs: Vec<Run>,
    entries: u64,
}

impl Sorter {
    /// A sorter that spills, if it must, to a file of this name (whose folder exists), which nobody else
    /// uses meanwhile; one left there by a crash is removed.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf, memory_bytes: usize) -> Self {
        let memory_bytes = memory_bytes.max(MIN_SORT_BYTES);
        let buffer = Buffer::new(memory_bytes);
        Sorter { disk, path, memory_bytes, buffer, scratch: None, runs: Vec::new(), entries: 0 }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond what a tree takes, [`Error::Full`] and [`Error::Io`] of the scratch
    /// file.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check("a key", key, MAX_ENTRY_KEY_BYTES)?;
        check("a value", value, MAX_ENTRY_VALUE_BYTES)?;
        if !self.buffer.has_room(key.len() + value.len()) {
            self.spill()?;
        }
        self.buffer.push(key, value);
        self.entries += 1;
        Ok(())
    }

    /// Number of entries so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Makes room in memory, within the budget, for so many entries of so many bytes (key and value) each.
    pub fn reserve(&mut self, entries: u64, entry_bytes: usize) {
        self.buffer.reserve(usize::try_from(entries).unwrap_or(usize::MAX), entry_bytes);
    }

    /// Brings what is in memory into order now, rather than when it is merged: a thread that is done does this for
    /// the one that merges.
    pub fn sort(&mut self) {
        self.buffer.sort();
    }

    /// Ends the collection and begins the merge.
    ///
    /// # Errors
    /// Those of the scratch file.
    pub fn finish(self) -> Result<Sorted> {
        merge([self])
    }

    /// Writes what is in memory as a run.
    fn spill(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let scratch = match &self.scratch {
            Some(scratch) => Arc::clone(scratch),
            None => {
                let scratch = Arc::new(Scratch::create(self.disk.as_ref(), &self.path)?);
                Arc::clone(self.scratch.insert(scratch))
            }
        };
        let mut run = scratch.begin_run(block_bytes(self.memory_bytes));
        for (key, value) in self.buffer.sorted() {
            run.push(key, value)?;
        }
        self.runs.push(run.finish()?);
        self.buffer.clear();
        Ok(())
    }
}

/// Merges what several sorters have collected (several threads, for instance). Entries with equal keys
/// come in the order of their sorters. The first sorter's budget is that of the merge.
///
/// # Errors
/// Those of the scratch files.
pub fn merge(sorters: impl IntoIterator<Item = Sorter>) -> Result<Sorted> {
    let mut sorters: Vec<Sorter> = sorters.into_iter().collect();
    if sorters.iter().all(|sorter| sorter.runs.is_empty()) {
        return Ok(Sorted::of_buffers(sorters.into_iter().map(|sorter| sorter.buffer)));
    }
    let mut runs = Vec::new();
    for sorter in &mut sorters {
        sorter.spill()?;
        sorter.buffer.free();
        runs.append(&mut sorter.runs);
    }
    let Some(first) = sorters.into_iter().next() else { return Ok(Sorted::of_runs(Vec::new())) };
    let fan_in = fan_in(first.memory_bytes);
    while runs.len() > fan_in {
        runs = merge_pass(&first, runs, fan_in)?;
    }
    Ok(Sorted::of_runs(runs))
}

/// Makes each `fan_in` runs that follow each other into one, in a new scratch file; the old ones go with
/// their last run.
fn merge_pass(sorter: &Sorter, runs: Vec<Run>, fan_in: usize) -> Result<Vec<Run>> {
    let scratch = Arc::new(Scratch::create(sorter.disk.as_ref(), &sorter.path)?);
    let mut merged = Vec::new();
    let mut rest = runs.into_iter().peekable();
    while rest.peek().is_some() {
        let mut sorted = Sorted::of_runs(rest.by_ref().take(fan_in).collect());
        let mut run = scratch.begin_run(block_bytes(sorter.memory_bytes));
        while let Some((key, value)) = sorted.next()? {
            run.push(key, value)?;
        }
        merged.push(run.finish()?);
    }
    Ok(merged)
}

/// Bytes of a block: a part of the budget, so that the blocks of many runs fit into it together.
fn block_bytes(memory_bytes: usize) -> usize {
    const PART: usize = 64;
    (memory_bytes / PART).clamp(512, 256 * 1024)
}

/// Runs merged at once: their blocks take up the budget.
fn fan_in(memory_bytes: usize) -> usize {
    (memory_bytes / block_bytes(memory_bytes)).max(2)
}

fn check(what: &'static str, bytes: &[u8], limit: usize) -> Result<()> {
    if bytes.len() <= limit {
        return Ok(());
    }
    let wide = |number| u64::try_from(number).unwrap_or(u64::MAX);
    Err(Error::TooLarge { what, size: wide(bytes.len()), limit: wide(limit) })
}
