//! Revision trees as pure data: which revisions of a document exist, how they follow from each other,
//! which one wins, and what is stored of each.
//!
//! Every leaf has a body: a revision comes into the tree only together with its body, and only
//! interior ones ever give theirs up.
//!
//! A tree is a forest: when old history is cut off (stemming), or when a history comes from elsewhere
//! that shares nothing with ours, there is more than one root. Nothing here reads or writes a store.
//!
//! * this file: the tree and the questions one asks of it
//! * `merge`: adding a history
//! * `prune`: stemming, purging, and giving up the bodies of interior revisions
//! * `codec`: the stored form; `straight`: that of a tree with one leaf, without making the tree

mod codec;
mod merge;
mod prune;
mod straight;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::test_trees;

use settee_storage::{BlobRef, Seq};

pub(crate) use codec::{decode_id, encode_id};
pub use merge::Merged;
pub use prune::{INTERIOR_BODIES_KEPT, INTERIOR_BODIES_STEP};
pub(crate) use straight::Straight;

use crate::revision::{Rev, RevId};

/// No node.
const NONE: u32 = u32::MAX;
/// Most revisions a tree may hold. The default stemming limit is 1000 for each branch.
pub const MAX_REVISIONS: usize = 1 << 24;

/// What is stored of one revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The revision is a tombstone.
    pub deleted: bool,
    /// Its body and the list of its attachments.
    pub body: BlobRef,
    /// The sequence at which it was written.
    pub seq: Seq,
    /// Bytes of the file that are there for the revision: body and attachments as stored.
    pub active_bytes: u64,
    /// Bytes of the same as the user sees them.
    pub external_bytes: u64,
}

/// A revision of a tree, by its place. Valid until the tree is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeIndex(u32);

/// One revision.
#[derive(Clone, Debug)]
struct Node {
    rev: Rev,
    /// `None` if only the revision's existence is known.
    stored: Option<Stored>,
    parent: u32,
    /// Children in ascending order of their ids.
    first_child: u32,
    next_sibling: u32,
}

/// The revisions of one document.
///
/// ```
/// use settee_engine::{Rev, RevId, RevTree};
/// # use settee_engine::revtree::Stored;
/// # use settee_storage::BlobRef;
/// # let body = BlobRef { offset: 0, len: 2, crc: 0 };
/// # let stored = |deleted| Stored { deleted, body, seq: 1, active_bytes: 2, external_bytes: 2 };
/// let mut tree = RevTree::new();
/// let [a, b, c] = ["a", "b", "c"].map(|id| RevId::from_bytes(id.as_bytes()));
/// tree.merge(2, &[b.clone(), a.clone()], stored(false));
/// tree.merge(2, &[c.clone(), a], stored(false));
///
/// let winner = tree.winner().expect("the tree has leaves");
/// assert_eq!(tree.rev(winner), &Rev::new(2, c));
/// let conflicts: Vec<_> = tree.conflicts().into_iter().map(|leaf| tree.rev(leaf).clone()).collect();
/// assert_eq!(conflicts, [Rev::new(2, b)]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct RevTree {
    nodes: Vec<Node>,
    /// Indexes of the roots, by generation and id.
    roots: Vec<u32>,
}

impl RevTree {
    /// A tree without revisions.
    #[must_use]
    pub fn new() -> Self {
        RevTree::default()
    }

    /// True if the tree has no revisions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many revisions the tree holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The revision at `node`.
    #[must_use]
    pub fn rev(&self, node: NodeIndex) -> &Rev {
        &self.node(node.0).rev
    }

    /// What is stored of the revision at `node`; `None` if only its existence is known.
    #[must_use]
    pub fn stored(&self, node: NodeIndex) -> Option<&Stored> {
        self.node(node.0).stored.as_ref()
    }

    /// True if the revision at `node` is known to be a tombstone.
    #[must_use]
    pub fn is_deleted(&self, node: NodeIndex) -> bool {
        self.node(node.0).stored.is_some_and(|stored| stored.deleted)
    }

    /// True if nothing follows the revision at `node`.
    #[must_use]
    pub fn is_leaf(&self, node: NodeIndex) -> bool {
        self.node(node.0).first_child == NONE
    }

    /// The revision before the one at `node`, as far as it is known.
    #[must_use]
    pub fn parent(&self, node: NodeIndex) -> Option<NodeIndex> {
        index(self.node(node.0).parent)
    }

    /// Where a revision is. If the same revision stands in several branches (which only histories
    /// made up by hand can bring about), it is the one CouchDB comes by first: below the first root,
    /// smaller ids first.
    #[must_use]
    pub fn find(&self, rev: &Rev) -> Option<NodeIndex> {
        let mut found = self.indexes().filter(|node| self.rev(*node) == rev);
        let only = found.next()?;
        if found.next().is_none() {
            return Some(only);
        }
        self.roots.iter().find_map(|root| self.find_below(*root, rev)).map(NodeIndex)
    }

    /// Where a leaf of this revision is.
    #[must_use]
    pub fn find_leaf(&self, rev: &Rev) -> Option<NodeIndex> {
        self.indexes().find(|node| self.rev(*node) == rev && self.is_leaf(*node))
    }

    /// All leaves: the winner first, then the other live ones, then the deleted ones, each in
    /// descending order of their revisions.
    #[must_use]
    pub fn leaves(&self) -> Vec<NodeIndex> {
        if let Some(only) = self.only_leaf() {
            return vec![only];
        }
        let mut leaves = self.leaves_by_branch();
        // Of equal ones, which differ by their histories only, CouchDB turns the order round.
        leaves.reverse();
        leaves.sort_by(|a, b| self.rank(*b).cmp(&self.rank(*a)));
        leaves
    }

    /// All leaves in the order in which CouchDB walks a forest: the last root's first, and below a
    /// root smaller ids first.
    #[must_use]
    pub fn leaves_by_branch(&self) -> Vec<NodeIndex> {
        let mut leaves = Vec::new();
        for root in self.roots.iter().rev() {
            let mut at = Some(*root);
            while let Some(node) = at {
                at = some(self.node(node).first_child);
                if at.is_none() {
                    leaves.push(NodeIndex(node));
                    at = self.next_branch(node, *root);
                }
            }
        }
        leaves
    }

    /// The leaf that every replica with the same revisions takes for the document's current one.
    #[must_use]
    pub fn winner(&self) -> Option<NodeIndex> {
        let leaves = || self.leaves_by_branch().into_iter();
        self.only_leaf().or_else(|| leaves().max_by(|a, b| self.rank(*a).cmp(&self.rank(*b))))
    }

    /// The leaf, if there is only one.
    fn only_leaf(&self) -> Option<NodeIndex> {
        let mut leaves = self.indexes().filter(|node| self.is_leaf(*node));
        leaves.next().filter(|_| leaves.next().is_none())
    }

    fn is_one_branch(&self) -> bool {
        self.only_leaf().is_some() || self.nodes.is_empty()
    }

    /// The live leaves besides the winner, highest first.
    #[must_use]
    pub fn conflicts(&self) -> Vec<NodeIndex> {
        self.losers(false)
    }

    /// The deleted leaves besides the winner, highest first.
    #[must_use]
    pub fn deleted_conflicts(&self) -> Vec<NodeIndex> {
        self.losers(true)
    }

    /// The revision at `node` and its known ancestors, newest first.
    pub fn path(&self, node: NodeIndex) -> impl Iterator<Item = NodeIndex> + '_ {
        std::iter::successors(Some(node), |node| self.parent(*node))
    }

    /// The leaves that descend from the revision at `node` (itself, if it is one).
    #[must_use]
    pub fn leaves_below(&self, node: NodeIndex) -> Vec<NodeIndex> {
        self.leaves()
            .into_iter()
            .filter(|leaf| self.path(*leaf).any(|on_path| on_path == node))
            .collect()
    }

    /// Those of `revs` that are not in the tree, in the order given.
    #[must_use]
    pub fn missing<'r>(&self, revs: &'r [Rev]) -> Vec<&'r Rev> {
        revs.iter().filter(|rev| self.find(rev).is_none()).collect()
    }

    /// The leaves that might be ancestors of one of `missing`: those of a lower generation than any of
    /// them, the winner first: what CouchDB answers to `_revs_diff`.
    #[must_use]
    pub fn possible_ancestors(&self, missing: &[&Rev]) -> Vec<&Rev> {
        let highest = missing.iter().map(|rev| rev.generation).max().unwrap_or(0);
        let leaves = self.leaves().into_iter().map(|leaf| self.rev(leaf));
        leaves.filter(|leaf| leaf.generation < highest).collect()
    }

    /// The newest of the ancestors named by a revision of this generation whose body is there.
    #[must_use]
    pub fn nearest_stored(&self, generation: u64, history: &[RevId]) -> Option<NodeIndex> {
        // One look at each revision of the tree, and not one at the tree for each that is named: both may be long.
        let is_named = |rev: &Rev| {
            let back = generation.checked_sub(rev.generation)?.checked_sub(1)?;
            Some(history.get(usize::try_from(back).ok()?)? == &rev.id)
        };
        let stored = self.indexes().filter(|node| self.stored(*node).is_some());
        let mut named: Vec<_> =
            stored.filter(|node| is_named(self.rev(*node)) == Some(true)).collect();
        named.sort_by_key(|node| std::cmp::Reverse(self.rev(*node).generation));
        // A revision that was made up by hand may stand in two branches; then the first counts.
        named.into_iter().find(|node| self.find(self.rev(*node)) == Some(*node))
    }

    /// True if no leaf is alive.
    #[must_use]
    pub fn all_deleted(&self) -> bool {
        self.winner().is_some_and(|winner| self.is_deleted(winner))
    }

    /// All revisions, in no particular order.
    pub fn indexes(&self) -> impl Iterator<Item = NodeIndex> + use<> {
        (0..self.count()).map(NodeIndex)
    }

    /// Points a revision at its body's new place. Compaction uses it.
    pub fn set_stored(&mut self, node: NodeIndex, stored: Stored) {
        self.node_mut(node.0).stored = Some(stored);
    }

    fn losers(&self, deleted: bool) -> Vec<NodeIndex> {
        let losers = self.leaves().into_iter().skip(1);
        losers.filter(|leaf| self.is_deleted(*leaf) == deleted).collect()
    }

    /// The order in which leaves compete.
    fn rank(&self, node: NodeIndex) -> (bool, &Rev) {
        (!self.is_deleted(node), self.rev(node))
    }

    fn count(&self) -> u32 {
        // `push` keeps the number below MAX_REVISIONS.
        self.nodes.len() as u32
    }

    // Indexes are made by this module only, so indexing cannot fail.
    fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    fn node_mut(&mut self, at: u32) -> &mut Node {
        &mut self.nodes[at as usize]
    }

    /// Adds a node that has neither parent nor children yet.
    fn push(&mut self, rev: Rev, stored: Option<Stored>) -> u32 {
        assert!(
            self.nodes.len() < MAX_REVISIONS,
            "a document has more than {MAX_REVISIONS} revisions"
        );
        let at = self.count();
        let node = Node { rev, stored, parent: NONE, first_child: NONE, next_sibling: NONE };
        self.nodes.push(node);
        at
    }

    fn children(&self, at: u32) -> impl Iterator<Item = u32> + '_ {
        let first = some(self.node(at).first_child);
        std::iter::successors(first, |child| some(self.node(*child).next_sibling))
    }

    fn child_with_id(&self, at: u32, id: &RevId) -> Option<u32> {
        self.children(at).find(|child| &self.node(*child).rev.id == id)
    }

    /// Hangs `child` below `parent`, in the order of the ids.
    fn attach(&mut self, parent: u32, child: u32) {
        let before = {
            let id = &self.node(child).rev.id;
            self.children(parent).take_while(|sibling| &self.node(*sibling).rev.id <= id).last()
        };
        self.node_mut(child).parent = parent;
        match before {
            Some(before) => {
                self.node_mut(child).next_sibling = self.node(before).next_sibling;
                self.node_mut(before).next_sibling = child;
            }
            None => {
                self.node_mut(child).next_sibling = self.node(parent).first_child;
                self.node_mut(parent).first_child = child;
            }
        }
    }

    fn sort_roots(&mut self) {
        let nodes = &self.nodes;
        self.roots.sort_by(|a, b| {
            let [a, b] = [a, b].map(|root| nodes.get(*root as usize).map(|node| &node.rev));
            a.cmp(&b)
        });
    }
}

fn some(at: u32) -> Option<u32> {
    (at != NONE).then_some(at)
}

fn index(at: u32) -> Option<NodeIndex> {
    some(at).map(NodeIndex)
}
