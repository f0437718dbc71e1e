//! Tests of the revision tree.

pub(crate) mod test_trees {
    use proptest::prelude::*;
    use settee_storage::BlobRef;

    use crate::{RevTree, revision::RevId, revtree::Stored};

    pub(crate) fn stored(seq: u64, deleted: bool) -> Stored {
        let body = BlobRef { offset: seq * 1000, len: 10, crc: seq as u32 };
        Stored { deleted, body, seq, active_bytes: 10, external_bytes: 12 }
    }

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
