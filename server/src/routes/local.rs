//! `/{db}/_local/{id}`: documents that stay where they are written.

use std::sync::Arc;

use settee_engine::{Database, GetOptions, WriteMode};

use super::{body, document, etag, write};
use crate::http::{Outcome, Reply, Request};

/// GET `/{db}/_local/{id}`.
pub(crate) async fn get(request: &mut Request, database: &Arc<Database>, id: &str) -> Outcome {
    let mut json = Vec::new();
    database.read()?.get(id, &GetOptions::default())?.write_json(&mut json)?;
    let etag = etag::of(&[&json]);
    if request.none_match(&etag) {
        return Ok(Reply::not_modified(&etag));
    }
    Ok(Reply::json(200, json).with_etag(&etag))
}

/// PUT `/{db}/_local/{id}`.
pub(crate) async fn put(request: &mut Request, database: &Arc<Database>, id: &str) -> Outcome {
    document::put(request, database, id).await
}

/// DELETE `/{db}/_local/{id}`.
pub(crate) async fn delete(request: &mut Request, database: &Arc<Database>, id: &str) -> Outcome {
    database.read()?.get(id, &GetOptions::default())?;
    let tombstone = document::tombstone(id, document::claimed_rev(request, None)?);
    let rev = write::one(request, database, tombstone, WriteMode::Interactive).await?;
    Ok(Reply::json(200, body::written(id, &rev.to_string())))
}
