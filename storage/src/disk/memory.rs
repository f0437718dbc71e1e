//! Files in memory, for tests and for databases that need not outlive the process.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

use super::{Disk, File, Map, OpenMode};

/// Files grow by pieces of this size, so that growing never copies what is there.
const PIECE_BYTES: usize = 64 * 1024;
/// Longest file, in bytes: the list of its pieces takes 4 MiB then.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024 * 1024;

/// A disk in memory. Clones share the files. It has no maps, and every sync succeeds at once.
///
/// ```
/// use std::path::Path;
/// use settee_storage::disk::{Disk, MemoryDisk, OpenMode, read_exact_at, write_all_at};
///
/// let disk = MemoryDisk::new();
/// let file = disk.open(Path::new("/greeting"), OpenMode::CreateNew)?;
/// write_all_at(&*file, b"hello", 0)?;
/// let mut bytes = [0; 5];
/// read_exact_at(&*file, &mut bytes, 0)?;
/// assert_eq!(&bytes, b"hello");
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    names: Arc<Mutex<Names>>,
}

#[derive(Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, Arc<Inode>>,
    folders: BTreeSet<PathBuf>,
}

impl MemoryDisk {
    /// An empty disk. The root folder and the empty path exist.
    #[must_use]
    pub fn new() -> Self {
        MemoryDisk::default()
    }
}

impl Names {
    fn has_folder(&self, path: &Path) -> bool {
        path.parent().is_none() || path.as_os_str().is_empty() || self.folders.contains(path)
    }

    fn require_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if self.has_folder(parent) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&mut self, path: &Path) -> io::Result<Arc<Inode>> {
        self.require_parent(path)?;
        if self.files.contains_key(path) || self.has_folder(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Arc::new(Inode::default());
        self.files.insert(path.to_path_buf(), inode.clone());
        Ok(inode)
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut names = self.names.lock();
        let inode = match mode {
            OpenMode::CreateNew => names.create(path)?,
            OpenMode::Read | OpenMode::Write => {
                names.files.get(path).cloned().ok_or(io::ErrorKind::NotFound)?
            }
        };
        let writable = mode != OpenMode::Read;
        Ok(Arc::new(MemoryFile { inode, writable, locked: AtomicBool::new(false) }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.names.lock().files.remove(path) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        names.require_parent(to)?;
        let inode = names.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.files.insert(to.to_path_buf(), inode);
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.names.lock().files.contains_key(path))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        for folder in path.ancestors() {
            if names.files.contains_key(folder) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            names.folders.insert(folder.to_path_buf());
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
        let names = self.names.lock();
        if !names.has_folder(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let files = names.files.keys().map(|name| (name, false));
        let folders = names.folders.iter().map(|name| (name, true));
        Ok(files
            .chain(folders)
            .filter(|(name, _)| name.parent() == Some(path))
            .map(|(name, is_folder)| (name.clone(), is_folder))
            .collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if self.names.lock().has_folder(path) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// What a name stands for; it lives on while a handle is open, whatever becomes of the name.
#[derive(Debug, Default)]
struct Inode {
    bytes: RwLock<Pieces>,
    locked: AtomicBool,
}

/// A file's bytes. Pieces that were never written are absent and read as zeros.
#[derive(Debug, Default)]
struct Pieces {
    pieces: Vec<Option<Box<[u8]>>>,
    len: usize,
}

impl Pieces {
    fn read(&self, buffer: &mut [u8], offset: usize) -> usize {
        let wanted = buffer.len().min(self.len.saturating_sub(offset));
        let mut done = 0;
        while done < wanted {
            let (piece, within) = ((offset + done) / PIECE_BYTES, (offset + done) % PIECE_BYTES);
            let step = (wanted - done).min(PIECE_BYTES - within);
            match &self.pieces[piece] {
                Some(bytes) => {
                    buffer[done..done + step].copy_from_slice(&bytes[within..within + step]);
                }
                None => buffer[done..done + step].fill(0),
            }
            done += step;
        }
        wanted
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        self.set_len(self.len.max(offset + bytes.len()));
        let mut done = 0;
        while done < bytes.len() {
            let (piece, within) = ((offset + done) / PIECE_BYTES, (offset + done) % PIECE_BYTES);
            let step = (bytes.len() - done).min(PIECE_BYTES - within);
            let piece = self.pieces[piece].get_or_insert_with(|| vec![0; PIECE_BYTES].into());
            piece[within..within + step].copy_from_slice(&bytes[done..done + step]);
            done += step;
        }
    }

    fn set_len(&mut self, len: usize) {
        if len < self.len
            && let Some(Some(last)) = self.pieces.get_mut(len / PIECE_BYTES)
        {
            // What is cut must read as zeros if the file grows again.
            last[len % PIECE_BYTES..].fill(0);
        }
        self.pieces.resize_with(len.div_ceil(PIECE_BYTES), || None);
        self.len = len;
    }
}

#[derive(Debug)]
struct MemoryFile {
    inode: Arc<Inode>,
    writable: bool,
    locked: AtomicBool,
}

impl MemoryFile {
    fn require_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        if self.locked.load(Ordering::Acquire) {
            self.inode.locked.store(false, Ordering::Release);
        }
    }
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Where a file ends that is made so long, or is written to there.
fn end(offset: u64, bytes: usize) -> io::Result<usize> {
    let end = position(offset)?.checked_add(bytes).filter(|end| *end <= MAX_FILE_BYTES);
    end.ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.inode.bytes.read().read(buffer, position(offset)?))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.require_writable()?;
        end(offset, bytes.len())?;
        self.inode.bytes.write().write(bytes, position(offset)?);
        Ok(bytes.len())
    }

    fn len(&self) -> io::Result<u64> {
        u64::try_from(self.inode.bytes.read().len).map_err(io::Error::other)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.require_writable()?;
        self.inode.bytes.write().set_len(end(len, 0)?);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        if self.locked.load(Ordering::Acquire) {
            return Ok(true);
        }
        let free = !self.inode.locked.swap(true, Ordering::AcqRel);
        self.locked.store(free, Ordering::Release);
        Ok(free)
    }

    fn map(&self, _len: u64) -> io::Result<Option<Map>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{read_exact_at, tests::check_disk, write_all_at};

    #[test]
    fn behaves_as_a_disk() {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("/data")).unwrap();
        check_disk(&disk, Path::new("/data"));
    }

    #[test]
    fn no_file_grows_beyond_what_its_list_of_pieces_may_take() {
        let file = MemoryDisk::new().open(Path::new("/long"), OpenMode::CreateNew).unwrap();
        let far = MAX_FILE_BYTES as u64;
        for refused in [file.write_at(b"x", far).map(drop), file.set_len(far + 1)] {
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        }
        assert_eq!(file.len().unwrap(), 0);
    }

    #[test]
    fn writes_across_pieces_read_back() {
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("/long"), OpenMode::CreateNew).unwrap();
        let bytes: Vec<u8> = (0..3 * PIECE_BYTES).map(|at| (at % 251) as u8).collect();
        let offset = PIECE_BYTES as u64 - 7;
        write_all_at(&*file, &bytes, offset).unwrap();
        let mut back = vec![0; bytes.len()];
        read_exact_at(&*file, &mut back, offset).unwrap();
        assert!(back == bytes);
        let mut before = vec![1; PIECE_BYTES - 7];
        read_exact_at(&*file, &mut before, 0).unwrap();
        assert!(before.iter().all(|&byte| byte == 0));
    }
}
