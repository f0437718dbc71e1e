//! `/{db}/_find` and `_explain`: queries by selector. Their indexes: `index`.

pub(crate) mod index;

use std::ops::ControlFlow;
use std::sync::Arc;

use settee_engine::Database;
use settee_engine::find::{ExecutionStats, FindEnd, FindPlan, FindRequest, FindSink};
use settee_engine::json::{Object, Value};

use super::{blocking, body, view};
use crate::http::stream::{self, BlockingWriter};
use crate::http::{Failure, Method, Outcome, Reply, Request};

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
    let produce = move |out: &mut BlockingWriter| write(&plan, out);
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

fn write(plan: &FindPlan, out: &mut BlockingWriter) -> Result<(), Failure> {
    out.buffer().extend_from_slice(b"{\"docs\":[");
    let end = plan.run(&mut Documents { out, first: true })?;
    let buffer = out.buffer();
    buffer.extend_from_slice(b"\r\n]");
    for (name, value) in members(end).iter() {
        buffer.extend_from_slice(b",\r\n\"");
        buffer.extend_from_slice(name.as_bytes());
        buffer.extend_from_slice(b"\": ");
        value.write(buffer);
    }
    buffer.extend_from_slice(b"}\r\n");
    Ok(())
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
    out: &'o mut BlockingWriter,
    first: bool,
}

impl FindSink for Documents<'_> {
    fn document(&mut self, json: &[u8]) -> ControlFlow<()> {
        let buffer = self.out.buffer();
        let before: &[u8] = if std::mem::take(&mut self.first) { b"\r\n" } else { b",\r\n" };
        buffer.extend_from_slice(before);
        buffer.extend_from_slice(json);
        match self.out.spill() {
            Ok(()) => ControlFlow::Continue(()),
            Err(_gone) => ControlFlow::Break(()),
        }
    }

    fn waits(&mut self) -> ControlFlow<()> {
        if self.out.is_read() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}
