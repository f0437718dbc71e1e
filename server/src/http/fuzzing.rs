//! Doors to parsers that are private, for the fuzz targets.

use super::{
    Path, accept,
    multipart::{self, reader},
    percent, ranges,
};
use crate::auth::cookie;
use crate::config::HashFunction;

/// Parses a text as every header there is, and as a path.
pub fn headers(text: &str) {
    let header = Some(text);
    let _ = (accept::accepts_type(header, "application/json"), accept::accepts_gzip(header));
    for length in [0, 1, 1000, u64::MAX] {
        let _ = ranges::select(header, length);
    }
    let _ = (multipart::parameter(text, "boundary"), cookie::find(text));
    if let Some(claim) = cookie::Claim::parse(text) {
        let _ = (
            claim.name(),
            claim.issued(),
            claim.is_genuine("secret", "salt", &[HashFunction::Sha256]),
        );
    }
    let _ = Path::parse(text, true).map(|path| path.segments().count());
    let mut out = Vec::new();
    if percent::decode_into(text.as_bytes(), false, &mut out).is_some() {
        assert!(out.len() <= text.len(), "decoding makes nothing longer");
    }
}

/// Takes a body of the boundary `b` apart that arrives in pieces of this size: the parts before its end
/// or its first error, each as its headers and its bytes.
pub fn multipart(body: &[u8], piece: usize) -> (Vec<(String, Vec<u8>)>, bool) {
    let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
    let mut pieces = body.chunks(piece.max(1));
    let Ok(mut reader) = reader::Reader::new("multipart/related; boundary=b") else {
        return (parts, false);
    };
    loop {
        match reader.event() {
            Ok(reader::Event::Part(headers)) => parts.push((format!("{headers:?}"), Vec::new())),
            Ok(reader::Event::Data(bytes)) => {
                if let Some((_, part)) = parts.last_mut() {
                    part.extend_from_slice(&bytes);
                }
            }
            Ok(reader::Event::PartEnd) => {}
            Ok(reader::Event::End) => return (parts, true),
            Ok(reader::Event::NeedMore) => match pieces.next() {
                Some(piece) => reader.push(piece),
                None => reader.finish(),
            },
            Err(_) => {
                // How much of a part that breaks off was seen depends on the pieces.
                parts.pop();
                return (parts, false);
            }
        }
    }
}
