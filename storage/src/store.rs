//! The traits a database is built on: [`Store`], its [`Snapshot`]s and its [`Transaction`]s.
//!
//! A store holds, for one database,
//!
//! * **by-id**: document id → opaque value, in byte order of the ids;
//! * **by-seq**: update sequence → the id and an opaque value; each document is in it once, at the
//!   sequence of its latest change;
//! * **local**: a second keyspace of opaque keys and values without sequences;
//! * **meta**: a third, small one for what the engine keeps about the database itself;
//! * **blobs** and **streams**: bytes addressed by an opaque, checksummed reference.
//!
//! The two indexes and the two keyspaces are sorted by memcmp. Everything a snapshot shows belongs to
//! one moment; everything one edit writes becomes durable and visible together or not at all.

use std::{
    io::{Read, Seek},
    ops::{Add, AddAssign, Bound, Deref, Sub, SubAssign},
    sync::Arc,
};

use parking_lot::{Condvar, Mutex};

use crate::{
    compaction::{Compacted, Compaction, Watch},
    error::{Error, Result},
};

/// An update sequence. The first change of a database has sequence 1; each edited document takes the
/// next one.
pub type Seq = u64;

/// Longest key of any keyspace (document ids included), in bytes.
pub const MAX_KEY_BYTES: usize = 16 * 1024;
/// Longest value of any index or keyspace, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024 * 1024;
/// Longest blob, in bytes. Longer things are streams.
pub const MAX_BLOB_BYTES: usize = 256 * 1024 * 1024;

/// What one document adds to the [`Counts`] of its database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DocWeight {
    /// The document's winning revision is a tombstone.
    pub deleted: bool,
    /// Bytes of the file that are there for this document: present bodies, attachments and index entries.
    pub active_bytes: u64,
    /// Bytes of the same as the user sees them (JSON text, attachments uncompressed).
    pub external_bytes: u64,
}

/// Sums over a range of documents, kept in the inner nodes of the by-id index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Documents that are not deleted.
    pub live: u64,
    /// Documents whose winner is a tombstone.
    pub deleted: u64,
    /// Sum of [`DocWeight::active_bytes`].
    pub active_bytes: u64,
    /// Sum of [`DocWeight::external_bytes`].
    pub external_bytes: u64,
}

impl Counts {
    /// All documents, deleted ones included.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.live + self.deleted
    }
}

impl From<DocWeight> for Counts {
    fn from(weight: DocWeight) -> Self {
        Counts {
            live: u64::from(!weight.deleted),
            deleted: u64::from(weight.deleted),
            active_bytes: weight.active_bytes,
            external_bytes: weight.external_bytes,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.live += other.live;
        self.deleted += other.deleted;
        self.active_bytes += other.active_bytes;
        self.external_bytes += other.external_bytes;
    }
}

impl Add for Counts {
    type Output = Self;
    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl SubAssign for Counts {
    fn sub_assign(&mut self, other: Self) {
        self.live -= other.live;
        self.deleted -= other.deleted;
        self.active_bytes -= other.active_bytes;
        self.external_bytes -= other.external_bytes;
    }
}

impl Sub for Counts {
    type Output = Self;
    fn sub(mut self, other: Self) -> Self {
        self -= other;
        self
    }
}

/// Where a blob is. Opaque to the engine, which stores it inside its own values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlobRef {
    /// Byte offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u32,
    /// CRC-32 of the bytes.
    pub crc: u32,
}

impl BlobRef {
    /// Length of the encoded form.
    pub const ENCODED_BYTES: usize = 16;

    /// The form in which a reference is stored inside a value: three little-endian numbers.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::ENCODED_BYTES] {
        let mut out = [0; Self::ENCODED_BYTES];
        out[..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..12].copy_from_slice(&self.len.to_le_bytes());
        out[12..].copy_from_slice(&self.crc.to_le_bytes());
        out
    }

    /// Reads [`BlobRef::to_bytes`] back; `None` if the length is not right.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(BlobRef {
            offset: u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?),
            len: u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?),
            crc: u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?),
        })
    }
}

/// Where a stream (an attachment) is: the blob that lists its chunks, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamRef {
    /// The chunk list.
    pub index: BlobRef,
    /// Length of the stream in bytes.
    pub len: u64,
}

impl StreamRef {
    /// Length of the encoded form.
    pub const ENCODED_BYTES: usize = BlobRef::ENCODED_BYTES + 8;

    /// The form in which a reference is stored inside a value.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::ENCODED_BYTES] {
        let mut out = [0; Self::ENCODED_BYTES];
        out[..BlobRef::ENCODED_BYTES].copy_from_slice(&self.index.to_bytes());
        out[BlobRef::ENCODED_BYTES..].copy_from_slice(&self.len.to_le_bytes());
        out
    }

    /// Reads [`StreamRef::to_bytes`] back; `None` if the length is not right.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let index = BlobRef::from_bytes(bytes)?;
        let len = bytes.get(BlobRef::ENCODED_BYTES..Self::ENCODED_BYTES)?;
        Some(StreamRef { index, len: u64::from_le_bytes(len.try_into().ok()?) })
    }
}

/// A stream in the store that no edit refers to yet. While it or a clone of it lives, compaction keeps the
/// stream, and [`Transaction::place`] says where it is now.
#[derive(Clone, Debug)]
pub struct StagedStream {
    place: Arc<Mutex<StreamRef>>,
}

impl StagedStream {
    pub(crate) fn new(at: StreamRef) -> Self {
        StagedStream { place: Arc::new(Mutex::new(at)) }
    }

    /// Length of the stream in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.at().len
    }

    pub(crate) fn at(&self) -> StreamRef {
        *self.place.lock()
    }

    /// It was copied into the file that takes the place of the one it was in.
    pub(crate) fn moved(&self, to: StreamRef) {
        *self.place.lock() = to;
    }

    /// Whether nobody but the caller holds it.
    pub(crate) fn is_forgotten(&self) -> bool {
        Arc::strong_count(&self.place) == 1
    }
}

impl PartialEq for StagedStream {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.place, &other.place)
    }
}

impl Eq for StagedStream {}

/// Bytes read from a snapshot: borrowed from the mapped file or the snapshot's memory where possible.
#[derive(Debug)]
pub enum Value<'s> {
    /// Borrowed from the snapshot.
    Borrowed(&'s [u8]),
    /// Copied, because the source does not live as long as the snapshot.
    Owned(Vec<u8>),
}

impl Deref for Value<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Value::Borrowed(bytes) => bytes,
            Value::Owned(bytes) => bytes,
        }
    }
}

/// A document's entry in the by-id index.
#[derive(Debug)]
pub struct DocEntry<'s> {
    /// Sequence of its latest change.
    pub seq: Seq,
    /// What it adds to the counts.
    pub weight: DocWeight,
    /// What the engine stored.
    pub value: Value<'s>,
}

/// One row of a [`DocCursor`]; valid until the cursor moves.
#[derive(Debug)]
pub struct DocRow<'c> {
    /// Document id.
    pub id: &'c [u8],
    /// Sequence of its latest change.
    pub seq: Seq,
    /// What it adds to the counts.
    pub weight: DocWeight,
    /// What the engine stored.
    pub value: &'c [u8],
}

/// One row of a [`ChangeCursor`]; valid until the cursor moves.
#[derive(Debug)]
pub struct Change<'c> {
    /// Sequence of the change.
    pub seq: Seq,
    /// Document id.
    pub id: &'c [u8],
    /// What the engine stored for the feed.
    pub value: &'c [u8],
}

/// Which way a cursor walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

/// A range of keys in ascending terms, whatever the direction of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Lower end.
    pub start: Bound<Vec<u8>>,
    /// Upper end.
    pub end: Bound<Vec<u8>>,
}

impl KeyRange {
    /// All keys.
    #[must_use]
    pub fn all() -> Self {
        KeyRange { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// The keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        match end.last_mut() {
            Some(last) => {
                *last += 1;
                KeyRange { start: Bound::Included(prefix.to_vec()), end: Bound::Excluded(end) }
            }
            None => KeyRange { start: Bound::Included(prefix.to_vec()), end: Bound::Unbounded },
        }
    }
}

/// Walks documents in the order of their ids.
pub trait DocCursor: Send {
    /// The next document, or `None` at the end of the range.
    fn next(&mut self) -> Result<Option<DocRow<'_>>>;
    /// Passes over `rows` documents that satisfy the cursor's `live_only`; returns how many there were.
    fn skip(&mut self, rows: u64) -> Result<u64>;
}

/// Walks changes in the order of their sequences.
pub trait ChangeCursor: Send {
    /// The next change, or `None` at the end.
    fn next(&mut self) -> Result<Option<Change<'_>>>;
}

/// Walks the local keyspace.
pub trait LocalCursor: Send {
    /// The next key and value, or `None` at the end of the range.
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>>;
}

/// Reading and seeking in a stream.
pub trait StreamReader: Read + Seek + Send {}
impl<T: Read + Seek + Send> StreamReader for T {}

/// One moment of the database. Cheap to take; unaffected by writers and by compaction.
pub trait Snapshot: Send + Sync {
    /// Sequence of the newest change in this snapshot; 0 for a new database.
    fn seq(&self) -> Seq;
    /// Sums over all documents.
    fn counts(&self) -> Counts;
    /// Sums over the documents in a range of ids, in O(log n).
    fn count_docs(&self, range: &KeyRange) -> Result<Counts>;
    /// How many documents changed after `since`, in O(log n).
    fn count_changes(&self, since: Seq) -> Result<u64>;
    /// A document's entry.
    fn doc(&self, id: &[u8]) -> Result<Option<DocEntry<'_>>>;
    /// Walks documents; `live_only` passes over those whose weight says deleted.
    fn docs<'s>(
        &'s self,
        range: &KeyRange,
        direction: Direction,
        live_only: bool,
    ) -> Result<Box<dyn DocCursor + 's>>;
    /// Walks the changes after `since` (exclusive). Backwards it begins at the newest and ends after `since`.
    fn changes<'s>(
        &'s self,
        since: Seq,
        direction: Direction,
    ) -> Result<Box<dyn ChangeCursor + 's>>;
    /// A value of the local keyspace.
    fn local(&self, key: &[u8]) -> Result<Option<Value<'_>>>;
    /// Walks the local keyspace.
    fn locals<'s>(
        &'s self,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<Box<dyn LocalCursor + 's>>;
    /// A value of the meta keyspace.
    fn meta(&self, key: &[u8]) -> Result<Option<Value<'_>>>;
    /// Walks the meta keyspace.
    fn metas<'s>(
        &'s self,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<Box<dyn LocalCursor + 's>>;
    /// A blob, its checksum verified.
    fn blob(&self, at: BlobRef) -> Result<Value<'_>>;
    /// A stream. The reader keeps what it needs of the snapshot.
    fn stream(&self, at: StreamRef) -> Result<Box<dyn StreamReader>>;
    /// A stream that another document is to share, held until an edit refers to it. `None` if a
    /// compaction has replaced the file that this snapshot reads; [`share`] copies the stream then.
    fn stage(&self, at: StreamRef) -> Result<Option<StagedStream>>;
}

/// The view and the pen of one edit. Reads see the latest state: everything committed, everything done
/// by edits ahead in the same group, and what this edit wrote itself.
pub trait Transaction {
    /// Sequence of the newest change so far.
    fn seq(&self) -> Seq;
    /// A document's latest entry.
    fn doc(&self, id: &[u8]) -> Result<Option<DocEntry<'_>>>;
    /// Writes a document: gives it the next sequence, replaces its by-id entry, moves its by-seq entry.
    fn put_doc(&mut self, id: &[u8], weight: DocWeight, by_id: &[u8], by_seq: &[u8])
    -> Result<Seq>;
    /// Removes a document from both indexes as if it had never been (purge); true if it was there, and
    /// then it takes a sequence, too.
    fn remove_doc(&mut self, id: &[u8]) -> Result<bool>;
    /// Takes the next sequence without changing a document, so that whoever follows the sequence notices
    /// a change of another kind.
    fn bump(&mut self) -> Result<Seq>;
    /// A local value, latest state.
    fn local(&self, key: &[u8]) -> Result<Option<Value<'_>>>;
    /// Writes a local value.
    fn put_local(&mut self, key: &[u8], value: &[u8]) -> Result<()>;
    /// Removes a local value; true if it was there.
    fn remove_local(&mut self, key: &[u8]) -> Result<bool>;
    /// A meta value, latest state.
    fn meta(&self, key: &[u8]) -> Result<Option<Value<'_>>>;
    /// Writes a meta value.
    fn put_meta(&mut self, key: &[u8], value: &[u8]) -> Result<()>;
    /// Removes a meta value; true if it was there.
    fn remove_meta(&mut self, key: &[u8]) -> Result<bool>;
    /// Stores a blob with this edit.
    fn put_blob(&mut self, bytes: &[u8]) -> Result<BlobRef>;
    /// A blob, also one written by this group and not yet in the file.
    fn blob(&self, at: BlobRef) -> Result<Value<'_>>;
    /// Where a stream is that was staged ahead of this edit: the reference for the values it writes. It
    /// holds for this edit only, since a compaction may come before the next.
    fn place(&self, staged: &StagedStream) -> StreamRef {
        staged.at()
    }
}

/// A stream on its way into the store. Its bytes are in the file when [`StreamWriter::finish`] returns,
/// and durable together with the edit that stores the reference. A writer dropped unfinished leaves only
/// unreferenced bytes, which compaction drops.
pub trait StreamWriter: Send {
    /// Appends bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Ends the stream.
    fn finish(self: Box<Self>) -> Result<StagedStream>;
}

/// What an edit does. It runs once, on the thread of the group's leader, and must not block. `false`
/// drops everything it wrote; so does an error, which is then the edit's outcome.
pub type Edit = Box<dyn FnOnce(&mut dyn Transaction) -> Result<bool> + Send>;

/// What became of an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The edit took effect and is durable; false if it declined to write.
    pub committed: bool,
    /// Sequence of the database after the edit's group.
    pub seq: Seq,
}

/// Called once, when an edit is durable, declined or failed. Must be short: the whole group waits.
pub type Done = Box<dyn FnOnce(Result<Receipt>) + Send>;

/// The duty to serve the waiting edits, given to the caller whose edit found no leader. Must be run
/// soon, on a thread that may block: until then no edit of this database proceeds.
#[must_use = "until the leader runs, no edit of this database proceeds"]
pub struct Leader(Box<dyn FnOnce() + Send>);

impl Leader {
    /// Wraps the work of a store's leader.
    pub fn new(lead: impl FnOnce() + Send + 'static) -> Self {
        Leader(Box::new(lead))
    }

    /// Serves edits until none waits.
    pub fn run(self) {
        (self.0)();
    }
}

/// Notified after each commit with the new sequence of the database.
pub type Listener = Arc<dyn Fn(Seq) + Send + Sync>;

/// Sizes of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreSizes {
    /// Bytes of the file that hold anything (space prepared ahead not counted).
    pub file_bytes: u64,
}

/// One database's storage.
pub trait Store: Send + Sync {
    /// The newest durable state.
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>>;
    /// Queues an edit. Edits take effect in the order of this call; those that wait together become one
    /// commit. If a [`Leader`] comes back, the caller runs it.
    fn submit(self: Arc<Self>, edit: Edit, done: Done) -> Option<Leader>;
    /// Begins a stream.
    fn stream(self: Arc<Self>) -> Result<Box<dyn StreamWriter>>;
    /// Sets the function that is called after each commit (at most one; the engine's).
    fn listen(&self, listener: Listener);
    /// Sizes.
    fn sizes(&self) -> StoreSizes;
    /// Brings the trees up to date with the commits, so that the next opening has nothing to replay, and
    /// gives back space prepared ahead. Called when a database goes idle and at shutdown.
    fn checkpoint(&self) -> Result<()>;
    /// Copies what is live into a new file, which takes the place of the old one. Reading and writing go
    /// on meanwhile; snapshots taken before stay readable. Stores without garbage do nothing.
    ///
    /// # Errors
    /// [`Error::Busy`] while another compaction of this store runs, [`Error::NoRoom`] if the disk could
    /// not take the copy, [`Error::Cancelled`], those of the job and of the disk. The store is then as it
    /// was.
    fn compact(&self, _job: &mut dyn Compaction, _watch: Watch<'_>) -> Result<Compacted> {
        Ok(Compacted::default())
    }
    /// Whether the disk has room for a compaction, which asks for itself when it begins.
    ///
    /// # Errors
    /// [`Error::NoRoom`], those of the disk.
    fn check_compaction_room(&self) -> Result<()> {
        Ok(())
    }
    /// Refuses every later edit with [`Error::Closed`]; snapshots stay readable. A compaction under way
    /// ends first, without effect.
    fn close(&self);
}

/// Stages a stream that `snapshot` shows, so that another document can share it.
///
/// # Errors
/// Those of reading it, and of writing it anew where that is necessary.
pub fn share(
    store: &Arc<dyn Store>,
    snapshot: &dyn Snapshot,
    at: StreamRef,
) -> Result<StagedStream> {
    const PIECE_BYTES: usize = 64 * 1024;
    if let Some(staged) = snapshot.stage(at)? {
        return Ok(staged);
    }
    let mut reader = snapshot.stream(at)?;
    let mut writer = Arc::clone(store).stream()?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return writer.finish(),
            Ok(len) => writer.write(piece.get(..len).unwrap_or_default())?,
            Err(error) => return Err(stream_error(error)),
        }
    }
}

/// The store's error inside that of a [`StreamReader`].
fn stream_error(error: std::io::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(|source| Error::Io {
        operation: "read a stream of",
        path: "the database".into(),
        source,
    })
}

/// Runs an edit and waits until it is durable.
///
/// # Errors
/// Those of the edit and of the commit.
pub fn update<T: Send + 'static>(
    store: &Arc<dyn Store>,
    edit: impl FnOnce(&mut dyn Transaction) -> Result<T> + Send + 'static,
) -> Result<T> {
    struct Wait<T> {
        value: Option<T>,
        outcome: Option<Result<Receipt>>,
    }
    let wait = Arc::new((Mutex::new(Wait { value: None, outcome: None }), Condvar::new()));
    let (in_edit, in_done) = (wait.clone(), wait.clone());
    let leader = Arc::clone(store).submit(
        Box::new(move |transaction| {
            let value = edit(transaction)?;
            in_edit.0.lock().value = Some(value);
            Ok(true)
        }),
        Box::new(move |outcome| {
            in_done.0.lock().outcome = Some(outcome);
            in_done.1.notify_one();
        }),
    );
    if let Some(leader) = leader {
        leader.run();
    }
    let mut state = wait.0.lock();
    while state.outcome.is_none() {
        wait.1.wait(&mut state);
    }
    match state.outcome.take() {
        Some(Ok(_)) => state.value.take().ok_or(Error::Closed),
        Some(Err(error)) => Err(error),
        None => Err(Error::Closed),
    }
}
