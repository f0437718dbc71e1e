//! The documents, and chance that is the same in every run.

use crate::peer::Edit;

/// splitmix64.
#[derive(Clone, Copy)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Makes documents.
#[derive(Clone, Copy)]
pub(crate) struct Documents {
    pub(crate) ordered: bool,
    pub(crate) body_bytes: usize,
}

impl Documents {
    /// 32 hexadecimal digits, as most ids in the wild.
    pub(crate) fn id(&self, n: usize) -> Vec<u8> {
        let n = n as u64;
        let high = if self.ordered { n } else { mix(n) };
        format!("{high:016x}{:016x}", mix(n ^ 0x5e77ee)).into_bytes()
    }

    /// A document in one of its versions; bodies are text that does not compress to nothing.
    pub(crate) fn edit(&self, n: usize, version: u64) -> Edit {
        let mut random = Random((n as u64) << 20 ^ version);
        let mut body = format!("{{\"number\":{n},\"version\":{version},\"text\":\"").into_bytes();
        while body.len() + 2 < self.body_bytes {
            let word = random.next();
            body.extend(
                (0..8).map(|at| {
                    b"etaoinshrdlucmfw ,.0123456789ABCD"[(word >> (at * 7)) as usize & 31]
                }),
            );
        }
        body.truncate(self.body_bytes.saturating_sub(2));
        body.extend_from_slice(b"\"}");
        Edit { id: self.id(n), body }
    }
}
