//! `/{db}/_index`: indexes over fields.

use std::sync::Arc;

use http::StatusCode;
use settee_engine::find::{BulkDeleted, IndexCreated, IndexRequest, parse_bulk_delete};
use settee_engine::json::{Object, Value};
use settee_engine::{Caller, Database};

use crate::http::{Failure, Method, Outcome, Reply, Request};
use crate::routes::{blocking, body, write};

/// Any method on `_index` and what is behind it.
pub(crate) async fn answer(
    request: &mut Request,
    database: &Arc<Database>,
    rest: &[&[u8]],
) -> Outcome {
    match (rest, request.method) {
        ([], Method::Get) => list(request, database).await,
        ([], Method::Post) => create(request, database).await,
        ([], _) => Err(Failure::method_not_allowed("GET,POST")),
        ([b"_bulk_delete"], Method::Post) => bulk_delete(request, database).await,
        ([b"_bulk_delete"], _) => Err(Failure::method_not_allowed("POST")),
        ([b"_design", design, kind, name] | [design, kind, name], Method::Delete) => {
            delete(request, database, [design, kind, name]).await
        }
        ([b"_design", _, _, _] | [_, _, _], _) => Err(Failure::method_not_allowed("DELETE")),
        _ => Err(Failure::not_found("missing")),
    }
}

async fn list(request: &Request, database: &Arc<Database>) -> Outcome {
    let number = |name: &str, least: i64| match request.query.text(name) {
        None => Ok(None),
        Some(text) => text
            .parse::<i64>()
            .ok()
            .filter(|number| *number >= least)
            .and_then(|number| usize::try_from(number).ok())
            .map(Some)
            .ok_or_else(wrong_range),
    };
    let (limit, skip) = (number("limit", 1)?, number("skip", 0)?);
    let of = Arc::clone(database);
    let indexes = blocking::run(move || of.list_indexes()).await?;
    let mut answer = Object::new();
    answer.insert("total_rows", indexes.len() as u64);
    let page = indexes.into_iter().skip(skip.unwrap_or(0)).take(limit.unwrap_or(usize::MAX));
    answer.insert("indexes", page.collect::<Vec<_>>());
    Ok(Reply::json(200, Value::from(answer).to_json()))
}

fn wrong_range() -> Failure {
    let reason = "Index parameter ranges: limit > 1, skip > 0";
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "invalid_list_index_params", reason)
}

async fn create(request: &mut Request, database: &Arc<Database>) -> Outcome {
    let caller = administrator(request, database)?;
    let index = IndexRequest::parse(&body::typed_object(request).await?)?;
    let mut answer = Object::new();
    answer.insert("result", Value::Null);
    answer.insert("id", index.design.as_str());
    answer.insert("name", index.name.as_str());
    let (of, limits) = (Arc::clone(database), write::limits(request));
    let created = blocking::run(move || of.create_index(&caller, &index, &limits)).await?;
    let result = match created {
        IndexCreated::Created => "created",
        IndexCreated::Exists => "exists",
    };
    answer.insert("result", result);
    Ok(Reply::json(200, Value::from(answer).to_json()))
}

async fn delete(request: &Request, database: &Arc<Database>, path: [&[u8]; 3]) -> Outcome {
    let caller = administrator(request, database)?;
    let text = |segment: &[u8]| String::from_utf8(segment.to_vec());
    let [Ok(design), Ok(kind), Ok(name)] = path.map(text) else {
        return Err(Failure::not_found("missing"));
    };
    let of = Arc::clone(database);
    blocking::run(move || of.delete_index(&caller, &design, &kind, &name)).await?;
    Ok(Reply::ok(200))
}

async fn bulk_delete(request: &mut Request, database: &Arc<Database>) -> Outcome {
    let caller = administrator(request, database)?;
    let designs = parse_bulk_delete(&body::typed_object(request).await?)?;
    let of = Arc::clone(database);
    let BulkDeleted { deleted, failed } =
        blocking::run(move || of.delete_all_indexes(&caller, &designs)).await?;
    let outcome = |id: String, name: &str, what: Value| {
        let mut outcome = Object::new();
        outcome.insert("id", id);
        outcome.insert(name, what);
        Value::from(outcome)
    };
    let deleted = deleted.into_iter().map(|id| outcome(id, "ok", true.into()));
    let failed = failed.into_iter().map(|(id, error)| outcome(id, "error", error.into()));
    let mut answer = Object::new();
    answer.insert("success", deleted.collect::<Vec<_>>());
    answer.insert("fail", failed.collect::<Vec<_>>());
    Ok(Reply::json(200, Value::from(answer).to_json()))
}

/// Indexes are design documents, which are written by administrators of the database.
fn administrator(request: &Request, database: &Database) -> Result<Caller, Failure> {
    request.user().require_database_admin(database)?;
    Ok(request.user().caller().clone())
}
