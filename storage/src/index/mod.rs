//! Index files: trees that were made from a database and can be made from it again.
//!
//! An [`IndexFile`] holds any number of trees and a few opaque bytes about them. It is appended to like a
//! database and never synced for a commit: what a crash takes away is found when the file is opened,
//! and the state before it is taken, or none; whoever owns the index then brings it up to date or makes
//! it anew. Nothing wrong is ever read from it: each node has its checksum in the reference to it.
//!
//! * `record`: what a state of the file looks like in it (see `FORMAT.md`)
//! * `opening`: finding the newest sound state
//! * `writer`: appending nodes and states
//!
//! What the trees mean, and from which state of the database they come, must not be known here.

mod opening;
mod record;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use self::writer::Writer;
pub use self::{record::MAX_TREES, writer::IndexWriter};
use crate::{
    disk::{Disk, File, OpenMode, write_all_at},
    error::{Error, Result},
    file::{
        frame::{Chain, Keys},
        header::{FIRST_FRAME, FileKind, Identity, encode_as},
        reader::{ReadBy, Reader, Readers},
    },
    tree::{NodeRef, Page, Pages, Root},
};

/// Bytes of verified nodes kept for each index file that is not mapped.
const CACHE_BYTES: usize = 1024 * 1024;

/// A file of trees.
///
/// ```
/// use std::path::Path;
/// use settee_storage::{
///     disk::MemoryDisk,
///     index::IndexFile,
///     tree::{CountEntries, Tree, build},
/// };
///
/// let disk = MemoryDisk::new();
/// let file = IndexFile::create(&disk, Path::new("/names.index"))?;
/// let mut writer = file.write();
/// let root = build([("anna", "1"), ("bert", "2")], CountEntries, &mut writer)?;
/// writer.commit(&[root], b"of sequence 7")?;
/// drop(writer);
/// drop(file);
///
/// let file = IndexFile::open(&disk, Path::new("/names.index"), &mut |_| true)?.expect("it is sound");
/// let snapshot = file.snapshot();
/// assert_eq!(snapshot.meta(), b"of sequence 7");
/// let tree = Tree::new(snapshot.pages(), snapshot.root(0), CountEntries);
/// assert_eq!(tree.total()?, 2);
/// # Ok::<(), settee_storage::Error>(())
/// ```
pub struct IndexFile {
    path: Arc<Path>,
    file: Arc<dyn File>,
    keys: Keys,
    readers: Readers,
    writer: Mutex<Writer>,
    state: ArcSwap<IndexSnapshot>,
    /// Bytes of the file up to its newest state.
    end: AtomicU64,
}

impl fmt::Debug for IndexFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// One state of an index file.
#[derive(Debug)]
pub struct IndexSnapshot {
    pages: IndexPages,
    roots: Vec<Root>,
    meta: Vec<u8>,
}

/// Where the nodes of an index's trees come from.
#[derive(Debug)]
pub struct IndexPages(Arc<dyn Reader>);

impl Pages for IndexPages {
    fn node(&self, at: NodeRef) -> Result<Page<'_>> {
        self.0.node(at)
    }

    fn corrupt(&self, at: NodeRef, what: &'static str) -> Error {
        self.0.corrupt(at, what)
    }
}

impl IndexSnapshot {
    /// Where the nodes of its trees come from.
    #[must_use]
    pub fn pages(&self) -> &IndexPages {
        &self.pages
    }

    /// The root of a tree by its number; that of an empty tree if there is none.
    #[must_use]
    pub fn root(&self, number: usize) -> Root {
        self.roots.get(number).copied().unwrap_or_default()
    }

    /// What was said about the trees when they were committed; empty in a new file.
    #[must_use]
    pub fn meta(&self) -> &[u8] {
        &self.meta
    }
}

impl IndexFile {
    /// Makes a new file without trees, in the place of one that may be there. It is not durable until
    /// [`IndexFile::sync`], nor need it be.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn create(disk: &dyn Disk, path: &Path) -> Result<Arc<Self>> {
        let failed = |operation, source| io_error(operation, path, source);
        if disk.exists(path).map_err(|error| failed("look for", error))? {
            disk.remove(path).map_err(|error| failed("remove", error))?;
        }
        let file = disk.open(path, OpenMode::CreateNew).map_err(|error| failed("create", error))?;
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| failed("create", io::Error::other(error)))?;
        let (salt, creation) = random.split_at(16);
        let identity = Identity {
            salt: salt.try_into().unwrap_or_default(),
            creation: creation.try_into().unwrap_or_default(),
        };
        let block = encode_as(FileKind::Index, &identity);
        write_all_at(&*file, &block, 0).map_err(|error| failed("write", error))?;
        let keys = Keys::new(&identity);
        let start = Opened {
            end: FIRST_FRAME,
            chain: keys.genesis(),
            record_at: 0,
            durable: (FIRST_FRAME, keys.genesis()),
            roots: Vec::new(),
            meta: Vec::new(),
        };
        IndexFile::start(path.into(), file, keys, start)
    }

    /// Opens a file at the newest state that is sound and that `accept` takes, given what was said about
    /// it at its commit; later states are cut off. `None` if there is no such file or state: then the
    /// index is to be made anew.
    ///
    /// # Errors
    /// Those of the disk. Damage is none.
    pub fn open(
        disk: &dyn Disk,
        path: &Path,
        accept: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Option<Arc<Self>>> {
        let file = match disk.open(path, OpenMode::Write) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", path, error)),
        };
        let Some((keys, opened)) = opening::find(path, &*file, accept)? else { return Ok(None) };
        // Nothing is mapped yet, so what lies behind the state may be cut off.
        file.set_len(opened.end).map_err(|error| io_error("cut", path, error))?;
        IndexFile::start(path.into(), file, keys, opened).map(Some)
    }

    fn start(
        path: Arc<Path>,
        file: Arc<dyn File>,
        keys: Keys,
        opened: Opened,
    ) -> Result<Arc<Self>> {
        let readers = Readers::new(Arc::clone(&path), Arc::clone(&file), ReadBy::Auto, CACHE_BYTES);
        let pages = IndexPages(readers.reader(opened.end)?);
        let Opened { end, chain, record_at, durable, roots, meta } = opened;
        Ok(Arc::new(IndexFile {
            path,
            file,
            keys,
            readers,
            writer: Mutex::new(Writer::new(end, chain, record_at, durable)),
            state: ArcSwap::from_pointee(IndexSnapshot { pages, roots, meta }),
            end: AtomicU64::new(end),
        }))
    }

    /// The newest state.
    #[must_use]
    pub fn snapshot(&self) -> Arc<IndexSnapshot> {
        self.state.load_full()
    }

    /// Takes the right to write, waiting for who has it.
    #[must_use]
    pub fn write(self: &Arc<Self>) -> IndexWriter<'_> {
        IndexWriter::new(self)
    }

    /// Bytes of the file up to its newest state.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As [`IndexFile::sync`], if so much was appended since the last one that an opening after a crash would take
    /// long.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn sync_if_due(&self) -> Result<()> {
        let due = self.writer.lock().wants_sync();
        if due { self.sync() } else { Ok(()) }
    }

    /// Makes everything committed so far durable, so that the next opening need not look at it. Nothing
    /// depends on it.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn sync(&self) -> Result<()> {
        let (end, chain) = self.writer.lock().position();
        let synced = self.file.sync_data();
        let mut writer = self.writer.lock();
        match synced {
            Ok(()) => writer.synced(end, chain),
            Err(_) => writer.sync_failed(),
        }
        synced.map_err(|source| io_error("sync", &self.path, source))
    }
}

/// A state as it was found in a file, and where to go on writing.
struct Opened {
    end: u64,
    chain: Chain,
    /// Offset of the state's record.
    record_at: u64,
    /// What is durable: everything before this offset, and the chain there.
    durable: (u64, Chain),
    roots: Vec<Root>,
    meta: Vec<u8>,
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> Error {
    let path: PathBuf = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { path },
        _ => Error::Io { operation, path, source },
    }
}
