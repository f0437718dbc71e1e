//! Whether every bit of a file is as it was written.

mod frames;
mod rows;

use std::{io::Read, path::Path};

use super::{
    super::header::FIRST_FRAME,
    Content, Progress,
    read_only::{Examined, FileEnd, ReadOnlyFile},
};
use crate::{
    disk::Disk,
    error::{Error, Result},
    store::{Counts, Snapshot, StreamRef},
    tree::TreeShape,
};

/// Most places of damage that are reported; a file with more is not worth listing.
const MAX_DAMAGE: usize = 1000;
/// Bytes of a stream read at once.
const READ_BYTES: usize = 256 * 1024;

/// A place where the file is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where, in bytes from the start of the file.
    pub offset: u64,
    /// How many bytes are concerned; 0 if that is not known.
    pub len: u64,
    /// What lies there, and what is wrong with it.
    pub what: String,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Where the file ends; nothing if it cannot be opened.
    pub end: Option<FileEnd>,
    /// Frames checked.
    pub frames: u64,
    /// Commits among them.
    pub commits: u64,
    /// Documents checked, deleted ones included.
    pub documents: u64,
    /// Their sums.
    pub counts: Counts,
    /// Blobs and streams that values refer to.
    pub references: u64,
    /// Bytes that are referred to: tree nodes, blobs and streams.
    pub live_bytes: u64,
    /// The trees of the last checkpoint, by-id, by-seq and keys.
    pub trees: [TreeShape; 3],
    /// Everything that is wrong, in the order it was found; at most 1000 places.
    pub damage: Vec<Damage>,
}

impl Verification {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }

    fn is_enough(&self) -> bool {
        self.damage.len() >= MAX_DAMAGE
    }

    fn add(&mut self, offset: u64, len: u64, what: impl Into<String>) {
        if !self.is_enough() {
            self.damage.push(Damage { offset, len, what: what.into() });
        }
    }

    /// Takes note of damage; other errors come back.
    fn note(&mut self, error: Error, place: &str) -> Result<()> {
        let Error::Corrupt { offset, what, .. } = error else { return Err(error) };
        self.add(offset, 0, format!("{place}: {what}"));
        Ok(())
    }
}

/// Checks a file as of its last commit: the header, every frame with its checksums and the chain, every
/// node of the trees, both indexes against each other, the counts, and what the engine's values refer to.
/// Reads beside a running server and changes nothing.
///
/// # Errors
/// Those of the disk, [`Error::NotFound`] and [`Error::Format`]. Damage is no error but what the report
/// is about.
pub fn verify(
    disk: &dyn Disk,
    path: &Path,
    content: &dyn Content,
    progress: Progress<'_>,
) -> Result<Verification> {
    let mut report = Verification::default();
    let examined = match Examined::open(disk, path) {
        Ok(examined) => examined,
        Err(Error::Corrupt { offset, what, .. }) => {
            report.add(offset, FIRST_FRAME, what);
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    let opened = match ReadOnlyFile::found(examined.clone()) {
        Ok(opened) => Some(opened),
        Err(error) => {
            report.note(error, "the file cannot be opened")?;
            None
        }
    };
    frames::check(&examined, opened.as_ref(), &mut report, progress)?;
    if let Some(opened) = &opened {
        report.end = Some(opened.end);
        trees(opened, &mut report)?;
        rows::check(opened, content, &mut report, progress)?;
    }
    // The same bytes may have been found by the walk over the frames and by following references.
    report.damage.dedup();
    Ok(report)
}

fn trees(opened: &ReadOnlyFile, report: &mut Verification) -> Result<()> {
    let trees = &opened.state.trees;
    let outcomes = [
        ("the tree by-id", trees.by_id().verify()),
        ("the tree by-seq", trees.by_seq().verify()),
        ("the tree of keys", trees.keys().verify()),
    ];
    for (index, (name, outcome)) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(shape) => {
                report.live_bytes += shape.node_bytes;
                if let Some(slot) = report.trees.get_mut(index) {
                    *slot = shape;
                }
            }
            Err(error) => report.note(error, name)?,
        }
    }
    Ok(())
}

/// The length of a stream, counted while its chunks are checked.
pub(super) fn stream_len(snapshot: &dyn Snapshot, at: StreamRef) -> Result<u64> {
    let mut reader = snapshot.stream(at)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut len = 0u64;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(len),
            Ok(read) => len += super::super::codec::length(read),
            Err(error) => return Err(store_error(error)),
        }
    }
}

/// Gets the store's error out of the wrapping it needed to pass through a reader.
fn store_error(error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(source) => Error::Io { operation: "read a stream of", path: "the file".into(), source },
    }
}
