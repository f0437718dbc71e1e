//! Which database a command is about.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use settee_engine::{Databases, Options, offline};
use settee_storage::disk::{Disk, RealDisk};

use super::failure::{Failure, in_use};

/// A database: a file, or a name in a data folder.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    /// The database: a file, or with --data-dir its name
    #[arg(value_name = "FILE|NAME")]
    database: String,

    /// The data folder that NAME is in
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Target {
    /// Its file.
    pub(super) fn file(&self) -> Result<PathBuf, Failure> {
        let Some(folder) = &self.data_dir else { return Ok(PathBuf::from(&self.database)) };
        check_folder(folder)?;
        Ok(offline::path_of(folder, &self.database)?)
    }

    /// What it is called.
    pub(super) fn name(&self) -> Result<String, Failure> {
        Ok(match (&self.data_dir, self.place()) {
            (Some(_), _) => self.database.clone(),
            (None, Ok((_, name))) => name,
            (None, Err(_)) => self.database.clone(),
        })
    }

    /// The data folder it is in, and its name there.
    fn place(&self) -> Result<(PathBuf, String), Failure> {
        if let Some(folder) = &self.data_dir {
            return Ok((folder.clone(), self.database.clone()));
        }
        let file = std::path::absolute(&self.database)?;
        offline::place_of(&RealDisk, &file)?.ok_or_else(|| {
            Failure::Usage(format!(
                "{}: a database file is called NAME.settee; give its folder with --data-dir otherwise",
                self.database
            ))
        })
    }

    /// Opens its data folder for this command alone.
    pub(super) fn open_folder(
        &self,
        options: Options,
    ) -> Result<(Arc<Databases>, String), Failure> {
        let (folder, name) = self.place()?;
        match Databases::open(disk(), &folder, options) {
            Ok(databases) => Ok((databases, name)),
            Err(settee_engine::Error::Storage(settee_storage::Error::Locked { .. })) => {
                Err(Failure::InUse(in_use(&format!("the data folder {}", folder.display()))))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The machine's disk.
pub(super) fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

/// That there is such a folder; a mistyped one should not look like an empty one.
pub(super) fn check_folder(folder: &Path) -> Result<(), Failure> {
    if folder.is_dir() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{} is not a folder: --data-dir names the data folder",
        folder.display()
    )))
}
