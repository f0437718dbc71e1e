//! Makes the checksums of a database file right again, so that what lies behind them is reached. Written
//! from `storage/FORMAT.md` alone.

use xxhash_rust::xxh3;

const HEADER_BYTES: usize = 4096;
const FRAME_HEADER_BYTES: usize = 56;
const COMMIT: u8 = 3;
const CHECKPOINT: u8 = 4;
/// Where a commit and a checkpoint have the chain before them.
const CHAIN_AT: [usize; 2] = [40, 64];
/// Where the three roots of a checkpoint are, and what each takes.
const ROOTS_AT: usize = 112;
const ROOT_BYTES: usize = 17;

struct Stamper<'f> {
    file: &'f mut [u8],
    seed: u64,
    magic: [u8; 8],
    chain: u128,
    anchor: usize,
    commits: u64,
    /// Where frames begin, with the chain there.
    begins: Vec<(u64, u128)>,
}

/// Takes the bytes for a file of frames, one after the other, whatever they are, and gives them the
/// checksums, chains, offsets and commit numbers that belong to them.
pub fn stamp(file: &mut [u8]) {
    if file.len() < HEADER_BYTES {
        return;
    }
    file[..16].copy_from_slice(b"SETTEE\r\n\x1a\n\0\0\0\0\0\0");
    file[16..20].copy_from_slice(&1u32.to_le_bytes());
    file[20..24].copy_from_slice(&4096u32.to_le_bytes());
    let sum = xxh3::xxh3_128(&file[..56]);
    file[56..72].copy_from_slice(&sum.to_le_bytes());
    let salt = file[24..40].to_vec();
    let seed = xxh3::xxh3_64_with_seed(&salt, 1);
    let mut magic = xxh3::xxh3_64_with_seed(&salt, 2).to_le_bytes();
    magic[0] |= 1;
    let chain = xxh3::xxh3_128_with_seed(&file[24..56], seed);
    let (anchor, commits, begins) = (0, 0, Vec::new());
    let mut stamper = Stamper { file, seed, magic, chain, anchor, commits, begins };
    let mut at = HEADER_BYTES;
    while let Some(next) = stamper.frame(at) {
        at = next;
    }
}

impl Stamper<'_> {
    /// Stamps the frame at `at`; where the next one begins.
    fn frame(&mut self, at: usize) -> Option<usize> {
        let payload_at = at + FRAME_HEADER_BYTES;
        let room = self.file.len().checked_sub(payload_at)?;
        let len = u32::from_le_bytes(self.file[at + 12..at + 16].try_into().ok()?) as usize;
        let len = if len > room { room } else { len };
        let kind = (self.file[at + 8].wrapping_sub(1) % 4) + 1;
        self.payload(kind, payload_at, len);
        let payload_sum =
            xxh3::xxh3_128_with_seed(&self.file[payload_at..payload_at + len], self.seed);
        let header = &mut self.file[at..payload_at];
        header[..8].copy_from_slice(&self.magic);
        header[8..12].copy_from_slice(&[kind, 0, 0, 0]);
        header[12..16].copy_from_slice(&u32::try_from(len).ok()?.to_le_bytes());
        header[16..24].copy_from_slice(&(at as u64).to_le_bytes());
        header[24..32].copy_from_slice(&(self.anchor as u64).to_le_bytes());
        header[32..48].copy_from_slice(&payload_sum.to_le_bytes());
        let sum = xxh3::xxh3_64_with_seed(&header[..48], self.seed);
        header[48..].copy_from_slice(&sum.to_le_bytes());
        self.begins.push((at as u64, self.chain));
        let mut chained = self.chain.to_le_bytes().to_vec();
        chained.extend_from_slice(&self.file[at..payload_at]);
        self.chain = xxh3::xxh3_128_with_seed(&chained, self.seed);
        if kind == COMMIT || kind == CHECKPOINT {
            self.anchor = at;
        }
        Some((payload_at + len).next_multiple_of(8))
    }

    /// The parts of a commit or checkpoint that depend on what came before it.
    fn payload(&mut self, kind: u8, at: usize, len: usize) {
        let chain = self.chain.to_le_bytes();
        let payload = &mut self.file[at..at + len];
        if kind == COMMIT && len >= 64 {
            self.commits += 1;
            payload[..8].copy_from_slice(&self.commits.to_le_bytes());
            payload[CHAIN_AT[0]..][..16].copy_from_slice(&chain);
        }
        if kind == CHECKPOINT && len >= 168 {
            payload[CHAIN_AT[1]..][..16].copy_from_slice(&chain);
            self.roots(at);
            self.replay_chain(at);
        }
    }

    /// The checksums of root nodes.
    fn roots(&mut self, payload_at: usize) {
        for root in 0..3 {
            let at = payload_at + ROOTS_AT + root * ROOT_BYTES;
            let Ok(offset) = <[u8; 8]>::try_from(&self.file[at + 1..at + 9]) else { continue };
            let Ok(len) = <[u8; 4]>::try_from(&self.file[at + 9..at + 13]) else { continue };
            let offset = usize::try_from(u64::from_le_bytes(offset)).unwrap_or(usize::MAX);
            let end = offset.saturating_add(u32::from_le_bytes(len) as usize);
            let Some(node) = self.file.get(offset..end) else { continue };
            let crc = crc32fast::hash(node);
            self.file[at + 13..at + 17].copy_from_slice(&crc.to_le_bytes());
        }
    }

    /// The chain at the frame where a replay begins.
    fn replay_chain(&mut self, payload_at: usize) {
        let Ok(from) = <[u8; 8]>::try_from(&self.file[payload_at + 32..payload_at + 40]) else {
            return;
        };
        let from = u64::from_le_bytes(from);
        let known = self.begins.iter().find(|(begin, _)| *begin == from);
        let chain = known.map_or(self.chain, |(_, chain)| *chain);
        self.file[payload_at + 40..payload_at + 56].copy_from_slice(&chain.to_le_bytes());
    }
}
