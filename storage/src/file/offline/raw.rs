//! Every record of a file with its offset and its fields, in the order and under the names of `FORMAT.md`.

use std::path::Path;

use super::{
    super::{
        codec::{Input, length},
        delta::Delta,
        frame::{FrameHeader, Kind},
        header::{self, HEADER_BYTES},
        ops::{ById, LoggedOld, Op, PutDoc},
        reader::Reader,
        record::{COMMIT_FIXED_BYTES, CheckpointRecord, CommitHead, Roots},
        rows,
        scan::Scan,
    },
    frames::{FoundFrame, Frames, Step},
    read_only::{Examined, ReadOnlyFile},
};
use crate::{
    disk::{Disk, read_exact_at},
    error::{Error, Result},
    store::{Direction, KeyRange},
    tree::{CountEntries, RawNode, RawValue, Root, Tree},
};

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A number.
    Number(u64),
    /// A number of 16 bytes: a checksum or the chain.
    Hash(u128),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A word.
    Word(&'static str),
    /// Yes or no.
    Flag(bool),
}

/// One record: what it is, where it begins in the file, its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `header`, `frame`, `commit`, `blobs`, `edit`, `checkpoint`, `root`, `node`, `entry`, `row`, `damage`,
    /// `end`.
    pub kind: &'static str,
    /// Offset in bytes from the start of the file. Rows of a tree have that of the root they were found
    /// under.
    pub offset: u64,
    /// Names and values.
    pub fields: Vec<(&'static str, Field)>,
}

impl Record {
    fn new(kind: &'static str, offset: u64) -> Self {
        Record { kind, offset, fields: Vec::new() }
    }

    fn with(mut self, name: &'static str, field: Field) -> Self {
        self.fields.push((name, field));
        self
    }

    fn number(self, name: &'static str, number: impl Into<u64>) -> Self {
        self.with(name, Field::Number(number.into()))
    }

    fn bytes(self, name: &'static str, bytes: &[u8]) -> Self {
        self.with(name, Field::Bytes(bytes.to_vec()))
    }

    fn hash(self, name: &'static str, hash: u128) -> Self {
        self.with(name, Field::Hash(hash))
    }
}

/// Takes records; its error ends the walk.
type Sink<'s> = &'s mut dyn FnMut(Record) -> Result<()>;

/// Hands every record of a file to `sink`: header, frames and what is in them in the order of the file,
/// then the rows of the trees that the last checkpoint names. Goes on past damage, which is a record, too.
///
/// # Errors
/// Those of opening the file and of `sink`; a damaged header.
pub fn records(disk: &dyn Disk, path: &Path, sink: Sink<'_>) -> Result<()> {
    let examined = Examined::open(disk, path)?;
    header_record(&examined, sink)?;
    let opened = ReadOnlyFile::found(examined.clone());
    let end = match &opened {
        Ok(opened) => opened.end.end,
        Err(_) => {
            let (file, keys) = (examined.file.as_ref(), &examined.keys);
            Scan::new(&examined.path, file, keys, examined.len()?).end_of_data()?
        }
    };
    let mut frames = Frames::new(&examined, end);
    let mut print = Printer { sink };
    while let Some(step) = frames.next()? {
        match step {
            Step::Gap(gap) => print.damage(gap.start, gap.end - gap.start, "no frame is here")?,
            Step::Frame(frame) => print.frame(&mut frames, &frame)?,
        }
    }
    if let Ok(opened) = &opened {
        print.rows(opened)?;
    }
    print.end(end, examined.len()?)
}

fn header_record(examined: &Examined, sink: Sink<'_>) -> Result<()> {
    let mut block = vec![0; HEADER_BYTES];
    read_exact_at(examined.file.as_ref(), &mut block, 0)
        .map_err(|source| examined.io_error("read", source))?;
    let mut input = Input::new(&block);
    let record = (|| {
        let mut record = Record::new("header", 0)
            .bytes("magic", input.take(header::DATABASE_MAGIC.len())?)
            .number("version", input.u32()?)
            .number("length", input.u32()?)
            .bytes("salt", input.take(16)?)
            .bytes("creation", input.take(16)?);
        if examined.header.base > 0 {
            record = record.number("base", input.u64()?);
        }
        let record = record.hash("checksum", input.u128()?);
        Some(record.with("zeros", Field::Flag(input.rest().iter().all(|&byte| byte == 0))))
    })();
    record.map_or(Ok(()), sink)
}

/// Prints what is in frames.
struct Printer<'s> {
    sink: Sink<'s>,
}

impl Printer<'_> {
    fn put(&mut self, record: Record) -> Result<()> {
        (self.sink)(record)
    }

    fn damage(&mut self, offset: u64, len: u64, what: &'static str) -> Result<()> {
        self.put(
            Record::new("damage", offset).number("length", len).with("what", Field::Word(what)),
        )
    }

    fn end(&mut self, end: u64, len: u64) -> Result<()> {
        self.put(Record::new("end", end).number("file_length", len))
    }

    fn frame(&mut self, frames: &mut Frames<'_>, found: &FoundFrame) -> Result<()> {
        let header = found.header;
        self.put(frame_record(found))?;
        let Some(payload) = frames.payload(&header)?.map(<[u8]>::to_vec) else {
            let len = u64::from(header.payload_len);
            let what = "a payload does not match its checksum";
            return self.damage(header.payload_offset(), len, what);
        };
        match header.kind {
            Kind::Chunk | Kind::Blobs => Ok(()),
            Kind::Nodes => self.nodes(&header, &payload),
            Kind::Commit => {
                if let Some((head, _)) = CommitHead::decode(&payload) {
                    frames.learn_chain(found, head.chain);
                }
                self.commit(&header, &payload)
            }
            Kind::Checkpoint => {
                if let Some(record) = CheckpointRecord::decode(&payload) {
                    frames.learn_chain(found, record.chain);
                }
                self.checkpoint(&header, &payload)
            }
        }
    }

    fn nodes(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
        let (mut at, mut rest) = (header.payload_offset(), payload);
        while !rest.is_empty() {
            let Some(node) = RawNode::first(rest) else {
                return self.damage(at, length(rest.len()), "no node is here");
            };
            self.node(at, &node)?;
            at += length(node.bytes.len());
            rest = rest.get(node.bytes.len()..).unwrap_or_default();
        }
        Ok(())
    }

    fn node(&mut self, at: u64, node: &RawNode<'_>) -> Result<()> {
        self.put(
            Record::new("node", at)
                .number("length", length(node.bytes.len()))
                .number("crc", crc32fast::hash(node.bytes))
                .number("level", node.level)
                .number("entries", length(node.count()))
                .bytes("prefix", node.prefix()),
        )?;
        for index in 0..node.count() {
            let Ok((key, value)) = node.entry(index) else {
                return self.damage(at, length(node.bytes.len()), "an entry makes no sense");
            };
            let entry = Record::new("entry", at).number("index", length(index)).bytes("key", &key);
            self.put(match value {
                RawValue::Row(value) => entry.bytes("value", value),
                RawValue::Child(child, sum) => entry
                    .number("child_offset", child.offset)
                    .number("child_length", child.len)
                    .number("child_crc", child.crc)
                    .bytes("sum", sum),
            })?;
        }
        Ok(())
    }

    fn commit(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
        let at = header.payload_offset();
        let Some((head, edits)) = CommitHead::decode(payload) else {
            return self.damage(at, length(payload.len()), "no commit is here");
        };
        self.put(
            Record::new("commit", at)
                .number("number", head.number)
                .number("sequence", head.seq)
                .number("previous", head.previous)
                .number("checkpoint", head.checkpoint)
                .number("durable", head.durable)
                .hash("chain", head.chain.0)
                .number("edits_length", head.ops_len)
                .number("edits", head.ops),
        )?;
        let blobs = payload.len() - edits.len() - COMMIT_FIXED_BYTES;
        let blobs_at = at + length(COMMIT_FIXED_BYTES);
        self.put(Record::new("blobs", blobs_at).number("length", length(blobs)))?;
        self.edits(blobs_at + length(blobs), edits, &head)
    }

    fn edits(&mut self, at: u64, edits: &[u8], head: &CommitHead) -> Result<()> {
        let mut sequence = head.seq.saturating_sub(sequences_taken(edits, head.ops).unwrap_or(0));
        let mut input = Input::new(edits);
        for _ in 0..head.ops {
            let offset = at + length(edits.len() - input.rest().len());
            let Some(op) = Op::decode(&mut input) else {
                return self.damage(offset, length(input.rest().len()), "no edit is here");
            };
            sequence += u64::from(op.takes_sequence());
            let record = edit_record(offset, &op);
            self.put(match op.takes_sequence() {
                true => record.number("sequence", sequence),
                false => record,
            })?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
        let at = header.payload_offset();
        let Some(record) = CheckpointRecord::decode(payload) else {
            return self.damage(at, length(payload.len()), "no checkpoint is here");
        };
        self.put(
            Record::new("checkpoint", at)
                .number("number", record.number)
                .number("sequence", record.seq)
                .number("commit", record.commit)
                .number("previous", record.previous)
                .number("replay_from", record.replay_from)
                .hash("replay_chain", record.replay_chain.0)
                .number("durable", record.durable)
                .hash("chain", record.chain.0)
                .number("live", record.counts.live)
                .number("deleted", record.counts.deleted)
                .number("active_bytes", record.counts.active_bytes)
                .number("external_bytes", record.counts.external_bytes),
        )?;
        for (index, (tree, root)) in named(&record.roots).into_iter().enumerate() {
            let offset = at + ROOTS_AT + length(index * Root::ENCODED_BYTES);
            self.put(root_record(offset, tree, root))?;
        }
        Ok(())
    }

    /// The rows of the trees, decoded.
    fn rows(&mut self, opened: &ReadOnlyFile) -> Result<()> {
        let trees = &opened.state.trees;
        for (tree, root) in named(&trees.roots) {
            let Some(node) = root.node else { continue };
            let pages: &dyn Reader = trees.reader.as_ref();
            let tree_of = Tree::new(pages, root, CountEntries);
            let mut cursor = tree_of.cursor(&KeyRange::all(), Direction::Forward);
            loop {
                let row = match cursor.next() {
                    Ok(Some((key, value))) => row_record(node.offset, tree, key, value),
                    Ok(None) => break,
                    Err(Error::Corrupt { offset, what, .. }) => {
                        self.damage(offset, 0, what)?;
                        break;
                    }
                    Err(error) => return Err(error),
                };
                self.put(row.ok_or_else(|| trees.bad_row())?)?;
            }
        }
        Ok(())
    }
}

/// How many sequences a commit's edits take; `None` if they are not edits, or not so many.
pub(super) fn sequences_taken(edits: &[u8], count: u32) -> Option<u64> {
    let mut input = Input::new(edits);
    let mut taken = 0;
    for _ in 0..count {
        taken += u64::from(Op::decode(&mut input)?.takes_sequence());
    }
    input.is_empty().then_some(taken)
}

/// Where the roots begin in a checkpoint.
const ROOTS_AT: u64 = 112;

fn named(roots: &Roots) -> [(&'static str, Root); 3] {
    [("by-id", roots.by_id), ("by-seq", roots.by_seq), ("keys", roots.keys)]
}

fn frame_record(found: &FoundFrame) -> Record {
    let header = &found.header;
    let kind = match header.kind {
        Kind::Chunk => "chunk",
        Kind::Nodes => "nodes",
        Kind::Commit => "commit",
        Kind::Checkpoint => "checkpoint",
        Kind::Blobs => "blobs",
    };
    let (magic, checksum) = (&found.raw[..8], found.raw.last_chunk().copied().unwrap_or_default());
    let record = Record::new("frame", header.offset)
        .bytes("magic", magic)
        .with("kind", Field::Word(kind))
        .number("payload_length", header.payload_len)
        .number("anchor", header.anchor)
        .hash("payload_checksum", header.payload_sum)
        .number("checksum", u64::from_le_bytes(checksum))
        .number("next", header.end());
    match found.after {
        Some(chain) => record.hash("chain_after", chain.0),
        None => record,
    }
}

fn root_record(offset: u64, tree: &'static str, root: Root) -> Record {
    let record =
        Record::new("root", offset).with("tree", Field::Word(tree)).number("height", root.height);
    match root.node {
        None => record,
        Some(node) => record
            .number("node_offset", node.offset)
            .number("node_length", node.len)
            .number("node_crc", node.crc),
    }
}

fn edit_record(offset: u64, op: &Op<'_>) -> Record {
    let record = |tag: u8| Record::new("edit", offset).number("tag", tag);
    match op {
        Op::PutDoc(put) => put_record(record(1), put),
        Op::RemoveDoc { flags, id, old } => {
            with_old(record(2).number("flags", *flags).bytes("id", id), old)
        }
        Op::PutKey { key, value } => record(3).bytes("key", key).bytes("value", value),
        Op::RemoveKey { key } => record(4).bytes("key", key),
        Op::Bump => record(5),
    }
}

fn put_record(record: Record, put: &PutDoc<'_>) -> Record {
    let mut record = record
        .number("flags", put.flags)
        .bytes("id", put.id)
        .number("active_bytes", put.weight.active_bytes)
        .number("external_bytes", put.weight.external_bytes);
    if let Some(old) = &put.old {
        record = with_old(record, old);
    }
    let record = match put.by_id {
        ById::Whole(value) => record.bytes("by_id", value),
        ById::Shared(Delta { head, start, len, tail }) => record
            .bytes("by_id_head", head)
            .number("by_id_start", length(start))
            .number("by_id_length", length(len))
            .bytes("by_id_tail", tail),
    };
    record.bytes("by_seq", put.by_seq)
}

fn with_old(record: Record, old: &LoggedOld) -> Record {
    record
        .number("old_distance", old.distance)
        .number("old_active_bytes", old.weight.active_bytes)
        .number("old_external_bytes", old.weight.external_bytes)
}

/// A row of a tree; `None` if it is not in the form of its tree.
fn row_record(offset: u64, tree: &'static str, key: &[u8], value: &[u8]) -> Option<Record> {
    let record = Record::new("row", offset).with("tree", Field::Word(tree));
    Some(match tree {
        "by-id" => {
            let (seq, weight, at) = rows::decode_doc(value)?;
            record
                .bytes("id", key)
                .number("sequence", seq)
                .with("deleted", Field::Flag(weight.deleted))
                .number("active_bytes", weight.active_bytes)
                .number("external_bytes", weight.external_bytes)
                .bytes("value", value.get(at..)?)
        }
        "by-seq" => {
            let (id, value) = rows::decode_change(value)?;
            record.number("sequence", rows::decode_seq(key)?).bytes("id", id).bytes("value", value)
        }
        _ => {
            let (space, key) = key.split_first()?;
            record.number("space", *space).bytes("key", key).bytes("value", value)
        }
    })
}
