//! The one place that maps files into memory.
//!
//! `unsafe` is permitted here because the compiler cannot know that nobody cuts or rewrites a file
//! under its map. The contract that makes it sound is the store's: bytes below the durable end are
//! never changed, a mapped file is never cut, bytes beyond the end are never touched, and every node
//! and blob is checked against its checksum before it is believed. What it buys: a read without a
//! system call and without a copy.
#![allow(unsafe_code)]

use std::{fs, io, sync::Arc};

use memmap2::MmapOptions;

use super::Map;

/// Maps `len` bytes from the start of a file, read-only.
pub(super) fn map_read_only(file: &fs::File, len: u64) -> io::Result<Map> {
    let len = usize::try_from(len).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, "longer than the address space")
    })?;
    // SAFETY: the map is read-only and private to this process's readers. The store appends only,
    // never cuts a mapped file and never reads beyond what it has written, so the bytes that are read
    // through the map do not change while it lives. A stranger who rewrites the file regardless makes
    // checksums fail; decoding assumes hostile bytes and has no `unsafe` that would rely on them.
    let map = unsafe { MmapOptions::new().len(len).map(file) }?;
    Ok(Arc::new(map))
}
