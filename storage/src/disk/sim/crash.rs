//! What survives when the power goes.

use super::{
    inode::{SECTOR_BYTES, Version},
    random::Random,
};

/// The choices of one crash.
#[derive(Debug)]
pub(super) struct Survival {
    style: Style,
    random: Random,
}

/// Real disks and file systems range from strictly ordered to no order at all.
#[derive(Clone, Copy, Debug)]
enum Style {
    /// Nothing that was unsynced.
    Nothing,
    /// Everything, as if it had been synced.
    Everything,
    /// All operations up to this one, in order, that one in part.
    InOrder(u64),
    /// Each sector, length and name by chance, this many times out of eight.
    Random(u64),
}

impl Survival {
    /// The choices of a seed after so many operations.
    pub(super) fn new(seed: u64, operations: u64) -> Self {
        let mut random = Random::new(seed);
        let style = match seed {
            0 => Style::Nothing,
            1 => Style::Everything,
            _ if random.chance(3) => Style::InOrder(random.below(operations + 1)),
            _ => Style::Random(1 + random.below(7)),
        };
        Survival { style, random }
    }

    /// Loses everything.
    pub(super) fn nothing() -> Self {
        Survival::new(0, 0)
    }

    /// Whether an operation on names survives.
    pub(super) fn name(&mut self, at: u64) -> bool {
        match self.style {
            Style::Nothing => false,
            Style::Everything => true,
            Style::InOrder(until) => at < until,
            Style::Random(eighths) => self.random.chance(eighths),
        }
    }

    /// The length found, of those since the last sync.
    pub(super) fn len(&mut self, durable: usize, lens: &[(u64, usize)]) -> usize {
        let chosen = match self.style {
            Style::Nothing => None,
            Style::Everything => lens.last(),
            Style::InOrder(until) => lens.iter().rev().find(|(at, _)| *at <= until),
            Style::Random(eighths) if !lens.is_empty() && self.random.chance(eighths) => {
                lens.get(self.random.index(lens.len()))
            }
            Style::Random(_) => None,
        };
        chosen.map_or(durable, |&(_, len)| len)
    }

    /// Replaces the durable content of a sector by what is found.
    pub(super) fn sector(&mut self, bytes: &mut [u8; SECTOR_BYTES], versions: &[Version]) {
        let newest = match self.style {
            Style::Nothing => return,
            Style::Everything => versions.len(),
            Style::InOrder(until) => {
                // The operation that was under way arrives sector by sector, or not.
                let last = if self.random.chance(4) { until + 1 } else { until };
                versions.iter().take_while(|version| version.at < last).count()
            }
            Style::Random(eighths) if self.random.chance(eighths) => {
                1 + self.random.index(versions.len())
            }
            Style::Random(_) => return,
        };
        let Some(index) = newest.checked_sub(1) else { return };
        let torn = matches!(self.style, Style::Random(_)) && self.random.chance(1);
        if torn {
            if let Some(before) = index.checked_sub(1) {
                *bytes = versions[before].bytes;
            }
            let written = self.random.index(SECTOR_BYTES);
            bytes[..written].copy_from_slice(&versions[index].bytes[..written]);
        } else {
            *bytes = versions[index].bytes;
        }
    }
}
