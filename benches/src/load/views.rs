//! The workload of views: building, ranges, groups, scans, and single reads while an index is built.

use std::time::Instant;

use crate::{
    Outcome,
    client::{Client, Target},
    report,
    workload::{Plan, fill, hammer},
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
/// Five views, the one among them.
const FIVE: &str = r#"{"autoupdate":false,"views":{
    "price":{"map":"function (doc) { emit(doc.number, doc.price); }","reduce":"_stats"},
    "customer":{"map":"function (doc) { emit(doc.customer.name, null) }","reduce":"_count"},
    "sku":{"map":"function (doc) { emit(doc.lines[0].sku, doc.lines[0].count) }","reduce":"_sum"},
    "paid":{"map":"function (doc) { if (doc.paid) emit([doc.type, doc.price], 1) }","reduce":"_count"},
    "city":{"map":"function (doc) { emit([doc.customer.city, doc.number % 1000], doc.price) }","reduce":"_sum"}}}"#;

/// Runs the workload.
pub(crate) async fn run(target: &Target, plan: &Plan) -> Outcome<()> {
    let mut client = target.connect().await?;
    fill(&mut client, "load-views", plan.documents).await?;
    let one = build(&mut client, "one", ONE, "price").await?;
    let documents = plan.documents as f64;
    report("first build, one view with _stats", documents / one, "documents/s");
    let five = five_while_reading(target, &mut client).await?;
    report("first build, five views", documents / five, "documents/s");
    report("five views, time of one", five / one, "times");
    ranges(target, plan).await?;
    reductions(&mut client).await?;
    scan(&mut client).await?;
    client.ok("DELETE", "/load-views", b"").await?;
    Ok(())
}

/// Stores a design document and waits for one of its views; seconds.
async fn build(client: &mut Client, name: &str, design: &str, view: &str) -> Outcome<f64> {
    client.ok("PUT", &format!("/load-views/_design/{name}"), design.as_bytes()).await?;
    let start = Instant::now();
    client
        .ok("GET", &format!("/load-views/_design/{name}/_view/{view}?limit=1&reduce=false"), b"")
        .await?;
    Ok(start.elapsed().as_secs_f64())
}

/// Builds five views while another connection reads single documents; seconds.
async fn five_while_reading(target: &Target, client: &mut Client) -> Outcome<f64> {
    let mut reader = target.connect().await?;
    let mut waits = Vec::new();
    let build = build(client, "five", FIVE, "city");
    let mut build = std::pin::pin!(build);
    let seconds = loop {
        let id = waits.len() * 7919 % 10_000;
        let read = async {
            let start = Instant::now();
            reader.ok("GET", &format!("/load-views/order-{id:09}"), b"").await?;
            Outcome::Ok(start.elapsed())
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
    };
    waits.sort_unstable();
    for (name, part) in [("p50", 50), ("p99", 99)] {
        if let Some(wait) = waits.get(waits.len() * part / 100) {
            let name = format!("GET while five views are built, {name}");
            report(&name, wait.as_secs_f64() * 1000.0, "ms");
        }
    }
    Ok(seconds)
}

async fn ranges(target: &Target, plan: &Plan) -> Outcome<()> {
    let last = plan.documents - ROWS;
    let rate = hammer(target, CLIENTS, plan.duration, async move |client: &mut Client, n| {
        let start = n * 7919 % last;
        let path = format!(
            "/load-views/_design/one/_view/price?reduce=false&startkey={start}&limit={ROWS}"
        );
        client.ok("GET", &path, b"").await?;
        Ok(())
    })
    .await?;
    report("view, ranges of 20 rows, 16 connections", rate, "answers/s");
    Ok(())
}

async fn reductions(client: &mut Client) -> Outcome<()> {
    for (name, path) in [
        ("reduce of everything", "one/_view/price"),
        ("1000 groups of arrays", "five/_view/city?group_level=2"),
        (
            "skip to the last row",
            "one/_view/price?reduce=false&descending=true&skip=1000000&limit=1",
        ),
    ] {
        const TIMES: u32 = 20;
        let start = Instant::now();
        for _ in 0..TIMES {
            let answer = client.ok("GET", &format!("/load-views/_design/{path}"), b"").await?;
            if name.starts_with("1000") && answer.lines < GROUPS {
                return Err("there are fewer groups than expected".into());
            }
        }
        let each = start.elapsed().as_secs_f64() / f64::from(TIMES);
        report(&format!("view, {name}"), each * 1000.0, "ms");
    }
    Ok(())
}

async fn scan(client: &mut Client) -> Outcome<()> {
    let start = Instant::now();
    let answer = client.ok("GET", "/load-views/_design/one/_view/price?reduce=false", b"").await?;
    report("view, all rows", answer.lines as f64 / start.elapsed().as_secs_f64(), "rows/s");
    Ok(())
}
