//! The new file as long as it has no header, which makes it a database, nor its final name.

use std::{path::PathBuf, sync::Arc};

use xxhash_rust::xxh3;

use super::{room::Room, syncing::Syncing};
use crate::{
    disk::{Disk, File, OpenMode},
    error::{Result, io_error},
    file::{
        frame::Keys,
        generation::Generation,
        header::{self, FIRST_FRAME, Header, Identity},
        recovery::{begin_file, compact_path, new_identity, read_header, sync_folder},
        store::FileStore,
        tail::{Position, Tail},
    },
};

/// The file that is going to take the place of a database's. Dropped before that, it is removed.
pub(super) struct Target {
    disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    identity: Identity,
    pub(super) file: Arc<dyn File>,
    kept: bool,
}

impl Target {
    /// Makes the file and locks it, so that it is locked from the moment it has its final name.
    pub(super) fn create(store: &FileStore, old: &Generation) -> Result<Self> {
        let path = compact_path(&store.path);
        let identity = match store.options.identity {
            None => new_identity(&store.options, &path)?,
            Some(_) => derived_identity(read_header(old.readers.raw(), &store.path)?.identity),
        };
        let file = begin_file(store.disk.as_ref(), &path, &store.path)?;
        Ok(Target { disk: Arc::clone(&store.disk), path, identity, file, kept: false })
    }

    /// The space of the empty file.
    pub(super) fn room(&self, store: &FileStore, syncing: Syncing) -> Room {
        let (path, file) = (Arc::clone(&store.path), Arc::clone(&self.file));
        Room::new(path, file, Keys::new(&self.identity), syncing, FIRST_FRAME)
    }

    /// The appending end of the file, which is durable up to `position`. Its space ahead comes with its final
    /// name.
    pub(super) fn tail(&self, store: &FileStore, position: Position) -> Tail {
        let keys = Keys::new(&self.identity);
        Tail::new(Arc::clone(&store.path), Arc::clone(&self.file), keys, position, 0)
    }

    /// A descriptor for readers.
    pub(super) fn reading(&self) -> Result<Arc<dyn File>> {
        let open = self.disk.open(&self.path, OpenMode::Read);
        open.map_err(|source| io_error("open", &self.path, source))
    }

    /// The header that makes it a database which begins with this checkpoint.
    pub(super) fn header(&self, base: u64) -> Vec<u8> {
        header::encode(&Header { identity: self.identity, base })
    }

    /// Gives the file the name of the database. `Ok(false)` if it has it, but nobody knows for how long.
    pub(super) fn rename(&mut self, store: &FileStore) -> Result<bool> {
        let path = &store.path;
        self.disk
            .rename(&self.path, path)
            .map_err(|source| io_error("rename the compacted", path, source))?;
        self.kept = true;
        Ok(sync_folder(self.disk.as_ref(), path).is_ok())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.kept {
            // If this fails, the next compaction or opening removes it.
            let _ = self.disk.remove(&self.path);
        }
    }
}

/// For runs that must be reproducible: another identity that depends on that of the file before.
fn derived_identity(before: Identity) -> Identity {
    const SALT: u64 = 3;
    const CREATION: u64 = 4;
    let next = |bytes: [u8; 16], seed| xxh3::xxh3_128_with_seed(&bytes, seed).to_le_bytes();
    Identity { salt: next(before.salt, SALT), creation: next(before.creation, CREATION) }
}
