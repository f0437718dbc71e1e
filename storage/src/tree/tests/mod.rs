//! The tree as a whole, against `BTreeMap`.

mod fold;
mod hostile;
mod model;
mod shape;

use std::collections::BTreeMap;

use super::{Malformed, NodeBuffer, Reduce, Root, Tree, build, merge};

pub(super) type Map = BTreeMap<Vec<u8>, Vec<u8>>;
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Counts entries and the bytes of their keys and values, in a form whose length varies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes;

impl Reduce for Sizes {
    type Sum = (u64, u64);
    fn leaf(&self, key: &[u8], value: &[u8]) -> Result<Self::Sum, Malformed> {
        Ok((1, (key.len() + value.len()) as u64))
    }
    fn add(&self, into: &mut Self::Sum, other: &Self::Sum) {
        *into = (into.0.saturating_add(other.0), into.1.saturating_add(other.1));
    }
    fn encode(&self, sum: &Self::Sum, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{} {}", sum.0, sum.1).as_bytes());
    }
    fn decode(&self, bytes: &[u8]) -> Result<Self::Sum, Malformed> {
        let read = || {
            let (a, b) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
            Some((a.parse().ok()?, b.parse().ok()?))
        };
        read().ok_or(Malformed("not two numbers"))
    }
}

/// A tree, its nodes, and what should be in it.
#[derive(Default)]
pub(super) struct Subject {
    pub(super) nodes: NodeBuffer,
    pub(super) root: Root,
    pub(super) model: Map,
}

impl Subject {
    pub(super) fn build(model: Map) -> Self {
        let mut nodes = NodeBuffer::default();
        let root = build(&model, Sizes, &mut nodes).unwrap();
        Subject { nodes, root, model }
    }

    pub(super) fn merge(&mut self, changes: &Changes) {
        let mut more = self.nodes.next();
        let borrowed = changes.iter().map(|(key, value)| (key, value.as_ref()));
        self.root = merge(&self.nodes, self.root, Sizes, borrowed, &mut more).unwrap();
        self.nodes.absorb(&more);
        for (key, value) in changes {
            match value {
                Some(value) => self.model.insert(key.clone(), value.clone()),
                None => self.model.remove(key),
            };
        }
    }

    pub(super) fn tree(&self) -> Tree<'_, NodeBuffer, Sizes> {
        Tree::new(&self.nodes, self.root, Sizes)
    }
}

/// A small deterministic source of numbers (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
