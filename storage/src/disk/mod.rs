//! All file access of the store, behind two small traits: [`Disk`] (names) and [`File`] (bytes).
//!
//! `real` is the operating system, `memory` keeps files in memory, `sim` is a simulated disk that
//! loses, tears and reorders what was not synced, fills up, fails and flips bits, from a seed. Nothing
//! else in this crate or above it opens files. What the bytes mean must not be known here.

mod map;
pub mod memory;
pub mod real;
pub mod sim;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use memory::MemoryDisk;
pub use real::RealDisk;
pub use sim::SimDisk;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Only to read; fails if missing. Takes no lock.
    Read,
    /// To read and write; fails if missing.
    Write,
    /// To read and write; fails with `AlreadyExists` if there.
    CreateNew,
}

/// A folder tree of files.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Removes a file. Durable after [`Disk::sync_dir`] of its folder.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames a file, replacing the target. Durable after [`Disk::sync_dir`] of the folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Whether there is a file of this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Makes a folder and its parents durable.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The entries of a folder with `true` for folders, in no particular order.
    fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, bool)>>;
    /// Makes creations, removals and renames in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Bytes that can still be written on the disk that holds this path.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// A read-only view of the first bytes of a file, shared by readers.
pub type Map = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// An open file. Reads and writes name their offset; there is no cursor.
#[expect(clippy::len_without_is_empty, reason = "nobody asks a file whether it is empty")]
pub trait File: Send + Sync + fmt::Debug {
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes some of the bytes and returns how many.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the bytes, and the length needed to find them, durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes everything about the file durable.
    fn sync_all(&self) -> io::Result<()>;
    /// Takes the writer's lock; false if another process has it.
    fn try_lock(&self) -> io::Result<bool>;
    /// A read-only memory map of `len` bytes from the start, possibly beyond the end of the file (what
    /// lies beyond must not be touched). `None` where the disk has no maps.
    fn map(&self, len: u64) -> io::Result<Option<Map>>;
}

/// Writes all bytes at an offset.
///
/// # Errors
/// Those of [`File::write_at`]; `WriteZero` when it makes no progress.
pub fn write_all_at(file: &dyn File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset += u64::try_from(written).unwrap_or(u64::MAX);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills the buffer from an offset.
///
/// # Errors
/// Those of [`File::read_at`]; `UnexpectedEof` when the file ends before.
pub fn read_exact_at(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..)
        && !rest.is_empty()
    {
        match file.read_at(rest, offset + u64::try_from(done).unwrap_or(u64::MAX)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every disk must do, in an empty folder that exists.
    pub(super) fn check_disk(disk: &dyn Disk, folder: &Path) {
        check_bytes(disk, &folder.join("bytes"));
        check_names(disk, &folder.join("names"));
        check_lock(disk, &folder.join("lock"));
    }

    fn check_bytes(disk: &dyn Disk, path: &Path) {
        let file = disk.open(path, OpenMode::CreateNew).unwrap();
        write_all_at(&*file, b"world", 7).unwrap();
        write_all_at(&*file, b"hello", 0).unwrap();
        assert_eq!(file.len().unwrap(), 12);
        let mut bytes = [1; 16];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 12);
        assert_eq!(&bytes[..12], b"hello\0\0world");
        assert_eq!(file.read_at(&mut bytes, 12).unwrap(), 0);
        let short = read_exact_at(&*file, &mut bytes, 0).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
        file.set_len(3).unwrap();
        file.set_len(6).unwrap();
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 6);
        assert_eq!(&bytes[..6], b"hel\0\0\0");
        file.sync_data().unwrap();
        file.sync_all().unwrap();
    }

    fn check_names(disk: &dyn Disk, folder: &Path) {
        let kind = |result: io::Result<Arc<dyn File>>| result.unwrap_err().kind();
        let (inner, from, to) = (folder.join("a/b"), folder.join("a/from"), folder.join("a/to"));
        assert_eq!(kind(disk.open(&from, OpenMode::CreateNew)), io::ErrorKind::NotFound);
        disk.create_dir_all(&inner).unwrap();
        disk.create_dir_all(&inner).unwrap();
        assert_eq!(kind(disk.open(&from, OpenMode::Write)), io::ErrorKind::NotFound);
        let first = disk.open(&from, OpenMode::CreateNew).unwrap();
        assert_eq!(kind(disk.open(&from, OpenMode::CreateNew)), io::ErrorKind::AlreadyExists);
        write_all_at(&*first, b"first", 0).unwrap();
        write_all_at(&*disk.open(&to, OpenMode::CreateNew).unwrap(), b"second", 0).unwrap();
        disk.rename(&from, &to).unwrap();
        assert!(!disk.exists(&from).unwrap() && disk.exists(&to).unwrap());
        assert!(!disk.exists(&inner).unwrap());
        assert_eq!(disk.open(&to, OpenMode::Read).unwrap().len().unwrap(), 5);
        let mut listed = disk.list(&folder.join("a")).unwrap();
        listed.sort();
        assert_eq!(listed, [(inner, true), (to.clone(), false)]);
        disk.sync_dir(&folder.join("a")).unwrap();
        disk.remove(&to).unwrap();
        assert_eq!(disk.remove(&to).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(first.len().unwrap(), 5);
        assert!(disk.free_bytes(folder).unwrap() > 0);
    }

    fn check_lock(disk: &dyn Disk, path: &Path) {
        let first = disk.open(path, OpenMode::CreateNew).unwrap();
        let second = disk.open(path, OpenMode::Write).unwrap();
        assert!(first.try_lock().unwrap());
        assert!(first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
    }
}
