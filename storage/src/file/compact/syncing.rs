//! Syncing the new file as it grows, so that the last sync, for which the copy waits, has little to do.

use std::{
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{Builder, scope},
};

use crate::{
    disk::File,
    error::{Result, io_error},
};

/// Bytes between two syncs for which the copy waits.
const EVERY_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes between two syncs that go on beside the copy.
const EVERY_BYTES_BEHIND: u64 = 8 * 1024 * 1024;

/// When the file is synced, and by whom.
#[derive(Clone, Debug)]
pub(super) enum Syncing {
    /// By the thread that wrote most recently.
    InPlace,
    /// By one that has nothing else to do.
    Behind(SyncSender<()>),
}

impl Syncing {
    /// Whether so many bytes that were not synced are enough for a sync.
    pub(super) fn is_due(&self, unsynced: u64) -> bool {
        unsynced
            >= match self {
                Syncing::InPlace => EVERY_BYTES,
                Syncing::Behind(_) => EVERY_BYTES_BEHIND,
            }
    }

    /// Syncs, or lets it be done.
    pub(super) fn sync(&self, file: &dyn File, path: &Path) -> Result<()> {
        match self {
            Syncing::InPlace => file.sync_data().map_err(|source| io_error("sync", path, source)),
            Syncing::Behind(wake) => {
                // Whoever is still at it is told already; after a failure nobody is there any more.
                let _ = wake.try_send(());
                Ok(())
            }
        }
    }
}

/// Does the work with a thread beside it that syncs the file; in place if there is none to be had. The thread ends
/// when the work has let go of what it was given. What failed to be synced is an error whatever came of the
/// work: the next sync would not tell.
pub(super) fn behind<T>(
    file: &Arc<dyn File>,
    path: &Path,
    work: impl FnOnce(Syncing) -> Result<T>,
) -> Result<T> {
    scope(|scope| {
        let (wake, woken) = sync_channel(1);
        let thread = Builder::new().name("settee-compact-sync".into());
        let Ok(thread) = thread.spawn_scoped(scope, || sync_when_woken(file.as_ref(), path, woken))
        else {
            return work(Syncing::InPlace);
        };
        let outcome = work(Syncing::Behind(wake));
        match thread.join() {
            Ok(synced) => synced.and(outcome),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn sync_when_woken(file: &dyn File, path: &Path, woken: Receiver<()>) -> Result<()> {
    while woken.recv().is_ok() {
        file.sync_data().map_err(|source| io_error("sync", path, source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disk::{
            Disk, OpenMode, SimDisk,
            sim::{Fault, Operation},
            write_all_at,
        },
        error::Error,
    };

    const PATH: &str = "/db";

    fn work(disk: &SimDisk) -> Result<u32> {
        let path = Path::new(PATH);
        let file = disk.open(path, OpenMode::CreateNew).unwrap();
        behind(&file, path, |syncing| {
            assert!(!syncing.is_due(EVERY_BYTES_BEHIND - 1) && syncing.is_due(EVERY_BYTES_BEHIND));
            write_all_at(file.as_ref(), b"copied", 0).unwrap();
            syncing.sync(file.as_ref(), path).map(|()| 7)
        })
    }

    #[test]
    fn it_is_synced_before_the_work_is_over() {
        let disk = SimDisk::new();
        assert_eq!(work(&disk).unwrap(), 7);
        assert_eq!(disk.count(Operation::Sync), 1);
    }

    /// The error is told once, and to nobody else.
    #[test]
    fn a_sync_that_fails_beside_the_work_fails_it() {
        let disk = SimDisk::new();
        disk.fail(Operation::Sync, 1, Fault::Error);
        assert!(matches!(work(&disk), Err(Error::Io { operation: "sync", .. })));
    }
}
