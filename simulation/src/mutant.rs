//! Bugs planted on purpose, to see that they are found: a disk between the store and the simulated one
//! that leaves out what the store asks for, as if the store had not asked.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use settee_storage::disk::{Disk, File, Map, OpenMode, SimDisk};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Every fourth sync of a file is left out.
    SkipSync,
    /// Folders are never synced.
    SkipFolderSync,
    /// Files are never cut: neither a torn tail nor what a failed write left.
    SkipCut,
    /// Every fiftieth read shows one wrong bit.
    WrongRead,
    /// Every fiftieth write ends early and says it did not.
    ShortWrite,
    /// Some documents are left out of an index.
    LostRow,
}

/// All of them with their names on the command line.
pub const MUTANTS: [(&str, Mutant); 6] = [
    ("skip-sync", Mutant::SkipSync),
    ("skip-folder-sync", Mutant::SkipFolderSync),
    ("skip-cut", Mutant::SkipCut),
    ("wrong-read", Mutant::WrongRead),
    ("short-write", Mutant::ShortWrite),
    ("lost-row", Mutant::LostRow),
];

/// The disk as the store sees it.
pub(crate) fn disk(disk: &SimDisk, mutant: Option<Mutant>) -> Arc<dyn Disk> {
    match mutant {
        None => Arc::new(disk.clone()),
        Some(mutant) => Arc::new(MutantDisk { disk: disk.clone(), bug: Arc::new(Bug::of(mutant)) }),
    }
}

#[derive(Debug)]
struct Bug {
    mutant: Mutant,
    calls: AtomicU64,
}

impl Bug {
    fn of(mutant: Mutant) -> Self {
        Bug { mutant, calls: AtomicU64::new(0) }
    }

    /// Whether the bug shows in this call, which is one of every `nth` of its kind.
    fn shows(&self, mutant: Mutant, nth: u64) -> bool {
        self.mutant == mutant && self.calls.fetch_add(1, Ordering::Relaxed) % nth == nth - 1
    }
}

#[derive(Debug)]
struct MutantDisk {
    disk: SimDisk,
    bug: Arc<Bug>,
}

impl Disk for MutantDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, mode)?;
        Ok(Arc::new(MutantFile { file, bug: Arc::clone(&self.bug) }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
        self.disk.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if self.bug.shows(Mutant::SkipFolderSync, 1) { Ok(()) } else { self.disk.sync_dir(path) }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.free_bytes(path)
    }
}

#[derive(Debug)]
struct MutantFile {
    file: Arc<dyn File>,
    bug: Arc<Bug>,
}

impl File for MutantFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(buffer, offset)?;
        if self.bug.shows(Mutant::WrongRead, 50)
            && let Some(byte) = buffer.get_mut(read / 2)
        {
            *byte ^= 1;
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.bug.shows(Mutant::ShortWrite, 50) && bytes.len() > 1 {
            let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
            self.file.write_at(half, offset)?;
            return Ok(bytes.len());
        }
        self.file.write_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.bug.shows(Mutant::SkipCut, 1) { Ok(()) } else { self.file.set_len(len) }
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.bug.shows(Mutant::SkipSync, 4) { Ok(()) } else { self.file.sync_data() }
    }

    fn sync_all(&self) -> io::Result<()> {
        if self.bug.shows(Mutant::SkipSync, 4) { Ok(()) } else { self.file.sync_all() }
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }

    fn map(&self, len: u64) -> io::Result<Option<Map>> {
        self.file.map(len)
    }
}
