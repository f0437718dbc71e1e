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

    /// The sum of entries that follow each other. Where summing many at once is cheaper than one by one
    /// (a function in an interpreter), this is overridden.
    ///
    /// # Errors
    /// For an entry that cannot be read.
    fn sum_entries(
        &self,
        entries: &mut dyn Iterator<Item = (&[u8], &[u8])>,
    ) -> Result<Self::Sum, Malformed> {
        let mut total = Self::Sum::default();
        for (key, value) in entries {
            self.add(&mut total, &self.leaf(key, value)?);
        }
        Ok(total)
    }

    /// The sum of stored sums that follow each other.
    ///
    /// # Errors
    /// For one that cannot be read.
    fn sum_stored(&self, stored: &mut dyn Iterator<Item = &[u8]>) -> Result<Self::Sum, Malformed> {
        let mut total = Self::Sum::default();
        for bytes in stored {
            self.add(&mut total, &self.decode(bytes)?);
        }
        Ok(total)
    }

    /// Whether a value may become an entry; [`merge`](super::merge) asks for every change, so this must
    /// be cheap.
    ///
    /// # Errors
    /// For an entry that cannot be read.
    fn check(&self, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
        self.leaf(key, value).map(drop)
    }
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
