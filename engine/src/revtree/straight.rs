//! The stored form of a tree that has one leaf, read and written anew without making the tree: nearly all
//! trees are such, and a compaction has to look at every one.

use super::{
    Stored,
    codec::{decode_node, encode_id, encode_stored},
};
use crate::{
    codec::{Reader, put_varint},
    error::Result,
    revision::{MAX_GENERATION, Rev},
};

/// A tree of one branch.
#[derive(Clone, Debug)]
pub(crate) struct Straight<'a> {
    /// The leaf.
    pub(crate) rev: Rev,
    /// What is stored of it.
    pub(crate) stored: Stored,
    /// Its ancestors, the youngest first.
    ancestors: Reader<'a>,
    count: usize,
}

impl<'a> Straight<'a> {
    /// Reads the front of a tree; `None` if it has several branches.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`] if the bytes are not what [`super::RevTree::encode`] writes.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Option<Self>> {
        let mut reader = Reader::new(bytes, "revision tree");
        if reader.count()? != 1 {
            return Ok(None);
        }
        let (generation, count, link) = (reader.varint()?, reader.count()?, reader.varint()?);
        let is_possible = generation <= MAX_GENERATION && link == 0;
        let ancestors = count.checked_sub(1).filter(|count| *count as u64 <= generation);
        let (Some(count), true) = (ancestors, is_possible) else { return Err(reader.damaged()) };
        let (id, Some(stored)) = decode_node(&mut reader)? else { return Err(reader.damaged()) };
        let rev = Rev::new(generation, id);
        Ok(Some(Straight { rev, stored, ancestors: reader, count }))
    }

    /// Number of revisions.
    pub(crate) fn len(&self) -> usize {
        self.count + 1
    }

    /// Appends the stored form, without what is stored of the ancestors.
    ///
    /// # Errors
    /// As [`Straight::decode`].
    pub(crate) fn encode_leaf_only(&self, out: &mut Vec<u8>) -> Result<()> {
        put_varint(out, 1);
        put_varint(out, self.rev.generation);
        put_varint(out, self.len() as u64);
        put_varint(out, 0);
        encode_stored(&self.rev.id, Some(&self.stored), out);
        let mut ancestors = self.ancestors;
        for _ in 0..self.count {
            encode_id(&decode_node(&mut ancestors)?.0, 0, out);
        }
        if ancestors.is_empty() { Ok(()) } else { Err(ancestors.damaged()) }
    }
}
