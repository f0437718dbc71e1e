//! One index: its file, and bringing it up to date with the database.
//!
//! * `meta`: what the file says about itself; `mark`: which database it was made from
//! * `rows`: from documents to the rows of several indexes
//! * `build`: all documents at once, into a new file; `update`: the changes since; `rewrite`: the same rows in
//!   a new file, with other reductions or without garbage
//!
//! An index is read through [`Current`], which is one moment of it; who changes it holds its lock. The file
//! is never synced for safety: it says which state of the database it was made from, and the database
//! is what matters.

pub(crate) mod build;
mod mark;
pub(crate) mod meta;
pub(crate) mod rewrite;
mod rows;
pub(crate) mod update;

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard, RwLock};
use settee_storage::{
    Seq, Snapshot,
    disk::{Disk, MemoryDisk},
    index::{IndexFile, IndexPages, IndexSnapshot},
    tree::{CountEntries, Tree},
};

pub(crate) use self::meta::IndexMeta;
use super::{
    definition::{IndexDefinition, Signature},
    key::collation_version,
    reduce::{
        Limiter, ReduceLimits, ReduceSpec,
        stored::{Reducer, RowCount, ViewReduce},
    },
    source::RowSource,
};
use crate::{
    compaction::{Measure, NextLook},
    error::Result,
    sequence::Uuid,
};

/// Behind an index file's name.
const EXTENSION: &str = "view";
/// The numbers of the two trees in a file.
const ROWS: usize = 0;
const DOCUMENTS: usize = 1;

/// Where the indexes of a database are: a folder beside it, on the same disk. The folder is made with the
/// first index.
#[derive(Clone, Debug)]
pub(crate) struct IndexPlace {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: PathBuf,
}

impl IndexPlace {
    /// A place that is forgotten with the database, for databases that are only looked at.
    pub(crate) fn nowhere() -> Self {
        IndexPlace { disk: Arc::new(MemoryDisk::new()), folder: PathBuf::from("indexes") }
    }

    fn file(&self, signature: Signature) -> PathBuf {
        self.folder.join(format!("{signature}.{EXTENSION}"))
    }

    fn io(operation: &'static str, path: &Path, source: std::io::Error) -> crate::Error {
        let path = path.to_path_buf();
        settee_storage::Error::Io { operation, path, source }.into()
    }

    /// Whether an error says that an index file is damaged, and not the database.
    pub(crate) fn is_damage(&self, error: &crate::Error) -> bool {
        let crate::Error::Storage(settee_storage::Error::Corrupt { path, .. }) = error else {
            return false;
        };
        path.parent() == Some(&self.folder)
    }

    fn make(&self) -> Result<()> {
        let made = self.disk.create_dir_all(&self.folder);
        made.map_err(|error| Self::io("create", &self.folder, error))
    }

    /// The index files that are there, by what they are named after, and other files with nothing.
    pub(crate) fn list(&self) -> Result<Vec<(PathBuf, Option<String>)>> {
        let entries = match self.disk.list(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Self::io("list", &self.folder, error)),
        };
        let name = |path: &Path| {
            let stem = path.file_name()?.to_str()?.strip_suffix(EXTENSION)?.strip_suffix('.')?;
            Some(stem.to_owned())
        };
        let files = entries.into_iter().filter(|(_, is_folder)| !is_folder);
        Ok(files.map(|(path, _)| (path.clone(), name(&path))).collect())
    }

    pub(crate) fn remove(&self, path: &Path) -> Result<()> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Self::io("remove", path, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes everything in the folder.
    pub(crate) fn clear(&self) -> Result<()> {
        self.list()?.iter().try_for_each(|(path, _)| self.remove(path))
    }
}

/// One index. See the module.
#[derive(Debug)]
pub(crate) struct ViewIndex {
    pub(crate) signature: Signature,
    place: IndexPlace,
    current: RwLock<Option<Arc<Current>>>,
    changing: Mutex<()>,
    /// When to look whether compacting it might pay.
    next_look: NextLook,
}

/// One moment of an index.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) file: Arc<IndexFile>,
    pub(crate) snapshot: Arc<IndexSnapshot>,
    pub(crate) meta: IndexMeta,
}

impl Current {
    fn new(file: Arc<IndexFile>) -> Result<Option<Self>> {
        let snapshot = file.snapshot();
        let meta = IndexMeta::decode(snapshot.meta())?;
        Ok(meta.map(|meta| Current { file, snapshot, meta }))
    }

    /// The rows, to be counted and walked.
    pub(crate) fn rows(&self) -> Tree<'_, IndexPages, RowCount> {
        Tree::new(self.snapshot.pages(), self.snapshot.root(ROWS), RowCount)
    }

    fn documents(&self) -> Tree<'_, IndexPages, CountEntries> {
        Tree::new(self.snapshot.pages(), self.snapshot.root(DOCUMENTS), CountEntries)
    }

    /// Whether its keys are encoded as this build encodes them.
    pub(crate) fn is_readable(&self) -> bool {
        self.meta.collation_version == collation_version()
    }

    /// Whether it keeps all these reductions.
    pub(crate) fn reduces(&self, wanted: &[ReduceSpec]) -> bool {
        wanted.iter().all(|spec| self.meta.reducers.contains(spec))
    }

    /// Whether it says what there is to say of a definition at this sequence.
    pub(crate) fn is_at(&self, definition: &IndexDefinition, seq: Seq) -> bool {
        self.meta.seq >= seq && self.is_readable() && self.reduces(&definition.reducers)
    }

    /// About how many bytes of the file are in use.
    pub(crate) fn active_bytes(&self) -> Result<u64> {
        Ok(self.meta.active_bytes(self.rows().total()?, self.file.bytes()))
    }
}

impl ViewIndex {
    /// The index with this signature of the database with this uuid, which is at this snapshot; with what is
    /// there of it.
    pub(crate) fn open(
        place: IndexPlace,
        signature: Signature,
        uuid: Uuid,
        snapshot: &dyn Snapshot,
    ) -> Result<Arc<Self>> {
        let mut failed = None;
        let mut accept = |meta: &[u8]| match IndexMeta::decode(meta) {
            Ok(Some(meta)) if meta.uuid == uuid && meta.signature == signature => {
                meta.seq <= snapshot.seq()
                    && meta.mark.lies_behind(snapshot).unwrap_or_else(|error| {
                        failed = Some(error);
                        false
                    })
            }
            _ => false,
        };
        let file = IndexFile::open(&*place.disk, &place.file(signature), &mut accept)?;
        if let Some(error) = failed {
            return Err(error);
        }
        let current = file.map(Current::new).transpose()?.flatten().map(Arc::new);
        let (current, changing) = (RwLock::new(current), Mutex::new(()));
        let next_look = NextLook::default();
        Ok(Arc::new(ViewIndex { signature, place, current, changing, next_look }))
    }

    /// The index as it is now; nothing if it was never built.
    pub(crate) fn current(&self) -> Option<Arc<Current>> {
        self.current.read().clone()
    }

    /// Looks at its file, if that has grown enough since the last look.
    pub(crate) fn measure(&self) -> Result<Option<Measure>> {
        let Some(current) = self.current() else { return Ok(None) };
        let file = current.file.bytes();
        if !self.next_look.is_due(file) {
            return Ok(None);
        }
        Ok(Some(Measure { file, active: current.active_bytes()?, changes: u64::MAX }))
    }

    /// Takes the right to change it, waiting for who has it.
    pub(crate) fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock()
    }

    /// Shows the newest state of a file.
    fn publish(&self, file: &Arc<IndexFile>) -> Result<()> {
        let current = Current::new(Arc::clone(file))?.map(Arc::new);
        *self.current.write() = current;
        Ok(())
    }

    /// Forgets the index, whose file is damaged or gone, so that it is built anew. Readers keep what
    /// they have.
    pub(crate) fn discard(&self) -> Result<()> {
        *self.current.write() = None;
        self.place.remove(&self.place.file(self.signature))
    }

    /// A new file for the index, not yet in the place of the old one.
    fn create(&self) -> Result<Arc<IndexFile>> {
        self.place.make()?;
        Ok(IndexFile::create(&*self.place.disk, &self.unfinished())?)
    }

    fn unfinished(&self) -> PathBuf {
        self.place.folder.join(format!("{}.new", self.signature))
    }

    /// A name for what is sorted; there may be several at a time.
    fn scratch(&self, number: usize) -> PathBuf {
        self.place.folder.join(format!("{}.{number}.sort", self.signature))
    }

    /// Puts a file that was made by [`ViewIndex::create`] in its place and shows it.
    fn install(&self, file: &Arc<IndexFile>) -> Result<()> {
        let (from, to) = (self.unfinished(), self.place.file(self.signature));
        let renamed = self.place.disk.rename(&from, &to);
        renamed.map_err(|error| IndexPlace::io("rename", &from, error))?;
        self.next_look.wait_for_growth(file.bytes());
        self.publish(file)
    }
}

/// The reductions of an index, ready to be run in one thread.
fn reduction<'s>(
    specs: &[ReduceSpec],
    source: &'s dyn RowSource,
    limits: ReduceLimits,
) -> Result<ViewReduce<'s>> {
    let reducers = specs.iter().map(|spec| {
        let script = match spec {
            ReduceSpec::JavaScript(text) => Some(Rc::new(RefCell::new(source.reducer(text)?))),
            _ => None,
        };
        Ok(Reducer::new(spec.clone(), script))
    });
    Ok(ViewReduce::new(reducers.collect::<Result<_>>()?, Limiter { limits, source }))
}
