//! The fixed parts of commit and checkpoint payloads.
//!
//! Commit:
//! ```text
//!    0   8  number of this commit, from 1
//!    8   8  sequence of the database after it
//!   16   8  offset of the previous commit, 0 if none
//!   24   8  offset of the checkpoint it builds on, 0 if none
//!   32   8  durable mark: everything before this offset was synced before this frame was written
//!   40  16  chain before this frame
//!   56   4  length of the edits, which end the payload
//!   60   4  number of edits
//!   64      blobs back to back, then the edits (see `ops`)
//! ```
//! Checkpoint:
//! ```text
//!    0   8  number of the last commit whose edits are in the trees
//!    8   8  sequence of the database after that commit
//!   16   8  offset of that commit
//!   24   8  offset of the previous checkpoint, 0 if none
//!   32   8  replay from this offset: the end of that commit, or this frame if no commit lies between
//!   40  16  chain at that offset
//!   56   8  durable mark
//!   64  16  chain before this frame
//!   80  32  counts: live, deleted, active bytes, external bytes
//!  112  51  roots of by-id, by-seq and keys: height 1, offset 8, length 4, CRC-32 4 each
//!  163   5  zeros
//! ```
//! All numbers are little-endian.

use super::{
    codec::Input,
    frame::{Chain, payload_offset},
};
use crate::{
    store::{Counts, Seq},
    tree::Root,
};

/// Bytes of a commit's fixed part; its first blob follows.
pub(super) const COMMIT_FIXED_BYTES: usize = 64;
/// Bytes of a checkpoint's payload.
pub(super) const CHECKPOINT_BYTES: usize = 168;
const ZEROS_AFTER_ROOTS: usize = 5;

/// Where the first blob of a commit frame at `offset` is.
pub(super) fn first_blob(offset: u64) -> u64 {
    payload_offset(offset).saturating_add(COMMIT_FIXED_BYTES as u64)
}

/// The fixed part of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommitHead {
    pub(super) number: u64,
    pub(super) seq: Seq,
    pub(super) previous: u64,
    pub(super) checkpoint: u64,
    pub(super) durable: u64,
    pub(super) chain: Chain,
    pub(super) ops_len: u32,
    pub(super) ops: u32,
}

impl CommitHead {
    pub(super) fn encode(&self) -> [u8; COMMIT_FIXED_BYTES] {
        let mut out = [0; COMMIT_FIXED_BYTES];
        out[..8].copy_from_slice(&self.number.to_le_bytes());
        out[8..16].copy_from_slice(&self.seq.to_le_bytes());
        out[16..24].copy_from_slice(&self.previous.to_le_bytes());
        out[24..32].copy_from_slice(&self.checkpoint.to_le_bytes());
        out[32..40].copy_from_slice(&self.durable.to_le_bytes());
        out[40..56].copy_from_slice(&self.chain.0.to_le_bytes());
        out[56..60].copy_from_slice(&self.ops_len.to_le_bytes());
        out[60..].copy_from_slice(&self.ops.to_le_bytes());
        out
    }

    /// Reads a commit's payload: the fixed part, and the bytes of its edits.
    pub(super) fn decode(payload: &[u8]) -> Option<(Self, &[u8])> {
        let mut input = Input::new(payload);
        let head = CommitHead {
            number: input.u64()?,
            seq: input.u64()?,
            previous: input.u64()?,
            checkpoint: input.u64()?,
            durable: input.u64()?,
            chain: Chain(input.u128()?),
            ops_len: input.u32()?,
            ops: input.u32()?,
        };
        let blobs = input.rest().len().checked_sub(usize::try_from(head.ops_len).ok()?)?;
        input.take(blobs)?;
        Some((head, input.rest()))
    }
}

/// The roots of a store's trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Roots {
    pub(super) by_id: Root,
    pub(super) by_seq: Root,
    pub(super) keys: Root,
}

impl Roots {
    /// Those of a new store.
    pub(super) fn empty() -> Self {
        Roots { by_id: Root::EMPTY, by_seq: Root::EMPTY, keys: Root::EMPTY }
    }
}

/// A checkpoint's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CheckpointRecord {
    pub(super) number: u64,
    pub(super) seq: Seq,
    pub(super) commit: u64,
    pub(super) previous: u64,
    pub(super) replay_from: u64,
    pub(super) replay_chain: Chain,
    pub(super) durable: u64,
    pub(super) chain: Chain,
    pub(super) counts: Counts,
    pub(super) roots: Roots,
}

impl CheckpointRecord {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CHECKPOINT_BYTES);
        for number in [self.number, self.seq, self.commit, self.previous, self.replay_from] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.replay_chain.0.to_le_bytes());
        out.extend_from_slice(&self.durable.to_le_bytes());
        out.extend_from_slice(&self.chain.0.to_le_bytes());
        let counts = &self.counts;
        for number in [counts.live, counts.deleted, counts.active_bytes, counts.external_bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for root in [&self.roots.by_id, &self.roots.by_seq, &self.roots.keys] {
            out.extend_from_slice(&root.to_bytes());
        }
        out.resize(CHECKPOINT_BYTES, 0);
        out
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let mut input = Input::new(payload);
        let record = CheckpointRecord {
            number: input.u64()?,
            seq: input.u64()?,
            commit: input.u64()?,
            previous: input.u64()?,
            replay_from: input.u64()?,
            replay_chain: Chain(input.u128()?),
            durable: input.u64()?,
            chain: Chain(input.u128()?),
            counts: Counts {
                live: input.u64()?,
                deleted: input.u64()?,
                active_bytes: input.u64()?,
                external_bytes: input.u64()?,
            },
            roots: Roots {
                by_id: Root::from_bytes(input.take(Root::ENCODED_BYTES)?)?,
                by_seq: Root::from_bytes(input.take(Root::ENCODED_BYTES)?)?,
                keys: Root::from_bytes(input.take(Root::ENCODED_BYTES)?)?,
            },
        };
        (input.rest() == [0; ZEROS_AFTER_ROOTS]).then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::NodeRef;

    #[test]
    fn a_commit_head_comes_back() {
        let head = CommitHead {
            number: 1,
            seq: 2,
            previous: 3,
            checkpoint: 4,
            durable: 5,
            chain: Chain(6),
            ops_len: 3,
            ops: 8,
        };
        let mut payload = head.encode().to_vec();
        payload.extend_from_slice(b"blobopsx");
        assert_eq!(CommitHead::decode(&payload), Some((head, b"psx".as_slice())));
        assert_eq!(CommitHead::decode(&payload[..COMMIT_FIXED_BYTES + 2]), None);
    }

    #[test]
    fn a_checkpoint_comes_back() {
        let root = |n: u32| Root {
            node: Some(NodeRef { offset: u64::from(n), len: n, crc: n }),
            height: 2,
        };
        let record = CheckpointRecord {
            number: 1,
            seq: 2,
            commit: 3,
            previous: 4,
            replay_from: 5,
            replay_chain: Chain(6),
            durable: 7,
            chain: Chain(8),
            counts: Counts { live: 9, deleted: 10, active_bytes: 11, external_bytes: 12 },
            roots: Roots { by_id: root(13), by_seq: root(14), ..Roots::empty() },
        };
        let bytes = record.encode();
        assert_eq!(bytes.len(), CHECKPOINT_BYTES);
        assert_eq!(CheckpointRecord::decode(&bytes), Some(record));
        assert_eq!(CheckpointRecord::decode(&bytes[1..]), None);
    }
}
