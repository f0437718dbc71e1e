//! The workloads. Each makes the databases it needs and drops them.

use std::{
    cell::Cell,
    fmt::Write as _,
    rc::Rc,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use settee_benches::order;
use tokio::task::LocalSet;

use crate::{
    Outcome, access,
    client::{Client, Target},
    limits,
    meter::Meter,
    report, views,
};

/// Documents a bulk request carries.
const BULK: usize = 1000;

/// How much of everything.
pub(crate) struct Plan {
    pub(crate) duration: Duration,
    pub(crate) clients: usize,
    pub(crate) documents: usize,
    pub(crate) updates: usize,
    pub(crate) server_pid: Option<u32>,
}

/// What can be run.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Workload {
    /// The bare disk.
    Limits,
    /// Durable PUTs, one at a time.
    Put,
    /// Durable PUTs from many connections.
    Puts,
    /// _bulk_docs of 1000 documents of 500 bytes.
    Bulk,
    /// GETs of one document each from many connections, and the same from a bare hyper server.
    Get,
    /// Log-ins, and GETs by those who are known against GETs by nobody.
    Access,
    /// _all_docs and _changes with include_docs.
    Scans,
    /// Views: building, ranges, groups, scans.
    Views,
    /// _find by an index, 20 documents at a time, and over all documents.
    Find,
    /// Bytes the file grows per single update.
    Growth,
    /// Memory of the server, with what the other workloads left.
    Idle,
    /// Creating, listing, opening and deleting 100,000 databases.
    Many,
    /// A continuous feed on each of 10,000 databases.
    Feeds,
}

impl Workload {
    pub(crate) async fn run(self, target: &Target, plan: &Plan) -> Outcome<()> {
        match self {
            Workload::Limits => limits::disk(plan.duration),
            Workload::Put => puts(target, plan, 1, "durable PUT, 1 connection").await,
            Workload::Puts => {
                puts(target, plan, plan.clients, "durable PUT, many connections").await
            }
            Workload::Bulk => bulk(target, plan).await,
            Workload::Get => get(target, plan).await,
            Workload::Access => access::access(target, plan).await,
            Workload::Scans => scans(target, plan).await,
            Workload::Views => views::run(target, plan).await,
            Workload::Find => find(target, plan).await,
            Workload::Growth => growth(target, plan).await,
            Workload::Idle => plan.server_pid.map_or(Ok(()), memory),
            Workload::Many | Workload::Feeds => Ok(()),
        }
    }
}

/// A JSON document of about 500 bytes with an id of its own.
fn document(out: &mut String, id: &str, n: usize, rev: Option<&str>) {
    let _ = write!(out, "{{\"_id\":\"{id}\",");
    if let Some(rev) = rev {
        let _ = write!(out, "\"_rev\":\"{rev}\",");
    }
    order(out, n);
    out.push('}');
}

fn single(id: &str, n: usize, rev: Option<&str>) -> String {
    let mut text = String::with_capacity(600);
    document(&mut text, id, n, rev);
    text
}

fn batch(from: usize) -> String {
    let mut text = String::with_capacity(BULK * 560);
    text.push_str("{\"docs\":[");
    for n in from..from + BULK {
        if n > from {
            text.push(',');
        }
        document(&mut text, &format!("order-{n:09}"), n, None);
    }
    text.push_str("]}");
    text
}

async fn fresh(client: &mut Client, name: &str) -> Outcome<()> {
    client.call("DELETE", &format!("/{name}"), b"").await?;
    client.ok("PUT", &format!("/{name}?q=1"), b"").await?;
    Ok(())
}

/// Runs `work` on many connections at once until the time is up; returns calls per second.
pub(crate) async fn hammer<F>(
    target: &Target,
    clients: usize,
    duration: Duration,
    work: F,
) -> Outcome<f64>
where
    F: AsyncFn(&mut Client, usize) -> Outcome<()> + 'static,
{
    let (work, count) = (Rc::new(work), Rc::new(Cell::new(0usize)));
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(target.connect().await?);
    }
    let start = Instant::now();
    let local = LocalSet::new();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|mut client| {
            let (work, count) = (work.clone(), count.clone());
            local.spawn_local(async move {
                while start.elapsed() < duration {
                    let n = count.get();
                    count.set(n + 1);
                    work(&mut client, n).await?;
                }
                Outcome::Ok(())
            })
        })
        .collect();
    local.await;
    for task in tasks {
        task.await??;
    }
    Ok(count.get() as f64 / start.elapsed().as_secs_f64())
}

async fn puts(target: &Target, plan: &Plan, clients: usize, name: &str) -> Outcome<()> {
    fresh(&mut target.connect().await?, "load-put").await?;
    let rate = hammer(target, clients, plan.duration, async |client, n| {
        let id = format!("order-{n:09}");
        client.ok("PUT", &format!("/load-put/{id}"), single(&id, n, None).as_bytes()).await?;
        Ok(())
    })
    .await?;
    report(&format!("{name} ({clients})"), rate, "documents/s");
    target.connect().await?.ok("DELETE", "/load-put", b"").await?;
    Ok(())
}

pub(crate) async fn fill(client: &mut Client, name: &str, documents: usize) -> Outcome<f64> {
    fresh(client, name).await?;
    // The requests are made before the clock starts: the load generator shares the machine.
    let batches: Vec<_> = (0..documents).step_by(BULK).map(batch).collect();
    let start = Instant::now();
    for batch in &batches {
        client.ok("POST", &format!("/{name}/_bulk_docs"), batch.as_bytes()).await?;
    }
    Ok((batches.len() * BULK) as f64 / start.elapsed().as_secs_f64())
}

async fn bulk(target: &Target, plan: &Plan) -> Outcome<()> {
    let mut client = target.connect().await?;
    let rate = fill(&mut client, "load-bulk", plan.documents).await?;
    report("_bulk_docs of 1000 x 500 B, 1 connection", rate, "documents/s");
    client.ok("DELETE", "/load-bulk", b"").await?;
    Ok(())
}

async fn get(target: &Target, plan: &Plan) -> Outcome<()> {
    let mut client = target.connect().await?;
    const DOCUMENTS: usize = 10_000;
    fill(&mut client, "load-get", DOCUMENTS).await?;
    let body = client.ok("GET", "/load-get/order-000000042", b"").await?.head;
    let bare = Target::parse(&format!("http://{}", limits::hyper_server(body)?))?;
    let ask = async |client: &mut Client, n: usize| {
        let id = n * 7919 % DOCUMENTS;
        client.ok("GET", &format!("/load-get/order-{id:09}"), b"").await?;
        Ok(())
    };
    // By turns, so that a change in the machine's mood meets both.
    let (mut ours, mut bares) = (0.0, 0.0);
    const TURNS: u32 = 3;
    // The server works in its own turns only.
    let meter = Meter::start(plan.server_pid);
    for _ in 0..TURNS {
        bares += hammer(&bare, plan.clients, plan.duration / TURNS, ask).await? / f64::from(TURNS);
        ours += hammer(target, plan.clients, plan.duration / TURNS, ask).await? / f64::from(TURNS);
    }
    report("bare hyper, same bytes, many connections", bares, "answers/s");
    report("GET document, many connections", ours, "documents/s");
    meter.report_processor("GET document", ours * plan.duration.as_secs_f64());
    report("GET as a share of bare hyper", ours / bares * 100.0, "%");
    client.ok("DELETE", "/load-get", b"").await?;
    Ok(())
}

async fn scans(target: &Target, plan: &Plan) -> Outcome<()> {
    let mut client = target.connect().await?;
    fill(&mut client, "load-scan", plan.documents).await?;
    for (name, path) in [
        ("_all_docs", "/load-scan/_all_docs"),
        ("_all_docs?include_docs=true", "/load-scan/_all_docs?include_docs=true"),
        ("_changes", "/load-scan/_changes"),
        ("_changes?include_docs=true", "/load-scan/_changes?include_docs=true"),
    ] {
        let start = Instant::now();
        let answer = client.ok("GET", path, b"").await?;
        let seconds = start.elapsed().as_secs_f64();
        report(name, answer.lines as f64 / seconds, "rows/s");
        report(&format!("{name}, volume"), answer.body_bytes as f64 / seconds / 1e6, "MB/s");
    }
    Ok(())
}

async fn find(target: &Target, plan: &Plan) -> Outcome<()> {
    let mut client = target.connect().await?;
    fill(&mut client, "load-find", plan.documents).await?;
    let nothing = br#"{"selector":{"customer.city":"Nowhere"}}"#;
    let documents = plan.documents as f64;
    let meter = Meter::start(plan.server_pid);
    client.ok("POST", "/load-find/_find", nothing).await?;
    meter.report("_find without an index, 1 connection", documents, "documents");
    client.ok("POST", "/load-find/_index", br#"{"index":{"fields":["number"]}}"#).await?;
    let first = br#"{"selector":{"number":-1}}"#;
    let meter = Meter::start(plan.server_pid);
    client.ok("POST", "/load-find/_find", first).await?;
    meter.report("first build of an index over a field", documents, "documents");
    let documents = plan.documents;
    let meter = Meter::start(plan.server_pid);
    let rate = hammer(target, plan.clients, plan.duration, async move |client, n| {
        let from = n * 7919 % documents;
        let query = format!("{{\"selector\":{{\"number\":{{\"$gte\":{from}}}}},\"limit\":20}}");
        client.ok("POST", "/load-find/_find", query.as_bytes()).await?;
        Ok(())
    })
    .await?;
    let name = "_find of 20 documents by an index, many connections";
    report(name, rate, "queries/s");
    meter.report_processor(name, rate * meter.seconds());
    client.ok("DELETE", "/load-find", b"").await?;
    Ok(())
}

/// The size of a database's file, in bytes.
async fn file_bytes(client: &mut Client, name: &str) -> Outcome<f64> {
    let info: serde_json::Value =
        serde_json::from_slice(&client.ok("GET", &format!("/{name}"), b"").await?.head)?;
    info["sizes"]["file"].as_f64().ok_or_else(|| "no sizes.file".into())
}

/// Updates documents one at a time, each commit on its own, and divides the growth by the updates.
async fn growth(target: &Target, plan: &Plan) -> Outcome<()> {
    for documents in [10_000, 1] {
        let mut client = target.connect().await?;
        fresh(&mut client, "load-growth").await?;
        let before = file_bytes(&mut client, "load-growth").await?;
        let mut revs = vec![None::<String>; documents];
        let start = Instant::now();
        for n in 0..plan.updates {
            let which = n * 7919 % documents;
            let id = format!("order-{which:09}");
            let text = single(&id, n, revs[which].as_deref());
            let answer = client.ok("PUT", &format!("/load-growth/{id}"), text.as_bytes()).await?;
            let value: serde_json::Value = serde_json::from_slice(&answer.head)?;
            revs[which] = value["rev"].as_str().map(str::to_owned);
        }
        let seconds = start.elapsed().as_secs_f64();
        let after = file_bytes(&mut client, "load-growth").await?;
        let name = format!("growth per update, {documents} documents");
        report(&name, (after - before) / plan.updates as f64, "bytes");
        report(&format!("{name}, pace"), plan.updates as f64 / seconds, "documents/s");
        client.ok("DELETE", "/load-growth", b"").await?;
    }
    Ok(())
}

/// Resident memory of a process, by kind.
pub(crate) fn memory(pid: u32) -> Outcome<()> {
    for (field, name) in
        [("RssAnon:", "server's own memory"), ("RssFile:", "mapped file pages in memory")]
    {
        report(name, memory_of(pid, field)?, "MiB");
    }
    Ok(())
}

/// A field of the kernel's account of a process's memory, in MiB.
pub(crate) fn memory_of(pid: u32, field: &str) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("0 kB");
    Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}
