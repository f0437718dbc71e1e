//! `/{db}/_design/{name}/_view/…`, `_info`, and what is done to views now and then.

mod params;

use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::json;
use settee_engine::json::{Object, Value};
use settee_engine::view::{ViewGroup, ViewHead, ViewReader, ViewSink};
use settee_engine::{Database, Error};
use tokio::sync::oneshot;

use self::params::{Freshness, Params};
use super::output::{Output, Small};
use super::{blocking, body};
use crate::http::stream::{self, BlockingWriter};
use crate::http::{Failure, Method, Outcome, Reply, Request};

/// Any method on a path behind `_view`.
pub(crate) async fn answer(
    request: &mut Request,
    database: &Arc<Database>,
    id: &str,
    rest: &[&[u8]],
) -> Outcome {
    // Whether there is a design document is said before anything about the request.
    let group = database.view_group(id)?;
    match (rest, request.method) {
        ([name], Method::Get) if !name.is_empty() => {
            let params = Params::default().with_query(&request.query)?;
            one(request, database, group, name, params).await
        }
        ([name], Method::Post) if !name.is_empty() => {
            let members = posted(request).await?;
            let params = Params::default().with_members(&members)?.with_query(&request.query)?;
            one(request, database, group, name, params).await
        }
        ([name, b"queries"], Method::Post) => several(request, database, group, name).await,
        ([_, b"queries"], _) => Err(Failure::method_not_allowed("POST")),
        _ => Err(Failure::method_not_allowed("GET,POST,HEAD")),
    }
}

/// The same of one partition.
pub(crate) async fn in_partition(
    request: &mut Request,
    database: &Arc<Database>,
    partition: &str,
    id: &str,
    rest: &[&[u8]],
) -> Outcome {
    let [name] = rest else { return Err(Failure::not_found("missing")) };
    let group = database.view_group(id)?;
    let members = match request.method {
        Method::Get => Object::new(),
        Method::Post => posted(request).await?,
        _ => return Err(Failure::method_not_allowed("GET,POST,HEAD")),
    };
    let mut params = Params::default().with_members(&members)?.with_query(&request.query)?;
    if params.query.partition.as_deref().is_some_and(|given| given != partition) {
        return Err(Failure::bad_request("Conflicting value for `partition` in query string"));
    }
    params.query.partition = Some(partition.to_owned());
    one(request, database, group, name, params).await
}

/// The body of a POST to a view.
async fn posted(request: &mut Request) -> Result<Object, Failure> {
    let members = body::typed_object(request).await?;
    if members.get("queries").is_some() {
        let reason = "The `queries` parameter is no longer supported at this endpoint";
        return Err(Failure::bad_request(reason));
    }
    match members.get("keys") {
        None | Some(Value::Array(_)) => Ok(members),
        Some(_) => Err(Failure::bad_request("`keys` member must be an array.")),
    }
}

/// Gives the rows of a view that a request asks for, from one moment.
pub(super) type RowsOf = Box<dyn FnOnce(&mut dyn ViewSink) -> Result<(), Error> + Send>;

/// The rows of a view for a list function; `members` are those of the request's body.
pub(super) async fn rows(
    request: &Request,
    database: &Arc<Database>,
    id: &str,
    name: &[u8],
    members: &Object,
) -> Result<RowsOf, Failure> {
    let group = database.view_group(id)?;
    let params = Params::default().with_members(members)?.with_query(&request.query)?;
    let reader = open(request, database, group, name, &[&params]).await?;
    Ok(Box::new(move |sink| reader.query(&params.query, sink)))
}

async fn one(
    request: &Request,
    database: &Arc<Database>,
    group: Arc<ViewGroup>,
    name: &[u8],
    params: Params,
) -> Outcome {
    let reader = open(request, database, group, name, &[&params]).await?;
    if reader.is_small(&params.query)
        && let Some(text) = small(&reader, &params)?
    {
        return Ok(Reply::json_line(200, text));
    }
    let produce = move |out: &mut BlockingWriter| {
        write(&reader, &params, out)?;
        out.buffer().push(b'\n');
        Ok(())
    };
    send(request, produce).await
}

/// POST `…/queries`: one answer for each member of `queries`, the query string giving defaults.
async fn several(
    request: &mut Request,
    database: &Arc<Database>,
    group: Arc<ViewGroup>,
    name: &[u8],
) -> Outcome {
    let members = body::typed_object(request).await?;
    let queries = match members.get("queries") {
        Some(Value::Array(queries)) => queries,
        Some(_) => return Err(Failure::bad_request("`queries` member must be an array.")),
        None => return Err(Failure::bad_request("POST body must include `queries` parameter.")),
    };
    let defaults = Params::default().with_query(&request.query)?;
    let read = |query: &Value| match query {
        Value::Object(members) => defaults.clone().with_members(members),
        _ => Err(Failure::bad_request("each query must be a JSON object")),
    };
    let all = queries.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let wanted: Vec<_> = all.iter().collect();
    let reader = open(request, database, group, name, &wanted).await?;
    let produce = move |out: &mut BlockingWriter| {
        out.buffer().extend_from_slice(b"{\"results\":[\r\n");
        for (position, params) in all.iter().enumerate() {
            if position > 0 {
                out.buffer().extend_from_slice(b",\r\n");
            }
            write(&reader, params, out)?;
        }
        out.buffer().extend_from_slice(b"\r\n]}\n");
        Ok(())
    };
    send(request, produce).await
}

/// The view, as fresh as the most demanding of these requests wants it, after all of them were checked.
async fn open(
    request: &Request,
    database: &Arc<Database>,
    group: Arc<ViewGroup>,
    name: &[u8],
    all: &[&Params],
) -> Result<ViewReader, Failure> {
    let name = str::from_utf8(name).map_err(|_| Failure::not_found("missing_named_view"))?;
    let reader = database.read_view(&group, name)?;
    let limit = request.app.settings().query_limit;
    for params in all {
        params.check_limit(limit)?;
        reader.check(&params.query)?;
    }
    match all.iter().map(|params| params.freshness).max() {
        Some(Freshness::Old) => Ok(database.read_old_view(&group, name)?),
        Some(Freshness::OldThenUpdate) => {
            // Nobody waits for it, and what goes wrong is found by the next who does.
            database.update_views(&group, Box::new(|_| ()));
            Ok(database.read_old_view(&group, name)?)
        }
        _ => {
            if request.app.settings().serve_old_views
                && let Some(old) = database.read_former_view(&group, name)?
            {
                database.update_views(&group, Box::new(|_| ()));
                return Ok(old);
            }
            up_to_date(database, &group).await?;
            Ok(database.read_view(&group, name)?)
        }
    }
}

/// Waits, without a thread, until the indexes are up to date.
pub(crate) async fn up_to_date(
    database: &Arc<Database>,
    group: &Arc<ViewGroup>,
) -> Result<(), Failure> {
    let (sender, outcome) = oneshot::channel();
    database.update_views(
        group,
        Box::new(move |updated| {
            // A client that is gone needs no answer.
            let _ = sender.send(updated);
        }),
    );
    match outcome.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Error::Shared(error).into()),
        Err(_) => Err(Failure::internal("the building of the index came to grief")),
    }
}

async fn send(
    request: &Request,
    produce: impl FnOnce(&mut BlockingWriter) -> Result<(), Failure> + Send + 'static,
) -> Outcome {
    let body = match request.wants_buffered() {
        true => stream::produce_buffered(produce).await?,
        false => stream::produce(produce).await?,
    };
    Ok(Reply::json_stream(body))
}

/// The answer as a whole, made in place. `None` if it turns out to be long.
fn small(reader: &ViewReader, params: &Params) -> Result<Option<Vec<u8>>, Failure> {
    let mut out = Small::new();
    write(reader, params, &mut out)?;
    out.buffer().push(b'\n');
    Ok(out.finish())
}

fn write(reader: &ViewReader, params: &Params, out: &mut dyn Output) -> Result<(), Failure> {
    let seq = params.update_seq.then_some(reader);
    reader.query(&params.query, &mut Rows { seq, out, first: true })?;
    out.buffer().extend_from_slice(b"\r\n]}");
    Ok(())
}

/// Rows on their way to a client.
struct Rows<'r> {
    /// Gives the text of the sequence, if it is asked for.
    seq: Option<&'r ViewReader>,
    out: &'r mut dyn Output,
    first: bool,
}

impl ViewSink for Rows<'_> {
    fn head(&mut self, head: &ViewHead) -> ControlFlow<()> {
        let mut text = String::from("{");
        if let Some((total, offset)) = head.counts {
            text += &format!("\"total_rows\":{total},\"offset\":{offset},");
        }
        if let Some(reader) = self.seq {
            text += &format!("\"update_seq\":\"{}\",", reader.sequence_text(head.update_seq));
        }
        text += "\"rows\":[\r\n";
        self.out.buffer().extend_from_slice(text.as_bytes());
        ControlFlow::Continue(())
    }

    fn row(&mut self, json: &[u8]) -> ControlFlow<()> {
        let buffer = self.out.buffer();
        if !std::mem::take(&mut self.first) {
            buffer.extend_from_slice(b",\r\n");
        }
        buffer.extend_from_slice(json);
        self.out.spill()
    }
}

/// `_info`: the state of a design document's indexes.
pub(crate) async fn info(
    request: &mut Request,
    database: &Arc<Database>,
    id: &str,
    rest: &[&[u8]],
) -> Outcome {
    if request.method != Method::Get {
        return Err(Failure::method_not_allowed("GET"));
    }
    if !rest.is_empty() {
        return Err(Failure::not_found("missing"));
    }
    let group = database.view_group(id)?;
    let of = Arc::clone(database);
    let info = blocking::run(move || of.view_info(&group)).await?;
    let pending = info.updates_pending;
    let name = id.strip_prefix("_design/").unwrap_or(id);
    Ok(Reply::value(
        200,
        &json!({
            "name": name,
            "view_index": {
                "updates_pending": {"minimum": pending, "preferred": pending, "total": pending},
                // Indexes are not synced for each update, and need not be.
                "waiting_commit": true,
                "waiting_clients": info.waiting_clients,
                "updater_running": info.updater_running,
                "update_seq": info.update_seq,
                "sizes": {
                    "file": info.file_bytes,
                    "external": info.external_bytes,
                    "active": info.active_bytes,
                },
                "signature": info.signature.to_string(),
                "purge_seq": info.purge_seq,
                "language": info.language,
                "compact_running": info.compact_running,
                "collator_versions": info.collator_versions,
            },
        }),
    ))
}

/// POST `/{db}/_view_cleanup`.
pub(crate) async fn clean_up(database: &Arc<Database>) -> Outcome {
    let of = Arc::clone(database);
    blocking::run(move || of.clean_up_views()).await?;
    Ok(Reply::ok(202))
}

/// POST `/{db}/_compact/{name}`: the indexes of a design document.
pub(crate) async fn compact(
    request: &mut Request,
    database: &Arc<Database>,
    name: &[u8],
) -> Outcome {
    if request.method != Method::Post {
        return Err(Failure::method_not_allowed("POST"));
    }
    request.require_json_type()?;
    let name = str::from_utf8(name).map_err(|_| Failure::not_found("missing"))?;
    let group = database.view_group(&format!("_design/{name}"))?;
    database.compact_views(&group)?;
    Ok(Reply::ok(202))
}
