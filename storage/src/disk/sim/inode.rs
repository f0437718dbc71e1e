//! One file's bytes: what the process sees, what is durable, and what lies between.

use std::collections::{BTreeMap, BTreeSet};

use super::crash::Survival;

/// What a disk writes as a unit, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// The content of a sector after some write.
#[derive(Clone, Debug)]
pub(super) struct Version {
    /// Number of the operation that made it.
    pub(super) at: u64,
    pub(super) bytes: [u8; SECTOR_BYTES],
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What the process sees.
    cache: Vec<u8>,
    /// What is on the disk whatever happens.
    durable: Vec<u8>,
    /// The contents that unsynced sectors had since the last sync, oldest first.
    dirty: BTreeMap<usize, Vec<Version>>,
    /// The lengths the file had since the last sync, oldest first, each with its operation.
    lens: Vec<(u64, usize)>,
    /// Sectors that take up space.
    allocated: BTreeSet<usize>,
}

impl Inode {
    pub(super) fn contents(&self) -> &[u8] {
        &self.cache
    }

    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.cache.len()).expect("a length in memory fits into 64 bits")
    }

    pub(super) fn has_unsynced(&self) -> bool {
        !self.dirty.is_empty() || !self.lens.is_empty()
    }

    pub(super) fn allocated_bytes(&self) -> usize {
        self.allocated.len() * SECTOR_BYTES
    }

    /// How many of the bytes can be written at an offset when `free` more bytes can be allocated.
    pub(super) fn fitting(&self, offset: usize, len: usize, free: usize) -> usize {
        let mut sectors_left = free / SECTOR_BYTES;
        for sector in sectors(offset, len) {
            if !self.allocated.contains(&sector) {
                if sectors_left == 0 {
                    return (sector * SECTOR_BYTES).saturating_sub(offset);
                }
                sectors_left -= 1;
            }
        }
        len
    }

    pub(super) fn write(&mut self, at: u64, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
            self.lens.push((at, end));
        }
        self.cache[offset..end].copy_from_slice(bytes);
        for sector in sectors(offset, bytes.len()) {
            self.allocated.insert(sector);
            self.touch(at, sector);
        }
    }

    pub(super) fn set_len(&mut self, at: u64, len: usize) {
        if len == self.cache.len() {
            return;
        }
        let cut = sectors(len, self.cache.len().saturating_sub(len));
        self.cache.resize(len, 0);
        self.lens.push((at, len));
        for sector in cut {
            self.touch(at, sector);
        }
        let first_gone = len.div_ceil(SECTOR_BYTES);
        self.allocated.retain(|&sector| sector < first_gone);
    }

    /// Remembers what a sector became; beyond the end it is zeros.
    fn touch(&mut self, at: u64, sector: usize) {
        let mut bytes = [0; SECTOR_BYTES];
        copy_sector(&self.cache, sector, &mut bytes);
        self.dirty.entry(sector).or_default().push(Version { at, bytes });
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.cache.len(), 0);
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            let range = clip(sector, self.cache.len());
            self.durable[range.clone()].copy_from_slice(&self.cache[range]);
        }
        self.lens.clear();
    }

    /// A sync that failed: some sectors reach the disk, and none is remembered as unsynced.
    pub(super) fn drop_dirty(&mut self, survival: &mut Survival) {
        self.durable = self.survivors(survival);
        self.dirty.clear();
        self.lens.clear();
    }

    /// Makes clean parts of the cache what is on the disk.
    pub(super) fn drop_cache(&mut self) {
        if self.lens.is_empty() {
            self.cache.resize(self.durable.len(), 0);
        }
        for sector in 0..self.cache.len().div_ceil(SECTOR_BYTES) {
            if !self.dirty.contains_key(&sector) {
                let mut bytes = [0; SECTOR_BYTES];
                copy_sector(&self.durable, sector, &mut bytes);
                let range = clip(sector, self.cache.len());
                let len = range.len();
                self.cache[range].copy_from_slice(&bytes[..len]);
            }
        }
    }

    /// The bytes found after a crash.
    pub(super) fn survivors(&self, survival: &mut Survival) -> Vec<u8> {
        let len = survival.len(self.durable.len(), &self.lens);
        let mut found = self.durable.clone();
        found.resize(len, 0);
        for (&sector, versions) in &self.dirty {
            let mut bytes = [0; SECTOR_BYTES];
            copy_sector(&self.durable, sector, &mut bytes);
            survival.sector(&mut bytes, versions);
            let range = clip(sector, len);
            let kept = range.len();
            found[range].copy_from_slice(&bytes[..kept]);
        }
        found
    }

    /// The file of a disk that starts with these bytes.
    pub(super) fn settled(bytes: Vec<u8>) -> Self {
        let allocated = sectors(0, bytes.len()).collect();
        Inode { cache: bytes.clone(), durable: bytes, allocated, ..Inode::default() }
    }

    pub(super) fn flip(&mut self, offset: usize, mask: u8) {
        for bytes in [&mut self.cache, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= mask;
            }
        }
        for version in self.dirty.get_mut(&(offset / SECTOR_BYTES)).into_iter().flatten() {
            version.bytes[offset % SECTOR_BYTES] ^= mask;
        }
    }
}

/// The sectors that some bytes lie in.
fn sectors(offset: usize, len: usize) -> std::ops::Range<usize> {
    if len == 0 {
        return 0..0;
    }
    offset / SECTOR_BYTES..(offset + len).div_ceil(SECTOR_BYTES)
}

/// Where a sector lies in a file of this length.
fn clip(sector: usize, len: usize) -> std::ops::Range<usize> {
    (sector * SECTOR_BYTES).min(len)..((sector + 1) * SECTOR_BYTES).min(len)
}

fn copy_sector(from: &[u8], sector: usize, to: &mut [u8; SECTOR_BYTES]) {
    let bytes = &from[clip(sector, from.len())];
    to[..bytes.len()].copy_from_slice(bytes);
}
