//! What one thread adds to the new file: blobs and nodes, collected into frames.

use super::{
    blobs::PutBlob,
    room::{Place, Room},
};
use crate::{
    codec::length,
    error::{Error, Result},
    file::frame::{FrameBuffer, Kind, payload_offset},
    store::BlobRef,
    tree::{NodeRef, Sink},
};

/// Shortest payload that a place is taken for, in bytes.
const MIN_FRAME_BYTES: usize = 4 * 1024;
/// Payload of a frame of blobs, at most in most cases, in bytes.
const MAX_BLOBS_BYTES: usize = 1024 * 1024;
/// The same of a frame of nodes.
const MAX_NODES_BYTES: usize = 256 * 1024;
/// A place is taken for this part of what a thread has put so far, so that what the last one has left is little.
const PART: u64 = 8;
/// What is at least so long and does not fit any more has a frame of its own where the one that is being
/// filled could not give back the rest of its place. In bytes.
const ALONE_BYTES: usize = 16 * 1024;
/// A frame is written, full or not, when the file has grown so far beyond it: as long as it is not, the headers
/// of those behind it are kept. In bytes.
const MAX_LEAD_BYTES: u64 = 256 * 1024 * 1024;

/// Fills frames of one kind.
#[derive(Debug)]
struct Frames<'r> {
    room: &'r Room,
    kind: Kind,
    /// Payload of a frame, at most in most cases.
    max: usize,
    /// Bytes put so far.
    put: u64,
    place: Option<Place>,
    frame: FrameBuffer,
}

impl<'r> Frames<'r> {
    fn new(room: &'r Room, kind: Kind, max: usize) -> Self {
        Frames { room, kind, max, put: 0, place: None, frame: FrameBuffer::new() }
    }

    /// Adds bytes, and says where they will be.
    fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        if !self.takes(bytes.len()) {
            self.flush()?;
        }
        let next = match self.place.take() {
            Some(place) => place,
            None => self.next_place(bytes.len()),
        };
        let place = self.place.insert(next);
        let offset = payload_offset(place.offset()) + length(self.frame.payload_len());
        self.frame.bytes().extend_from_slice(bytes);
        self.put += length(bytes.len());
        Ok(offset)
    }

    /// A place for a payload of so many bytes or more. Blobs go to the end, since a place that lies far behind it is
    /// given up soon.
    fn next_place(&self, least: usize) -> Place {
        let gap = match self.kind {
            Kind::Nodes => self.room.take_gap(least),
            _ => None,
        };
        let part = usize::try_from(self.put / PART).unwrap_or(usize::MAX);
        let wanted = part.clamp(MIN_FRAME_BYTES, self.max);
        gap.unwrap_or_else(|| self.room.take(least, wanted))
    }

    /// Whether there is a place that has room for so many bytes more.
    fn takes(&self, more: usize) -> bool {
        self.place.as_ref().is_some_and(|place| place.takes(self.frame.payload_len() + more))
    }

    /// Whether the file has grown far beyond the frame.
    fn lags(&self) -> bool {
        let lead = |place: &Place| self.room.end().saturating_sub(place.offset());
        self.place.as_ref().is_some_and(|place| lead(place) > MAX_LEAD_BYTES)
    }

    /// Whether writing the frame now would leave a gap.
    fn leaves_gap(&self) -> bool {
        self.place.as_ref().is_some_and(|place| !self.room.is_last(place))
    }

    /// Writes what is left.
    fn flush(&mut self) -> Result<()> {
        match self.place.take() {
            Some(place) => self.room.write(place, self.kind, &mut self.frame),
            None => Ok(()),
        }
    }
}

/// Blobs of one thread.
#[derive(Debug)]
pub(super) struct BlobFrames<'r> {
    frames: Frames<'r>,
    alone: FrameBuffer,
}

impl<'r> BlobFrames<'r> {
    pub(super) fn new(room: &'r Room) -> Self {
        let frames = Frames::new(room, Kind::Blobs, MAX_BLOBS_BYTES);
        BlobFrames { frames, alone: FrameBuffer::new() }
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> Result<()> {
        self.frames.flush()
    }

    /// Writes a frame for these bytes only.
    fn put_alone(&mut self, bytes: &[u8]) -> Result<u64> {
        let room = self.frames.room;
        let place = room.take(bytes.len(), bytes.len());
        let offset = payload_offset(place.offset());
        self.alone.bytes().extend_from_slice(bytes);
        room.write(place, Kind::Blobs, &mut self.alone)?;
        Ok(offset)
    }
}

impl PutBlob for BlobFrames<'_> {
    fn put(&mut self, bytes: &[u8], crc: u32) -> Result<BlobRef> {
        if self.frames.lags() {
            self.frames.flush()?;
        }
        let is_long = bytes.len() >= ALONE_BYTES;
        let offset = match is_long && !self.frames.takes(bytes.len()) && self.frames.leaves_gap() {
            true => self.put_alone(bytes)?,
            false => self.frames.append(bytes)?,
        };
        Ok(BlobRef { offset, len: u32::try_from(bytes.len()).unwrap_or(u32::MAX), crc })
    }
}

/// The nodes of one tree.
#[derive(Debug)]
pub(super) struct NodeFrames<'r>(Frames<'r>);

impl<'r> NodeFrames<'r> {
    pub(super) fn new(room: &'r Room) -> Self {
        NodeFrames(Frames::new(room, Kind::Nodes, MAX_NODES_BYTES))
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> Result<()> {
        self.0.flush()
    }
}

impl Sink for NodeFrames<'_> {
    fn append(&mut self, node: &[u8]) -> Result<NodeRef> {
        let len = u32::try_from(node.len()).map_err(|_| Error::TooLarge {
            what: "a tree node",
            size: length(node.len()),
            limit: u64::from(u32::MAX),
        })?;
        Ok(NodeRef { offset: self.0.append(node)?, len, crc: crc32fast::hash(node) })
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc, thread};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        disk::{Disk, File, MemoryDisk, OpenMode, read_exact_at},
        file::{
            compact::syncing::Syncing,
            frame::Keys,
            header::{FIRST_FRAME, Identity},
            scan::Scan,
            tail::Position,
        },
    };

    const PATH: &str = "/db";

    fn keys() -> Keys {
        Keys::new(&Identity { salt: [1; 16], creation: [2; 16] })
    }

    fn room(file: &Arc<dyn File>) -> Room {
        let (path, file) = (Path::new(PATH).into(), Arc::clone(file));
        Room::new(path, file, keys(), Syncing::InPlace, FIRST_FRAME)
    }

    fn new_file() -> Arc<dyn File> {
        MemoryDisk::new().open(Path::new(PATH), OpenMode::CreateNew).unwrap()
    }

    /// Walks over the frames, each of which must be sound; returns the kinds.
    fn walk(file: &dyn File, to: Position) -> Vec<Kind> {
        let keys = keys();
        let mut scan = Scan::new(Path::new(PATH), file, &keys, file.len().unwrap());
        let (mut at, mut chain, mut kinds) = (FIRST_FRAME, keys.genesis(), Vec::new());
        while at < to.end {
            let (header, bytes) = scan.header(at).unwrap().expect("a frame");
            chain = keys.chain(chain, &bytes);
            assert!(scan.payload(&header).unwrap().is_some(), "a payload at {at}");
            kinds.push(header.kind);
            at = header.end();
        }
        assert_eq!((at, file.len().unwrap()), (to.end, to.end));
        assert_eq!(chain, to.chain);
        kinds
    }

    fn check(file: &dyn File, blobs: &[(BlobRef, Vec<u8>)]) {
        for (at, expected) in blobs {
            let mut bytes = vec![0; expected.len()];
            read_exact_at(file, &mut bytes, at.offset).unwrap();
            assert_eq!((&bytes, at.len as usize), (expected, expected.len()));
        }
    }

    fn content(number: usize, len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 31 + number) as u8).collect()
    }

    #[test]
    fn one_thread_leaves_nothing_between_its_frames() {
        let file = new_file();
        let room = room(&file);
        let mut blobs = BlobFrames::new(&room);
        let mut bytes = 0;
        for len in [300, 600, 200, 20_000, 40_000, 1, 0, 999, 1000, 1001] {
            blobs.put(&content(len, len), 0).unwrap();
            bytes += length(len);
        }
        blobs.finish().unwrap();
        let end = room.finish().unwrap();
        let frames = length(walk(file.as_ref(), end).len());
        assert!(end.end - FIRST_FRAME <= bytes + frames * (56 + 7), "{end:?}");
    }

    #[test]
    fn what_a_place_has_left_is_taken_by_others() {
        let file = new_file();
        let room = room(&file);
        let (mut first, mut second) = (BlobFrames::new(&room), BlobFrames::new(&room));
        // So many that a place is much longer than a node.
        for number in 0..1000 {
            first.put(&content(number, 1000), 0).unwrap();
        }
        let behind = second.put(b"second", 0).unwrap();
        first.finish().unwrap();
        let mut nodes = NodeFrames::new(&room);
        let at = Sink::append(&mut nodes, &content(1, 5000)).unwrap();
        assert!(at.offset < behind.offset);
        nodes.finish().unwrap();
        second.finish().unwrap();
        let end = room.finish().unwrap();
        let kinds = walk(file.as_ref(), end);
        // What the node has left is filled with zeros.
        assert!(
            kinds.ends_with(&[Kind::Blobs, Kind::Nodes, Kind::Blobs, Kind::Blobs]),
            "{kinds:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Threads that fill frames at once, then one that builds a tree.
        #[test]
        fn what_threads_put_is_where_they_were_told(
            shares in prop::collection::vec(prop::collection::vec(
                prop_oneof![8 => 0usize..400, 1 => 15_000usize..80_000], 0..60), 1..4),
            nodes in prop::collection::vec(20usize..9000, 0..40),
        ) {
            let file = new_file();
            let room = room(&file);
            let put = |lens: &[usize]| -> Result<Vec<(BlobRef, Vec<u8>)>> {
                let mut blobs = BlobFrames::new(&room);
                let mut put = Vec::new();
                for (number, len) in lens.iter().enumerate() {
                    let content = content(number, *len);
                    put.push((blobs.put(&content, 0)?, content));
                }
                blobs.finish().map(|()| put)
            };
            let mut all = thread::scope(|scope| {
                let threads: Vec<_> = shares.iter().map(|share| scope.spawn(|| put(share).unwrap())).collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            let mut tree = NodeFrames::new(&room);
            for (number, len) in nodes.iter().enumerate() {
                let content = content(number, *len);
                let at = Sink::append(&mut tree, &content).unwrap();
                all.push((BlobRef { offset: at.offset, len: at.len, crc: at.crc }, content));
            }
            tree.finish().unwrap();
            let end = room.finish().unwrap();
            walk(file.as_ref(), end);
            check(file.as_ref(), &all);
            let mut places: Vec<_> = all.iter().map(|(at, _)| (at.offset, at.offset + u64::from(at.len))).collect();
            places.sort_unstable();
            prop_assert!(places.windows(2).all(|pair| pair[0].1 <= pair[1].0), "blobs overlap");
        }
    }
}
