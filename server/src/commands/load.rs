//! `settee load`.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use settee_engine::offline::{LoadSummary, Loader};
use settee_engine::{AttachmentSettings, Options};

use super::failure::Failure;
use super::report::{Output, Unit};
use super::target::Target;

/// Reads lines of JSON, from standard input or a file, into a database: a dump of `settee dump`, or a
/// document with _id and _rev or _revisions a line. A database that is not there is made, with the
/// settings of the dump's first line; one that is there keeps its settings and gets the revisions it does
/// not have, as by replication ("new_edits": false). Loading twice changes nothing.
///
/// The data folder must not be in use by a running server.
#[derive(Clone, Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct Load {
    #[command(flatten)]
    target: Target,

    /// Read from this file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    from: Option<PathBuf>,

    #[command(flatten)]
    output: Output,
}

impl Load {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.from {
            None => self.read(&mut io::stdin().lock(), None),
            Some(path) => {
                let failed = |error| Failure::Failed(format!("{}: {error}", path.display()));
                let file = File::open(path).map_err(failed)?;
                let len = file.metadata().map_err(failed)?.len();
                self.read(&mut BufReader::with_capacity(1 << 20, file), Some(len))
            }
        }
    }

    fn read(&self, lines: &mut dyn BufRead, total: Option<u64>) -> Result<(), Failure> {
        // What was stored once is not too large now.
        let attachments =
            AttachmentSettings { max_bytes: u64::MAX, ..AttachmentSettings::default() };
        let options = Options { attachments, ..Options::default() };
        let (databases, name) = self.target.open_folder(options)?;
        let unit = if total.is_some() { Unit::Bytes } else { Unit::BytesOfUnknown };
        let mut progress = self.output.progress("load", unit);
        let loader = Loader::new(databases.clone(), &name);
        let summary = loader.load(lines, &mut |done| progress.tell(done, total.unwrap_or(0)));
        progress.finish();
        databases.close()?;
        self.tell(&name, &summary?)
    }

    fn tell(&self, name: &str, summary: &LoadSummary) -> Result<(), Failure> {
        for (line, reason) in &summary.refusals {
            eprintln!("settee: line {line}: {reason}");
        }
        if self.output.json {
            self.output.print_json(&json!({
                "database": name, "lines": summary.lines, "revisions": summary.revisions,
                "local_documents": summary.local_documents, "attachments": summary.attachments,
                "refused": summary.refused,
            }))?;
        } else {
            println!(
                "{name}: {} revisions, {} local documents, {} attachments loaded",
                summary.revisions, summary.local_documents, summary.attachments
            );
        }
        match summary.refused {
            0 => Ok(()),
            refused => Err(Failure::Failed(format!("{refused} documents were refused"))),
        }
    }
}
