//! Where verified bytes of the file come from: a memory map, or `pread` with a cache of nodes.
//!
//! # The contract of the map
//!
//! * Only bytes below the durable end are touched through the map. The file is never cut below the
//!   durable end, so no access can fall behind the end of the file. Everything else (a stream that is not
//!   committed yet) is read by `pread`.
//! * The map reaches far beyond the end of the file, so that growth seldom needs a new one; each new one
//!   is at least twice as long, so their number is logarithmic. Snapshots keep the one they began with.
//! * Every node and blob is checked against the checksum in its reference before it is used. A node that
//!   was checked once under a map is not checked again; what is read from it is still decoded as if
//!   hostile.
//! * An I/O error under the map kills the process (SIGBUS). That is accepted: nothing acknowledged is lost.

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{
    disk::{File, Map, read_exact_at},
    error::{Error, Result},
    store::{BlobRef, MAX_BLOB_BYTES, Value},
    tree::{NodeRef, Page, Pages},
};

/// Files shorter than this are read by `pread` unless asked otherwise: a map costs a kernel object each,
/// and there may be 100,000 small databases.
pub(crate) const MAP_FROM_BYTES: u64 = 256 * 1024;
/// Shortest map.
const MIN_MAP_BYTES: u64 = 16 * 1024 * 1024;
/// Longest node that is believed.
const MAX_NODE_BYTES: usize = 256 * 1024 * 1024;
/// One remembered verification per this many bytes of file.
const FILE_BYTES_PER_VERIFIED: u64 = 8 * 1024;
/// Most verifications remembered, 8 bytes each.
const MAX_VERIFIED: u64 = 256 * 1024;
/// Fewest verifications remembered.
const MIN_VERIFIED: u64 = 256;
/// Parts of the node cache, each behind its own lock.
const CACHE_SHARDS: u64 = 8;

/// Reads verified nodes and blobs of one file.
pub(crate) trait Reader: Pages + Send + Sync + fmt::Debug {
    /// The bytes of a blob, verified.
    fn blob(&self, at: BlobRef) -> Result<Value<'_>>;
    /// The bytes of a blob that the caller had verified before.
    fn blob_again(&self, at: BlobRef) -> Result<Value<'_>>;
    /// Says that the file is durable up to `end` now. False if a new reader would do better.
    fn advance(&self, end: u64) -> bool;
}

/// Which reader a store uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadBy {
    /// The map for files of some size where the disk has maps, else `pread`.
    #[default]
    Auto,
    /// The map where the disk has maps.
    Map,
    /// `pread` always.
    Pread,
}

/// What readers of one file share.
#[derive(Debug)]
pub(crate) struct Readers {
    file: Arc<RawFile>,
    cache: Arc<NodeCache>,
    by: ReadBy,
}

impl Readers {
    pub(crate) fn new(
        path: Arc<Path>,
        file: Arc<dyn File>,
        by: ReadBy,
        cache_bytes: usize,
    ) -> Self {
        let cache = Arc::new(NodeCache::new(cache_bytes));
        Readers { file: Arc::new(RawFile { path, file }), cache, by }
    }

    /// The file, to be read without verification.
    pub(super) fn raw(&self) -> &dyn File {
        self.file.file.as_ref()
    }

    /// A reader for a file that is durable up to `end`.
    pub(crate) fn reader(&self, end: u64) -> Result<Arc<dyn Reader>> {
        let mapped = match self.by {
            ReadBy::Auto => end >= MAP_FROM_BYTES,
            ReadBy::Map => true,
            ReadBy::Pread => false,
        };
        if mapped && let Some(reader) = MapReader::new(&self.file, end)? {
            return Ok(Arc::new(reader));
        }
        let map_at = if mapped || self.by == ReadBy::Pread { u64::MAX } else { MAP_FROM_BYTES };
        Ok(Arc::new(PreadReader {
            file: Arc::clone(&self.file),
            cache: Arc::clone(&self.cache),
            map_at,
        }))
    }
}

/// A file and its name, read without a map.
#[derive(Debug)]
struct RawFile {
    path: Arc<Path>,
    file: Arc<dyn File>,
}

impl RawFile {
    fn corrupt(&self, offset: u64, what: &'static str) -> Error {
        Error::Corrupt { path: self.path.to_path_buf(), offset, what }
    }

    fn read(&self, offset: u64, len: u32, limit: usize) -> Result<Vec<u8>> {
        let len = self.size(offset, len, limit)?;
        let mut bytes = vec![0; len];
        match read_exact_at(self.file.as_ref(), &mut bytes, offset) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.corrupt(offset, "a reference leads beyond the end of the file"))
            }
            Err(source) => {
                let path = self.path.to_path_buf();
                Err(Error::Io { operation: "read", path, source })
            }
        }
    }

    fn size(&self, offset: u64, len: u32, limit: usize) -> Result<usize> {
        match usize::try_from(len) {
            Ok(len) if len <= limit => Ok(len),
            _ => Err(self.corrupt(offset, "a reference has an impossible length")),
        }
    }

    fn check(&self, bytes: &[u8], offset: u64, crc: u32, what: &'static str) -> Result<()> {
        if crc32fast::hash(bytes) == crc { Ok(()) } else { Err(self.corrupt(offset, what)) }
    }
}

const BAD_NODE: &str = "a tree node does not match its checksum";
const BAD_BLOB: &str = "stored bytes do not match their checksum";

/// Reads through a memory map.
pub(crate) struct MapReader {
    file: Arc<RawFile>,
    map: Map,
    /// Bytes from the start that may be touched.
    durable: AtomicU64,
    len: u64,
    verified: Verified,
}

impl fmt::Debug for MapReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapReader").field("file", &self.file).field("len", &self.len).finish()
    }
}

impl MapReader {
    /// `None` where the disk has no maps.
    fn new(file: &Arc<RawFile>, end: u64) -> Result<Option<Self>> {
        let len = end.saturating_mul(2).max(MIN_MAP_BYTES).next_multiple_of(MIN_MAP_BYTES);
        let map = file.file.map(len).map_err(|source| {
            let path = file.path.to_path_buf();
            Error::Io { operation: "map", path, source }
        })?;
        Ok(map.map(|map| MapReader {
            file: Arc::clone(file),
            map,
            durable: AtomicU64::new(end),
            len,
            verified: Verified::new(end),
        }))
    }

    /// The bytes, if they may be touched through the map.
    fn mapped(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let end = offset.checked_add(u64::try_from(len).ok()?)?;
        if end > self.durable.load(Ordering::Acquire) {
            return None;
        }
        let start = usize::try_from(offset).ok()?;
        (*self.map).as_ref().get(start..start.checked_add(len)?)
    }
}

impl Pages for MapReader {
    fn node(&self, at: NodeRef) -> Result<Page<'_>> {
        let len = self.file.size(at.offset, at.len, MAX_NODE_BYTES)?;
        let Some(bytes) = self.mapped(at.offset, len) else {
            return Err(self.file.corrupt(at.offset, "a tree refers to what is not durable"));
        };
        if !self.verified.contains(at) {
            self.file.check(bytes, at.offset, at.crc, BAD_NODE)?;
            self.verified.insert(at);
        }
        Ok(Page::Borrowed(bytes))
    }

    fn corrupt(&self, at: NodeRef, what: &'static str) -> Error {
        self.file.corrupt(at.offset, what)
    }
}

impl Reader for MapReader {
    fn blob(&self, at: BlobRef) -> Result<Value<'_>> {
        let value = self.blob_again(at)?;
        self.file.check(&value, at.offset, at.crc, BAD_BLOB)?;
        Ok(value)
    }

    fn blob_again(&self, at: BlobRef) -> Result<Value<'_>> {
        let len = self.file.size(at.offset, at.len, MAX_BLOB_BYTES)?;
        match self.mapped(at.offset, len) {
            Some(bytes) => Ok(Value::Borrowed(bytes)),
            None => Ok(Value::Owned(self.file.read(at.offset, at.len, MAX_BLOB_BYTES)?)),
        }
    }

    fn advance(&self, end: u64) -> bool {
        if end > self.len {
            return false;
        }
        self.durable.fetch_max(end, Ordering::Release);
        true
    }
}

/// Which nodes were checked already: a direct-mapped table of tags. A collision costs a second check.
struct Verified(Box<[AtomicU64]>);

impl Verified {
    fn new(file_bytes: u64) -> Self {
        let wanted = (file_bytes / FILE_BYTES_PER_VERIFIED).clamp(MIN_VERIFIED, MAX_VERIFIED);
        Verified((0..wanted.next_power_of_two()).map(|_| AtomicU64::new(0)).collect())
    }

    /// A number that stands for the reference; the low bit is set, so that it is never the empty slot.
    fn tag(at: NodeRef) -> u64 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let sizes = u64::from(at.len) << 32 | u64::from(at.crc);
        let mixed = at.offset.wrapping_mul(ODD) ^ sizes.wrapping_mul(ODD).rotate_left(29);
        (mixed ^ mixed >> 31).wrapping_mul(ODD) | 1
    }

    fn slot(&self, tag: u64) -> Option<&AtomicU64> {
        let index = usize::try_from(tag >> 32).ok()? & (self.0.len() - 1);
        self.0.get(index)
    }

    fn contains(&self, at: NodeRef) -> bool {
        let tag = Self::tag(at);
        // Relaxed is enough: the tag says something about immutable bytes and orders nothing.
        self.slot(tag).is_some_and(|slot| slot.load(Ordering::Relaxed) == tag)
    }

    fn insert(&self, at: NodeRef) {
        let tag = Self::tag(at);
        if let Some(slot) = self.slot(tag) {
            slot.store(tag, Ordering::Relaxed);
        }
    }
}

/// Reads by `pread`.
#[derive(Debug)]
struct PreadReader {
    file: Arc<RawFile>,
    cache: Arc<NodeCache>,
    /// A map is the better choice when the file has grown to this.
    map_at: u64,
}

impl Pages for PreadReader {
    fn node(&self, at: NodeRef) -> Result<Page<'_>> {
        if let Some(bytes) = self.cache.get(at) {
            return Ok(Page::Shared(bytes));
        }
        let bytes: Arc<[u8]> = self.file.read(at.offset, at.len, MAX_NODE_BYTES)?.into();
        self.file.check(&bytes, at.offset, at.crc, BAD_NODE)?;
        self.cache.insert(at, &bytes);
        Ok(Page::Shared(bytes))
    }

    fn corrupt(&self, at: NodeRef, what: &'static str) -> Error {
        self.file.corrupt(at.offset, what)
    }
}

impl Reader for PreadReader {
    fn blob(&self, at: BlobRef) -> Result<Value<'_>> {
        let bytes = self.file.read(at.offset, at.len, MAX_BLOB_BYTES)?;
        self.file.check(&bytes, at.offset, at.crc, BAD_BLOB)?;
        Ok(Value::Owned(bytes))
    }

    fn blob_again(&self, at: BlobRef) -> Result<Value<'_>> {
        // It was read anew, so it is checked anew.
        self.blob(at)
    }

    fn advance(&self, end: u64) -> bool {
        end < self.map_at
    }
}

/// Verified nodes, up to a number of bytes; those not asked for since the hand last passed go first.
struct NodeCache {
    shards: Vec<Mutex<CacheShard>>,
    shard_bytes: usize,
}

impl fmt::Debug for NodeCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCache").field("shard_bytes", &self.shard_bytes).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct CacheShard {
    nodes: HashMap<NodeRef, CachedNode>,
    hand: VecDeque<NodeRef>,
    bytes: usize,
}

struct CachedNode {
    bytes: Arc<[u8]>,
    used: bool,
}

impl NodeCache {
    fn new(bytes: usize) -> Self {
        let shards = (0..CACHE_SHARDS).map(|_| Mutex::default()).collect::<Vec<_>>();
        let shard_bytes = bytes / shards.len();
        NodeCache { shards, shard_bytes }
    }

    fn shard(&self, at: NodeRef) -> Option<&Mutex<CacheShard>> {
        self.shards.get(usize::try_from(Verified::tag(at) >> 32 & (CACHE_SHARDS - 1)).ok()?)
    }

    fn get(&self, at: NodeRef) -> Option<Arc<[u8]>> {
        let mut shard = self.shard(at)?.lock();
        let node = shard.nodes.get_mut(&at)?;
        node.used = true;
        Some(Arc::clone(&node.bytes))
    }

    fn insert(&self, at: NodeRef, bytes: &Arc<[u8]>) {
        if bytes.len() > self.shard_bytes / 2 {
            return;
        }
        let Some(shard) = self.shard(at) else { return };
        let mut shard = shard.lock();
        let node = CachedNode { bytes: Arc::clone(bytes), used: false };
        if shard.nodes.insert(at, node).is_none() {
            shard.hand.push_back(at);
            shard.bytes += bytes.len();
        }
        shard.evict(self.shard_bytes);
    }
}

impl CacheShard {
    fn evict(&mut self, limit: usize) {
        while self.bytes > limit
            && let Some(at) = self.hand.pop_front()
        {
            match self.nodes.get_mut(&at) {
                Some(node) if node.used => {
                    node.used = false;
                    self.hand.push_back(at);
                }
                _ => {
                    let gone = self.nodes.remove(&at).map_or(0, |node| node.bytes.len());
                    self.bytes = self.bytes.saturating_sub(gone);
                }
            }
        }
    }
}
