//! How the system's allocator treats large blocks.
//!
//! glibc maps large blocks by themselves and gives them back when they are freed. But each one that is freed raises
//! the size from which it does so, up to 32 MiB; from then on documents and attachments of some megabytes come from
//! the heap of whichever thread asks, and stay there. A replication of 50 documents of 8 MB left 93 MiB behind
//! like this, and 4 MiB with a fixed threshold (`benches/RESULTS.md`).

#![allow(unsafe_code)]

/// Blocks from this size on, in bytes, are given back as soon as they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 1024 * 1024;

/// Fixes the size from which blocks are given back. To be called before there are threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn prepare() {
    // SAFETY: `mallopt` takes two numbers and only changes how later calls of the allocator behave; no other
    // thread runs yet. Should it refuse (it returns 0), all stays as it was.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}

/// Other allocators have no such habit.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn prepare() {}
