//! The growing side of a tree: one [`Pending`] per level, from which finished nodes move up as
//! references.
//!
//! Everything arrives in ascending order, either as an entry of a leaf or as a whole subtree that is
//! kept as it is. A kept subtree stands at some level; what waits below that level must become nodes
//! first, because it comes before.

use std::ops::Range;

use super::{
    Malformed, NodeRef, Reduce, Root, Sink,
    node::{Node, split_child},
    node_ref::MAX_HEIGHT,
    pending::Pending,
};
use crate::error::Error;

/// Why writing stopped: the entries make no sense, or the store failed. Whose fault the first is, only
/// the caller knows.
#[derive(Debug)]
pub(super) enum Flaw {
    Malformed(&'static str),
    Store(Error),
}

impl From<Malformed> for Flaw {
    fn from(Malformed(what): Malformed) -> Self {
        Flaw::Malformed(what)
    }
}

impl From<Error> for Flaw {
    fn from(error: Error) -> Self {
        Flaw::Store(error)
    }
}

#[derive(Debug)]
pub(super) struct Levels<'s, R, S: ?Sized> {
    reduce: R,
    sink: &'s mut S,
    levels: Vec<Pending>,
    /// A key not greater than the first waiting leaf entry and greater than all before it.
    floor: Vec<u8>,
    /// No node was written or kept so far, so the next leaf begins at minus infinity.
    leftmost: bool,
    /// Bytes of the node being written; kept to spare allocations.
    node: Vec<u8>,
    /// Reference and sum of the node just written.
    child: Vec<u8>,
    /// Separator of the node just written.
    separator: Vec<u8>,
}

impl<'s, R: Reduce, S: Sink + ?Sized> Levels<'s, R, S> {
    pub(super) fn new(reduce: R, sink: &'s mut S) -> Self {
        Levels {
            reduce,
            sink,
            levels: vec![Pending::new(0)],
            floor: Vec::new(),
            leftmost: true,
            node: Vec::new(),
            child: Vec::new(),
            separator: Vec::new(),
        }
    }

    pub(super) fn reduce(&self) -> &R {
        &self.reduce
    }

    /// Number of levels in use, that of the leaves included.
    pub(super) fn height(&self) -> u8 {
        u8::try_from(self.levels.len()).unwrap_or(u8::MAX)
    }

    /// What waits at a level.
    pub(super) fn at(&mut self, level: u8) -> &mut Pending {
        while self.height() <= level {
            self.levels.push(Pending::new(self.height()));
        }
        &mut self.levels[usize::from(level)]
    }

    /// Says that the next leaf entries are those of a leaf that had this separator.
    pub(super) fn begin_leaf(&mut self, separator: &[u8]) {
        if self.levels[0].is_empty() {
            self.floor.clear();
            self.floor.extend_from_slice(separator);
        }
    }

    /// Adds a new entry to the leaves.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), Flaw> {
        self.levels[0].push(key, value, true)?;
        self.spill(0)
    }

    /// Adds entries of an old node to the level that node was of.
    pub(super) fn pour(
        &mut self,
        level: u8,
        node: &Node<'_>,
        range: Range<usize>,
    ) -> Result<(), Flaw> {
        if level > 0 {
            self.leftmost = false;
        }
        let first = range.start;
        for index in range {
            self.at(level).push_old(node, index, index > first)?;
            self.spill(level)?;
        }
        Ok(())
    }

    /// Adds entries that were taken from a level, freshness and all.
    pub(super) fn push_back(&mut self, level: u8, entries: &Pending) -> Result<(), Flaw> {
        for (key, value, fresh) in entries.all() {
            self.at(level).push(key, value, fresh)?;
            self.spill(level)?;
        }
        Ok(())
    }

    /// Adds a child to a level above the leaves.
    pub(super) fn push_child(
        &mut self,
        level: u8,
        separator: &[u8],
        child: &[u8],
    ) -> Result<(), Flaw> {
        self.leftmost = false;
        self.at(level).push(separator, child, false)?;
        self.spill(level)
    }

    /// Writes a node of a level that has more than it may.
    fn spill(&mut self, level: u8) -> Result<(), Flaw> {
        match self.levels[usize::from(level)].overflow() {
            Some(count) => self.write(level, count),
            None => Ok(()),
        }
    }

    /// Writes everything that waits at a level.
    pub(super) fn flush(&mut self, level: u8, edge: bool) -> Result<(), Flaw> {
        while !self.at(level).is_empty() {
            let count = self.at(level).next_cut(edge);
            self.write(level, count)?;
        }
        Ok(())
    }

    /// Writes the first `count` entries of a level as one node and moves its reference up.
    fn write(&mut self, level: u8, count: usize) -> Result<(), Flaw> {
        if level >= MAX_HEIGHT {
            return Err(Flaw::Malformed("a tree is too high"));
        }
        let sum = self.sum(level, count)?;
        let pending = &mut self.levels[usize::from(level)];
        pending.encode(count, &mut self.node);
        self.separator.clear();
        if level == 0 {
            if !self.leftmost {
                self.separator.extend_from_slice(&self.floor);
            }
            self.floor.clear();
            self.floor.extend_from_slice(pending.separator(count));
        } else {
            self.separator.extend_from_slice(pending.first_key());
        }
        pending.drop_head(count);
        let at = self.sink.append(&self.node)?;
        self.child.clear();
        self.child.extend_from_slice(&at.to_bytes());
        self.reduce.encode(&sum, &mut self.child);
        self.leftmost = false;
        self.at(level + 1);
        self.levels[usize::from(level) + 1].push(&self.separator, &self.child, true)?;
        self.spill(level + 1)
    }

    fn sum(&self, level: u8, count: usize) -> Result<R::Sum, Malformed> {
        let mut entries = self.levels[usize::from(level)].head(count);
        if level == 0 {
            return self.reduce.sum_entries(&mut entries);
        }
        let mut broken = Ok(());
        let mut stored = entries.map_while(|(_, child)| match split_child(child) {
            Ok((_, sum)) => Some(sum),
            Err(malformed) => {
                broken = Err(malformed);
                None
            }
        });
        let sum = self.reduce.sum_stored(&mut stored);
        broken.and(sum)
    }

    /// The lowest level above `level` where something waits.
    pub(super) fn next_above(&self, level: u8) -> Option<u8> {
        (level + 1..self.height()).find(|&above| !self.levels[usize::from(above)].is_empty())
    }

    /// Ends a level: nothing more will come to it. Returns the tree if that was all.
    pub(super) fn close(&mut self, level: u8) -> Result<Option<Root>, Flaw> {
        if level > 0 && self.at(level).len() == 1 && self.next_above(level).is_none() {
            let at = self.at(level).last().map(|(_, child, _)| split_child(child)).transpose()?;
            return Ok(at.map(|(at, _): (NodeRef, _)| Root { node: Some(at), height: level }));
        }
        self.flush(level, true)?;
        Ok(None)
    }
}
