//! Where the stores of databases come from. One trait, so that a registry works the same over files,
//! memory, and whatever else may hold databases later.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use settee_storage::{
    FileStore, Options as StoreOptions, Store,
    disk::{Disk, File, MemoryDisk, OpenMode, read_exact_at, write_all_at},
    model::ModelStore,
};

use crate::{
    error::{Error, Result},
    name,
    view::index::IndexPlace,
};

/// What makes a new store a database before it becomes visible.
pub(crate) type Establish<'e> = &'e mut dyn FnMut(&Arc<dyn Store>) -> Result<()>;

/// Makes, finds and removes stores by the names of databases, which are valid ones. The caller sees to
/// it that there is one call at a time for each name.
pub(crate) trait Stores: Send + Sync {
    fn exists(&self, name: &str) -> Result<bool>;
    /// Makes a store, which appears under its name only when `establish` has succeeded.
    fn create(&self, name: &str, establish: Establish<'_>) -> Result<()>;
    fn open(&self, name: &str) -> Result<Arc<dyn Store>>;
    fn remove(&self, name: &str) -> Result<()>;
    /// Where the indexes of a database are.
    fn index_place(&self, name: &str) -> IndexPlace;
    /// All names, in no particular order.
    fn names(&self) -> Result<Vec<String>>;
}

/// Behind the last segment of a database's name.
const EXTENSION: &str = "settee";
/// Behind the last segment of a database's name, the folder of its indexes.
const INDEX_EXTENSION: &str = "views";
/// Behind the extension while a database is being created.
const UNFINISHED: &str = "new";
/// Stands for an empty segment of a name (`a//b`); no name contains it.
const EMPTY_SEGMENT: &str = "%";
/// The file whose lock says that a process has the folder open.
pub(crate) const LOCK_FILE: &str = "settee.lock";

/// One file per database below a folder.
#[derive(Debug)]
pub(crate) struct DiskStores {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    options: StoreOptions,
    /// Folders whose names are on disk: synced by this process, without a failure since. A name left by a
    /// process that was killed, or by a creation whose sync failed, may be in the page cache only.
    durable: Mutex<HashSet<PathBuf>>,
    /// Keeps the folder's lock.
    _lock: Option<Arc<dyn File>>,
}

impl DiskStores {
    pub(crate) fn open(disk: Arc<dyn Disk>, root: PathBuf, options: StoreOptions) -> Result<Self> {
        disk.create_dir_all(&root).map_err(|error| failed("create", &root, error))?;
        let lock = root.join(LOCK_FILE);
        let mode = if exists(&*disk, &lock)? { OpenMode::Write } else { OpenMode::CreateNew };
        let file = disk.open(&lock, mode).map_err(|error| failed("open", &lock, error))?;
        if !file.try_lock().map_err(|error| failed("lock", &lock, error))? {
            return Err(settee_storage::Error::Locked { path: root }.into());
        }
        Ok(DiskStores { disk, root, options, durable: Mutex::default(), _lock: Some(file) })
    }

    /// To look at a folder without taking its lock: the files may belong to a server that is running.
    pub(crate) fn unlocked(disk: Arc<dyn Disk>, root: PathBuf) -> Self {
        DiskStores {
            disk,
            root,
            options: StoreOptions::default(),
            durable: Mutex::default(),
            _lock: None,
        }
    }

    /// Stores on a disk in memory of their own.
    pub(crate) fn in_memory() -> Self {
        DiskStores {
            disk: Arc::new(MemoryDisk::new()),
            root: PathBuf::from("memory"),
            options: StoreOptions::default(),
            durable: Mutex::default(),
            _lock: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        path_of(&self.root, name)
    }

    /// Adds the names of the databases in `folder`, whose own name is `prefix`.
    fn collect(&self, folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<()> {
        let entries = self.disk.list(folder).map_err(|error| failed("list", folder, error))?;
        for (path, is_folder) in entries {
            let Some(file) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let segment = match is_folder {
                // No segment of a name has a point in it; such a folder holds indexes.
                true => Some(file).filter(|file| !file.contains('.')),
                false => file.strip_suffix(EXTENSION).and_then(|stem| stem.strip_suffix('.')),
            };
            let Some(segment) = segment else { continue };
            let segment = if segment == EMPTY_SEGMENT { "" } else { segment };
            match is_folder {
                true => self.collect(&path, &format!("{prefix}{segment}/"), names)?,
                false => names.push(format!("{prefix}{segment}")),
            }
        }
        Ok(())
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = self.disk.open(path, OpenMode::CreateNew)?;
        write_all_at(&*file, bytes, 0)?;
        file.sync_all()
    }

    /// Makes what `change` does to the names in the folder of `path` durable.
    fn change_names(&self, path: &Path, change: impl FnOnce() -> Result<()>) -> Result<()> {
        let folder = path.parent().unwrap_or(&self.root);
        let sync = || self.disk.sync_dir(folder).map_err(|error| failed("sync", folder, error));
        let outcome = change().and_then(|()| sync());
        let mut durable = self.durable.lock();
        match &outcome {
            Ok(()) => durable.insert(folder.to_owned()),
            Err(_) => durable.remove(folder),
        };
        outcome
    }

    /// Sees to it that a name that was found stays: what is written to its file is worth no more than
    /// the name.
    fn keep_name(&self, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(&self.root);
        let known = self.durable.lock().contains(folder);
        if known { Ok(()) } else { self.change_names(path, || Ok(())) }
    }
}

impl Stores for DiskStores {
    fn exists(&self, name: &str) -> Result<bool> {
        exists(&*self.disk, &self.path(name))
    }

    fn create(&self, name: &str, establish: Establish<'_>) -> Result<()> {
        let bytes = first_bytes(self.options, establish)?;
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            self.disk.create_dir_all(folder).map_err(|error| failed("create", folder, error))?;
        }
        let unfinished = with_suffix(path.clone(), UNFINISHED);
        if exists(&*self.disk, &unfinished)? {
            // Left behind by a crash, or by a creation that failed.
            self.disk.remove(&unfinished).map_err(|error| failed("remove", &unfinished, error))?;
        }
        self.write_file(&unfinished, &bytes)
            .map_err(|error| failed("write", &unfinished, error))?;
        self.change_names(&path, || {
            self.disk.rename(&unfinished, &path).map_err(|error| failed("rename", &path, error))
        })
    }

    fn open(&self, name: &str) -> Result<Arc<dyn Store>> {
        let path = self.path(name);
        self.keep_name(&path)?;
        Ok(FileStore::open(Arc::clone(&self.disk), &path, self.options)?)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        self.change_names(&path, || {
            self.disk.remove(&path).map_err(|error| failed("remove", &path, error))
        })
    }

    fn index_place(&self, name: &str) -> IndexPlace {
        let folder = self.path(name).with_extension(INDEX_EXTENSION);
        IndexPlace { disk: Arc::clone(&self.disk), folder }
    }

    fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        self.collect(&self.root, "", &mut names)?;
        names.retain(|name| name::check_database(name).is_ok());
        Ok(names)
    }
}

/// The file of a database below `root`.
pub(crate) fn path_of(root: &Path, name: &str) -> PathBuf {
    let mut path = root.to_owned();
    for segment in name.split('/') {
        path.push(if segment.is_empty() { EMPTY_SEGMENT } else { segment });
    }
    with_suffix(path, EXTENSION)
}

/// The name of the database whose file below `root` this is; `None` if it is none.
pub(crate) fn name_of(root: &Path, file: &Path) -> Option<String> {
    let below = file.strip_prefix(root).ok()?.to_str()?;
    let stem = below.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    let segments = stem.split('/').map(|it| if it == EMPTY_SEGMENT { "" } else { it });
    let name = segments.collect::<Vec<_>>().join("/");
    name::check_database(&name).ok().map(|()| name)
}

/// The file of a new database. It is put together in memory, where the store's syncs cost nothing: until
/// it has its name nobody depends on it, and one sync of the whole is enough.
fn first_bytes(options: StoreOptions, establish: Establish<'_>) -> Result<Vec<u8>> {
    let (disk, path) = (Arc::new(MemoryDisk::new()), Path::new("new"));
    let options = StoreOptions { max_prepare_bytes: 0, ..options };
    let store: Arc<dyn Store> = FileStore::create(disk.clone(), path, options)?;
    establish(&store)?;
    store.checkpoint()?;
    store.close();
    let read = || {
        let file = disk.open(path, OpenMode::Read)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        read_exact_at(&*file, &mut bytes, 0)?;
        Ok(bytes)
    };
    read().map_err(|error| failed("read", path, error))
}

/// The path with a point and `suffix` behind its last segment.
fn with_suffix(path: PathBuf, suffix: &str) -> PathBuf {
    let mut path = path.into_os_string();
    path.push(".");
    path.push(suffix);
    path.into()
}

fn exists(disk: &dyn Disk, path: &Path) -> Result<bool> {
    disk.exists(path).map_err(|error| failed("look for", path, error))
}

pub(crate) fn failed(operation: &'static str, path: &Path, source: io::Error) -> Error {
    settee_storage::Error::Io { operation, path: path.to_owned(), source }.into()
}

/// Databases over the reference model of `settee-storage`, for tests that compare.
#[derive(Default)]
pub(crate) struct ModelStores {
    stores: Mutex<BTreeMap<String, Arc<ModelStore>>>,
    /// Indexes are made from databases, so they are where they always are: on a disk.
    indexes: Arc<MemoryDisk>,
}

impl Stores for ModelStores {
    fn exists(&self, name: &str) -> Result<bool> {
        Ok(self.stores.lock().contains_key(name))
    }

    fn create(&self, name: &str, establish: Establish<'_>) -> Result<()> {
        let model = Arc::new(ModelStore::new());
        let store: Arc<dyn Store> = model.clone();
        establish(&store)?;
        self.stores.lock().insert(name.to_owned(), model);
        Ok(())
    }

    fn open(&self, name: &str) -> Result<Arc<dyn Store>> {
        let store = self.stores.lock().get(name).map(Arc::clone);
        store.map(|model| model as Arc<dyn Store>).ok_or(Error::DatabaseNotFound)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.stores.lock().remove(name);
        Ok(())
    }

    fn index_place(&self, name: &str) -> IndexPlace {
        let folder = PathBuf::from("indexes").join(name);
        IndexPlace { disk: self.indexes.clone(), folder }
    }

    fn names(&self) -> Result<Vec<String>> {
        Ok(self.stores.lock().keys().cloned().collect())
    }
}
