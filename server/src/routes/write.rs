//! Handing documents to the engine without blocking the runtime, and waiting for them to be durable.

use std::sync::Arc;

use settee_engine::document::Limits;
use settee_engine::{Caller, Database, Document, Rev, WriteMode, WriteResults};
use tokio::sync::oneshot;

use super::design;
use crate::http::{Failure, Request};

/// Writes one document, if the user may.
pub(crate) async fn one(
    request: &Request,
    database: &Arc<Database>,
    document: Document,
    mode: WriteMode,
) -> Result<Rev, Failure> {
    check_author(request, database, &document.id)?;
    submit(database, request.user().caller(), document, mode).await
}

/// Writes one document for `batch=ok`: the answer does not wait, and what is refused later goes to
/// the log only.
pub(crate) fn later(
    request: &Request,
    database: &Arc<Database>,
    document: Document,
    mode: WriteMode,
) -> Result<(), Failure> {
    check_author(request, database, &document.id)?;
    let (database, caller) = (Arc::clone(database), request.user().caller().clone());
    tokio::spawn(async move {
        if let Err(failure) = submit(&database, &caller, document, mode).await {
            tracing::info!(database = database.name(), %failure, "a batched write was refused");
        }
    });
    Ok(())
}

/// Design documents act on everybody's documents: members don't write them, administrators do.
pub(crate) fn check_author(
    request: &Request,
    database: &Database,
    id: &str,
) -> Result<(), Failure> {
    if design::is_design(id) { request.user().require_database_admin(database) } else { Ok(()) }
}

async fn submit(
    database: &Arc<Database>,
    caller: &Caller,
    document: Document,
    mode: WriteMode,
) -> Result<Rev, Failure> {
    let (sender, receiver) = oneshot::channel();
    let done = Box::new(move |results| {
        // Whoever asked may have hung up; the write stands all the same.
        drop(sender.send(results));
    });
    if let Some(leader) = database.submit_write(caller, vec![document], mode, done) {
        // In place, not on a thread of its own: a lone write then waits for no other thread to wake up.
        tokio::task::block_in_place(|| leader.run());
    }
    let lost = || Failure::internal("the write was lost");
    let results: WriteResults = receiver.await.map_err(|_| lost())??;
    Ok(results.into_iter().next().ok_or_else(lost)??)
}

/// Whether the answer may go out before the document is stored.
pub(crate) fn is_batched(request: &Request) -> bool {
    request.query.bytes("batch") == Some(b"ok")
}

/// The mode that `new_edits` in the query string asks for; only the word `false` counts.
pub(crate) fn mode(request: &Request) -> WriteMode {
    match request.query.bytes("new_edits") {
        Some(b"false") => WriteMode::Replicated,
        _ => WriteMode::Interactive,
    }
}

/// The sizes beyond which documents are refused.
pub(crate) fn limits(request: &Request) -> Limits {
    let settings = request.app.settings();
    Limits {
        document_bytes: settings.max_document_size,
        attachment_bytes: settings.max_attachment_size,
        id_bytes: usize::try_from(settings.max_document_id_length).unwrap_or(usize::MAX),
    }
}
