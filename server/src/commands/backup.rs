//! `settee backup`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use settee_engine::offline::{self as engine, EngineContent};
use settee_storage::offline;

use super::failure::Failure;
use super::report::{Output, Unit, bytes};
use super::target::{check_folder, disk};
use super::verify::sound;

/// Copies databases as of their last commit, while a server may be running and writing. Each copy is
/// checked and synced before it gets its name, and opens by itself: restoring is putting the file back,
/// or starting a server on the folder of copies.
///
/// Either one file: settee backup FILE COPY. Or databases of a data folder, all of them unless some are
/// named: settee backup --data-dir DIR --to FOLDER [NAME]... A copy that is there already is never
/// overwritten.
#[derive(Clone, Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
#[command(
    override_usage = "settee backup FILE COPY\n       settee backup --data-dir DIR --to FOLDER [NAME]..."
)]
pub struct Backup {
    /// The file and its copy, or names of databases in --data-dir
    #[arg(value_name = "FILE|NAME")]
    operands: Vec<String>,

    /// The data folder to copy databases of
    #[arg(long, value_name = "DIR", requires = "to")]
    data_dir: Option<PathBuf>,

    /// The folder the copies go to; made if it isn't there
    #[arg(long, value_name = "FOLDER", requires = "data_dir")]
    to: Option<PathBuf>,

    #[command(flatten)]
    output: Output,
}

impl Backup {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match (&self.data_dir, &self.to, &self.operands[..]) {
            (Some(folder), Some(to), names) => self.folder(folder, to, names),
            (None, None, [from, to]) => self.copy(Path::new(from), Path::new(to)),
            _ => Err(Failure::Usage("backup needs a file and the name of its copy".into())),
        }
    }

    /// Copies what can be copied; the first failure is the outcome.
    fn folder(&self, folder: &Path, to: &Path, names: &[String]) -> Result<(), Failure> {
        check_folder(folder)?;
        let all = match names {
            [] => engine::names(disk(), folder)?,
            names => names.to_vec(),
        };
        let mut outcome = Ok(());
        for name in &all {
            let from = engine::path_of(folder, name)?;
            let copied = self.copy(&from, &engine::path_of(to, name)?);
            if let Err(failure) = copied {
                match outcome {
                    Ok(()) => outcome = Err(failure),
                    Err(_) => drop(failure.print()),
                }
            }
        }
        outcome
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<(), Failure> {
        let mut progress = self.output.progress("backup", Unit::Bytes);
        let report =
            offline::backup(&disk(), from, to, &EngineContent::default(), &mut |done, total| {
                progress.tell(done, total);
            });
        progress.finish();
        let report = report?;
        sound(&from.display().to_string(), &report)?;
        let end = report.end.unwrap_or_default();
        if self.output.json {
            self.output.print_json(&json!({
                "file": from.display().to_string(), "copy": to.display().to_string(),
                "bytes": end.end, "commit": end.commit, "documents": report.documents,
            }))?;
        } else {
            println!("{}: {} copied to {}", from.display(), bytes(end.end), to.display());
        }
        Ok(())
    }
}
