//! From method and path to handler. What a handler does lives in its own file, one for each area
//! of the API; here are only the paths, the methods each of them knows (with the lists that 405
//! answers name, in CouchDB's order), and who may call it.
//!
//! Paths below a database are in `in_database.rs`.

mod all_docs;
mod attachment;
mod blocking;
mod body;
mod bulk;
mod changes;
mod cluster_setup;
mod database;
mod design;
mod document;
mod etag;
mod find;
mod in_database;
mod local;
mod node;
mod output;
mod partition;
mod purge;
mod replicate;
mod replication_documents;
mod revs;
mod scheduler;
mod security;
mod server;
mod session;
mod users;
mod utils;
mod view;
mod visible;
mod write;

use std::sync::Arc;

use crate::http::{Failure, Method, Outcome, Path, Reply, Request};
use crate::proxy;

/// Answers one request.
///
/// # Errors
///
/// Whatever keeps the request from being answered, as the client is to be told.
pub(crate) async fn answer(request: &mut Request) -> Outcome {
    loop {
        request.rewritten = false;
        let outcome = dispatch(request).await;
        if !request.rewritten {
            return outcome;
        }
    }
}

async fn dispatch(request: &mut Request) -> Outcome {
    let path: Arc<Path> = request.path.clone();
    let segments: Vec<&[u8]> = path.segments().collect();
    if let Some(first) = segments.first()
        && let Some(upstream) = request.app.settings().proxies.find(first).cloned()
    {
        return proxy::forward(request, &upstream).await;
    }
    match segments.as_slice() {
        [] => match request.method {
            Method::Get => server::welcome(request),
            _ => Err(Failure::method_not_allowed("GET,HEAD")),
        },
        [first, rest @ ..] if first.starts_with(b"_") => server_path(request, first, rest).await,
        [b"favicon.ico"] => match request.method {
            Method::Get => Ok(utils::favicon()),
            _ => Err(Failure::method_not_allowed("GET,HEAD")),
        },
        [name, rest @ ..] => {
            in_database::answer(request, &String::from_utf8_lossy(name), rest).await
        }
    }
}

/// The paths whose first segment starts with an underscore. System databases are among them.
async fn server_path(request: &mut Request, first: &[u8], rest: &[&[u8]]) -> Outcome {
    match (first, rest) {
        (b"_up", []) => match request.method {
            Method::Get => Ok(server::up(request)),
            _ => Err(Failure::method_not_allowed("GET,HEAD")),
        },
        (b"_uuids", []) => match request.method {
            Method::Get => server::uuids(request),
            _ => Err(Failure::method_not_allowed("GET")),
        },
        (b"_session", []) => match request.method {
            Method::Get => session::get(request),
            Method::Post => session::post(request).await,
            Method::Delete => session::delete(request),
            _ => Err(Failure::method_not_allowed("GET,HEAD,POST,DELETE")),
        },
        (b"_utils", rest) => match request.method {
            Method::Get => utils::get(request, rest),
            _ => Err(Failure::method_not_allowed("GET,HEAD")),
        },
        (b"_replicate", []) => replicate::answer(request).await,
        (b"_all_dbs" | b"_dbs_info", _) => lists(request, first, rest).await,
        (b"_node", [name, rest @ ..]) => node::answer(request, name, rest).await,
        (b"_users" | b"_replicator" | b"_global_changes" | b"_dbs" | b"_nodes", rest) => {
            in_database::answer(request, &String::from_utf8_lossy(first), rest).await
        }
        _ => {
            request.user().require_server_admin()?;
            administration(request, first, rest).await
        }
    }
}

/// The lists of databases, which `[chttpd] admin_only_all_dbs=false` opens to everyone.
async fn lists(request: &mut Request, first: &[u8], rest: &[&[u8]]) -> Outcome {
    if request.app.settings().admin_only_all_dbs {
        request.user().require_server_admin()?;
    }
    match (first, rest, request.method) {
        (b"_all_dbs", [], Method::Get) => server::all_dbs(request).await,
        (b"_all_dbs", [], _) => Err(Failure::method_not_allowed("GET,HEAD")),
        (b"_dbs_info", [], Method::Get) => server::dbs_info(request).await,
        (b"_dbs_info", [], Method::Post) => server::dbs_info_of_keys(request).await,
        (b"_dbs_info", [], _) => Err(Failure::method_not_allowed("GET,HEAD,POST")),
        _ => Err(Failure::not_found("missing")),
    }
}

/// What only server administrators reach; they have been told from others already.
async fn administration(request: &mut Request, first: &[u8], rest: &[&[u8]]) -> Outcome {
    match (first, rest, request.method) {
        (b"_active_tasks", [], Method::Get) => Ok(server::active_tasks(request)),
        (b"_active_tasks", [], _) => Err(Failure::method_not_allowed("GET,HEAD")),
        (b"_membership", [], Method::Get) => Ok(server::membership(request)),
        (b"_membership", [], _) => Err(Failure::method_not_allowed("GET")),
        (b"_cluster_setup", [], _) => cluster_setup::answer(request).await,
        (b"_node", [], _) => Err(Failure::bad_request("Incomplete path to _node request")),
        (b"_reshard", _, _) => Err(server::resharding_disabled()),
        (b"_scheduler", rest, _) => scheduler::answer(request, rest).await,
        (b"_db_updates", [], Method::Get) => changes::db_updates(request).await,
        (b"_db_updates", [], _) => Err(Failure::method_not_allowed("GET")),
        (b"_search_analyze", ..) => Err(server::search_unavailable()),
        (b"_nouveau_analyze", ..) => Err(Failure::not_found("missing")),
        (b"_reload_query_servers", [], Method::Post) => {
            request.app.databases().renew_javascript();
            Ok(Reply::ok(200))
        }
        (b"_reload_query_servers", [], _) => Err(Failure::method_not_allowed("POST")),
        _ => in_database::answer(request, &String::from_utf8_lossy(first), rest).await,
    }
}
