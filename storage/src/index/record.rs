//! The record that says where the trees of a state are.
//!
//! ```text
//!    0   8  offset of the record before this one, 0 if none
//!    8   8  durable mark: everything before this offset was synced before this frame was written
//!   16  16  chain at that offset
//!   32  16  chain before this frame
//!   48   2  t: number of trees
//!   50 17t  their roots: height 1, then offset 8, length 4, CRC-32 4; all zeros if empty
//!           the owner's bytes, up to the end of the payload
//! ```

use crate::{codec::Input, file::frame::Chain, tree::Root};

/// Most trees of one file.
pub const MAX_TREES: usize = 1024;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) previous: u64,
    pub(super) durable: u64,
    pub(super) durable_chain: Chain,
    pub(super) chain: Chain,
    pub(super) roots: Vec<Root>,
    pub(super) meta: Vec<u8>,
}

impl Record {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.previous.to_le_bytes());
        out.extend_from_slice(&self.durable.to_le_bytes());
        out.extend_from_slice(&self.durable_chain.0.to_le_bytes());
        out.extend_from_slice(&self.chain.0.to_le_bytes());
        let trees = u16::try_from(self.roots.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&trees.to_le_bytes());
        for root in &self.roots {
            out.extend_from_slice(&root.to_bytes());
        }
        out.extend_from_slice(&self.meta);
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let mut input = Input::new(payload);
        let previous = input.u64()?;
        let durable = input.u64()?;
        let durable_chain = Chain(input.u128()?);
        let chain = Chain(input.u128()?);
        let trees = usize::from(u16::from_le_bytes(input.array()?));
        if trees > MAX_TREES {
            return None;
        }
        let mut roots = Vec::with_capacity(trees);
        for _ in 0..trees {
            roots.push(Root::from_bytes(input.take(Root::ENCODED_BYTES)?)?);
        }
        let meta = input.rest().to_vec();
        Some(Record { previous, durable, durable_chain, chain, roots, meta })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::NodeRef;

    #[test]
    fn a_record_reads_back() {
        let node = NodeRef { offset: 9, len: 8, crc: 7 };
        let record = Record {
            previous: 1,
            durable: 2,
            durable_chain: Chain(3),
            chain: Chain(4),
            roots: vec![Root::EMPTY, Root { node: Some(node), height: 1 }],
            meta: b"meta".to_vec(),
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(Record::decode(&bytes), Some(record));
        for cut in 0..bytes.len() - 4 {
            assert_eq!(Record::decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }
}
