//! `/{db}/_purge` and what is remembered of purges.

use std::sync::Arc;

use settee_engine::json::{Value, write_string};
use settee_engine::{Database, PurgeRequest};

use super::{blocking, body};
use crate::http::{Failure, Outcome, Reply, Request};

/// The most documents one request may name (`[purge] max_document_id_number` in CouchDB).
const MAX_DOCUMENTS: usize = 100;

/// POST `/{db}/_purge`.
pub(crate) async fn purge(request: &mut Request, database: &Arc<Database>) -> Outcome {
    let members = body::typed_object(request).await?;
    let settings = request.app.settings();
    if members.len() > MAX_DOCUMENTS {
        return Err(Failure::bad_request("Exceeded maximum number of documents."));
    }
    let mut requests = Vec::with_capacity(members.len());
    let mut revisions = 0;
    for (id, list) in members.iter() {
        let revs = body::revisions(list, "Invalid list of revisions")?;
        revisions += revs.len();
        requests.push(PurgeRequest { id: id.to_owned(), revs });
    }
    if revisions as u64 > settings.max_purged_revisions {
        return Err(Failure::bad_request("Exceeded maximum number of revisions."));
    }
    let database = Arc::clone(database);
    let purged = blocking::run(move || database.purge(requests)).await?;
    let mut json = b"{\"purge_seq\":null,\"purged\":{".to_vec();
    for (position, PurgeRequest { id, revs }) in purged.iter().enumerate() {
        if position > 0 {
            json.push(b',');
        }
        write_string(id, &mut json);
        json.push(b':');
        body::write_revisions(revs, &mut json);
    }
    json.extend_from_slice(b"}}");
    Ok(Reply::json(201, json))
}

/// GET `/{db}/_purged_infos`.
pub(crate) async fn infos(_request: &mut Request, database: &Arc<Database>) -> Outcome {
    let reader = database.read()?;
    let mut json = b"{\"purged_infos\":[".to_vec();
    for (position, PurgeRequest { id, revs }) in reader.purged_infos()?.iter().enumerate() {
        if position > 0 {
            json.push(b',');
        }
        json.extend_from_slice(b"{\"id\":");
        write_string(id, &mut json);
        json.extend_from_slice(b",\"revs\":");
        body::write_revisions(revs, &mut json);
        json.push(b'}');
    }
    json.extend_from_slice(b"]}");
    Ok(Reply::json(200, json))
}

/// GET `/{db}/_purged_infos_limit`.
pub(crate) async fn get_limit(_request: &mut Request, database: &Arc<Database>) -> Outcome {
    Ok(Reply::json(200, database.purged_infos_limit().to_string()))
}

/// PUT `/{db}/_purged_infos_limit`.
pub(crate) async fn put_limit(request: &mut Request, database: &Arc<Database>) -> Outcome {
    let value = Value::parse(&request.body.bytes().await?)?;
    let limit = value
        .as_u64()
        .filter(|limit| *limit > 0)
        .ok_or_else(|| Failure::bad_request("`purged_infos_limit` must be positive integer"))?;
    let database = Arc::clone(database);
    blocking::run(move || database.set_purged_infos_limit(limit)).await?;
    Ok(Reply::ok(200))
}
