//! `/{db}/_changes`: what changed, in the order of the changes; once, or as a feed.
//!
//! `params` reads the query string, `filter` what decides which changes pass, `feed` follows a
//! database that keeps changing. The rows themselves are the engine's. `events` is `/_db_updates`, the same
//! feed of one database, whose rows say something else.

mod events;
mod feed;
mod filter;
mod params;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::CACHE_CONTROL;
use settee_engine::json::Object;
use settee_engine::{
    AttachmentForm, ChangeRow, ChangeSink, ChangesEnd, ChangesQuery, Database, ShowOptions, Since,
};

use self::events::Told;
pub(super) use self::events::db_updates;
use self::feed::Follower;
use self::params::{Feed, Params};
use crate::http::stream::{self, BlockingWriter};
use crate::http::{Failure, Outcome, Reply, Request};
use crate::routes::body;
use crate::routes::etag;

/// What precedes the rows of an answer that is one JSON text.
const OPENING: &[u8] = b"{\"results\":[\n";
/// What stands between its rows.
const BETWEEN_ROWS: &[u8] = b",\r\n";

/// GET `/{db}/_changes`.
pub(crate) async fn get(request: &mut Request, database: &Arc<Database>) -> Outcome {
    answer(request, database, None).await
}

/// POST `/{db}/_changes`: the body may hold what the filter needs.
pub(crate) async fn post(request: &mut Request, database: &Arc<Database>) -> Outcome {
    request.require_json_type()?;
    let body = request.body.bytes().await?;
    let members = match body.is_empty() {
        true => Object::new(),
        false => body::object(&body)?,
    };
    answer(request, database, Some(members)).await
}

async fn answer(request: &Request, database: &Arc<Database>, body: Option<Object>) -> Outcome {
    let params = Params::parse(&request.query)?;
    let query = query(request, database, &params, body)?;
    match params.feed {
        Feed::Normal => normal(request, database, query, Told::Changes).await,
        _ => follow(request, database, &params, query, Told::Changes),
    }
}

/// The engine's request for what the parameters and the body ask for.
fn query(
    request: &Request,
    database: &Arc<Database>,
    params: &Params,
    body: Option<Object>,
) -> Result<ChangesQuery, Failure> {
    let (filter, project) = filter::choose(request, database, params, body)?;
    let header = match params.feed {
        Feed::EventSource => request.header("last-event-id"),
        _ => None,
    };
    Ok(ChangesQuery {
        since: since(database, header.or(params.since.as_deref()))?,
        limit: params.limit,
        descending: params.descending,
        style: params.style,
        include_docs: params.include_docs,
        show: show(params),
        filter,
        project,
        seq_interval: params.seq_interval,
    })
}

fn since(database: &Arc<Database>, text: Option<&str>) -> Result<u64, Failure> {
    match text.map(|text| database.parse_sequence(text)).transpose()? {
        None => Ok(0),
        Some(Since::Seq(seq)) => Ok(seq),
        Some(Since::Now) => Ok(database.read()?.seq()),
    }
}

fn show(params: &Params) -> ShowOptions {
    ShowOptions {
        conflicts: params.conflicts,
        attachments: match params.attachments {
            true => AttachmentForm::Inline,
            false => AttachmentForm::Stub,
        },
        att_encoding_info: params.att_encoding_info,
        ..ShowOptions::default()
    }
}

/// The feed that ends with what there is: one scan of one snapshot.
async fn normal(
    request: &Request,
    database: &Arc<Database>,
    query: ChangesQuery,
    told: Told,
) -> Outcome {
    let reader = database.read_as(request.user().caller())?;
    let etag = etag::of_database(database, &reader);
    if request.none_match(&etag) {
        return Ok(Reply::not_modified(&etag));
    }
    let produce = move |out: &mut BlockingWriter| {
        let mut rows = JsonRows { out, told, first: true };
        rows.out.buffer().extend_from_slice(OPENING);
        let end = reader.changes(&query, &mut rows)?;
        let last_seq = reader.database().sequence_text(end.last_seq);
        close(told, &last_seq, &end, rows.out.buffer());
        Ok(())
    };
    let body = match request.wants_buffered() {
        true => stream::produce_buffered(produce).await?,
        false => stream::produce(produce).await?,
    };
    Ok(Reply::json_stream(body).with_etag(&etag))
}

/// Rows of one JSON text, on their way to a client.
struct JsonRows<'out> {
    out: &'out mut BlockingWriter,
    told: Told,
    first: bool,
}

impl ChangeSink for JsonRows<'_> {
    fn row(&mut self, row: ChangeRow<'_>) -> ControlFlow<()> {
        let Some(json) = self.told.row(&row) else { return ControlFlow::Continue(()) };
        let buffer = self.out.buffer();
        if !std::mem::take(&mut self.first) {
            buffer.extend_from_slice(BETWEEN_ROWS);
        }
        buffer.extend_from_slice(&json);
        match self.out.spill() {
            Ok(()) => ControlFlow::Continue(()),
            Err(_gone) => ControlFlow::Break(()),
        }
    }
}

/// Appends what follows the rows of an answer that is one JSON text.
fn close(told: Told, last_seq: &str, end: &ChangesEnd, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\n],\n");
    // The members continue the object that OPENING began.
    out.extend_from_slice(told.summary(last_seq, end).get(1..).unwrap_or_default().as_bytes());
    out.push(b'\n');
}

/// The feeds that wait: the answer begins at once and is written by a task of its own.
fn follow(
    request: &Request,
    database: &Arc<Database>,
    params: &Params,
    query: ChangesQuery,
    told: Told,
) -> Outcome {
    let (writer, body) = stream::channel();
    let longest = Duration::from_millis(request.app.settings().changes_timeout_ms);
    let pace = feed::Pace {
        heartbeat: params.heartbeat,
        timeout: params.timeout.map_or(longest, |asked| asked.min(longest)),
    };
    if !request.head_only {
        let feed = (params.feed, told);
        let follower = Follower::new(request, database, feed, query, pace, writer);
        tokio::spawn(follower.run());
    }
    Ok(match params.feed {
        Feed::EventSource => {
            Reply::with_body(200, HeaderValue::from_static("text/event-stream"), body)
                .with_header(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
        }
        _ => Reply::json_stream(body),
    })
}
