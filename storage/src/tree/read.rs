//! Reading points and sums.

use std::{
    ops::{Bound, Deref, Range},
    sync::Arc,
};

use super::{Cursor, Malformed, NodeRef, Page, Pages, Reduce, Root, node::Node};
use crate::{
    error::Result,
    store::{Direction, KeyRange, Value},
};

/// A tree to read. Cheap to make: a reference, a root and how to sum.
///
/// ```
/// use settee_storage::{Direction, KeyRange, tree::{CountEntries, NodeBuffer, Tree, build}};
///
/// let mut nodes = NodeBuffer::default();
/// let entries = [("anna", "1"), ("bert", "2"), ("carla", "3")];
/// let root = build(entries, CountEntries, &mut nodes)?;
///
/// let tree = Tree::new(&nodes, root, CountEntries);
/// assert_eq!(tree.get(b"bert")?.as_deref(), Some(&b"2"[..]));
/// assert_eq!(tree.sum(&KeyRange::prefix(b"b"))?, 1);
/// let mut cursor = tree.cursor(&KeyRange::all(), Direction::Backward);
/// assert_eq!(cursor.next()?, Some((&b"carla"[..], &b"3"[..])));
/// # Ok::<(), settee_storage::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Tree<'p, P: ?Sized, R> {
    pub(super) pages: &'p P,
    pub(super) root: Root,
    pub(super) reduce: R,
}

/// A value found in a tree; it keeps the node's bytes as long as it lives.
#[derive(Clone, Debug)]
pub enum TreeValue<'p> {
    /// Borrowed from the source of nodes.
    Borrowed(&'p [u8]),
    /// Part of a node shared with a cache.
    Shared(Arc<[u8]>, Range<usize>),
}

impl<'p> TreeValue<'p> {
    fn new(page: Page<'p>, range: Range<usize>) -> Self {
        match page {
            Page::Borrowed(bytes) => TreeValue::Borrowed(bytes.get(range).unwrap_or_default()),
            Page::Shared(bytes) => TreeValue::Shared(bytes, range),
        }
    }
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
    ///
    /// # Errors
    /// `Corrupt` for a node that makes no sense, and those of the source.
    pub fn get(&self, key: &[u8]) -> Result<Option<TreeValue<'p>>> {
        let Some(leaf) = self.leaf_of(key)? else { return Ok(None) };
        let page = self.pages.node(leaf)?;
        let found = self.check(leaf, find_value(&page, key))?;
        Ok(found.map(|(_, range)| TreeValue::new(page, range)))
    }

    /// The value of a key that may well follow the one that was found before. Spares the way down to whoever reads
    /// many keys of which neighbours come one after the other.
    ///
    /// # Errors
    /// As [`Tree::get`].
    pub fn get_near(&self, key: &[u8], near: &mut Near) -> Result<Option<TreeValue<'p>>> {
        if let Some((leaf, before)) = near.0 {
            let page = self.pages.node(leaf)?;
            let next = before + 1;
            if let Some(range) = self.check(leaf, value_at(&page, next, key))? {
                near.0 = Some((leaf, next));
                return Ok(Some(TreeValue::new(page, range)));
            }
        }
        let Some(leaf) = self.leaf_of(key)? else { return Ok(None) };
        let page = self.pages.node(leaf)?;
        let found = self.check(leaf, find_value(&page, key))?;
        near.0 = found.as_ref().map(|(index, _)| (leaf, *index));
        Ok(found.map(|(_, range)| TreeValue::new(page, range)))
    }

    /// The leaf in which a key would be.
    #[inline]
    fn leaf_of(&self, key: &[u8]) -> Result<Option<NodeRef>> {
        let Some(mut at) = self.root.node else { return Ok(None) };
        for level in (1..self.root.height).rev() {
            let page = self.pages.node(at)?;
            at = self.check(at, next_child(&page, level, key))?;
        }
        Ok(Some(at))
    }

    /// The sum of all entries.
    ///
    /// # Errors
    /// As [`Tree::get`].
    pub fn total(&self) -> Result<R::Sum> {
        self.sum(&KeyRange::all())
    }

    /// The sum of the entries in a range. Reads the two edges of the range, whatever lies between.
    ///
    /// # Errors
    /// As [`Tree::get`].
    pub fn sum(&self, range: &KeyRange) -> Result<R::Sum> {
        let mut total = R::Sum::default();
        if let (Some(at), Some(level)) = (self.root.node, self.root.height.checked_sub(1)) {
            let bounds = Bounds::new(range);
            if !bounds.is_empty() {
                self.add_sum(at, level, bounds, &mut total)?;
            }
        }
        Ok(total)
    }

    /// Walks a range. Nothing is read before the first step.
    pub fn cursor(&self, range: &KeyRange, direction: Direction) -> Cursor<'p, P> {
        Cursor::new(self.pages, self.root, range.clone(), direction)
    }

    fn add_sum(
        &self,
        at: NodeRef,
        level: u8,
        bounds: Bounds<'_>,
        total: &mut R::Sum,
    ) -> Result<()> {
        let page = self.pages.node(at)?;
        let node = self.check(at, Node::open(&page, level))?;
        if level == 0 {
            let rows = self.check(at, bounds.rows(&node))?;
            if !rows.is_empty() {
                self.reduce.add(total, &self.leaf_sum(at, &node, rows)?);
            }
            return Ok(());
        }
        let (first, last) = self.check(at, bounds.children(&node))?;
        for index in first..=last {
            let (child, sum) = self.check(at, node.child(index))?;
            // What lies between the edges needs no bounds, so its sum is that of the reference.
            let inner = bounds.narrow(index == first, index == last);
            if inner.is_all() {
                self.reduce.add(total, &self.check(at, self.reduce.decode(sum))?);
            } else {
                self.add_sum(child, level - 1, inner, total)?;
            }
        }
        Ok(())
    }

    /// The sum of some rows of a leaf.
    pub(super) fn leaf_sum(
        &self,
        at: NodeRef,
        node: &Node<'_>,
        rows: Range<usize>,
    ) -> Result<R::Sum> {
        let mut arena = Vec::new();
        let mut entries = Vec::with_capacity(rows.len());
        for index in rows {
            let (prefix, entry) = (node.prefix(), self.check(at, node.entry(index))?);
            let start = arena.len();
            let (head, rest) = entry.suffix();
            for piece in [prefix, head, rest] {
                arena.extend_from_slice(piece);
            }
            entries.push((start..arena.len(), entry.value));
        }
        let mut entries =
            entries.into_iter().map(|(key, value)| (arena.get(key).unwrap_or_default(), value));
        self.check(at, self.reduce.sum_entries(&mut entries))
    }

    pub(super) fn check<T>(&self, at: NodeRef, result: Result<T, Malformed>) -> Result<T> {
        result.map_err(|malformed| self.pages.corrupt(at, malformed.0))
    }
}

fn next_child(page: &Page<'_>, level: u8, key: &[u8]) -> Result<NodeRef, Malformed> {
    let node = Node::open(page, level)?;
    Ok(node.child(node.child_index(key)?)?.0)
}

/// Where a key stands in a leaf, and its value.
fn find_value(page: &Page<'_>, key: &[u8]) -> Result<Option<(usize, Range<usize>)>, Malformed> {
    let node = Node::open(page, 0)?;
    match node.search(key)? {
        Ok(index) => Ok(Some((index, node.value_range(index)?))),
        Err(_) => Ok(None),
    }
}

/// The value at a place of a leaf, if it is that of a key.
fn value_at(page: &Page<'_>, index: usize, key: &[u8]) -> Result<Option<Range<usize>>, Malformed> {
    let node = Node::open(page, 0)?;
    match index < node.count() && node.has_key(index, key)? {
        true => node.value_range(index).map(Some),
        false => Ok(None),
    }
}

/// Where a key was found: the next one may be beside it. Of use with one tree only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Near(Option<(NodeRef, usize)>);

/// The ends of a range of keys, borrowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<'k> {
    start: Bound<&'k [u8]>,
    end: Bound<&'k [u8]>,
}

impl<'k> Bounds<'k> {
    pub(super) fn new(range: &'k KeyRange) -> Self {
        Bounds {
            start: range.start.as_ref().map(Vec::as_slice),
            end: range.end.as_ref().map(Vec::as_slice),
        }
    }

    /// No key can be in it.
    pub(super) fn is_empty(&self) -> bool {
        match (self.start, self.end) {
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (
                Bound::Included(start) | Bound::Excluded(start),
                Bound::Included(end) | Bound::Excluded(end),
            ) => start >= end,
            _ => false,
        }
    }

    pub(super) fn is_all(&self) -> bool {
        matches!((self.start, self.end), (Bound::Unbounded, Bound::Unbounded))
    }

    /// The ends that matter to the first, the last, or a child between.
    pub(super) fn narrow(&self, first: bool, last: bool) -> Bounds<'k> {
        Bounds {
            start: if first { self.start } else { Bound::Unbounded },
            end: if last { self.end } else { Bound::Unbounded },
        }
    }

    /// The first and the last child that can have keys in the range.
    pub(super) fn children(&self, node: &Node<'_>) -> Result<(usize, usize), Malformed> {
        let first = match self.start {
            Bound::Unbounded => 0,
            Bound::Included(key) | Bound::Excluded(key) => node.child_index(key)?,
        };
        let last = match self.end {
            Bound::Unbounded => node.count() - 1,
            Bound::Included(key) | Bound::Excluded(key) => node.child_index(key)?,
        };
        Ok((first, last))
    }

    /// The rows of a leaf in the range.
    pub(super) fn rows(&self, node: &Node<'_>) -> Result<Range<usize>, Malformed> {
        let start = match self.start {
            Bound::Unbounded => 0,
            Bound::Included(key) => node.search(key)?.unwrap_or_else(|greater| greater),
            Bound::Excluded(key) => node.search(key)?.map_or_else(|greater| greater, |at| at + 1),
        };
        let end = match self.end {
            Bound::Unbounded => node.count(),
            Bound::Included(key) => node.search(key)?.map_or_else(|greater| greater, |at| at + 1),
            Bound::Excluded(key) => node.search(key)?.unwrap_or_else(|greater| greater),
        };
        Ok(start..end)
    }
}
