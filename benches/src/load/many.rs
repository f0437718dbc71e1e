//! Very many databases, and very many feeds.

use std::{cell::Cell, rc::Rc, time::Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::LocalSet;

use crate::{
    Options, Outcome,
    client::{Client, Target},
    report,
    spawn::Server,
    workload::{memory, memory_of},
};

/// Pages of `_all_dbs` that are read.
const PAGES: usize = 200;
/// Feeds whose databases are written to, about.
const CHECKED_FEEDS: usize = 1000;

fn name(n: usize) -> String {
    // Scattered, so that neither names nor files come in order.
    format!("many-{:08x}", n.wrapping_mul(0x9E37_79B1) & 0xffff_ffff)
}

/// Calls for each number from `from` to `to`, over many connections; returns calls per second.
async fn for_each(
    target: &Target,
    clients: usize,
    (from, to): (usize, usize),
    work: impl AsyncFn(&mut Client, usize) -> Outcome<()> + 'static,
) -> Outcome<f64> {
    let (work, next) = (Rc::new(work), Rc::new(Cell::new(from)));
    let start = Instant::now();
    let local = LocalSet::new();
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let (work, next, mut client) = (work.clone(), next.clone(), target.connect().await?);
        tasks.push(local.spawn_local(async move {
            while next.get() < to {
                let n = next.replace(next.get() + 1);
                work(&mut client, n).await?;
            }
            Outcome::Ok(())
        }));
    }
    local.await;
    for task in tasks {
        task.await??;
    }
    Ok((to - from) as f64 / start.elapsed().as_secs_f64())
}

async fn create(client: &mut Client, n: usize) -> Outcome<()> {
    client.ok("PUT", &format!("/{}", name(n)), b"").await.map(drop)
}

async fn delete(client: &mut Client, n: usize) -> Outcome<()> {
    client.ok("DELETE", &format!("/{}", name(n)), b"").await.map(drop)
}

/// Creates databases, lists them, touches each, restarts, and deletes them.
pub(crate) async fn databases(
    target: &Target,
    options: &Options,
    mut server: Option<&mut Server>,
) -> Outcome<()> {
    let (count, clients) = (options.databases, options.clients);
    let part = (count / 10).max(1);
    let rate = for_each(target, clients, (0, part), create).await?;
    report(&format!("creating databases, the first {part}"), rate, "databases/s");
    if count > 2 * part {
        for_each(target, clients, (part, count - part), create).await?;
    }
    let rate = for_each(target, clients, (count.max(2 * part) - part, count), create).await?;
    report(&format!("creating databases, the last {part}"), rate, "databases/s");
    list(target, count).await?;

    if let Some(server) = &mut server {
        report("restart, until it answers", server.restart().await?.as_secs_f64() * 1000.0, "ms");
        let mut client = target.connect().await?;
        let start = Instant::now();
        client.ok("GET", "/_all_dbs?limit=1", b"").await?;
        report("first list after it", start.elapsed().as_secs_f64() * 1000.0, "ms");
        server.pid().map_or(Ok(()), memory)?;
    }
    let rate = for_each(target, clients, (0, count), async |client, n| {
        client.ok("GET", &format!("/{}", name(n)), b"").await.map(drop)
    })
    .await?;
    report("opening each once", rate, "databases/s");
    if let Some(pid) = server.as_ref().and_then(|server| server.pid()) {
        memory(pid)?;
        report("descriptors", std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64, "");
    }
    let rate = for_each(target, clients, (0, part), async |client, n| {
        client.ok("PUT", &format!("/{}/doc", name(n)), b"{}").await.map(drop)
    })
    .await?;
    report(&format!("writing one document into each of {part}"), rate, "documents/s");
    let rate = for_each(target, clients, (0, count), delete).await?;
    report("deleting databases", rate, "databases/s");
    Ok(())
}

async fn list(target: &Target, count: usize) -> Outcome<()> {
    let mut client = target.connect().await?;
    let start = Instant::now();
    let answer = client.ok("GET", "/_all_dbs", b"").await?;
    report("_all_dbs, all of them", start.elapsed().as_secs_f64() * 1000.0, "ms");
    report("its length", answer.body_bytes as f64 / 1e6, "MB");
    let start = Instant::now();
    for n in 0..PAGES {
        let path = format!("/_all_dbs?startkey=%22{}%22&limit=100", name(n * 7919 % count));
        client.ok("GET", &path, b"").await?;
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / PAGES as f64;
    report("_all_dbs, a page of 100", each, "\u{b5}s");
    Ok(())
}

/// Opens a continuous feed on each of many databases, then writes into some of them.
pub(crate) async fn feeds(
    target: &Target,
    options: &Options,
    server: Option<&Server>,
) -> Outcome<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let count = options.feeds;
    for_each(target, options.clients, (0, count), create).await?;
    let pid = server.and_then(Server::pid);
    let before = pid.map_or(Ok(0.0), |pid| memory_of(pid, "RssAnon:"))?;
    let start = Instant::now();
    let mut feeds = Vec::new();
    for n in 0..count {
        let path = format!("/{}/_changes?feed=continuous&heartbeat=600000&since=now", name(n));
        let mut feed = target.connect().await?;
        feed.follow(&path).await?;
        feeds.push(feed);
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    report(&format!("opening {count} continuous feeds"), rate, "feeds/s");
    if let Some(pid) = pid {
        let grown = memory_of(pid, "RssAnon:")? - before;
        report("server's memory for each feed", grown * 1024.0 / count as f64, "KiB");
        memory(pid)?;
        report("descriptors", std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64, "");
    }
    let mut writer = target.connect().await?;
    let (step, start) = ((count / CHECKED_FEEDS).max(1), Instant::now());
    for n in (0..count).step_by(step) {
        writer.ok("PUT", &format!("/{}/doc", name(n)), b"{}").await?;
        feeds[n].next_line().await?;
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / count.div_ceil(step) as f64;
    report("write until the feed has it, one at a time", each, "\u{b5}s");
    drop(feeds);
    for_each(target, options.clients, (0, count), delete).await?;
    Ok(())
}
