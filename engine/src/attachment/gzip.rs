//! Compression of attachments.
//!
//! The digest and the revision id are taken over the compressed bytes, so these must be the ones that
//! CouchDB produces: stock zlib, a gzip header without name or time whose system is Unix.

use std::io::{self, Read, Write};

use flate2::{Compression, GzBuilder, read::MultiGzDecoder, write::GzEncoder};

/// zlib level that CouchDB uses unless told otherwise.
pub const DEFAULT_LEVEL: u32 = 8;
/// The header's code for Unix, which Erlang's zlib writes.
const SYSTEM_UNIX: u8 = 3;

/// Compresses what is written to it.
pub struct Compressor<W: Write>(GzEncoder<W>);

impl<W: Write> Compressor<W> {
    /// Compresses into `sink` at zlib level 1 to 9.
    pub fn new(sink: W, level: u32) -> Self {
        Compressor(
            GzBuilder::new()
                .operating_system(SYSTEM_UNIX)
                .write(sink, Compression::new(level.clamp(1, 9))),
        )
    }

    /// Writes the end and returns the sink.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }

    /// The sink, to take out what has been compressed so far.
    pub fn sink(&mut self) -> &mut W {
        self.0.get_mut()
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    /// Does nothing: flushing would change the compressed bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses bytes that are already in memory.
#[must_use]
pub fn compress(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut compressor = Compressor::new(Vec::new(), level);
    // Writing to memory does not fail.
    match compressor.write_all(bytes).and_then(|()| compressor.finish()) {
        Ok(compressed) => compressed,
        Err(error) => unreachable!("compressing to memory failed: {error}"),
    }
}

/// Reads the identity bytes out of gzip bytes.
pub fn decompressor<R: Read>(source: R) -> impl Read {
    MultiGzDecoder::new(source)
}

/// Types that are compressed, as the option `[attachments] compressible_types` lists them: media
/// types with `*` for any characters, compared without parameters and regardless of case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressibleTypes(Vec<String>);

impl CompressibleTypes {
    /// Reads the option's value: types separated by commas.
    #[must_use]
    pub fn parse(list: &str) -> Self {
        let types = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        CompressibleTypes(types.map(str::to_lowercase).collect())
    }

    /// True if an attachment of this type is compressed.
    #[must_use]
    pub fn contains(&self, content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_lowercase();
        self.0.iter().any(|pattern| matches(pattern, &essence))
    }
}

impl Default for CompressibleTypes {
    fn default() -> Self {
        CompressibleTypes::parse(
            "text/*, application/javascript, application/json, application/xml",
        )
    }
}

/// True if `text` is `pattern` with each `*` standing for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    rest.char_indices()
        .map(|(at, _)| at)
        .chain([rest.len()])
        .any(|at| rest.get(at..).is_some_and(|rest| matches(after, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_that_of_erlang() {
        let compressed = compress(b"x", DEFAULT_LEVEL);
        assert_eq!(compressed[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
    }

    #[test]
    fn bytes_come_back() {
        let bytes: Vec<u8> = (0..100_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let mut inflated = Vec::new();
        let compressed = compress(&bytes, DEFAULT_LEVEL);
        decompressor(&compressed[..]).read_to_end(&mut inflated).unwrap();
        assert!(compressed.len() < bytes.len() && inflated == bytes);
    }

    #[test]
    fn hostile_bytes_are_an_error() {
        let mut compressed = compress(b"some text, some text", DEFAULT_LEVEL);
        compressed.truncate(compressed.len() - 3);
        for bytes in [&compressed[..], b"no gzip at all", b"\x1f\x8b"] {
            assert!(decompressor(bytes).read_to_end(&mut Vec::new()).is_err());
        }
    }

    #[test]
    fn which_types_are_compressed() {
        let types = CompressibleTypes::default();
        for yes in ["text/plain", "Text/HTML; Charset=UTF-8", "application/json", "text/"] {
            assert!(types.contains(yes), "{yes}");
        }
        for no in ["image/png", "application/json2", "xtext/plain", "", "application/octet-stream"]
        {
            assert!(!types.contains(no), "{no}");
        }
    }
}
