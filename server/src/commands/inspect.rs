//! `settee inspect`.

use std::io::{self, BufWriter, Write as _};

use clap::Args;
use serde_json::{Map, Value, json};
use settee_storage::disk::RealDisk;
use settee_storage::offline::{self, Field, Inspection, Record};

use super::failure::Failure;
use super::report::{Output, bytes, hex};
use super::target::Target;

/// Shows what is in a database file: where it ends, its last commit and checkpoint, documents, trees, and
/// what its bytes are spent on. Works beside a running server and changes nothing.
///
/// With --raw it prints every record of the file with its offset and all its fields, one JSON object a
/// line, under the names of storage/FORMAT.md; binary fields are in hexadecimal digits. That works on
/// damaged files, too, as far as the header can be read.
#[derive(Clone, Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct Inspect {
    #[command(flatten)]
    target: Target,

    /// Print every record with its offset and fields
    #[arg(long)]
    raw: bool,

    #[command(flatten)]
    output: Output,
}

impl Inspect {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let file = self.target.file()?;
        if self.raw {
            let mut out = BufWriter::new(io::stdout().lock());
            let mut print = |record: Record| {
                writeln!(out, "{}", json_of(record)).map_err(|source| settee_storage::Error::Io {
                    operation: "write",
                    path: "standard output".into(),
                    source,
                })
            };
            offline::records(&RealDisk, &file, &mut print)?;
            return Ok(out.flush()?);
        }
        let found = offline::inspect(&RealDisk, &file)?;
        if self.output.json {
            return Ok(self.output.print_json(&summary(&file.display().to_string(), &found))?);
        }
        print(&file.display().to_string(), &found)?;
        Ok(())
    }
}

/// A record as a JSON object.
fn json_of(record: Record) -> Value {
    let mut object = Map::new();
    object.insert("record".into(), record.kind.into());
    object.insert("offset".into(), record.offset.into());
    for (name, field) in record.fields {
        let value = match field {
            Field::Number(number) => number.into(),
            Field::Hash(number) => format!("{number:032x}").into(),
            Field::Bytes(bytes) => hex(&bytes).into(),
            Field::Word(word) => word.into(),
            Field::Flag(flag) => flag.into(),
        };
        object.insert(name.into(), value);
    }
    Value::Object(object)
}

fn summary(file: &str, found: &Inspection) -> Value {
    let trees = found.trees.iter().map(|tree| {
        let shape = &tree.shape;
        json!({
            "name": tree.name, "height": tree.height, "entries": shape.entries,
            "leaves": shape.leaves, "inner_nodes": shape.inner_nodes, "bytes": shape.node_bytes,
            "largest_node_bytes": shape.largest_node_bytes,
        })
    });
    let trees: Vec<_> = trees.collect();
    let kinds: Map<String, Value> = found
        .kinds
        .iter()
        .map(|it| (it.kind.into(), json!({ "frames": it.frames, "bytes": it.bytes })))
        .collect();
    json!({
        "file": file, "version": found.version, "salt": hex(&found.salt),
        "creation": hex(&found.creation), "file_bytes": found.end.len,
        "end": found.end.end, "bytes_behind_end": found.end.end_of_data - found.end.end,
        "bytes_prepared": found.end.len - found.end.end_of_data.min(found.end.len),
        "commit": found.end.commit, "commit_offset": found.end.commit_offset,
        "checkpoint_offset": found.end.checkpoint, "commits_to_replay": found.end.commits_replayed,
        "sequence": found.seq, "documents": found.counts.live,
        "deleted_documents": found.counts.deleted, "active_bytes": found.counts.active_bytes,
        "external_bytes": found.counts.external_bytes, "frames": kinds, "trees": trees,
        "live_bytes": found.live_bytes(), "dead_bytes": found.dead_bytes(),
    })
}

fn print(file: &str, found: &Inspection) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let end = &found.end;
    writeln!(out, "{file}: format version {}, creation {}", found.version, hex(&found.creation))?;
    writeln!(out, "  file         {}, data up to byte {}", bytes(end.len), end.end)?;
    if end.end_of_data > end.end {
        let behind = bytes(end.end_of_data - end.end);
        writeln!(
            out,
            "               {behind} behind it were never acknowledged, or are being written"
        )?;
    }
    writeln!(
        out,
        "  last commit  {} at byte {}, sequence {}",
        end.commit, end.commit_offset, found.seq
    )?;
    writeln!(
        out,
        "  checkpoint   at byte {}, {} commits to replay",
        end.checkpoint, end.commits_replayed
    )?;
    let counts = &found.counts;
    writeln!(
        out,
        "  documents    {} and {} deleted, {} stored, {} as seen by clients",
        counts.live,
        counts.deleted,
        bytes(counts.active_bytes),
        bytes(counts.external_bytes)
    )?;
    writeln!(out, "  frames")?;
    for kind in &found.kinds {
        writeln!(out, "    {:<10} {:>10} {:>14}", kind.kind, kind.frames, bytes(kind.bytes))?;
    }
    writeln!(out, "  trees         height    entries      nodes          bytes  bytes a node")?;
    for tree in &found.trees {
        let nodes = tree.shape.leaves + tree.shape.inner_nodes;
        writeln!(
            out,
            "    {:<10} {:>8} {:>10} {:>10} {:>14} {:>13}",
            tree.name,
            tree.height,
            tree.shape.entries,
            nodes,
            bytes(tree.shape.node_bytes),
            tree.shape.node_bytes.checked_div(nodes).unwrap_or(0)
        )?;
    }
    writeln!(
        out,
        "  live         {} as far as the counts say; compaction would give back about {}",
        bytes(found.live_bytes()),
        bytes(found.dead_bytes())
    )?;
    out.flush()
}
