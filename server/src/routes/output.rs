//! Where answers row by row are written: through a thread of their own to the client, or, while they are short, in
//! place: for most requests that takes less time than handing them to another thread.

use std::ops::ControlFlow;

use crate::http::stream::BlockingWriter;

/// Longest answer that is made in place, in bytes.
const SMALL_BYTES: usize = 16 << 10;

/// Where rows are written.
pub(super) trait Output {
    /// The buffer to write into.
    fn buffer(&mut self) -> &mut Vec<u8>;
    /// Called after each row; breaks when no more are wanted.
    fn spill(&mut self) -> ControlFlow<()>;
    /// Whether anybody waits for more.
    fn is_read(&self) -> bool {
        true
    }
}

impl Output for BlockingWriter {
    fn buffer(&mut self) -> &mut Vec<u8> {
        Self::buffer(self)
    }

    fn spill(&mut self) -> ControlFlow<()> {
        match Self::spill(self) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_gone) => ControlFlow::Break(()),
        }
    }

    fn is_read(&self) -> bool {
        Self::is_read(self)
    }
}

/// An answer made in place. It ends when it is no longer small.
pub(super) struct Small(Vec<u8>);

impl Small {
    pub(super) fn new() -> Self {
        Small(Vec::with_capacity(SMALL_BYTES))
    }

    /// The answer; nothing if it turned out to be long.
    pub(super) fn finish(self) -> Option<Vec<u8>> {
        (self.0.len() <= SMALL_BYTES).then_some(self.0)
    }
}

impl Output for Small {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn spill(&mut self) -> ControlFlow<()> {
        match self.0.len() <= SMALL_BYTES {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }
}
