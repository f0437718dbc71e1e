//! Building a tree in one pass, and merging changes into one.

use super::{Pages, Reduce, Root, Sink};
use crate::error::Result;

/// Builds a tree from entries in ascending order of their keys.
#[derive(Debug)]
pub struct Builder<'s, R, S: ?Sized> {
    _reduce: R,
    _sink: &'s mut S,
}

impl<'s, R: Reduce, S: Sink + ?Sized> Builder<'s, R, S> {
    /// An empty tree in the making.
    pub fn new(reduce: R, sink: &'s mut S) -> Self {
        Builder { _reduce: reduce, _sink: sink }
    }

    /// Adds an entry; its key must be greater than the one before.
    pub fn push(&mut self, _key: &[u8], _value: &[u8]) -> Result<()> {
        todo!()
    }

    /// Writes what is left and returns the tree.
    pub fn finish(self) -> Result<Root> {
        todo!()
    }
}

/// Builds a tree from sorted entries, bottom up, with full nodes.
pub fn build<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    entries: impl IntoIterator<Item = (K, V)>,
    reduce: impl Reduce,
    sink: &mut (impl Sink + ?Sized),
) -> Result<Root> {
    let mut builder = Builder::new(reduce, sink);
    for (key, value) in entries {
        builder.push(key.as_ref(), value.as_ref())?;
    }
    builder.finish()
}

/// Applies changes (`None` removes) in ascending order of their keys and returns the new tree. Subtrees
/// without changes are kept by reference.
pub fn merge<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    _pages: &(impl Pages + ?Sized),
    _root: Root,
    _reduce: impl Reduce,
    _changes: impl IntoIterator<Item = (K, Option<V>)>,
    _sink: &mut (impl Sink + ?Sized),
) -> Result<Root> {
    todo!()
}
