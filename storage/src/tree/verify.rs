//! Checking a whole tree, for inspection and tests.

use super::{
    NodeRef, Pages, Reduce, Tree,
    node::{Node, split_child},
};
use crate::error::Result;

/// What a tree is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeShape {
    /// Entries.
    pub entries: u64,
    /// Leaves.
    pub leaves: u64,
    /// Nodes above the leaves.
    pub inner_nodes: u64,
    /// Bytes of all nodes.
    pub node_bytes: u64,
    /// Bytes of the largest node.
    pub largest_node_bytes: u32,
}

/// The keys a subtree may have: from the first (nothing: minus infinity) to before the second.
#[derive(Clone, Copy)]
struct Between<'k>(Option<&'k [u8]>, Option<&'k [u8]>);

impl<P: Pages + ?Sized, R: Reduce> Tree<'_, P, R>
where
    R::Sum: PartialEq,
{
    /// Reads every node and checks that it is where it belongs: levels, the order of keys within and
    /// across nodes, separators, and every sum against its entries.
    ///
    /// # Errors
    /// `Corrupt` with the first node that is wrong, and those of the source.
    pub fn verify(&self) -> Result<TreeShape> {
        let mut shape = TreeShape::default();
        if let (Some(at), Some(level)) = (self.root.node, self.root.height.checked_sub(1)) {
            self.verify_node(at, level, Between(None, None), &mut shape)?;
        }
        Ok(shape)
    }

    /// Checks a subtree and returns its sum.
    fn verify_node(
        &self,
        at: NodeRef,
        level: u8,
        between: Between<'_>,
        shape: &mut TreeShape,
    ) -> Result<R::Sum> {
        let page = self.pages.node(at)?;
        let node = self.check(at, Node::open(&page, level))?;
        shape.node_bytes = shape.node_bytes.saturating_add(u64::from(at.len));
        shape.largest_node_bytes = shape.largest_node_bytes.max(at.len);
        if level == 0 {
            self.verify_leaf(at, &node, between, shape)
        } else {
            self.verify_inner(at, level, &node, between, shape)
        }
    }

    fn verify_leaf(
        &self,
        at: NodeRef,
        node: &Node<'_>,
        Between(from, to): Between<'_>,
        shape: &mut TreeShape,
    ) -> Result<R::Sum> {
        shape.leaves += 1;
        let (mut key, mut before) = (Vec::new(), Vec::new());
        for index in 0..node.count() {
            shape.entries += 1;
            self.check(at, node.read_key(index, &mut key))?;
            if (index > 0 && before >= key)
                || from.is_some_and(|from| &key[..] < from)
                || to.is_some_and(|to| &key[..] >= to)
            {
                return Err(self.pages.corrupt(at, "a key is out of place"));
            }
            self.check(at, node.entry(index))?;
            std::mem::swap(&mut key, &mut before);
        }
        self.leaf_sum(at, node, 0..node.count())
    }

    fn verify_inner(
        &self,
        at: NodeRef,
        level: u8,
        node: &Node<'_>,
        Between(mut from, to): Between<'_>,
        shape: &mut TreeShape,
    ) -> Result<R::Sum> {
        shape.inner_nodes += 1;
        let (mut key, mut next) = (Vec::new(), Vec::new());
        let mut sums = Vec::with_capacity(node.count());
        for index in 0..node.count() {
            let upper = if index + 1 < node.count() {
                self.check(at, node.read_key(index + 1, &mut next))?;
                Some(&next[..])
            } else {
                to
            };
            if let (Some(from), Some(upper)) = (from, upper)
                && from >= upper
            {
                return Err(self.pages.corrupt(at, "a separator is out of place"));
            }
            let value = self.check(at, node.entry(index))?.value;
            let (child, sum) = self.check(at, split_child(value))?;
            let stored = self.check(at, self.reduce.decode(sum))?;
            let counted = self.verify_node(child, level - 1, Between(from, upper), shape)?;
            if counted != stored {
                return Err(self.pages.corrupt(at, "a sum is wrong"));
            }
            sums.push(sum);
            std::mem::swap(&mut key, &mut next);
            from = Some(&key[..]);
        }
        self.check(at, self.reduce.sum_stored(&mut sums.into_iter()))
    }
}
