//! The members of the objects being read, and what to do when a name is repeated.

use std::{collections::HashMap, hash::BuildHasher, ops::Range, sync::OnceLock};

/// Up to so many members are compared pair by pair.
const FEW_MEMBERS: usize = 16;

/// A member of an object, by its place in the scanner's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name, without its quotes, in CouchDB's spelling.
    pub name: Range<usize>,
    /// The value.
    pub value: Range<usize>,
}

/// A name that was read.
#[derive(Clone, Copy)]
struct Name {
    /// From the opening quote…
    start: usize,
    /// …to behind the closing one.
    end: usize,
    hash: u64,
}

/// The names of all open objects, outermost first.
#[derive(Default)]
pub(super) struct Names {
    stack: Vec<Name>,
    top: Vec<Member>,
    hashes: Vec<u64>,
}

impl Names {
    pub(super) fn reset(&mut self) {
        self.stack.clear();
        self.top.clear();
    }

    pub(super) fn top(&self) -> &[Member] {
        &self.top
    }

    pub(super) fn begin_object(&self) -> usize {
        self.stack.len()
    }

    /// Notes a name that goes from `start` to `end` in the output and reads `quoted`.
    pub(super) fn push(&mut self, start: usize, end: usize, quoted: &[u8]) {
        self.stack.push(Name { start, end, hash: hash(quoted) });
    }

    /// True if the names from `base` on are perhaps not all different.
    pub(super) fn may_repeat(&mut self, base: usize) -> bool {
        let names = self.stack.get(base..).unwrap_or_default();
        if names.len() <= FEW_MEMBERS {
            let mut rest = names;
            while let Some((name, others)) = rest.split_first() {
                if others.iter().any(|other| other.hash == name.hash) {
                    return true;
                }
                rest = others;
            }
            return false;
        }
        self.hashes.clear();
        self.hashes.extend(names.iter().map(|name| name.hash));
        self.hashes.sort_unstable();
        self.hashes.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// Of members with the same name keeps the last. The object begins at `start` of the output and
    /// goes to its end; its names are those from `base` on.
    pub(super) fn drop_repeated(&mut self, base: usize, start: usize, out: &mut Vec<u8>) {
        let names = self.stack.split_off(base);
        let ends: Vec<_> =
            names.iter().skip(1).map(|next| next.start - 1).chain([out.len()]).collect();
        let object = out.split_off(start);
        let text = |range: Range<usize>| {
            object.get(range.start - start..range.end - start).unwrap_or_default()
        };
        let last: HashMap<&[u8], usize> =
            names.iter().map(|name| (text(name.start..name.end), name.start)).collect();
        out.push(b'{');
        for (name, end) in names.iter().zip(ends) {
            let whole = text(name.start..end);
            let quoted = text(name.start..name.end);
            if last.get(quoted).is_some_and(|last| *last != name.start) {
                continue;
            }
            if out.len() > start + 1 {
                out.push(b',');
            }
            let moved = Name { start: out.len(), end: out.len() + quoted.len(), hash: name.hash };
            self.stack.push(moved);
            out.extend_from_slice(whole);
        }
    }

    /// Forgets the names of an object whose closing bracket comes at `end` of the output, or, if it is
    /// the outermost, makes its members known.
    pub(super) fn end_object(&mut self, base: usize, end: usize, outermost: bool) {
        if outermost {
            let names = self.stack.get(base..).unwrap_or_default();
            let ends = names.iter().skip(1).map(|next| next.start - 1).chain([end]);
            self.top.extend(names.iter().zip(ends).map(|(name, end)| Member {
                name: name.start + 1..name.end - 1,
                value: name.end + 1..end,
            }));
        }
        self.stack.truncate(base);
    }
}

/// A hash that no sender can foresee: equal ones make work.
fn hash(name: &[u8]) -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    let seed = *SEED.get_or_init(|| std::hash::RandomState::new().hash_one(0) | 1);
    let mut hash = seed ^ name.len() as u64;
    let (words, tail) = name.as_chunks::<8>();
    for word in words {
        hash = fold(hash ^ u64::from_le_bytes(*word), seed);
    }
    let tail = tail.iter().fold(0, |word: u64, byte| word << 8 | u64::from(*byte));
    fold(hash ^ tail, seed)
}

/// Both halves of the product, so that every bit of either factor counts.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
