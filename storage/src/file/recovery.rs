//! Opening: find the last state that was acknowledged, cut off what is not part of it, and sync.
//!
//! Nothing is repaired. The search begins at the end of the file with the last commit or checkpoint that
//! is sound in itself, goes to the checkpoint it names, and walks forwards from there, following the
//! chain. Where the walk ends decides between two cases that must not be confused:
//!
//! * Beyond every durable mark seen, the rest was never acknowledged: a torn tail. It is cut off.
//! * Below a durable mark, bytes are damaged that were on disk once. That is refused.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Options, Recovery,
    frame::{Chain, FrameHeader, Keys, Kind},
    generation::{self, Generation, LastCommit},
    head::Head,
    header::{self, FIRST_FRAME, HEADER_BYTES, Header, Identity, Refusal},
    layer::Layer,
    ops,
    reader::{ReadBy, Readers},
    record::{CheckpointRecord, CommitHead, Roots},
    scan::Scan,
    staging::Staging,
    state::{State, Trees, View},
    store::FileStore,
    tail::{Position, Tail},
};
use crate::{
    disk::{Disk, File, OpenMode, read_exact_at, write_all_at},
    error::{Error, Result, io_error},
    store::Counts,
};

/// What a new file is called until it is complete.
const UNFINISHED_SUFFIX: &str = ".new";
/// What the copy is called that a compaction makes, until it takes the place of the file.
const COMPACT_SUFFIX: &str = ".compact";

impl FileStore {
    /// Makes a new database file. It has its name only when it is complete and durable.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::Full`], [`Error::Io`], and [`Error::Locked`] while another
    /// process creates the same file.
    pub fn create(disk: Arc<dyn Disk>, path: &Path, options: Options) -> Result<Arc<Self>> {
        let io = |operation| move |source| io_error(operation, path, source);
        if disk.exists(path).map_err(io("look up"))? {
            return Err(Error::AlreadyExists { path: path.to_path_buf() });
        }
        let unfinished = &with_suffix(path, UNFINISHED_SUFFIX);
        let file = begin_file(disk.as_ref(), unfinished, path)?;
        let header = Header { identity: new_identity(&options, path)?, base: 0 };
        write_all_at(file.as_ref(), &header::encode(&header), 0).map_err(io("write"))?;
        file.sync_all().map_err(io("sync"))?;
        disk.rename(unfinished, path).map_err(io("rename"))?;
        sync_folder(disk.as_ref(), path)?;
        Self::found(&disk, path, options, file, header)
    }

    /// Opens a database file. [`FileStore::recovery`] says what was found.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::Format`] for files that are not ours,
    /// [`Error::Corrupt`] when bytes that were durable are damaged, [`Error::Io`].
    pub fn open(disk: Arc<dyn Disk>, path: &Path, options: Options) -> Result<Arc<Self>> {
        let file = open_existing(disk.as_ref(), path, OpenMode::Write)?;
        take_lock(file.as_ref(), path)?;
        let header = read_header(file.as_ref(), path)?;
        // What a compaction that did not come to its end left behind.
        let unfinished = compact_path(path);
        let io = |operation| move |source| io_error(operation, path, source);
        if disk.exists(&unfinished).map_err(io("look beside"))? {
            disk.remove(&unfinished).map_err(io("remove what a compaction left beside"))?;
        }
        // Whoever created or compacted the file may have been killed before its name was durable.
        sync_folder(disk.as_ref(), path)?;
        Self::found(&disk, path, options, file, header)
    }

    /// Starts from a file whose header was read or written.
    fn found(
        disk: &Arc<dyn Disk>,
        path: &Path,
        options: Options,
        file: Arc<dyn File>,
        header: Header,
    ) -> Result<Arc<Self>> {
        // Readers have a descriptor of their own, so that the lock, which belongs to the writer's, goes
        // when the store is closed although snapshots are still being read.
        let reading =
            disk.open(path, OpenMode::Read).map_err(|source| io_error("open", path, source))?;
        if read_header(reading.as_ref(), path)? != header {
            // A compaction by another process put another file in its place before we had the lock.
            return Err(Error::Locked { path: path.to_path_buf() });
        }
        let path: Arc<Path> = path.into();
        let keys = Keys::new(&header.identity);
        let replay = Replay::run(&path, &file, &reading, &keys, header.base)?;
        let Replay { start, found, end_of_data } = replay;
        let end = found.position.end;
        let cut = cut_and_sync(&path, file.as_ref(), end)?;
        let bytes_cut = end_of_data.saturating_sub(end);
        let tail =
            Tail::new(Arc::clone(&path), file, keys, found.position, options.max_prepare_bytes);
        let readers =
            Readers::new(Arc::clone(&path), reading, options.read_by, options.cache_bytes);
        let reader = readers.reader(end)?;
        let staging = Arc::<Staging>::default();
        let trees = Trees {
            path: Arc::clone(&path),
            roots: start.roots,
            reader,
            staging: Arc::clone(&staging),
        };
        let recovery = Recovery {
            commits_replayed: found.last.number - start.last.number,
            bytes_replayed: found.log_bytes,
            bytes_cut,
            zeros_cut: cut.saturating_sub(bytes_cut),
        };
        let generation = Generation::new(generation::Found {
            path,
            options,
            tail,
            readers,
            state: State { head: found.head, frozen: None, trees },
            staging,
            last: found.last,
            checkpoint: start.checkpoint,
            checkpointed: start.last.number,
            log_bytes: found.log_bytes,
        });
        Ok(FileStore::start(Arc::clone(disk), generation, recovery))
    }
}

/// Opens a file that should be there.
pub(super) fn open_existing(disk: &dyn Disk, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
    disk.open(path, mode).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound { path: path.to_path_buf() },
        _ => io_error("open", path, source),
    })
}

fn take_lock(file: &dyn File, path: &Path) -> Result<()> {
    match file.try_lock() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Locked { path: path.to_path_buf() }),
        Err(source) => Err(io_error("lock", path, source)),
    }
}

/// Opens the unfinished file of a creation or compaction, locked. One left by a crash is removed first.
pub(super) fn begin_file(disk: &dyn Disk, unfinished: &Path, path: &Path) -> Result<Arc<dyn File>> {
    let io = |operation| move |source| io_error(operation, unfinished, source);
    if disk.exists(unfinished).map_err(io("look up"))? {
        let left = disk.open(unfinished, OpenMode::Write).map_err(io("open"))?;
        take_lock(left.as_ref(), path)?;
        disk.remove(unfinished).map_err(io("remove"))?;
    }
    let file = disk.open(unfinished, OpenMode::CreateNew).map_err(io("create"))?;
    take_lock(file.as_ref(), path)?;
    Ok(file)
}

pub(super) fn new_identity(options: &Options, path: &Path) -> Result<Identity> {
    let mut bytes = [0; 32];
    match options.identity {
        Some(identity) => bytes = identity,
        None => getrandom::fill(&mut bytes).map_err(|error| {
            io_error("get random bytes for", path, std::io::Error::other(error))
        })?,
    }
    let (mut salt, mut creation) = ([0; 16], [0; 16]);
    salt.copy_from_slice(&bytes[..16]);
    creation.copy_from_slice(&bytes[16..]);
    Ok(Identity { salt, creation })
}

/// What a file is called that compaction has not finished.
pub(super) fn compact_path(path: &Path) -> PathBuf {
    with_suffix(path, COMPACT_SUFFIX)
}

/// The path with something behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn sync_folder(disk: &dyn Disk, path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    disk.sync_dir(folder).map_err(|source| io_error("sync the folder of", path, source))
}

pub(super) fn read_header(file: &dyn File, path: &Path) -> Result<Header> {
    let format = |what: String| Error::Format { path: path.to_path_buf(), what };
    let mut block = vec![0; HEADER_BYTES];
    match read_exact_at(file, &mut block, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(format("it is too short to be a database".into()));
        }
        Err(source) => return Err(io_error("read", path, source)),
    }
    header::decode(&block).map_err(|refusal| match refusal {
        Refusal::NotADatabase => format("it is not a database".into()),
        Refusal::Version(version) => {
            format(format!("its format version is {version}, this build knows {}", header::VERSION))
        }
        Refusal::Damaged => Error::Corrupt {
            path: path.to_path_buf(),
            offset: 0,
            what: "the file header does not match its checksum",
        },
    })
}

/// Cuts the file behind its last valid frame and makes it durable, before anything of it is served: what
/// was found may so far be only in the page cache, if the process before was killed. Returns the bytes
/// cut.
fn cut_and_sync(path: &Path, file: &dyn File, end: u64) -> Result<u64> {
    let len = file.len().map_err(|source| io_error("measure", path, source))?;
    if len > end {
        file.set_len(end).map_err(|source| io_error("cut", path, source))?;
        file.sync_all().map_err(|source| io_error("sync", path, source))?;
    } else {
        file.sync_data().map_err(|source| io_error("sync", path, source))?;
    }
    Ok(len.saturating_sub(end))
}

/// Where a walk begins: a checkpoint, or the first frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// The checkpoint's offset, 0 for none.
    pub(super) checkpoint: u64,
    pub(super) last: LastCommit,
    seq: u64,
    counts: Counts,
    pub(super) roots: Roots,
    /// The highest durable mark known before the walk.
    durable: u64,
}

/// Where a walk has come to.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) head: Head,
    pub(super) last: LastCommit,
    /// After the last commit or checkpoint.
    pub(super) position: Position,
    /// Offset of the last checkpoint, 0 if there is none. Later than the start's if that one was skipped.
    pub(super) checkpoint: u64,
    pub(super) log_bytes: u64,
}

/// A finished search.
pub(super) struct Replay {
    pub(super) start: Start,
    pub(super) found: Found,
    pub(super) end_of_data: u64,
}

impl Replay {
    /// Searches the file as it is now. Changes nothing.
    pub(super) fn run(
        path: &Arc<Path>,
        file: &Arc<dyn File>,
        reading: &Arc<dyn File>,
        keys: &Keys,
        base: u64,
    ) -> Result<Self> {
        let len = file.len().map_err(|source| io_error("measure", path, source))?;
        let scan = Scan::new(path, file.as_ref(), keys, len);
        let end_of_data = scan.end_of_data()?;
        let mut walk = Walk { path, keys, reading, scan, base };
        let mut below = end_of_data;
        loop {
            let start = walk.find_start(below)?;
            match walk.replay(start)? {
                Some(found) => return Ok(Replay { start, found, end_of_data }),
                // The walk did not reach the checkpoint it began with, whose trees are therefore
                // unproven, and nothing durable is missing: an earlier checkpoint is tried.
                None => below = start.checkpoint,
            }
        }
    }
}

/// The search through one file.
struct Walk<'w> {
    path: &'w Arc<Path>,
    keys: &'w Keys,
    reading: &'w Arc<dyn File>,
    scan: Scan<'w>,
    /// The checkpoint that the file begins with, 0 for none.
    base: u64,
}

/// A commit or checkpoint that is sound in itself.
enum Anchor {
    Commit { checkpoint: u64, durable: u64 },
    Checkpoint(CheckpointRecord),
}

impl Walk<'_> {
    fn corrupt(&self, offset: u64, what: &'static str) -> Error {
        Error::Corrupt { path: self.path.to_path_buf(), offset, what }
    }

    /// Where the file begins: with the checkpoint of a compaction, or empty.
    fn beginning(&mut self, durable: u64) -> Result<Start> {
        if self.base == 0 {
            return Ok(self.genesis(durable));
        }
        match self.anchor(self.base)? {
            Some(Anchor::Checkpoint(record)) => {
                let end = self.base + 1;
                self.start_at(self.base, &record, durable.max(end))
            }
            _ => Err(self.corrupt(self.base, "the checkpoint that the compacted file begins with")),
        }
    }

    fn genesis(&self, durable: u64) -> Start {
        Start {
            checkpoint: 0,
            last: LastCommit { number: 0, offset: 0, end: FIRST_FRAME, chain: self.keys.genesis() },
            seq: 0,
            counts: Counts::default(),
            roots: Roots::empty(),
            durable,
        }
    }

    /// A walk that begins with this checkpoint.
    fn start_at(&self, offset: u64, record: &CheckpointRecord, durable: u64) -> Result<Start> {
        let is_before = FIRST_FRAME <= record.replay_from && record.replay_from <= offset;
        if !is_before || record.commit > offset || record.durable > offset {
            return Err(self.corrupt(offset, "a checkpoint that names what lies behind it"));
        }
        Ok(Start {
            checkpoint: offset,
            last: LastCommit {
                number: record.number,
                offset: record.commit,
                end: record.replay_from,
                chain: record.replay_chain,
            },
            seq: record.seq,
            counts: record.counts,
            roots: record.roots,
            durable: durable.max(record.durable),
        })
    }

    /// Looks backwards for an anchor and the checkpoint it names.
    fn find_start(&mut self, mut below: u64) -> Result<Start> {
        while let Some(frame) = self.scan.previous_frame(below)? {
            if frame.offset <= self.base {
                break;
            }
            // A chunk or node frame tells where the last anchor is: before it, so that the search ends.
            let at = match frame.kind.is_anchor() {
                true => frame.offset,
                false => frame.anchor.min(frame.offset),
            };
            let (checkpoint, durable) = match self.anchor(at)? {
                Some(Anchor::Checkpoint(record)) => return self.start_at(at, &record, 0),
                Some(Anchor::Commit { checkpoint, durable }) => (checkpoint, durable),
                None => {
                    below = at;
                    continue;
                }
            };
            if checkpoint == 0 {
                return self.beginning(durable);
            }
            if checkpoint >= at {
                return Err(self.corrupt(at, "a commit names a checkpoint that lies behind it"));
            }
            match self.anchor(checkpoint)? {
                Some(Anchor::Checkpoint(record)) => {
                    return self.start_at(checkpoint, &record, durable);
                }
                _ if checkpoint < durable => {
                    return Err(
                        self.corrupt(checkpoint, "a checkpoint that later commits build on")
                    );
                }
                // The commit arrived, its checkpoint did not: neither was acknowledged.
                _ => below = checkpoint,
            }
        }
        self.beginning(0)
    }

    fn anchor(&mut self, offset: u64) -> Result<Option<Anchor>> {
        if offset < FIRST_FRAME {
            return Ok(None);
        }
        let Some((header, _)) = self.scan.header(offset)? else { return Ok(None) };
        let Some(payload) = self.scan.payload(&header)? else { return Ok(None) };
        Ok(match header.kind {
            Kind::Commit => CommitHead::decode(payload).map(|(head, _)| Anchor::Commit {
                checkpoint: head.checkpoint,
                durable: head.durable,
            }),
            Kind::Checkpoint => CheckpointRecord::decode(payload).map(Anchor::Checkpoint),
            Kind::Chunk | Kind::Nodes | Kind::Blobs => None,
        })
    }

    /// Walks forwards. `None` if the walk ends before the checkpoint it started from without passing a
    /// durable mark.
    fn replay(&mut self, start: Start) -> Result<Option<Found>> {
        let mut durable = start.durable;
        let mut at = start.last.end;
        let mut chain = start.last.chain;
        let mut found = Found {
            head: Head { layer: Layer::default(), seq: start.seq, counts: start.counts },
            last: start.last,
            position: Position { end: at, chain, anchor: start.last.offset },
            checkpoint: start.checkpoint,
            log_bytes: 0,
        };
        let trees = self.trees_for_replay(&start)?;
        while let Some((header, raw)) = self.scan.header(at)? {
            let after = self.keys.chain(chain, &raw);
            let step = self.step(&header, chain, after, durable, &mut found, &trees)?;
            let Some(mark) = step else { break };
            durable = durable.max(mark);
            chain = after;
            at = header.end();
        }
        if at < durable {
            return Err(self.corrupt(at, "a frame that was durable is not readable"));
        }
        Ok((found.position.end > start.checkpoint).then_some(found))
    }

    /// Takes one frame into account; returns the durable mark it carries, `None` if it is not valid.
    fn step(
        &mut self,
        header: &FrameHeader,
        before: Chain,
        after: Chain,
        durable: u64,
        found: &mut Found,
        trees: &Trees,
    ) -> Result<Option<u64>> {
        let position = Position { end: header.end(), chain: after, anchor: header.offset };
        if !header.kind.is_anchor() {
            // Below the durable mark frames were whole once; who reads them checks what is read.
            let sound = header.end() <= durable || self.scan.payload(header)?.is_some();
            return Ok(sound.then_some(0));
        }
        let Some(payload) = self.scan.payload(header)? else { return Ok(None) };
        if header.kind == Kind::Checkpoint {
            let record = CheckpointRecord::decode(payload).filter(|record| record.chain == before);
            if record.is_some() {
                found.position = position;
                found.checkpoint = header.offset;
            }
            return Ok(record.map(|record| record.durable));
        }
        let commit = CommitHead::decode(payload).filter(|(head, _)| {
            head.chain == before
                && Some(head.number) == found.last.number.checked_add(1)
                && head.previous == found.last.offset
        });
        let Some((head, edits)) = commit else { return Ok(None) };
        if !apply(&head, edits, &mut found.head, trees)? {
            // The frame is as it was written, so edits that do not fit are not a torn tail.
            return Err(self.corrupt(header.offset, "a commit's edits cannot be applied"));
        }
        let (offset, end) = (header.offset, header.end());
        found.last = LastCommit { number: head.number, offset, end, chain: after };
        found.position = position;
        found.log_bytes += end - offset;
        Ok(Some(head.durable))
    }

    /// The trees that edits are replayed over. Read without a map: the file may still be cut.
    fn trees_for_replay(&self, start: &Start) -> Result<Trees> {
        const CACHE_BYTES: usize = 4 * 1024 * 1024;
        let (path, reading) = (Arc::clone(self.path), Arc::clone(self.reading));
        let readers = Readers::new(path, reading, ReadBy::Pread, CACHE_BYTES);
        let reader = readers.reader(start.last.end)?;
        let (path, roots) = (Arc::clone(self.path), start.roots);
        Ok(Trees { path, roots, reader, staging: Arc::default() })
    }
}

/// Applies a commit's edits; false if they do not fit.
fn apply(commit: &CommitHead, edits: &[u8], head: &mut Head, trees: &Trees) -> Result<bool> {
    let old_value = |now: &Head, id: &[u8]| {
        let view = View { top: &now.layer, frozen: None, trees };
        Ok(view.doc(id)?.map(|entry| entry.value.to_vec()))
    };
    Ok(ops::replay(edits, commit.ops, head, &old_value)? && head.seq == commit.seq)
}
