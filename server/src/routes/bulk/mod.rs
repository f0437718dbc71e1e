//! `/{db}/_bulk_docs` and `/{db}/_bulk_get`: many documents in one request.

mod get;

use std::sync::Arc;

use http::StatusCode;
use settee_engine::document::parse_bulk;
use settee_engine::{Caller, Database, Document, Rev, WriteMode};

use super::{blocking, body, design, write};
use crate::app::App;
use crate::http::{Failure, Outcome, Reply, Request};

pub(crate) use self::get::bulk_get;

/// A document's id, and the revision it came with.
type Sent = (String, Option<Rev>);

/// POST `/{db}/_bulk_docs`.
pub(crate) async fn bulk_docs(request: &mut Request, database: &Arc<Database>) -> Outcome {
    request.require_json_type()?;
    let bytes = request.body.bytes().await?;
    let limits = write::limits(request);
    let max_docs = request.app.settings().network.max_bulk_docs;
    let refusal = request.user().require_database_admin(database).err();
    let caller = request.user().caller().clone();
    let (app, database) = (Arc::clone(&request.app), Arc::clone(database));
    let work = move || {
        let mut bulk = parse_bulk(&bytes, &limits)?;
        drop(bytes);
        check_count(bulk.docs.len(), max_docs, "max_bulk_docs_count_exceeded")?;
        name_the_nameless(&app, &mut bulk.docs);
        let sent = |document: &Document| (document.id.clone(), document.rev.clone());
        let sent: Vec<Sent> = bulk.docs.iter().map(sent).collect();
        let mode = if bulk.new_edits { WriteMode::Interactive } else { WriteMode::Replicated };
        let results = write_all(&database, &caller, bulk.docs, mode, refusal)?;
        let answer = if bulk.new_edits { every_result } else { refusals };
        Ok::<_, Failure>(answer(sent, results))
    };
    Ok(Reply::json(201, blocking::run(move || Ok(work())).await??))
}

/// Refuses more items than `[couchdb] max_bulk_docs_count` or `max_bulk_get_count` allows.
pub(super) fn check_count(count: usize, most: u64, error: &'static str) -> Result<(), Failure> {
    if count as u64 <= most {
        return Ok(());
    }
    Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, most.to_string()))
}

fn name_the_nameless(app: &App, documents: &mut [Document]) {
    for document in documents.iter_mut().filter(|document| document.id.is_empty()) {
        document.id = app.new_uuid();
    }
}

/// What became of each document, in their order.
type Results = Vec<Result<Rev, Failure>>;

/// Writes the documents; `refusal` is what becomes of design documents from those who may not write
/// any.
fn write_all(
    database: &Arc<Database>,
    caller: &Caller,
    documents: Vec<Document>,
    mode: WriteMode,
    refusal: Option<Failure>,
) -> settee_engine::Result<Results> {
    let Some(refusal) = refusal else {
        let results = database.write_as(caller, documents, mode)?;
        return Ok(results.into_iter().map(|result| result.map_err(Failure::from)).collect());
    };
    let refused: Vec<bool> = documents.iter().map(|doc| design::is_design(&doc.id)).collect();
    let permitted = documents.into_iter().filter(|doc| !design::is_design(&doc.id)).collect();
    let mut results = database.write_as(caller, permitted, mode)?.into_iter();
    let lost = || Err(Failure::internal("the write was lost"));
    let result = |refused: bool| match refused {
        true => Err(refusal.clone()),
        false => results.next().map_or_else(lost, |result| result.map_err(Failure::from)),
    };
    Ok(refused.into_iter().map(result).collect())
}

/// `[{"ok":true,…},{"id":…,"error":…}]`, one for each document.
fn every_result(sent: Vec<Sent>, results: Results) -> Vec<u8> {
    let mut json = b"[".to_vec();
    for ((id, _), result) in sent.iter().zip(results) {
        separate(&mut json);
        match result {
            Ok(rev) => body::write_written(id, &rev.to_string(), &mut json),
            Err(failure) => body::write_refusal(id, None, &failure, &mut json),
        }
    }
    json.push(b']');
    json
}

/// Replicated writes are answered with what was refused only.
fn refusals(sent: Vec<Sent>, results: Results) -> Vec<u8> {
    let mut json = b"[".to_vec();
    for ((id, rev), result) in sent.iter().zip(results) {
        if let Err(failure) = result {
            separate(&mut json);
            body::write_refusal(id, rev.as_ref(), &failure, &mut json);
        }
    }
    json.push(b']');
    json
}

fn separate(json: &mut Vec<u8>) {
    if json.len() > 1 {
        json.push(b',');
    }
}
