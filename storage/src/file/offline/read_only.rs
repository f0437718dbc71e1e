//! A database file opened to be read: no lock, no cut, no sync.

use std::{fmt, io, path::Path, sync::Arc};

use super::super::{
    frame::Keys,
    header::Header,
    reader::{ReadBy, Readers},
    record::Roots,
    recovery::{Replay, open_existing, read_header},
    state::{State, Trees},
};
use crate::{
    disk::{Disk, File, OpenMode},
    error::{Error, Result},
    store::{Done, Edit, Leader, Listener, Snapshot, Store, StoreSizes, StreamWriter},
};

/// Bytes of verified nodes kept while a file is read.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// How often a search is begun again because a server gave back space prepared ahead meanwhile.
const MAX_ATTEMPTS: usize = 8;

/// A file whose header was read; nothing behind it is believed yet.
#[derive(Clone)]
pub(super) struct Examined {
    pub(super) path: Arc<Path>,
    pub(super) file: Arc<dyn File>,
    pub(super) header: Header,
    pub(super) keys: Keys,
}

impl Examined {
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let file = open_existing(disk, path, OpenMode::Read)?;
        let header = read_header(file.as_ref(), path)?;
        Ok(Examined { path: path.into(), file, header, keys: Keys::new(&header.identity) })
    }

    pub(super) fn len(&self) -> Result<u64> {
        self.file.len().map_err(|source| self.io_error("measure", source))
    }

    pub(super) fn io_error(&self, operation: &'static str, source: io::Error) -> Error {
        Error::Io { operation, path: self.path.to_path_buf(), source }
    }

    /// Finds the last state, as opening for writing would.
    pub(super) fn replay(&self) -> Result<Replay> {
        let mut attempts = 0..MAX_ATTEMPTS;
        loop {
            attempts.next();
            match Replay::run(&self.path, &self.file, &self.file, &self.keys, self.header.base) {
                Err(Error::Io { source, .. })
                    if source.kind() == io::ErrorKind::UnexpectedEof && !attempts.is_empty() => {}
                outcome => return outcome,
            }
        }
    }

    pub(super) fn trees(&self, roots: Roots, end: u64) -> Result<Trees> {
        let (path, file) = (Arc::clone(&self.path), Arc::clone(&self.file));
        let readers = Readers::new(path, file, ReadBy::Pread, CACHE_BYTES);
        let (path, reader) = (Arc::clone(&self.path), readers.reader(end)?);
        Ok(Trees { path, roots, reader, staging: Arc::default() })
    }
}

/// Where a file ends, as an opening for reading found it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileEnd {
    /// Behind the last commit or checkpoint: what counts.
    pub end: u64,
    /// Behind the last byte that is not zero. What lies between was never acknowledged, or is being written
    /// just now.
    pub end_of_data: u64,
    /// Length of the file.
    pub len: u64,
    /// The last commit's number; 0 if there is none.
    pub commit: u64,
    /// The last commit's offset; 0 if there is none.
    pub commit_offset: u64,
    /// The last checkpoint's offset; 0 if there is none.
    pub checkpoint: u64,
    /// Commits behind it, whose edits were read back into memory.
    pub commits_replayed: u64,
}

/// A database file opened to be read, as of its last commit. Every edit is refused.
///
/// ```
/// use settee_storage::{FileStore, Options, Store, offline::ReadOnlyFile, update};
/// use settee_storage::disk::{Disk, MemoryDisk};
/// use std::{path::Path, sync::Arc};
///
/// let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
/// let store: Arc<dyn Store> = FileStore::create(disk.clone(), Path::new("db"), Options::default())?;
/// update(&store, |edit| edit.put_local(b"key", b"value"))?;
///
/// let beside = ReadOnlyFile::open(&*disk, Path::new("db"))?; // the store is still open
/// assert_eq!(beside.snapshot()?.local(b"key")?.as_deref(), Some(&b"value"[..]));
/// # Ok::<(), settee_storage::Error>(())
/// ```
pub struct ReadOnlyFile {
    pub(super) examined: Examined,
    pub(super) state: Arc<State>,
    pub(super) end: FileEnd,
}

impl fmt::Debug for ReadOnlyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnlyFile").field("path", &self.examined.path).finish_non_exhaustive()
    }
}

impl ReadOnlyFile {
    /// Opens a file.
    ///
    /// # Errors
    /// Those of [`FileStore::open`](crate::FileStore::open), except that no lock stands in the way.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Arc<Self>> {
        Ok(Arc::new(Self::found(Examined::open(disk, path)?)?))
    }

    pub(super) fn found(examined: Examined) -> Result<Self> {
        let Replay { start, found, end_of_data } = examined.replay()?;
        let end = found.position.end;
        let trees = examined.trees(start.roots, end)?;
        let len = examined.len()?.max(end);
        let end = FileEnd {
            end,
            end_of_data: end_of_data.max(end),
            len,
            commit: found.last.number,
            commit_offset: found.last.offset,
            checkpoint: found.checkpoint,
            commits_replayed: found.last.number - start.last.number,
        };
        let state = Arc::new(State { head: found.head, frozen: None, trees });
        Ok(ReadOnlyFile { examined, state, end })
    }

    /// Where the file ends.
    #[must_use]
    pub fn end(&self) -> FileEnd {
        self.end
    }
}

impl Store for ReadOnlyFile {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(Arc::clone(&self.state) as Arc<dyn Snapshot>)
    }

    fn submit(self: Arc<Self>, _edit: Edit, done: Done) -> Option<Leader> {
        done(Err(self.refusal()));
        None
    }

    fn stream(self: Arc<Self>) -> Result<Box<dyn StreamWriter>> {
        Err(self.refusal())
    }

    fn listen(&self, _listener: Listener) {}

    fn sizes(&self) -> StoreSizes {
        StoreSizes { file_bytes: self.end.end }
    }

    fn checkpoint(&self) -> Result<()> {
        Err(self.refusal())
    }

    fn close(&self) {}
}

impl ReadOnlyFile {
    fn refusal(&self) -> Error {
        Error::ReadOnly { path: self.examined.path.to_path_buf() }
    }
}
