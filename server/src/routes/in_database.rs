//! Paths below a database: `/{db}` and everything behind it.

use std::sync::Arc;

use settee_engine::{Database, Namespace};

use super::{
    all_docs, attachment, bulk, changes, database, design, document, find, local, partition, purge,
    replication_documents, revs, security, users, view,
};
use crate::auth::users::is_users_database;
use crate::http::{Failure, Method, Outcome, Reply, Request};

/// Answers a request for `/{name}` and the segments behind it.
pub(super) async fn answer(request: &mut Request, name: &str, rest: &[&[u8]]) -> Outcome {
    match (rest, request.method) {
        ([], Method::Put) => {
            request.user().require_server_admin()?;
            database::create(request, name).await
        }
        ([], Method::Delete) => {
            request.user().require_server_admin()?;
            database::delete(request, name).await
        }
        _ => {
            let database = open(request, name, rest)?;
            replication_documents::guard(request, &database, rest)?;
            if let Some(reply) = users::guard(request, &database, rest)? {
                return Ok(reply);
            }
            match rest {
                [] => the_database(request, &database).await,
                [first, more @ ..] if first.starts_with(b"_") => {
                    special(request, &database, first, more).await
                }
                [id, more @ ..] => document_or_attachment(request, &database, id, more).await,
            }
        }
    }
}

/// Opens the database and refuses those who may not reach what is asked for in it.
fn open(request: &Request, name: &str, rest: &[&[u8]]) -> Result<Arc<Database>, Failure> {
    let first = rest.first().copied().unwrap_or_default();
    match first {
        b"_purge" | b"_purged_infos_limit" | b"_sync_shards" => {
            request.user().require_server_admin()?;
        }
        b"_all_docs" | b"_changes" | b"_find" | b"_explain" | b"_index"
            if name == "_replicator" || is_users_database(name) =>
        {
            request.user().require_server_admin()?;
        }
        _ => {}
    }
    let database = request.app.database(name)?;
    match first {
        b"_compact" | b"_view_cleanup" => {
            request.user().require_maintainer(&database)?;
        }
        _ => request.user().require_member(&database)?,
    }
    Ok(database)
}

async fn the_database(request: &mut Request, database: &Arc<Database>) -> Outcome {
    match request.method {
        Method::Get => database::info(request, database).await,
        Method::Post => database::create_document(request, database).await,
        _ => Err(Failure::method_not_allowed("DELETE,GET,HEAD,POST")),
    }
}

/// `/{db}/_something/…`
async fn special(
    request: &mut Request,
    database: &Arc<Database>,
    first: &[u8],
    rest: &[&[u8]],
) -> Outcome {
    match first {
        b"_all_docs" => rows(request, database, Namespace::All, rest).await,
        b"_design_docs" => rows(request, database, Namespace::Design, rest).await,
        b"_local_docs" => rows(request, database, Namespace::Local, rest).await,
        b"_design" => design_document(request, database, rest).await,
        b"_local" => local_document(request, database, rest).await,
        b"_partition" => in_partition(request, database, rest).await,
        b"_find" => find::find(request, database, None).await,
        b"_explain" => find::explain(request, database, None).await,
        b"_index" => find::index::answer(request, database, rest).await,
        b"_temp_view" => Err(design::temporary_views_are_gone()),
        b"_compact" if !rest.is_empty() => match rest {
            [name] => view::compact(request, database, name).await,
            _ => Err(Failure::not_found("missing")),
        },
        b"_compact" => maintenance(request, database, first).await,
        _ if rest.is_empty() && !first.contains(&b'/') => endpoint(request, database, first).await,
        b"_shards" if rest.len() == 1 => match request.method {
            Method::Get => database::shards_of(request, database, &join(rest)?).await,
            _ => Err(Failure::method_not_allowed("GET")),
        },
        _ => escaped(request, database, first, rest).await,
    }
}

/// Ids whose slash came as `%2F`, and what is no endpoint at all: it is taken for a document, whose
/// id is then refused or not found.
async fn escaped(
    request: &mut Request,
    database: &Arc<Database>,
    first: &[u8],
    rest: &[&[u8]],
) -> Outcome {
    if let Some(name) = first.strip_prefix(b"_design/") {
        if request.method == Method::Get {
            return Ok(design::redirect(request, database, name, rest));
        }
        return design_document(request, database, &[&[name], rest].concat()).await;
    }
    match first.strip_prefix(b"_local/") {
        Some(name) => local_document(request, database, &[&[name], rest].concat()).await,
        None => document_or_attachment(request, database, first, rest).await,
    }
}

/// The paths of exactly one segment below the database.
async fn endpoint(request: &mut Request, database: &Arc<Database>, first: &[u8]) -> Outcome {
    match (first, request.method) {
        (b"_bulk_docs", Method::Post) => bulk::bulk_docs(request, database).await,
        (b"_bulk_get", Method::Post) => bulk::bulk_get(request, database).await,
        (b"_changes", Method::Get) => changes::get(request, database).await,
        (b"_changes", Method::Post) => changes::post(request, database).await,
        (b"_changes", _) => Err(Failure::method_not_allowed("GET,POST,HEAD")),
        (b"_missing_revs", Method::Post) => revs::missing_revs(request, database).await,
        (b"_revs_diff", Method::Post) => revs::revs_diff(request, database).await,
        (b"_purge", Method::Post) => purge::purge(request, database).await,
        (b"_purged_infos", Method::Get) => purge::infos(request, database).await,
        (b"_purged_infos", _) => Err(Failure::method_not_allowed("GET")),
        (b"_purged_infos_limit" | b"_revs_limit" | b"_security" | b"_auto_purge", _) => {
            limits(request, database, first).await
        }
        (b"_bulk_docs" | b"_bulk_get" | b"_missing_revs" | b"_revs_diff" | b"_purge", _) => {
            Err(Failure::method_not_allowed("POST"))
        }
        (b"_shards", Method::Get) => database::shards(request, database).await,
        (b"_shards", _) => Err(Failure::method_not_allowed("GET")),
        _ => maintenance(request, database, first).await,
    }
}

/// Settings of the database that are read and written.
async fn limits(request: &mut Request, database: &Arc<Database>, first: &[u8]) -> Outcome {
    if request.method == Method::Put && first != b"_purged_infos_limit" {
        request.user().require_database_admin(database)?;
    }
    match (first, request.method) {
        (b"_security", Method::Get) => security::get(request, database).await,
        (b"_security", Method::Put) => security::put(request, database).await,
        (b"_security", _) => Err(Failure::method_not_allowed("PUT,GET")),
        (b"_revs_limit", Method::Get) => revs::get_limit(request, database).await,
        (b"_revs_limit", Method::Put) => revs::put_limit(request, database).await,
        (b"_revs_limit", _) => Err(Failure::method_not_allowed("PUT,GET")),
        (b"_purged_infos_limit", Method::Get) => purge::get_limit(request, database).await,
        (b"_purged_infos_limit", Method::Put) => purge::put_limit(request, database).await,
        (b"_purged_infos_limit", _) => Err(Failure::method_not_allowed("GET,PUT")),
        (b"_auto_purge", Method::Get) => Ok(Reply::json(200, "{}")),
        (b"_auto_purge", Method::Put) => purge::put_automatic(request).await,
        _ => Err(Failure::method_not_allowed("GET,PUT")),
    }
}

/// What is asked of a database from time to time.
async fn maintenance(request: &mut Request, database: &Arc<Database>, first: &[u8]) -> Outcome {
    match (first, request.method) {
        (b"_ensure_full_commit", Method::Post) => {
            database::ensure_full_commit(request, database).await
        }
        (b"_compact", Method::Post) => database::compact(request, database).await,
        (b"_view_cleanup", Method::Post) => view::clean_up(database).await,
        (b"_sync_shards", Method::Post) => Ok(Reply::ok(202)),
        (b"_ensure_full_commit" | b"_compact" | b"_view_cleanup" | b"_sync_shards", _) => {
            Err(Failure::method_not_allowed("POST"))
        }
        (b"_time_seq", _) => Err(Failure::not_built("sequences by time are")),
        _ => document_or_attachment(request, database, first, &[]).await,
    }
}

/// `_all_docs` and its siblings.
async fn rows(
    request: &mut Request,
    database: &Arc<Database>,
    namespace: Namespace,
    rest: &[&[u8]],
) -> Outcome {
    match (rest, request.method) {
        ([], Method::Get) => all_docs::get(request, database, namespace).await,
        ([], Method::Post) => all_docs::post(request, database, namespace).await,
        ([], _) => Err(Failure::method_not_allowed("GET,HEAD,POST")),
        ([b"queries"], Method::Post) => all_docs::queries(request, database, namespace).await,
        ([b"queries"], _) => Err(Failure::method_not_allowed("POST")),
        _ => Err(Failure::not_found("missing")),
    }
}

/// `/{db}/_partition/…`
async fn in_partition(request: &mut Request, database: &Arc<Database>, rest: &[&[u8]]) -> Outcome {
    let [name, rest @ ..] = rest else {
        return Err(Failure::bad_request("invalid_partition_req"));
    };
    let name = partition::check(database, name)?;
    match (rest, request.method) {
        ([], Method::Get) => partition::info(request, database, &name).await,
        ([], _) => Err(Failure::method_not_allowed("GET")),
        ([b"_all_docs"], Method::Get) => partition::get_all_docs(request, database, &name).await,
        ([b"_all_docs"], Method::Post) => partition::post_all_docs(request, database, &name).await,
        ([b"_all_docs"], _) => Err(Failure::method_not_allowed("GET,HEAD,POST")),
        ([b"_design", design, b"_view", view @ ..], _) => {
            let id = format!("_design/{}", document_id(request, design)?);
            view::in_partition(request, database, &name, &id, view).await
        }
        ([b"_find", ..], _) => find::find(request, database, Some(&name)).await,
        ([b"_explain", ..], _) => find::explain(request, database, Some(&name)).await,
        _ => Err(Failure::not_found("missing")),
    }
}

/// `/{db}/{id}` and `/{db}/{id}/{attachment}`.
async fn document_or_attachment(
    request: &mut Request,
    database: &Arc<Database>,
    id: &[u8],
    rest: &[&[u8]],
) -> Outcome {
    let id = document_id(request, id)?;
    if rest.is_empty() {
        return the_document(request, database, id).await;
    }
    the_attachment(request, database, id, rest).await
}

async fn the_document(request: &mut Request, database: &Arc<Database>, id: &str) -> Outcome {
    match request.method {
        Method::Get => document::get(request, database, id).await,
        Method::Put => document::put(request, database, id).await,
        Method::Delete => document::delete(request, database, id).await,
        Method::Copy => document::copy(request, database, id).await,
        Method::Post => document::post_form(request, database, id).await,
        _ => Err(Failure::method_not_allowed("DELETE,GET,HEAD,POST,PUT,COPY")),
    }
}

async fn the_attachment(
    request: &mut Request,
    database: &Arc<Database>,
    id: &str,
    name: &[&[u8]],
) -> Outcome {
    let name =
        join(name).map_err(|_| Failure::bad_request("Attachment name is not UTF-8 encoded"))?;
    match request.method {
        Method::Get => attachment::get(request, database, id, &name).await,
        Method::Put => attachment::put(request, database, id, &name).await,
        Method::Delete => attachment::delete(request, database, id, &name).await,
        _ => Err(Failure::method_not_allowed("DELETE,GET,HEAD,PUT")),
    }
}

/// `/{db}/_design/{name}/…`: the document itself, its functions, or its attachments.
async fn design_document(
    request: &mut Request,
    database: &Arc<Database>,
    rest: &[&[u8]],
) -> Outcome {
    let [name, more @ ..] = rest else {
        return the_document(request, database, "_design").await;
    };
    let id = format!("_design/{}", document_id(request, name)?);
    if request.method != Method::Get && design::function(more).is_none() {
        request.user().require_database_admin(database)?;
    }
    match more {
        [] => the_document(request, database, &id).await,
        _ => match design::function(more) {
            Some(function) => {
                let rest = more.get(1..).unwrap_or_default();
                design::call(request, database, &id, function, rest).await
            }
            None => the_attachment(request, database, &id, more).await,
        },
    }
}

/// `/{db}/_local/{name}`; the name may hold no further slash.
async fn local_document(
    request: &mut Request,
    database: &Arc<Database>,
    rest: &[&[u8]],
) -> Outcome {
    let id = match rest {
        [] => return Err(Failure::bad_request("Invalid _local document id.")),
        [name] => format!("_local/{}", document_id(request, name)?),
        _ => return Err(Failure::bad_request("_local documents do not accept attachments.")),
    };
    match request.method {
        Method::Get => local::get(request, database, &id).await,
        Method::Put => local::put(request, database, &id).await,
        Method::Delete => local::delete(request, database, &id).await,
        Method::Copy => document::copy(request, database, &id).await,
        _ => Err(Failure::method_not_allowed("DELETE,GET,HEAD,POST,PUT,COPY")),
    }
}

/// A document's id. One that isn't UTF-8 can't be written, and so is missing when it is read.
fn document_id<'s>(request: &Request, segment: &'s [u8]) -> Result<&'s str, Failure> {
    str::from_utf8(segment).map_err(|_| match request.method {
        Method::Get => Failure::not_found("missing"),
        _ => Failure::illegal_docid("Document id must be valid UTF-8"),
    })
}

/// Segments that were one name before the path was cut, such as an attachment's `dir/file.txt`.
fn join(segments: &[&[u8]]) -> Result<String, Failure> {
    String::from_utf8(segments.join(&b'/'))
        .map_err(|_| Failure::illegal_docid("Document id must be valid UTF-8"))
}
