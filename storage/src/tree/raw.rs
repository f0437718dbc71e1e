//! Nodes as they are written, one behind the other, for tools that print them.

use super::{
    Malformed, NodeRef,
    node::{self, Node, split_child},
};

/// A node found at the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawNode<'n> {
    pub(crate) level: u8,
    pub(crate) bytes: &'n [u8],
    node: Node<'n>,
}

/// What the value of an entry is.
pub(crate) enum RawValue<'n> {
    /// The row of a leaf.
    Row(&'n [u8]),
    /// A child and its sum.
    Child(NodeRef, &'n [u8]),
}

impl<'n> RawNode<'n> {
    /// The first node in `bytes`; `None` if there is none.
    pub(crate) fn first(bytes: &'n [u8]) -> Option<Self> {
        let level = *bytes.first()?;
        let bytes = bytes.get(..node::length(bytes)?)?;
        Some(RawNode { level, bytes, node: Node::open(bytes, level).ok()? })
    }

    pub(crate) fn prefix(&self) -> &'n [u8] {
        self.node.prefix()
    }

    pub(crate) fn count(&self) -> usize {
        self.node.count()
    }

    /// Key and value of an entry.
    pub(crate) fn entry(&self, index: usize) -> Result<(Vec<u8>, RawValue<'n>), Malformed> {
        let mut key = Vec::new();
        self.node.read_key(index, &mut key)?;
        let value = self.node.entry(index)?.value;
        let value = match self.level {
            0 => RawValue::Row(value),
            _ => split_child(value).map(|(child, sum)| RawValue::Child(child, sum))?,
        };
        Ok((key, value))
    }
}
