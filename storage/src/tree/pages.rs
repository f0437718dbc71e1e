//! Where nodes come from, and where they go.

use std::{ops::Deref, path::PathBuf, sync::Arc};

use super::NodeRef;
use crate::error::{Error, Result};

/// The source of node bytes: a map, a file behind a cache, a buffer.
pub trait Pages {
    /// The bytes of a node, their length and checksum verified.
    fn node(&self, at: NodeRef) -> Result<Page<'_>>;
    /// The error for a node whose checksum is right but whose content makes no sense.
    fn corrupt(&self, at: NodeRef, what: &'static str) -> Error;
}

/// The bytes of one node.
#[derive(Clone, Debug)]
pub enum Page<'p> {
    /// Borrowed from the source.
    Borrowed(&'p [u8]),
    /// Shared with a cache.
    Shared(Arc<[u8]>),
}

impl Deref for Page<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Page::Borrowed(bytes) => bytes,
            Page::Shared(bytes) => bytes,
        }
    }
}

/// The destination of new nodes.
pub trait Sink {
    /// Takes a node and says where it will be found.
    fn append(&mut self, node: &[u8]) -> Result<NodeRef>;
}

/// Nodes in memory, as source and destination: for tests, benches and trees that are not kept.
///
/// ```
/// use settee_storage::tree::{NoSum, NodeBuffer, Tree, build};
///
/// let mut nodes = NodeBuffer::default();
/// let root = build([("a", "1"), ("b", "2")], NoSum, &mut nodes)?;
/// let tree = Tree::new(&nodes, root, NoSum);
/// assert_eq!(tree.get(b"b")?.as_deref(), Some(&b"2"[..]));
/// # Ok::<(), settee_storage::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct NodeBuffer {
    bytes: Vec<u8>,
    start: u64,
}

impl NodeBuffer {
    /// An empty buffer whose nodes will stand behind those of `self`. What is merged into it is added
    /// by [`NodeBuffer::absorb`].
    #[must_use]
    pub fn next(&self) -> NodeBuffer {
        NodeBuffer { bytes: Vec::new(), start: self.end() }
    }

    /// Takes over the nodes of a buffer made by [`NodeBuffer::next`].
    ///
    /// # Panics
    /// If something was appended in between.
    pub fn absorb(&mut self, next: &NodeBuffer) {
        assert_eq!(next.start, self.end(), "the buffers do not follow each other");
        self.bytes.extend_from_slice(&next.bytes);
    }

    /// Bytes of all nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn end(&self) -> u64 {
        self.start + u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }

    fn slice(&self, at: NodeRef) -> Option<&[u8]> {
        let start = usize::try_from(at.offset.checked_sub(self.start)?).ok()?;
        let len = usize::try_from(at.len).ok()?;
        self.bytes.get(start..start.checked_add(len)?)
    }
}

impl Pages for NodeBuffer {
    fn node(&self, at: NodeRef) -> Result<Page<'_>> {
        let bytes = self.slice(at).ok_or_else(|| self.corrupt(at, "no node is here"))?;
        if cfg!(debug_assertions) && crc32fast::hash(bytes) != at.crc {
            return Err(self.corrupt(at, "the checksum of a node does not match"));
        }
        Ok(Page::Borrowed(bytes))
    }

    fn corrupt(&self, at: NodeRef, what: &'static str) -> Error {
        Error::Corrupt { path: PathBuf::from("(memory)"), offset: at.offset, what }
    }
}

impl Sink for NodeBuffer {
    fn append(&mut self, node: &[u8]) -> Result<NodeRef> {
        let len = u32::try_from(node.len()).map_err(|_| Error::TooLarge {
            what: "a node",
            size: u64::try_from(node.len()).unwrap_or(u64::MAX),
            limit: u64::from(u32::MAX),
        })?;
        let at = NodeRef { offset: self.end(), len, crc: crc32fast::hash(node) };
        self.bytes.extend_from_slice(node);
        Ok(at)
    }
}
