//! Which changes pass: the built-in filters, and what is said of the others.

use std::sync::Arc;

use settee_engine::changes::{DocumentFilter, Projection};
use settee_engine::design::{FunctionFilter, ViewFilter};
use settee_engine::find::{Fields, Selector, SelectorError};
use settee_engine::json::{Object, Value};
use settee_engine::{ChangesFilter, Database, Error};

use super::params::Params;
use crate::http::{Failure, Request};
use crate::routes::body;
use crate::routes::design::request_object;

/// The filter a request asks for, and what it wants to see of each document.
pub(super) fn choose(
    request: &Request,
    database: &Arc<Database>,
    params: &Params,
    body: Option<Object>,
) -> Result<(ChangesFilter, Option<Arc<dyn Projection>>), Failure> {
    let Some(name) = params.filter.as_deref() else { return Ok((ChangesFilter::None, None)) };
    match name {
        "_doc_ids" => Ok((doc_ids(params, body)?, None)),
        "_selector" => selector(body),
        "_design" => Ok((ChangesFilter::Design, None)),
        "_view" => Ok((view(database, params)?, None)),
        _ if name.starts_with('_') => Err(Failure::bad_request("unknown builtin filter name")),
        _ => Ok((function(request, database, name)?, None)),
    }
}

fn doc_ids(params: &Params, body: Option<Object>) -> Result<ChangesFilter, Failure> {
    let list = match (body, &params.doc_ids) {
        (Some(mut members), _) => members.remove("doc_ids"),
        (None, Some(text)) => Some(Value::parse(text)?),
        (None, None) => None,
    };
    let ids = list.as_ref().and_then(body::strings);
    ids.map(ChangesFilter::DocIds)
        .ok_or_else(|| Failure::bad_request("`doc_ids` filter parameter is not a list of doc ids."))
}

fn selector(body: Option<Object>) -> Result<(ChangesFilter, Option<Arc<dyn Projection>>), Failure> {
    let Some(mut members) = body else {
        return Err(Failure::bad_request("Selector must be specified in POST payload"));
    };
    let selector = match members.remove("selector") {
        Some(selector @ Value::Object(_)) => Selector::parse(&selector).map_err(refused)?,
        _ => return Err(Failure::bad_request("Selector error: expected a JSON object")),
    };
    let fields = match members.remove("fields") {
        None => None,
        Some(list) => {
            let names = body::strings(&list)
                .ok_or_else(|| Failure::bad_request("Selector error: fields must be JSON array"))?;
            let fields = Fields::parse(names.iter().map(String::as_str)).map_err(refused)?;
            Some(Arc::new(Kept(fields)) as Arc<dyn Projection>)
        }
    };
    Ok((ChangesFilter::Documents(Arc::new(Matching(selector))), fields))
}

fn refused(error: SelectorError) -> Failure {
    Failure::bad_request(error.to_string())
}

/// Lets documents pass that match a selector.
#[derive(Debug)]
struct Matching(Selector);

impl DocumentFilter for Matching {
    fn passes(&self, document: &[u8]) -> Result<bool, Error> {
        Ok(self.0.matches(document))
    }
}

/// Keeps some fields of a document.
#[derive(Debug)]
struct Kept(Fields);

impl Projection for Kept {
    fn project(&self, document: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.0.write(document, out);
        Ok(())
    }
}

/// A filter that is a function of a design document.
fn function(
    request: &Request,
    database: &Arc<Database>,
    name: &str,
) -> Result<ChangesFilter, Failure> {
    let parts: Vec<&str> = name.split('/').collect();
    let [design, function] = parts.as_slice() else {
        return Err(Failure::bad_request("`filter` must be of the form `designname/filtername`"));
    };
    let design = database.design(&format!("_design/{design}"))?;
    let req = request_object::build(request, database, None, b"")?;
    Ok(ChangesFilter::Documents(FunctionFilter::new(&design, function, req)?))
}

/// A view used as filter.
fn view(database: &Arc<Database>, params: &Params) -> Result<ChangesFilter, Failure> {
    let Some(name) = params.view.as_deref() else {
        return Err(Failure::bad_request("`view` filter parameter is not provided."));
    };
    let parts: Vec<&str> = name.split('/').collect();
    let [design, view] = parts.as_slice() else {
        return Err(Failure::bad_request("`view` must be of the form `designname/viewname`"));
    };
    let design = database.design(&format!("_design/{design}"))?;
    Ok(ChangesFilter::Documents(ViewFilter::new(&design, view)?))
}
