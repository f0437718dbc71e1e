//! `settee verify`.

use std::io::{self, BufWriter, Write as _};

use clap::Args;
use serde_json::{Value, json};
use settee_engine::offline::EngineContent;
use settee_storage::disk::RealDisk;
use settee_storage::offline::{self, Verification};

use super::failure::Failure;
use super::report::{Output, Unit, bytes};
use super::target::Target;

/// Checks everything in a database file: the header, the checksums of all frames and their chain, every
/// node of the trees, that both indexes and the counts agree, that every body and attachment is there and
/// as it was written. Works beside a running server and changes nothing; the file is checked as of its
/// last commit.
///
/// Damage is listed with its offset and what lies there. What to do then: restore the file from a backup,
/// or delete the database and replicate it back. `settee dump` saves what can still be read.
#[derive(Clone, Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct Verify {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    output: Output,
}

impl Verify {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let file = self.target.file()?;
        let name = file.display().to_string();
        let mut progress = self.output.progress("verify", Unit::Bytes);
        let report =
            offline::verify(&RealDisk, &file, &EngineContent::default(), &mut |done, total| {
                progress.tell(done, total);
            });
        progress.finish();
        let report = report?;
        match self.output.json {
            true => self.output.print_json(&summary(&name, &report))?,
            false => print(&name, &report)?,
        }
        sound(&name, &report)
    }
}

/// Damage is a failure.
pub(super) fn sound(file: &str, report: &Verification) -> Result<(), Failure> {
    match report.damage.first() {
        None => Ok(()),
        Some(first) => Err(Failure::Damaged(format!(
            "{file} is damaged in {} places, the first at byte {}: restore it from a backup or a replica",
            report.damage.len(),
            first.offset
        ))),
    }
}

pub(super) fn summary(file: &str, report: &Verification) -> Value {
    let damage: Vec<_> = report
        .damage
        .iter()
        .map(|it| json!({ "offset": it.offset, "length": it.len, "what": it.what }))
        .collect();
    let end = report.end.unwrap_or_default();
    json!({
        "file": file, "sound": report.is_sound(), "frames": report.frames,
        "commits": report.commits, "documents": report.documents,
        "references": report.references, "live_bytes": report.live_bytes, "end": end.end,
        "bytes_behind_end": end.end_of_data - end.end, "damage": damage,
    })
}

fn print(file: &str, report: &Verification) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for damage in &report.damage {
        writeln!(out, "{file}: byte {}: {}", damage.offset, damage.what)?;
    }
    let verdict = if report.is_sound() { "sound" } else { "damaged" };
    writeln!(
        out,
        "{file}: {verdict}; {} frames, {} commits, {} documents, {} bodies and attachments, {} of {} live",
        report.frames,
        report.commits,
        report.documents,
        report.references,
        bytes(report.live_bytes),
        bytes(report.end.map_or(0, |end| end.end)),
    )?;
    out.flush()
}
