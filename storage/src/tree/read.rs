//! Reading points and sums.

use std::{ops::Deref, ops::Range, sync::Arc};

use super::{Cursor, Pages, Reduce, Root};
use crate::{
    error::Result,
    store::{Direction, KeyRange, Value},
};

/// A tree to read.
#[derive(Debug)]
pub struct Tree<'p, P: ?Sized, R> {
    pages: &'p P,
    root: Root,
    reduce: R,
}

/// A value found in a tree; it keeps the node's bytes as long as it lives.
#[derive(Clone, Debug)]
pub enum TreeValue<'p> {
    /// Borrowed from the source of nodes.
    Borrowed(&'p [u8]),
    /// Part of a node shared with a cache.
    Shared(Arc<[u8]>, Range<usize>),
}

impl Deref for TreeValue<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            TreeValue::Borrowed(bytes) => bytes,
            TreeValue::Shared(page, range) => page.get(range.clone()).unwrap_or_default(),
        }
    }
}

impl<'p> From<TreeValue<'p>> for Value<'p> {
    fn from(value: TreeValue<'p>) -> Self {
        match value {
            TreeValue::Borrowed(bytes) => Value::Borrowed(bytes),
            TreeValue::Shared(..) => Value::Owned(value.to_vec()),
        }
    }
}

impl<'p, P: Pages + ?Sized, R: Reduce> Tree<'p, P, R> {
    /// The tree with this root.
    pub fn new(pages: &'p P, root: Root, reduce: R) -> Self {
        Tree { pages, root, reduce }
    }

    /// The value of a key.
    pub fn get(&self, _key: &[u8]) -> Result<Option<TreeValue<'p>>> {
        todo!()
    }

    /// The sum of all entries.
    pub fn total(&self) -> Result<R::Sum> {
        todo!()
    }

    /// The sum of the entries in a range.
    pub fn sum(&self, _range: &KeyRange) -> Result<R::Sum> {
        todo!()
    }

    /// Walks a range.
    pub fn cursor(&self, _range: &KeyRange, _direction: Direction) -> Cursor<'p, P> {
        todo!()
    }
}
