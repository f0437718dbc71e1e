//! The workload of views: building, ranges, groups, scans, and single reads while an index is built.

use crate::{
    Outcome,
    client::{Client, Target},
    meter::Meter,
    report,
    workload::{Plan, fill, hammer, memory_of},
};

/// Connections that ask for ranges.
const CLIENTS: usize = 16;
/// Rows of a range.
const ROWS: usize = 20;
/// Numbers a document's number is divided into groups by.
const GROUPS: u64 = 1000;

/// One view with `_stats`.
const ONE: &str = r#"{"autoupdate":false,"views":{"price":{
    "map":"function (doc) { emit(doc.number, doc.price) }","reduce":"_stats"}}}"#;
/// Five views.
const FIVE: &str = r#"{"autoupdate":false,"views":{
    "number":{"map":"function (doc) { emit(doc.number, doc.price / 2) }","reduce":"_stats"},
    "customer":{"map":"function (doc) { emit(doc.customer.name, null) }","reduce":"_count"},
    "sku":{"map":"function (doc) { emit(doc.lines[0].sku, doc.lines[0].count) }","reduce":"_sum"},
    "paid":{"map":"function (doc) { if (doc.paid) emit([doc.type, doc.price], 1) }","reduce":"_count"},
    "city":{"map":"function (doc) { emit([doc.customer.city, doc.number % 1000], doc.price) }","reduce":"_sum"}}}"#;
/// One that needs the interpreter for each document.
const OTHER: &str = r#"{"autoupdate":false,"views":{"price":{
    "map":"function (doc) { emit(doc.type.toUpperCase(), Math.round(doc.price)) }","reduce":"_stats"}}}"#;

/// Runs the workload.
pub(crate) async fn run(target: &Target, plan: &Plan) -> Outcome<()> {
    let mut client = target.connect().await?;
    fill(&mut client, "load-views", plan.documents).await?;
    let documents = plan.documents as f64;
    let meter = Meter::start(plan.server_pid);
    build(&mut client, "one", ONE, "price").await?;
    let one = meter.report("first build, one view with _stats", documents, "documents");
    let meter = Meter::start(plan.server_pid);
    build(&mut client, "rest", FIVE, "city").await?;
    let five = meter.report("first build, five views", documents, "documents");
    report("five views, time of one", five / one, "times");
    while_reading(target, &mut client, plan).await?;
    ranges(target, plan).await?;
    reductions(&mut client).await?;
    scan(&mut client, plan).await?;
    client.ok("DELETE", "/load-views", b"").await?;
    Ok(())
}

/// Stores a design document and waits for one of its views.
async fn build(client: &mut Client, name: &str, design: &str, view: &str) -> Outcome<()> {
    client.ok("PUT", &format!("/load-views/_design/{name}"), design.as_bytes()).await?;
    client
        .ok("GET", &format!("/load-views/_design/{name}/_view/{view}?limit=1&reduce=false"), b"")
        .await?;
    Ok(())
}

/// Builds views while another connection reads single documents.
async fn while_reading(target: &Target, client: &mut Client, plan: &Plan) -> Outcome<()> {
    let mut reader = target.connect().await?;
    let mut waits = Vec::new();
    let build = build(client, "other", OTHER, "price");
    let mut build = std::pin::pin!(build);
    loop {
        let id = waits.len() * 7919 % plan.documents;
        let read = async {
            let meter = Meter::start(None);
            reader.ok("GET", &format!("/load-views/order-{id:09}"), b"").await?;
            Outcome::Ok(meter.seconds())
        };
        let mut read = std::pin::pin!(read);
        let done = std::future::poll_fn(|context| {
            if let std::task::Poll::Ready(built) = build.as_mut().poll(context) {
                return std::task::Poll::Ready(Err(built));
            }
            read.as_mut().poll(context).map(Ok)
        })
        .await;
        match done {
            Ok(wait) => waits.push(wait?),
            Err(built) => break built?,
        }
    }
    waits.sort_unstable_by(f64::total_cmp);
    for (name, part) in [("p50", 50), ("p99", 99)] {
        if let Some(wait) = waits.get(waits.len() * part / 100) {
            let name = format!("GET while a view is built in the interpreter, {name}");
            report(&name, wait * 1000.0, "ms");
        }
    }
    Ok(())
}

async fn ranges(target: &Target, plan: &Plan) -> Outcome<()> {
    let last = plan.documents - ROWS;
    let meter = Meter::start(plan.server_pid);
    let rate = hammer(target, CLIENTS, plan.duration, async move |client: &mut Client, n| {
        let start = n * 7919 % last;
        let path = format!(
            "/load-views/_design/one/_view/price?reduce=false&startkey={start}&limit={ROWS}"
        );
        client.ok("GET", &path, b"").await?;
        Ok(())
    })
    .await?;
    let name = "view, ranges of 20 rows, 16 connections";
    report(name, rate, "answers/s");
    meter.report_processor(name, rate * meter.seconds());
    Ok(())
}

async fn reductions(client: &mut Client) -> Outcome<()> {
    for (name, path) in [
        ("reduce of everything", "one/_view/price"),
        ("1000 groups of arrays", "rest/_view/city?group_level=2"),
        (
            "skip to the last row",
            "one/_view/price?reduce=false&descending=true&skip=1000000&limit=1",
        ),
    ] {
        const TIMES: u32 = 20;
        let meter = Meter::start(None);
        for _ in 0..TIMES {
            let answer = client.ok("GET", &format!("/load-views/_design/{path}"), b"").await?;
            if name.starts_with("1000") && answer.lines < GROUPS {
                return Err("there are fewer groups than expected".into());
            }
        }
        let each = meter.seconds() / f64::from(TIMES);
        report(&format!("view, {name}"), each * 1000.0, "ms");
    }
    Ok(())
}

async fn scan(client: &mut Client, plan: &Plan) -> Outcome<()> {
    let memory = || plan.server_pid.map(|pid| memory_of(pid, "RssAnon:")).transpose();
    let before = memory()?;
    let meter = Meter::start(plan.server_pid);
    let answer = client.ok("GET", "/load-views/_design/one/_view/price?reduce=false", b"").await?;
    meter.report("view, all rows", answer.lines as f64, "rows");
    if let (Some(before), Some(after)) = (before, memory()?) {
        report("view, all rows: memory more than before", after - before, "MiB");
    }
    Ok(())
}
