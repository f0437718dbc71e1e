//! Reading a database back from lines of JSON. The form is described in `docs/dump.md`.

use std::{collections::HashMap, io::BufRead, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{dump::DUMP_VERSION, line_error};
use crate::{
    attachment::{AttachmentWriter, StageOptions, StagedAttachment, digest},
    database::{Database, Props},
    databases::Databases,
    document::{AttachmentSource, DEFAULT_CONTENT_TYPE, Document, Encoding, Limits},
    error::{Error, Result},
    json::Value,
    name::DocKind,
    revision::{Rev, RevId},
    write::WriteMode,
};

/// Longest line that is read, in bytes: a document with its attachments, if those are in it.
pub const MAX_LINE_BYTES: u64 = 1 << 30;
/// Documents written with one commit.
const BATCH_DOCUMENTS: usize = 1000;
/// Bytes of lines written with one commit.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Most refusals that are kept for the report.
pub const MAX_REFUSALS: usize = 100;

/// What was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadSummary {
    /// Lines read.
    pub lines: u64,
    /// Revisions written, or there already.
    pub revisions: u64,
    /// Local documents written.
    pub local_documents: u64,
    /// Attachments whose bytes had lines of their own.
    pub attachments: u64,
    /// Lines whose document was refused.
    pub refused: u64,
    /// Number of the line and reason of the first refusals.
    pub refusals: Vec<(u64, String)>,
}

/// Loads lines into one database of a data folder.
///
/// A database that is not there is made with the first line's settings; one that is there keeps its own
/// settings and gets the revisions it does not have, as by replication. Loading the same lines again
/// changes nothing.
pub struct Loader {
    databases: Arc<Databases>,
    name: String,
    database: Option<Arc<Database>>,
    has_header: bool,
    has_end: bool,
    batch: Vec<(u64, Document)>,
    batch_bytes: usize,
    staging: Staging,
    summary: LoadSummary,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The attachments of the document to come.
#[derive(Default)]
struct Staging {
    /// The document they belong to.
    id: String,
    /// By digest, and whether it is that of compressed bytes.
    ready: HashMap<([u8; 16], bool), StagedAttachment>,
    open: Option<OpenAttachment>,
}

struct OpenAttachment {
    digest: [u8; 16],
    encoding: Encoding,
    missing: u64,
    writer: AttachmentWriter,
}

impl Loader {
    /// Begins to load into the database `name`.
    #[must_use]
    pub fn new(databases: Arc<Databases>, name: &str) -> Self {
        Loader {
            databases,
            name: name.to_owned(),
            database: None,
            has_header: false,
            has_end: false,
            batch: Vec::new(),
            batch_bytes: 0,
            staging: Staging::default(),
            summary: LoadSummary::default(),
        }
    }

    /// Reads all lines; `progress` is told the bytes read so far.
    ///
    /// # Errors
    /// [`Error::BadRequest`] with the number of a line that is none of a dump or comes to an early end,
    /// those of the store and of `lines`. What was written before stays, and loading may be repeated.
    /// A document that the database refuses is no error but counted.
    pub fn load(
        mut self,
        lines: &mut dyn BufRead,
        progress: &mut dyn FnMut(u64),
    ) -> Result<LoadSummary> {
        let (mut line, mut bytes) = (Vec::new(), 0u64);
        loop {
            line.clear();
            let mut limited = std::io::Read::take(&mut *lines, MAX_LINE_BYTES + 1);
            let read = limited.read_until(b'\n', &mut line);
            let read = read.map_err(|error| line_error("read", error))? as u64;
            if read == 0 {
                break;
            }
            self.summary.lines += 1;
            if read > MAX_LINE_BYTES {
                return Err(self.bad(format!("it is longer than {MAX_LINE_BYTES} bytes")));
            }
            bytes += read;
            let text = line.trim_ascii();
            if !text.is_empty() {
                self.line(text).map_err(|error| self.placed(error))?;
            }
            progress(bytes);
        }
        self.finish()
    }

    fn bad(&self, reason: impl std::fmt::Display) -> Error {
        Error::BadRequest(format!("line {}: {reason}", self.summary.lines))
    }

    /// Says in which line a document was wrong; failures of the store have nothing to do with it.
    fn placed(&self, error: Error) -> Error {
        match error {
            Error::Storage(_) | Error::NoRandomness => error,
            error => self.bad(error),
        }
    }

    fn line(&mut self, text: &[u8]) -> Result<()> {
        let begins = |front: &str| text.starts_with(front.as_bytes());
        if begins("{\"settee_dump\":") {
            return self.header(&Value::parse(text)?);
        }
        if begins("{\"settee_attachment\":") {
            return self.attachment(&Value::parse(text)?);
        }
        if begins("{\"settee_dump_end\":") {
            self.has_end = true;
            return Ok(());
        }
        self.document(text)
    }

    fn header(&mut self, header: &Value) -> Result<()> {
        if self.summary.lines != 1 {
            return Err(Error::BadRequest("a second dump begins here".into()));
        }
        let number = |name: &str| header.get(name).and_then(Value::as_u64);
        if number("settee_dump") != Some(DUMP_VERSION) {
            return Err(Error::BadRequest("this version of dumps is not known".into()));
        }
        self.has_header = true;
        if self.databases.exists(&self.name)? {
            return Ok(());
        }
        let small = |name: &str| number(name).and_then(|number| u32::try_from(number).ok());
        let usual = Props::default();
        let database = self.databases.create(
            &self.name,
            Props {
                q: small("q").unwrap_or(usual.q),
                n: small("n").unwrap_or(usual.n),
                partitioned: header.get("partitioned").and_then(Value::as_bool).unwrap_or(false),
            },
        )?;
        if let Some(security) = header.get("security") {
            database.set_security(&security.to_json())?;
        }
        if let Some(limit) = number("revs_limit") {
            database.set_revs_limit(limit)?;
        }
        if let Some(limit) = number("purged_infos_limit") {
            database.set_purged_infos_limit(limit)?;
        }
        self.database = Some(database);
        Ok(())
    }

    /// The database; made with the usual settings if the lines have no header.
    fn database(&mut self) -> Result<Arc<Database>> {
        if let Some(database) = &self.database {
            return Ok(Arc::clone(database));
        }
        let database = match self.databases.exists(&self.name)? {
            true => self.databases.get(&self.name)?,
            false => self.databases.create(&self.name, Props::default())?,
        };
        self.database = Some(Arc::clone(&database));
        Ok(database)
    }

    fn attachment(&mut self, line: &Value) -> Result<()> {
        let database = self.database()?;
        if self.staging.take(&database, line)? {
            self.summary.attachments += 1;
        }
        Ok(())
    }

    fn document(&mut self, text: &[u8]) -> Result<()> {
        let limits =
            Limits { document_bytes: u64::MAX, attachment_bytes: u64::MAX, ..Limits::default() };
        let mut document = Document::parse(text, None, &limits)?;
        if document.id.is_empty() {
            return Err(Error::BadRequest("a document without an _id".into()));
        }
        if DocKind::of(&document.id) == DocKind::Local {
            document.rev = before_local(document.rev.as_ref());
        } else {
            document.require_rev()?;
        }
        self.staging.resolve(&mut document, text)?;
        self.batch.push((self.summary.lines, document));
        self.batch_bytes += text.len();
        if self.batch.len() >= BATCH_DOCUMENTS || self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() {
            return Ok(());
        }
        let database = self.database()?;
        let (lines, documents): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        match database.write(documents.clone(), WriteMode::Replicated) {
            Ok(results) => {
                for ((line, document), result) in lines.into_iter().zip(documents).zip(results) {
                    self.count(line, &document, result.map(drop))?;
                }
            }
            Err(error @ Error::Storage(_)) => return Err(error),
            // One of them spoils the whole call; each is written alone to find out which.
            Err(_) => {
                for (line, document) in lines.into_iter().zip(documents) {
                    let result = database.write(vec![document.clone()], WriteMode::Replicated);
                    let result = result.and_then(|results| match results.into_iter().next() {
                        Some(result) => result.map(drop),
                        None => Ok(()),
                    });
                    self.count(line, &document, result)?;
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, line: u64, document: &Document, result: Result<()>) -> Result<()> {
        match result {
            Ok(()) if DocKind::of(&document.id) == DocKind::Local => {
                self.summary.local_documents += 1;
            }
            Ok(()) => self.summary.revisions += 1,
            Err(error @ Error::Storage(_)) => return Err(error),
            Err(error) => {
                self.summary.refused += 1;
                if self.summary.refusals.len() < MAX_REFUSALS {
                    self.summary.refusals.push((line, format!("{}: {error}", document.id)));
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<LoadSummary> {
        self.flush()?;
        if self.has_header && !self.has_end {
            let reason = "the dump ends before its end: what it had so far is loaded";
            return Err(self.bad(reason));
        }
        // Lines without a single document still make a database.
        let database = self.database()?;
        database.checkpoint()?;
        Ok(self.summary)
    }
}

/// A local document's revision is the one after the revision a write names.
fn before_local(rev: Option<&Rev>) -> Option<Rev> {
    let digits = std::str::from_utf8(rev?.id.as_bytes()).ok()?;
    let before = digits.parse::<u64>().ok()?.checked_sub(1).filter(|before| *before > 0)?;
    Some(Rev::new(0, RevId::from_bytes(before.to_string().as_bytes())))
}

impl Staging {
    /// Takes a line with a piece of an attachment; true if it was the last one.
    fn take(&mut self, database: &Database, line: &Value) -> Result<bool> {
        let bad = || Error::BadRequest("an attachment's line makes no sense".into());
        let text = |name: &str| line.get(name).and_then(Value::as_str).ok_or_else(bad);
        let digest = digest::parse(text("settee_attachment")?).ok_or_else(bad)?;
        let encoding = match text("encoding")? {
            "gzip" => Encoding::Gzip,
            "identity" => Encoding::Identity,
            _ => return Err(bad()),
        };
        let len = line.get("stored_length").and_then(Value::as_u64).ok_or_else(bad)?;
        let piece = STANDARD.decode(text("data")?).map_err(|_| bad())?;
        let id = text("id")?;
        if self.id != id {
            *self = Staging { id: id.to_owned(), ..Staging::default() };
        }
        let mut open = match self.open.take() {
            Some(open) if open.digest == digest && open.encoding == encoding => open,
            Some(_) => return Err(Error::BadRequest("the attachment before is cut short".into())),
            None => OpenAttachment {
                digest,
                encoding,
                missing: len,
                // Stored as it comes, whatever its type is: the document says that.
                writer: database.stage_attachment(
                    "attachment",
                    DEFAULT_CONTENT_TYPE,
                    StageOptions { encoding, length: Some(len), md5: Some(digest) },
                )?,
            },
        };
        open.writer.write(&piece)?;
        open.missing = open.missing.checked_sub(piece.len() as u64).ok_or_else(bad)?;
        if open.missing > 0 && !piece.is_empty() {
            self.open = Some(open);
            return Ok(false);
        }
        let staged = open.writer.finish()?;
        self.ready.insert((digest, encoding == Encoding::Gzip), staged);
        Ok(true)
    }

    /// Gives a document's stubs the bytes that came before it.
    fn resolve(&self, document: &mut Document, text: &[u8]) -> Result<()> {
        let has_stub = document.attachments.iter().any(|it| it.source == AttachmentSource::Stub);
        if !has_stub || self.id != document.id {
            return Ok(());
        }
        if self.open.is_some() {
            return Err(Error::BadRequest("the attachment before is cut short".into()));
        }
        let value = Value::parse(text)?;
        let Some(shown) = value.get("_attachments") else { return Ok(()) };
        for attachment in &mut document.attachments {
            if attachment.source != AttachmentSource::Stub {
                continue;
            }
            let member = |name: &str| shown.get(&attachment.name)?.get(name)?.as_str();
            let Some(digest) = member("digest").and_then(digest::parse) else { continue };
            let is_gzip = member("encoding") == Some("gzip");
            if let Some(staged) = self.ready.get(&(digest, is_gzip)) {
                attachment.source = AttachmentSource::Staged(staged.clone());
            }
        }
        Ok(())
    }
}
