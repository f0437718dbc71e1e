//! Copying a file as of its last commit, beside a server that appends to it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    super::recovery::sync_folder,
    Content, Progress,
    read_only::ReadOnlyFile,
    verify::{Verification, verify},
};
use crate::{
    disk::{Disk, File, OpenMode, read_exact_at, write_all_at},
    error::{Error, Result, io_error},
};

/// Bytes copied at once.
const COPY_BYTES: usize = 1024 * 1024;
/// What a copy is called until it is complete.
const UNFINISHED_SUFFIX: &str = ".copying";

/// Copies the database file `from` to `to`, which gets its name only when the copy was synced and checked
/// and is as durable as the original. Copied is what was committed when the copy began; the server that
/// appends to the file is not disturbed. The copy is a database file of its own: identity, revisions and
/// sequences are those of the original.
///
/// The report is that of the check; if it found damage, it is in the original, too, and there is no copy.
///
/// # Errors
/// Those of [`ReadOnlyFile::open`], [`Error::AlreadyExists`], [`Error::Full`], [`Error::Io`].
pub fn backup(
    disk: &Arc<dyn Disk>,
    from: &Path,
    to: &Path,
    content: &dyn Content,
    progress: Progress<'_>,
) -> Result<Verification> {
    let disk = disk.as_ref();
    if disk.exists(to).map_err(|source| io_error("look up", to, source))? {
        return Err(Error::AlreadyExists { path: to.to_path_buf() });
    }
    let opened = ReadOnlyFile::open(disk, from)?;
    let unfinished = Unfinished::create(disk, to)?;
    copy(&opened, unfinished.file.as_ref(), &unfinished.path, progress)?;
    unfinished.file.sync_all().map_err(|source| io_error("sync", &unfinished.path, source))?;
    let end = opened.end().end;
    let report = verify(disk, &unfinished.path, content, &mut |done, total| {
        progress(end.saturating_add(done), end.saturating_add(total));
    })?;
    if report.is_sound() {
        unfinished.finish(to)?;
    }
    Ok(report)
}

fn copy(
    opened: &ReadOnlyFile,
    target: &dyn File,
    target_path: &Path,
    progress: Progress<'_>,
) -> Result<()> {
    let end = opened.end().end;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    while at < end {
        let step = usize::try_from(end - at).unwrap_or(usize::MAX).min(COPY_BYTES);
        let piece = buffer.get_mut(..step).unwrap_or_default();
        read_exact_at(opened.examined.file.as_ref(), piece, at)
            .map_err(|source| opened.examined.io_error("read", source))?;
        write_all_at(target, piece, at).map_err(|source| io_error("write", target_path, source))?;
        at += super::super::codec::length(step);
        progress(at, end.saturating_mul(2));
    }
    Ok(())
}

/// A copy that has not its name yet; removed if it never gets it.
struct Unfinished<'d> {
    disk: &'d dyn Disk,
    path: PathBuf,
    file: Arc<dyn File>,
    finished: bool,
}

impl<'d> Unfinished<'d> {
    fn create(disk: &'d dyn Disk, to: &Path) -> Result<Self> {
        let mut path = to.as_os_str().to_owned();
        path.push(UNFINISHED_SUFFIX);
        let path = PathBuf::from(path);
        let io = |operation| {
            let path = &path;
            move |source| io_error(operation, path, source)
        };
        if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            disk.create_dir_all(folder).map_err(io("create the folder of"))?;
        }
        if disk.exists(&path).map_err(io("look up"))? {
            // Left by a copy that was interrupted, unless another one is at work.
            let left = disk.open(&path, OpenMode::Write).map_err(io("open"))?;
            if !left.try_lock().map_err(io("lock"))? {
                return Err(Error::Locked { path });
            }
            disk.remove(&path).map_err(io("remove"))?;
        }
        let file = disk.open(&path, OpenMode::CreateNew).map_err(io("create"))?;
        file.try_lock().map_err(io("lock"))?;
        Ok(Unfinished { disk, path, file, finished: false })
    }

    fn finish(mut self, to: &Path) -> Result<()> {
        self.disk.rename(&self.path, to).map_err(|source| io_error("rename", to, source))?;
        self.finished = true;
        sync_folder(self.disk, to)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // It is incomplete, so nobody misses it; the next copy removes it otherwise.
            let _ = self.disk.remove(&self.path);
        }
    }
}
