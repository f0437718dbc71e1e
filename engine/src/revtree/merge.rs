//! Adding a history to a tree.
//!
//! A history is aligned with the tree at the oldest generation both know: there the ids must agree,
//! otherwise it becomes a tree of its own. This is CouchDB's rule, to the letter, because the outcome
//! for histories made up by hand (the same revision below different parents) is visible to clients.

use super::{NONE, NodeIndex, RevTree, Stored};
use crate::revision::{Rev, RevId};

/// What adding a history did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// The history's newest revision follows what was a leaf, or is the first of all.
    NewLeaf(NodeIndex),
    /// The history's newest revision is a new leaf beside others: a conflict.
    NewBranch(NodeIndex),
    /// The newest revision was known already. It has taken the body if it had none.
    Known(NodeIndex),
}

impl Merged {
    /// Where the history's newest revision is now.
    #[must_use]
    pub fn node(self) -> NodeIndex {
        match self {
            Merged::NewLeaf(node) | Merged::NewBranch(node) | Merged::Known(node) => node,
        }
    }
}

/// The history to add, with its ids newest first.
struct History<'h> {
    tip: u64,
    ids: &'h [RevId],
}

impl History<'_> {
    fn oldest(&self) -> u64 {
        self.tip - (self.ids.len() as u64 - 1)
    }

    fn id(&self, generation: u64) -> Option<&RevId> {
        let back = self.tip.checked_sub(generation)?;
        self.ids.get(usize::try_from(back).ok()?)
    }
}

impl RevTree {
    /// Adds the revision `generation-ids[0]`, whose known ancestors are the further `ids`, newest
    /// first. What is `stored` belongs to the newest revision; a body the tree already has is kept.
    ///
    /// # Panics
    /// If `ids` is empty or longer than `generation`, which [`crate::Document`] refuses to parse.
    pub fn merge(&mut self, generation: u64, ids: &[RevId], stored: Stored) -> Merged {
        assert!(!ids.is_empty() && ids.len() as u64 <= generation.max(1), "not a history");
        let history = History { tip: generation, ids };
        let anchor = (0..self.roots.len()).find_map(|tree| self.align(tree, &history));
        let Some(anchor) = anchor else { return self.add_tree(&history, stored) };
        let merged = self.extend(anchor, &history, stored);
        self.sort_roots();
        merged
    }

    /// Adds one revision below `parent`, which is a node of this tree.
    pub fn add_child(&mut self, parent: NodeIndex, id: RevId, stored: Stored) -> Merged {
        let generation = self.rev(parent).generation;
        let ids = [id, self.rev(parent).id.clone()];
        self.extend(parent.0, &History { tip: generation + 1, ids: &ids }, stored)
    }

    /// The newest node of the tree `tree` from which the history goes on, if the history fits there.
    fn align(&mut self, tree: usize, history: &History<'_>) -> Option<u32> {
        let root = *self.roots.get(tree)?;
        let depth = self.node(root).rev.generation;
        if depth < history.oldest() {
            let first = Rev::new(history.oldest(), history.id(history.oldest())?.clone());
            return self.find_below(root, &first);
        }
        if history.id(depth)? != &self.node(root).rev.id {
            return None;
        }
        let new_root = self.prepend(root, history);
        *self.roots.get_mut(tree)? = new_root;
        Some(root)
    }

    /// Puts the history's revisions older than the root `root` before it; returns the new root.
    fn prepend(&mut self, root: u32, history: &History<'_>) -> u32 {
        let mut oldest = root;
        for generation in (history.oldest()..self.node(root).rev.generation).rev() {
            let Some(id) = history.id(generation) else { break };
            let at = self.push(Rev::new(generation, id.clone()), None);
            self.attach(at, oldest);
            oldest = at;
        }
        oldest
    }

    /// The first node of this revision in the tree below `root`, smaller ids first.
    pub(super) fn find_below(&self, root: u32, rev: &Rev) -> Option<u32> {
        let mut at = root;
        loop {
            let node = self.node(at);
            if &node.rev == rev {
                return Some(at);
            }
            at = if node.rev.generation < rev.generation && node.first_child != NONE {
                node.first_child
            } else {
                self.next_branch(at, root)?
            };
        }
    }

    /// The next node in depth-first order that is not below `at`.
    pub(super) fn next_branch(&self, mut at: u32, root: u32) -> Option<u32> {
        while at != root {
            let node = self.node(at);
            if node.next_sibling != NONE {
                return Some(node.next_sibling);
            }
            at = node.parent;
        }
        None
    }

    /// Follows the history upwards from `anchor`, which is on it, and adds what is new.
    fn extend(&mut self, anchor: u32, history: &History<'_>, stored: Stored) -> Merged {
        let mut at = anchor;
        let mut branches = false;
        let mut known = true;
        let first = self.node(anchor).rev.generation + 1;
        for generation in first..=history.tip {
            let Some(id) = history.id(generation) else { break };
            at = match self.child_with_id(at, id) {
                Some(child) => child,
                None => {
                    branches |= self.node(at).first_child != NONE;
                    known = false;
                    let child = self.push(Rev::new(generation, id.clone()), None);
                    self.attach(at, child);
                    child
                }
            };
        }
        let node = self.node_mut(at);
        node.stored.get_or_insert(stored);
        match (known, branches) {
            (true, _) => Merged::Known(NodeIndex(at)),
            (false, true) => Merged::NewBranch(NodeIndex(at)),
            (false, false) => Merged::NewLeaf(NodeIndex(at)),
        }
    }

    /// Adds a history that shares nothing with the tree.
    fn add_tree(&mut self, history: &History<'_>, stored: Stored) -> Merged {
        let first = self.roots.is_empty();
        let mut at = NONE;
        for generation in history.oldest()..=history.tip {
            let Some(id) = history.id(generation) else { break };
            let child = self.push(Rev::new(generation, id.clone()), None);
            if at == NONE {
                self.roots.push(child);
            } else {
                self.attach(at, child);
            }
            at = child;
        }
        self.node_mut(at).stored = Some(stored);
        self.sort_roots();
        let node = NodeIndex(at);
        if first { Merged::NewLeaf(node) } else { Merged::NewBranch(node) }
    }
}
