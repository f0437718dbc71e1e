//! A document as a client sends it.

#[cfg(test)]
mod tests;

use base64::{
    Engine, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

use super::{Body, Encoding};
use crate::{
    attachment::{StagedAttachment, digest},
    error::{Error, Result},
    json::{Member, Scanner, raw, unescape},
    name::{check_attachment, check_doc_id},
    revision::{MAX_GENERATION, Rev, RevId},
};

/// What an attachment is taken for if nothing is said.
pub const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// Base64 as Erlang reads it: padding is needed, the bits it hides need not be zero.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Sizes beyond which a document is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Body without specials and attachments, in bytes of JSON text (`[couchdb] max_document_size`).
    pub document_bytes: u64,
    /// One attachment, in bytes (`[couchdb] max_attachment_size`).
    pub attachment_bytes: u64,
    /// A document's id, in bytes (`[couchdb] max_document_id_length`). The store's own limit holds
    /// besides.
    pub id_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { document_bytes: 8_000_000, attachment_bytes: 1 << 30, id_bytes: usize::MAX }
    }
}

/// A document as it comes in, structurally sound.
///
/// ```
/// use settee_engine::document::{Document, Limits};
///
/// let json = br#"{"_id": "a", "_rev": "1-x", "n": 1.50}"#;
/// let document = Document::parse(json, None, &Limits::default())?;
/// assert_eq!(document.id, "a");
/// assert_eq!(document.body.as_bytes(), br#"{"n":1.5}"#);
/// # Ok::<(), settee_engine::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its id; empty if the client left it to the server.
    pub id: String,
    /// The revision named: the one to follow for an interactive write, its own for a replicated one.
    pub rev: Option<Rev>,
    /// The ids of the revisions before `rev`, newest first, as far as `_revisions` gives them.
    pub history: Vec<RevId>,
    /// The write makes a tombstone.
    pub deleted: bool,
    /// What is stored.
    pub body: Body,
    /// The attachments it shall have, in order.
    pub attachments: Vec<IncomingAttachment>,
}

/// An attachment as a client sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingAttachment {
    /// Its name.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// Generation in which it came, if the client says so.
    pub revpos: Option<u64>,
    /// Where its bytes are.
    pub source: AttachmentSource,
}

/// Where an attachment's bytes are.
#[derive(Clone, Debug, PartialEq)]
pub enum AttachmentSource {
    /// With the parent revision's attachment of the same name.
    Stub,
    /// Here, as they are when decoded.
    Inline(Vec<u8>),
    /// In a later part of the request.
    Follows {
        /// Length of that part in bytes, if announced.
        length: Option<u64>,
        /// Length when decoded, if announced.
        identity_length: Option<u64>,
        /// How the part is encoded.
        encoding: Encoding,
        /// MD5 of the part, if announced.
        digest: Option<[u8; 16]>,
    },
    /// In the store already, waiting for this document.
    Staged(StagedAttachment),
    /// In the store already, as another document's or revision's, whose position it keeps.
    Copied(StagedAttachment),
}

impl Document {
    /// Reads a document. An id from the URL takes the place of the document's own, which is checked
    /// nevertheless.
    ///
    /// # Errors
    /// Every structural error of CouchDB's, in its order of precedence: [`Error::IllegalDocId`] for
    /// `id_from_url`, [`Error::InvalidJson`], the members in the order they come, sizes, names of
    /// attachments.
    pub fn parse(json: &[u8], id_from_url: Option<&str>, limits: &Limits) -> Result<Self> {
        if let Some(id) = id_from_url {
            check_id(id, limits)?;
        }
        let mut scanner = Scanner::new(json)?;
        let mut text = Vec::with_capacity(json.len());
        scanner.value(&mut text)?;
        scanner.end()?;
        // A document that is too large is named by its own id, as in CouchDB, not by the URL's.
        let mut document = Document::from_scanned(&scanner, text, limits)?;
        if let Some(id) = id_from_url {
            id.clone_into(&mut document.id);
        }
        Ok(document)
    }

    /// Takes a document from what `scanner` read last, and put into `text`.
    pub(crate) fn from_scanned(
        scanner: &Scanner<'_>,
        mut text: Vec<u8>,
        limits: &Limits,
    ) -> Result<Self> {
        if text.first() != Some(&b'{') {
            return Err(Error::BadRequest("Document must be a JSON object".into()));
        }
        let mut specials = Specials::default();
        let mut is_special = false;
        for member in scanner.members() {
            let name = text.get(member.name.clone()).unwrap_or_default();
            if name.first() == Some(&b'_') {
                let value = text.get(member.value.clone()).unwrap_or_default();
                specials.take(name, value, limits)?;
                is_special = true;
            }
        }
        if is_special {
            keep_body(&mut text, scanner.members());
        }
        specials.check(text.len(), limits)?;
        let Specials { id, rev, history, deleted, attachments } = specials;
        let body = Body::from_scanned(text, scanner.has_negative_zero());
        Ok(Document { id, rev, history, deleted, body, attachments })
    }

    /// Makes sure that the document says which revision it is.
    ///
    /// # Errors
    /// [`Error::BadRequest`] as CouchDB answers to replicated writes without.
    pub fn require_rev(&self) -> Result<()> {
        let reason = "When `new_edits: false`, the document needs `_rev` or `_revisions` specified";
        if self.rev.is_some() { Ok(()) } else { Err(Error::BadRequest(reason.into())) }
    }

    /// The document's revision and its known ancestors, newest first.
    #[must_use]
    pub fn path(&self) -> Option<(u64, Vec<RevId>)> {
        let rev = self.rev.as_ref()?;
        let mut ids = Vec::with_capacity(self.history.len() + 1);
        ids.push(rev.id.clone());
        ids.extend_from_slice(&self.history);
        Some((rev.generation, ids))
    }
}

fn check_id(id: &str, limits: &Limits) -> Result<()> {
    if id.len() > limits.id_bytes {
        return Err(Error::IllegalDocId("Document id is too long".into()));
    }
    check_doc_id(id)
}

/// Leaves the special members out of a scanned object.
fn keep_body(text: &mut Vec<u8>, members: &[Member]) {
    let mut length = 1;
    for member in members {
        let name = text.get(member.name.clone()).unwrap_or_default();
        if name.first() == Some(&b'_') && !is_stored_special(name) {
            continue;
        }
        if length > 1 {
            // A member stood before this one, so there is room.
            text[length] = b',';
            length += 1;
        }
        let whole = member.name.start - 1..member.value.end;
        let end = length + whole.len();
        text.copy_within(whole, length);
        length = end;
    }
    text.truncate(length);
    text.push(b'}');
    if text.capacity() > 2 * text.len() {
        text.shrink_to_fit();
    }
}

/// Members with an underscore that are part of the body all the same.
fn is_stored_special(name: &[u8]) -> bool {
    const STORED: [&[u8]; 6] = [
        b"_access",
        b"_replication_state",
        b"_replication_state_time",
        b"_replication_state_reason",
        b"_replication_id",
        b"_replication_stats",
    ];
    STORED.contains(&name)
}

/// The special members of a document.
#[derive(Default)]
struct Specials {
    id: String,
    rev: Option<Rev>,
    history: Vec<RevId>,
    deleted: bool,
    attachments: Vec<IncomingAttachment>,
}

impl Specials {
    /// Takes in a member whose name begins with an underscore. A member whose value has the wrong type
    /// is as good as unknown, as in CouchDB.
    fn take(&mut self, name: &[u8], value: &[u8], limits: &Limits) -> Result<()> {
        match (name, value) {
            (b"_id", value) => {
                let id = raw::string(value).ok_or_else(not_a_string)?;
                self.id = text_of(id).into_owned();
                check_id(&self.id, limits)
            }
            (b"_rev", value) => self.take_rev(value),
            (b"_deleted", b"true") => {
                self.deleted = true;
                Ok(())
            }
            (b"_deleted", b"false") => {
                self.deleted = false;
                Ok(())
            }
            (b"_revisions", [b'{', ..]) => self.take_revisions(value),
            (b"_attachments", [b'{', ..]) => self.take_attachments(value),
            (b"_revs_info" | b"_local_seq" | b"_conflicts" | b"_deleted_conflicts", _) => Ok(()),
            (name, _) if is_stored_special(name) => Ok(()),
            (name, _) => {
                Err(Error::DocValidation(format!("Bad special document member: {}", text_of(name))))
            }
        }
    }

    fn take_rev(&mut self, value: &[u8]) -> Result<()> {
        // `_revisions` says more, so a `_rev` behind it is not even looked at.
        if self.rev.is_none() {
            let rev = raw::string(value).ok_or(Error::InvalidRev)?;
            self.rev = Some(Rev::parse(text_of(rev).as_bytes())?);
        }
        Ok(())
    }

    fn take_revisions(&mut self, value: &[u8]) -> Result<()> {
        let invalid = |reason: &str| Err(Error::DocValidation(reason.to_owned()));
        let start = raw::member(value, "start").and_then(|start| std::str::from_utf8(start).ok());
        let Some(start) = start.and_then(|start| start.parse::<i64>().ok()) else {
            return invalid("_revisions.start isn't an integer.");
        };
        let Some(ids) = raw::member(value, "ids").filter(|ids| ids.starts_with(b"[")) else {
            return invalid("_revisions.ids isn't a array.");
        };
        let ids =
            raw::items(ids).map(|id| parse_history_id(start, id)).collect::<Result<Vec<_>>>()?;
        let generation = u64::try_from(start).ok().filter(|start| *start <= MAX_GENERATION);
        let generation = generation.ok_or(Error::InvalidRev)?;
        if ids.len() as u64 > generation.max(1) {
            return invalid("_revisions.ids has more entries than _revisions.start generations.");
        }
        let mut ids = ids.into_iter();
        self.rev = ids.next().map(|id| Rev::new(generation, id));
        self.history = ids.collect();
        Ok(())
    }

    fn take_attachments(&mut self, value: &[u8]) -> Result<()> {
        self.attachments = raw::members(value)
            .map(|(name, value)| parse_attachment(text_of(name).into_owned(), value))
            .collect::<Result<_>>()?;
        Ok(())
    }

    /// The checks that come after all members have been seen.
    fn check(&self, body_bytes: usize, limits: &Limits) -> Result<()> {
        if body_bytes as u64 > limits.document_bytes {
            return Err(Error::DocumentTooLarge(self.id.clone()));
        }
        for attachment in &self.attachments {
            let bytes = match &attachment.source {
                AttachmentSource::Inline(bytes) => bytes.len() as u64,
                AttachmentSource::Follows { length, .. } => length.unwrap_or(0),
                AttachmentSource::Staged(staged) | AttachmentSource::Copied(staged) => {
                    staged.stored_len
                }
                AttachmentSource::Stub => 0,
            };
            if bytes > limits.attachment_bytes {
                return Err(Error::AttachmentTooLarge(attachment.name.clone()));
            }
        }
        self.attachments.iter().try_for_each(|attachment| check_attachment(&attachment.name))
    }
}

fn not_a_string() -> Error {
    Error::IllegalDocId("Document id must be a string".into())
}

/// The text of the inside of a scanned string.
fn text_of(spelled: &[u8]) -> std::borrow::Cow<'_, str> {
    unescape(std::str::from_utf8(spelled).unwrap_or_default())
}

fn parse_history_id(start: i64, id: &[u8]) -> Result<RevId> {
    let invalid = |reason: &str| Error::DocValidation(reason.to_owned());
    let id =
        raw::string(id).filter(|_| start >= 0).ok_or_else(|| invalid("RevId isn't a string"))?;
    Rev::parse_id(start.unsigned_abs(), text_of(id).as_bytes())
        .map_err(|_| invalid("RevId isn't a valid hexadecimal"))
}

fn parse_attachment(name: String, value: &[u8]) -> Result<IncomingAttachment> {
    if !value.starts_with(b"{") {
        return Err(Error::InvalidAttachmentData(name));
    }
    let content_type = match raw::member(value, "content_type") {
        None => DEFAULT_CONTENT_TYPE.to_owned(),
        Some(value) => match raw::string(value) {
            Some(content_type) => text_of(content_type).into_owned(),
            None => return Err(Error::InvalidAttachmentData(name)),
        },
    };
    let source = if raw::member(value, "stub") == Some(b"true") {
        AttachmentSource::Stub
    } else if raw::member(value, "follows") == Some(b"true") {
        parse_follows(value)?
    } else {
        let data = raw::member(value, "data").and_then(raw::string).and_then(decode_base64);
        match data {
            Some(data) => AttachmentSource::Inline(data),
            None => return Err(Error::InvalidAttachmentData(name)),
        }
    };
    Ok(IncomingAttachment { name, content_type, revpos: number(value, "revpos"), source })
}

fn parse_follows(value: &[u8]) -> Result<AttachmentSource> {
    let length = number(value, "length");
    let encoding = match raw::member(value, "encoding") {
        None | Some(b"\"identity\"") => Encoding::Identity,
        Some(b"\"gzip\"") => Encoding::Gzip,
        Some(_) => {
            let reason = "Only gzip and identity content-encodings are supported";
            return Err(Error::BadRequest(reason.to_owned()));
        }
    };
    let encoded = match encoding {
        Encoding::Identity => length,
        Encoding::Gzip => number(value, "encoded_length").or(length),
    };
    let digest = raw::member(value, "digest").and_then(raw::string);
    let digest = digest.and_then(|digest| digest::parse(&text_of(digest)));
    Ok(AttachmentSource::Follows { length: encoded, identity_length: length, encoding, digest })
}

fn number(object: &[u8], name: &str) -> Option<u64> {
    std::str::from_utf8(raw::member(object, name)?).ok()?.parse().ok()
}

/// Decodes base64, passing over blanks.
fn decode_base64(spelled: &[u8]) -> Option<Vec<u8>> {
    if memchr::memchr(b'\\', spelled).is_none() && memchr::memchr(b' ', spelled).is_none() {
        return BASE64.decode(spelled).ok();
    }
    let text = text_of(spelled);
    let dense: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.decode(dense).ok()
}
