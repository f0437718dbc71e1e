//! What the tests of the store share: random edits, a naive model of what they should lead to, and the
//! comparison of a snapshot with the model in every way a snapshot can be read.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its part"
)]

use std::{
    collections::BTreeMap,
    io::{Read, Seek, SeekFrom},
    ops::Bound,
    sync::Arc,
};

use parking_lot::Mutex;
use settee_storage::{
    BlobRef, Compacted, Compaction, Copier, Counts, Direction, DocWeight, Error, KeyRange,
    Keyspace, NewDocument, OldDocument, Receipt, Result, Seq, Snapshot, StagedStream, Store,
    StreamRef, Transaction, update,
};

/// A small random number generator (splitmix64), so that a seed means the same run everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// Bytes that depend on the seed alone.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        out.extend_from_slice(&random.next().to_le_bytes());
    }
    out.truncate(len);
    out
}

/// One thing an edit does.
#[derive(Clone, Debug)]
pub enum Act {
    Put {
        id: Vec<u8>,
        deleted: bool,
        value: Vec<u8>,
        blob: Option<Vec<u8>>,
    },
    Remove {
        id: Vec<u8>,
    },
    PutKey {
        meta: bool,
        key: Vec<u8>,
        value: Vec<u8>,
    },
    RemoveKey {
        meta: bool,
        key: Vec<u8>,
    },
    /// Refers to a stream under a local key that begins with [`STREAM`].
    Attach {
        key: Vec<u8>,
        staged: StagedStream,
        content: Vec<u8>,
    },
}

/// Local keys that begin like this hold the reference to a stream.
pub const STREAM: &[u8] = b"stream";

/// A by-id value: the reference to a blob, if there is one, and the rest.
fn encode(blob: Option<BlobRef>, value: &[u8]) -> Vec<u8> {
    match blob {
        Some(at) => [&[1], &at.to_bytes()[..], value].concat(),
        None => [&[0], value].concat(),
    }
}

/// Reads a by-id value back.
pub fn decode(stored: &[u8]) -> (Option<BlobRef>, &[u8]) {
    let (flag, rest) = stored.split_first().unwrap();
    match flag {
        0 => (None, rest),
        _ => {
            let (at, value) = rest.split_at(BlobRef::ENCODED_BYTES);
            (BlobRef::from_bytes(at), value)
        }
    }
}

/// A local or meta value without what differs from one file to the next: of a reference, the length.
pub fn plain<'v>(key: &[u8], value: &'v [u8]) -> &'v [u8] {
    if key.starts_with(STREAM) { &value[BlobRef::ENCODED_BYTES..] } else { value }
}

/// One who knows what the values of these tests mean.
#[derive(Debug, Default)]
pub struct Rewriter;

impl Compaction for Rewriter {
    fn another(&self) -> Box<dyn Compaction + '_> {
        Box::new(Rewriter)
    }

    fn document(&mut self, old: OldDocument<'_>, copier: &mut dyn Copier) -> Result<NewDocument> {
        let (blob, value) = decode(old.by_id);
        let blob = match blob {
            // Some are written anew, as those are that hold references.
            Some(at) if at.len % 2 == 1 => {
                Some(copier.rewrite(at, &mut |bytes, _| Ok(Some(bytes.to_vec())))?)
            }
            Some(at) => Some(copier.blob(at)?),
            None => None,
        };
        let (by_id, by_seq) = (encode(blob, value), old.by_seq.to_vec());
        Ok(NewDocument { weight: old.weight, by_id, by_seq })
    }

    fn key(
        &mut self,
        keyspace: Keyspace,
        key: &[u8],
        value: &[u8],
        copier: &mut dyn Copier,
    ) -> Result<Option<Vec<u8>>> {
        Ok(Some(match keyspace == Keyspace::Local && key.starts_with(STREAM) {
            true => copier.stream(StreamRef::from_bytes(value).unwrap())?.to_bytes().to_vec(),
            false => value.to_vec(),
        }))
    }
}

/// Compacts a store of these tests.
pub fn compact(store: &dyn Store) -> Result<Compacted> {
    store.compact(&mut Rewriter, &|_| true)
}

impl Act {
    /// Something to do, over a small set of names so that acts meet each other.
    pub fn random(random: &mut Random, names: u64) -> Act {
        let name = |random: &mut Random| {
            let number = random.below(names);
            // Names of several shapes: empty, long with a shared front, with zero and 0xff bytes.
            match number % 7 {
                0 if number == 0 => Vec::new(),
                1 => format!("{}{number}", "prefix/".repeat(12)).into_bytes(),
                2 => vec![0xff, 0xff, number as u8],
                3 => vec![0, number as u8],
                _ => format!("doc-{number:05}").into_bytes(),
            }
        };
        let small = random.below(60) as usize;
        match random.below(20) {
            0..=12 => Act::Put {
                id: name(random),
                deleted: random.chance(5),
                value: value(random),
                blob: random.chance(2).then(|| {
                    let len = if random.chance(10) { 5000 } else { small };
                    bytes(random.next(), len)
                }),
            },
            13 | 14 => Act::Remove { id: name(random) },
            15 | 16 => Act::PutKey {
                meta: random.chance(3),
                key: name(random),
                value: bytes(random.next(), small),
            },
            17 => Act::PutKey {
                meta: random.chance(3),
                key: name(random),
                value: bytes(random.next(), 300),
            },
            _ => Act::RemoveKey { meta: random.chance(3), key: name(random) },
        }
    }
}

/// Mostly short; sometimes long and alike from one time to the next, as revision trees are.
fn value(random: &mut Random) -> Vec<u8> {
    if !random.chance(4) {
        let len = random.below(40) as usize;
        return bytes(random.next(), len);
    }
    let long = bytes(77, 4096);
    let start = random.below(500) as usize;
    let len = 200 + random.below(1500) as usize;
    [&[start as u8], &long[start..start + len], &bytes(random.next(), 5)].concat()
}

/// What an act did, as the transaction reported it.
#[derive(Clone, Debug)]
pub enum Effect {
    Put { id: Vec<u8>, doc: Doc },
    Removed { id: Vec<u8>, was_there: bool, seq: Seq },
    PutKey { meta: bool, key: Vec<u8>, value: Vec<u8> },
    RemovedKey { meta: bool, key: Vec<u8>, was_there: bool },
    Attached { key: Vec<u8>, content: Vec<u8> },
}

/// A document as the model knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doc {
    pub seq: Seq,
    pub weight: DocWeight,
    /// Without the reference to the blob.
    pub by_id: Vec<u8>,
    pub by_seq: Vec<u8>,
    pub blob: Option<Vec<u8>>,
}

/// Does the acts and checks that the transaction reads what it wrote.
pub fn perform(edit: &mut dyn Transaction, acts: &[Act]) -> Result<Vec<Effect>> {
    acts.iter().map(|act| perform_one(edit, act)).collect()
}

fn perform_one(edit: &mut dyn Transaction, act: &Act) -> Result<Effect> {
    Ok(match act {
        Act::Put { id, deleted, value, blob } => {
            let stored = match blob {
                Some(bytes) => Some((edit.put_blob(bytes)?, bytes.clone())),
                None => None,
            };
            if let Some((at, bytes)) = &stored {
                assert_eq!(&edit.blob(*at)?[..], &bytes[..]);
            }
            let weight = DocWeight {
                deleted: *deleted,
                active_bytes: value.len() as u64,
                external_bytes: id.len() as u64,
            };
            let by_seq = [b"change of ", &id[..]].concat();
            let written = encode(stored.as_ref().map(|(at, _)| *at), value);
            let seq = edit.put_doc(id, weight, &written, &by_seq)?;
            assert_eq!(edit.seq(), seq);
            let read = edit.doc(id)?.expect("just written");
            assert_eq!((read.seq, read.weight, &read.value[..]), (seq, weight, &written[..]));
            let doc = Doc { seq, weight, by_id: value.clone(), by_seq, blob: blob.clone() };
            Effect::Put { id: id.clone(), doc }
        }
        Act::Remove { id } => {
            let was_there = edit.remove_doc(id)?;
            assert!(edit.doc(id)?.is_none());
            Effect::Removed { id: id.clone(), was_there, seq: edit.seq() }
        }
        Act::PutKey { meta, key, value } => {
            if *meta {
                edit.put_meta(key, value)?;
                assert_eq!(edit.meta(key)?.as_deref(), Some(&value[..]));
            } else {
                edit.put_local(key, value)?;
                assert_eq!(edit.local(key)?.as_deref(), Some(&value[..]));
            }
            Effect::PutKey { meta: *meta, key: key.clone(), value: value.clone() }
        }
        Act::RemoveKey { meta, key } => {
            let was_there = if *meta { edit.remove_meta(key)? } else { edit.remove_local(key)? };
            Effect::RemovedKey { meta: *meta, key: key.clone(), was_there }
        }
        Act::Attach { key, staged, content } => {
            assert!(key.starts_with(STREAM));
            edit.put_local(key, &edit.place(staged).to_bytes())?;
            Effect::Attached { key: key.clone(), content: content.clone() }
        }
    })
}

/// The naive store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub seq: Seq,
    pub docs: BTreeMap<Vec<u8>, Doc>,
    pub locals: BTreeMap<Vec<u8>, Vec<u8>>,
    pub metas: BTreeMap<Vec<u8>, Vec<u8>>,
    /// By the local keys that refer to them.
    pub streams: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Model {
    /// Follows what an edit did, checking that it did what it should.
    pub fn absorb(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Put { id, doc } => {
                    self.seq += 1;
                    assert_eq!(doc.seq, self.seq, "sequences are dense");
                    self.docs.insert(id.clone(), doc.clone());
                }
                Effect::Removed { id, was_there, seq } => {
                    assert_eq!(self.docs.remove(id).is_some(), *was_there);
                    self.seq += u64::from(*was_there);
                    assert_eq!(*seq, self.seq);
                }
                Effect::PutKey { meta, key, value } => {
                    self.keys(*meta).insert(key.clone(), value.clone());
                }
                Effect::Attached { key, content } => {
                    let len = (content.len() as u64).to_le_bytes();
                    self.locals.insert(key.clone(), len.to_vec());
                    self.streams.insert(key.clone(), content.clone());
                }
                Effect::RemovedKey { meta, key, was_there } => {
                    assert_eq!(self.keys(*meta).remove(key).is_some(), *was_there);
                }
            }
        }
    }

    fn keys(&mut self, meta: bool) -> &mut BTreeMap<Vec<u8>, Vec<u8>> {
        if meta { &mut self.metas } else { &mut self.locals }
    }

    fn counts<'d>(docs: impl Iterator<Item = &'d Doc>) -> Counts {
        docs.fold(Counts::default(), |sum, doc| sum + doc.weight.into())
    }

    /// Runs the acts as one edit and follows them.
    pub fn update(&mut self, store: &Arc<dyn Store>, acts: Vec<Act>) -> Result<()> {
        let effects = update(store, move |edit| perform(edit, &acts))?;
        self.absorb(&effects);
        Ok(())
    }

    /// Compares a snapshot with the model in every way; ranges and positions are random.
    pub fn check(&self, snapshot: &dyn Snapshot, random: &mut Random) {
        assert_eq!(snapshot.seq(), self.seq);
        assert_eq!(snapshot.counts(), Self::counts(self.docs.values()));
        self.check_gets(snapshot, random);
        self.check_docs(snapshot, &KeyRange::all(), 0);
        self.check_changes(snapshot, 0);
        check_keys(snapshot, false, &self.locals, &KeyRange::all());
        check_keys(snapshot, true, &self.metas, &KeyRange::all());
        for _ in 0..6 {
            let range = self.random_range(random);
            self.check_docs(snapshot, &range, random.below(8));
            check_keys(snapshot, false, &self.locals, &range);
            check_keys(snapshot, true, &self.metas, &range);
            self.check_changes(snapshot, random.below(self.seq + 3));
        }
        for (key, content) in &self.streams {
            let stored = snapshot.local(key).unwrap().expect("a stream's key");
            check_stream(snapshot, StreamRef::from_bytes(&stored).unwrap(), content, random);
        }
    }

    fn check_gets(&self, snapshot: &dyn Snapshot, random: &mut Random) {
        for (id, doc) in &self.docs {
            let entry = snapshot.doc(id).unwrap().unwrap_or_else(|| panic!("{id:?} is missing"));
            let (at, value) = decode(&entry.value);
            let expected = (doc.seq, doc.weight, &doc.by_id[..]);
            assert_eq!((entry.seq, entry.weight, value), expected, "{id:?}");
            let blob = at.map(|at| snapshot.blob(at).unwrap().to_vec());
            assert_eq!(blob, doc.blob);
        }
        for (key, value) in &self.locals {
            let found = snapshot.local(key).unwrap().expect("a local key");
            assert_eq!(plain(key, &found), &value[..]);
        }
        for (key, value) in &self.metas {
            assert_eq!(snapshot.meta(key).unwrap().as_deref(), Some(&value[..]));
        }
        let stranger = bytes(random.next(), 9);
        assert!(snapshot.doc(&stranger).unwrap().is_none());
        assert!(snapshot.local(&stranger).unwrap().is_none());
        assert!(snapshot.meta(&stranger).unwrap().is_none());
    }

    /// Ends on keys that are there, that are not, and open ones; also ranges that hold nothing.
    fn random_range(&self, random: &mut Random) -> KeyRange {
        let mut end = || {
            let mut key = match self.docs.keys().nth(random.below(self.docs.len() as u64) as usize)
            {
                Some(id) => id.clone(),
                None => Vec::new(),
            };
            if random.chance(3) {
                key.push(random.below(256) as u8);
            }
            match random.below(5) {
                0 => Bound::Unbounded,
                1 | 2 => Bound::Included(key),
                _ => Bound::Excluded(key),
            }
        };
        KeyRange { start: end(), end: end() }
    }

    fn check_docs(&self, snapshot: &dyn Snapshot, range: &KeyRange, skip: u64) {
        let inside = || self.docs.iter().filter(|(id, _)| contains(range, id));
        let counts = snapshot.count_docs(range).unwrap();
        assert_eq!(counts, Self::counts(inside().map(|(_, doc)| doc)), "{range:?}");
        for live_only in [false, true] {
            let mut rows: Vec<_> =
                inside().filter(|(_, doc)| !(live_only && doc.weight.deleted)).collect();
            for direction in [Direction::Forward, Direction::Backward] {
                let mut cursor = snapshot.docs(range, direction, live_only).unwrap();
                let skipped = cursor.skip(skip).unwrap();
                assert_eq!(skipped, skip.min(rows.len() as u64));
                for (id, doc) in rows.iter().skip(skip as usize) {
                    let row = cursor.next().unwrap().expect("a row is missing");
                    assert_eq!(row.id, &id[..], "{range:?} {direction:?}");
                    assert_eq!(
                        (row.seq, row.weight, decode(row.value).1),
                        (doc.seq, doc.weight, &doc.by_id[..])
                    );
                }
                assert!(cursor.next().unwrap().is_none());
                assert!(cursor.next().unwrap().is_none(), "the end stays the end");
                rows.reverse();
            }
        }
    }

    fn check_changes(&self, snapshot: &dyn Snapshot, since: Seq) {
        let mut changes: Vec<_> = self.docs.iter().filter(|(_, doc)| doc.seq > since).collect();
        changes.sort_by_key(|(_, doc)| doc.seq);
        assert_eq!(snapshot.count_changes(since).unwrap(), changes.len() as u64, "since {since}");
        for direction in [Direction::Forward, Direction::Backward] {
            let mut cursor = snapshot.changes(since, direction).unwrap();
            for (id, doc) in &changes {
                let change = cursor.next().unwrap().expect("a change is missing");
                assert_eq!(
                    (change.seq, change.id, change.value),
                    (doc.seq, &id[..], &doc.by_seq[..])
                );
            }
            assert!(cursor.next().unwrap().is_none());
            changes.reverse();
        }
    }
}

fn contains(range: &KeyRange, key: &[u8]) -> bool {
    let after_start = match &range.start {
        Bound::Included(start) => key >= &start[..],
        Bound::Excluded(start) => key > &start[..],
        Bound::Unbounded => true,
    };
    let before_end = match &range.end {
        Bound::Included(end) => key <= &end[..],
        Bound::Excluded(end) => key < &end[..],
        Bound::Unbounded => true,
    };
    after_start && before_end
}

fn check_keys(
    snapshot: &dyn Snapshot,
    meta: bool,
    expected: &BTreeMap<Vec<u8>, Vec<u8>>,
    range: &KeyRange,
) {
    let mut rows: Vec<_> = expected.iter().filter(|(key, _)| contains(range, key)).collect();
    for direction in [Direction::Forward, Direction::Backward] {
        let mut cursor = if meta {
            snapshot.metas(range, direction).unwrap()
        } else {
            snapshot.locals(range, direction).unwrap()
        };
        for (key, value) in &rows {
            let found = cursor.next().unwrap().map(|(key, value)| (key, plain(key, value)));
            assert_eq!(found, Some((&key[..], &value[..])));
        }
        assert_eq!(cursor.next().unwrap(), None);
        rows.reverse();
    }
}

/// Reads a stream as a whole and in random parts.
pub fn check_stream(snapshot: &dyn Snapshot, at: StreamRef, expected: &[u8], random: &mut Random) {
    let mut reader = snapshot.stream(at).unwrap();
    let mut whole = Vec::new();
    reader.read_to_end(&mut whole).unwrap();
    assert!(whole == expected, "a stream of {} bytes came back different", expected.len());
    for _ in 0..4 {
        let start = random.below(expected.len() as u64 + 1) as usize;
        let len = random.below((expected.len() - start) as u64 + 1) as usize;
        reader.seek(SeekFrom::Start(start as u64)).unwrap();
        let mut part = vec![0; len];
        reader.read_exact(&mut part).unwrap();
        assert!(part == expected[start..start + len]);
    }
}

/// Writes a stream in pieces of random size.
pub fn write_stream(
    store: &Arc<dyn Store>,
    bytes: &[u8],
    random: &mut Random,
) -> Result<StagedStream> {
    let mut writer = Arc::clone(store).stream()?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let most = if random.chance(2) { 100 } else { 400_000 };
        let (piece, later) = rest.split_at(rest.len().min(1 + random.below(most) as usize));
        writer.write(piece)?;
        rest = later;
    }
    writer.finish()
}

/// An edit of a group; `Ok(None)` declines.
pub type GroupEdit<T> = Box<dyn FnOnce(&mut dyn Transaction) -> Result<Option<T>> + Send>;
/// What the edits of a group returned, and what became of them.
type Outcomes<T> = Vec<(Option<T>, Result<Receipt>)>;
/// The same while some are still under way.
type Pending<T> = Arc<Mutex<Vec<(Option<T>, Option<Result<Receipt>>)>>>;

/// Submits several edits before any leader runs, so that they make one group, and gives back for each
/// what it returned and what became of it. An edit that returns `Ok(None)` declines.
pub fn submit_group<T: Send + 'static>(
    store: &Arc<dyn Store>,
    edits: Vec<GroupEdit<T>>,
) -> Outcomes<T> {
    let count = edits.len();
    let results: Pending<T> = Arc::new(Mutex::new((0..count).map(|_| (None, None)).collect()));
    let mut leaders = Vec::new();
    for (index, edit) in edits.into_iter().enumerate() {
        let (in_edit, in_done) = (Arc::clone(&results), Arc::clone(&results));
        leaders.extend(Arc::clone(store).submit(
            Box::new(move |transaction| {
                let value = edit(transaction)?;
                let writes = value.is_some();
                in_edit.lock()[index].0 = value;
                Ok(writes)
            }),
            Box::new(move |outcome| {
                let old = in_done.lock()[index].1.replace(outcome);
                assert!(old.is_none(), "told twice");
            }),
        ));
    }
    for leader in leaders {
        leader.run();
    }
    let results = std::mem::take(&mut *results.lock());
    results.into_iter().map(|(value, outcome)| (value, outcome.expect("never told"))).collect()
}

/// An error that an edit may return on purpose.
pub fn refusal() -> Error {
    Error::TooLarge { what: "a test", size: 2, limit: 1 }
}
