//! References to nodes, and the root that stands for a whole tree.

use crate::store::BlobRef;

/// Highest tree there can be. Inner nodes have at least two children, so this is never reached by
/// writing; a file that claims more is damaged.
pub const MAX_HEIGHT: u8 = 40;

/// Where a node is, how long it is and what its bytes must sum up to. The checksum is kept by whoever
/// refers to the node, so that lost, torn and misdirected writes are found by the first reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeRef {
    /// Byte offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u32,
    /// CRC-32 of the node's bytes.
    pub crc: u32,
}

impl NodeRef {
    /// Length of the encoded form.
    pub const ENCODED_BYTES: usize = BlobRef::ENCODED_BYTES;

    /// The form in which a reference is stored: that of a blob's, which says the same things.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::ENCODED_BYTES] {
        BlobRef { offset: self.offset, len: self.len, crc: self.crc }.to_bytes()
    }

    /// Reads [`NodeRef::to_bytes`] back from the start of `bytes`; `None` if they are too few.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let BlobRef { offset, len, crc } = BlobRef::from_bytes(bytes)?;
        Some(NodeRef { offset, len, crc })
    }
}

/// A whole tree: its topmost node and how many levels there are. Roots are values; a tree that is
/// written to gets another root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Root {
    /// The topmost node; `None` for the empty tree.
    pub node: Option<NodeRef>,
    /// Levels of nodes: 0 for the empty tree, 1 when the topmost node is a leaf.
    pub height: u8,
}

impl Root {
    /// Length of the encoded form.
    pub const ENCODED_BYTES: usize = 1 + NodeRef::ENCODED_BYTES;
    /// The tree without entries.
    pub const EMPTY: Root = Root { node: None, height: 0 };

    /// The form in which a root is stored: the height, then the reference (zeros for the empty tree).
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::ENCODED_BYTES] {
        let mut out = [0; Self::ENCODED_BYTES];
        if let Some(node) = self.node {
            out[0] = self.height;
            out[1..].copy_from_slice(&node.to_bytes());
        }
        out
    }

    /// Reads [`Root::to_bytes`] back; `None` if the bytes are no root.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&height, node) = bytes.split_first()?;
        match height {
            0 => node.iter().all(|&byte| byte == 0).then_some(Root::EMPTY),
            1..=MAX_HEIGHT => Some(Root { node: Some(NodeRef::from_bytes(node)?), height }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_and_references_read_back() {
        let node = NodeRef { offset: 0x0102_0304_0506_0708, len: 77, crc: 0xdead_beef };
        assert_eq!(NodeRef::from_bytes(&node.to_bytes()), Some(node));
        assert_eq!(NodeRef::from_bytes(&node.to_bytes()[..15]), None);
        for root in [Root::EMPTY, Root { node: Some(node), height: 3 }] {
            assert_eq!(Root::from_bytes(&root.to_bytes()), Some(root));
        }
        let mut high = Root { node: Some(node), height: 3 }.to_bytes();
        high[0] = MAX_HEIGHT + 1;
        assert_eq!(Root::from_bytes(&high), None);
        high[0] = 0;
        assert_eq!(Root::from_bytes(&high), None);
    }
}
