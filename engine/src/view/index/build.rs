//! Building indexes from all documents: read once, mapped on several threads, sorted within a fixed budget of
//! memory, loaded bottom up. Disk: what is sorted, and the new files beside it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use parking_lot::Mutex;
use settee_storage::{
    ChangeCursor, Direction,
    sort::{Sorter, merge},
    tree::{Builder, CountEntries},
};

use super::{IndexMeta, ViewIndex, mark::Mark, reduction, rows::Rows};
use crate::{
    all_docs::id_text,
    error::{Error, Result},
    read::Reader,
    view::{
        definition::IndexDefinition, progress::Progress, reduce::ReduceLimits,
        settings::ViewSettings, source::RowSource,
    },
};

/// Documents a thread takes at a time.
const BATCH_DOCUMENTS: usize = 128;
/// Documents up to which a build is over so soon that nobody need be let past.
const SHORT_DOCUMENTS: u64 = 10_000;
/// Least memory of one sorter, in bytes.
const MIN_SORTER_BYTES: usize = 128 * 1024;

/// Indexes that are built together.
pub(crate) struct Build<'b> {
    pub(crate) reader: &'b Reader,
    pub(crate) source: &'b dyn RowSource,
    pub(crate) indexes: Vec<(&'b ViewIndex, &'b IndexDefinition)>,
    pub(crate) settings: &'b ViewSettings,
    pub(crate) progress: &'b Progress,
}

/// What one thread collected for one index.
struct Collected {
    rows: Sorter,
    documents: Sorter,
}

/// Changes copied out of the cursor that all threads share.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Sequence, end of the id, end of the value.
    changes: Vec<(u64, usize, usize)>,
}

impl Batch {
    fn fill(&mut self, cursor: &mut dyn ChangeCursor) -> Result<()> {
        self.bytes.clear();
        self.changes.clear();
        while self.changes.len() < BATCH_DOCUMENTS {
            let Some(change) = cursor.next()? else { break };
            self.bytes.extend_from_slice(change.id);
            let middle = self.bytes.len();
            self.bytes.extend_from_slice(change.value);
            self.changes.push((change.seq, middle, self.bytes.len()));
        }
        Ok(())
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &[u8], &[u8])> {
        let mut start = 0;
        self.changes.iter().map(move |&(seq, middle, end)| {
            let id = self.bytes.get(start..middle).unwrap_or_default();
            start = end;
            (seq, id, self.bytes.get(middle..end).unwrap_or_default())
        })
    }
}

impl Build<'_> {
    /// Builds the indexes as of the reader's moment, and shows them.
    pub(crate) fn run(&self) -> Result<()> {
        for (index, _) in &self.indexes {
            index.place.make()?;
        }
        let mut by_index: Vec<Vec<Collected>> = self.indexes.iter().map(|_| Vec::new()).collect();
        for collected in self.map()? {
            by_index.iter_mut().zip(collected).for_each(|(all, one)| all.push(one));
        }
        self.load(by_index)
    }

    fn map(&self) -> Result<Vec<Vec<Collected>>> {
        let cursor = self.reader.snapshot.changes(0, Direction::Forward)?;
        let cursor = Mutex::new(cursor);
        let batches = self.documents().div_ceil(BATCH_DOCUMENTS as u64);
        let threads = usize::try_from(batches).unwrap_or(usize::MAX);
        let threads = threads.clamp(1, self.settings.build_threads.max(1));
        self.in_threads(threads, |number| self.map_some(number, threads, &cursor))
    }

    fn map_some(
        &self,
        number: usize,
        threads: usize,
        cursor: &Mutex<Box<dyn ChangeCursor + '_>>,
    ) -> Result<Vec<Collected>> {
        let mut collected = self.collectors(number, threads);
        let definitions = self.indexes.iter().map(|(_, definition)| *definition).collect();
        let mut rows = Rows::new(self.reader, self.source, definitions)?;
        let mut batch = Batch::default();
        loop {
            self.progress.check()?;
            batch.fill(&mut **cursor.lock())?;
            if batch.changes.is_empty() {
                return Ok(collected);
            }
            for (seq, id, value) in batch.iter() {
                let made = rows.of(seq, id_text(id)?, value)?;
                for (made, into) in made.iter().zip(&mut collected) {
                    if made.keys.is_empty() {
                        continue;
                    }
                    for (key, value) in made.rows() {
                        into.rows.push(key, value)?;
                    }
                    into.documents.push(id, &made.keys)?;
                }
            }
            self.progress.add(batch.changes.len() as u64);
        }
    }

    fn collectors(&self, number: usize, threads: usize) -> Vec<Collected> {
        let sorters = threads * self.indexes.len() * 2;
        let memory = (self.settings.build_memory_bytes / sorters.max(1)).max(MIN_SORTER_BYTES);
        let sorter = |index: &ViewIndex, part| {
            let disk = Arc::clone(&index.place.disk);
            Sorter::new(disk, index.scratch(2 * number + part), memory)
        };
        let indexes = self.indexes.iter();
        indexes
            .map(|(index, _)| Collected { rows: sorter(index, 0), documents: sorter(index, 1) })
            .collect()
    }

    /// Loads the indexes, several at a time.
    fn load(&self, collected: Vec<Vec<Collected>>) -> Result<()> {
        let waiting: Vec<_> = collected.into_iter().map(|one| Mutex::new(Some(one))).collect();
        let next = AtomicUsize::new(0);
        let most = if self.is_short() { 1 } else { waiting.len().max(1) };
        let threads = self.settings.build_threads.clamp(1, most);
        self.in_threads(threads, |_| {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some((index, definition)) = self.indexes.get(number) else { return Ok(()) };
                let collected = waiting.get(number).and_then(|one| one.lock().take());
                self.load_one(index, definition, collected.unwrap_or_default())?;
            }
        })
        .map(drop)
    }

    fn load_one(
        &self,
        index: &ViewIndex,
        definition: &IndexDefinition,
        collected: Vec<Collected>,
    ) -> Result<()> {
        let (rows, documents): (Vec<_>, Vec<_>) =
            collected.into_iter().map(|one| (one.rows, one.documents)).unzip();
        let loaded_rows = rows.iter().map(Sorter::len).sum();
        let file = index.create()?;
        let mut writer = file.write();
        let reduce = reduction(&definition.reducers, self.source, self.limits())?;
        let mut builder = Builder::new(reduce, &mut writer);
        let mut sorted = merge(rows)?;
        while let Some((key, value)) = sorted.next()? {
            builder.push(key, value)?;
        }
        drop(sorted);
        let rows = builder.finish()?;
        let mut builder = Builder::new(CountEntries, &mut writer);
        let mut sorted = merge(documents)?;
        while let Some((key, value)) = sorted.next()? {
            builder.push(key, value)?;
        }
        let documents = builder.finish()?;
        let meta = self.meta(definition, loaded_rows, writer.bytes())?;
        writer.commit(&[rows, documents], &meta.encode())?;
        drop(writer);
        index.install(&file)
    }

    fn documents(&self) -> u64 {
        self.reader.snapshot.counts().documents()
    }

    fn is_short(&self) -> bool {
        self.documents() <= SHORT_DOCUMENTS
    }

    /// Runs `work` in so many threads at once; the first error wins. Those of a long build have a low priority.
    fn in_threads<T: Send>(
        &self,
        threads: usize,
        work: impl Fn(usize) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let (work, is_short) = (&work, self.is_short());
        thread::scope(|scope| {
            let run = move |number| {
                if !is_short {
                    crate::view::priority::lower();
                }
                work(number)
            };
            let running: Vec<_> = (0..threads).map(|n| scope.spawn(move || run(n))).collect();
            let joined = running.into_iter().map(|thread| match thread.join() {
                Ok(outcome) => outcome,
                Err(_) => {
                    Err(Error::IndexingFailed("a thread of the indexer came to grief".into()))
                }
            });
            // All threads are waited for, whatever the first of them says.
            let outcomes: Vec<_> = joined.collect();
            outcomes.into_iter().collect()
        })
    }

    fn limits(&self) -> ReduceLimits {
        self.settings.reduce_limits
    }

    fn meta(
        &self,
        definition: &IndexDefinition,
        loaded_rows: u64,
        loaded_bytes: u64,
    ) -> Result<IndexMeta> {
        Ok(IndexMeta {
            uuid: self.reader.database.uuid(),
            signature: definition.signature,
            seq: self.reader.seq(),
            purge_seq: self.reader.purge_seq()?,
            mark: Mark::newest(&*self.reader.snapshot)?,
            loaded_rows,
            loaded_bytes,
            collation_version: crate::view::key::collation_version().to_owned(),
            reducers: definition.reducers.clone(),
        })
    }
}
