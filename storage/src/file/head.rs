//! The moving end of the database: the topmost layer, the newest sequence and the counts, which edits
//! advance. The same code runs when an edit is made and when it is replayed at opening.

use std::sync::Arc;

use super::layer::{DocRecord, Key, Layer, OldDoc};
use crate::store::{Counts, DocWeight, Seq};

/// The newest layer, sequence and counts. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) layer: Layer,
    pub(super) seq: Seq,
    pub(super) counts: Counts,
}

impl Head {
    /// Writes a document under the next sequence. `None` if numbers do not add up, which only damaged
    /// input can cause.
    pub(super) fn put_doc(
        &mut self,
        id: Key,
        weight: DocWeight,
        by_id: &[u8],
        by_seq: &[u8],
        old: Option<OldDoc>,
    ) -> Option<Arc<DocRecord>> {
        let seq = self.seq.checked_add(1)?;
        let counts = replace(self.counts, old.map(|old| old.weight), Some(weight))?;
        let record = Arc::new(DocRecord::new(seq, weight, id, by_id, by_seq));
        self.layer.put_doc(Arc::clone(&record), old);
        self.seq = seq;
        self.counts = counts;
        Some(record)
    }

    /// Removes a document; takes a sequence. `None` as in [`Head::put_doc`].
    pub(super) fn remove_doc(&mut self, id: &Key, old: OldDoc) -> Option<()> {
        let seq = self.seq.checked_add(1)?;
        self.counts = replace(self.counts, Some(old.weight), None)?;
        self.layer.remove_doc(id, old);
        self.seq = seq;
        Some(())
    }
}

/// Counts after a document of weight `old` gave way to one of weight `new`.
fn replace(counts: Counts, old: Option<DocWeight>, new: Option<DocWeight>) -> Option<Counts> {
    let old: Counts = old.map(Counts::from).unwrap_or_default();
    let new: Counts = new.map(Counts::from).unwrap_or_default();
    let step = |total: u64, old: u64, new: u64| total.checked_sub(old)?.checked_add(new);
    Some(Counts {
        live: step(counts.live, old.live, new.live)?,
        deleted: step(counts.deleted, old.deleted, new.deleted)?,
        active_bytes: step(counts.active_bytes, old.active_bytes, new.active_bytes)?,
        external_bytes: step(counts.external_bytes, old.external_bytes, new.external_bytes)?,
    })
}
