//! What design documents do: nothing yet in this version, and it says so.
//!
//! Design documents themselves are documents like others: stored, read and replicated.

use std::sync::Arc;

use http::StatusCode;
use memchr::memmem;
use serde_json::Value;
use settee_engine::{Database, Document, GetOptions};

use crate::app::App;
use crate::http::{Failure, Method, Outcome, Reply, Request, percent};

/// What a validation function is called by in a design document.
const VALIDATION: &[u8] = b"\"validate_doc_update\"";

/// Whether this is the id of a design document.
pub(crate) fn is_design(id: &str) -> bool {
    id.starts_with("_design/")
}

/// Says once for each database that its validation functions aren't run: whoever relies on them
/// has to know.
pub(crate) fn note(app: &App, database: &Database, document: &Document) {
    if !is_design(&document.id) || memmem::find(document.body.as_bytes(), VALIDATION).is_none() {
        return;
    }
    if app.is_first_mention(database.uuid().0) {
        tracing::warn!(
            database = database.name(),
            design_document = document.id,
            "validate_doc_update functions are stored and replicated, but not run by this version: \
             writes are not validated",
        );
    }
}

/// A path below a design document that is no attachment.
pub(super) struct Function {
    segment: &'static [u8],
    /// The methods it knows, as 405 lists them; empty where every method is taken.
    methods: &'static str,
    /// The beginning of the sentence that says what is missing.
    what: &'static str,
}

const FUNCTIONS: [Function; 13] = [
    Function { segment: b"_info", methods: "GET", what: "map/reduce views are" },
    Function { segment: b"_view", methods: "GET,POST,HEAD", what: "map/reduce views are" },
    Function { segment: b"_show", methods: "", what: "show functions are" },
    Function { segment: b"_list", methods: "", what: "list functions are" },
    Function { segment: b"_update", methods: "", what: "update functions are" },
    Function { segment: b"_rewrite", methods: "", what: "rewriting is" },
    Function { segment: b"_search", methods: "", what: "full-text search is" },
    Function { segment: b"_search_info", methods: "GET", what: "full-text search is" },
    Function { segment: b"_search_disk_size", methods: "GET", what: "full-text search is" },
    Function { segment: b"_nouveau", methods: "", what: "full-text search is" },
    Function { segment: b"_nouveau_info", methods: "GET", what: "full-text search is" },
    Function { segment: b"_geo", methods: "", what: "geographic search is" },
    Function { segment: b"_geo_info", methods: "GET", what: "geographic search is" },
];

/// The function that the segments behind a design document's name stand for.
pub(super) fn function(rest: &[&[u8]]) -> Option<&'static Function> {
    let first = rest.first()?;
    FUNCTIONS.iter().find(|function| function.segment == *first)
}

/// Any method on a function of a design document: 404 when there is no such document, or else 501.
pub(super) fn call(
    request: &Request,
    database: &Arc<Database>,
    id: &str,
    function: &Function,
) -> Outcome {
    let known = match request.method {
        Method::Get => "GET",
        Method::Post => "POST",
        _ => "",
    };
    if !function.methods.is_empty() && !function.methods.split(',').any(|method| method == known) {
        return Err(Failure::method_not_allowed(function.methods));
    }
    database.read()?.get(id, &GetOptions::default())?;
    Err(Failure::not_built(function.what))
}

/// `_find`, `_explain` and `_index`: requests are checked as far as they can be, and refused.
pub(super) async fn query(request: &mut Request, first: &[u8], rest: &[&[u8]]) -> Outcome {
    let deletes = first == b"_index" && !rest.is_empty() && rest != [b"_bulk_delete".as_slice()];
    match (first, request.method) {
        (_, Method::Delete) if deletes => return Err(not_built()),
        _ if deletes => return Err(Failure::method_not_allowed("DELETE")),
        (_, Method::Post) => {}
        (b"_index", Method::Get) => return Err(not_built()),
        (b"_index", _) => return Err(Failure::method_not_allowed("GET,POST")),
        _ => return Err(Failure::method_not_allowed("POST")),
    }
    request.require_json_type()?;
    let body = request.body.bytes().await?;
    serde_json::from_slice::<Value>(&body).map_err(|_| Failure::invalid_json())?;
    Err(not_built())
}

fn not_built() -> Failure {
    Failure::not_built("Mango queries and indexes are")
}

/// `/{db}/_temp_view`.
pub(super) fn temporary_views_are_gone() -> Failure {
    let reason = "Temporary views are not supported in CouchDB";
    Failure::new(StatusCode::GONE, "gone", reason)
}

/// GET `/{db}/_design%2Fname`: the path with a plain slash is the right one.
pub(super) fn redirect(
    request: &Request,
    database: &Database,
    name: &[u8],
    rest: &[&[u8]],
) -> Reply {
    let mut uri = request.absolute_uri(&[database.name(), "_design"]);
    for segment in [&[name], rest].concat() {
        uri.push('/');
        percent::encode_segment(&String::from_utf8_lossy(segment), &mut uri);
    }
    if let Some(query) = request.uri.query() {
        uri.push('?');
        uri.push_str(query);
    }
    Reply::empty(301).with_location(&uri)
}
