//! What replications move per second, and how soon an edit arrives.
//!
//! `cargo bench -p settee-benches --bench replication [-- FOLDER]`. One run, figures to the terminal; the
//! folder decides which disk is measured. `ONLY=name` runs one measure. With `SETTEE=target/release/settee`
//! one side is a server of its own, as it is when one of two servers replicates with the other.

use std::{
    error::Error,
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use settee_benches::{Measure, measure_all};
use settee_engine::{
    Caller, Database, Databases, Document, Options, Props, WriteMode,
    document::Limits,
    json::Value,
    replication::{Context, Control, Defaults, Job, LocalNames, Replication, ServerIdentity},
};
use settee_storage::disk::RealDisk;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const BATCH: u64 = 1000;
const DOCUMENTS: u64 = 100_000;
const EDITS: u64 = 200;

fn main() -> Outcome {
    measure_all(MEASURES)
}

const MEASURES: &[Measure<Box<dyn Error>>] = &[("local", local), ("pull", pull), ("push", push)];

/// About 500 bytes of JSON.
fn body(number: u64) -> String {
    let mut json = format!(
        r#"{{"_id":"doc-{number:08}","name":"Document {number}","number":{number},"price":{}.25,"active":true,"tags":["a","b","c"],"text":""#,
        number % 1000
    );
    while json.len() < 480 {
        // Writing to a string does not fail.
        let _ =
            write!(json, "{:x} ", number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ json.len() as u64);
    }
    json.push_str("\"}");
    json
}

fn open(path: &Path) -> Outcome<Arc<Databases>> {
    Ok(Databases::open(Arc::new(RealDisk), path, Options::default())?)
}

fn fill(database: &Arc<Database>) -> Outcome {
    for batch in 0..DOCUMENTS / BATCH {
        let docs = (batch * BATCH..(batch + 1) * BATCH)
            .map(|number| Document::parse(body(number).as_bytes(), None, &Limits::default()))
            .collect::<Result<Vec<_>, _>>()?;
        database.write(docs, WriteMode::Interactive)?;
    }
    Ok(())
}

fn request(source: &str, target: &str, continuous: bool) -> Outcome<Replication> {
    let local = LocalNames { url: "http://localhost".into(), caller: Caller::admin() };
    let defaults = Defaults { local: Some(local), ..Defaults::default() };
    let json = format!(
        r#"{{"source":"{source}","target":"{target}","create_target":true,"continuous":{continuous}}}"#
    );
    Ok(Replication::parse(&Value::parse(json.as_bytes())?, &defaults)?)
}

fn measure(name: &str, databases: &Arc<Databases>, source: &str, target: &str) -> Outcome {
    let context = Context::new(Arc::clone(databases), ServerIdentity::default());
    let runtime = tokio::runtime::Runtime::new()?;
    let control = Control::new();
    let replication = request(source, target, false)?;
    let started = Instant::now();
    runtime.block_on(async {
        let job = Job::prepare(replication, &context).await?;
        job.run(&context, &control).await
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let stats = control.progress().stats();
    println!(
        "{name}: {} documents in {seconds:.2} s, {:.0}/s",
        stats.docs_written,
        stats.docs_written as f64 / seconds
    );
    Ok(())
}

/// How long after an edit of `source` it is seen in `target`, by `write` and `seen`.
fn latency(
    name: &str,
    databases: &Arc<Databases>,
    (source, target): (&str, &str),
    mut write: impl FnMut(u64) -> Outcome,
    mut wait: impl FnMut(u64) -> Outcome,
) -> Outcome {
    let context = Context::new(Arc::clone(databases), ServerIdentity::default());
    let runtime = tokio::runtime::Runtime::new()?;
    let control = Control::new();
    let replication = request(source, target, true)?;
    let handle = control.clone();
    let run = runtime.spawn(async move {
        let job = Job::prepare(replication, &context).await?;
        job.run(&context, &handle).await
    });
    let mut times = Vec::new();
    for number in 0..EDITS {
        std::thread::sleep(Duration::from_millis(10));
        let started = Instant::now();
        write(number)?;
        wait(number)?;
        times.push(started.elapsed());
    }
    control.stop();
    runtime.block_on(run)??;
    times.sort();
    let at = |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1000.0;
    println!("{name}: an edit arrives after {:.1} ms (median), {:.1} ms (99 %)", at(0.5), at(0.99));
    Ok(())
}

fn put(database: &Arc<Database>, id: &str) -> Outcome {
    let doc = Document::parse(b"{\"n\":1}", Some(id), &Limits::default())?;
    database.write(vec![doc], WriteMode::Interactive)?;
    Ok(())
}

fn wait_for(database: &Arc<Database>, id: &str) -> Outcome {
    loop {
        let seq = database.read()?.seq();
        if database.read()?.get(id, &settee_engine::GetOptions::default()).is_ok() {
            return Ok(());
        }
        // However the waiting ended, the next round looks.
        let _ = database.wait_changed(seq, Duration::from_secs(10));
    }
}

fn local(path: &Path) -> Outcome {
    let databases = open(path)?;
    let a = databases.create("a", Props::default())?;
    fill(&a)?;
    measure("local to local", &databases, "a", "b")?;
    measure("local to local, up to date", &databases, "a", "b")?;
    let b = databases.get("b")?;
    let write = |n: u64| put(&a, &format!("edit-{n}"));
    let wait = |n: u64| wait_for(&b, &format!("edit-{n}"));
    latency("local to local", &databases, ("a", "b"), write, wait)
}

/// A server of its own.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(path: &Path) -> Outcome<Option<Self>> {
        let Some(program) = std::env::var_os("SETTEE") else {
            println!("SETTEE names no server: nothing over HTTP is measured");
            return Ok(None);
        };
        std::fs::create_dir_all(path)?;
        let mut child = Command::new(program)
            .args(["--port", "0", "--data-dir"])
            .arg(path)
            .env("COUCHDB_USER", "admin")
            .env("COUCHDB_PASSWORD", "secret")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let mut first = String::new();
        let mut lines = BufReader::new(stdout);
        lines.read_line(&mut first)?;
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let (_, address) = first.trim().split_once("http://").ok_or("no address")?;
        let address = address.trim_end_matches('/').to_owned();
        Ok(Some(Server { child, address }))
    }

    fn url(&self, database: &str) -> String {
        format!("http://admin:secret@{}/{database}", self.address)
    }

    /// One request; the answer's head and body.
    fn ask(&self, method: &str, path: &str, body: &str) -> Outcome<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        // admin:secret
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic YWRtaW46c2VjcmV0\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn pull(path: &Path) -> Outcome {
    let Some(server) = Server::start(&path.join("server"))? else { return Ok(()) };
    let databases = open(&path.join("here"))?;
    let a = databases.create("a", Props::default())?;
    fill(&a)?;
    // Fills the server, and is the measure of pushing.
    measure("local to server (push)", &databases, "a", &server.url("a"))?;
    measure("server to local (pull)", &databases, &server.url("a"), "b")?;
    measure("server to local, up to date", &databases, &server.url("a"), "b")?;
    measure("server to itself by HTTP", &databases, &server.url("a"), &server.url("c"))?;
    let b = databases.get("b")?;
    let write = |n: u64| server.ask("PUT", &format!("/a/edit-{n}"), "{}").map(drop);
    let wait = |n: u64| wait_for(&b, &format!("edit-{n}"));
    latency("server to local", &databases, (&server.url("a"), "b"), write, wait)
}

fn push(path: &Path) -> Outcome {
    let Some(server) = Server::start(&path.join("server"))? else { return Ok(()) };
    let databases = open(&path.join("here"))?;
    let a = databases.create("a", Props::default())?;
    let write = |n: u64| put(&a, &format!("edit-{n}"));
    let wait = |n: u64| loop {
        if server.ask("GET", &format!("/b/edit-{n}"), "")?.contains(" 200 ") {
            return Ok(());
        }
    };
    latency("local to server", &databases, ("a", &server.url("b")), write, wait)
}
