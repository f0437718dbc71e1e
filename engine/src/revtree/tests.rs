//! The tree against a naive model: the set of all paths from a root to a revision.

use std::collections::BTreeMap;

use proptest::prelude::*;
use test_trees::{any_history, any_tree, stored};

use super::*;

pub(crate) mod test_trees {
    use proptest::prelude::*;
    use settee_storage::BlobRef;

    use crate::{RevTree, revision::RevId, revtree::Stored};

    pub(crate) fn stored(seq: u64, deleted: bool) -> Stored {
        let body = BlobRef { offset: seq * 1000, len: 10, crc: seq as u32 };
        Stored { deleted, body, seq, active_bytes: 10, external_bytes: 12 }
    }

    /// Histories with few different ids, so that they meet, also where no honest ones would.
    pub(crate) fn any_history() -> impl Strategy<Value = (u64, Vec<RevId>, bool)> {
        let ids = prop::collection::vec(0u8..4, 1..7);
        (0u64..4, ids, any::<bool>()).prop_map(|(stemmed, ids, deleted)| {
            let generation = ids.len() as u64 + stemmed;
            let ids = ids.into_iter().map(|id| match id {
                0 => RevId::Opaque([b'x'].into()),
                id => RevId::Hash([id; 16]),
            });
            (generation, ids.collect(), deleted)
        })
    }

    pub(crate) fn any_tree() -> impl Strategy<Value = RevTree> {
        prop::collection::vec(any_history(), 1..12).prop_map(|histories| {
            let mut tree = RevTree::new();
            for (seq, (generation, ids, deleted)) in histories.into_iter().enumerate() {
                tree.merge(generation, &ids, stored(seq as u64 + 1, deleted));
            }
            tree
        })
    }
}

/// Generation of a root, and the ids from there to a revision.
type Path = (u64, Vec<RevId>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Model(BTreeMap<Path, Option<Stored>>);

#[derive(Debug, PartialEq)]
enum Outcome {
    Leaf,
    Branch,
    Known,
}

impl Model {
    fn roots(&self) -> Vec<Path> {
        self.0.keys().filter(|(_, ids)| ids.len() == 1).cloned().collect()
    }

    fn below<'m>(&'m self, path: &'m Path) -> impl Iterator<Item = &'m Path> {
        self.0.keys().filter(move |(root, ids)| *root == path.0 && ids.starts_with(&path.1))
    }

    fn is_leaf(&self, path: &Path) -> bool {
        self.below(path).count() == 1
    }

    fn leaves(&self) -> Vec<(bool, Rev)> {
        let leaves = self.0.iter().filter(|(path, _)| self.is_leaf(path));
        let mut leaves: Vec<_> =
            leaves.map(|(path, stored)| (!stored.unwrap().deleted, rev_of(path))).collect();
        leaves.sort();
        leaves.reverse();
        leaves
    }

    fn merge(&mut self, tip: u64, newest_first: &[RevId], stored: Stored) -> Outcome {
        let ids: Vec<_> = newest_first.iter().rev().cloned().collect();
        let oldest = tip + 1 - ids.len() as u64;
        for root in self.roots() {
            let common = if root.0 > oldest {
                let skip = (root.0 - oldest) as usize;
                if ids.get(skip) != root.1.first() {
                    continue;
                }
                self.prepend(&root, (oldest, ids[..skip].to_vec()));
                (oldest, ids[..=skip].to_vec())
            } else {
                let joint =
                    self.below(&root).find(|path| rev_of(path) == Rev::new(oldest, ids[0].clone()));
                let Some(joint) = joint else { continue };
                joint.clone()
            };
            return self.insert(common, &ids, oldest, stored);
        }
        let first = self.0.is_empty();
        self.insert((oldest, vec![ids[0].clone()]), &ids, oldest, stored);
        if first { Outcome::Leaf } else { Outcome::Branch }
    }

    fn prepend(&mut self, root: &Path, older: Path) {
        let tree: Vec<_> = self.below(root).cloned().collect();
        for path in tree {
            let stored = self.0.remove(&path).unwrap();
            self.0.insert((older.0, [&older.1[..], &path.1[..]].concat()), stored);
        }
        for length in 1..=older.1.len() {
            self.0.insert((older.0, older.1[..length].to_vec()), None);
        }
    }

    /// Adds the rest of a history behind `path`, which is on it.
    fn insert(&mut self, path: Path, ids: &[RevId], oldest: u64, stored: Stored) -> Outcome {
        let mut outcome = Outcome::Known;
        let on_path = (path.0 + path.1.len() as u64 - oldest) as usize;
        let mut path = path;
        self.0.entry(path.clone()).or_default();
        for id in &ids[on_path..] {
            let was_leaf = self.is_leaf(&path);
            path.1.push(id.clone());
            if !self.0.contains_key(&path) {
                if outcome == Outcome::Known {
                    outcome = if was_leaf { Outcome::Leaf } else { Outcome::Branch };
                }
                self.0.insert(path.clone(), None);
            }
        }
        let slot = self.0.get_mut(&path).unwrap();
        *slot = slot.or(Some(stored));
        outcome
    }

    fn stem(&mut self, limit: usize) {
        self.rebuild(self.leaf_paths(), limit);
    }

    fn remove_leaves(&mut self, revs: &[Rev]) {
        let mut paths = self.leaf_paths();
        for rev in revs {
            if let Some(at) = paths.iter().position(|path| rev_of(path) == *rev) {
                paths.remove(at);
            }
        }
        self.rebuild(paths, usize::MAX);
    }

    /// The paths to the leaves, the tree of the highest root first.
    fn leaf_paths(&self) -> Vec<Path> {
        let roots = self.roots();
        let leaves = roots.iter().rev().flat_map(|root| self.below(root));
        leaves.filter(|path| self.is_leaf(path)).cloned().collect()
    }

    /// Puts the paths, cut to the newest `limit` revisions, together anew.
    fn rebuild(&mut self, mut paths: Vec<Path>, limit: usize) {
        let old = std::mem::take(&mut self.0);
        let cut = |path: &Path| path.1.len().saturating_sub(limit);
        paths.sort_by_key(|path| {
            let newest_first: Vec<_> = path.1[cut(path)..].iter().rev().cloned().collect();
            let stored = old[path].unwrap();
            (path.0 + cut(path) as u64, newest_first, stored.deleted, stored.seq)
        });
        for path in paths {
            let start = cut(&path);
            let newest_first: Vec<_> = path.1[start..].iter().rev().cloned().collect();
            self.merge(rev_of(&path).generation, &newest_first, old[&path].unwrap());
            for length in start + 1..=path.1.len() {
                let rev = rev_of(&(path.0, path.1[..length].to_vec()));
                let stored = old[&(path.0, path.1[..length].to_vec())];
                // The place to which the path was merged ends as the path does.
                let behind = &path.1[start..length];
                let slot = self
                    .0
                    .iter_mut()
                    .find(|(place, _)| rev_of(place) == rev && place.1.ends_with(behind));
                let slot = slot.unwrap().1;
                *slot = slot.or(stored);
            }
        }
    }
}

fn rev_of((root, ids): &Path) -> Rev {
    Rev::new(root + ids.len() as u64 - 1, ids.last().unwrap().clone())
}

/// The model of a tree. Two trees whose paths are equal (stemming can bring that about) become one.
fn model_of(tree: &RevTree) -> Model {
    let paths = tree.indexes().map(|node| {
        let mut path: Vec<_> = tree.path(node).map(|on_path| tree.rev(on_path)).cloned().collect();
        path.reverse();
        let root = path[0].generation;
        ((root, path.into_iter().map(|rev| rev.id).collect()), tree.stored(node).copied())
    });
    Model(paths.collect())
}

fn revs(tree: &RevTree, nodes: &[NodeIndex]) -> Vec<Rev> {
    nodes.iter().map(|node| tree.rev(*node).clone()).collect()
}

proptest! {
    #[test]
    fn merging_is_that_of_the_model(histories in prop::collection::vec(any_history(), 1..14)) {
        let (mut tree, mut model) = (RevTree::new(), Model::default());
        for (seq, (generation, ids, deleted)) in histories.into_iter().enumerate() {
            let stored = stored(seq as u64, deleted);
            let merged = tree.merge(generation, &ids, stored);
            let outcome = match merged {
                Merged::NewLeaf(_) => Outcome::Leaf,
                Merged::NewBranch(_) => Outcome::Branch,
                Merged::Known(_) => Outcome::Known,
            };
            prop_assert_eq!(outcome, model.merge(generation, &ids, stored));
            prop_assert_eq!(tree.rev(merged.node()), &Rev::new(generation, ids[0].clone()));
            prop_assert_eq!(&model_of(&tree), &model);
            let leaves = tree.leaves();
            let ranked: Vec<_> = leaves.iter().map(|leaf| (!tree.is_deleted(*leaf), tree.rev(*leaf).clone())).collect();
            prop_assert_eq!(&ranked, &model.leaves());
            prop_assert_eq!(tree.winner().map(|leaf| tree.rev(leaf).clone()), ranked.first().map(|leaf| leaf.1.clone()));
        }
    }

    #[test]
    fn the_nearest_stored_ancestor_is_the_first_that_is_found(tree in any_tree(), (generation, ids, _) in any_history(), forget: bool) {
        let mut tree = tree;
        if forget {
            tree.forget_interior_bodies();
        }
        let history = &ids[1..];
        let mut named = history.iter().zip((0..generation).rev());
        let naive = named.find_map(|(id, generation)| {
            let found = tree.find(&Rev::new(generation, id.clone()))?;
            tree.stored(found).is_some().then_some(found)
        });
        prop_assert_eq!(tree.nearest_stored(generation, history), naive);
    }

    #[test]
    fn stemming_is_that_of_the_model(tree in any_tree(), limit in 1usize..5) {
        let (mut tree, mut model) = (tree.clone(), model_of(&tree));
        let before = tree.len();
        prop_assert_eq!(tree.stem(limit as u64), tree.len() < before);
        model.stem(limit);
        prop_assert_eq!(model_of(&tree), model);
    }

    #[test]
    fn the_stored_form_comes_back(tree in any_tree()) {
        let mut bytes = Vec::new();
        tree.encode(&mut bytes);
        let decoded = RevTree::decode(&bytes).unwrap();
        prop_assert_eq!(model_of(&decoded), model_of(&tree));
        prop_assert_eq!(decoded.len(), tree.len());
        let mut again = Vec::new();
        decoded.encode(&mut again);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = RevTree::decode(&bytes);
    }

    #[test]
    fn damaged_bytes_do_no_harm(tree in any_tree(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = Vec::new();
        tree.encode(&mut bytes);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(mut tree) = RevTree::decode(&bytes) {
            // Whatever it is, it can be used.
            prop_assert!(tree.leaves().iter().all(|leaf| tree.stored(*leaf).is_some()));
            tree.stem(2);
            let mut out = Vec::new();
            tree.encode(&mut out);
            prop_assert!(RevTree::decode(&out).is_ok());
        }
    }

    #[test]
    fn purging_is_that_of_the_model(tree in any_tree(), which in prop::collection::vec(any::<bool>(), 12)) {
        let (mut purged, mut model) = (tree.clone(), model_of(&tree));
        let leaves = tree.leaves();
        let doomed = leaves.iter().zip(which).filter(|(_, doomed)| *doomed);
        let doomed: Vec<_> = doomed.map(|(leaf, _)| tree.rev(*leaf).clone()).collect();
        let not_a_leaf = tree.indexes().find(|node| tree.find_leaf(tree.rev(*node)).is_none());
        let asked: Vec<_> = doomed.iter().cloned().chain(not_a_leaf.map(|node| tree.rev(node).clone())).collect();
        prop_assert_eq!(&purged.remove_leaves(&asked), &doomed);
        if !doomed.is_empty() {
            model.remove_leaves(&doomed);
        }
        prop_assert_eq!(model_of(&purged), model);
    }

    /// Honest revisions: each is what its whole history makes it, as with hashes.
    #[test]
    fn the_order_of_arrival_does_not_matter(
        parents in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..16),
        order in any::<prop::sample::Index>(),
        seed in any::<u64>(),
    ) {
        let mut revisions: Vec<(Vec<RevId>, bool)> = vec![(vec![], false)];
        for (number, (parent, deleted)) in parents.iter().enumerate() {
            let mut ids = vec![RevId::Hash([(number as u8).wrapping_mul(37); 16])];
            ids.extend_from_slice(&parent.get(&revisions).0);
            revisions.push((ids, *deleted));
        }
        revisions.remove(0);
        let arrive = |revisions: &[(Vec<RevId>, bool)]| {
            let mut tree = RevTree::new();
            for (ids, deleted) in revisions {
                tree.merge(ids.len() as u64, ids, stored(ids.len() as u64, *deleted));
            }
            tree
        };
        let tree = arrive(&revisions);
        revisions.sort_by_key(|(ids, _)| {
            let RevId::Hash(id) = &ids[0] else { unreachable!() };
            (u64::from(id[0]) + 1).wrapping_mul(seed | 1)
        });
        let middle = order.index(revisions.len());
        revisions.rotate_left(middle);
        let other = arrive(&revisions);
        prop_assert_eq!(model_of(&tree), model_of(&other));
        prop_assert_eq!(revs(&tree, &tree.leaves()), revs(&other, &other.leaves()));
        let encoded = [&tree, &other].map(|tree| { let mut out = Vec::new(); tree.encode(&mut out); out });
        prop_assert_eq!(&encoded[0], &encoded[1]);

        let (mut stemmed, mut stemmed_twice) = (tree.clone(), tree);
        stemmed.stem(3);
        stemmed_twice.stem(5);
        stemmed_twice.stem(3);
        prop_assert_eq!(model_of(&stemmed), model_of(&stemmed_twice));
        prop_assert!(!stemmed.stem(3));
    }
}

fn hash(n: u64) -> RevId {
    RevId::from_bytes(&u128::from(n).to_be_bytes())
}

/// A tree of one branch with `generations` revisions, each with its body.
fn chain(generations: u64) -> RevTree {
    let mut tree = RevTree::new();
    let mut tip = tree.merge(1, &[hash(1)], stored(1, false)).node();
    for generation in 2..=generations {
        tip = tree.add_child(tip, hash(generation), stored(generation, false)).node();
    }
    tree
}

fn encoded(tree: &RevTree) -> Vec<u8> {
    let mut out = Vec::new();
    tree.encode(&mut out);
    out
}

#[test]
fn an_edit_changes_the_stored_form_of_a_long_branch_at_its_front_only() {
    let mut longest = 0;
    let mut tree = chain(1000);
    tree.forget_old_bodies();
    for generation in 1001..1080 {
        let before = encoded(&tree);
        let tip = tree.winner().unwrap();
        tree.add_child(tip, hash(generation), stored(generation, false));
        tree.stem(1000);
        let forgotten = tree.forget_old_bodies();
        let after = encoded(&tree);
        // The new value is a few new bytes and a long stretch of the old one.
        let kept = (0..64).filter_map(|start| {
            let rest = &after[start..];
            let found = before.windows(16).position(|window| rest.starts_with(window))?;
            let common = rest.iter().zip(&before[found..]).take_while(|(a, b)| a == b).count();
            Some(after.len() - common)
        });
        if forgotten == 0 {
            longest = longest.max(kept.min().unwrap());
        }
    }
    assert!(longest <= 60, "{longest} bytes are new");
}

#[test]
fn bodies_of_old_interior_revisions_are_given_up_in_steps() {
    let mut tree = chain(1000);
    tree.forget_old_bodies();
    let with_body =
        |tree: &RevTree| tree.indexes().filter(|node| tree.stored(*node).is_some()).count() as u64;
    assert!(
        (INTERIOR_BODIES_KEPT..=INTERIOR_BODIES_KEPT + INTERIOR_BODIES_STEP)
            .contains(&(with_body(&tree) - 1))
    );
    let newest = |generation| Rev::new(generation, hash(generation));
    for generation in 1000 - INTERIOR_BODIES_KEPT..=1000 {
        assert!(tree.stored(tree.find(&newest(generation)).unwrap()).is_some());
    }
    tree.forget_interior_bodies();
    assert_eq!(with_body(&tree), 1);
    assert!(tree.stored(tree.winner().unwrap()).is_some());
}

#[test]
fn a_short_branch_keeps_its_bodies_whatever_the_long_one_does() {
    let mut tree = chain(1000);
    tree.merge(2, &[hash(7000), hash(1)], stored(5, true));
    tree.forget_old_bodies();
    let leaf = tree.find_leaf(&Rev::new(2, hash(7000))).unwrap();
    assert!(tree.stored(leaf).is_some());
    let fork = tree.parent(leaf).unwrap();
    assert!(tree.stored(fork).is_some(), "it lies just behind the short branch's leaf");
}

#[test]
fn questions_about_a_conflicted_document() {
    let [a, b, c, d] = [1, 2, 3, 4].map(hash);
    let mut tree = RevTree::new();
    assert!(tree.is_empty() && tree.winner().is_none() && !tree.all_deleted());
    tree.merge(2, &[b.clone(), a.clone()], stored(1, false));
    tree.merge(2, &[c.clone(), a.clone()], stored(2, false));
    tree.merge(3, &[d.clone(), b.clone(), a.clone()], stored(3, true));

    let winner = tree.winner().unwrap();
    assert_eq!(tree.rev(winner), &Rev::new(2, c.clone()));
    assert!(tree.conflicts().is_empty());
    assert_eq!(revs(&tree, &tree.deleted_conflicts()), [Rev::new(3, d.clone())]);
    let root = tree.find(&Rev::new(1, a.clone())).unwrap();
    assert_eq!(tree.leaves_below(root), tree.leaves());
    assert!(tree.stored(root).is_none() && !tree.is_leaf(root));
    assert!(tree.find_leaf(&Rev::new(2, b)).is_none());

    let unknown = [Rev::new(3, a.clone()), Rev::new(2, c), Rev::new(9, a)];
    let missing = tree.missing(&unknown);
    assert_eq!(missing, [&unknown[0], &unknown[2]]);
    assert_eq!(tree.possible_ancestors(&missing[..1]), [&Rev::new(2, hash(3))]);
    assert_eq!(tree.possible_ancestors(&missing).len(), 2);
    assert!(!tree.all_deleted());
}

#[test]
fn a_body_that_is_known_is_not_replaced() {
    let mut tree = RevTree::new();
    tree.merge(1, &[hash(1)], stored(1, false));
    assert!(matches!(tree.merge(1, &[hash(1)], stored(2, true)), Merged::Known(_)));
    assert_eq!(tree.stored(tree.winner().unwrap()).unwrap().seq, 1);
}

#[test]
#[should_panic = "not a history"]
fn a_history_longer_than_its_generation_is_a_bug() {
    RevTree::new().merge(1, &[hash(1), hash(2)], stored(1, false));
}
