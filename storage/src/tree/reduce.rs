//! Sums kept in inner nodes, so that counting a range costs a walk down two edges of the tree.

/// Bytes that are not what they should be; the text says in which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// How the entries of an index are summed. Adding must be associative; the order of the keys is kept.
pub trait Reduce {
    /// The sum; its default is the sum of nothing.
    type Sum: Clone + Default;
    /// The sum of one entry.
    fn leaf(&self, key: &[u8], value: &[u8]) -> Result<Self::Sum, Malformed>;
    /// Adds the sum of what follows.
    fn add(&self, into: &mut Self::Sum, other: &Self::Sum);
    /// Appends the stored form, which may have any length.
    fn encode(&self, sum: &Self::Sum, out: &mut Vec<u8>);
    /// Reads the stored form back.
    fn decode(&self, bytes: &[u8]) -> Result<Self::Sum, Malformed>;
}

/// For trees that nobody counts: no sum, no bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSum;

impl Reduce for NoSum {
    type Sum = ();
    fn leaf(&self, _key: &[u8], _value: &[u8]) -> Result<(), Malformed> {
        Ok(())
    }
    fn add(&self, _into: &mut (), _other: &()) {}
    fn encode(&self, _sum: &(), _out: &mut Vec<u8>) {}
    fn decode(&self, bytes: &[u8]) -> Result<(), Malformed> {
        if bytes.is_empty() { Ok(()) } else { Err(Malformed("a sum where there should be none")) }
    }
}

/// Counts entries.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountEntries;

impl Reduce for CountEntries {
    type Sum = u64;
    fn leaf(&self, _key: &[u8], _value: &[u8]) -> Result<u64, Malformed> {
        Ok(1)
    }
    fn add(&self, into: &mut u64, other: &u64) {
        // A lying node must not make the sum overflow.
        *into = into.saturating_add(*other);
    }
    fn encode(&self, sum: &u64, out: &mut Vec<u8>) {
        let bytes = sum.to_le_bytes();
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        out.extend_from_slice(&bytes[..used]);
    }
    fn decode(&self, bytes: &[u8]) -> Result<u64, Malformed> {
        let mut whole = [0; 8];
        whole
            .get_mut(..bytes.len())
            .ok_or(Malformed("a count is too long"))?
            .copy_from_slice(bytes);
        Ok(u64::from_le_bytes(whole))
    }
}
