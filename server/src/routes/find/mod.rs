//! `/{db}/_find` and `_explain`: queries by selector. Their indexes: `index`.

pub(crate) mod index;

use std::ops::ControlFlow;
use std::sync::Arc;

use settee_engine::Database;
use settee_engine::find::{ExecutionStats, FindEnd, FindPlan, FindRequest, FindSink};
use settee_engine::json::{Object, Value};

use super::output::{Output, Small};
use super::{blocking, body, view};
use crate::http::stream::{self, BlockingWriter};
use crate::http::{Failure, Method, Outcome, Reply, Request};

/// Documents up to which it is worth trying to answer in place.
const FEW_DOCUMENTS: u64 = 100;
/// Rows that may be looked at in place, whether they match or not.
const FEW_ROWS: u64 = 256;

/// Any method on `_find`, of the whole database or of one partition.
pub(crate) async fn find(
    request: &mut Request,
    database: &Arc<Database>,
    partition: Option<&str>,
) -> Outcome {
    let asked = asked(request, partition).await?;
    let plan = database.plan_find(asked)?;
    if let Some(group) = plan.wants_update() {
        view::up_to_date(database, group).await?;
    }
    if plan.limit() <= FEW_DOCUMENTS
        && let Some(text) = small(&plan)?
    {
        return Ok(Reply::json_line(200, text));
    }
    let produce = move |out: &mut BlockingWriter| write(&plan, u64::MAX, out).map(drop);
    let body = match request.wants_buffered() {
        true => stream::produce_buffered(produce).await?,
        false => stream::produce(produce).await?,
    };
    Ok(Reply::json_stream(body))
}

/// Any method on `_explain`, of the whole database or of one partition.
pub(crate) async fn explain(
    request: &mut Request,
    database: &Arc<Database>,
    partition: Option<&str>,
) -> Outcome {
    let asked = asked(request, partition).await?;
    let of = Arc::clone(database);
    let explained = blocking::run(move || of.plan_explain(asked)?.explain()).await?;
    Ok(Reply::json(200, explained.to_json()))
}

async fn asked(request: &mut Request, partition: Option<&str>) -> Result<FindRequest, Failure> {
    if request.method != Method::Post {
        return Err(Failure::method_not_allowed("POST"));
    }
    let members = body::typed_object(request).await?;
    let given = request.query.text("partition");
    let partition = partition.or(given.as_deref());
    let settings = request.app.settings().find;
    Ok(FindRequest::parse(&members, partition, &settings)?)
}

/// The answer as a whole, made in place. `None` if it turns out to be long, or to take long.
fn small(plan: &FindPlan) -> Result<Option<Vec<u8>>, Failure> {
    let mut out = Small::new();
    let done = write(plan, FEW_ROWS, &mut out)?;
    Ok(if done { out.finish() } else { None })
}

/// Writes the answer; false if more rows than so many would have to be looked at for that.
fn write(plan: &FindPlan, most_rows: u64, out: &mut dyn Output) -> Result<bool, Failure> {
    out.buffer().extend_from_slice(b"{\"docs\":[");
    let Some(end) = plan.run_within(most_rows, &mut Documents { out, first: true })? else {
        return Ok(false);
    };
    let buffer = out.buffer();
    buffer.extend_from_slice(b"\r\n]");
    for (name, value) in members(end).iter() {
        buffer.extend_from_slice(b",\r\n\"");
        buffer.extend_from_slice(name.as_bytes());
        buffer.extend_from_slice(b"\": ");
        value.write(buffer);
    }
    buffer.extend_from_slice(b"}\r\n");
    Ok(true)
}

/// What stands behind the documents.
fn members(end: FindEnd) -> Object {
    let mut members = Object::new();
    if let Some(bookmark) = end.bookmark {
        members.insert("bookmark", bookmark);
    }
    if let Some(stats) = end.stats {
        members.insert("execution_stats", stats_value(&stats));
    }
    if let Some(warning) = end.warning {
        members.insert("warning", warning);
    }
    members
}

fn stats_value(stats: &ExecutionStats) -> Value {
    let mut members = Object::new();
    members.insert("total_keys_examined", stats.keys_examined);
    members.insert("total_docs_examined", stats.docs_examined);
    members.insert("total_quorum_docs_examined", stats.quorum_docs_examined);
    members.insert("results_returned", stats.results_returned);
    members.insert("execution_time_ms", stats.time_ms);
    members.into()
}

/// Documents on their way to a client.
struct Documents<'o> {
    out: &'o mut dyn Output,
    first: bool,
}

impl FindSink for Documents<'_> {
    fn document(&mut self, json: &[u8]) -> ControlFlow<()> {
        let buffer = self.out.buffer();
        let before: &[u8] = if std::mem::take(&mut self.first) { b"\r\n" } else { b",\r\n" };
        buffer.extend_from_slice(before);
        buffer.extend_from_slice(json);
        self.out.spill()
    }

    fn waits(&mut self) -> ControlFlow<()> {
        if self.out.is_read() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}
