//! Finding the newest sound state of an index file.
//!
//! 1. The last record with a sound payload is looked for, from the end of the data backwards.
//! 2. Everything before its durable mark is sound by its word. From there on the frames are walked: each
//!    must have a sound header and payload, each record the right chain. The walk ends at the first that
//!    is not so.
//! 3. The last record met on the walk is the newest state; if there is none, it is the last record before
//!    the mark. If the owner does not take it, the one before it is offered, and so on.

use std::path::Path;

use super::{Opened, io_error, record::Record};
use crate::{
    disk::{File, read_exact_at},
    error::Result,
    file::{
        frame::{Chain, FrameHeader, Keys, Kind},
        header::{FIRST_FRAME, FileKind, HEADER_BYTES, decode_as},
        scan::Scan,
    },
};

/// A record and where it is.
struct Found {
    header: FrameHeader,
    record: Record,
    /// The chain after it.
    chain: Chain,
}

/// The state to begin with; `None` if there is none.
pub(super) fn find(
    path: &Path,
    file: &dyn File,
    accept: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Option<(Keys, Opened)>> {
    let len = file.len().map_err(|source| io_error("measure", path, source))?;
    let mut block = [0; HEADER_BYTES];
    if len < FIRST_FRAME {
        return Ok(None);
    }
    read_exact_at(file, &mut block, 0).map_err(|source| io_error("read", path, source))?;
    let Ok(identity) = decode_as(FileKind::Index, &block) else { return Ok(None) };
    let keys = Keys::new(&identity);
    let mut search = Search { keys: &keys, scan: Scan::new(path, file, &keys, len) };
    let Some((newest, durable)) = search.newest()? else { return Ok(None) };
    let opened = search.accepted(newest, durable, accept)?;
    Ok(opened.map(|opened| (keys, opened)))
}

struct Search<'f> {
    keys: &'f Keys,
    scan: Scan<'f>,
}

impl Search<'_> {
    /// The newest state, and what is durable.
    fn newest(&mut self) -> Result<Option<(Found, (u64, Chain))>> {
        let end = self.scan.end_of_data()?;
        let Some(last) = self.last_record(end)? else { return Ok(None) };
        let durable = (last.record.durable, last.record.durable_chain);
        if let Some(found) = self.walk(durable, end)? {
            return Ok(Some((found, durable)));
        }
        // Records behind the mark may be broken, with what they say of those before them.
        Ok(self.last_record(durable.0)?.map(|found| (found, durable)))
    }

    /// The last record that begins before `below` and is sound in itself.
    fn last_record(&mut self, mut below: u64) -> Result<Option<Found>> {
        while let Some(header) = self.scan.previous_frame(below)? {
            let at = if header.kind == Kind::Checkpoint { header.offset } else { header.anchor };
            if let Some(found) = self.record_at(at)? {
                return Ok(Some(found));
            }
            below = header.offset;
        }
        Ok(None)
    }

    /// The record of a frame; `None` if it is none or not sound.
    fn record_at(&mut self, offset: u64) -> Result<Option<Found>> {
        if offset < FIRST_FRAME {
            return Ok(None);
        }
        let Some((header, raw)) = self.scan.header(offset)? else { return Ok(None) };
        if header.kind != Kind::Checkpoint {
            return Ok(None);
        }
        let Some(payload) = self.scan.payload(&header)? else { return Ok(None) };
        let Some(record) = Record::decode(payload) else { return Ok(None) };
        if record.durable > offset || record.previous >= offset {
            return Ok(None);
        }
        let chain = self.keys.chain(record.chain, &raw);
        Ok(Some(Found { header, record, chain }))
    }

    /// Walks from the durable mark; the last record that all frames before it are sound for.
    fn walk(&mut self, (mut at, mut chain): (u64, Chain), end: u64) -> Result<Option<Found>> {
        let mut newest = None;
        while at < end {
            let Some((header, raw)) = self.scan.header(at)? else { break };
            if self.scan.payload(&header)?.is_none() {
                break;
            }
            if header.kind == Kind::Checkpoint {
                match self.record_at(at)? {
                    Some(found) if found.record.chain == chain => newest = Some(found),
                    _ => break,
                }
            }
            chain = self.keys.chain(chain, &raw);
            at = header.end();
        }
        Ok(newest)
    }

    /// The newest state, from this one back, that the owner takes.
    fn accepted(
        &mut self,
        newest: Found,
        durable: (u64, Chain),
        accept: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Option<Opened>> {
        let mut candidate = Some(newest);
        while let Some(Found { header, record, chain }) = candidate {
            if accept(&record.meta) {
                let end = header.end();
                // A state from before the mark takes its own with it: what follows is written anew.
                let durable = if durable.0 <= end { durable } else { (end, chain) };
                let Record { roots, meta, .. } = record;
                let record_at = header.offset;
                return Ok(Some(Opened { end, chain, record_at, durable, roots, meta }));
            }
            candidate = self.record_at(record.previous)?;
        }
        Ok(None)
    }
}
