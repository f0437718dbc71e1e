//! Walking a range.

use std::ops::Range;

use super::{Malformed, NodeRef, Page, Pages, Root, node::Node, read::Bounds};
use crate::{
    error::Result,
    store::{Direction, KeyRange},
};

/// Walks the entries of a range, in either direction. Made by [`Tree::cursor`](super::Tree::cursor).
///
/// The keys it yields are strictly ordered, whatever the nodes contain: a node that would break the
/// order, or make the walk go round in circles, is an error. After an error the cursor is at its end.
#[derive(Debug)]
pub struct Cursor<'p, P: ?Sized> {
    pages: &'p P,
    root: Root,
    range: KeyRange,
    direction: Direction,
    state: State,
    /// Inner nodes from the root down to the parent of the leaf.
    path: Vec<Step<'p>>,
    leaf: Option<Leaf<'p>>,
    key: Vec<u8>,
    /// The key before, for the comparison across leaves.
    previous: Vec<u8>,
    /// Where the value lies in the leaf.
    value: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has been read.
    New,
    /// In the first leaf, before its first row: there is no key before.
    First,
    /// On a row.
    Walking,
    /// At the end or after an error.
    Ended,
}

/// An inner node and the child in which the walk is.
#[derive(Debug)]
struct Step<'p> {
    at: NodeRef,
    level: u8,
    page: Page<'p>,
    child: usize,
}

#[derive(Debug)]
struct Leaf<'p> {
    at: NodeRef,
    page: Page<'p>,
    /// The page opened, unless it is shared with a cache: then it is opened again for each row.
    node: Option<Node<'p>>,
    /// The rows of the range not yet visited.
    rows: Range<usize>,
    /// The range goes no further than this leaf.
    last: bool,
    /// No row of this leaf has been visited.
    untouched: bool,
}

impl<'p, P: Pages + ?Sized> Cursor<'p, P> {
    pub(super) fn new(pages: &'p P, root: Root, range: KeyRange, direction: Direction) -> Self {
        Cursor {
            pages,
            root,
            range,
            direction,
            state: State::New,
            path: Vec::new(),
            leaf: None,
            key: Vec::new(),
            previous: Vec::new(),
            value: 0..0,
        }
    }

    /// Moves on and returns the entry: key and value.
    ///
    /// # Errors
    /// As [`Cursor::advance`].
    #[expect(
        clippy::should_implement_trait,
        reason = "the entry is lent, which Iterator cannot do"
    )]
    pub fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        Ok(if self.advance()? { Some((self.key(), self.value())) } else { None })
    }

    /// Key of the current entry; empty before the first step and after the end.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Value of the current entry; empty before the first step and after the end.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        let leaf = self.leaf.as_ref();
        leaf.and_then(|leaf| leaf.page.get(self.value.clone())).unwrap_or_default()
    }

    /// Moves to the next entry; false at the end of the range. The first step is to the first entry.
    ///
    /// # Errors
    /// `Corrupt` for a node that makes no sense, and those of the source.
    pub fn advance(&mut self) -> Result<bool> {
        let moved = match self.state {
            State::New => self.start(),
            State::Ended => Ok(false),
            State::First | State::Walking => self.step(),
        };
        if !matches!(moved, Ok(true)) {
            self.end();
        }
        moved
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.path.clear();
        self.leaf = None;
        self.key.clear();
    }

    fn start(&mut self) -> Result<bool> {
        let (Some(at), Some(level)) = (self.root.node, self.root.height.checked_sub(1)) else {
            return Ok(false);
        };
        if Bounds::new(&self.range).is_empty() {
            return Ok(false);
        }
        self.descend(at, level, true)?;
        self.state = State::First;
        self.step()
    }

    fn step(&mut self) -> Result<bool> {
        loop {
            let Some(leaf) = &mut self.leaf else { return Ok(false) };
            let row = match self.direction {
                Direction::Forward => leaf.rows.next(),
                Direction::Backward => leaf.rows.next_back(),
            };
            if let Some(row) = row {
                let at = leaf.at;
                return match self.visit(row) {
                    Ok(()) => Ok(true),
                    Err(malformed) => Err(self.pages.corrupt(at, malformed.0)),
                };
            }
            if leaf.last || !self.next_leaf()? {
                return Ok(false);
            }
        }
    }

    /// Makes a row the current one, having made sure that it comes after the one before.
    fn visit(&mut self, row: usize) -> Result<(), Malformed> {
        let Some(leaf) = &mut self.leaf else { return Ok(()) };
        let node = match leaf.node {
            Some(node) => node,
            None => Node::open(&leaf.page, 0)?,
        };
        let entry = node.entry(row)?;
        let ordered = if !leaf.untouched {
            node.change_key(&entry, &mut self.key);
            match self.direction {
                Direction::Forward => node.ascends(row - 1)?,
                Direction::Backward => node.ascends(row)?,
            }
        } else {
            std::mem::swap(&mut self.key, &mut self.previous);
            node.put_key(&entry, &mut self.key);
            match (self.state, self.direction) {
                (State::First, _) => true,
                (_, Direction::Forward) => self.previous < self.key,
                (_, Direction::Backward) => self.previous > self.key,
            }
        };
        if !ordered {
            return Err(Malformed("keys are not in ascending order"));
        }
        self.value = node.range_of(&entry);
        leaf.untouched = false;
        self.state = State::Walking;
        Ok(())
    }

    /// Moves to the leaf after this one; false if there is none.
    fn next_leaf(&mut self) -> Result<bool> {
        while let Some(step) = self.path.last_mut() {
            let (at, level) = (step.at, step.level);
            match step.turn(self.direction) {
                Ok(Some(child)) => {
                    self.descend(child, level - 1, false)?;
                    return Ok(true);
                }
                Ok(None) => {
                    self.path.pop();
                }
                Err(malformed) => return Err(self.pages.corrupt(at, malformed.0)),
            }
        }
        Ok(false)
    }

    /// Goes down to a leaf: towards the near end of the range at first, along the near edge of the
    /// subtree later.
    fn descend(&mut self, mut at: NodeRef, mut level: u8, first: bool) -> Result<()> {
        while level > 0 {
            let page = self.pages.node(at)?;
            let (child, below) = self
                .choose(&page, level, first)
                .map_err(|malformed| self.pages.corrupt(at, malformed.0))?;
            self.path.push(Step { at, level, page, child });
            at = below;
            level -= 1;
        }
        let page = self.pages.node(at)?;
        let (rows, last) =
            self.rows(&page, first).map_err(|malformed| self.pages.corrupt(at, malformed.0))?;
        let node = match page {
            Page::Borrowed(bytes) => Node::open(bytes, 0).ok(),
            Page::Shared(_) => None,
        };
        self.leaf = Some(Leaf { at, page, node, rows, last, untouched: true });
        Ok(())
    }

    fn choose(
        &self,
        page: &Page<'_>,
        level: u8,
        first: bool,
    ) -> Result<(usize, NodeRef), Malformed> {
        let node = Node::open(page, level)?;
        let (low, high) =
            if first { Bounds::new(&self.range).children(&node)? } else { (0, node.count() - 1) };
        let child = match self.direction {
            Direction::Forward => low,
            Direction::Backward => high,
        };
        Ok((child, node.child(child)?.0))
    }

    /// The rows of a leaf in the range, and whether the range ends there.
    fn rows(&self, page: &Page<'_>, first: bool) -> Result<(Range<usize>, bool), Malformed> {
        let node = Node::open(page, 0)?;
        let rows = Bounds::new(&self.range).rows(&node)?;
        let (whole, last) = match self.direction {
            Direction::Forward => (rows.start == 0, rows.end < node.count()),
            Direction::Backward => (rows.end == node.count(), rows.start > 0),
        };
        // Only the first leaf may hold keys before the range. Were this not so, a hostile tree could
        // lead through any number of leaves without a row.
        if first || whole { Ok((rows, last)) } else { Err(Malformed("a leaf is out of place")) }
    }
}

impl Step<'_> {
    /// Moves to the next child; `None` if there is none.
    fn turn(&mut self, direction: Direction) -> Result<Option<NodeRef>, Malformed> {
        let node = Node::open(&self.page, self.level)?;
        let next = match direction {
            Direction::Forward => Some(self.child + 1).filter(|&next| next < node.count()),
            Direction::Backward => self.child.checked_sub(1),
        };
        let Some(next) = next else { return Ok(None) };
        self.child = next;
        Ok(Some(node.child(next)?.0))
    }
}
