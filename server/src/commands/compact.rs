//! `settee compact`.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use settee_engine::{compaction, offline};
use settee_storage::{Compacted, Error as StoreError, Phase, Progress as Done};

use super::failure::{Failure, in_use};
use super::report::{Output, Progress, Unit, bytes};
use super::target::{check_folder, disk};

/// Rewrites databases without what is no longer needed: bodies and attachments of replaced revisions, and
/// space left behind by updates. A database stays as it was until its new file is complete, and needs
/// room for that file meanwhile.
///
/// Files: settee compact FILE... Or databases of a data folder, all of them unless some are named: settee
/// compact --data-dir DIR [NAME]... No server may be running on them; a running server compacts a
/// database itself, by POST /NAME/_compact or when that pays.
#[derive(Clone, Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
#[command(
    override_usage = "settee compact FILE...\n       settee compact --data-dir DIR [NAME]..."
)]
pub struct Compact {
    /// Database files, or names of databases in --data-dir
    #[arg(value_name = "FILE|NAME", required_unless_present = "data_dir")]
    operands: Vec<String>,

    /// The data folder to compact databases of
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Store bodies as text instead of packing them, as [couchdb] file_compression = none does
    #[arg(long)]
    no_packing: bool,

    #[command(flatten)]
    output: Output,
}

impl Compact {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.data_dir {
            Some(folder) => self.folder(folder),
            None => self.each(&self.operands, |file| self.file(Path::new(file))),
        }
    }

    fn folder(&self, folder: &Path) -> Result<(), Failure> {
        check_folder(folder)?;
        let _held = hold(folder)?;
        let names = match &self.operands[..] {
            [] => offline::names(disk(), folder)?,
            names => names.to_vec(),
        };
        self.each(&names, |name| self.compact(&offline::path_of(folder, name)?))
    }

    /// One file, which may lie in the data folder of a server that has not opened it yet.
    fn file(&self, file: &Path) -> Result<(), Failure> {
        let place = offline::place_of(&*disk(), &std::path::absolute(file)?)?;
        let _held = place.map(|(folder, _)| hold(&folder)).transpose()?;
        self.compact(file)
    }

    /// Does what can be done; the first failure is the outcome.
    fn each(
        &self,
        operands: &[String],
        compact: impl Fn(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut outcome = Ok(());
        for operand in operands {
            let Err(failure) = compact(operand) else { continue };
            match outcome {
                Ok(()) => outcome = Err(failure),
                Err(_) => drop(failure.print()),
            }
        }
        outcome
    }

    fn compact(&self, file: &Path) -> Result<(), Failure> {
        let name = file.display().to_string();
        let shown = RefCell::new(Shown::new(self.output, &name));
        let compacted = compaction::compact_file(disk(), file, !self.no_packing, &|done| {
            shown.borrow_mut().tell(done);
            true
        });
        shown.into_inner().progress.finish();
        self.tell(&name, compacted?)
    }

    fn tell(&self, file: &str, compacted: Compacted) -> Result<(), Failure> {
        let Compacted { bytes_before, bytes_after, changes, .. } = compacted;
        if self.output.json {
            self.output.print_json(&json!({
                "file": file, "bytes_before": bytes_before, "bytes_after": bytes_after,
                "documents": changes,
            }))?;
        } else {
            println!(
                "{file}: {} before, {} after; {changes} documents",
                bytes(bytes_before),
                bytes(bytes_after)
            );
        }
        Ok(())
    }
}

/// Keeps servers away from a data folder.
fn hold(folder: &Path) -> Result<Option<offline::HeldFolder>, Failure> {
    match offline::hold(disk(), folder) {
        Err(settee_engine::Error::Storage(StoreError::Locked { .. })) => {
            Err(Failure::InUse(in_use(&format!("the data folder {}", folder.display()))))
        }
        held => Ok(held?),
    }
}

/// Progress by phases, each of which begins anew.
struct Shown {
    output: Output,
    file: String,
    phase: Phase,
    progress: Progress,
}

impl Shown {
    fn new(output: Output, file: &str) -> Self {
        let phase = Phase::Documents;
        let progress = output.progress(&title(file, phase), Unit::Documents);
        Shown { output, file: file.to_owned(), phase, progress }
    }

    fn tell(&mut self, Done { phase, done, total }: Done) {
        if phase != self.phase {
            self.phase = phase;
            let next = self.output.progress(&title(&self.file, phase), Unit::Documents);
            std::mem::replace(&mut self.progress, next).finish();
        }
        self.progress.tell(done, total);
    }
}

fn title(file: &str, phase: Phase) -> String {
    let doing = match phase {
        Phase::Documents => "copying",
        Phase::BySequence => "index by sequence",
        Phase::ById => "index by id",
        Phase::Keys => "local documents",
        Phase::CatchUp => "finishing",
    };
    format!("{file}: {doing}")
}
