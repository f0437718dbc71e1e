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
    docs: Docs,
    new_edits: NewEdits,
    scratch: Vec<u8>,
}

#[derive(Default)]
enum Docs {
    #[default]
    Absent,
    NotAnArray,
    Read(Result<Vec<Document>>),
}

#[derive(Default)]
enum NewEdits {
    #[default]
    Yes,
    No,
    NotABoolean,
}

impl Request {
    fn read_member(&mut self, scanner: &mut Scanner<'_>, limits: &Limits) -> Result<()> {
        if scanner.peek() != Some(b'"') {
            return Err(Error::InvalidJson);
        }
        self.read_value(scanner)?;
        if !scanner.accept(b':') {
            return Err(Error::InvalidJson);
        }
        match &self.scratch[..] {
            b"\"docs\"" if scanner.peek() == Some(b'[') => {
                self.docs = Docs::Read(read_docs(scanner, limits)?);
            }
            b"\"docs\"" => {
                self.docs = Docs::NotAnArray;
                self.read_value(scanner)?;
            }
            b"\"new_edits\"" => {
                self.read_value(scanner)?;
                self.new_edits = match &self.scratch[..] {
                    b"true" => NewEdits::Yes,
                    b"false" => NewEdits::No,
                    _ => NewEdits::NotABoolean,
                };
            }
            _ => self.read_value(scanner)?,
        }
        Ok(())
    }

    fn read_value(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        self.scratch.clear();
        scanner.value(&mut self.scratch)
    }

    fn finish(self) -> Result<BulkRequest> {
        let docs = match self.docs {
            Docs::Absent => Err(bad_request("POST body must include `docs` parameter.")),
            Docs::NotAnArray => Err(bad_request("`docs` parameter must be an array.")),
            Docs::Read(docs) => Ok(docs),
        }?;
        let new_edits = match self.new_edits {
            NewEdits::Yes => true,
            NewEdits::No => false,
            NewEdits::NotABoolean => {
                return Err(bad_request("`new_edits` parameter must be a boolean."));
            }
        };
        let request = BulkRequest { docs: docs?, new_edits };
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(json: &str) -> Result<BulkRequest> {
        parse_bulk(json.as_bytes(), &Limits::default())
    }

    #[track_caller]
    fn check(json: &str, reason: &str) {
        assert_eq!(parse(json).unwrap_err().to_string(), reason, "{json}");
    }

    #[test]
    fn documents_come_in_order() {
        let json = r#" { "more" : [1] , "docs" : [ {"_id":"a","x":1} , {"y":2.50} ] , "new_edits" : true } "#;
        let request = parse(json).unwrap();
        let docs: Vec<_> =
            request.docs.iter().map(|doc| (doc.id.as_str(), doc.body.as_bytes())).collect();
        assert_eq!(docs, [("a", &br#"{"x":1}"#[..]), ("", br#"{"y":2.5}"#)]);
        assert!(request.new_edits);
        assert!(parse(r#"{"docs":[]}"#).unwrap().docs.is_empty());
    }

    #[test]
    fn replicated_documents_bring_their_revisions() {
        let request = parse(r#"{"new_edits":false,"docs":[{"_id":"a","_rev":"1-a"}]}"#).unwrap();
        assert!(!request.new_edits);
        let reason = "When `new_edits: false`, the document needs `_rev` or `_revisions` specified";
        check(r#"{"docs":[{"_id":"a","_rev":"1-a"},{"_id":"c"}],"new_edits":false}"#, reason);
        check(r#"{"docs":[{"_id":"d","_rev":"junk"}],"new_edits":false}"#, "Invalid rev format");
    }

    #[test]
    fn what_is_no_bulk_request() {
        let docs_missing = "POST body must include `docs` parameter.";
        let no_boolean = "`new_edits` parameter must be a boolean.";
        check("{}", docs_missing);
        check(r#"{"docs":{}}"#, "`docs` parameter must be an array.");
        check(r#"{"docs":{},"new_edits":1}"#, "`docs` parameter must be an array.");
        check("[]", "Request body must be a JSON object");
        check(r#"{"docs":[],"new_edits":"x"}"#, no_boolean);
        check(r#"{"new_edits":null,"docs":[{"_id":"a"}]}"#, no_boolean);
        check(r#"{"new_edits":null,"docs":[1]}"#, no_boolean);
        for doc in ["1", "\"x\"", "[]", "null"] {
            check(&format!("{{\"docs\":[{{}},{doc}]}}"), "Document must be a JSON object");
        }
        check(r#"{"docs":[{"_a":1},{"_id":3}]}"#, "Bad special document member: _a");
    }

    #[test]
    fn broken_json_counts_before_anything_else() {
        let texts = [
            "",
            "{",
            "[",
            "{\"docs\":[}",
            "{\"docs\":[1,]}",
            "{\"docs\":[1}",
            "{\"docs\"}",
            "{\"docs\":[1],}",
            "{\"docs\":[{\"_a\":1},{]}",
            "{\"docs\":[]}x",
            "{1:2}",
            "{\"docs\":[] \"x\":1}",
            "{,}",
            r#"{"docs":[{"_id":"z","x":1e999}]}"#,
        ];
        for json in texts {
            check(json, "invalid UTF-8 JSON");
        }
    }

    #[test]
    fn of_repeated_members_the_last_counts() {
        let request =
            parse(r#"{"docs":[1],"new_edits":false,"docs":[{}],"new_edits":true}"#).unwrap();
        assert_eq!((request.docs.len(), request.new_edits), (1, true));
    }

    proptest! {
        #[test]
        fn each_document_is_what_it_is_alone(
            docs in prop::collection::vec(r#"\{("a":[0-9]\.[0-9]+|"_id":"[a-z]"|"_rev":"1-a"|"_x":1)\}"#, 0..6),
        ) {
            let limits = Limits::default();
            let json = format!("{{\"docs\": [{}]}}", docs.join(" , "));
            let alone: Result<Vec<_>> =
                docs.iter().map(|doc| Document::parse(doc.as_bytes(), None, &limits)).collect();
            let alone = alone.map_err(|error| error.to_string());
            prop_assert_eq!(parse(&json).map(|request| request.docs).map_err(|error| error.to_string()), alone);
        }

        #[test]
        fn hostile_bytes_do_no_harm(json in r#"[{}\[\]":,_a1]{0,30}"#) {
            let _ = parse(&json);
            let _ = parse(&format!("{{\"docs\":{json}}}"));
        }
    }
}
