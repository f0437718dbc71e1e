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
    /// Members to be left out, each with the comma behind it, in the order their objects ended.
    dropped: Vec<Range<usize>>,
    hashes: Vec<u64>,
}

impl Names {
    pub(super) fn reset(&mut self) {
        self.stack.clear();
        self.top.clear();
        self.dropped.clear();
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

    /// Of the names from `base` on notes those that come again. Their members are taken out when the
    /// whole value has been read, all at once: object by object, deep nesting would take time that
    /// grows with the square of the text.
    pub(super) fn mark_repeated(&mut self, base: usize, out: &[u8]) {
        let names = self.stack.get(base..).unwrap_or_default();
        let text = |name: &Name| out.get(name.start..name.end).unwrap_or_default();
        let last: HashMap<&[u8], usize> =
            names.iter().map(|name| (text(name), name.start)).collect();
        for (name, next) in names.iter().zip(names.iter().skip(1)) {
            if last.get(text(name)).is_some_and(|last| *last != name.start) {
                self.dropped.push(name.start..next.start);
            }
        }
    }

    /// Takes the members noted out of the value that ends `out`.
    pub(super) fn drop_marked(&mut self, out: &mut Vec<u8>) {
        if self.dropped.is_empty() {
            return;
        }
        let gaps = Gaps::new(std::mem::take(&mut self.dropped));
        self.top.retain(|member| !gaps.cover(member.name.start));
        for member in &mut self.top {
            for place in [&mut member.name, &mut member.value] {
                *place = gaps.moved(place.start)..gaps.moved(place.end);
            }
        }
        gaps.close(out);
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

/// Stretches to be taken out of a text: apart from each other, ascending.
struct Gaps(Vec<Gap>);

struct Gap {
    range: Range<usize>,
    /// Bytes of this gap and of all before it.
    total: usize,
}

impl Gaps {
    /// From ranges of which one may lie inside another.
    fn new(mut ranges: Vec<Range<usize>>) -> Self {
        ranges.sort_unstable_by_key(|range| range.start);
        let mut gaps: Vec<Gap> = Vec::with_capacity(ranges.len());
        for range in ranges {
            let (end, total) = gaps.last().map_or((0, 0), |gap| (gap.range.end, gap.total));
            if range.start >= end {
                gaps.push(Gap { total: total + range.len(), range });
            }
        }
        Gaps(gaps)
    }

    /// The last gap that begins at `place` or before.
    fn before(&self, place: usize) -> Option<&Gap> {
        let count = self.0.partition_point(|gap| gap.range.start <= place);
        self.0.get(count.checked_sub(1)?)
    }

    fn cover(&self, place: usize) -> bool {
        self.before(place).is_some_and(|gap| gap.range.contains(&place))
    }

    /// Where a place outside all gaps is when they are closed.
    fn moved(&self, place: usize) -> usize {
        place - self.before(place).map_or(0, |gap| gap.total)
    }

    fn close(&self, out: &mut Vec<u8>) {
        let mut length = self.0.first().map_or(out.len(), |gap| gap.range.start);
        let ends = self.0.iter().skip(1).map(|next| next.range.start).chain([out.len()]);
        for (gap, end) in self.0.iter().zip(ends) {
            out.copy_within(gap.range.end..end, length);
            length += end - gap.range.end;
        }
        out.truncate(length);
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
