//! What is in a file, in numbers.

use std::path::Path;

use super::{
    super::frame::Kind,
    frames::{Frames, Step},
    read_only::{Examined, FileEnd, ReadOnlyFile},
};
use crate::{
    disk::Disk,
    error::Result,
    store::{Counts, Seq},
    tree::{Root, TreeShape},
};

/// The frames of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindSpace {
    /// `commit`, `nodes`, `chunk`, `checkpoint` or `blobs`.
    pub kind: &'static str,
    /// How many frames.
    pub frames: u64,
    /// Their bytes, headers and padding included.
    pub bytes: u64,
}

/// One tree of the last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeReport {
    /// `by-id`, `by-seq` or `keys`.
    pub name: &'static str,
    /// Levels of nodes; 0 if it is empty.
    pub height: u8,
    /// Nodes, entries and bytes.
    pub shape: TreeShape,
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Version of the format.
    pub version: u32,
    /// What makes the file's checksums its own.
    pub salt: [u8; 16],
    /// What tells the file from every other.
    pub creation: [u8; 16],
    /// Where it ends, its last commit and checkpoint.
    pub end: FileEnd,
    /// The newest sequence.
    pub seq: Seq,
    /// Documents and their bytes.
    pub counts: Counts,
    /// Frames by kind.
    pub kinds: [KindSpace; 5],
    /// The trees as of the last checkpoint.
    pub trees: [TreeReport; 3],
}

impl Inspection {
    /// Bytes of the trees' nodes.
    #[must_use]
    pub fn tree_bytes(&self) -> u64 {
        self.trees.iter().map(|tree| tree.shape.node_bytes).sum()
    }

    /// Bytes that the present state needs, as far as the counts say: bodies and attachments of leaves,
    /// their rows in the indexes, local documents. Older bodies that are still kept are not among them.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        let keys = self.trees.iter().filter(|tree| tree.name == "keys");
        let keys = keys.map(|tree| tree.shape.node_bytes).sum::<u64>();
        self.counts.active_bytes.saturating_add(keys)
    }

    /// Bytes that compaction would give back, roughly.
    #[must_use]
    pub fn dead_bytes(&self) -> u64 {
        self.end.end.saturating_sub(self.live_bytes())
    }
}

/// Looks through a file: its last state, its trees, the headers of all its frames.
///
/// # Errors
/// Those of [`ReadOnlyFile::open`]; [`Error::Corrupt`](crate::Error::Corrupt) if a tree or a frame is
/// damaged.
pub fn inspect(disk: &dyn Disk, path: &Path) -> Result<Inspection> {
    let opened = ReadOnlyFile::found(Examined::open(disk, path)?)?;
    let (trees, header) = (&opened.state.trees, opened.examined.header);
    let identity = header.identity;
    let report = |name, root: Root, shape| TreeReport { name, height: root.height, shape };
    Ok(Inspection {
        version: header.version(),
        salt: identity.salt,
        creation: identity.creation,
        end: opened.end,
        seq: opened.state.head.seq,
        counts: opened.state.head.counts,
        kinds: spaces(&opened)?,
        trees: [
            report("by-id", trees.roots.by_id, trees.by_id().verify()?),
            report("by-seq", trees.roots.by_seq, trees.by_seq().verify()?),
            report("keys", trees.roots.keys, trees.keys().verify()?),
        ],
    })
}

/// The space each kind of frame takes. Payloads are passed over.
fn spaces(opened: &ReadOnlyFile) -> Result<[KindSpace; 5]> {
    let space = |kind| KindSpace { kind, frames: 0, bytes: 0 };
    let [mut commits, mut nodes, mut chunks, mut checkpoints, mut blobs] =
        ["commit", "nodes", "chunk", "checkpoint", "blobs"].map(space);
    let mut frames = Frames::new(&opened.examined, opened.end.end);
    while let Some(step) = frames.next()? {
        let header = match step {
            Step::Frame(frame) => frame.header,
            Step::Gap(gap) => {
                return Err(crate::Error::Corrupt {
                    path: opened.examined.path.to_path_buf(),
                    offset: gap.start,
                    what: "no frame is where one should be",
                });
            }
        };
        let space = match header.kind {
            Kind::Commit => &mut commits,
            Kind::Nodes => &mut nodes,
            Kind::Chunk => &mut chunks,
            Kind::Checkpoint => &mut checkpoints,
            Kind::Blobs => &mut blobs,
        };
        space.frames += 1;
        space.bytes += header.end() - header.offset;
    }
    Ok([commits, nodes, chunks, checkpoints, blobs])
}
