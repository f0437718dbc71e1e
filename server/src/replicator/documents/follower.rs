//! Following one replicator database: every document there is and every change to come is handed to
//! [`Documents`].

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use settee_engine::json::Value;
use settee_engine::{
    ChangeRow, ChangesQuery, Databases, Error, Result, Seq, Subscription, Wake, name::DESIGN_PREFIX,
};

use super::Documents;
use super::entry::DocKey;

/// Changes that are read together.
const BATCH: u64 = 100;

/// The pause before a database that can't be read is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Changes that were read together, and up to where.
struct Batch {
    /// Documents, and what is in them unless they are deleted.
    rows: Vec<(String, Option<Value>)>,
    last: Seq,
    more: bool,
}

/// Follows the database until it is gone.
pub(super) async fn follow(documents: Arc<Documents>, subscription: Subscription) {
    let database: Arc<str> = subscription.name().into();
    let mut since = 0;
    loop {
        match read(&documents.databases, &subscription, since).await {
            Ok(batch) => {
                for (id, document) in batch.rows {
                    let key = DocKey { database: Arc::clone(&database), id: id.into() };
                    documents.changed(key, document);
                }
                since = batch.last;
                if !batch.more && subscription.changed(since).await == Wake::Closed {
                    break;
                }
            }
            Err(Error::DatabaseNotFound) => break,
            Err(error) => {
                tracing::error!(database = &*database, %error, "a replicator database can't be read");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
    documents.database_gone(&database, subscription.uuid());
}

async fn read(databases: &Arc<Databases>, at: &Subscription, since: Seq) -> Result<Batch> {
    let (databases, at) = (Arc::clone(databases), at.clone());
    let read = tokio::task::spawn_blocking(move || read_batch(&databases, &at, since));
    read.await.unwrap_or(Err(Error::Damaged("replicator database")))
}

fn read_batch(databases: &Databases, at: &Subscription, since: Seq) -> Result<Batch> {
    let mut rows = Vec::new();
    let query =
        ChangesQuery { since, limit: Some(BATCH), include_docs: true, ..ChangesQuery::default() };
    let end = databases.resume(at)?.read()?.changes(&query, &mut |row: ChangeRow<'_>| {
        rows.extend(Value::from_canonical(row.json).ok().and_then(read_row));
        ControlFlow::Continue(())
    })?;
    Ok(Batch { rows, last: end.last_seq, more: end.pending > 0 })
}

fn read_row(row: Value) -> Option<(String, Option<Value>)> {
    let id = row.get("id")?.as_str()?;
    if id.starts_with(DESIGN_PREFIX) {
        return None;
    }
    let document = match row.get("deleted") {
        Some(_) => None,
        None => {
            let mut members = row.get("doc")?.as_object()?.clone();
            for name in ["_id", "_rev", "_attachments"] {
                members.remove(name);
            }
            Some(Value::Object(members))
        }
    };
    Some((id.to_owned(), document))
}
