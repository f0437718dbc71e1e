//! Writing a document as CouchDB orders it, by copying the stored text.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{AttachmentRecord, Encoding};
use crate::{
    attachment::digest,
    json::write_string,
    revision::{Rev, RevId},
};

/// What is known of a revision, as `_revs_info` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevStatus {
    /// Its body can be read.
    Available,
    /// Its body is gone.
    Missing,
    /// It is a tombstone.
    Deleted,
}

impl RevStatus {
    fn word(self) -> &'static str {
        match self {
            RevStatus::Available => "available",
            RevStatus::Missing => "missing",
            RevStatus::Deleted => "deleted",
        }
    }
}

/// How an attachment is shown in a document.
#[derive(Clone, Copy, Debug)]
pub enum AttachmentView<'a> {
    /// Only what is known of it.
    Stub,
    /// Its bytes come in a later part of the answer.
    Follows,
    /// With its bytes, decoded.
    Data(&'a [u8]),
}

/// A revision of a document and what of it is to be written.
///
/// ```
/// use settee_engine::{Rev, document::DocumentView};
///
/// let rev = Rev::parse(b"1-7a7e4b29f3af401e69b6f86e4c26b727")?;
/// let mut out = Vec::new();
/// DocumentView::new("a", &rev, br#"{"v":1}"#).write_json(&mut out);
/// assert_eq!(out, br#"{"_id":"a","_rev":"1-7a7e4b29f3af401e69b6f86e4c26b727","v":1}"#);
/// # Ok::<(), settee_engine::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DocumentView<'a> {
    /// The document's id.
    pub id: &'a str,
    /// The revision; `None` leaves `_rev` out.
    pub rev: Option<&'a Rev>,
    /// The body as stored.
    pub body: &'a [u8],
    /// The revision is a tombstone.
    pub deleted: bool,
    /// The ids of the revision and its ancestors, newest first; empty leaves `_revisions` out.
    pub revisions: &'a [RevId],
    /// Revision and status of each ancestor, newest first; empty leaves `_revs_info` out.
    pub revs_info: &'a [(Rev, RevStatus)],
    /// The sequence of the latest change.
    pub local_seq: Option<u64>,
    /// The other live leaves; empty leaves `_conflicts` out.
    pub conflicts: &'a [Rev],
    /// The other deleted leaves; empty leaves `_deleted_conflicts` out.
    pub deleted_conflicts: &'a [Rev],
    /// The attachments and how each is shown.
    pub attachments: &'a [(&'a AttachmentRecord, AttachmentView<'a>)],
    /// Show `encoding` and `encoded_length` of compressed attachments.
    pub encoding_info: bool,
}

impl<'a> DocumentView<'a> {
    /// A live revision with its body and nothing else.
    #[must_use]
    pub fn new(id: &'a str, rev: &'a Rev, body: &'a [u8]) -> Self {
        DocumentView {
            id,
            rev: Some(rev),
            body,
            deleted: false,
            revisions: &[],
            revs_info: &[],
            local_seq: None,
            conflicts: &[],
            deleted_conflicts: &[],
            attachments: &[],
            encoding_info: false,
        }
    }

    /// Appends the document.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.reserve(self.body.len() + self.id.len() + 64);
        out.extend_from_slice(b"{\"_id\":");
        write_string(self.id, out);
        if let Some(rev) = self.rev {
            out.extend_from_slice(b",\"_rev\":");
            write_rev(rev, out);
        }
        // The body's members, without the braces around them.
        let members = self.body.get(1..self.body.len().saturating_sub(1)).unwrap_or_default();
        if !members.is_empty() {
            out.push(b',');
            out.extend_from_slice(members);
        }
        if self.deleted {
            out.extend_from_slice(b",\"_deleted\":true");
        }
        self.write_meta(out);
        self.write_attachments(out);
        out.push(b'}');
    }

    /// True if [`DocumentView::write_json`] writes something that may change while the revision stays
    /// the same.
    #[must_use]
    pub fn has_meta(&self) -> bool {
        !self.revs_info.is_empty()
            || self.local_seq.is_some()
            || !self.conflicts.is_empty()
            || !self.deleted_conflicts.is_empty()
    }

    fn write_meta(&self, out: &mut Vec<u8>) {
        if let (Some(rev), false) = (self.rev, self.revisions.is_empty()) {
            out.extend_from_slice(b",\"_revisions\":{\"start\":");
            write_number(rev.generation, out);
            out.extend_from_slice(b",\"ids\":");
            write_list(self.revisions, out, write_rev_id);
            out.push(b'}');
        }
        if !self.revs_info.is_empty() {
            out.extend_from_slice(b",\"_revs_info\":");
            write_list(self.revs_info, out, |(rev, status), out| {
                out.extend_from_slice(b"{\"rev\":");
                write_rev(rev, out);
                out.extend_from_slice(b",\"status\":\"");
                out.extend_from_slice(status.word().as_bytes());
                out.extend_from_slice(b"\"}");
            });
        }
        if let Some(seq) = self.local_seq {
            out.extend_from_slice(b",\"_local_seq\":");
            write_number(seq, out);
        }
        if !self.conflicts.is_empty() {
            out.extend_from_slice(b",\"_conflicts\":");
            write_list(self.conflicts, out, write_rev);
        }
        if !self.deleted_conflicts.is_empty() {
            out.extend_from_slice(b",\"_deleted_conflicts\":");
            write_list(self.deleted_conflicts, out, write_rev);
        }
    }

    fn write_attachments(&self, out: &mut Vec<u8>) {
        if self.attachments.is_empty() {
            return;
        }
        out.extend_from_slice(b",\"_attachments\":{");
        for (index, (attachment, view)) in self.attachments.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_attachment(attachment, *view, self.encoding_info, out);
        }
        out.push(b'}');
    }
}

pub(crate) fn write_attachment(
    attachment: &AttachmentRecord,
    view: AttachmentView<'_>,
    encoding_info: bool,
    out: &mut Vec<u8>,
) {
    begin_attachment(attachment, out);
    match view {
        AttachmentView::Data(bytes) => write_data(bytes, out),
        AttachmentView::Stub | AttachmentView::Follows => {
            out.extend_from_slice(b",\"length\":");
            write_number(attachment.identity_len, out);
            let stub = matches!(view, AttachmentView::Stub);
            out.extend_from_slice(if stub { b",\"stub\":true" } else { b",\"follows\":true" });
        }
    }
    end_attachment(attachment, encoding_info, out);
}

/// Appends an attachment up to where its length or its data stand.
pub(crate) fn begin_attachment(attachment: &AttachmentRecord, out: &mut Vec<u8>) {
    write_string(&attachment.name, out);
    out.extend_from_slice(b":{\"content_type\":");
    write_string(&attachment.content_type, out);
    out.extend_from_slice(b",\"revpos\":");
    write_number(attachment.revpos, out);
    out.extend_from_slice(b",\"digest\":\"");
    out.extend_from_slice(digest::to_text(&attachment.digest).as_bytes());
    out.push(b'"');
}

/// Appends what follows an attachment's length or data.
pub(crate) fn end_attachment(
    attachment: &AttachmentRecord,
    encoding_info: bool,
    out: &mut Vec<u8>,
) {
    if encoding_info && attachment.encoding == Encoding::Gzip {
        out.extend_from_slice(b",\"encoding\":\"gzip\",\"encoded_length\":");
        write_number(attachment.stored_len, out);
    }
    out.push(b'}');
}

fn write_data(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"data\":\"");
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The space is exactly what base64 takes.
    if let Some(space) = out.get_mut(start..) {
        let written = STANDARD.encode_slice(bytes, space);
        debug_assert!(written.is_ok());
    }
    out.push(b'"');
}

/// Appends a revision as a JSON string.
pub fn write_rev(rev: &Rev, out: &mut Vec<u8>) {
    match rev.id {
        RevId::Hash(_) => {
            out.push(b'"');
            rev.write(out);
            out.push(b'"');
        }
        // Only ids given by clients can need escapes.
        RevId::Opaque(_) => write_string(&rev.to_string(), out),
    }
}

fn write_rev_id(id: &RevId, out: &mut Vec<u8>) {
    match id {
        RevId::Hash(_) => {
            out.push(b'"');
            id.write(out);
            out.push(b'"');
        }
        RevId::Opaque(_) => write_string(&id.to_string(), out),
    }
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a JSON array.
pub(crate) fn write_list<T>(
    items: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    write: impl Fn(T, &mut Vec<u8>),
) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use settee_storage::BlobRef;

    use super::*;
    use crate::{document::AttachmentPlace, json::Value};

    fn rev(text: &str) -> Rev {
        Rev::parse(text.as_bytes()).unwrap()
    }

    fn attachment(name: &str, encoding: Encoding) -> AttachmentRecord {
        AttachmentRecord {
            name: name.to_owned(),
            content_type: "text/plain".to_owned(),
            revpos: 2,
            digest: digest::md5(b"bbb"),
            encoding,
            stored_len: 23,
            identity_len: 3,
            place: AttachmentPlace::Blob(BlobRef { offset: 0, len: 3, crc: 0 }),
        }
    }

    fn written(view: &DocumentView<'_>) -> String {
        let mut out = Vec::new();
        view.write_json(&mut out);
        assert!(Value::parse(&out).is_ok_and(|value| value.to_json() == out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn bodies_of_all_shapes() {
        let rev = rev("1-x");
        let head = r#"{"_id":"a\"\n","_rev":"1-x""#;
        let of = |body: &[u8]| written(&DocumentView::new("a\"\n", &rev, body));
        assert_eq!(of(b"{}"), format!("{head}}}"));
        assert_eq!(of(br#"{"b":[1]}"#), format!("{head},\"b\":[1]}}"));
        let view = DocumentView { rev: None, ..DocumentView::new("a", &rev, b"{}") };
        assert_eq!(written(&view), r#"{"_id":"a"}"#);
    }

    #[test]
    fn members_come_in_the_order_of_couchdb() {
        let revs = [rev("3-c"), rev("2-b\""), rev("1-967a00dff5e02add41819138abb3284d")];
        let ids = revs.each_ref().map(|rev| rev.id.clone());
        let statuses = [RevStatus::Available, RevStatus::Missing, RevStatus::Deleted];
        let revs_info: Vec<_> = revs.iter().cloned().zip(statuses).collect();
        let (plain, gzip) = (attachment("p", Encoding::Identity), attachment("g", Encoding::Gzip));
        let view = DocumentView {
            deleted: true,
            revisions: &ids,
            revs_info: &revs_info,
            local_seq: Some(7),
            conflicts: &revs[..2],
            deleted_conflicts: &revs[2..],
            attachments: &[
                (&plain, AttachmentView::Stub),
                (&gzip, AttachmentView::Follows),
                (&gzip, AttachmentView::Data(b"bbb")),
            ],
            encoding_info: true,
            ..DocumentView::new("d", &revs[0], br#"{"v":1}"#)
        };
        let known =
            r#""content_type":"text/plain","revpos":2,"digest":"md5-CPjgJgxkQYUQzvsrBu7lzQ==""#;
        let gzip = r#""encoding":"gzip","encoded_length":23"#;
        let expected = [
            r#"{"_id":"d","_rev":"3-c","v":1,"_deleted":true,"#,
            r#""_revisions":{"start":3,"ids":["c","b\"","967a00dff5e02add41819138abb3284d"]},"#,
            r#""_revs_info":[{"rev":"3-c","status":"available"},{"rev":"2-b\"","status":"missing"},"#,
            r#"{"rev":"1-967a00dff5e02add41819138abb3284d","status":"deleted"}],"_local_seq":7,"#,
            r#""_conflicts":["3-c","2-b\""],"#,
            r#""_deleted_conflicts":["1-967a00dff5e02add41819138abb3284d"],"_attachments":{"#,
            &format!(r#""p":{{{known},"length":3,"stub":true}},"#),
            &format!(r#""g":{{{known},"length":3,"follows":true,{gzip}}},"#),
            &format!(r#""g":{{{known},"data":"YmJi",{gzip}}}}}}}"#),
        ];
        let mut out = Vec::new();
        view.write_json(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected.concat());
        assert!(view.has_meta() && !DocumentView::new("d", &revs[0], b"{}").has_meta());
    }

    #[test]
    fn data_of_any_length_is_base64() {
        let (record, rev) = (attachment("f", Encoding::Identity), rev("1-x"));
        for length in 0..70 {
            let bytes: Vec<u8> = (0..length).collect();
            let attachments = [(&record, AttachmentView::Data(&bytes))];
            let view =
                DocumentView { attachments: &attachments, ..DocumentView::new("d", &rev, b"{}") };
            let expected = format!("\"data\":\"{}\"", STANDARD.encode(&bytes));
            assert!(written(&view).contains(&expected));
        }
    }
}
