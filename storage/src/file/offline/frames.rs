//! Walking over all frames of a file, also past places where there is none.

use std::ops::Range;

use super::{
    super::{
        frame::{Chain, FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, Keys},
        header::FIRST_FRAME,
        scan::Scan,
    },
    read_only::Examined,
};
use crate::error::Result;

/// A frame that was found, with the chain before and after it as far as it is known.
#[derive(Clone, Copy)]
pub(super) struct FoundFrame {
    pub(super) header: FrameHeader,
    pub(super) raw: [u8; FRAME_HEADER_BYTES],
    pub(super) before: Option<Chain>,
    pub(super) after: Option<Chain>,
    /// The latest commit or checkpoint before it, if it is known.
    pub(super) anchor: Option<u64>,
}

/// One step of a walk.
pub(super) enum Step {
    Frame(FoundFrame),
    /// There should be a frame and is none; the next one begins where the range ends.
    Gap(Range<u64>),
}

/// The walk.
pub(super) struct Frames<'f> {
    scan: Scan<'f>,
    keys: &'f Keys,
    at: u64,
    end: u64,
    chain: Option<Chain>,
    anchor: Option<u64>,
}

impl<'f> Frames<'f> {
    /// All frames up to `end`.
    pub(super) fn new(examined: &'f Examined, end: u64) -> Self {
        let keys = &examined.keys;
        let scan = Scan::new(&examined.path, examined.file.as_ref(), keys, end);
        Frames { scan, keys, at: FIRST_FRAME, end, chain: Some(keys.genesis()), anchor: Some(0) }
    }

    pub(super) fn next(&mut self) -> Result<Option<Step>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let at = self.at;
        match self.scan.header(at)?.filter(|(header, _)| header.end() <= self.end) {
            Some((header, raw)) => {
                let (before, anchor) = (self.chain, self.anchor);
                let after = before.map(|chain| self.keys.chain(chain, &raw));
                self.at = header.end();
                self.chain = after;
                if header.kind.is_anchor() {
                    self.anchor = Some(header.offset);
                }
                Ok(Some(Step::Frame(FoundFrame { header, raw, before, after, anchor })))
            }
            None => {
                self.at = self.scan.next_frame(at + FRAME_ALIGN)?.unwrap_or(self.end);
                self.chain = None;
                self.anchor = None;
                Ok(Some(Step::Gap(at..self.at)))
            }
        }
    }

    /// The chain before the frame just returned, learnt from its record.
    pub(super) fn learn_chain(&mut self, frame: &FoundFrame, before: Chain) {
        self.chain = Some(self.keys.chain(before, &frame.raw));
    }

    /// A frame's payload; `None` if it does not match its checksum.
    pub(super) fn payload(&mut self, header: &FrameHeader) -> Result<Option<&[u8]>> {
        self.scan.payload(header)
    }

    /// Whether the bytes between a frame's payload and the next frame are zeros.
    pub(super) fn padding_is_zero(&mut self, header: &FrameHeader) -> Result<bool> {
        let from = header.payload_offset() + u64::from(header.payload_len);
        let len = usize::try_from(header.end() - from).unwrap_or(0);
        let padding = self.scan.bytes(from, len)?;
        Ok(padding.is_some_and(|bytes| bytes.iter().all(|&byte| byte == 0)))
    }
}
