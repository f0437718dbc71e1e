//! Streams that are in the file and that no edit refers to yet.

use parking_lot::{Mutex, MutexGuard};

use crate::store::{StagedStream, StreamRef};

/// The staged streams of one file.
#[derive(Debug, Default)]
pub(super) struct Staging(Mutex<Staged>);

/// The same, locked: nothing is staged meanwhile.
#[derive(Debug, Default)]
pub(super) struct Staged {
    /// Another file has taken the place of this one, and the streams in it.
    replaced: bool,
    streams: Vec<StagedStream>,
}

impl Staging {
    /// Keeps a stream of this file from being forgotten by compaction; `None` if it is too late.
    pub(super) fn stage(&self, at: StreamRef) -> Option<StagedStream> {
        let mut staged = self.lock();
        if staged.replaced {
            return None;
        }
        staged.streams.retain(|stream| !stream.is_forgotten());
        let stream = StagedStream::new(at);
        staged.streams.push(stream.clone());
        Some(stream)
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.0.lock().replaced
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Staged> {
        self.0.lock()
    }
}

impl Staged {
    /// Where the streams are that somebody still waits with.
    pub(super) fn places(&mut self) -> Vec<StreamRef> {
        self.streams.retain(|stream| !stream.is_forgotten());
        self.streams.iter().map(StagedStream::at).collect()
    }

    /// Hands the streams to the file that takes the place of this one: `moved` says where each of them
    /// is there. From here on nothing is staged here.
    pub(super) fn hand_over(
        &mut self,
        to: &Staging,
        moved: impl Fn(StreamRef) -> Option<StreamRef>,
    ) {
        self.replaced = true;
        let mut next = to.lock();
        for stream in self.streams.drain(..) {
            if let Some(at) = moved(stream.at()) {
                stream.moved(at);
                next.streams.push(stream);
            }
        }
    }
}
