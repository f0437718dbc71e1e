//! Documents whose attachments follow as a stream, never whole in memory.

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinHandle,
};

use super::{Key, Result};
use crate::{
    json::{raw, unescape},
    replication::error::ReplicationError,
};

/// Pieces of attachments that wait between the reader and the writer.
pub(super) const PIECES: usize = 8;
/// Size of a piece that is read from a store, in bytes.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// What one request for a revision brings, in order.
pub(in crate::replication) struct AttachedItems {
    pub(super) items: mpsc::Receiver<Result<AttachedItem>>,
    /// Who reads; ended when nobody listens.
    pub(super) reader: JoinHandle<()>,
}

impl AttachedItems {
    /// The next one; `None` at the end. The attachments of the one before must have been read or let go.
    pub(in crate::replication) async fn next(&mut self) -> Option<Result<AttachedItem>> {
        self.items.recv().await
    }
}

impl Drop for AttachedItems {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A revision that was asked for.
pub(in crate::replication) enum AttachedItem {
    /// It is here.
    Document(Attached),
    /// The source does not have it.
    Missing,
}

/// A document and, behind it, its attachments.
pub(in crate::replication) struct Attached {
    pub(in crate::replication) key: Key,
    /// The document, with `"follows":true` where bytes follow.
    pub(super) json: Bytes,
    /// The attachments that follow, in order.
    pub(super) parts: Vec<Part>,
    /// Their bytes, one attachment after the other.
    pub(super) data: mpsc::Receiver<Result<Bytes>>,
    /// The place that a large document takes, until it is written.
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

/// An attachment that follows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) content_type: String,
    pub(super) gzip: bool,
    /// As it is sent, in bytes.
    pub(super) length: u64,
}

/// The attachments that follow a document.
///
/// # Errors
/// What is wrong with one of them.
pub(super) fn parts_of(json: &[u8]) -> std::result::Result<Vec<Part>, String> {
    let Some(attachments) = raw::member(json, "_attachments") else { return Ok(Vec::new()) };
    let following = raw::members(attachments)
        .filter(|(_, attachment)| raw::member(attachment, "follows") == Some(b"true"));
    following.map(|(name, attachment)| part_of(name, attachment)).collect()
}

fn part_of(name: &[u8], attachment: &[u8]) -> std::result::Result<Part, String> {
    let text =
        |spelled: &[u8]| unescape(std::str::from_utf8(spelled).unwrap_or_default()).into_owned();
    let name = text(name);
    let string = |member: &str| raw::member(attachment, member).and_then(raw::string).map(text);
    let number = |member: &str| {
        let digits = std::str::from_utf8(raw::member(attachment, member)?).ok()?;
        digits.parse::<u64>().ok()
    };
    let gzip = string("encoding").is_some_and(|encoding| encoding == "gzip");
    let length = if gzip { number("encoded_length") } else { number("length") };
    let length = length.ok_or_else(|| format!("attachment {name} has no length"))?;
    let content_type = string("content_type").unwrap_or_default();
    Ok(Part { name, content_type, gzip, length })
}

impl Attached {
    /// Bytes of the document itself.
    pub(in crate::replication) fn bytes(&self) -> usize {
        self.json.len()
    }

    /// Whether attachments follow.
    pub(in crate::replication) fn is_followed(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The next bytes of the attachments.
    pub(super) async fn piece(&mut self) -> Option<Result<Bytes>> {
        self.data.recv().await
    }
}

/// An attachment broke off.
pub(super) fn broke_off(id: &str) -> ReplicationError {
    ReplicationError::Internal(format!("the attachments of document {id} broke off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_document() {
        let json = br#"{"_id":"a","_attachments":{"s":{"stub":true,"length":3},"b\"":{"content_type":"x/y","follows":true,"length":5},"z":{"follows":true,"encoding":"gzip","encoded_length":9,"length":50}}}"#;
        let parts = parts_of(json).unwrap();
        let part = |name: &str, content_type: &str, gzip, length| Part {
            name: name.into(),
            content_type: content_type.into(),
            gzip,
            length,
        };
        assert_eq!(parts, [part("b\"", "x/y", false, 5), part("z", "", true, 9)]);
        assert!(parts_of(br#"{"_attachments":{"b":{"follows":true}}}"#).is_err());
    }
}
