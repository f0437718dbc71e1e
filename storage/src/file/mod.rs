//! The store in one append-only file.
