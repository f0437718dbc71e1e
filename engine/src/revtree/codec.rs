//! The stored form of a tree.
//!
//! ```text
//! tree    = branches:varint branch…
//! branch  = generation:varint count:varint link:varint node…      newest node first
//! node    = flags:u8 id [seq:varint body:16 active:varint external:varint]
//! id      = 16 bytes, or length:varint bytes if the flag OPAQUE is set
//! ```
//!
//! A branch runs from a leaf down to a root (`link` 0) or to just above a node of the branch
//! `link - 1`, whose generation follows from `generation` and `count`. The winner's branch comes
//! first. Because the newest node stands in front, an edit of a document with one long branch changes
//! a few bytes at the front (and cuts off the end, when the branch is stemmed); all between stays, and
//! the store logs the difference only.

use super::{NONE, Node, NodeIndex, RevTree, Stored, some};
use crate::{
    codec::{Reader, put_bytes, put_varint},
    error::Result,
    revision::{MAX_GENERATION, MAX_OPAQUE_BYTES, Rev, RevId},
};

const STORED: u8 = 1;
const DELETED: u8 = 2;
const OPAQUE: u8 = 4;

/// One branch of the stored form while it is read.
struct Branch {
    /// Index of its newest node.
    first: u32,
    generation: u64,
    count: u64,
}

impl RevTree {
    /// Appends the stored form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_with(&self.leaves(), out);
    }

    /// Appends the stored form of a tree whose leaves are known, the winner first.
    pub(crate) fn encode_with(&self, leaves: &[NodeIndex], out: &mut Vec<u8>) {
        put_varint(out, leaves.len() as u64);
        if let [leaf] = leaves {
            return self.encode_only_branch(*leaf, out);
        }
        let mut branch_of = vec![NONE; self.nodes.len()];
        for (branch, leaf) in leaves.iter().enumerate() {
            // There are fewer branches than nodes, and those fit.
            self.encode_branch(branch as u32, leaf.0, &mut branch_of, out);
        }
    }

    fn encode_only_branch(&self, leaf: NodeIndex, out: &mut Vec<u8>) {
        put_varint(out, self.rev(leaf).generation);
        put_varint(out, self.nodes.len() as u64);
        put_varint(out, 0);
        for node in self.path(leaf) {
            encode_node(self.node(node.0), out);
        }
    }

    fn encode_branch(&self, branch: u32, leaf: u32, branch_of: &mut [u32], out: &mut Vec<u8>) {
        let own: Vec<u32> = self
            .path(NodeIndex(leaf))
            .map(|node| node.0)
            .take_while(|at| branch_of[*at as usize] == NONE)
            .collect();
        let link = own.last().and_then(|last| some(self.node(*last).parent));
        put_varint(out, self.node(leaf).rev.generation);
        put_varint(out, own.len() as u64);
        put_varint(out, link.map_or(0, |parent| u64::from(branch_of[parent as usize]) + 1));
        for at in own {
            branch_of[at as usize] = branch;
            encode_node(self.node(at), out);
        }
    }

    /// Reads the stored form back.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`] if the bytes are not what [`RevTree::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, "revision tree");
        let mut tree = RevTree::new();
        let mut branches = Vec::new();
        for _ in 0..reader.count()? {
            let branch = tree.decode_branch(&branches, &mut reader)?;
            branches.push(branch);
        }
        if !reader.is_empty() {
            return Err(reader.damaged());
        }
        tree.sort_roots();
        Ok(tree)
    }

    fn decode_branch(&mut self, before: &[Branch], reader: &mut Reader<'_>) -> Result<Branch> {
        let generation = reader.varint()?;
        let count = reader.count()?;
        let link = reader.varint()?;
        if generation > MAX_GENERATION || count == 0 || count as u64 - 1 > generation {
            return Err(reader.damaged());
        }
        let branch = Branch { first: self.count(), generation, count: count as u64 };
        // And one more, which an edit is likely to add.
        self.nodes.reserve(count + 1);
        for (back, generation) in (0..count).zip((0..=generation).rev()) {
            let (id, stored) = decode_node(reader)?;
            let at = self.push(Rev::new(generation, id), stored);
            match back {
                0 if stored.is_none() => return Err(reader.damaged()),
                0 => {}
                _ => self.attach(at, at - 1),
            }
        }
        let last = self.count() - 1;
        match link.checked_sub(1) {
            None => self.roots.push(last),
            Some(link) => {
                let parent = parent_in(before, link, &branch).ok_or_else(|| reader.damaged())?;
                self.attach(parent, last);
            }
        }
        Ok(branch)
    }
}

/// Where the parent of `branch`'s oldest node is, in the branch number `link`.
fn parent_in(before: &[Branch], link: u64, branch: &Branch) -> Option<u32> {
    let generation = branch.generation.checked_sub(branch.count)?;
    let owner = before.get(usize::try_from(link).ok()?)?;
    let back = owner.generation.checked_sub(generation).filter(|back| *back < owner.count)?;
    owner.first.checked_add(u32::try_from(back).ok()?)
}

fn encode_node(node: &Node, out: &mut Vec<u8>) {
    encode_stored(&node.rev.id, node.stored.as_ref(), out);
}

/// Appends a revision and what is stored of it.
pub(super) fn encode_stored(id: &RevId, stored: Option<&Stored>, out: &mut Vec<u8>) {
    let mut flags = 0;
    if let Some(stored) = stored {
        flags |= STORED;
        flags |= if stored.deleted { DELETED } else { 0 };
    }
    encode_id(id, flags, out);
    if let Some(stored) = stored {
        put_varint(out, stored.seq);
        out.extend_from_slice(&stored.body.to_bytes());
        put_varint(out, stored.active_bytes);
        put_varint(out, stored.external_bytes);
    }
}

/// Reads a revision and what is stored of it.
pub(super) fn decode_node(reader: &mut Reader<'_>) -> Result<(RevId, Option<Stored>)> {
    let (flags, id) = decode_id(reader)?;
    let stored = match flags & (STORED | DELETED) {
        0 => None,
        DELETED => return Err(reader.damaged()),
        flags => {
            let (seq, body) = (reader.varint()?, reader.blob()?);
            let (active_bytes, external_bytes) = (reader.varint()?, reader.varint()?);
            Some(Stored { deleted: flags & DELETED != 0, body, seq, active_bytes, external_bytes })
        }
    };
    Ok((id, stored))
}

/// Appends `flags`, completed by the form of the id, and the id.
pub(crate) fn encode_id(id: &RevId, flags: u8, out: &mut Vec<u8>) {
    match id {
        RevId::Hash(bytes) => {
            out.push(flags);
            out.extend_from_slice(bytes);
        }
        RevId::Opaque(bytes) => {
            out.push(flags | OPAQUE);
            put_bytes(out, bytes);
        }
    }
}

/// Reads flags and an id; the flag for the id's form is taken out.
pub(crate) fn decode_id(reader: &mut Reader<'_>) -> Result<(u8, RevId)> {
    let flags = reader.byte()?;
    let id = if flags & OPAQUE == 0 {
        RevId::Hash(reader.array()?)
    } else {
        let bytes = reader.bytes()?;
        if bytes.len() > MAX_OPAQUE_BYTES {
            return Err(reader.damaged());
        }
        RevId::Opaque(bytes.into())
    };
    Ok((flags & !OPAQUE, id))
}
