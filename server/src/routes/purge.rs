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

/// Units of time in which a document may be said to live on after its deletion; a plural is as good.
const TTL_UNITS: [&str; 7] = ["sec", "min", "hour", "day", "week", "month", "year"];

/// PUT `/{db}/_auto_purge`: that deleted documents are kept for ever, which they are.
pub(crate) async fn put_automatic(request: &mut Request) -> Outcome {
    request.require_json_type()?;
    let members = body::object(&request.body.bytes().await?)
        .map_err(|_| Failure::bad_request("malformed auto purge body"))?;
    if members.iter().any(|(name, _)| name != "deleted_document_ttl") {
        return Err(Failure::bad_request("invalid auto purge property"));
    }
    let Some(ttl) = members.get("deleted_document_ttl") else { return Ok(Reply::ok(201)) };
    match ttl.as_str() {
        Some("infinity") => Ok(Reply::ok(201)),
        Some(text) if is_ttl(text) => Err(Failure::not_built("purging by age is")),
        _ => Err(Failure::bad_request("deleted_document_ttl must be a valid string")),
    }
}

/// `30_days`
fn is_ttl(text: &str) -> bool {
    text.split_once('_').is_some_and(|(number, unit)| {
        let unit = unit.strip_suffix('s').unwrap_or(unit);
        number.parse::<u32>().is_ok() && TTL_UNITS.contains(&unit)
    })
}

#[cfg(test)]
mod tests {
    use super::is_ttl;

    #[test]
    fn times_to_live() {
        assert!(["30_days", "1_day", "1000_sec", "24_hours"].into_iter().all(is_ttl));
        assert!(
            !["", "30", "_days", "-1_days", "30_fortnights", "30_days_"].into_iter().any(is_ttl)
        );
    }
}
