//! The operating system's files.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Disk, File, Map, OpenMode, map::map_read_only};

/// The disk of the machine.
///
/// ```
/// use settee_storage::disk::{Disk, OpenMode, RealDisk, write_all_at};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("greeting");
/// let file = RealDisk.open(&path, OpenMode::CreateNew)?;
/// write_all_at(&*file, b"hello", 0)?;
/// file.sync_data()?;
/// RealDisk.sync_dir(folder.path())?; // now the name is durable, too
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(RealFile { file: options.open(path)? }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(metadata.is_file()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = path
            .ancestors()
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
            .collect();
        fs::create_dir_all(path)?;
        // Each new folder is an entry of the one above it, which therefore needs the sync.
        missing.iter().rev().try_for_each(|folder| self.sync_dir(parent_of(folder)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
        fs::read_dir(path)?
            .map(|entry| {
                let entry = entry?;
                Ok((entry.path(), entry.file_type()?.is_dir()))
            })
            .collect()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        fs::File::open(path)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn map(&self, len: u64) -> io::Result<Option<Map>> {
        map_read_only(&self.file, len).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{read_exact_at, tests::check_disk, write_all_at};

    #[test]
    fn behaves_as_a_disk() {
        let folder = tempfile::tempdir().unwrap();
        check_disk(&RealDisk, folder.path());
    }

    #[test]
    fn a_map_shows_what_is_appended_later() {
        let folder = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&folder.path().join("mapped"), OpenMode::CreateNew).unwrap();
        write_all_at(&*file, b"one", 0).unwrap();
        let map = file.map(1 << 20).unwrap().unwrap();
        assert_eq!(&(*map).as_ref()[..3], b"one");
        write_all_at(&*file, b"two", 3).unwrap();
        assert_eq!(&(*map).as_ref()[..6], b"onetwo");
    }

    #[test]
    fn a_file_opened_for_reading_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("read");
        write_all_at(&*RealDisk.open(&path, OpenMode::CreateNew).unwrap(), b"x", 0).unwrap();
        let file = RealDisk.open(&path, OpenMode::Read).unwrap();
        assert!(write_all_at(&*file, b"y", 0).is_err());
        let mut byte = [0];
        read_exact_at(&*file, &mut byte, 0).unwrap();
        assert_eq!(&byte, b"x");
    }
}
