//! POST `/{db}/_bulk_get`: revisions of many documents, as JSON or as multipart.

use std::sync::Arc;

use http::HeaderValue;
use settee_engine::json::{Value, write_string};
use settee_engine::{
    AttachmentForm, Caller, Database, Error, FoundDocument, OpenRevs, Reader, Rev, ShowOptions,
};

use crate::http::multipart::writer::{Boundary, PartHead};
use crate::http::stream::{self, BlockingWriter};
use crate::http::{Failure, Outcome, Reply, Request};
use crate::routes::body;
use crate::routes::document::open_revs::{error_head, write_part};
use crate::routes::document::related::{Copied, new_boundary};
use crate::routes::document::show_options;
use crate::routes::users;

/// Parameters that make sense for one document only.
const NOT_ACCEPTABLE: [&str; 5] = ["open_revs", "new_edits", "w", "rev", "atts_since"];

/// POST `/{db}/_bulk_get`.
pub(crate) async fn bulk_get(request: &mut Request, database: &Arc<Database>) -> Outcome {
    for name in NOT_ACCEPTABLE {
        if request.query.bytes(name).is_some() {
            let reason = format!("\"{name}\" query parameter is not acceptable");
            return Err(Failure::bad_request(reason));
        }
    }
    let members = body::typed_object(request).await?;
    let items = members
        .get("docs")
        .and_then(Value::as_array)
        .ok_or_else(|| Failure::bad_request("Missing JSON list of 'docs'."))?;
    let most = request.app.settings().network.max_bulk_get;
    super::check_count(items.len(), most, "max_bulk_get_count_exceeded")?;
    let hide = |item: Item| item.hidden_unless(|id| users::may_read(request, database, id));
    let items = items.iter().map(|item| Item::parse(item).map(hide));
    let items = items.collect::<Result<Vec<_>, Failure>>()?;
    let mut bulk = Bulk {
        items,
        latest: request.query.is_true("latest"),
        show: show_options(&request.query)?,
        database: Arc::clone(database),
        caller: request.user().caller().clone(),
    };
    let multipart = ["multipart/mixed", "multipart/related"]
        .into_iter()
        .find(|kind| request.accepts(kind))
        .filter(|_| !request.accepts("application/json"));
    let Some(kind) = multipart else {
        let body = stream::produce(move |out| bulk.write_json(out)).await?;
        return Ok(Reply::json_stream(body));
    };
    bulk.show.attachments = AttachmentForm::Follows;
    bulk.show.att_encoding_info = true;
    let boundary = new_boundary()?;
    let subtype = kind.trim_start_matches("multipart/");
    let content_type = HeaderValue::from_str(&boundary.content_type(subtype))
        .map_err(|_| Failure::internal("boundary"))?;
    let body = stream::produce(move |out| bulk.write_multipart(&boundary, out)).await?;
    Ok(Reply::with_body(200, content_type, body))
}

/// What is asked for of one document.
enum Item {
    /// A revision of a document, or all its leaves.
    Wanted { id: String, rev: Option<Rev>, atts_since: Option<Vec<Rev>> },
    /// Something that is wrong in itself.
    Refused(Refusal),
}

/// Why an item has no document.
#[derive(Clone)]
struct Refusal {
    id: Option<String>,
    rev: Option<String>,
    error: String,
    reason: String,
}

impl Refusal {
    fn new(id: Option<&str>, rev: Option<&str>, failure: &Failure) -> Self {
        Self {
            id: id.map(str::to_owned),
            rev: rev.map(str::to_owned),
            error: failure.error().to_owned(),
            reason: failure.reason().to_owned(),
        }
    }

    /// What is said of a revision that is not there.
    fn missing(id: &str, rev: &Rev) -> Self {
        Self::new(Some(id), Some(&rev.to_string()), &Failure::not_found("missing"))
    }
}

impl Item {
    /// Reads one item. What is wrong with it is said in its place, unless its id is no text at all.
    fn parse(item: &Value) -> Result<Self, Failure> {
        let refused = |id: Option<&str>, rev: Option<&str>, failure: Failure| {
            Ok(Self::Refused(Refusal::new(id, rev, &failure)))
        };
        let Some(members) = item.as_object().filter(|members| !members.is_empty()) else {
            let failure = Failure::bad_request("document must be a JSON object");
            return refused(None, None, failure);
        };
        let id = match members.get("id") {
            Some(Value::String(id)) => id,
            Some(_) => {
                return Err(Error::IllegalDocId("Document id must be a string".into()).into());
            }
            None => return refused(None, None, Failure::bad_request("document id missed")),
        };
        let rev = match members.get("rev").map(|rev| (rev, body::revision(rev))) {
            None => None,
            Some((_, Ok(rev))) => Some(rev),
            Some((rev, Err(failure))) => return refused(Some(id), rev.as_str(), failure),
        };
        let refusal = "att_since value must be array of revs.";
        let since = members.get("atts_since").map(|revs| body::revisions(revs, refusal));
        match since.transpose() {
            Ok(atts_since) => Ok(Self::Wanted { id: id.clone(), rev, atts_since }),
            Err(failure) => refused(Some(id), None, failure),
        }
    }
}

impl Item {
    /// What may not be read is as good as not there.
    fn hidden_unless(self, may_read: impl Fn(&str) -> bool) -> Self {
        match self {
            Self::Wanted { id, rev, .. } if !may_read(&id) => {
                let rev = rev.map_or_else(|| "undefined".to_owned(), |rev| rev.to_string());
                let failure = Failure::not_found("missing");
                Self::Refused(Refusal::new(Some(&id), Some(&rev), &failure))
            }
            item => item,
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Wanted { id, .. } => id,
            Self::Refused(refusal) => refusal.id.as_deref().unwrap_or_default(),
        }
    }
}

/// A whole request.
struct Bulk {
    database: Arc<Database>,
    caller: Caller,
    items: Vec<Item>,
    latest: bool,
    show: ShowOptions,
}

/// What an item came to: revisions found or missing, or a refusal.
type Found<'r> = Result<Vec<Result<FoundDocument<'r>, Rev>>, Refusal>;

impl Bulk {
    fn open<'r>(&self, reader: &'r Reader, item: &'r Item) -> Found<'r> {
        let (id, rev, atts_since) = match item {
            Item::Wanted { id, rev, atts_since } => (id, rev, atts_since),
            Item::Refused(refusal) => return Err(refusal.clone()),
        };
        let mut show = self.show.clone();
        if atts_since.is_some() {
            show.atts_since.clone_from(atts_since);
            if show.attachments == AttachmentForm::Stub {
                show.attachments = AttachmentForm::Inline;
            }
        }
        settee_engine::name::check_doc_id(id)
            .and_then(|()| match rev {
                Some(rev) => {
                    let wanted = OpenRevs::These(std::slice::from_ref(rev));
                    reader.open_revs(id, wanted, self.latest, &show)
                }
                None => Ok(reader.leaves(id, &show)?.into_iter().map(Ok).collect()),
            })
            .map_err(|error| {
                // An unknown document asked for without a revision; the word is CouchDB's.
                let rev = matches!(error, Error::NotFound(_)).then_some("undefined");
                Refusal::new(Some(id), rev, &error.into())
            })
    }

    /// `{"results":[{"id":…,"docs":[{"ok":…}]}]}`
    fn write_json(&self, out: &mut BlockingWriter) -> Result<(), Failure> {
        let reader = self.database.read_as(&self.caller)?;
        out.buffer().extend_from_slice(b"{\"results\":[");
        for (position, item) in self.items.iter().enumerate() {
            if position > 0 {
                out.buffer().push(b',');
            }
            self.write_item(&reader, item, out.buffer())?;
            if out.spill().is_err() {
                return Ok(());
            }
        }
        out.buffer().extend_from_slice(b"]}\n");
        Ok(())
    }

    fn write_item(&self, reader: &Reader, item: &Item, out: &mut Vec<u8>) -> Result<(), Failure> {
        out.extend_from_slice(b"{\"id\":");
        match item {
            Item::Wanted { id, .. } => write_string(id, out),
            Item::Refused(refusal) => write_text(refusal.id.as_deref(), out),
        }
        out.extend_from_slice(b",\"docs\":[");
        match self.open(reader, item) {
            Ok(results) => {
                for (position, result) in results.into_iter().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    write_result(result.map_err(|rev| Refusal::missing(item.id(), &rev)), out)?;
                }
            }
            Err(refusal) => write_error(&refusal, out),
        }
        out.extend_from_slice(b"]}");
        Ok(())
    }

    /// The same as multipart, each document with its attachments behind it.
    fn write_multipart(
        &self,
        boundary: &Boundary,
        out: &mut BlockingWriter,
    ) -> Result<(), Failure> {
        let reader = self.database.read_as(&self.caller)?;
        out.buffer().extend_from_slice(boundary.open().as_bytes());
        for item in &self.items {
            let results = match self.open(&reader, item) {
                Ok(results) => results,
                Err(refusal) => {
                    write_error_part(&refusal, boundary, out);
                    continue;
                }
            };
            for result in results {
                let found = match result {
                    Ok(found) => found,
                    Err(rev) => {
                        write_error_part(&Refusal::missing(item.id(), &rev), boundary, out);
                        continue;
                    }
                };
                let head = PartHead::new()
                    .header("X-Doc-Id", found.id())
                    .header("X-Rev-Id", &found.rev().to_string());
                if write_part(&found, head, out)? == Copied::ClientGone {
                    return Ok(());
                }
                out.buffer().extend_from_slice(boundary.next().as_bytes());
            }
            if out.spill().is_err() {
                return Ok(());
            }
        }
        out.buffer().extend_from_slice(Boundary::CLOSE.as_bytes());
        out.buffer().extend_from_slice(b"\r\n");
        Ok(())
    }
}

fn write_result(
    result: Result<FoundDocument<'_>, Refusal>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    match result {
        Ok(found) => {
            out.extend_from_slice(b"{\"ok\":");
            found.write_json(out)?;
            out.push(b'}');
        }
        Err(refusal) => write_error(&refusal, out),
    }
    Ok(())
}

fn write_error_part(refusal: &Refusal, boundary: &Boundary, out: &mut BlockingWriter) {
    out.buffer().extend_from_slice(error_head(PartHead::new()).as_bytes());
    write_error(refusal, out.buffer());
    out.buffer().extend_from_slice(boundary.next().as_bytes());
}

/// `{"error":{"id":…,"rev":…,"error":…,"reason":…}}`
fn write_error(refusal: &Refusal, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"error\":{\"id\":");
    write_text(refusal.id.as_deref(), out);
    out.extend_from_slice(b",\"rev\":");
    write_text(refusal.rev.as_deref(), out);
    out.extend_from_slice(b",\"error\":");
    write_string(&refusal.error, out);
    out.extend_from_slice(b",\"reason\":");
    write_string(&refusal.reason, out);
    out.extend_from_slice(b"}}");
}

fn write_text(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        Some(text) => write_string(text, out),
        None => out.extend_from_slice(b"null"),
    }
}
