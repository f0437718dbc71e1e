//! Immutable, checksummed nodes and the copy-on-write B+tree over them.
