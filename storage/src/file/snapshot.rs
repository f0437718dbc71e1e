//! Reading one moment of the database: [`Snapshot`] for [`State`].

use std::ops::Bound;

use super::{
    cursor::{ChangeRows, DocRows, KeyRows},
    rows::{self, Space},
    state::State,
    stream,
};
use crate::{
    error::Result,
    store::{
        BlobRef, ChangeCursor, Counts, Direction, DocCursor, DocEntry, KeyRange, LocalCursor, Seq,
        Snapshot, StagedStream, StreamReader, StreamRef, Value,
    },
};

impl Snapshot for State {
    fn seq(&self) -> Seq {
        self.head.seq
    }

    fn counts(&self) -> Counts {
        self.head.counts
    }

    fn count_docs(&self, range: &KeyRange) -> Result<Counts> {
        let (Bound::Unbounded, Bound::Unbounded) = (&range.start, &range.end) else {
            return self.view().count_docs(range);
        };
        Ok(self.counts())
    }

    fn count_changes(&self, since: Seq) -> Result<u64> {
        if since == 0 {
            return Ok(self.counts().documents());
        }
        let start = Bound::Excluded(rows::seq_key(since).to_vec());
        let beneath = self.trees.by_seq().sum(&KeyRange { start, end: Bound::Unbounded })?;
        let change = self.view().layers().map(|layer| layer.count_changes(since)).sum();
        beneath.checked_add_signed(change).ok_or_else(|| self.trees.bad_row())
    }

    fn doc(&self, id: &[u8]) -> Result<Option<DocEntry<'_>>> {
        self.view().doc(id)
    }

    fn docs<'s>(
        &'s self,
        range: &KeyRange,
        direction: Direction,
        live_only: bool,
    ) -> Result<Box<dyn DocCursor + 's>> {
        Ok(Box::new(DocRows::new(self.view(), range, direction, live_only)?))
    }

    fn changes<'s>(
        &'s self,
        since: Seq,
        direction: Direction,
    ) -> Result<Box<dyn ChangeCursor + 's>> {
        Ok(Box::new(ChangeRows::new(self.view(), since, direction)?))
    }

    fn local(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        self.view().key(Space::Local, key)
    }

    fn locals<'s>(
        &'s self,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<Box<dyn LocalCursor + 's>> {
        Ok(Box::new(KeyRows::new(self.view(), Space::Local, range, direction)?))
    }

    fn meta(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        self.view().key(Space::Meta, key)
    }

    fn metas<'s>(
        &'s self,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<Box<dyn LocalCursor + 's>> {
        Ok(Box::new(KeyRows::new(self.view(), Space::Meta, range, direction)?))
    }

    fn blob(&self, at: BlobRef) -> Result<Value<'_>> {
        self.trees.reader.blob(at)
    }

    fn stream(&self, at: StreamRef) -> Result<Box<dyn StreamReader>> {
        Ok(Box::new(stream::ChunkReader::open(&self.trees, at)?))
    }

    fn stage(&self, at: StreamRef) -> Result<Option<StagedStream>> {
        Ok(self.trees.staging.stage(at))
    }
}
