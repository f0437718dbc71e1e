//! Writing a database out as lines of JSON. The form is described in `docs/dump.md`.

use std::{
    collections::HashSet,
    io::{Read, Write},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use settee_storage::{Direction, KeyRange};

use super::line_error;
use crate::{
    all_docs::id_text,
    attachment::{FoundAttachment, digest},
    database::{
        AttachmentForm, GetOptions, ShowOptions,
        settings::{PURGED_INFOS_LIMIT, REVS_LIMIT, SECURITY},
    },
    document::{AttachmentRecord, Encoding},
    error::{Error, Result},
    json::write_string,
    name::{DESIGN_PREFIX, DocKind},
    read::{FoundDocument, Reader},
};

/// Version of the form of the lines.
pub const DUMP_VERSION: u64 = 1;
/// Stored bytes in one line of an attachment; a multiple of three, so that lines need no padding but the last.
const PIECE_BYTES: usize = 192 * 1024;

/// Where the bytes of attachments go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachmentLines {
    /// Into lines of their own in front of the document, as they are stored, so that digests come back
    /// exactly and no line is long.
    #[default]
    Apart,
    /// Into the document, decoded: lines as CouchDB's `_bulk_docs` takes them with `new_edits` false.
    Inline,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpSummary {
    /// Documents, deleted ones included.
    pub documents: u64,
    /// Leaf revisions.
    pub revisions: u64,
    /// Attachments written out.
    pub attachments: u64,
    /// Local documents.
    pub local_documents: u64,
}

/// Told after each document: documents done, and of how many.
pub type DumpProgress<'p> = &'p mut dyn FnMut(u64, u64);

/// Writes everything a reader sees: settings, local documents, and all leaves of all documents in the
/// order of their latest changes, design documents last (so that their functions do not judge what is
/// loaded before them).
///
/// # Errors
/// Those of the store and of `out`.
pub fn dump(
    reader: &Reader,
    attachments: AttachmentLines,
    out: &mut dyn Write,
    progress: DumpProgress<'_>,
) -> Result<DumpSummary> {
    let mut dump = Dump { reader, attachments, out, summary: DumpSummary::default(), progress };
    dump.header()?;
    dump.local_documents()?;
    let mut changes = reader.snapshot.changes(0, Direction::Forward)?;
    while let Some(change) = changes.next()? {
        let id = id_text(change.id)?;
        if DocKind::of(id) != DocKind::Design {
            dump.document(id)?;
        }
    }
    let designs = KeyRange::prefix(DESIGN_PREFIX.as_bytes());
    let mut designs = reader.snapshot.docs(&designs, Direction::Forward, false)?;
    while let Some(row) = designs.next()? {
        dump.document(id_text(row.id)?)?;
    }
    dump.end()?;
    Ok(dump.summary)
}

struct Dump<'d> {
    reader: &'d Reader,
    attachments: AttachmentLines,
    out: &'d mut dyn Write,
    summary: DumpSummary,
    progress: DumpProgress<'d>,
}

impl Dump<'_> {
    fn put(&mut self, line: &[u8]) -> Result<()> {
        self.out.write_all(line).map_err(|error| line_error("write", error))
    }

    /// Settings appear only if they were made, so that defaults stay defaults.
    fn header(&mut self) -> Result<()> {
        let (database, snapshot) = (&self.reader.database, &self.reader.snapshot);
        let (counts, props) = (snapshot.counts(), database.props());
        let mut line = format!("{{\"settee_dump\":{DUMP_VERSION},\"db_name\":").into_bytes();
        write_string(database.name(), &mut line);
        let sequence = database.sequence_text(snapshot.seq());
        line.extend_from_slice(b",\"update_seq\":");
        write_string(&sequence, &mut line);
        let rest = format!(
            ",\"doc_count\":{},\"doc_del_count\":{},\"q\":{},\"n\":{},\"partitioned\":{}",
            counts.live, counts.deleted, props.q, props.n, props.partitioned
        );
        line.extend_from_slice(rest.as_bytes());
        if let Some(security) = snapshot.meta(SECURITY)? {
            line.extend_from_slice(b",\"security\":");
            line.extend_from_slice(&security);
        }
        if snapshot.meta(REVS_LIMIT)?.is_some() {
            let limit = format!(",\"revs_limit\":{}", database.revs_limit());
            line.extend_from_slice(limit.as_bytes());
        }
        if snapshot.meta(PURGED_INFOS_LIMIT)?.is_some() {
            let limit = format!(",\"purged_infos_limit\":{}", database.purged_infos_limit());
            line.extend_from_slice(limit.as_bytes());
        }
        line.extend_from_slice(b"}\n");
        self.put(&line)
    }

    fn local_documents(&mut self) -> Result<()> {
        let reader = self.reader;
        let mut locals = reader.snapshot.locals(&KeyRange::all(), Direction::Forward)?;
        let mut line = Vec::new();
        while let Some((key, _)) = locals.next()? {
            let found = reader.get(id_text(key)?, &GetOptions::default())?;
            line.clear();
            found.write_json(&mut line)?;
            line.push(b'\n');
            self.put(&line)?;
            self.summary.local_documents += 1;
        }
        Ok(())
    }

    fn document(&mut self, id: &str) -> Result<()> {
        let show = ShowOptions {
            revs: true,
            attachments: match self.attachments {
                AttachmentLines::Apart => AttachmentForm::Stub,
                AttachmentLines::Inline => AttachmentForm::Inline,
            },
            att_encoding_info: true,
            ..ShowOptions::default()
        };
        let mut written = HashSet::new();
        for found in self.reader.leaves(id, &show)? {
            if self.attachments == AttachmentLines::Apart {
                for record in found.attachments() {
                    if written.insert((record.digest, record.encoding == Encoding::Gzip)) {
                        self.attachment(&found, record)?;
                    }
                }
            }
            found.stream_json(self.out)?;
            self.put(b"\n")?;
            self.summary.revisions += 1;
        }
        self.summary.documents += 1;
        (self.progress)(self.summary.documents, self.reader.snapshot.counts().documents());
        Ok(())
    }

    /// Writes an attachment's stored bytes, a piece a line.
    fn attachment(&mut self, found: &FoundDocument<'_>, record: &AttachmentRecord) -> Result<()> {
        let attachment = FoundAttachment::new(self.reader, found.rev().clone(), record.clone());
        let mut bytes = attachment.stored()?.take(record.stored_len);
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let mut is_first = true;
        loop {
            piece.clear();
            let read = (&mut bytes).take(PIECE_BYTES as u64).read_to_end(&mut piece);
            read.map_err(store_error)?;
            if piece.is_empty() && !is_first {
                break;
            }
            let line = attachment_line(found.id(), record, &piece);
            self.put(&line)?;
            is_first = false;
        }
        self.summary.attachments += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let DumpSummary { documents, revisions, .. } = self.summary;
        let line = format!(
            "{{\"settee_dump_end\":{DUMP_VERSION},\"documents\":{documents},\
             \"revisions\":{revisions}}}\n"
        );
        self.put(line.as_bytes())?;
        self.out.flush().map_err(|error| line_error("write", error))
    }
}

fn attachment_line(id: &str, record: &AttachmentRecord, piece: &[u8]) -> Vec<u8> {
    let mut line = b"{\"settee_attachment\":".to_vec();
    write_string(&digest::to_text(&record.digest), &mut line);
    line.extend_from_slice(b",\"id\":");
    write_string(id, &mut line);
    let encoding = match record.encoding {
        Encoding::Identity => "identity",
        Encoding::Gzip => "gzip",
    };
    let about =
        format!(",\"encoding\":\"{encoding}\",\"stored_length\":{},\"data\":\"", record.stored_len);
    line.extend_from_slice(about.as_bytes());
    line.extend_from_slice(STANDARD.encode(piece).as_bytes());
    line.extend_from_slice(b"\"}\n");
    line
}

/// Gets the store's error out of the wrapping it needed to pass through a reader.
fn store_error(error: std::io::Error) -> Error {
    match error.downcast::<settee_storage::Error>() {
        Ok(error) => Error::Storage(error),
        Err(_) => Error::Damaged("attachment"),
    }
}
