//! Building a tree in one pass, and merging changes into one.

use super::{
    NodeRef, Page, Pages, Reduce, Root, Sink,
    levels::{Flaw, Levels},
    node::{Node, split_child},
    pending::{Pending, max_bytes},
};
use crate::{
    error::{Error, Result},
    store::{MAX_KEY_BYTES, MAX_VALUE_BYTES},
};

/// Longest key of an entry, in bytes: what the store allows, and room for what an index puts before it.
pub const MAX_ENTRY_KEY_BYTES: usize = 3 * MAX_KEY_BYTES + 1024;
/// Longest value of an entry, in bytes: what the store allows, and room for what an index adds to it.
pub const MAX_ENTRY_VALUE_BYTES: usize = 2 * MAX_VALUE_BYTES;

/// Builds a tree from entries in ascending order of their keys, bottom up, with full nodes.
///
/// ```
/// use settee_storage::tree::{Builder, CountEntries, NodeBuffer, Tree};
///
/// let mut nodes = NodeBuffer::default();
/// let mut builder = Builder::new(CountEntries, &mut nodes);
/// for number in 0..1000u32 {
///     builder.push(&number.to_be_bytes(), b"value")?;
/// }
/// let root = builder.finish()?;
/// assert_eq!(Tree::new(&nodes, root, CountEntries).total()?, 1000);
/// # Ok::<(), settee_storage::Error>(())
/// ```
#[derive(Debug)]
pub struct Builder<'s, R, S: ?Sized> {
    levels: Levels<'s, R, S>,
}

impl<'s, R: Reduce, S: Sink + ?Sized> Builder<'s, R, S> {
    /// An empty tree in the making.
    pub fn new(reduce: R, sink: &'s mut S) -> Self {
        Builder { levels: Levels::new(reduce, sink) }
    }

    /// Adds an entry; its key must be greater than the one before.
    ///
    /// # Errors
    /// `Invalid` if it is not, `TooLarge`, and those of the sink. The builder is of no use afterwards.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_size(key, value)?;
        self.levels.push(key, value).map_err(blame_caller)
    }

    /// Writes what is left and returns the tree.
    ///
    /// # Errors
    /// `Invalid` for values that the reduction cannot read, and those of the sink.
    pub fn finish(mut self) -> Result<Root> {
        let mut level = 0;
        while level < self.levels.height() {
            if let Some(root) = self.levels.close(level).map_err(blame_caller)? {
                return Ok(root);
            }
            level += 1;
        }
        Ok(Root::EMPTY)
    }
}

fn blame_caller(flaw: Flaw) -> Error {
    match flaw {
        Flaw::Malformed(what) => Error::Invalid { what },
        Flaw::Store(error) => error,
    }
}

fn check_size(key: &[u8], value: &[u8]) -> Result<()> {
    check_len("a key", key, MAX_ENTRY_KEY_BYTES)?;
    check_len("a value", value, MAX_ENTRY_VALUE_BYTES)
}

fn check_len(what: &'static str, bytes: &[u8], limit: usize) -> Result<()> {
    if bytes.len() <= limit {
        return Ok(());
    }
    let wide = |number| u64::try_from(number).unwrap_or(u64::MAX);
    Err(Error::TooLarge { what, size: wide(bytes.len()), limit: wide(limit) })
}

/// Builds a tree from sorted entries; see [`Builder`] for sources that lend or fail.
///
/// # Errors
/// Those of [`Builder::push`] and [`Builder::finish`].
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

/// Applies changes (`None` removes, also what is not there) in ascending order of their keys and returns
/// the new tree. Subtrees without changes are kept by reference, except small neighbours of what shrank,
/// which are joined with it. The old tree stays as readable as before.
///
/// ```
/// use settee_storage::tree::{NoSum, NodeBuffer, Tree, build, merge};
///
/// let mut nodes = NodeBuffer::default();
/// let old = build([("a", "1"), ("b", "2")], NoSum, &mut nodes)?;
/// let mut more = nodes.next();
/// let new = merge(&nodes, old, NoSum, [("a", None), ("c", Some("3"))], &mut more)?;
/// nodes.absorb(&more);
/// assert_eq!(Tree::new(&nodes, new, NoSum).get(b"a")?.as_deref(), None);
/// assert_eq!(Tree::new(&nodes, old, NoSum).get(b"a")?.as_deref(), Some(&b"1"[..]));
/// # Ok::<(), settee_storage::Error>(())
/// ```
///
/// # Errors
/// `Invalid` for changes out of order or that the reduction cannot read, `TooLarge`, `Corrupt` where the
/// old tree makes no sense, and those of source and sink. Nodes already written are then garbage.
pub fn merge<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    pages: &(impl Pages + ?Sized),
    root: Root,
    reduce: impl Reduce,
    changes: impl IntoIterator<Item = (K, Option<V>)>,
    sink: &mut (impl Sink + ?Sized),
) -> Result<Root> {
    let mut changes = Changes { rest: changes.into_iter(), next: None };
    changes.advance(&reduce)?;
    if changes.next.is_none() {
        return Ok(root);
    }
    let mut merge = Merge { pages, levels: Levels::new(reduce, sink), changes };
    let merged = merge.run(root);
    merged.map_err(|flaw| match (flaw, root.node) {
        // The changes were checked one by one, so what makes no sense is in the old tree.
        (Flaw::Malformed(what), Some(at)) => pages.corrupt(at, what),
        (flaw, _) => blame_caller(flaw),
    })
}

/// The changes still to apply.
struct Changes<I, K, V> {
    rest: I,
    next: Option<(K, Option<V>)>,
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>, I: Iterator<Item = (K, Option<V>)>> Changes<I, K, V> {
    /// Moves to the next change, having checked it.
    fn advance(&mut self, reduce: &impl Reduce) -> Result<()> {
        let done = self.next.take();
        let Some((key, value)) = self.rest.next() else { return Ok(()) };
        if done.is_some_and(|(before, _)| before.as_ref() >= key.as_ref()) {
            return Err(Error::Invalid { what: "changes are not in ascending order" });
        }
        if let Some(value) = &value {
            check_size(key.as_ref(), value.as_ref())?;
            reduce
                .check(key.as_ref(), value.as_ref())
                .map_err(|malformed| Error::Invalid { what: malformed.0 })?;
        }
        self.next = Some((key, value));
        Ok(())
    }

    /// Whether the next change belongs before `upper`.
    fn any_below(&self, upper: Option<&[u8]>) -> bool {
        match (&self.next, upper) {
            (Some((key, _)), Some(upper)) => key.as_ref() < upper,
            (next, _) => next.is_some(),
        }
    }
}

/// A child as its parent describes it.
#[derive(Clone, Copy)]
struct Child<'c> {
    level: u8,
    separator: &'c [u8],
    /// Reference and sum.
    value: &'c [u8],
}

struct Merge<'m, P: ?Sized, R, S: ?Sized, I, K, V> {
    pages: &'m P,
    levels: Levels<'m, R, S>,
    changes: Changes<I, K, V>,
}

impl<P, R, S, I, K, V> Merge<'_, P, R, S, I, K, V>
where
    P: Pages + ?Sized,
    R: Reduce,
    S: Sink + ?Sized,
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
    I: Iterator<Item = (K, Option<V>)>,
{
    fn run(&mut self, root: Root) -> Result<Root, Flaw> {
        match (root.node, root.height.checked_sub(1)) {
            (Some(at), Some(level)) => self.change(at, level, &[], None)?,
            _ => self.apply_below(None, |_, _| Ok(()))?,
        }
        let mut level = 0;
        while level < self.levels.height() {
            if self.levels.at(level).is_underfull() {
                self.join_left(level)?;
            }
            if let Some(root) = self.levels.close(level)? {
                return Ok(root);
            }
            level += 1;
        }
        Ok(Root::EMPTY)
    }

    /// Takes over a subtree, with the changes that belong below `upper`.
    fn subtree(&mut self, child: Child<'_>, upper: Option<&[u8]>) -> Result<(), Flaw> {
        if self.changes.any_below(upper) {
            let (at, _) = split_child(child.value)?;
            self.change(at, child.level, child.separator, upper)
        } else {
            self.keep(child)
        }
    }

    /// Takes over the content of a node, with the changes that belong below `upper`.
    fn change(
        &mut self,
        at: NodeRef,
        level: u8,
        separator: &[u8],
        upper: Option<&[u8]>,
    ) -> Result<(), Flaw> {
        let page = self.pages.node(at)?;
        let node = self.open(&page, at, level)?;
        if level == 0 {
            self.levels.begin_leaf(separator);
            return self.change_leaf(&node, upper);
        }
        self.each_child(&node, level, |merge, child, next| merge.subtree(child, next.or(upper)))
    }

    /// Calls `visit` for every child of a node, with the separator of the child after it.
    fn each_child(
        &mut self,
        node: &Node<'_>,
        level: u8,
        mut visit: impl FnMut(&mut Self, Child<'_>, Option<&[u8]>) -> Result<(), Flaw>,
    ) -> Result<(), Flaw> {
        let (mut separator, mut next) = (Vec::new(), Vec::new());
        node.read_key(0, &mut separator)?;
        for index in 0..node.count() {
            let upper = if index + 1 < node.count() {
                node.read_key(index + 1, &mut next)?;
                Some(&next[..])
            } else {
                None
            };
            let value = node.entry(index)?.value;
            visit(self, Child { level: level - 1, separator: &separator, value }, upper)?;
            std::mem::swap(&mut separator, &mut next);
        }
        Ok(())
    }

    fn change_leaf(&mut self, node: &Node<'_>, upper: Option<&[u8]>) -> Result<(), Flaw> {
        let mut done = 0;
        self.apply_below(upper, |levels, key| {
            let found = node.search(key)?;
            let (Ok(index) | Err(index)) = found;
            levels.pour(0, node, done..index)?;
            done = done.max(index + usize::from(found.is_ok()));
            Ok(())
        })?;
        self.levels.pour(0, node, done..node.count())
    }

    /// Adds what the changes below `upper` put, calling `before` with the key of each change first.
    fn apply_below(
        &mut self,
        upper: Option<&[u8]>,
        mut before: impl FnMut(&mut Levels<'_, R, S>, &[u8]) -> Result<(), Flaw>,
    ) -> Result<(), Flaw> {
        while self.changes.any_below(upper)
            && let Some((key, value)) = &self.changes.next
        {
            before(&mut self.levels, key.as_ref())?;
            if let Some(value) = value {
                self.levels.push(key.as_ref(), value.as_ref())?;
            }
            self.changes.advance(self.levels.reduce())?;
        }
        Ok(())
    }

    /// Takes over a subtree without changes: by reference, unless what waits before it is too little for
    /// nodes of its own; then its first nodes are joined with that.
    fn keep(&mut self, child: Child<'_>) -> Result<(), Flaw> {
        for level in 0..=child.level {
            if self.levels.at(level).is_underfull() && is_joinable(child)? {
                return self.open_kept(child);
            }
            self.levels.flush(level, false)?;
        }
        self.levels.push_child(child.level + 1, child.separator, child.value)
    }

    fn open_kept(&mut self, child: Child<'_>) -> Result<(), Flaw> {
        let (at, _) = split_child(child.value)?;
        let page = self.pages.node(at)?;
        let node = self.open(&page, at, child.level)?;
        if child.level == 0 {
            self.levels.begin_leaf(child.separator);
            return self.levels.pour(0, &node, 0..node.count());
        }
        self.each_child(&node, child.level, |merge, child, _| merge.keep(child))
    }

    /// At the right end there is no neighbour to the right: joins what waits at a level with the node on
    /// its left, opening the subtree that holds it.
    fn join_left(&mut self, level: u8) -> Result<(), Flaw> {
        while let Some(above) = self.levels.next_above(level) {
            let Some((separator, value, fresh)) = self.levels.at(above).last() else { break };
            let left = Child { level: above - 1, separator, value };
            if fresh || !is_joinable(left)? {
                break;
            }
            let (at, _) = split_child(value)?;
            let separator = separator.to_vec();
            self.levels.at(above).pop();
            let page = self.pages.node(at)?;
            let node = self.open(&page, at, above - 1)?;
            let empty = Pending::new(above - 1);
            let right = std::mem::replace(self.levels.at(above - 1), empty);
            if above == 1 {
                self.levels.begin_leaf(&separator);
            }
            self.levels.pour(above - 1, &node, 0..node.count())?;
            self.levels.push_back(above - 1, &right)?;
        }
        Ok(())
    }

    fn open<'n>(&self, page: &'n Page<'_>, at: NodeRef, level: u8) -> Result<Node<'n>, Error> {
        Node::open(page, level).map_err(|malformed| self.pages.corrupt(at, malformed.0))
    }
}

/// An entry that is too large for a normal node is not copied for the sake of a small neighbour.
fn is_joinable(child: Child<'_>) -> Result<bool, Flaw> {
    let (at, _) = split_child(child.value)?;
    Ok(usize::try_from(at.len).is_ok_and(|len| len <= 2 * max_bytes(child.level)))
}
