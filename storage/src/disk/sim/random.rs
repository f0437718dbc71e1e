//! A small deterministic source of numbers: SplitMix64.

/// Numbers from a seed. Good enough to scatter choices, and the same everywhere and for ever, which a
/// failing seed in a bug report must be.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// Any number.
    #[expect(clippy::should_implement_trait, reason = "there is no end to iterate to")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// An index into something of this length, which is not 0.
    pub fn index(&mut self, len: usize) -> usize {
        let len = u64::try_from(len).expect("lengths fit into 64 bits");
        usize::try_from(self.below(len)).expect("less than a length")
    }

    /// True `eighths` times out of eight.
    pub fn chance(&mut self, eighths: u64) -> bool {
        self.below(8) < eighths
    }
}
