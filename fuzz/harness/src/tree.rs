//! Revision trees.

use settee_engine::{Rev, RevId, RevTree, revtree::Stored};
use settee_storage::BlobRef;

/// The stored form of a tree: what decodes answers every question, and encodes to what decodes to it.
pub fn revtree(input: &[u8]) {
    if let Ok(tree) = RevTree::decode(input) {
        check(&tree);
    }
}

/// Histories merged, leaves purged and branches stemmed, three bytes for each step.
pub fn merges(input: &[u8]) {
    let mut tree = RevTree::new();
    for (at, step) in input.chunks_exact(3).take(200).enumerate() {
        let [what, start, ids] = [step[0], step[1], step[2]];
        match what % 8 {
            0 => {
                tree.stem(u64::from(start % 8) + 1);
            }
            1 => {
                let revs: Vec<Rev> = tree
                    .leaves()
                    .iter()
                    .take(usize::from(ids))
                    .map(|leaf| tree.rev(*leaf).clone())
                    .collect();
                let removed = tree.remove_leaves(&revs);
                assert_eq!(removed.len(), revs.len(), "leaves can be purged");
            }
            2 => tree.forget_interior_bodies(),
            _ => merge(&mut tree, at as u64, what, start, ids),
        }
        check(&tree);
    }
}

/// Merges a history of up to eight revisions whose ids are few, so that they meet.
fn merge(tree: &mut RevTree, at: u64, what: u8, start: u8, ids: u8) {
    let generation = u64::from(start % 12) + 1;
    let length = (u64::from(what >> 3) % 8 + 1).min(generation);
    let id = |back: u64| RevId::from_bytes(&[(ids >> (back % 4 * 2)) & 3; 16]);
    let history: Vec<RevId> = (0..length).map(id).collect();
    let body = BlobRef { offset: at, len: 1, crc: 0 };
    let deleted = start & 0x80 != 0;
    let stored = Stored { deleted, body, seq: at, active_bytes: 1, external_bytes: 1 };
    let merged = tree.merge(generation, &history, stored);
    assert_eq!(tree.rev(merged.node()).generation, generation);
    assert_eq!(tree.rev(merged.node()).id, history[0]);
}

fn check(tree: &RevTree) {
    let leaves = tree.leaves();
    assert_eq!(tree.winner(), leaves.first().copied(), "the winner stands first");
    assert_eq!(leaves.is_empty(), tree.is_empty());
    assert!(tree.conflicts().len() + tree.deleted_conflicts().len() < leaves.len().max(1));
    for leaf in &leaves {
        assert!(tree.is_leaf(*leaf));
        let generations: Vec<_> = tree.path(*leaf).map(|node| tree.rev(node).generation).collect();
        assert!(generations.windows(2).all(|pair| pair[0] == pair[1] + 1), "{generations:?}");
    }
    let encoded = encode(tree);
    let decoded = RevTree::decode(&encoded).expect("what was encoded decodes");
    assert_eq!(encode(&decoded), encoded);
    assert_eq!(decoded.len(), tree.len());
}

fn encode(tree: &RevTree) -> Vec<u8> {
    let mut out = Vec::new();
    tree.encode(&mut out);
    out
}
