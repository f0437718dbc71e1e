//! What design documents do: functions that answer requests.
//!
//! `request_object` is what functions are told of a request, `response` what becomes of their answer; `show`,
//! `update`, `list` and `rewrite` are the kinds of functions, `rules` the rewrites that are no function.
//! Design documents themselves are documents like others, and not the business of this folder.

mod list;
pub(super) mod request_object;
mod response;
mod rewrite;
mod rules;
mod show;
mod update;

use std::sync::Arc;

use http::StatusCode;
use settee_engine::{Database, GetOptions};

use super::view;
use crate::http::{Failure, Method, Outcome, Reply, Request, percent};

/// Whether this is the id of a design document.
pub(crate) fn is_design(id: &str) -> bool {
    id.starts_with("_design/")
}

/// A path below a design document that is no attachment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    /// `_view`
    View,
    /// `_info`
    Info,
    /// `_show`
    Show,
    /// `_list`
    List,
    /// `_update`
    Update,
    /// `_rewrite`
    Rewrite,
    /// What this version does not have.
    Missing {
        /// The methods it knows, as 405 lists them; empty where every method is taken.
        methods: &'static str,
        /// The beginning of the sentence that says what is missing.
        what: &'static str,
    },
}

/// The function that the segments behind a design document's name stand for.
pub(super) fn function(rest: &[&[u8]]) -> Option<Function> {
    const SEARCH: &str = "full-text search is";
    let missing = |methods, what| Some(Function::Missing { methods, what });
    match *rest.first()? {
        b"_show" => Some(Function::Show),
        b"_list" => Some(Function::List),
        b"_update" => Some(Function::Update),
        b"_rewrite" => Some(Function::Rewrite),
        b"_view" => Some(Function::View),
        b"_info" => Some(Function::Info),
        b"_search" | b"_nouveau" => missing("", SEARCH),
        b"_search_info" | b"_search_disk_size" | b"_nouveau_info" => missing("GET", SEARCH),
        b"_geo" => missing("", "geographic search is"),
        b"_geo_info" => missing("GET", "geographic search is"),
        _ => None,
    }
}

/// Any method on a function of a design document; `rest` is what follows the function's kind.
pub(super) async fn call(
    request: &mut Request,
    database: &Arc<Database>,
    id: &str,
    function: Function,
    rest: &[&[u8]],
) -> Outcome {
    if let Function::Missing { methods, what } = function {
        let known = match request.method {
            Method::Get => "GET",
            Method::Post => "POST",
            _ => "",
        };
        if !methods.is_empty() && !methods.split(',').any(|method| method == known) {
            return Err(Failure::method_not_allowed(methods));
        }
        database.read()?.get(id, &GetOptions::default())?;
        return Err(Failure::not_built(what));
    }
    match function {
        Function::View => return view::answer(request, database, id, rest).await,
        Function::Info => return view::info(request, database, id, rest).await,
        _ => {}
    }
    let design = database.design(id)?;
    match function {
        Function::Show => show::answer(request, database, design, rest).await,
        Function::List => list::answer(request, database, design, rest).await,
        Function::Update => update::answer(request, database, design, rest).await,
        Function::Rewrite => rewrite::answer(request, database, design, rest).await,
        Function::View | Function::Info | Function::Missing { .. } => {
            Err(Failure::not_found("missing"))
        }
    }
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
