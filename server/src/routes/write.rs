//! Handing documents to the engine without blocking the runtime, and waiting for them to be durable.

use std::sync::Arc;

use settee_engine::document::Limits;
use settee_engine::{Database, Document, Rev, WriteMode, WriteResults};
use tokio::sync::oneshot;

use crate::http::{Failure, Request};

/// Writes one document.
pub(crate) async fn one(
    database: &Arc<Database>,
    document: Document,
    mode: WriteMode,
) -> Result<Rev, Failure> {
    let results = many(database, vec![document], mode).await?;
    let result = results.into_iter().next();
    Ok(result.ok_or_else(|| Failure::internal("the write was lost"))??)
}

/// Writes documents; one result for each, in their order.
pub(crate) async fn many(
    database: &Arc<Database>,
    documents: Vec<Document>,
    mode: WriteMode,
) -> Result<WriteResults, Failure> {
    let (sender, receiver) = oneshot::channel();
    let done = Box::new(move |results| {
        // Whoever asked may have hung up; the write stands all the same.
        drop(sender.send(results));
    });
    if let Some(leader) = database.submit_write(documents, mode, done) {
        tokio::task::spawn_blocking(move || leader.run());
    }
    let results = receiver.await.map_err(|_| Failure::internal("the write was lost"))?;
    Ok(results?)
}

/// Writes one document for `batch=ok`: the answer does not wait, and an error goes to the log only.
pub(crate) fn later(database: &Arc<Database>, document: Document, mode: WriteMode) {
    let database = Arc::clone(database);
    tokio::spawn(async move {
        if let Err(failure) = one(&database, document, mode).await {
            tracing::info!(database = database.name(), %failure, "a batched write was refused");
        }
    });
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
