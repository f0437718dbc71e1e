//! Bringing indexes up to date with the changes since.

use std::collections::BTreeMap;

use settee_storage::{
    Direction, KeyRange, Seq,
    index::IndexWriter,
    tree::{CountEntries, merge},
};

use super::{Current, IndexMeta, ViewIndex, mark::Mark, reduction, rows::Rows};
use crate::{
    all_docs::id_text,
    database::{PurgeRequest, settings::PURGES},
    error::Result,
    read::Reader,
    view::{
        definition::IndexDefinition,
        progress::Progress,
        row::{document_keys, put_id, put_number},
        settings::ViewSettings,
        source::RowSource,
    },
};

/// Documents that are mapped before their rows are merged into the trees.
const BATCH_DOCUMENTS: usize = 4000;
/// Bytes of rows after which they are merged all the same.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Indexes that are at the same sequence and are updated together.
pub(crate) struct Update<'u> {
    pub(crate) reader: &'u Reader,
    pub(crate) source: &'u dyn RowSource,
    pub(crate) indexes: Vec<(&'u ViewIndex, &'u IndexDefinition)>,
    pub(crate) settings: &'u ViewSettings,
    pub(crate) progress: &'u Progress,
}

type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What changes in one index.
#[derive(Default)]
struct Pending {
    rows: Changes,
    documents: Changes,
    bytes: usize,
}

impl Update<'_> {
    /// Takes over all changes after `seq`, where the indexes are, and the purges after `purge_seq`.
    /// False if these are no longer known: then the indexes must be built anew.
    pub(crate) fn run(&self, seq: Seq, purge_seq: u64) -> Result<bool> {
        let Some(purged) = self.purged(purge_seq)? else { return Ok(false) };
        let definitions = self.indexes.iter().map(|(_, definition)| *definition).collect();
        let mut rows = Rows::new(self.reader, self.source, definitions)?;
        let mut pending: Vec<Pending> = self.indexes.iter().map(|_| Pending::default()).collect();
        for id in &purged {
            self.forget(id, &mut pending)?;
        }
        let mut cursor = self.reader.snapshot.changes(seq, Direction::Forward)?;
        let (mut documents, mut done) = (0, seq);
        while let Some(change) = cursor.next()? {
            let (id, value) = (change.id, change.value);
            done = change.seq;
            self.forget(id, &mut pending)?;
            for (made, pending) in rows.of(done, id_text(id)?, value)?.iter().zip(&mut pending) {
                if made.keys.is_empty() {
                    continue;
                }
                for (key, value) in made.rows() {
                    pending.bytes += key.len() + value.len();
                    pending.rows.insert(key.to_vec(), Some(value.to_vec()));
                }
                pending.documents.insert(id.to_vec(), Some(made.keys.clone()));
            }
            documents += 1;
            let bytes: usize = pending.iter().map(|pending| pending.bytes).sum();
            if documents >= BATCH_DOCUMENTS || bytes >= BATCH_BYTES {
                let mark = Mark::of(done, id, value)?;
                self.commit(&mut pending, done, &mark)?;
                self.progress.add(documents as u64);
                documents = 0;
                self.progress.check()?;
            }
        }
        let mark = Mark::newest(&*self.reader.snapshot)?;
        self.commit(&mut pending, self.reader.seq().max(done), &mark)?;
        self.progress.add(documents as u64);
        Ok(true)
    }

    /// The documents that were purged since and are gone; those that are not have a new sequence.
    fn purged(&self, since: u64) -> Result<Option<Vec<Vec<u8>>>> {
        let snapshot = &self.reader.snapshot;
        let now = self.reader.purge_seq()?;
        let mut gone = Vec::new();
        if now == since {
            return Ok(Some(gone));
        }
        let mut known = snapshot.metas(&KeyRange::prefix(PURGES), Direction::Forward)?;
        let mut next = since + 1;
        while let Some((key, value)) = known.next()? {
            let number = key.get(PURGES.len()..).and_then(|number| number.try_into().ok());
            let number = number.map_or(0, u64::from_be_bytes);
            if number <= since {
                continue;
            }
            if number != next {
                return Ok(None);
            }
            next += 1;
            let id = PurgeRequest::decode(value)?.id.into_bytes();
            if snapshot.doc(&id)?.is_none() {
                gone.push(id);
            }
        }
        Ok((next > now).then_some(gone))
    }

    /// Removes the rows a document had.
    fn forget(&self, id: &[u8], pending: &mut [Pending]) -> Result<()> {
        for ((index, _), pending) in self.indexes.iter().zip(pending) {
            let Some(current) = index.current() else { continue };
            let Some(keys) = current.documents().get(id)? else { continue };
            for (number, key) in document_keys(&keys).enumerate() {
                let mut row = key?.to_vec();
                put_id(id_text(id)?, &mut row);
                put_number(number as u64, &mut row);
                pending.bytes += row.len();
                pending.rows.insert(row, None);
            }
            pending.documents.insert(id.to_vec(), None);
        }
        Ok(())
    }

    /// Merges what is pending into each index, which is then at `seq`, where the newest change is `mark`.
    fn commit(&self, pending: &mut [Pending], seq: Seq, mark: &Mark) -> Result<()> {
        for ((index, definition), pending) in self.indexes.iter().zip(pending) {
            let Some(current) = index.current() else { continue };
            let pending = std::mem::take(pending);
            let purge_seq = self.reader.purge_seq()?;
            let meta = IndexMeta { seq, purge_seq, mark: mark.clone(), ..current.meta.clone() };
            let mut writer = current.file.write();
            self.merge(&current, definition, pending, &meta, &mut writer)?;
            drop(writer);
            index.publish(&current.file)?;
        }
        Ok(())
    }

    fn merge(
        &self,
        current: &Current,
        _definition: &IndexDefinition,
        pending: Pending,
        meta: &IndexMeta,
        writer: &mut IndexWriter<'_>,
    ) -> Result<()> {
        let (pages, snapshot) = (current.snapshot.pages(), &current.snapshot);
        let limits = self.settings.reduce_limits;
        let mut rows = snapshot.root(super::ROWS);
        if !pending.rows.is_empty() {
            let reduce = reduction(&current.meta.reducers, self.source, limits)?;
            rows = merge(pages, rows, reduce, pending.rows, writer)?;
        }
        let documents = snapshot.root(super::DOCUMENTS);
        let documents = merge(pages, documents, CountEntries, pending.documents, writer)?;
        Ok(writer.commit(&[rows, documents], &meta.encode())?)
    }
}
