//! The blob stored for one revision: its body, and what it says of its attachments.
//!
//! ```text
//! summary    = length:varint attachment… body          length of the attachments in bytes
//! attachment = name:bytes type:bytes revpos:varint md5:16 flags:u8
//!              stored length:varint identity length:varint place
//! place      = BlobRef, or StreamRef if the flag STREAM is set
//! ```
//!
//! The body stands last and goes to the end, so that a reader of a document without attachments finds
//! it one byte from the start.

use settee_storage::{BlobRef, StreamRef};

use crate::{
    codec::{Reader, put_bytes, put_varint},
    error::Result,
};

const GZIP: u8 = 1;
const STREAM: u8 = 2;

/// How an attachment's bytes are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    #[default]
    Identity,
    /// As a gzip stream.
    Gzip,
}

/// Where an attachment's stored bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentPlace {
    /// In one blob, written with the document.
    Blob(BlobRef),
    /// In a stream, written ahead of the document.
    Stream(StreamRef),
}

/// What a revision says of one of its attachments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentRecord {
    /// Its name.
    pub name: String,
    /// Its media type, as the client gave it.
    pub content_type: String,
    /// Generation of the revision that brought it.
    pub revpos: u64,
    /// MD5 of the stored bytes.
    pub digest: [u8; 16],
    /// How the bytes are stored.
    pub encoding: Encoding,
    /// Length of the stored bytes.
    pub stored_len: u64,
    /// Length of the bytes when decoded.
    pub identity_len: u64,
    /// Where the stored bytes are.
    pub place: AttachmentPlace,
}

/// The blob of one revision, its attachments not yet read.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    /// The body: a minified JSON object without special members, or such a one packed by compaction.
    /// `Reader::body` gives its text.
    pub stored_body: &'a [u8],
    attachments: &'a [u8],
}

impl<'a> Summary<'a> {
    /// Reads a blob.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`] if it is not what [`encode_summary`] writes.
    pub fn decode(blob: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(blob, "document body");
        let attachments = reader.bytes()?;
        Ok(Summary { attachments, stored_body: reader.rest() })
    }

    /// True if the revision has attachments.
    #[must_use]
    pub fn has_attachments(&self) -> bool {
        !self.attachments.is_empty()
    }

    /// The attachments, in the document's order.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`] if the blob is not what [`encode_summary`] writes.
    pub fn attachments(&self) -> Result<Vec<AttachmentRecord>> {
        let mut reader = Reader::new(self.attachments, "list of attachments");
        let mut attachments = Vec::new();
        while !reader.is_empty() {
            attachments.push(decode_attachment(&mut reader)?);
        }
        Ok(attachments)
    }
}

/// The blob for a revision with this body and these attachments.
#[must_use]
pub fn encode_summary(body: &[u8], attachments: &[AttachmentRecord]) -> Vec<u8> {
    let mut records = Vec::new();
    for attachment in attachments {
        encode_attachment(attachment, &mut records);
    }
    let mut out = Vec::with_capacity(records.len() + body.len() + 4);
    put_bytes(&mut out, &records);
    out.extend_from_slice(body);
    out
}

fn encode_attachment(attachment: &AttachmentRecord, out: &mut Vec<u8>) {
    put_bytes(out, attachment.name.as_bytes());
    put_bytes(out, attachment.content_type.as_bytes());
    put_varint(out, attachment.revpos);
    out.extend_from_slice(&attachment.digest);
    let encoding = if attachment.encoding == Encoding::Gzip { GZIP } else { 0 };
    let place = if matches!(attachment.place, AttachmentPlace::Stream(_)) { STREAM } else { 0 };
    out.push(encoding | place);
    put_varint(out, attachment.stored_len);
    put_varint(out, attachment.identity_len);
    match attachment.place {
        AttachmentPlace::Blob(at) => out.extend_from_slice(&at.to_bytes()),
        AttachmentPlace::Stream(at) => out.extend_from_slice(&at.to_bytes()),
    }
}

fn decode_attachment(reader: &mut Reader<'_>) -> Result<AttachmentRecord> {
    let name = reader.text()?.to_owned();
    let content_type = reader.text()?.to_owned();
    let revpos = reader.varint()?;
    let digest = reader.array()?;
    let flags = reader.byte()?;
    if flags & !(GZIP | STREAM) != 0 {
        return Err(reader.damaged());
    }
    let encoding = if flags & GZIP == 0 { Encoding::Identity } else { Encoding::Gzip };
    let (stored_len, identity_len) = (reader.varint()?, reader.varint()?);
    let place = if flags & STREAM == 0 {
        AttachmentPlace::Blob(reader.blob()?)
    } else {
        AttachmentPlace::Stream(reader.stream()?)
    };
    Ok(AttachmentRecord {
        name,
        content_type,
        revpos,
        digest,
        encoding,
        stored_len,
        identity_len,
        place,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_blob() -> impl Strategy<Value = BlobRef> {
        any::<(u64, u32, u32)>().prop_map(|(offset, len, crc)| BlobRef { offset, len, crc })
    }

    prop_compose! {
        fn any_attachment()(
            (name, content_type) in (".{0,9}", ".{0,9}"),
            (revpos, stored_len, identity_len) in any::<(u64, u64, u64)>(),
            digest in any::<[u8; 16]>(),
            encoding in prop_oneof![Just(Encoding::Identity), Just(Encoding::Gzip)],
            place in prop_oneof![
                any_blob().prop_map(AttachmentPlace::Blob),
                (any_blob(), any::<u64>())
                    .prop_map(|(index, len)| AttachmentPlace::Stream(StreamRef { index, len })),
            ],
        ) -> AttachmentRecord {
            AttachmentRecord { name, content_type, revpos, digest, encoding, stored_len, identity_len, place }
        }
    }

    proptest! {
        #[test]
        fn a_summary_comes_back(
            attachments in prop::collection::vec(any_attachment(), 0..4),
            body in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let blob = encode_summary(&body, &attachments);
            let summary = Summary::decode(&blob).unwrap();
            prop_assert_eq!(summary.stored_body, &body[..]);
            prop_assert_eq!(summary.has_attachments(), !attachments.is_empty());
            prop_assert_eq!(summary.attachments().unwrap(), attachments);
        }

        #[test]
        fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Summary::decode(&bytes).map(|summary| summary.attachments());
        }
    }
}
