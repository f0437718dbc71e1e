//! The measures, in the order in which they are taken.

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Advice, fadvise},
    time::{ClockId, clock_gettime},
};
use tempfile::TempDir;
use xxhash_rust::xxh3::Xxh3Default;

use crate::{
    Open, Options,
    peer::{Edit, Opening, Outcome, Peer},
    table::{self, Better},
    work::{Documents, Random},
};

/// Documents of a large batch.
const LARGE: usize = 10_000;
/// Documents of a small batch.
const SMALL: usize = 100;
/// Small batches that are measured.
const SMALL_BATCHES: usize = 100;
/// Slices that a measure is cut into.
const SLICES: usize = 10;
/// Rows that are scanned at least, and times at least.
const SCANNED_ROWS: usize = 2_000_000;
const SCANS: usize = 3;
/// Times a store is opened.
const OPENINGS: usize = 5;
/// MiB that each store may cache by itself while files are read that are not in memory.
const SMALL_CACHE: usize = 8;

/// What is taken for the time of a slice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clock {
    /// The time that passed.
    Wall,
    /// The time for which the thread had a processor: for work in memory, which is over before a busy machine
    /// has found its rhythm.
    Processor,
}

impl Clock {
    fn now(self) -> Duration {
        let id = match self {
            Clock::Wall => ClockId::Monotonic,
            Clock::Processor => ClockId::ThreadCPUTime,
        };
        let time = clock_gettime(id);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

/// One store in the run.
struct Entry {
    open: Open,
    folder: TempDir,
    store: Option<Box<dyn Peer>>,
}

impl Entry {
    fn store(&mut self) -> Outcome<&mut dyn Peer> {
        Ok(&mut **self.store.as_mut().ok_or("the store is closed")?)
    }

    fn bytes(&self) -> Outcome<f64> {
        Ok(folder_bytes(self.folder.path())? as f64)
    }

    /// Opens it anew and returns how long that took, one read included.
    fn reopen(&mut self, cache_bytes: usize, id: &[u8]) -> Outcome<Duration> {
        self.store = None;
        let started = Instant::now();
        let store = (self.open)(Opening { folder: self.folder.path(), cache_bytes })?;
        store.reader()?.get(id, &mut |_| ())?;
        self.store = Some(store);
        Ok(started.elapsed())
    }
}

/// Blocks on disk, so that space that is only reserved does not count.
fn folder_bytes(folder: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes +=
            if metadata.is_dir() { folder_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// Takes the files of a folder out of memory, as far as the system does as it is asked.
fn forget(folder: &Path) -> Outcome<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            forget(&path)?;
        } else {
            let file = File::open(path)?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Everything that is measured.
pub(crate) struct Run<'o> {
    options: &'o Options,
    documents: Documents,
    entries: Vec<Entry>,
    names: Vec<&'static str>,
    /// Edits made so far: the next one's version.
    version: u64,
    random: Random,
    /// Whose turn it is to be first.
    turn: usize,
}

impl<'o> Run<'o> {
    pub(crate) fn new(options: &'o Options, stores: &[(&'static str, Open)]) -> Outcome<Self> {
        let mut entries = Vec::new();
        for (name, open) in stores {
            let folder = tempfile::Builder::new().prefix("peers-").tempdir_in(&options.folder)?;
            let opening = Opening { folder: folder.path(), cache_bytes: options.cache << 20 };
            let store = open(opening).map_err(|error| format!("{name}: {error}"))?;
            entries.push(Entry { open: *open, folder, store: Some(store) });
        }
        let documents = Documents { ordered: options.ordered, body_bytes: options.body };
        let names = stores.iter().map(|(name, _)| *name).collect();
        Ok(Run { options, documents, entries, names, version: 0, random: Random(42), turn: 0 })
    }

    pub(crate) fn all(mut self) -> Outcome<()> {
        table::head(&self.names);
        self.large_batches()?;
        self.small_batches()?;
        self.singles()?;
        self.same_rows()?;
        self.settle()?;
        self.sizes("file after these, MB")?;
        self.random_reads()?;
        self.scans()?;
        self.growth()?;
        self.compaction()?;
        self.openings()?;
        self.cold_reads()?;
        self.same_rows()
    }

    /// Does each slice of the work with all stores, each time beginning with another one, and adds up how
    /// long each took. Copies of the input are made outside of the time.
    fn by_turns<T: Clone>(
        &mut self,
        clock: Clock,
        slices: &[T],
        mut work: impl FnMut(&mut dyn Peer, T) -> Outcome<()>,
    ) -> Outcome<Vec<f64>> {
        let mut seconds = vec![0.0; self.entries.len()];
        for slice in slices {
            self.turn += 1;
            for turn in 0..self.entries.len() {
                let which = (self.turn + turn) % self.entries.len();
                let input = slice.clone();
                let store = self.entries[which].store()?;
                let started = clock.now();
                work(store, input)?;
                seconds[which] += (clock.now() - started).as_secs_f64();
            }
        }
        Ok(seconds)
    }

    fn rates(&self, name: &str, count: usize, seconds: &[f64]) {
        let rates: Vec<_> = seconds.iter().map(|seconds| Some(count as f64 / seconds)).collect();
        table::line(name, "per second", Better::Higher, &rates);
    }

    /// Edits of documents chosen by chance, all different within a batch.
    fn updates(&mut self, batch: usize) -> Vec<Edit> {
        let mut chosen = std::collections::HashSet::new();
        while chosen.len() < batch.min(self.options.documents) {
            chosen.insert(self.random.below(self.options.documents));
        }
        self.version += 1;
        let mut chosen: Vec<_> = chosen.into_iter().collect();
        chosen.sort_unstable();
        chosen.into_iter().map(|n| self.documents.edit(n, self.version)).collect()
    }

    fn write(&mut self, slices: &[Vec<Vec<Edit>>]) -> Outcome<Vec<f64>> {
        self.by_turns(Clock::Wall, slices, |store, batches| {
            batches.into_iter().try_for_each(|batch| store.write(batch))
        })
    }

    fn large_batches(&mut self) -> Outcome<()> {
        let documents = self.options.documents;
        let mut seconds = vec![0.0; self.entries.len()];
        for first in (0..documents).step_by(LARGE) {
            let batch: Vec<_> =
                (first..documents.min(first + LARGE)).map(|n| self.documents.edit(n, 0)).collect();
            for (sum, taken) in seconds.iter_mut().zip(self.write(&[vec![batch]])?) {
                *sum += taken;
            }
        }
        self.rates("new documents in durable batches of 10,000", documents, &seconds);
        Ok(())
    }

    fn small_batches(&mut self) -> Outcome<()> {
        let slices = self.slices(SMALL_BATCHES / SLICES, SMALL);
        let seconds = self.write(&slices)?;
        self.rates("updates in durable batches of 100", SMALL_BATCHES * SMALL, &seconds);
        Ok(())
    }

    fn singles(&mut self) -> Outcome<()> {
        let count = self.options.singles.div_ceil(SLICES);
        let slices = self.slices(count, 1);
        let seconds = self.write(&slices)?;
        self.rates("durable updates of one document", count * SLICES, &seconds);
        Ok(())
    }

    /// Slices of so many batches each, of so many updates each.
    fn slices(&mut self, batches: usize, updates: usize) -> Vec<Vec<Vec<Edit>>> {
        let mut slice = || (0..batches).map(|_| self.updates(updates)).collect();
        (0..SLICES).map(|_| slice()).collect()
    }

    fn settle(&mut self) -> Outcome<()> {
        self.entries.iter_mut().try_for_each(|entry| entry.store()?.settle())
    }

    fn sizes(&mut self, name: &str) -> Outcome<()> {
        let sizes = self.entries.iter().map(|entry| Ok(Some(entry.bytes()? / 1e6)));
        let sizes = sizes.collect::<Outcome<Vec<_>>>()?;
        let (name, unit) = name.split_once(", ").unwrap_or((name, ""));
        table::line(name, unit, Better::Lower, &sizes);
        Ok(())
    }

    fn ids(&mut self, count: usize) -> Vec<Vec<u8>> {
        let documents = self.options.documents;
        (0..count).map(|_| self.documents.id(self.random.below(documents))).collect()
    }

    fn read(&mut self, clock: Clock, ids: &[Vec<u8>]) -> Outcome<Vec<f64>> {
        let slices: Vec<_> = ids.chunks(ids.len().div_ceil(SLICES).max(1)).collect();
        self.by_turns(clock, &slices, |store, ids| {
            let mut reader = store.reader()?;
            let mut sum = 0u64;
            for id in ids {
                let found =
                    &mut |body: &[u8]| sum += body.iter().map(|b| u64::from(*b)).sum::<u64>();
                if !reader.get(id, found)? {
                    return Err("a document is missing".into());
                }
            }
            std::hint::black_box(sum);
            Ok(())
        })
    }

    fn random_reads(&mut self) -> Outcome<()> {
        let ids = self.ids(self.options.reads);
        // Once to warm up.
        self.read(Clock::Processor, &ids)?;
        let seconds = self.read(Clock::Processor, &ids)?;
        self.rates("random reads, in memory, of processor time", ids.len(), &seconds);
        Ok(())
    }

    fn scans(&mut self) -> Outcome<()> {
        let documents = self.options.documents;
        let scans = vec![(); SCANS.max(SCANNED_ROWS / documents.max(1))];
        let seconds = self.by_turns(Clock::Processor, &scans, |store, ()| {
            let (mut rows, mut sum) = (0, 0);
            store.reader()?.by_id(&mut |_, _, body| {
                rows += 1;
                sum += body.iter().map(|b| u64::from(*b)).sum::<u64>();
            })?;
            std::hint::black_box(sum);
            if rows == documents { Ok(()) } else { Err("a scan found too few rows".into()) }
        })?;
        self.rates("scan by id with bodies, of processor time", documents * scans.len(), &seconds);
        let seconds = self.by_turns(Clock::Processor, &scans, |store, ()| {
            let mut rows = 0;
            store.reader()?.by_seq(&mut |_, _, _| rows += 1)?;
            if rows == documents { Ok(()) } else { Err("a scan found too few rows".into()) }
        })?;
        self.rates("scan by sequence, of processor time", documents * scans.len(), &seconds);
        Ok(())
    }

    fn growth(&mut self) -> Outcome<()> {
        let before = self.entries.iter().map(Entry::bytes).collect::<Outcome<Vec<_>>>()?;
        let updates = self.options.updates;
        let batches: Vec<_> = (0..updates / SMALL).map(|_| vec![self.updates(SMALL)]).collect();
        let seconds = self.write(&batches)?;
        self.rates("further updates in durable batches of 100", updates, &seconds);
        self.settle()?;
        let grown = self
            .entries
            .iter()
            .zip(before)
            .map(|(entry, before)| Ok(Some((entry.bytes()? - before) / updates as f64)));
        let grown = grown.collect::<Outcome<Vec<_>>>()?;
        table::line("growth of the file per update", "bytes", Better::Lower, &grown);
        self.sizes("file before compaction, MB")
    }

    fn compaction(&mut self) -> Outcome<()> {
        let id = self.documents.id(0);
        let (mut sizes, mut times) = (Vec::new(), Vec::new());
        for entry in &mut self.entries {
            let started = Instant::now();
            let compacted = entry.store()?.compact()?;
            let taken = started.elapsed().as_secs_f64();
            entry.reopen(self.options.cache << 20, &id)?;
            times.push(compacted.then_some(taken));
            sizes.push(if compacted { Some(entry.bytes()? / 1e6) } else { None });
        }
        table::line("compaction", "s", Better::Lower, &times);
        table::line("file after compaction", "MB", Better::Lower, &sizes);
        Ok(())
    }

    fn openings(&mut self) -> Outcome<()> {
        let id = self.documents.id(1);
        let mut times = vec![f64::MAX; self.entries.len()];
        for _ in 0..OPENINGS {
            for (entry, time) in self.entries.iter_mut().zip(&mut times) {
                let taken = entry.reopen(self.options.cache << 20, &id)?;
                *time = time.min(taken.as_secs_f64() * 1000.0);
            }
        }
        let times: Vec<_> = times.into_iter().map(Some).collect();
        table::line("opening and one read, best of 5", "ms", Better::Lower, &times);
        Ok(())
    }

    fn cold_reads(&mut self) -> Outcome<()> {
        let ids = self.ids(self.options.cold_reads);
        for entry in &mut self.entries {
            entry.store = None;
            forget(entry.folder.path())?;
            entry.reopen(SMALL_CACHE << 20, &ids[0])?;
        }
        let seconds = self.read(Clock::Wall, &ids)?;
        self.rates("random reads, files not in memory", ids.len(), &seconds);
        Ok(())
    }

    /// All stores must hold the same rows in both indexes.
    fn same_rows(&mut self) -> Outcome<()> {
        let mut first = None;
        for (entry, name) in self.entries.iter_mut().zip(&self.names) {
            let mut hash = Xxh3Default::new();
            let mut add = |id: &[u8], seq: u64, body: &[u8]| {
                hash.update(id);
                hash.update(&seq.to_le_bytes());
                hash.update(body);
            };
            let mut reader = entry.store()?.reader()?;
            reader.by_id(&mut add)?;
            reader.by_seq(&mut add)?;
            let hash = hash.digest();
            if *first.get_or_insert(hash) != hash {
                return Err(format!("{name} has other rows than {}", self.names[0]).into());
            }
        }
        Ok(())
    }
}
