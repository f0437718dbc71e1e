//! `storage/FORMAT.md` held against a real file: a decoder written from that document alone, which knows
//! nothing of the store's code, must find what `settee inspect --raw` prints, record by record and field
//! by field. A difference is a bug in the code or in the document.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::Cell;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use settee_storage::disk::RealDisk;
use settee_storage::{
    BlobRef, Compaction, Copier, DocWeight, FileStore, Keyspace, NewDocument, OldDocument, Options,
    Store, StreamRef, update,
};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128, xxh3_128_with_seed};

/// Reads little-endian numbers, `n` and `bytes` of the document.
struct Input<'b> {
    file: &'b [u8],
    at: usize,
}

impl<'b> Input<'b> {
    fn take(&mut self, len: usize) -> &'b [u8] {
        let bytes = &self.file[self.at..self.at + len];
        self.at += len;
        bytes
    }

    fn number(&mut self, len: usize) -> u64 {
        self.take(len).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn hash(&mut self) -> u128 {
        u128::from_le_bytes(self.take(16).try_into().unwrap())
    }

    fn n(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.number(1);
            number |= (byte & 127) << shift;
            shift += 7;
            if byte < 128 {
                return number;
            }
        }
    }

    fn bytes(&mut self) -> &'b [u8] {
        let len = self.n() as usize;
        self.take(len)
    }
}

fn hex(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn hash(number: u128) -> Value {
    format!("{number:032x}").into()
}

/// A record in the making.
struct Record(Map<String, Value>);

impl Record {
    fn new(kind: &str, offset: usize) -> Self {
        let mut map = Map::new();
        map.insert("record".into(), kind.into());
        map.insert("offset".into(), offset.into());
        Record(map)
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }
}

/// The decoder.
struct Decoder<'f> {
    file: &'f [u8],
    records: Vec<Value>,
    seed: u64,
    magic: [u8; 8],
    chain: u128,
    /// Latest commit or checkpoint frame, latest commit frame, latest checkpoint frame.
    latest: (u64, u64, u64),
    /// Number and sequence of the last commit.
    last: (u64, u64),
    /// Version 2: the checkpoint that the file begins with.
    base: Option<u64>,
    roots: Vec<(&'static str, u64, u64, u64, u64)>,
    counts: [u64; 4],
}

impl<'f> Decoder<'f> {
    fn put(&mut self, record: Record) {
        self.records.push(Value::Object(record.0));
    }

    fn input(&self, at: usize) -> Input<'f> {
        Input { file: self.file, at }
    }

    /// "Header block".
    fn header(file: &'f [u8]) -> Self {
        let mut input = Input { file, at: 0 };
        let magic = input.take(16);
        assert_eq!(magic, b"SETTEE\r\n\x1a\n\0\0\0\0\0\0");
        let (version, length) = (input.number(4), input.number(4));
        let (salt, creation) = (input.take(16), input.take(16));
        let base = match version {
            1 => None,
            2 => Some(input.number(8)),
            _ => panic!("version {version}"),
        };
        let covered = input.at;
        let checksum = input.hash();
        assert_eq!(checksum, xxh3_128(&file[..covered]));
        assert_eq!(length, 4096);
        assert!(file[input.at..4096].iter().all(|byte| *byte == 0));
        let seed = xxh3_64_with_seed(salt, 1);
        let mut frame_magic = xxh3_64_with_seed(salt, 2).to_le_bytes();
        frame_magic[0] |= 1;
        let mut decoder = Decoder {
            file,
            records: Vec::new(),
            seed,
            magic: frame_magic,
            chain: xxh3_128_with_seed(&[salt, creation].concat(), seed),
            latest: (0, 0, 0),
            last: (0, 0),
            base,
            roots: Vec::new(),
            counts: [0; 4],
        };
        let mut record = Record::new("header", 0)
            .with("magic", hex(magic))
            .with("version", version)
            .with("length", length)
            .with("salt", hex(salt))
            .with("creation", hex(creation));
        if let Some(base) = base {
            record = record.with("base", base);
        }
        decoder.put(record.with("checksum", hash(checksum)).with("zeros", true));
        decoder
    }

    /// "Frame". Returns where the next one begins, `None` for zeros.
    fn frame(&mut self, at: usize) -> Option<usize> {
        if self.file[at..].iter().all(|byte| *byte == 0) {
            return None;
        }
        assert_eq!(at % 8, 0);
        let mut input = self.input(at);
        let magic = input.take(8);
        assert_eq!(magic, self.magic);
        let kind = input.number(1);
        assert_eq!(input.number(3), 0);
        let len = input.number(4);
        assert!(len <= 1 << 30);
        assert_eq!(input.number(8), at as u64);
        let anchor = input.number(8);
        assert_eq!(anchor, self.latest.0);
        let payload_checksum = input.hash();
        let checksum = input.number(8);
        assert_eq!(checksum, xxh3_64_with_seed(&self.file[at..at + 48], self.seed));
        let payload = input.take(len as usize);
        assert_eq!(payload_checksum, xxh3_128_with_seed(payload, self.seed));
        let next = input.at.next_multiple_of(8);
        let padding = &self.file[input.at..next];
        assert!(padding.iter().all(|byte| *byte == 0));
        let before = self.chain;
        let chained = [&before.to_le_bytes()[..], &self.file[at..at + 56]].concat();
        self.chain = xxh3_128_with_seed(&chained, self.seed);
        let name = ["chunk", "nodes", "commit", "checkpoint", "blobs"][kind as usize - 1];
        self.put(
            Record::new("frame", at)
                .with("magic", hex(magic))
                .with("kind", name)
                .with("payload_length", len)
                .with("anchor", anchor)
                .with("payload_checksum", hash(payload_checksum))
                .with("checksum", checksum)
                .with("next", next)
                .with("chain_after", hash(self.chain)),
        );
        let (from, to) = (at + 56, at + 56 + len as usize);
        match kind {
            1 => {}
            2 => self.nodes(from, to),
            3 => self.commit(from, to, before),
            4 => self.checkpoint(from, to, before),
            5 if self.base.is_some() => {}
            _ => panic!("kind {kind}"),
        }
        if kind == 3 || kind == 4 {
            self.latest.0 = at as u64;
        }
        Some(next)
    }

    /// "Nodes" and "Nodes frames".
    fn nodes(&mut self, mut at: usize, to: usize) {
        while at < to {
            let node = Node::at(self.file, at);
            let bytes = &self.file[at..at + node.len];
            self.put(
                Record::new("node", at)
                    .with("length", node.len)
                    .with("crc", crc32fast::hash(bytes))
                    .with("level", node.level)
                    .with("entries", node.entries.len())
                    .with("prefix", hex(node.prefix)),
            );
            for (index, (key, value)) in node.entries.iter().enumerate() {
                let entry = Record::new("entry", at).with("index", index).with("key", hex(key));
                self.put(match node.level {
                    0 => entry.with("value", hex(value)),
                    _ => {
                        let mut input = Input { file: value, at: 0 };
                        entry
                            .with("child_offset", input.number(8))
                            .with("child_length", input.number(4))
                            .with("child_crc", input.number(4))
                            .with("sum", hex(&value[16..]))
                    }
                });
            }
            at += node.len;
        }
        assert_eq!(at, to);
    }

    /// "Commit frames".
    fn commit(&mut self, from: usize, to: usize, chain_before: u128) {
        let mut input = self.input(from);
        let (number, sequence) = (input.number(8), input.number(8));
        let (previous, checkpoint, durable) = (input.number(8), input.number(8), input.number(8));
        let chain = input.hash();
        let (edits_length, edits) = (input.number(4), input.number(4));
        assert_eq!(number, self.last.0 + 1);
        assert_eq!((previous, checkpoint), (self.latest.1, self.latest.2));
        assert!(durable <= from as u64 - 56);
        assert_eq!(chain, chain_before);
        self.put(
            Record::new("commit", from)
                .with("number", number)
                .with("sequence", sequence)
                .with("previous", previous)
                .with("checkpoint", checkpoint)
                .with("durable", durable)
                .with("chain", hash(chain))
                .with("edits_length", edits_length)
                .with("edits", edits),
        );
        let edits_at = to - edits_length as usize;
        self.put(Record::new("blobs", from + 64).with("length", edits_at - from - 64));
        let mut input = self.input(edits_at);
        let mut next = self.last.1;
        for _ in 0..edits {
            self.edit(&mut input, &mut next);
        }
        assert_eq!((input.at, next), (to, sequence));
        self.last = (number, sequence);
        self.latest.1 = from as u64 - 56;
    }

    fn edit(&mut self, input: &mut Input<'_>, sequence: &mut u64) {
        let at = input.at;
        let tag = input.number(1);
        let mut record = Record::new("edit", at).with("tag", tag);
        record = match tag {
            1 => put_document(record, input),
            2 => {
                let flags = input.number(1);
                old(record.with("flags", flags).with("id", hex(input.bytes())), input)
            }
            3 => record.with("key", hex(input.bytes())).with("value", hex(input.bytes())),
            4 => record.with("key", hex(input.bytes())),
            5 => record,
            _ => panic!("tag {tag}"),
        };
        if [1, 2, 5].contains(&tag) {
            *sequence += 1;
            record = record.with("sequence", *sequence);
        }
        self.put(record);
    }

    /// "Checkpoint frames".
    fn checkpoint(&mut self, from: usize, to: usize, chain_before: u128) {
        let mut input = self.input(from);
        let names = ["number", "sequence", "commit", "previous", "replay_from"];
        let mut record = Record::new("checkpoint", from);
        for name in names {
            record = record.with(name, input.number(8));
        }
        let at = from as u64 - 56;
        assert!(record.0["number"].as_u64().unwrap() <= self.last.0);
        assert_eq!(record.0["previous"], self.latest.2);
        if self.base == Some(at) {
            assert_eq!((&record.0["number"], &record.0["commit"]), (&json!(0), &json!(0)));
            assert_eq!((&record.0["replay_from"], self.latest.0), (&json!(at), 0));
            self.last = (0, record.0["sequence"].as_u64().unwrap());
        }
        record = record.with("replay_chain", hash(input.hash())).with("durable", input.number(8));
        let chain = input.hash();
        assert_eq!(chain, chain_before);
        record = record.with("chain", hash(chain));
        let names = ["live", "deleted", "active_bytes", "external_bytes"];
        for (name, count) in names.into_iter().zip(&mut self.counts) {
            *count = input.number(8);
            record = record.with(name, *count);
        }
        self.put(record);
        self.roots.clear();
        for tree in ["by-id", "by-seq", "keys"] {
            let at = input.at;
            let (height, offset) = (input.number(1), input.number(8));
            let (len, crc) = (input.number(4), input.number(4));
            let record = Record::new("root", at).with("tree", tree).with("height", height);
            self.put(match height {
                0 => record,
                _ => record
                    .with("node_offset", offset)
                    .with("node_length", len)
                    .with("node_crc", crc),
            });
            self.roots.push((tree, height, offset, len, crc));
        }
        assert_eq!(input.number(5), 0);
        assert_eq!((input.at, to - from), (to, 168));
        self.latest.2 = at;
    }

    /// "The trees": rows, and sums of inner nodes held against the rows below them.
    fn rows(&mut self) {
        for (tree, height, offset, len, crc) in self.roots.clone() {
            if height == 0 {
                continue;
            }
            let first = self.records.len();
            let sum = self.subtree(tree, offset, (offset, len, crc), height - 1);
            let rows = (self.records.len() - first) as u64;
            match tree {
                "by-id" => assert_eq!(sum, self.counts),
                "by-seq" => assert_eq!(sum[0], self.counts[0] + self.counts[1]),
                _ => {}
            }
            if tree != "by-id" {
                assert_eq!(sum[0], rows);
            }
        }
    }

    fn subtree(
        &mut self,
        tree: &str,
        root: u64,
        (offset, len, crc): (u64, u64, u64),
        level: u64,
    ) -> [u64; 4] {
        let (at, len) = (offset as usize, len as usize);
        assert_eq!(u64::from(crc32fast::hash(&self.file[at..at + len])), crc);
        let node = Node::at(self.file, at);
        assert_eq!((node.len, u64::from(node.level)), (len, level));
        let mut total = [0; 4];
        for (key, value) in &node.entries {
            let sum = match level {
                0 => self.row(tree, root, key, value),
                _ => {
                    let mut input = Input { file: value, at: 0 };
                    let child = (input.number(8), input.number(4), input.number(4));
                    let below = self.subtree(tree, root, child, level - 1);
                    assert_eq!(stored_sum(tree, &value[16..]), below);
                    below
                }
            };
            for (total, part) in total.iter_mut().zip(sum) {
                *total += part;
            }
        }
        total
    }

    /// Puts a row and returns what it adds to the sum.
    fn row(&mut self, tree: &str, root: u64, key: &[u8], value: &[u8]) -> [u64; 4] {
        let mut input = Input { file: value, at: 0 };
        let record = Record::new("row", root as usize).with("tree", tree);
        match tree {
            "by-id" => {
                let (sequence, flags) = (input.n(), input.number(1));
                let (active, external) = (input.n(), input.n());
                self.put(
                    record
                        .with("id", hex(key))
                        .with("sequence", sequence)
                        .with("deleted", flags & 1 == 1)
                        .with("active_bytes", active)
                        .with("external_bytes", external)
                        .with("value", hex(&value[input.at..])),
                );
                [1 - (flags & 1), flags & 1, active, external]
            }
            "by-seq" => {
                let sequence = u64::from_be_bytes(key.try_into().unwrap());
                let id = hex(input.bytes());
                let record = record.with("sequence", sequence).with("id", id);
                self.put(record.with("value", hex(&value[input.at..])));
                [1, 0, 0, 0]
            }
            _ => {
                let record = record.with("space", key[0]).with("key", hex(&key[1..]));
                self.put(record.with("value", hex(value)));
                [1, 0, 0, 0]
            }
        }
    }
}

fn stored_sum(tree: &str, bytes: &[u8]) -> [u64; 4] {
    let mut input = Input { file: bytes, at: 0 };
    match tree {
        "by-id" => [input.n(), input.n(), input.n(), input.n()],
        _ => [input.number(bytes.len()), 0, 0, 0],
    }
}

fn put_document(record: Record, input: &mut Input<'_>) -> Record {
    let flags = input.number(1);
    let mut record = record
        .with("flags", flags)
        .with("id", hex(input.bytes()))
        .with("active_bytes", input.n())
        .with("external_bytes", input.n());
    if flags & 2 != 0 {
        record = old(record, input);
    }
    record = match flags & 8 {
        0 => record.with("by_id", hex(input.bytes())),
        _ => record
            .with("by_id_head", hex(input.bytes()))
            .with("by_id_start", input.n())
            .with("by_id_length", input.n())
            .with("by_id_tail", hex(input.bytes())),
    };
    record.with("by_seq", hex(input.bytes()))
}

fn old(record: Record, input: &mut Input<'_>) -> Record {
    record
        .with("old_distance", input.n())
        .with("old_active_bytes", input.n())
        .with("old_external_bytes", input.n())
}

/// A node, taken apart.
struct Node<'f> {
    level: u8,
    prefix: &'f [u8],
    len: usize,
    entries: Vec<(Vec<u8>, &'f [u8])>,
}

impl<'f> Node<'f> {
    fn at(file: &'f [u8], start: usize) -> Self {
        let mut input = Input { file, at: start };
        let level = input.number(1) as u8;
        assert_eq!(input.number(1), 0);
        let (c, p) = (input.number(2) as usize, input.number(2) as usize);
        assert_eq!(input.number(2), 0);
        assert!(c > 0);
        let prefix = input.take(p);
        let heads: Vec<_> = (0..c).map(|_| input.take(4)).collect();
        let places: Vec<_> =
            (0..c).map(|_| (input.number(4) as usize, input.number(2) as usize)).collect();
        let heap = input.at;
        let (mut entries, mut begins) = (Vec::new(), 0);
        for (head, (ends, key_len)) in heads.iter().zip(&places) {
            let in_head = (*key_len).min(4);
            assert!(head[in_head..].iter().all(|byte| *byte == 0));
            let rest = &file[heap + begins..heap + begins + key_len - in_head];
            let value = &file[heap + begins + rest.len()..heap + ends];
            entries.push(([prefix, &head[..in_head], rest].concat(), value));
            begins = *ends;
        }
        assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
        Node { level, prefix, len: heap + begins - start, entries }
    }
}

const ROUNDS: u64 = 40;

/// Rounds of edits, each of every kind.
fn edit(store: &Arc<dyn Store>, rounds: Range<u64>) {
    for round in rounds {
        update(store, move |edit| {
            for number in 0..60u64 {
                let id = format!("{}{}", ["", "a/long/prefix/"][number as usize % 2], number * 7);
                let blob = edit.put_blob(&[round as u8; 100])?;
                let mut value = blob.to_bytes().to_vec();
                value.extend((0..150u64).map(|n| (n * number) as u8));
                let deleted = (number + round) % 11 == 0;
                let weight = DocWeight { deleted, active_bytes: round * 99, external_bytes: 5 };
                edit.put_doc(id.as_bytes(), weight, &value, &value[..20])?;
            }
            edit.put_local(&round.to_be_bytes(), b"local")?;
            edit.remove_local(&round.saturating_sub(3).to_be_bytes())?;
            edit.bump()?;
            edit.remove_doc(b"14").map(drop)
        })
        .unwrap();
    }
}

/// A stream under a local key, and one without bytes under a meta key.
fn attach(store: &Arc<dyn Store>, key: &'static [u8]) -> Vec<u8> {
    let content: Vec<u8> = (0..600_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let mut stream = Arc::clone(store).stream().unwrap();
    stream.write(&content).unwrap();
    let stream = stream.finish().unwrap();
    let empty = Arc::clone(store).stream().unwrap().finish().unwrap();
    update(store, move |edit| {
        let (stream, empty) = (edit.place(&stream), edit.place(&empty));
        edit.put_local(key, &stream.to_bytes())?;
        edit.put_meta(b"empty", &empty.to_bytes())
    })
    .unwrap();
    content
}

/// A file with every kind of frame, edit and node, and streams of several chunks under these keys.
fn make(path: &Path, compacted: bool) -> (Vec<u8>, Vec<(&'static [u8], StreamRef)>) {
    let options = Options { checkpoint_log_bytes: 300_000, ..Options::default() };
    let store: Arc<dyn Store> = FileStore::create(Arc::new(RealDisk), path, options).unwrap();
    let mut keys: Vec<&[u8]> = vec![b"stream"];
    let mut content = attach(&store, b"stream");
    edit(&store, 0..ROUNDS);
    if compacted {
        let meanwhile = Cell::new(true);
        let watch = |_| {
            if meanwhile.take() {
                edit(&store, ROUNDS..ROUNDS + 2);
            }
            true
        };
        store.compact(&mut Keep, &watch).unwrap();
        assert!(!meanwhile.get(), "nothing was written meanwhile");
        content = attach(&store, b"stream 2");
        keys.push(b"stream 2");
        edit(&store, ROUNDS + 2..2 * ROUNDS);
    }
    store.checkpoint().unwrap();
    update(&store, |edit| edit.put_meta(b"last", b"not in the trees")).unwrap();
    let snapshot = store.snapshot().unwrap();
    let place = |key: &[u8]| StreamRef::from_bytes(&snapshot.local(key).unwrap().unwrap()).unwrap();
    let streams = keys.into_iter().map(|key| (key, place(key))).collect();
    store.close();
    (content, streams)
}

/// Says what of the values above refers to something.
struct Keep;

impl Compaction for Keep {
    fn another(&self) -> Box<dyn Compaction + '_> {
        Box::new(Keep)
    }

    fn document(
        &mut self,
        old: OldDocument<'_>,
        copier: &mut dyn Copier,
    ) -> settee_storage::Result<NewDocument> {
        let at = BlobRef::from_bytes(old.by_id).unwrap();
        let copy = copier.blob(at)?.to_bytes();
        let by_id = [&copy[..], &old.by_id[copy.len()..]].concat();
        Ok(NewDocument { weight: old.weight, by_id, by_seq: old.by_seq.to_vec() })
    }

    fn key(
        &mut self,
        _: Keyspace,
        key: &[u8],
        value: &[u8],
        copier: &mut dyn Copier,
    ) -> settee_storage::Result<Option<Vec<u8>>> {
        Ok(Some(match StreamRef::from_bytes(value) {
            Some(at) if key != b"last" => copier.stream(at)?.to_bytes().to_vec(),
            _ => value.to_vec(),
        }))
    }
}

#[test]
fn the_document_says_what_the_file_says() {
    compare(false, &["chunk", "nodes", "commit", "checkpoint"]);
}

#[test]
fn the_document_says_what_a_compacted_file_says() {
    compare(true, &["chunk", "nodes", "commit", "checkpoint", "blobs"]);
}

fn compare(compacted: bool, kinds: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("format.settee");
    let (content, streams) = make(&path, compacted);
    let printed = Command::new(env!("CARGO_BIN_EXE_settee"))
        .args(["inspect", "--raw"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let printed: Vec<Value> = String::from_utf8(printed.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();

    let file = std::fs::read(&path).unwrap();
    let mut decoder = Decoder::header(&file);
    assert_eq!(decoder.base.is_some(), compacted);
    let mut at = 4096;
    while at < file.len()
        && let Some(next) = decoder.frame(at)
    {
        at = next;
    }
    decoder.rows();
    decoder.records.push(json!({ "record": "end", "offset": at, "file_length": file.len() }));
    for (ours, theirs) in decoder.records.iter().zip(&printed) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(decoder.records.len(), printed.len());
    has_everything(&printed, kinds);
    check_blobs(&file, &printed);
    for (_, stream) in streams {
        assert_eq!(read_stream(&file, stream), content);
    }
}

/// The file must be worth the comparison.
fn has_everything(printed: &[Value], kinds: &[&str]) {
    let count = |wanted: &dyn Fn(&Value) -> bool| printed.iter().filter(|it| wanted(it)).count();
    for kind in kinds {
        assert!(count(&|it| it["kind"] == *kind) > 1, "{kind}");
    }
    for tag in 1..=5 {
        assert!(count(&|it| it["record"] == "edit" && it["tag"] == tag) > 0, "tag {tag}");
    }
    assert!(count(&|it| it.get("by_id_head").is_some()) > 0, "shared values");
    assert!(count(&|it| it.get("child_offset").is_some()) > 0, "inner nodes");
    for tree in ["by-id", "by-seq", "keys"] {
        assert!(count(&|it| it["record"] == "row" && it["tree"] == tree) > 1, "{tree}");
    }
}

/// Each blob that a row refers to is where its reference says, in a commit or in a blobs frame.
fn check_blobs(file: &[u8], printed: &[Value]) {
    for row in printed.iter().filter(|it| it["record"] == "row" && it["tree"] == "by-id") {
        let text = row["value"].as_str().unwrap();
        let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
        let reference: Vec<u8> = (0..16).map(byte).collect();
        let mut input = Input { file: &reference, at: 0 };
        let (at, len, crc) = (input.number(8) as usize, input.number(4) as usize, input.number(4));
        let blob = &file[at..at + len];
        assert_eq!((blob.len(), u64::from(crc32fast::hash(blob))), (100, crc));
    }
}

/// "Chunk frames": a stream by its reference.
fn read_stream(file: &[u8], stream: StreamRef) -> Vec<u8> {
    let reference = stream.to_bytes();
    let mut input = Input { file: &reference, at: 0 };
    let (at, len, crc) = (input.number(8) as usize, input.number(4) as usize, input.number(4));
    let length = input.number(8);
    let list = &file[at..at + len];
    assert_eq!(u64::from(crc32fast::hash(list)), crc);
    let mut content = Vec::new();
    let mut input = Input { file: list, at: 0 };
    while input.at < list.len() {
        let (at, len) = (input.number(8) as usize, input.number(4) as usize);
        let chunk = &file[at..at + len];
        assert_eq!(u64::from(crc32fast::hash(chunk)), input.number(4));
        assert!(len == 256 * 1024 || input.at == list.len());
        content.extend_from_slice(chunk);
    }
    assert_eq!(content.len() as u64, length);
    content
}

/// What stands under a tree's root, by "Nodes".
fn leaf_rows(file: &[u8], root: (u64, u64), height: u64) -> Vec<(Vec<u8>, &[u8])> {
    if height == 0 {
        return Vec::new();
    }
    let node = Node::at(file, root.0 as usize);
    assert_eq!((node.len as u64, u64::from(node.level)), (root.1, height - 1));
    let mut rows = Vec::new();
    for (key, value) in node.entries {
        match height {
            1 => rows.push((key, value)),
            _ => {
                let mut input = Input { file: value, at: 0 };
                let child = (input.number(8), input.number(4));
                rows.extend(leaf_rows(file, child, height - 1));
            }
        }
    }
    rows
}

/// "Documents": the texts of all winners in a file that compaction made and nobody wrote to since, and how
/// many of them were packed with a dictionary.
fn texts(file: &[u8]) -> (Vec<(String, String)>, usize) {
    let mut header = Input { file, at: 16 };
    assert_eq!((header.number(4), header.number(4)), (2, 4096));
    header.take(32);
    let base = header.number(8) as usize;
    let mut input = Input { file, at: base + 56 + 112 };
    let mut root = || {
        let (height, place) = (input.number(1), (input.number(8), input.number(4)));
        input.take(4);
        leaf_rows(file, place, height)
    };
    let (by_id, _, keys) = (root(), root(), root());
    let mut packed_bodies = 0;
    let mut text = |value: &[u8]| {
        let mut input = Input { file: value, at: 0 };
        input.n();
        input.number(1);
        input.n();
        input.n();
        assert_eq!(input.number(1) & 4, 0);
        input.take(16);
        input.n();
        let (at, len, crc) = (input.number(8) as usize, input.number(4) as usize, input.number(4));
        let blob = &file[at..at + len];
        assert_eq!(u64::from(crc32fast::hash(blob)), crc);
        let mut input = Input { file: blob, at: 0 };
        input.bytes();
        if blob[input.at] == b'{' {
            return String::from_utf8(blob[input.at..].to_vec()).unwrap();
        }
        assert_eq!(input.number(1), 1);
        let (number, len) = (input.number(4) as u32, input.n() as usize);
        let dictionary = match number {
            0 => &[],
            number => {
                packed_bodies += 1;
                let key = [&[1], &b"dictionary/"[..], &number.to_be_bytes()].concat();
                let value = keys.iter().find(|(found, _)| *found == key).unwrap().1;
                let mut value = Input { file: value, at: 0 };
                value.n();
                assert_eq!(crc32fast::hash(&value.file[value.at..]), number);
                &value.file[value.at..]
            }
        };
        let mut decoder = zstd::bulk::Decompressor::with_dictionary(dictionary).unwrap();
        let text = decoder.decompress(&blob[input.at..], len).unwrap();
        assert_eq!(text.len(), len);
        String::from_utf8(text).unwrap()
    };
    let texts =
        by_id.iter().map(|(id, value)| (String::from_utf8(id.clone()).unwrap(), text(value)));
    (texts.collect(), packed_bodies)
}

#[test]
fn the_document_says_what_packed_bodies_say() {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<(String, String)> = (0..700)
        .map(|n| {
            let kind = ["order", "person"][n % 2];
            let body = match n % 50 {
                0 => format!("{{\"n\":{n}}}"),
                _ => format!(
                    "{{\"type\":\"{kind}\",\"n\":{n},\"text\":\"the words of every {kind}\"}}"
                ),
            };
            (format!("{n:04}"), body)
        })
        .collect();
    let dump = folder.path().join("dump");
    let dumped: String = lines
        .iter()
        .map(|(id, body)| format!("{{\"_id\":\"{id}\",\"_rev\":\"1-{:032x}\",{}\n", 7, &body[1..]))
        .collect();
    std::fs::write(&dump, dumped).unwrap();
    let settee = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_settee"));
        let done = command.args(arguments).arg("--data-dir").arg(folder.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    settee(&["load", "db", "--from", dump.to_str().unwrap()]);
    settee(&["compact", "db"]);
    let path = folder.path().join("db.settee");
    let (found, packed) = texts(&std::fs::read(&path).unwrap());
    assert_eq!(found, lines);
    assert!(packed > 600, "{packed}");
    settee(&["verify", "db"]);
    settee(&["compact", "db", "--no-packing"]);
    let (found, packed) = texts(&std::fs::read(&path).unwrap());
    assert_eq!((found, packed), (lines, 0));
}
