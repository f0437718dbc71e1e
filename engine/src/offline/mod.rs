//! Databases as files, for tools that work without a server or beside a running one.
//!
//! * this file: finding the files of a data folder, opening one to be read
//! * `content`: what the engine's values refer to, for `settee_storage::offline::verify`
//! * [`mod@dump`], [`load`]: a database as lines of JSON, and back; the form of the lines is in
//!   `docs/dump.md`
//!
//! What must not live here: file formats (the store's), what a report looks like (the server's).

mod content;
pub mod dump;
pub mod load;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use settee_storage::{disk::Disk, offline::ReadOnlyFile};

pub use content::EngineContent;
pub use dump::{AttachmentLines, DumpSummary, dump};
pub use load::{LoadSummary, Loader};

use crate::{
    attachment::AttachmentSettings,
    database::{DEFAULT_SECURITY, Database},
    error::{Error, Result},
    name,
    shared::Shared,
    stores::{self, DiskStores, LOCK_FILE},
    view::index::IndexPlace,
};

/// The file of the database `name` in the data folder `root`, whether it is there or not.
///
/// # Errors
/// [`Error::IllegalDatabaseName`], [`Error::DatabaseNameTooLong`].
pub fn path_of(root: &Path, name: &str) -> Result<PathBuf> {
    name::check_database(name)?;
    Ok(stores::path_of(root, name))
}

/// The names of all databases of a data folder, in byte order. Takes no lock.
///
/// # Errors
/// Those of the disk.
pub fn names(disk: Arc<dyn Disk>, root: &Path) -> Result<Vec<String>> {
    let mut names = stores::Stores::names(&DiskStores::unlocked(disk, root.to_owned()))?;
    names.sort_unstable();
    Ok(names)
}

/// A data folder that no server can take as long as this lives.
#[derive(Debug)]
pub struct HeldFolder(#[expect(dead_code, reason = "it is the lock")] DiskStores);

/// Keeps servers away from a data folder, by the lock with which they keep each other away; `None` if no
/// server has used the folder yet, and nothing is held.
///
/// # Errors
/// Those of the disk; [`settee_storage::Error::Locked`] if a server is running on it.
pub fn hold(disk: Arc<dyn Disk>, root: &Path) -> Result<Option<HeldFolder>> {
    let lock = root.join(LOCK_FILE);
    if !disk.exists(&lock).map_err(|error| stores::failed("look for", &lock, error))? {
        return Ok(None);
    }
    let options = settee_storage::Options::default();
    Ok(Some(HeldFolder(DiskStores::open(disk, root.to_owned(), options)?)))
}

/// The data folder that a database file lies in, and the database's name there: the nearest folder above
/// it that a server has used, or else the file's own. `None` if the file's name is not that of a database.
///
/// # Errors
/// Those of the disk.
pub fn place_of(disk: &dyn Disk, file: &Path) -> Result<Option<(PathBuf, String)>> {
    for root in file.ancestors().skip(1) {
        let lock = root.join(LOCK_FILE);
        let used = disk.exists(&lock).map_err(|error| stores::failed("look for", &lock, error))?;
        if used {
            return Ok(stores::name_of(root, file).map(|name| (root.to_owned(), name)));
        }
    }
    let root = file.parent().unwrap_or(Path::new(""));
    Ok(stores::name_of(root, file).map(|name| (root.to_owned(), name)))
}

/// Opens a database file to be read, as of its last commit. A server may have it open; nothing is written
/// to it, and every write is refused. `name` is what the database is called in what is read of it.
///
/// # Errors
/// Those of the store; [`Error::Damaged`] if the file is not a database of the engine.
pub fn open_read_only(disk: &dyn Disk, file: &Path, name: &str) -> Result<Arc<Database>> {
    let store = ReadOnlyFile::open(disk, file)?;
    let shared = Shared::new(DEFAULT_SECURITY.into(), AttachmentSettings::default());
    Database::new(name.to_owned(), store, Arc::default(), IndexPlace::nowhere(), shared)
}

/// An error of the reader or writer that lines come from or go to.
fn line_error(operation: &'static str, source: std::io::Error) -> Error {
    settee_storage::Error::Io { operation, path: "the dump".into(), source }.into()
}
