//! What the system says about this process.

use std::fs;

/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 4096;

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory that is there, in bytes.
    pub resident_bytes: u64,
    /// Of which the program itself, in bytes.
    pub code_bytes: u64,
    /// Files and connections that are open.
    pub open_files: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// What this process uses; zeros where the system doesn't say.
    pub fn now() -> Self {
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let open_files = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
        Self { open_files, ..Self::read(&statm, &status) }
    }

    fn read(statm: &str, status: &str) -> Self {
        let pages = |place: usize| statm.split_whitespace().nth(place)?.parse::<u64>().ok();
        let bytes = |place: usize| pages(place).unwrap_or(0).saturating_mul(PAGE_BYTES);
        let threads =
            status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
        Self {
            resident_bytes: bytes(1),
            code_bytes: bytes(3),
            open_files: 0,
            threads: threads.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_is_understood_and_others_give_zeros() {
        let usage = Usage::read("100 20 5 3 0 9 0\n", "Name:\tsettee\nThreads:\t17\n");
        assert_eq!((usage.resident_bytes, usage.code_bytes, usage.threads), (81_920, 12_288, 17));
        assert_eq!(Usage::read("", ""), Usage::default());
    }
}
