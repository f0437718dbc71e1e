//! Answers that come as gzip, decoded while they arrive.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

/// How much is decoded at once, in bytes: what comes out of it is at most a thousand times as much.
pub(super) const PIECE_BYTES: usize = 4 * 1024;

/// Decodes an answer piece by piece.
pub(super) struct Inflater(Box<MultiGzDecoder<Vec<u8>>>);

impl Inflater {
    pub(super) fn new() -> Self {
        Inflater(Box::new(MultiGzDecoder::new(Vec::new())))
    }

    /// Decodes up to [`PIECE_BYTES`] from the front of `bytes`, which are taken off.
    pub(super) fn piece(&mut self, bytes: &mut Bytes) -> io::Result<Bytes> {
        let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
        self.0.write_all(&piece)?;
        self.0.flush()?;
        Ok(Bytes::from(std::mem::take(self.0.get_mut())))
    }

    /// Says that nothing follows.
    pub(super) fn finish(&mut self) -> io::Result<Bytes> {
        self.0.try_finish()?;
        Ok(Bytes::from(std::mem::take(self.0.get_mut())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::gzip;

    #[test]
    fn pieces_come_out_as_they_went_in() {
        let text: Vec<u8> = (0..40_000u32).flat_map(|n| (n % 251).to_le_bytes()).collect();
        let mut packed = Bytes::from(gzip::compress(&text, 6));
        let mut inflater = Inflater::new();
        let mut out = Vec::new();
        while !packed.is_empty() {
            out.extend_from_slice(&inflater.piece(&mut packed).unwrap());
        }
        out.extend_from_slice(&inflater.finish().unwrap());
        assert!(out == text);
        assert!(Inflater::new().piece(&mut Bytes::from_static(b"no gzip at all")).is_err());
    }
}
