//! What a database says about itself.

use settee_storage::Seq;

use super::{Database, settings};
use crate::{error::Result, partition};

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The file, as long as it holds anything.
    pub file: u64,
    /// Documents as JSON text and attachments uncompressed.
    pub external: u64,
    /// The part of the file that is there for present documents and attachments.
    pub active: u64,
}

/// The state of a database at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Sequence of the newest change.
    pub update_seq: Seq,
    /// Number of purge requests so far.
    pub purge_seq: u64,
    /// Documents whose winner is not a tombstone, design documents included.
    pub doc_count: u64,
    /// Documents whose winner is a tombstone.
    pub doc_del_count: u64,
    /// Sizes.
    pub sizes: Sizes,
}

/// The state of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Documents whose winner is not a tombstone.
    pub doc_count: u64,
    /// Documents whose winner is a tombstone.
    pub doc_del_count: u64,
    /// [`Sizes::external`] of its documents.
    pub external: u64,
    /// [`Sizes::active`] of its documents.
    pub active: u64,
}

impl Database {
    /// Counts, sizes and sequences; never scans.
    ///
    /// # Errors
    /// Those of the store.
    pub fn info(&self) -> Result<Info> {
        let snapshot = self.store.snapshot()?;
        let counts = snapshot.counts();
        Ok(Info {
            update_seq: snapshot.seq(),
            purge_seq: settings::purge_seq(snapshot.meta(settings::PURGE_SEQ)?)?,
            doc_count: counts.live,
            doc_del_count: counts.deleted,
            sizes: Sizes {
                file: self.store.sizes().file_bytes,
                external: counts.external_bytes,
                active: counts.active_bytes,
            },
        })
    }

    /// Counts and sizes of one partition, in O(log n).
    ///
    /// # Errors
    /// As [`Database::check_partition`]; those of the store.
    pub fn partition_info(&self, partition: &str) -> Result<PartitionInfo> {
        self.check_partition(partition)?;
        let counts = self.store.snapshot()?.count_docs(&partition::range(partition))?;
        Ok(PartitionInfo {
            doc_count: counts.live,
            doc_del_count: counts.deleted,
            external: counts.external_bytes,
            active: counts.active_bytes,
        })
    }
}
