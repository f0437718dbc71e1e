//! Many documents in one request, read without building a tree of it.

use super::{Document, Limits};
use crate::{
    error::{Error, Result},
    json::Scanner,
};

/// The body of a `_bulk_docs` request.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkRequest {
    /// The documents, in order.
    pub docs: Vec<Document>,
    /// False if the documents bring their own revisions (replication).
    pub new_edits: bool,
}

/// Reads `{"docs": […], "new_edits": …}`. Other members are passed over.
///
/// # Errors
/// As CouchDB: broken JSON first, then what is wrong with the request, then the first document that is
/// wrong (see [`Document::parse`]; with `new_edits` false also [`Document::require_rev`]).
pub fn parse_bulk(json: &[u8], limits: &Limits) -> Result<BulkRequest> {
    let mut scanner = Scanner::new(json)?;
    let mut request = Request::default();
    if scanner.peek() != Some(b'{') {
        scanner.value(&mut Vec::new())?;
        scanner.end()?;
        return Err(bad_request("Request body must be a JSON object"));
    }
    scanner.accept(b'{');
    if !scanner.accept(b'}') {
        loop {
            request.read_member(&mut scanner, limits)?;
            if !scanner.accept(b',') {
                break;
            }
        }
        if !scanner.accept(b'}') {
            return Err(Error::InvalidJson);
        }
    }
    scanner.end()?;
    request.finish()
}

fn bad_request(reason: &str) -> Error {
    Error::BadRequest(reason.to_owned())
}

/// What has been read of a request. Errors wait until the whole text is known to be JSON.
#[derive(Default)]
struct Request {
    docs: Option<Result<Vec<Document>>>,
    new_edits: Option<bool>,
    new_edits_is_wrong: bool,
    scratch: Vec<u8>,
}

impl Request {
    fn read_member(&mut self, scanner: &mut Scanner<'_>, limits: &Limits) -> Result<()> {
        if scanner.peek() != Some(b'"') {
            return Err(Error::InvalidJson);
        }
        self.scratch.clear();
        scanner.value(&mut self.scratch)?;
        if !scanner.accept(b':') {
            return Err(Error::InvalidJson);
        }
        match &self.scratch[..] {
            b"\"docs\"" if scanner.peek() == Some(b'[') => {
                self.docs = Some(read_docs(scanner, limits)?);
                return Ok(());
            }
            b"\"docs\"" => {
                self.docs = Some(Err(bad_request("`docs` parameter must be an array.")));
                self.read_value(scanner)
            }
            b"\"new_edits\"" => {
                self.read_value(scanner)?;
                self.new_edits = Some(self.scratch != b"false");
                self.new_edits_is_wrong = !matches!(&self.scratch[..], b"true" | b"false");
                Ok(())
            }
            _ => self.read_value(scanner),
        }
    }

    fn read_value(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        self.scratch.clear();
        scanner.value(&mut self.scratch)
    }

    fn finish(self) -> Result<BulkRequest> {
        let docs =
            self.docs.ok_or_else(|| bad_request("POST body must include `docs` parameter."))?;
        if self.new_edits_is_wrong
            && !matches!(&docs, Err(Error::BadRequest(reason)) if reason.starts_with("`docs`"))
        {
            return Err(bad_request("`new_edits` parameter must be a boolean."));
        }
        let request = BulkRequest { docs: docs?, new_edits: self.new_edits.unwrap_or(true) };
        if !request.new_edits {
            request.docs.iter().try_for_each(Document::require_rev)?;
        }
        Ok(request)
    }
}

/// Reads an array of documents. The outer result is about the JSON, the inner one about the documents.
fn read_docs(scanner: &mut Scanner<'_>, limits: &Limits) -> Result<Result<Vec<Document>>> {
    scanner.accept(b'[');
    let mut docs = Ok(Vec::new());
    if scanner.accept(b']') {
        return Ok(docs);
    }
    loop {
        let mut text = Vec::new();
        scanner.value(&mut text)?;
        if let Ok(list) = &mut docs {
            match Document::from_scanned(scanner, text, limits) {
                Ok(document) => list.push(document),
                Err(error) => docs = Err(error),
            }
        }
        if !scanner.accept(b',') {
            break;
        }
    }
    if scanner.accept(b']') { Ok(docs) } else { Err(Error::InvalidJson) }
}
