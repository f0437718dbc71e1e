//! Many sorted sources as one.

use super::{
    buffer::Buffer,
    run::{Block, Place, Run},
};
use crate::{codec::head, error::Result};

/// Sorted entries, from memory or from merged runs. Made by [`Sorter::finish`](super::Sorter::finish).
#[derive(Debug)]
pub struct Sorted {
    /// In the order that decides between equal keys.
    sources: Vec<Source>,
    /// Indices of the sources that stand on an entry: a binary heap, the least entry first.
    heap: Vec<usize>,
    started: bool,
}

#[derive(Debug)]
struct Source {
    entries: Entries,
    /// First bytes of the key it stands on.
    head: u64,
}

#[derive(Debug)]
enum Entries {
    Memory { buffer: Buffer, next: usize },
    Run { run: Run, block: Option<Block>, place: Place },
}

impl Source {
    fn new(entries: Entries) -> Self {
        Source { entries, head: 0 }
    }

    /// Moves to the next entry; false at the end.
    fn advance(&mut self) -> Result<bool> {
        let there = match &mut self.entries {
            Entries::Memory { buffer, next } => {
                *next += 1;
                buffer.get(*next - 1).is_some()
            }
            Entries::Run { run, block, place } => {
                if block.as_ref().is_none_or(Block::is_done) {
                    // The old block's memory goes before that of the new one comes.
                    *block = None;
                    *block = run.next_block()?;
                }
                match block {
                    Some(block) => {
                        *place = block.next().ok_or_else(|| run.damaged())?;
                        true
                    }
                    None => false,
                }
            }
        };
        if there {
            self.head = head(self.entry().0);
        }
        Ok(there)
    }

    /// The entry it stands on.
    fn entry(&self) -> (&[u8], &[u8]) {
        match &self.entries {
            Entries::Memory { buffer, next } => {
                buffer.get(next.wrapping_sub(1)).unwrap_or_default()
            }
            Entries::Run { block, place, .. } => match block {
                Some(block) => (block.get(&place.key), block.get(&place.value)),
                None => Default::default(),
            },
        }
    }
}

impl Sorted {
    pub(super) fn of_buffers(buffers: impl Iterator<Item = Buffer>) -> Self {
        Sorted::new(buffers.map(|mut buffer| {
            buffer.sort();
            Entries::Memory { buffer, next: 0 }
        }))
    }

    pub(super) fn of_runs(runs: Vec<Run>) -> Self {
        let entries = |run| Entries::Run { run, block: None, place: Place::default() };
        Sorted::new(runs.into_iter().map(entries))
    }

    fn new(entries: impl Iterator<Item = Entries>) -> Self {
        Sorted { sources: entries.map(Source::new).collect(), heap: Vec::new(), started: false }
    }

    /// The next entry: key and value.
    ///
    /// # Errors
    /// Those of reading the scratch file back; there is nothing to go on with then.
    #[expect(
        clippy::should_implement_trait,
        reason = "the entry is lent, which Iterator cannot do"
    )]
    pub fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if self.started {
            self.step()?;
        } else {
            self.start()?;
        }
        Ok(self.heap.first().and_then(|top| self.sources.get(*top)).map(Source::entry))
    }

    fn start(&mut self) -> Result<()> {
        self.started = true;
        for index in 0..self.sources.len() {
            if self.sources[index].advance()? {
                self.heap.push(index);
            }
        }
        for place in (0..self.heap.len() / 2).rev() {
            self.sink(place);
        }
        Ok(())
    }

    /// Moves the source whose entry was lent last.
    fn step(&mut self) -> Result<()> {
        let Some(&top) = self.heap.first() else { return Ok(()) };
        if !self.sources[top].advance()? {
            self.heap.swap_remove(0);
        }
        self.sink(0);
        Ok(())
    }

    /// Lets an entry sink below those that come before it.
    fn sink(&mut self, mut place: usize) {
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let mut least = place;
            for child in [left, right] {
                if child < self.heap.len() && self.comes_before(child, least) {
                    least = child;
                }
            }
            if least == place {
                return;
            }
            self.heap.swap(place, least);
            place = least;
        }
    }

    fn comes_before(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.heap[a], self.heap[b]);
        let (first, second) = (&self.sources[a], &self.sources[b]);
        let order = first.head.cmp(&second.head);
        order.then_with(|| first.entry().0.cmp(second.entry().0)).then(a.cmp(&b)).is_lt()
    }
}
