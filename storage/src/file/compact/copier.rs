//! The references of one document on their way into the new file.

use std::collections::HashMap;

use super::blobs::PutBlob;
use crate::{
    compaction::{Copier, Rewrite},
    error::Result,
    file::{state::Trees, stream::chunk_list},
    store::{BlobRef, StreamRef},
};

/// References and those of their copies. A document has few.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    blobs: Vec<(BlobRef, BlobRef)>,
    streams: Vec<(StreamRef, StreamRef)>,
}

impl Known {
    /// What two notes about a document and its copy have in common. Notes that do not match say nothing:
    /// then things are copied again.
    pub(super) fn pairs(old: Notes<'_>, new: Notes<'_>) -> Self {
        let mut known = Known::default();
        if old.blobs.len() == new.blobs.len() && old.streams.len() == new.streams.len() {
            known.blobs = old.blobs.into_iter().zip(new.blobs).collect();
            known.streams = old.streams.into_iter().zip(new.streams).collect();
        }
        known
    }
}

fn find<R: PartialEq + Copy>(pairs: &[(R, R)], at: R) -> Option<R> {
    pairs.iter().find(|(old, _)| *old == at).map(|(_, new)| *new)
}

/// Copies from one file into another.
pub(super) struct FileCopier<'c> {
    pub(super) from: &'c Trees,
    pub(super) to: &'c mut dyn PutBlob,
    /// What is there already.
    pub(super) known: Known,
    /// Streams copied while no document referred to them.
    pub(super) staged: &'c HashMap<StreamRef, StreamRef>,
    /// Whether to go on, between the chunks of a stream.
    pub(super) go_on: &'c dyn Fn() -> Result<()>,
}

impl FileCopier<'_> {
    fn copy(&mut self, at: BlobRef) -> Result<BlobRef> {
        self.to.put(&self.from.reader.blob(at)?, at.crc)
    }
}

impl Copier for FileCopier<'_> {
    fn blob(&mut self, at: BlobRef) -> Result<BlobRef> {
        if let Some(copy) = find(&self.known.blobs, at) {
            return Ok(copy);
        }
        let copy = self.copy(at)?;
        self.known.blobs.push((at, copy));
        Ok(copy)
    }

    fn stream(&mut self, at: StreamRef) -> Result<StreamRef> {
        let known = find(&self.known.streams, at).or_else(|| self.staged.get(&at).copied());
        if let Some(copy) = known {
            return Ok(copy);
        }
        let mut list = Vec::new();
        for chunk in chunk_list(self.from, at)? {
            (self.go_on)()?;
            list.extend_from_slice(&self.copy(chunk)?.to_bytes());
        }
        let index = self.to.put(&list, crc32fast::hash(&list))?;
        let copy = StreamRef { index, len: at.len };
        self.known.streams.push((at, copy));
        Ok(copy)
    }

    fn rewrite(&mut self, at: BlobRef, rewrite: Rewrite<'_>) -> Result<BlobRef> {
        if let Some(copy) = find(&self.known.blobs, at) {
            return Ok(copy);
        }
        let from = self.from;
        let bytes = from.reader.blob(at)?;
        let copy = match rewrite(&bytes, self)? {
            Some(other) => self.to.put(&other, crc32fast::hash(&other))?,
            None => self.to.put(&bytes, at.crc)?,
        };
        self.known.blobs.push((at, copy));
        Ok(copy)
    }
}

/// Takes note of what would be copied, each reference once, in the order of the first call.
pub(super) struct Notes<'n> {
    from: &'n Trees,
    blobs: Vec<BlobRef>,
    streams: Vec<StreamRef>,
}

impl<'n> Notes<'n> {
    pub(super) fn new(from: &'n Trees) -> Self {
        Notes { from, blobs: Vec::new(), streams: Vec::new() }
    }
}

impl Copier for Notes<'_> {
    fn blob(&mut self, at: BlobRef) -> Result<BlobRef> {
        if !self.blobs.contains(&at) {
            self.blobs.push(at);
        }
        Ok(at)
    }

    fn stream(&mut self, at: StreamRef) -> Result<StreamRef> {
        if !self.streams.contains(&at) {
            self.streams.push(at);
        }
        Ok(at)
    }

    fn rewrite(&mut self, at: BlobRef, rewrite: Rewrite<'_>) -> Result<BlobRef> {
        if !self.blobs.contains(&at) {
            self.blobs.push(at);
            let from = self.from;
            rewrite(&from.reader.blob(at)?, self)?;
        }
        Ok(at)
    }
}
