//! What one thread copies of a snapshot: documents of the slices it takes, and the rows for the trees.

use std::sync::atomic::Ordering;

use super::{
    blobs::PutBlob,
    copier::{FileCopier, Known},
    crew::GoOn,
    frames::BlobFrames,
    load::Load,
    slices::Slice,
};
use crate::{
    compaction::{Compaction, OldDocument, Phase},
    error::Result,
    file::{
        cursor::{ChangeRows, KeyRows},
        rows::{self, Space},
    },
    sort::Sorter,
    store::{Change, ChangeCursor, Counts, Direction, KeyRange, LocalCursor},
    tree::Near,
};

/// Rows that were copied and wait for their trees.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) by_id: Sorter,
    pub(super) by_seq: Sorter,
    pub(super) counts: Counts,
}

/// Copies the documents of slices until there are no more.
pub(super) fn documents(
    load: &Load<'_>,
    job: &mut dyn Compaction,
    mut rows: Rows,
    go_on: GoOn<'_>,
) -> Result<Rows> {
    let mut copy = Copy {
        load,
        job,
        blobs: BlobFrames::new(&load.room),
        go_on,
        near: Near::default(),
        row: Vec::new(),
    };
    copy.look()?;
    while let Some(slice) = load.slices.take()? {
        copy.slice(slice, &mut rows)?;
        copy.look()?;
    }
    copy.blobs.finish()?;
    rows.by_id.sort();
    Ok(rows)
}

/// One thread's share.
struct Copy<'c> {
    load: &'c Load<'c>,
    job: &'c mut dyn Compaction,
    blobs: BlobFrames<'c>,
    go_on: GoOn<'c>,
    /// Where the last document was found.
    near: Near,
    row: Vec<u8>,
}

impl Copy<'_> {
    fn look(&self) -> Result<()> {
        (self.go_on)(self.load.progress(Phase::Documents))
    }

    fn slice(&mut self, slice: Slice, rows: &mut Rows) -> Result<()> {
        let view = self.load.state.view();
        let mut changes = ChangeRows::new(view, slice.since, Direction::Forward)?;
        let mut done = 0;
        while let Some(change) = changes.next()?.filter(|change| change.seq <= slice.through) {
            self.document(change, rows)?;
            done += 1;
        }
        self.load.done.fetch_add(done, Ordering::Relaxed);
        Ok(())
    }

    fn document(&mut self, change: Change<'_>, rows: &mut Rows) -> Result<()> {
        let Change { seq, id, value: by_seq } = change;
        let state = self.load.state;
        let entry = state.view().doc_near(id, &mut self.near)?.filter(|entry| entry.seq == seq);
        let entry = entry.ok_or_else(|| state.trees.bad_row())?;
        let old = OldDocument { id, seq, weight: entry.weight, by_id: &entry.value, by_seq };
        let go_on = || (self.go_on)(self.load.progress(Phase::Documents));
        let mut copier = copier(self.load, &mut self.blobs, &go_on);
        let new = self.job.document(old, &mut copier)?;
        rows.counts += new.weight.into();
        self.row.clear();
        rows::encode_doc(&mut self.row, seq, new.weight, &new.by_id);
        rows.by_id.push(id, &self.row)?;
        self.row.clear();
        rows::encode_change(&mut self.row, id, &new.by_seq);
        rows.by_seq.push(&rows::seq_key(seq), &self.row)
    }
}

/// Copies references of one document or key.
fn copier<'c>(
    load: &'c Load<'_>,
    to: &'c mut dyn PutBlob,
    go_on: &'c dyn Fn() -> Result<()>,
) -> FileCopier<'c> {
    let from = &load.state.trees;
    FileCopier { from, to, known: Known::default(), staged: &load.staged, go_on }
}

/// Copies local and meta keys.
pub(super) fn keys(
    load: &Load<'_>,
    job: &mut dyn Compaction,
    into: &mut Sorter,
    go_on: GoOn<'_>,
) -> Result<()> {
    let mut blobs = BlobFrames::new(&load.room);
    let view = load.state.view();
    for space in [Space::Local, Space::Meta] {
        let mut keys = KeyRows::new(view, space, &KeyRange::all(), Direction::Forward)?;
        while let Some((key, value)) = keys.next()? {
            let go_on = || go_on(load.progress(Phase::Keys));
            let mut copier = copier(load, &mut blobs, &go_on);
            if let Some(value) = job.key(space.keyspace(), key, value, &mut copier)? {
                into.push(&space.key(key), &value)?;
            }
        }
    }
    blobs.finish()
}
