//! Compaction of a database of orders: its speed beside copying the result, its size beside Snappy, and what
//! packed bodies cost a reader.
//!
//! `cargo bench -p settee-benches --bench compaction [-- FOLDER]`. One run, figures to the terminal; the
//! folder (default: the system's for temporary files) decides which disk is measured. Each round compacts
//! the database four times and copies each result, so that both meet the same mood of the machine.
//! `DOCUMENTS` and `ROUNDS` change how much there is of it.

use std::{
    error::Error,
    fs::{self, File},
    hint::black_box,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use settee_benches::{folder, order};
use settee_engine::{
    Database, Databases, GetOptions, Options, Props, WriteMode,
    document::{Limits, parse_bulk},
};
use settee_storage::disk::RealDisk;

type Outcome<T> = Result<T, Box<dyn Error>>;

const BATCH: usize = 1000;
const READS: usize = 200_000;

fn main() -> Outcome<()> {
    let folder = folder()?;
    let documents = number("DOCUMENTS", 200_000);
    let databases = Databases::open(Arc::new(RealDisk), folder.path(), Options::default())?;
    let database = databases.create("db", Props::default())?;
    fill(&database, documents)?;

    let bench = Bench { databases, database, file: folder.path().join("db.settee"), documents };
    let mut kinds = [Kind::Plain, Kind::Pack, Kind::Packed].map(|kind| (kind, Measured::default()));
    for round in 0..number("ROUNDS", 3) {
        bench.databases.set_body_compression(false);
        bench.database.compact()?;
        for (kind, measured) in &mut kinds {
            bench.databases.set_body_compression(*kind != Kind::Plain);
            bench.round(measured)?;
            if round == 0 && *kind != Kind::Pack {
                bench.reads(*kind)?;
            }
        }
    }
    for (kind, measured) in &kinds {
        bench.report(*kind, measured);
    }
    bench.sizes(kinds[2].1.bytes)
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn text(n: usize) -> String {
    let mut text = String::from("{");
    order(&mut text, n);
    text.push('}');
    text
}

fn id(n: usize) -> String {
    format!("order-{n:09}")
}

fn fill(database: &Arc<Database>, documents: usize) -> Outcome<()> {
    for from in (0..documents).step_by(BATCH) {
        let docs: Vec<_> = (from..documents.min(from + BATCH))
            .map(|n| format!("{{\"_id\":\"{}\",{}", id(n), &text(n)[1..]))
            .collect();
        let bulk = format!("{{\"docs\":[{}]}}", docs.join(","));
        let request = parse_bulk(bulk.as_bytes(), &Limits::default())?;
        for written in database.write(request.docs, WriteMode::Interactive)? {
            written?;
        }
    }
    Ok(())
}

/// What a compaction does with bodies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Copies text.
    Plain,
    /// Packs text.
    Pack,
    /// Copies what is packed.
    Packed,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Plain => "bodies copied as text",
            Kind::Pack => "bodies being packed",
            Kind::Packed => "packed bodies copied",
        }
    }
}

/// The fastest of all rounds.
struct Measured {
    compaction: Duration,
    running: Duration,
    copy: Duration,
    bytes: u64,
}

impl Default for Measured {
    fn default() -> Self {
        Measured {
            compaction: Duration::MAX,
            running: Duration::MAX,
            copy: Duration::MAX,
            bytes: 0,
        }
    }
}

struct Bench {
    databases: Arc<Databases>,
    database: Arc<Database>,
    file: PathBuf,
    documents: usize,
}

impl Bench {
    fn round(&self, measured: &mut Measured) -> Outcome<()> {
        let (started, was_running) = (Instant::now(), running());
        self.database.compact()?;
        measured.compaction = measured.compaction.min(started.elapsed());
        measured.running = measured.running.min(running().saturating_sub(was_running));
        let copied = self.file.with_extension("copy");
        let started = Instant::now();
        copy(&self.file, &copied)?;
        measured.copy = measured.copy.min(started.elapsed());
        fs::remove_file(copied)?;
        measured.bytes = fs::metadata(&self.file)?.len();
        Ok(())
    }

    fn report(&self, kind: Kind, measured: &Measured) {
        let Measured { compaction, running, copy, bytes } = measured;
        println!(
            "{:<22} {:>7.1} MB in {:>7.1} ms (CPU {:>7.1} ms); cp + fsync {:>7.1} ms: {:.0} %",
            kind.name(),
            *bytes as f64 / 1e6,
            millis(*compaction),
            millis(*running),
            millis(*copy),
            100.0 * copy.as_secs_f64() / compaction.as_secs_f64(),
        );
    }

    /// Reads documents by chance.
    fn reads(&self, kind: Kind) -> Outcome<()> {
        let (mut out, mut n) = (Vec::new(), 1);
        for warm in [false, true] {
            let was_running = running();
            for _ in 0..READS {
                n = (n * 7919 + 13) % self.documents;
                out.clear();
                self.database.read()?.get(&id(n), &GetOptions::default())?.write_json(&mut out)?;
                black_box(&out);
            }
            let each = running().saturating_sub(was_running).as_nanos() as f64 / READS as f64;
            if warm {
                println!("{:<22} {each:>7.0} ns to read one", kind.name());
            }
        }
        Ok(())
    }

    /// The file, indexes and all, beside the bodies alone as CouchDB's compression makes them.
    fn sizes(&self, bytes: u64) -> Outcome<()> {
        let (mut plain, mut snappy) = (0, 0);
        let mut encoder = snap::raw::Encoder::new();
        for n in 0..self.documents {
            let text = text(n);
            plain += text.len();
            snappy += encoder.compress_vec(text.as_bytes())?.len();
        }
        let each = |bytes: usize| bytes as f64 / self.documents as f64;
        println!(
            "bytes for each document: JSON {:.0}, in Snappy {:.0}; the file {:.0}: {:.0} % of Snappy",
            each(plain),
            each(snappy),
            bytes as f64 / self.documents as f64,
            100.0 * bytes as f64 / snappy as f64,
        );
        Ok(())
    }
}

/// What `cp` does, and a sync.
fn copy(from: &Path, to: &Path) -> Outcome<()> {
    let (mut from, mut to_file) = (File::open(from)?, File::create(to)?);
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        to_file.write_all(&buffer[..read])?;
    }
    Ok(to_file.sync_all()?)
}

/// For how long the threads of this process have been running, together.
fn running() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
