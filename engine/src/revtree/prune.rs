//! What a tree gives up: old history, purged leaves, and the bodies of interior revisions.

use super::{NONE, Node, NodeIndex, RevTree, some};
use crate::revision::Rev;

/// How many interior revisions of a branch keep their bodies at least, until the next compaction.
pub const INTERIOR_BODIES_KEPT: u64 = 100;
/// Bodies are given up this many generations at a time, so that most edits of a document with a long
/// history change its stored form at one place only.
pub const INTERIOR_BODIES_STEP: u64 = 32;

impl RevTree {
    /// Keeps the newest `limit` revisions of each branch (at least the leaf). Where the same id stands
    /// twice in the tree, the branches are put together anew, which may unite some of them: CouchDB
    /// does so at each write. Returns true if anything was given up.
    pub fn stem(&mut self, limit: u64) -> bool {
        let limit = usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
        if self.has_repeated_ids() {
            let before = self.nodes.len();
            self.rebuild_from(self.leaves_by_branch(), limit);
            return self.nodes.len() < before;
        }
        if self.nodes.len() <= limit {
            return false;
        }
        if self.is_one_branch() {
            while self.nodes.len() > limit && self.drop_root() {}
            return true;
        }
        self.cut_off(limit)
    }

    /// Removes leaves (purge), each with the ancestors that only it had. Returns those of `revs` that
    /// were leaves and are gone.
    pub fn remove_leaves(&mut self, revs: &[Rev]) -> Vec<Rev> {
        let mut leaves = self.leaves_by_branch();
        let mut removed = Vec::new();
        for rev in revs {
            if let Some(at) = leaves.iter().position(|leaf| self.rev(*leaf) == rev) {
                leaves.remove(at);
                removed.push(rev.clone());
            }
        }
        if !removed.is_empty() {
            self.rebuild_from(leaves, usize::MAX);
        }
        removed
    }

    /// Gives up the bodies of interior revisions that lie more than [`INTERIOR_BODIES_KEPT`]
    /// generations behind every leaf above them. Returns how many were given up.
    pub fn forget_old_bodies(&mut self) -> usize {
        if self.nodes.len() as u64 <= INTERIOR_BODIES_KEPT {
            return 0;
        }
        let mut needed = vec![false; self.nodes.len()];
        for leaf in self.leaves() {
            let tip = self.rev(leaf).generation;
            // Rounded down to a step, so that the horizon stands still for most edits.
            let horizon = tip.saturating_sub(INTERIOR_BODIES_KEPT) / INTERIOR_BODIES_STEP
                * INTERIOR_BODIES_STEP;
            for node in self.path(leaf).take_while(|node| self.rev(*node).generation >= horizon) {
                if let Some(needed) = needed.get_mut(node.0 as usize) {
                    *needed = true;
                }
            }
        }
        let unneeded = self.nodes.iter_mut().zip(needed).filter(|(_, needed)| !needed);
        unneeded.filter_map(|(node, _)| node.stored.take()).count()
    }

    /// Gives up the bodies of all interior revisions, as compaction does.
    pub fn forget_interior_bodies(&mut self) {
        let interior = self.nodes.iter_mut().filter(|node| node.first_child != NONE);
        interior.for_each(|node| node.stored = None);
    }

    /// Drops the root of a tree of one branch; false if it is the leaf.
    fn drop_root(&mut self) -> bool {
        let [root] = self.roots[..] else { return false };
        let Some(child) = some(self.node(root).first_child) else { return false };
        self.node_mut(child).parent = NONE;
        self.roots.fill(child);
        // The last node takes the place of the root, and its neighbours must know.
        let last = self.count() - 1;
        self.nodes.swap_remove(root as usize);
        if last != root {
            let &Node { parent, first_child, .. } = self.node(root);
            if let Some(parent) = some(parent) {
                self.node_mut(parent).first_child = root;
            } else {
                self.roots.fill(root);
            }
            if let Some(child) = some(first_child) {
                self.node_mut(child).parent = root;
            }
        }
        true
    }

    /// True if two revisions in different branches have the same id, which only happens where
    /// histories were made up by hand.
    fn has_repeated_ids(&self) -> bool {
        if self.is_one_branch() {
            return false;
        }
        let mut ids: Vec<_> = self.nodes.iter().map(|node| &node.rev.id).collect();
        ids.sort_unstable();
        ids.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// Makes the tree anew from the newest `limit` revisions down from each of `leaves`.
    fn rebuild_from(&mut self, leaves: Vec<NodeIndex>, limit: usize) {
        let path = |leaf: &NodeIndex| self.path(*leaf).take(limit).map(|node| self.node(node.0));
        let mut paths: Vec<Vec<&Node>> = leaves.iter().map(|leaf| path(leaf).collect()).collect();
        paths.sort_by_cached_key(|path| {
            let start = path.last().map(|oldest| oldest.rev.generation);
            let ids: Vec<_> = path.iter().map(|node| node.rev.id.clone()).collect();
            let stored = path.first().and_then(|leaf| leaf.stored);
            (start, ids, stored.map(|stored| (stored.deleted, stored.seq)))
        });
        let mut rebuilt = RevTree::new();
        for path in paths {
            rebuilt.merge_path(&path);
        }
        *self = rebuilt;
    }

    /// Adds a path of another tree with all its bodies, newest revision first.
    fn merge_path(&mut self, path: &[&Node]) {
        let Some((leaf, stored)) = path.first().and_then(|leaf| Some((leaf, leaf.stored?))) else {
            return;
        };
        let ids: Vec<_> = path.iter().map(|node| node.rev.id.clone()).collect();
        let tip = self.merge(leaf.rev.generation, &ids, stored).node();
        let places: Vec<_> = self.path(tip).collect();
        for (place, node) in places.into_iter().zip(path) {
            let slot = &mut self.node_mut(place.0).stored;
            *slot = slot.or(node.stored);
        }
    }

    /// Drops all but the newest `limit` revisions down from each leaf.
    fn cut_off(&mut self, limit: usize) -> bool {
        // The longest stretch still to be kept downwards from each node: a node is walked through
        // again only if a leaf reaches deeper than those before, so shared history is cheap.
        let mut kept = vec![0usize; self.nodes.len()];
        for leaf in self.leaves() {
            let mut at = leaf.0;
            let mut left = limit;
            while let Some(slot) = kept.get_mut(at as usize).filter(|slot| **slot < left) {
                *slot = left;
                left -= 1;
                match some(self.node(at).parent) {
                    Some(parent) if left > 0 => at = parent,
                    _ => break,
                }
            }
        }
        if kept.iter().all(|left| *left > 0) {
            return false;
        }
        self.rebuild(|at| kept.get(at as usize).is_some_and(|left| *left > 0));
        true
    }

    /// Drops the nodes that `keep` refuses. A kept node without a kept parent becomes a root.
    fn rebuild(&mut self, keep: impl Fn(u32) -> bool) {
        let mut rebuilt = RevTree::new();
        let mut places = vec![NONE; self.nodes.len()];
        for at in 0..self.count() {
            if keep(at) {
                let node = self.node(at);
                let place = rebuilt.push(node.rev.clone(), node.stored);
                if let Some(slot) = places.get_mut(at as usize) {
                    *slot = place;
                }
            }
        }
        let place = |at: u32| places.get(at as usize).copied().and_then(some);
        for at in 0..self.count() {
            let Some(child) = place(at) else { continue };
            match place(self.node(at).parent) {
                Some(parent) => rebuilt.attach(parent, child),
                None => rebuilt.roots.push(child),
            }
        }
        rebuilt.sort_roots();
        *self = rebuilt;
    }
}
