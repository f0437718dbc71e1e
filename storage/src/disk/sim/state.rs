//! Names and files of a simulated disk. They change by [`Effect`]s only, so that a list of effects is
//! the whole history of a disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::{crash::Survival, inode::Inode};

/// One thing that happened to a disk.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    CreateFolders {
        path: PathBuf,
    },
    Create {
        path: PathBuf,
        inode: u64,
    },
    Remove {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    SyncFolder {
        path: PathBuf,
    },
    Write {
        inode: u64,
        offset: usize,
        bytes: Vec<u8>,
    },
    SetLen {
        inode: u64,
        len: usize,
    },
    Sync {
        inode: u64,
    },
    /// A sync that made some sectors durable (by this seed; none without) and forgot the others.
    DropDirty {
        inode: u64,
        seed: Option<u64>,
    },
    DropCaches,
    Flip {
        inode: u64,
        offset: u64,
        mask: u8,
    },
}

/// A change of names that waits for its folders to be synced.
#[derive(Clone, Debug)]
struct NameChange {
    /// Number of the operation that made it.
    at: u64,
    /// The name that goes.
    remove: Option<PathBuf>,
    /// The name that comes.
    insert: Option<(PathBuf, u64)>,
    /// The folders still to be synced.
    folders: BTreeSet<PathBuf>,
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        if let Some(path) = &self.remove {
            names.remove(path);
        }
        if let Some((path, inode)) = &self.insert {
            names.insert(path.clone(), *inode);
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names that are not durable, oldest first.
    pending: Vec<NameChange>,
    folders: BTreeSet<PathBuf>,
    operations: u64,
}

impl State {
    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn next_inode(&self) -> u64 {
        self.inodes.last_key_value().map_or(1, |(last, _)| last + 1)
    }

    pub(super) fn find(&self, path: &Path) -> Option<u64> {
        self.names.get(path).copied()
    }

    /// A file that was opened, whatever became of its name.
    pub(super) fn inode(&self, inode: u64) -> &Inode {
        &self.inodes[&inode]
    }

    pub(super) fn has_unsynced(&self) -> bool {
        !self.pending.is_empty() || self.names.values().any(|&it| self.inode(it).has_unsynced())
    }

    /// Bytes taken up by the files that have names, and by those that are open without one.
    pub(super) fn allocated_bytes(&self, open: impl Iterator<Item = u64>) -> u64 {
        let taken: BTreeSet<u64> = self.names.values().copied().chain(open).collect();
        let bytes: usize = taken.iter().map(|&inode| self.inode(inode).allocated_bytes()).sum();
        u64::try_from(bytes).expect("a size in memory fits into 64 bits")
    }

    pub(super) fn check_folder(&self, path: &Path) -> io::Result<()> {
        let is_root = path.parent().is_none() || path.as_os_str().is_empty();
        if is_root || self.folders.contains(path) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    pub(super) fn check_parent(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Err(io::ErrorKind::InvalidInput.into()), |it| self.check_folder(it))
    }

    pub(super) fn check_new(&self, path: &Path) -> io::Result<()> {
        self.check_parent(path)?;
        if self.names.contains_key(path) || self.folders.contains(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
        self.check_folder(path)?;
        let files = self.names.keys().map(|name| (name.clone(), false));
        let folders = self.folders.iter().map(|name| (name.clone(), true));
        Ok(files.chain(folders).filter(|(name, _)| name.parent() == Some(path)).collect())
    }

    pub(super) fn apply(&mut self, effect: &Effect) {
        let at = self.operations;
        self.operations += 1;
        match effect {
            Effect::CreateFolders { path } => {
                self.folders.extend(path.ancestors().map(Path::to_path_buf));
            }
            Effect::Create { path, inode } => {
                self.inodes.insert(*inode, Inode::default());
                self.rename(at, None, Some((path.clone(), *inode)));
            }
            Effect::Remove { path } => self.rename(at, Some(path.clone()), None),
            Effect::Rename { from, to } => {
                if let Some(inode) = self.find(from) {
                    self.rename(at, Some(from.clone()), Some((to.clone(), inode)));
                }
            }
            Effect::SyncFolder { path } => self.sync_folder(path),
            Effect::Write { inode, offset, bytes } => {
                self.change(*inode, |file| file.write(at, *offset, bytes));
            }
            Effect::SetLen { inode, len } => self.change(*inode, |file| file.set_len(at, *len)),
            Effect::Sync { inode } => self.change(*inode, Inode::sync),
            Effect::DropDirty { inode, seed } => {
                let mut survival = seed
                    .map_or_else(Survival::nothing, |seed| Survival::new(seed, self.operations));
                self.change(*inode, |file| file.drop_dirty(&mut survival));
            }
            Effect::DropCaches => self.inodes.values_mut().for_each(Inode::drop_cache),
            Effect::Flip { inode, offset, mask } => {
                let offset = usize::try_from(*offset).unwrap_or(usize::MAX);
                self.change(*inode, |file| file.flip(offset, *mask));
            }
        }
    }

    fn change(&mut self, inode: u64, change: impl FnOnce(&mut Inode)) {
        if let Some(file) = self.inodes.get_mut(&inode) {
            change(file);
        }
    }

    fn rename(&mut self, at: u64, remove: Option<PathBuf>, insert: Option<(PathBuf, u64)>) {
        let paths = remove.iter().chain(insert.iter().map(|(path, _)| path));
        let folders = paths.filter_map(|path| path.parent()).map(Path::to_path_buf).collect();
        let change = NameChange { at, remove, insert, folders };
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    fn sync_folder(&mut self, path: &Path) {
        for change in &mut self.pending {
            change.folders.remove(path);
        }
        let (durable, pending) =
            std::mem::take(&mut self.pending).into_iter().partition(|it| it.folders.is_empty());
        self.pending = pending;
        let durable: Vec<NameChange> = durable;
        durable.iter().for_each(|change| change.apply(&mut self.durable_names));
    }

    /// The disk found after a crash.
    pub(super) fn crash(&self, survival: &mut Survival) -> State {
        let mut names = self.durable_names.clone();
        for change in &self.pending {
            if survival.name(change.at) {
                change.apply(&mut names);
            }
        }
        let kept: BTreeSet<u64> = names.values().copied().collect();
        let inodes = self
            .inodes
            .iter()
            .filter(|(inode, _)| kept.contains(inode))
            .map(|(inode, file)| (*inode, Inode::settled(file.survivors(survival))))
            .collect();
        State {
            inodes,
            durable_names: names.clone(),
            names,
            pending: Vec::new(),
            folders: self.folders.clone(),
            operations: 0,
        }
    }
}
