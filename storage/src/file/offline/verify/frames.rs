//! Checking the header block and every frame.

use std::collections::HashSet;

use super::{
    super::{
        Progress,
        frames::{FoundFrame, Frames, Step},
        raw::sequences_taken,
        read_only::{Examined, ReadOnlyFile},
    },
    Verification,
};
use crate::{
    disk::read_exact_at,
    error::Result,
    file::{
        frame::{Chain, FrameHeader, Kind},
        header::HEADER_BYTES,
        record::{CheckpointRecord, CommitHead},
        scan::Scan,
    },
    tree::RawNode,
};

/// Checks everything in front of the end, or all there is if the file cannot be opened.
pub(super) fn check(
    examined: &Examined,
    opened: Option<&ReadOnlyFile>,
    report: &mut Verification,
    progress: Progress<'_>,
) -> Result<()> {
    check_header_zeros(examined, report)?;
    let end = match opened {
        Some(opened) => opened.end.end,
        None => {
            let (file, keys) = (examined.file.as_ref(), &examined.keys);
            Scan::new(&examined.path, file, keys, examined.len()?).end_of_data()?
        }
    };
    let more = opened.map_or(0, |opened| opened.state.head.counts.active_bytes);
    let mut frames = Frames::new(examined, end);
    let last = Some(LastSeen { number: 0, seq: 0, offset: 0 });
    let base = examined.header.base;
    let mut order = Order { report, checkpoints: HashSet::new(), last, base };
    while let Some(step) = frames.next()? {
        if order.report.is_enough() {
            break;
        }
        let at = match step {
            Step::Gap(gap) => {
                let what = "the header of a frame: it does not match its checksum";
                order.report.add(gap.start, gap.end - gap.start, what);
                order.last = None;
                gap.end
            }
            Step::Frame(frame) => {
                order.frame(&mut frames, &frame)?;
                frame.header.end()
            }
        };
        progress(at, end.saturating_add(more));
    }
    Ok(())
}

fn check_header_zeros(examined: &Examined, report: &mut Verification) -> Result<()> {
    let mut block = vec![0; HEADER_BYTES];
    read_exact_at(examined.file.as_ref(), &mut block, 0)
        .map_err(|source| examined.io_error("read", source))?;
    // Behind the checksum there are zeros.
    let zeros = block.iter().enumerate().skip(examined.header.used_bytes());
    for (at, _) in zeros.filter(|(_, byte)| **byte != 0).take(1) {
        let at = crate::file::codec::length(at);
        report.add(at, 1, "the file header: a byte that is not used should be zero");
    }
    Ok(())
}

/// The last commit that was seen.
#[derive(Clone, Copy)]
struct LastSeen {
    number: u64,
    seq: u64,
    offset: u64,
}

/// What each frame must continue.
struct Order<'r> {
    report: &'r mut Verification,
    checkpoints: HashSet<u64>,
    /// Unknown behind damage.
    last: Option<LastSeen>,
    /// The checkpoint that a compacted file begins with, 0 for none.
    base: u64,
}

impl Order<'_> {
    fn frame(&mut self, frames: &mut Frames<'_>, found: &FoundFrame) -> Result<()> {
        self.report.frames += 1;
        let header = found.header;
        if found.anchor.is_some_and(|anchor| anchor != header.anchor) {
            let what = format!("{}: it names another anchor than the latest", self.name(&header));
            self.report.add(header.offset, 0, what);
        }
        if !frames.padding_is_zero(&header)? {
            let at = header.payload_offset() + u64::from(header.payload_len);
            let what = format!("the padding behind {}: it is not zero", self.name(&header));
            self.report.add(at, header.end() - at, what);
        }
        let Some(payload) = frames.payload(&header)? else {
            let what = format!("{}: its payload does not match its checksum", self.name(&header));
            self.report.add(header.payload_offset(), u64::from(header.payload_len), what);
            if header.kind == Kind::Commit {
                self.last = None;
            }
            return Ok(());
        };
        let (chain, flaw) = match header.kind {
            Kind::Chunk | Kind::Blobs => (None, None),
            Kind::Nodes => (None, nodes(payload)),
            Kind::Commit => self.commit(found, payload),
            Kind::Checkpoint => self.checkpoint(found, payload),
        };
        if let Some(chain) = chain {
            frames.learn_chain(found, chain);
        }
        if let Some(flaw) = flaw {
            let what = format!("{}: {flaw}", self.name(&header));
            self.report.add(header.offset, u64::from(header.payload_len), what);
        }
        Ok(())
    }

    /// What a frame is, in words.
    fn name(&self, header: &FrameHeader) -> String {
        let kind = match header.kind {
            Kind::Chunk => "a chunk of an attachment".to_owned(),
            Kind::Blobs => "compacted bodies and attachments".to_owned(),
            Kind::Nodes => "tree nodes".to_owned(),
            Kind::Checkpoint => "a checkpoint".to_owned(),
            Kind::Commit => match self.last {
                Some(last) => format!("commit {}", last.number.saturating_add(1)),
                None => "a commit".to_owned(),
            },
        };
        format!("{kind}, in the frame at byte {}", header.offset)
    }

    fn commit(
        &mut self,
        found: &FoundFrame,
        payload: &[u8],
    ) -> (Option<Chain>, Option<&'static str>) {
        self.report.commits += 1;
        let Some((head, edits)) = CommitHead::decode(payload) else {
            return (None, Some("it is too short"));
        };
        let before = self.last.replace(LastSeen {
            number: head.number,
            seq: head.seq,
            offset: found.header.offset,
        });
        let taken = sequences_taken(edits, head.ops);
        let continues = before.is_none_or(|last| {
            head.number == last.number + 1
                && head.previous == last.offset
                && taken.is_none_or(|taken| last.seq.checked_add(taken) == Some(head.seq))
        });
        let flaw = if taken.is_none() {
            Some("its edits cannot be read")
        } else if !continues {
            Some("it does not continue the commit before it")
        } else if found.before.is_some_and(|chain| chain != head.chain) {
            Some("its chain is not that of the frames before it")
        } else if head.durable > found.header.offset {
            Some("its durable mark lies behind it")
        } else if head.checkpoint != 0 && !self.checkpoints.contains(&head.checkpoint) {
            Some("it builds on a checkpoint that is not there")
        } else {
            None
        };
        (Some(head.chain), flaw)
    }

    fn checkpoint(
        &mut self,
        found: &FoundFrame,
        payload: &[u8],
    ) -> (Option<Chain>, Option<&'static str>) {
        let Some(record) = CheckpointRecord::decode(payload) else {
            return (None, Some("it cannot be read"));
        };
        let offset = found.header.offset;
        if offset == self.base {
            // The sequence is that of the file that was compacted.
            self.last = Some(LastSeen { number: 0, seq: record.seq, offset: 0 });
        }
        let known = record.previous == 0 || self.checkpoints.contains(&record.previous);
        self.checkpoints.insert(offset);
        let flaw = if found.before.is_some_and(|chain| chain != record.chain) {
            Some("its chain is not that of the frames before it")
        } else if record.durable > offset || record.replay_from > offset || record.commit > offset {
            Some("it names places that lie behind it")
        } else if self.last.is_some_and(|last| record.number > last.number || record.seq > last.seq)
        {
            Some("it names a commit that is not there")
        } else if !known {
            Some("it names a previous checkpoint that is not there")
        } else {
            None
        };
        (Some(record.chain), flaw)
    }
}

/// What is wrong with the nodes of a frame.
fn nodes(payload: &[u8]) -> Option<&'static str> {
    let mut rest = payload;
    while !rest.is_empty() {
        let Some(node) = RawNode::first(rest) else { return Some("a node cannot be read") };
        rest = rest.get(node.bytes.len()..).unwrap_or_default();
    }
    None
}
