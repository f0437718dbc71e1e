//! The layout of a node, its writer, and the reader that searches it in place.
//!
//! ```text
//! offset          bytes  field
//! 0               1      level: 0 for leaves, otherwise one more than that of the children
//! 1               1      zero
//! 2               2      n, the number of entries (at least 1)
//! 4               2      p, the length of the prefix that all keys share
//! 6               2      zero
//! 8               p      the prefix
//! 8 + p           4n     heads: the first four bytes of each key behind the prefix, zero-padded
//! 8 + p +  4n     6n     places: where each entry ends in the heap (4), length of its key behind the
//!                        prefix (2)
//! 8 + p + 10n            heap: for each entry the key behind its head, then the value
//! ```
//!
//! Numbers are little-endian; nothing needs alignment. Keys ascend strictly. In a leaf an entry is a key
//! and its value. In an inner node the key is a separator (not greater than any key below the child,
//! greater than every key before it; that of the first child counts as minus infinity) and the value
//! is the child's reference followed by its sum.
//!
//! The heads lie together so that most of a binary search touches a few cache lines; the rest of a key
//! is looked at only where heads are equal. Prefix and length share the first line, end and length of an
//! entry another, because in a large tree it is the lines that a lookup waits for. The reader takes no byte on trust: whatever a node claims is
//! checked before it is used, and a claim that cannot be true is [`Malformed`].

use std::{cmp::Ordering, ops::Range};

use super::{Malformed, NodeRef};

/// Length of the fixed part in front of the slots.
const HEADER_BYTES: usize = 8;
/// How much of a key lies among the heads.
const HEAD_BYTES: usize = 4;
/// Bytes that say where an entry lies: its end, the length of its key.
const PLACE_BYTES: usize = 6;

/// A node being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'n> {
    heads: &'n [[u8; 4]],
    places: &'n [[u8; PLACE_BYTES]],
    prefix: &'n [u8],
    heap: &'n [u8],
    /// Where the heap begins in the node.
    heap_at: usize,
}

/// One entry: the key behind the node's prefix in two pieces, and the value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'n> {
    head: [u8; 4],
    /// Length of the key behind the prefix.
    key_len: usize,
    /// The key behind the head.
    rest: &'n [u8],
    pub(super) value: &'n [u8],
    /// Where the value ends in the heap.
    end: usize,
}

impl<'n> Entry<'n> {
    /// The two pieces of the key behind the prefix.
    pub(super) fn suffix(&self) -> (&[u8], &'n [u8]) {
        (&self.head[..self.key_len.min(HEAD_BYTES)], self.rest)
    }
}

impl<'n> Node<'n> {
    /// Reads the head of a node that should be of this level.
    #[inline]
    pub(super) fn open(bytes: &'n [u8], level: u8) -> Result<Self, Malformed> {
        let short = Malformed("a node is shorter than it says");
        let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(short)?;
        let [found, flags, n0, n1, p0, p1, r0, r1] = *header;
        if found != level || flags != 0 || r0 != 0 || r1 != 0 {
            return Err(Malformed("a node is not of the expected level or version"));
        }
        let count = usize::from(u16::from_le_bytes([n0, n1]));
        let prefix_len = usize::from(u16::from_le_bytes([p0, p1]));
        let (prefix, body) = body.split_at_checked(prefix_len).ok_or(short)?;
        let (heads, body) = body.split_at_checked(HEAD_BYTES * count).ok_or(short)?;
        let (places, heap) = body.split_at_checked(PLACE_BYTES * count).ok_or(short)?;
        let node = Node {
            heads: heads.as_chunks().0,
            places: places.as_chunks().0,
            prefix,
            heap,
            heap_at: bytes.len() - heap.len(),
        };
        match node.places.last() {
            Some(place) if read_place(place).0 == heap.len() => Ok(node),
            Some(_) => Err(Malformed("a node does not end where its last entry ends")),
            None => Err(Malformed("a node has no entries")),
        }
    }

    /// Number of entries; at least 1.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.heads.len()
    }

    /// What all keys begin with.
    #[inline]
    pub(super) fn prefix(&self) -> &'n [u8] {
        self.prefix
    }

    /// Where an entry lies in the heap, and the length of its key behind the head.
    #[inline]
    fn place(&self, index: usize) -> Option<(Range<usize>, usize)> {
        let (end, key_len) = read_place(self.places.get(index)?);
        let start = match index.checked_sub(1) {
            Some(before) => read_place(self.places.get(before)?).0,
            None => 0,
        };
        Some((start..end, key_len))
    }

    /// An entry.
    #[inline]
    pub(super) fn entry(&self, index: usize) -> Result<Entry<'n>, Malformed> {
        let read = || {
            let (range, key_len) = self.place(index)?;
            let end = range.end;
            let (rest, value) =
                self.heap.get(range)?.split_at_checked(key_len.saturating_sub(HEAD_BYTES))?;
            Some(Entry { head: *self.heads.get(index)?, key_len, rest, value, end })
        };
        let entry = read().ok_or(Malformed("an entry lies outside of its node"))?;
        // Heads stand for keys in comparisons, so what a short key leaves of its head must be zeros.
        if entry.key_len < HEAD_BYTES && is_unpadded(entry.head, entry.key_len) {
            return Err(Malformed("the head of a short key is not padded with zeros"));
        }
        Ok(entry)
    }

    /// Where the value of an entry lies in the node's bytes.
    pub(super) fn value_range(&self, index: usize) -> Result<Range<usize>, Malformed> {
        Ok(self.range_of(&self.entry(index)?))
    }

    /// Where the value of an entry of this node lies in its bytes.
    #[inline]
    pub(super) fn range_of(&self, entry: &Entry<'_>) -> Range<usize> {
        let end = self.heap_at + entry.end;
        end - entry.value.len()..end
    }

    /// Replaces `key` by the key of an entry.
    #[inline]
    pub(super) fn read_key(&self, index: usize, key: &mut Vec<u8>) -> Result<(), Malformed> {
        self.put_key(&self.entry(index)?, key);
        Ok(())
    }

    /// Replaces `key` by the key of an entry of this node.
    #[inline]
    pub(super) fn put_key(&self, entry: &Entry<'_>, key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(self.prefix);
        self.change_key(entry, key);
    }

    /// Replaces `key`, which is another of this node, by the key of an entry.
    #[inline]
    pub(super) fn change_key(&self, entry: &Entry<'_>, key: &mut Vec<u8>) {
        key.truncate(self.prefix.len());
        key.extend_from_slice(&entry.head);
        if entry.key_len < HEAD_BYTES {
            key.truncate(self.prefix.len() + entry.key_len);
        }
        key.extend_from_slice(entry.rest);
    }

    /// Reference and stored sum of a child.
    #[inline]
    pub(super) fn child(&self, index: usize) -> Result<(NodeRef, &'n [u8]), Malformed> {
        split_child(self.entry(index)?.value)
    }

    /// Whether two neighbouring entries are in ascending order. `index` is that of the first.
    #[inline]
    pub(super) fn ascends(&self, index: usize) -> Result<bool, Malformed> {
        match (self.heads.get(index), self.heads.get(index + 1)) {
            (Some(a), Some(b)) if a != b => Ok(a < b),
            _ => {
                let (a, b) = (self.entry(index)?, self.entry(index + 1)?);
                Ok((a.rest, a.key_len) < (b.rest, b.key_len))
            }
        }
    }

    /// Searches a key: `Ok` with its index, or `Err` with the index of the first greater key.
    #[inline]
    pub(super) fn search(&self, key: &[u8]) -> Result<Result<usize, usize>, Malformed> {
        let Some(suffix) = key.strip_prefix(self.prefix) else {
            return Ok(Err(if key < self.prefix { 0 } else { self.count() }));
        };
        let target = Target::new(suffix);
        let mut low = self.heads.partition_point(|head| u32::from_be_bytes(*head) < target.head);
        let mut high = low;
        // The keys with the same head: seldom more than one, so they are counted by doubling steps.
        let mut step = 1;
        while self.heads.get(high).is_some_and(|head| u32::from_be_bytes(*head) == target.head) {
            high += step;
            step *= 2;
        }
        high = high.min(self.count());
        while low < high {
            let middle = low.midpoint(high);
            match target.compare(&self.entry(middle)?) {
                Ordering::Less => high = middle,
                Ordering::Equal => return Ok(Ok(middle)),
                Ordering::Greater => low = middle + 1,
            }
        }
        Ok(Err(low))
    }

    /// Whether an entry is that of a key.
    pub(super) fn has_key(&self, index: usize, key: &[u8]) -> Result<bool, Malformed> {
        let Some(suffix) = key.strip_prefix(self.prefix) else { return Ok(false) };
        Ok(Target::new(suffix).compare(&self.entry(index)?).is_eq())
    }

    /// The child whose keys are those around `key`.
    #[inline]
    pub(super) fn child_index(&self, key: &[u8]) -> Result<usize, Malformed> {
        Ok(match self.search(key)? {
            Ok(index) => index,
            Err(index) => index.saturating_sub(1),
        })
    }
}

/// Length of the node that `bytes` begin with, by what it says of itself; `None` if it says nothing.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let (&[_, _, n0, n1, p0, p1, ..], _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let count = usize::from(u16::from_le_bytes([n0, n1]));
    let prefix = usize::from(u16::from_le_bytes([p0, p1]));
    let heap_at = HEADER_BYTES + prefix + (HEAD_BYTES + PLACE_BYTES) * count;
    let last = bytes.get(..heap_at)?.last_chunk::<PLACE_BYTES>().filter(|_| count > 0)?;
    heap_at.checked_add(read_place(last).0)
}

/// Reference and stored sum in the value of an inner entry.
#[inline]
pub(super) fn split_child(value: &[u8]) -> Result<(NodeRef, &[u8]), Malformed> {
    let at = NodeRef::from_bytes(value).ok_or(Malformed("a reference to a node is cut short"))?;
    Ok((at, value.get(NodeRef::ENCODED_BYTES..).unwrap_or_default()))
}

/// A key that is searched, behind the node's prefix.
struct Target<'k> {
    head: u32,
    rest: &'k [u8],
    len: usize,
}

impl<'k> Target<'k> {
    #[inline]
    fn new(suffix: &'k [u8]) -> Self {
        let rest = suffix.get(HEAD_BYTES..).unwrap_or_default();
        Target { head: u32::from_be_bytes(head_of(suffix)), rest, len: suffix.len() }
    }

    /// Heads padded with zeros compare as the keys do, except that they may be equal where one key is
    /// the other plus zeros; then the rest and the length decide.
    #[inline]
    fn compare(&self, entry: &Entry<'_>) -> Ordering {
        let head = u32::from_be_bytes(entry.head);
        (self.head, self.rest, self.len).cmp(&(head, entry.rest, entry.key_len))
    }
}

/// Whether something else than zeros fills up the head of a short key.
fn is_unpadded(head: [u8; HEAD_BYTES], key_len: usize) -> bool {
    head.get(key_len..).unwrap_or_default().iter().any(|&byte| byte != 0)
}

#[inline]
fn head_of(suffix: &[u8]) -> [u8; HEAD_BYTES] {
    match suffix.first_chunk() {
        Some(head) => *head,
        None => {
            let mut head = [0; HEAD_BYTES];
            head[..suffix.len()].copy_from_slice(suffix);
            head
        }
    }
}

/// End and key length of an entry.
#[inline]
fn read_place(&[e0, e1, e2, e3, k0, k1]: &[u8; PLACE_BYTES]) -> (usize, usize) {
    (widen(u32::from_le_bytes([e0, e1, e2, e3])), usize::from(u16::from_le_bytes([k0, k1])))
}

#[inline]
fn widen(number: u32) -> usize {
    usize::try_from(number).expect("an address has at least 32 bits")
}

/// How many bytes two keys share at their beginning.
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let (left, _) = a.as_chunks::<8>();
    let (right, _) = b.as_chunks::<8>();
    let whole = 8 * left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let tail = a.iter().zip(b).skip(whole).take_while(|(a, b)| a == b).count();
    whole + tail
}

/// About how long a node will be: `count` entries whose keys and values have `bytes` together and whose
/// keys share `prefix` bytes. Exact where keys are longer than prefix and head.
pub(super) fn estimate(count: usize, bytes: usize, prefix: usize) -> usize {
    let shared = prefix * count.saturating_sub(1);
    HEADER_BYTES + count * PLACE_BYTES + bytes.saturating_sub(shared)
}

/// Writes a node into `out`, replacing what was there.
///
/// Keys ascend strictly, are no longer than 64 KiB less one, and there are between 1 and 65,535.
pub(super) fn encode<'e>(
    level: u8,
    entries: impl ExactSizeIterator<Item = (&'e [u8], &'e [u8])> + DoubleEndedIterator + Clone,
    out: &mut Vec<u8>,
) {
    let count = u16::try_from(entries.len()).expect("the packer keeps nodes small");
    let first = entries.clone().next().map_or(&[][..], |(key, _)| key);
    let last = entries.clone().next_back().map_or(&[][..], |(key, _)| key);
    let shared = common_prefix(first, last);
    let prefix_len = u16::try_from(shared).expect("keys are bounded");
    out.clear();
    out.extend_from_slice(&[level, 0]);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&prefix_len.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&first[..shared]);
    let suffixes = entries.clone().map(|(key, value)| (&key[shared..], value));
    for (suffix, _) in suffixes.clone() {
        out.extend_from_slice(&head_of(suffix));
    }
    let mut end = 0u32;
    for (suffix, value) in suffixes.clone() {
        let len = suffix.len().saturating_sub(HEAD_BYTES) + value.len();
        end += u32::try_from(len).expect("values are bounded");
        let key_len = u16::try_from(suffix.len()).expect("keys are bounded");
        out.extend_from_slice(&end.to_le_bytes());
        out.extend_from_slice(&key_len.to_le_bytes());
    }
    for (suffix, value) in suffixes {
        out.extend_from_slice(suffix.get(HEAD_BYTES..).unwrap_or_default());
        out.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(level: u8, entries: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(level, entries.iter().copied(), &mut out);
        out
    }

    #[test]
    fn the_layout_is_that_of_the_picture() {
        let bytes = encoded(3, &[(b"user:anna", b"1"), (b"user:bo", b"22")]);
        let expected: &[&[u8]] = &[
            &[3, 0, 2, 0, 5, 0, 0, 0],
            b"user:",
            b"anna",
            b"bo\0\0",
            &[1, 0, 0, 0, 4, 0],
            &[3, 0, 0, 0, 2, 0],
            b"1",
            b"22",
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn keys_that_differ_in_zeros_only_are_told_apart() {
        let keys: [&[u8]; 7] =
            [b"", b"a", b"a\0", b"a\0\0", b"a\0\0\0", b"a\0\0\0\0", b"a\0\0\0\x01"];
        let entries: Vec<_> = keys.iter().map(|key| (*key, *key)).collect();
        let bytes = encoded(0, &entries);
        let node = Node::open(&bytes, 0).unwrap();
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(node.search(key).unwrap(), Ok(index));
            assert_eq!(node.entry(index).unwrap().value, *key);
            assert!(index == 0 || node.ascends(index - 1).unwrap());
        }
        assert_eq!(node.search(b"a\0\0\0\0\0").unwrap(), Err(6));
        assert_eq!(node.search(b"\0").unwrap(), Err(1));
        assert_eq!(node.search(b"b").unwrap(), Err(7));
    }

    #[test]
    fn a_head_that_is_more_than_its_key_is_refused() {
        let mut bytes = encoded(0, &[(b"a", b""), (b"b", b"")]);
        assert_eq!(&bytes[8..12], b"a\0\0\0");
        bytes[11] = 1;
        let node = Node::open(&bytes, 0).unwrap();
        assert!(node.entry(0).is_err() && node.entry(1).is_ok());
    }

    #[test]
    fn a_wrong_level_or_length_is_refused() {
        let bytes = encoded(1, &[(b"k", b"v")]);
        assert!(Node::open(&bytes, 0).is_err());
        assert!(Node::open(&bytes[..bytes.len() - 1], 1).is_err());
        assert!(Node::open(&[bytes.as_slice(), b"x"].concat(), 1).is_err());
        assert!(Node::open(&[1, 0, 0, 0, 0, 0, 0, 0], 1).is_err());
        assert!(Node::open(&[], 1).is_err());
    }

    fn keys() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(0u8..3, 0..10),
            proptest::collection::vec(any::<u8>(), 0..6),
            proptest::collection::vec(b'a'..=b'c', 0..4).prop_map(|tail| [
                b"a long prefix that is shared",
                tail.as_slice()
            ]
            .concat()),
        ]
    }

    proptest! {
        #[test]
        fn a_search_agrees_with_a_sorted_list(
            entries in proptest::collection::btree_map(keys(), keys(), 1..60),
            probes in proptest::collection::vec(keys(), 20),
        ) {
            let mut bytes = Vec::new();
            encode(0, entries.iter().map(|(k, v)| (&k[..], &v[..])).collect::<Vec<_>>().into_iter(), &mut bytes);
            let node = Node::open(&bytes, 0).unwrap();
            let list: Vec<&Vec<u8>> = entries.keys().collect();
            for probe in probes.iter().chain(list.iter().copied()) {
                prop_assert_eq!(node.search(probe).unwrap(), list.binary_search(&probe));
            }
            let mut key = Vec::new();
            for (index, (k, v)) in entries.iter().enumerate() {
                node.read_key(index, &mut key).unwrap();
                prop_assert_eq!(&key, k);
                prop_assert_eq!(&bytes[node.value_range(index).unwrap()], &v[..]);
            }
        }

        #[test]
        fn the_shared_prefix_is_found(a in keys(), b in keys()) {
            let naive = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(common_prefix(&a, &b), naive);
        }

        #[test]
        fn garbage_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0u8..12, prefix in 0u8..9) {
            if let Some(header) = bytes.get_mut(..8) {
                header.copy_from_slice(&[0, 0, count, 0, prefix, 0, 0, 0]);
                let end = bytes.len().saturating_sub(8 + 10 * usize::from(count) + usize::from(prefix));
                let at = (8 + usize::from(prefix) + 10 * usize::from(count)).wrapping_sub(6);
                if count > 0 && let Some(last) = bytes.get_mut(at..at + 4) {
                    last.copy_from_slice(&(end as u32).to_le_bytes());
                }
            }
            if let Ok(node) = Node::open(&bytes, 0) {
                let mut key = Vec::new();
                for index in 0..node.count() + 1 {
                    let _ = node.read_key(index, &mut key);
                    let _ = node.value_range(index);
                    let _ = node.child(index);
                    let _ = node.ascends(index);
                    let _ = node.search(&key);
                }
            }
        }
    }
}
