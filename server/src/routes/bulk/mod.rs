//! `/{db}/_bulk_docs` and `/{db}/_bulk_get`: many documents in one request.

mod get;

use std::sync::Arc;

use settee_engine::document::parse_bulk;
use settee_engine::{Database, Document, Rev, WriteMode, WriteResults};

use super::{blocking, body, write};
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
    let (app, database) = (Arc::clone(&request.app), Arc::clone(database));
    let json = blocking::run(move || {
        let mut bulk = parse_bulk(&bytes, &limits)?;
        drop(bytes);
        name_the_nameless(&app, &mut bulk.docs);
        let sent = |document: &Document| (document.id.clone(), document.rev.clone());
        let sent: Vec<Sent> = bulk.docs.iter().map(sent).collect();
        Ok(match bulk.new_edits {
            true => every_result(sent, database.write(bulk.docs, WriteMode::Interactive)?),
            false => refusals(sent, database.write(bulk.docs, WriteMode::Replicated)?),
        })
    });
    Ok(Reply::json(201, json.await?))
}

fn name_the_nameless(app: &App, documents: &mut [Document]) {
    for document in documents.iter_mut().filter(|document| document.id.is_empty()) {
        document.id = app.new_uuid();
    }
}

/// `[{"ok":true,…},{"id":…,"error":…}]`, one for each document.
fn every_result(sent: Vec<Sent>, results: WriteResults) -> Vec<u8> {
    let mut json = b"[".to_vec();
    for ((id, _), result) in sent.iter().zip(results) {
        separate(&mut json);
        match result {
            Ok(rev) => body::write_written(id, &rev.to_string(), &mut json),
            Err(error) => body::write_refusal(id, None, &Failure::from(error), &mut json),
        }
    }
    json.push(b']');
    json
}

/// Replicated writes are answered with what was refused only.
fn refusals(sent: Vec<Sent>, results: WriteResults) -> Vec<u8> {
    let mut json = b"[".to_vec();
    for ((id, rev), result) in sent.iter().zip(results) {
        if let Err(error) = result {
            separate(&mut json);
            body::write_refusal(id, rev.as_ref(), &Failure::from(error), &mut json);
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
