//! What the two indexes hold about a document.
//!
//! ```text
//! by-id  = winner tree                                 the tree as in `revtree::codec`
//! by-seq = winner others:varint other…
//! winner = flags:u8 id generation:varint body:16
//! other  = flags:u8 id generation:varint
//! ```
//!
//! The winner stands in front, so that reading a document or listing it needs neither the tree nor
//! the other leaves; the other leaves stand beside it in the by-seq index, so that a changes feed
//! needs no look-up by id.

use settee_storage::BlobRef;

use crate::{
    codec::{Reader, put_varint},
    error::{Error, Result},
    revision::Rev,
    revtree::{NodeIndex, RevTree, Straight, decode_id, encode_id},
};

const DELETED: u8 = 1;
const CONFLICTS: u8 = 2;
const DELETED_CONFLICTS: u8 = 8;

/// Bytes that a winner takes, in most cases.
const HEAD_BYTES: usize = 48;
/// Bytes that a revision of a tree takes, in most cases.
const REVISION_BYTES: usize = 48;

/// A document's winning revision, as both indexes hold it in front of their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Winner {
    /// The revision.
    pub rev: Rev,
    /// It is a tombstone: the document counts as deleted.
    pub deleted: bool,
    /// There are other live leaves.
    pub has_conflicts: bool,
    /// There are other deleted leaves.
    pub has_deleted_conflicts: bool,
    /// The blob with the revision's [`super::Summary`].
    pub body: BlobRef,
}

impl Winner {
    /// The winner of `tree`; `None` if the tree is empty.
    #[must_use]
    pub fn of(tree: &RevTree) -> Option<Self> {
        Winner::among(tree, &tree.leaves())
    }

    /// The first of `tree`'s leaves.
    fn among(tree: &RevTree, leaves: &[NodeIndex]) -> Option<Self> {
        let (winner, others) = leaves.split_first()?;
        let stored = tree.stored(*winner)?;
        Some(Winner {
            rev: tree.rev(*winner).clone(),
            deleted: stored.deleted,
            has_conflicts: others.iter().any(|leaf| !tree.is_deleted(*leaf)),
            has_deleted_conflicts: others.iter().any(|leaf| tree.is_deleted(*leaf)),
            body: stored.body,
        })
    }

    /// Whether there are other leaves.
    #[must_use]
    pub fn has_losers(&self) -> bool {
        self.has_conflicts || self.has_deleted_conflicts
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        for (flag, set) in [
            (DELETED, self.deleted),
            (CONFLICTS, self.has_conflicts),
            (DELETED_CONFLICTS, self.has_deleted_conflicts),
        ] {
            flags |= if set { flag } else { 0 };
        }
        encode_id(&self.rev.id, flags, out);
        put_varint(out, self.rev.generation);
        out.extend_from_slice(&self.body.to_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let (flags, id) = decode_id(reader)?;
        let rev = Rev::new(reader.varint()?, id);
        Ok(Winner {
            rev,
            deleted: flags & DELETED != 0,
            has_conflicts: flags & CONFLICTS != 0,
            has_deleted_conflicts: flags & DELETED_CONFLICTS != 0,
            body: reader.blob()?,
        })
    }
}

/// A document's value in the by-id index, read as far as its winner.
#[derive(Clone, Debug)]
pub struct DocHead<'a> {
    /// The winning revision.
    pub winner: Winner,
    tree: &'a [u8],
}

impl<'a> DocHead<'a> {
    /// Reads the front of a by-id value.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the bytes are not what [`encode_doc`] writes.
    pub fn decode(value: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(value, "document entry");
        let winner = Winner::decode(&mut reader)?;
        Ok(DocHead { winner, tree: reader.rest() })
    }

    /// Reads the revision tree behind it.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the bytes are not what [`encode_doc`] writes.
    pub fn tree(&self) -> Result<RevTree> {
        RevTree::decode(self.tree)
    }

    /// Reads the revision tree behind it if it has only one leaf.
    ///
    /// # Errors
    /// As [`DocHead::tree`].
    pub(crate) fn straight_tree(&self) -> Result<Option<Straight<'a>>> {
        Straight::decode(self.tree)
    }
}

/// The by-id value of a document with this tree.
///
/// # Errors
/// [`Error::Damaged`] if the tree is empty: such a document is removed, not written.
pub fn encode_doc(tree: &RevTree) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    put_doc(tree, &tree.leaves(), &mut out)?;
    Ok(out)
}

/// Appends the by-id value of a document whose tree has these leaves, the winner first.
///
/// # Errors
/// As [`encode_doc`].
pub(crate) fn put_doc(tree: &RevTree, leaves: &[NodeIndex], out: &mut Vec<u8>) -> Result<()> {
    out.reserve(HEAD_BYTES + tree.len() * REVISION_BYTES);
    Winner::among(tree, leaves).ok_or(Error::Damaged("revision tree"))?.encode(out);
    tree.encode_with(leaves, out);
    Ok(())
}

/// Appends both values of a document whose tree has one leaf, without what is stored of the other revisions.
///
/// # Errors
/// [`Error::Damaged`] if the tree is.
pub(crate) fn put_straight(
    tree: &Straight<'_>,
    by_id: &mut Vec<u8>,
    by_seq: &mut Vec<u8>,
) -> Result<()> {
    let winner = Winner {
        rev: tree.rev.clone(),
        deleted: tree.stored.deleted,
        has_conflicts: false,
        has_deleted_conflicts: false,
        body: tree.stored.body,
    };
    by_id.reserve(HEAD_BYTES + tree.len() * REVISION_BYTES);
    winner.encode(by_id);
    tree.encode_leaf_only(by_id)?;
    by_seq.reserve(HEAD_BYTES);
    winner.encode(by_seq);
    put_varint(by_seq, 0);
    Ok(())
}

/// A leaf other than the winner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherLeaf {
    /// The revision.
    pub rev: Rev,
    /// It is a tombstone.
    pub deleted: bool,
}

/// A document's value in the by-seq index.
#[derive(Clone, Debug)]
pub struct ChangeEntry<'a> {
    /// The winning revision.
    pub winner: Winner,
    others: Reader<'a>,
}

impl<'a> ChangeEntry<'a> {
    /// Reads the front of a by-seq value.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the bytes are not what [`encode_change`] writes.
    pub fn decode(value: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(value, "change entry");
        let winner = Winner::decode(&mut reader)?;
        Ok(ChangeEntry { winner, others: reader })
    }

    /// The leaves besides the winner: live ones first, each kind in descending order.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the bytes are not what [`encode_change`] writes.
    pub fn others(&self) -> Result<Vec<OtherLeaf>> {
        let mut reader = self.others;
        let count = reader.count()?;
        let mut others = Vec::with_capacity(count);
        for _ in 0..count {
            let (flags, id) = decode_id(&mut reader)?;
            let rev = Rev::new(reader.varint()?, id);
            others.push(OtherLeaf { rev, deleted: flags & DELETED != 0 });
        }
        Ok(others)
    }
}

/// The by-seq value of a document with this tree.
///
/// # Errors
/// [`Error::Damaged`] if the tree is empty.
pub fn encode_change(tree: &RevTree) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    put_change(tree, &tree.leaves(), &mut out)?;
    Ok(out)
}

/// Appends the by-seq value of a document whose tree has these leaves, the winner first.
///
/// # Errors
/// As [`encode_change`].
pub(crate) fn put_change(tree: &RevTree, leaves: &[NodeIndex], out: &mut Vec<u8>) -> Result<()> {
    out.reserve(HEAD_BYTES);
    Winner::among(tree, leaves).ok_or(Error::Damaged("revision tree"))?.encode(out);
    let others = leaves.get(1..).unwrap_or_default();
    put_varint(out, others.len() as u64);
    for leaf in others {
        let rev = tree.rev(*leaf);
        encode_id(&rev.id, if tree.is_deleted(*leaf) { DELETED } else { 0 }, out);
        put_varint(out, rev.generation);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{revision::RevId, revtree::test_trees::any_tree};

    proptest! {
        #[test]
        fn entries_say_what_the_tree_says(tree in any_tree()) {
            let by_id = encode_doc(&tree).unwrap();
            let head = DocHead::decode(&by_id).unwrap();
            prop_assert_eq!(&head.winner, &Winner::of(&tree).unwrap());
            prop_assert_eq!(head.winner.has_conflicts, !tree.conflicts().is_empty());
            prop_assert_eq!(head.winner.has_deleted_conflicts, !tree.deleted_conflicts().is_empty());
            prop_assert_eq!(head.tree().unwrap().len(), tree.len());

            let by_seq = encode_change(&tree).unwrap();
            let change = ChangeEntry::decode(&by_seq).unwrap();
            prop_assert_eq!(&change.winner, &head.winner);
            let others: Vec<_> = change.others().unwrap().into_iter().map(|leaf| (leaf.rev, leaf.deleted)).collect();
            let leaves: Vec<_> = tree.leaves().into_iter().skip(1).map(|leaf| (tree.rev(leaf).clone(), tree.is_deleted(leaf))).collect();
            prop_assert_eq!(others, leaves);
        }

        #[test]
        fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = DocHead::decode(&bytes).map(|head| head.tree());
            let _ = ChangeEntry::decode(&bytes).map(|change| change.others());
        }

        #[test]
        fn every_truncation_is_noticed(tree in any_tree(), cut in any::<prop::sample::Index>()) {
            let by_id = encode_doc(&tree).unwrap();
            let cut = &by_id[..cut.index(by_id.len())];
            prop_assert!(DocHead::decode(cut).and_then(|head| head.tree()).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_tree_with_one_leaf_needs_not_be_made(tree in any_tree()) {
            let by_id = encode_doc(&tree).unwrap();
            let straight = DocHead::decode(&by_id).unwrap().straight_tree().unwrap();
            prop_assert_eq!(straight.is_some(), tree.leaves().len() == 1);
            if let Some(straight) = straight {
                let mut kept = tree.clone();
                kept.forget_interior_bodies();
                let (mut by_id, mut by_seq) = (Vec::new(), Vec::new());
                put_straight(&straight, &mut by_id, &mut by_seq).unwrap();
                prop_assert_eq!(by_id, encode_doc(&kept).unwrap());
                prop_assert_eq!(by_seq, encode_change(&kept).unwrap());
            }
        }

        #[test]
        fn what_is_no_tree_is_none_with_one_leaf_either(mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            // One branch, so that it is read any further.
            bytes.insert(0, 1);
            let tree = &bytes[..];
            let body = BlobRef { offset: 0, len: 0, crc: 0 };
            let rev = Rev::new(1, RevId::Hash([0; 16]));
            let winner = Winner { rev, deleted: false, has_conflicts: false, has_deleted_conflicts: false, body };
            let head = DocHead { winner, tree };
            let written = head.straight_tree().and_then(|tree| match tree {
                Some(tree) => put_straight(&tree, &mut Vec::new(), &mut Vec::new()).map(|()| true),
                None => Ok(false),
            });
            prop_assert!(!matches!(written, Ok(true)) || head.tree().is_ok());
        }
    }

    #[test]
    fn an_empty_tree_is_not_written() {
        assert!(encode_doc(&RevTree::new()).is_err());
        assert!(encode_change(&RevTree::new()).is_err());
    }
}
