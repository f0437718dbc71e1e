//! Walking a range with the sums of whole subtrees where they will do: groups, and rows by their number.

use std::ops::Range;

use super::{Malformed, NodeRef, Pages, Reduce, Tree, node::Node, read::Bounds};
use crate::{
    error::Result,
    store::{Direction, KeyRange},
};

/// What is to become of what [`Tree::fold`] has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was taken; go on behind it.
    Take,
    /// It is a subtree that has to be looked into.
    Open,
    /// Nothing more is wanted.
    End,
}

/// Receives a range, in order: subtrees by their sums, single entries where these do not do.
pub trait Fold {
    /// A subtree that lies in the range as a whole: its keys are not below `from` (nothing: minus
    /// infinity) and are below `to` (nothing: plus infinity), and this is its stored sum.
    ///
    /// # Errors
    /// For a sum that cannot be read.
    fn subtree(
        &mut self,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
        sum: &[u8],
    ) -> Result<Step, Malformed>;
    /// An entry. [`Step::Open`] means the same as [`Step::Take`].
    ///
    /// # Errors
    /// For an entry that cannot be read.
    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<Step, Malformed>;
}

/// The keys a subtree may have.
#[derive(Clone, Copy)]
struct Between<'k> {
    from: Option<&'k [u8]>,
    to: Option<&'k [u8]>,
}

struct Walk<'t, 'p, P: ?Sized, R> {
    tree: &'t Tree<'p, P, R>,
    direction: Direction,
    fold: &'t mut dyn Fold,
    key: Vec<u8>,
}

impl<P: Pages + ?Sized, R: Reduce> Tree<'_, P, R> {
    /// Walks a range in order and lets `fold` decide for each subtree whether its sum is enough.
    ///
    /// # Errors
    /// `Corrupt` for a node, a sum or an entry that makes no sense, and those of the source.
    pub fn fold(&self, range: &KeyRange, direction: Direction, fold: &mut dyn Fold) -> Result<()> {
        let bounds = Bounds::new(range);
        let (Some(at), Some(level)) = (self.root.node, self.root.height.checked_sub(1)) else {
            return Ok(());
        };
        if bounds.is_empty() {
            return Ok(());
        }
        let mut walk = Walk { tree: self, direction, fold, key: Vec::new() };
        walk.node(at, level, bounds, Between { from: None, to: None }).map(drop)
    }
}

impl<P: Pages + ?Sized, R: Reduce<Sum = u64>> Tree<'_, P, R> {
    /// The key of the entry before which the sum of all entries is at most `rank` and with which it is
    /// more: with a reduction that counts 1 for each, the entry number `rank`, from 0.
    ///
    /// # Errors
    /// As [`Tree::get`].
    pub fn find_rank(&self, rank: u64) -> Result<Option<Vec<u8>>> {
        let mut left = rank;
        let (Some(mut at), Some(top)) = (self.root.node, self.root.height.checked_sub(1)) else {
            return Ok(None);
        };
        for level in (1..=top).rev() {
            let page = self.pages.node(at)?;
            let node = self.check(at, Node::open(&page, level))?;
            let Some(child) = self.check(at, self.child_at_rank(&node, &mut left))? else {
                return Ok(None);
            };
            at = child;
        }
        let page = self.pages.node(at)?;
        let node = self.check(at, Node::open(&page, 0))?;
        self.check(at, self.row_at_rank(&node, left))
    }

    fn child_at_rank(&self, node: &Node<'_>, left: &mut u64) -> Result<Option<NodeRef>, Malformed> {
        for index in 0..node.count() {
            let (child, sum) = node.child(index)?;
            let count = self.reduce.decode(sum)?;
            match left.checked_sub(count) {
                Some(rest) => *left = rest,
                None => return Ok(Some(child)),
            }
        }
        Ok(None)
    }

    fn row_at_rank(&self, node: &Node<'_>, mut left: u64) -> Result<Option<Vec<u8>>, Malformed> {
        let mut key = Vec::new();
        for index in 0..node.count() {
            node.read_key(index, &mut key)?;
            let count = self.reduce.leaf(&key, node.entry(index)?.value)?;
            match left.checked_sub(count) {
                Some(rest) => left = rest,
                None => return Ok(Some(key)),
            }
        }
        Ok(None)
    }
}

impl<P: Pages + ?Sized, R: Reduce> Walk<'_, '_, P, R> {
    fn node(
        &mut self,
        at: NodeRef,
        level: u8,
        bounds: Bounds<'_>,
        between: Between<'_>,
    ) -> Result<Step> {
        let page = self.tree.pages.node(at)?;
        let node = self.tree.check(at, Node::open(&page, level))?;
        if level == 0 {
            let rows = self.tree.check(at, bounds.rows(&node))?;
            let walked = self.leaf(&node, rows);
            return self.tree.check(at, walked);
        }
        let (first, last) = self.tree.check(at, bounds.children(&node))?;
        let (mut low, mut high) = (Vec::new(), Vec::new());
        for step in 0..=last.saturating_sub(first) {
            let index = match self.direction {
                Direction::Forward => first + step,
                Direction::Backward => last - step,
            };
            let inner = bounds.narrow(index == first, index == last);
            let between = Between {
                from: if index == 0 {
                    between.from
                } else {
                    self.tree.check(at, node.read_key(index, &mut low))?;
                    Some(&low[..])
                },
                to: if index + 1 == node.count() {
                    between.to
                } else {
                    self.tree.check(at, node.read_key(index + 1, &mut high))?;
                    Some(&high[..])
                },
            };
            let (child, sum) = self.tree.check(at, node.child(index))?;
            let mut step = Step::Open;
            if inner.is_all() {
                step = self.tree.check(at, self.fold.subtree(between.from, between.to, sum))?;
            }
            if step == Step::Open {
                step = self.node(child, level - 1, inner, between)?;
            }
            if step == Step::End {
                return Ok(Step::End);
            }
        }
        Ok(Step::Take)
    }

    fn leaf(&mut self, node: &Node<'_>, rows: Range<usize>) -> Result<Step, Malformed> {
        let count = rows.len();
        for step in 0..count {
            let index = match self.direction {
                Direction::Forward => rows.start + step,
                Direction::Backward => rows.end - 1 - step,
            };
            node.read_key(index, &mut self.key)?;
            if self.fold.entry(&self.key, node.entry(index)?.value)? == Step::End {
                return Ok(Step::End);
            }
        }
        Ok(Step::Take)
    }
}
