//! What the engine does per second on a real disk: writes, reads, listings, feeds.
//!
//! `cargo bench -p settee-benches --bench operations [-- FOLDER]`. One run, figures to the terminal;
//! the folder (default: the system's for temporary files) decides which disk is measured. `ONLY=name`
//! runs one measure. Behind each figure stands what it would be if the processor had nothing else to
//! do and the disk took no time: the same work by the time the thread was running.

use std::{
    error::Error,
    fmt::Write as _,
    hint::black_box,
    ops::ControlFlow,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use settee_benches::{Measure, measure_all};
use settee_engine::{
    AllDocsHead, AllDocsQuery, ChangeRow, ChangesQuery, Database, Databases, Document, GetOptions,
    Options, Props, Rev, RowSink, WriteMode,
    document::{Limits, parse_bulk},
};
use settee_storage::disk::RealDisk;

type Outcome = Result<(), Box<dyn Error>>;

const BATCH: u64 = 1000;
const BATCHES: u64 = 200;
const DOCUMENTS: u64 = BATCH * BATCHES;

fn main() -> Outcome {
    measure_all(MEASURES)
}

const MEASURES: &[Measure<Box<dyn Error>>] =
    &[("bulk", bulk), ("single", single_writes), ("threads", many_threads), ("history", history)];

fn create(path: &Path) -> Result<Arc<Database>, Box<dyn Error>> {
    let databases = Databases::open(Arc::new(RealDisk), path, Options::default())?;
    Ok(databases.create("db", Props::default())?)
}

/// About 500 bytes of JSON with what documents are made of.
fn body(number: u64) -> String {
    let mut json = format!(
        r#""name":"Document {number}","number":{number},"price":{}.25,"active":true,"tags":["a","b","c"],"#,
        number % 1000
    );
    let _ = write!(
        json,
        r#""address":{{"street":"Long Street {number}","zip":"{:05}"}},"#,
        number % 99_999
    );
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(7);
    let _ = write!(json, r#""text":"{}""#, &text[..300]);
    json
}

fn id(number: u64) -> String {
    format!("document-{number:08}")
}

/// Time that passed, and the part of it in which this thread was running.
#[derive(Clone, Copy, Default)]
struct Spent {
    wall: Duration,
    running: Duration,
}

impl Spent {
    fn add(&mut self, start: &Start) {
        self.wall += start.at.elapsed();
        self.running += running().saturating_sub(start.running);
    }

    fn per_second(&self, count: u64) -> String {
        let rate = |time: Duration| count as f64 / time.as_secs_f64();
        format!("{:>10.0}/s {:>10.0}/s", rate(self.wall), rate(self.running))
    }

    fn each(&self, count: u64) -> String {
        let each = |time: Duration| time.as_nanos() as f64 / count as f64 / 1000.0;
        format!("{:>9.2} us {:>9.2} us", each(self.wall), each(self.running))
    }
}

struct Start {
    at: Instant,
    running: Duration,
}

impl Start {
    fn now() -> Self {
        Start { at: Instant::now(), running: running() }
    }

    fn spent(&self) -> Spent {
        let mut spent = Spent::default();
        spent.add(self);
        spent
    }
}

/// For how long this thread has been running.
fn running() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn report(what: &str, value: &str) {
    println!("{what:<60} {value}");
}

/// A small generator of random numbers (splitmix64).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn bulk_json(batch: u64, revs: Option<&[Rev]>) -> String {
    let mut json = String::from(r#"{"docs":["#);
    for n in 0..BATCH {
        let number = batch * BATCH + n;
        let rev = revs.map_or(String::new(), |revs| format!(r#""_rev":"{}","#, revs[n as usize]));
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(json, r#"{comma}{{"_id":"{}",{rev}{}}}"#, id(number), body(number));
    }
    json + "]}"
}

/// Everything on one database of many documents.
fn bulk(path: &Path) -> Outcome {
    let db = create(path)?;
    let (mut parsing, mut writing) = (Spent::default(), Spent::default());
    let mut revs = Vec::new();
    for batch in 0..BATCHES {
        let json = bulk_json(batch, None);
        let start = Start::now();
        let request = parse_bulk(json.as_bytes(), &Limits::default())?;
        parsing.add(&start);
        let start = Start::now();
        let results = db.write(request.docs, WriteMode::Interactive)?;
        writing.add(&start);
        revs.push(results.into_iter().collect::<Result<Vec<_>, _>>()?);
    }
    report("bulk: documents of 500 B, 1000 a call, parse", &parsing.per_second(DOCUMENTS));
    report("bulk: the same, write", &writing.per_second(DOCUMENTS));
    updates(&db, &revs[..20])?;
    gets(&db)?;
    listings(&db)?;
    feeds(&db)
}

fn updates(db: &Arc<Database>, revs: &[Vec<Rev>]) -> Outcome {
    let mut writing = Spent::default();
    for (batch, revs) in (0..).zip(revs) {
        let request = parse_bulk(bulk_json(batch, Some(revs)).as_bytes(), &Limits::default())?;
        let start = Start::now();
        for result in db.write(request.docs, WriteMode::Interactive)? {
            result?;
        }
        writing.add(&start);
    }
    let count = revs.len() as u64 * BATCH;
    report("bulk: updates of documents, 1000 a call, write", &writing.per_second(count));
    Ok(())
}

fn gets(db: &Arc<Database>) -> Outcome {
    const READS: u64 = 300_000;
    let (mut state, mut out) = (1, Vec::new());
    let ids: Vec<String> = (0..READS).map(|_| id(random(&mut state) % DOCUMENTS)).collect();
    for warm in [false, true] {
        let start = Start::now();
        for id in &ids {
            out.clear();
            let reader = db.read()?;
            reader.get(id, &GetOptions::default())?.write_json(&mut out)?;
            black_box(&out);
        }
        let what = if warm { "get, random, warm" } else { "get, random, first touch" };
        report(what, &start.spent().each(READS));
    }
    Ok(())
}

#[derive(Default)]
struct Count {
    rows: u64,
    bytes: u64,
}

impl RowSink for Count {
    fn head(&mut self, _: &AllDocsHead) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn row(&mut self, json: &[u8]) -> ControlFlow<()> {
        self.rows += 1;
        self.bytes += black_box(json).len() as u64;
        ControlFlow::Continue(())
    }
}

fn listings(db: &Arc<Database>) -> Outcome {
    for (what, include_docs, descending) in [
        ("all_docs", false, false),
        ("all_docs, include_docs", true, false),
        ("all_docs, include_docs, descending", true, true),
    ] {
        let query = AllDocsQuery { include_docs, descending, ..AllDocsQuery::default() };
        let (mut count, start) = (Count::default(), Start::now());
        db.read()?.all_docs(&query, &mut count)?;
        assert_eq!(count.rows, DOCUMENTS);
        report(what, &start.spent().per_second(count.rows));
    }
    Ok(())
}

fn feeds(db: &Arc<Database>) -> Outcome {
    for (what, include_docs) in [("changes", false), ("changes, include_docs", true)] {
        let query = ChangesQuery { include_docs, ..ChangesQuery::default() };
        let (mut rows, start) = (0, Start::now());
        db.read()?.changes(&query, &mut |row: ChangeRow<'_>| {
            rows += 1;
            black_box(row.json);
            ControlFlow::Continue(())
        })?;
        assert_eq!(rows, DOCUMENTS);
        report(what, &start.spent().per_second(rows));
    }
    Ok(())
}

fn document(number: u64, rev: Option<&Rev>) -> Result<Document, Box<dyn Error>> {
    let json = format!("{{{}}}", body(number));
    let mut document = Document::parse(json.as_bytes(), Some(&id(number)), &Limits::default())?;
    document.rev = rev.cloned();
    Ok(document)
}

fn single_writes(path: &Path) -> Outcome {
    const WRITES: u64 = 3000;
    let db = create(path)?;
    let start = Start::now();
    for number in 0..WRITES {
        db.write(vec![document(number, None)?], WriteMode::Interactive)?.remove(0)?;
    }
    report("one durable write at a time", &start.spent().each(WRITES));
    Ok(())
}

fn many_threads(path: &Path) -> Outcome {
    const THREADS: u64 = 64;
    const WRITES: u64 = 1000;
    let db = create(path)?;
    let start = Start::now();
    thread::scope(|scope| {
        for writer in 0..THREADS {
            let db = &db;
            scope.spawn(move || {
                for n in 0..WRITES {
                    let document = document(writer * WRITES + n, None).expect("a document");
                    db.write(vec![document], WriteMode::Interactive).expect("a write");
                }
            });
        }
    });
    let wall = start.at.elapsed().as_secs_f64();
    let rate = (THREADS * WRITES) as f64 / wall;
    report("durable writes from 64 threads", &format!("{rate:>10.0}/s"));
    Ok(())
}

/// Edits of one document whose history is as long as it may get.
fn history(path: &Path) -> Outcome {
    const EDITS: u64 = 3000;
    let db = create(path)?;
    let mut rev = None;
    let mut start = Start::now();
    for edit in 0..EDITS {
        if edit == EDITS / 2 {
            start = Start::now();
        }
        let written =
            db.write(vec![document(0, rev.as_ref())?], WriteMode::Interactive)?.remove(0)?;
        rev = Some(written);
    }
    let spent = start.spent().each(EDITS / 2);
    report("one durable edit of a document with 1000 revisions", &spent);
    report("its file afterwards", &format!("{:>10} KiB", db.info()?.sizes.file / 1024));
    Ok(())
}
