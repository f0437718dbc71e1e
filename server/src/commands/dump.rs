//! `settee dump`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use settee_engine::offline::{self, AttachmentLines};
use settee_storage::disk::RealDisk;

use super::failure::Failure;
use super::report::{Output, Unit};
use super::target::Target;

/// Writes a database out as lines of JSON, to standard output or a file: its settings, its local
/// documents, and every leaf revision of every document with its history and attachments, as of its last
/// commit. `settee load` reads it back. Works beside a running server and changes nothing.
///
/// The first line has the settings, the last one says that the dump is complete. Attachments stand in
/// lines in front of their document, in pieces, as they are stored. With --inline they are in the
/// document, decoded: such lines are documents as CouchDB's _bulk_docs takes them with "new_edits":
/// false (leave out the first and the last line).
#[derive(Clone, Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct Dump {
    #[command(flatten)]
    target: Target,

    /// Write to this file instead of standard output; it gets its name when the dump is complete
    #[arg(short, long, value_name = "FILE")]
    to: Option<PathBuf>,

    /// Put attachments into their documents
    #[arg(long)]
    inline: bool,

    #[command(flatten)]
    output: Output,
}

impl Dump {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.to {
            None => self.write(&mut BufWriter::new(io::stdout().lock())),
            Some(path) => self.write_file(path),
        }
    }

    fn write_file(&self, path: &Path) -> Result<(), Failure> {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", path.display()));
        let file = File::create(&unfinished).map_err(failed)?;
        let mut out = BufWriter::new(file);
        if let Err(failure) = self.write(&mut out) {
            // Half a dump is of no use; if it stays, its name says what it is.
            let _ = std::fs::remove_file(&unfinished);
            return Err(failure);
        }
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&unfinished, path).map_err(failed)
    }

    fn write(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let (file, name) = (self.target.file()?, self.target.name()?);
        let database = offline::open_read_only(&RealDisk, &file, &name)?;
        let attachments = match self.inline {
            true => AttachmentLines::Inline,
            false => AttachmentLines::Apart,
        };
        let mut progress = self.output.progress("dump", Unit::Documents);
        let summary = offline::dump(&database.read()?, attachments, out, &mut |done, total| {
            progress.tell(done, total);
        });
        progress.finish();
        let summary = summary?;
        if self.output.json && self.to.is_some() {
            self.output.print_json(&json!({
                "database": name, "documents": summary.documents, "revisions": summary.revisions,
                "attachments": summary.attachments, "local_documents": summary.local_documents,
            }))?;
        }
        Ok(())
    }
}
