//! What the store does per second, against a bare append + fdatasync on the same disk.
//!
//! `cargo bench -p settee-benches --bench storage [-- FOLDER]`. One run, figures to the terminal; the
//! folder (default: the system's for temporary files) decides which disk is measured.

use std::{
    fs::File,
    hint::black_box,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use settee_benches::{Measure, measure_all};
use settee_storage::{
    Direction, DocWeight, FileStore, KeyRange, Options, ReadBy, Result, Store, Transaction,
    disk::RealDisk, update,
};

const BODY_BYTES: usize = 500;
const BY_ID_BYTES: usize = 70;
const BY_SEQ_BYTES: usize = 40;

fn main() -> Result<()> {
    measure_all(MEASURES)
}

const MEASURES: &[Measure<settee_storage::Error>] = &[
    ("single", single_edits),
    ("threads", many_threads),
    ("batches", batches),
    ("growth", growth),
    ("million", a_million_documents),
    ("crash", opening_after_a_crash),
];

fn create(path: &Path) -> Result<Arc<dyn Store>> {
    Ok(FileStore::create(Arc::new(RealDisk), path, Options::default())?)
}

/// A small generator of random numbers (splitmix64).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn id(number: u64) -> String {
    format!("document-{number:08}")
}

fn put(edit: &mut dyn Transaction, number: u64, body: &[u8]) -> Result<u64> {
    let mut by_id = [7; BY_ID_BYTES];
    by_id[..16].copy_from_slice(&edit.put_blob(body)?.to_bytes());
    let weight = DocWeight { deleted: false, active_bytes: 500, external_bytes: 480 };
    edit.put_doc(id(number).as_bytes(), weight, &by_id, &[8; BY_SEQ_BYTES])
}

fn report(what: &str, value: impl std::fmt::Display) {
    println!("{what:<64} {value:>14}");
}

fn per_second(count: u64, time: Duration) -> String {
    format!("{:.0}/s", count as f64 / time.as_secs_f64())
}

/// Microseconds per round: median and mean.
fn time_rounds(rounds: u32, mut round: impl FnMut(u32) -> Result<()>) -> Result<String> {
    let mut times = Vec::new();
    for number in 0..rounds {
        let start = Instant::now();
        round(number)?;
        times.push(start.elapsed());
    }
    times.sort();
    let mean = times.iter().sum::<Duration>() / rounds;
    let median = times[times.len() / 2];
    Ok(format!("{} / {} µs", median.as_micros(), mean.as_micros()))
}

fn single_edits(path: &Path) -> Result<()> {
    const ROUNDS: u32 = 4000;
    let bytes = [9; 700];
    let bare = File::create(path.with_extension("bare")).expect("a file");
    bare.write_all_at(&vec![0; 8 << 20], 0).expect("zeros");
    bare.sync_all().expect("a sync");
    let mut at = 0;
    let time = time_rounds(ROUNDS, |_| {
        bare.write_all_at(&bytes, at).expect("a write");
        bare.sync_data().expect("a sync");
        at += bytes.len() as u64;
        Ok(())
    })?;
    report("bare 700 B write + fdatasync into zeros, median / mean", time);

    let store = create(path)?;
    let time = time_rounds(ROUNDS, |number| {
        let number = u64::from(number) % 1000;
        update(&store, move |edit| put(edit, number, &[1; BODY_BYTES])).map(drop)
    })?;
    report("one durable edit of a 500 B document, median / mean", time);
    Ok(())
}

fn many_threads(path: &Path) -> Result<()> {
    for threads in [8, 64] {
        const SECONDS: u64 = 3;
        let store = create(&path.with_extension(threads.to_string()))?;
        let (edits, slowest) = (AtomicU64::new(0), AtomicU64::new(0));
        let start = Instant::now();
        thread::scope(|scope| {
            for number in 0..threads {
                let (store, edits, slowest) = (&store, &edits, &slowest);
                scope.spawn(move || {
                    let mut state = number;
                    while start.elapsed() < Duration::from_secs(SECONDS) {
                        let number = random(&mut state) % 100_000;
                        let begun = Instant::now();
                        update(store, move |edit| put(edit, number, &[1; BODY_BYTES]))
                            .expect("an edit");
                        slowest.fetch_max(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
                        edits.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let rate = per_second(edits.into_inner(), start.elapsed());
        report(&format!("durable edits by {threads} threads"), rate);
        report("  slowest of them", format!("{} ms", slowest.into_inner() / 1000));
    }
    Ok(())
}

fn batches(path: &Path) -> Result<()> {
    const BATCHES: u64 = 200;
    for (name, shuffle) in [("ascending", false), ("random", true)] {
        let store = create(&path.with_extension(name))?;
        let start = Instant::now();
        for batch in 0..BATCHES {
            update(&store, move |edit| {
                for number in 0..1000 {
                    let mut number = batch * 1000 + number;
                    if shuffle {
                        number = random(&mut number) % 100_000_000;
                    }
                    put(edit, number, &[1; BODY_BYTES])?;
                }
                Ok(())
            })?;
        }
        let time = start.elapsed();
        let rate = per_second(BATCHES * 1000, time);
        report(&format!("documents in batches of 1000, {name} ids, checkpoints included"), rate);
        let snapshot = store.snapshot()?;
        assert_eq!(snapshot.seq(), BATCHES * 1000);
    }
    Ok(())
}

fn growth(path: &Path) -> Result<()> {
    const DOCS: u64 = 10_000;
    const UPDATES: u64 = 100_000;
    let store = create(path)?;
    update(&store, |edit| {
        (0..DOCS).try_for_each(|number| put(edit, number, &[1; BODY_BYTES]).map(drop))
    })?;
    store.checkpoint()?;
    let before = store.sizes().file_bytes;
    let mut state = 1;
    let start = Instant::now();
    for _ in 0..UPDATES {
        let number = random(&mut state) % DOCS;
        update(&store, move |edit| put(edit, number, &[1; BODY_BYTES]))?;
    }
    let time = start.elapsed();
    store.checkpoint()?;
    let grown = store.sizes().file_bytes - before;
    report("growth per single update of a 500 B document", format!("{} B", grown / UPDATES));
    report("  updates one at a time, checkpoints included", per_second(UPDATES, time));
    Ok(())
}

fn memory_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn a_million_documents(path: &Path) -> Result<()> {
    const DOCS: u64 = 1_000_000;
    let store = create(path)?;
    for batch in 0..DOCS / 1000 {
        update(&store, move |edit| {
            (0..1000)
                .try_for_each(|number| put(edit, batch * 1000 + number, &[1; BODY_BYTES]).map(drop))
        })?;
    }
    let start = Instant::now();
    store.checkpoint()?;
    report("1 M documents: last checkpoint", format!("{:.1?}", start.elapsed()));
    report("1 M documents: file", format!("{} MiB", store.sizes().file_bytes >> 20));
    store.close();
    drop(store);
    for (name, read_by) in [("map", ReadBy::Map), ("pread", ReadBy::Pread)] {
        let before = memory_kib("RssAnon");
        let start = Instant::now();
        let options = Options { read_by, ..Options::default() };
        let store: Arc<dyn Store> = FileStore::open(Arc::new(RealDisk), path, options)?;
        report(&format!("{name}: clean opening"), format!("{:.2?}", start.elapsed()));
        read_million(name, &store, DOCS)?;
        let after = memory_kib("RssAnon");
        report(
            &format!("{name}: anonymous memory"),
            format!("{} KiB", after.saturating_sub(before)),
        );
        update_a_million(name, &store, DOCS)?;
    }
    Ok(())
}

fn read_million(name: &str, store: &Arc<dyn Store>, docs: u64) -> Result<()> {
    const GETS: u64 = 500_000;
    let snapshot = store.snapshot()?;
    let mut state = 2;
    for pass in ["cold", "warm"] {
        let start = Instant::now();
        for _ in 0..GETS {
            let id = id(random(&mut state) % docs);
            black_box(snapshot.doc(id.as_bytes())?.expect("it is there").seq);
        }
        let nanos = start.elapsed().as_nanos() as u64 / GETS;
        report(&format!("{name}: get by random id, {pass}"), format!("{nanos} ns"));
    }
    let start = Instant::now();
    for _ in 0..GETS {
        let id = id(random(&mut state) % docs);
        let entry = snapshot.doc(id.as_bytes())?.expect("it is there");
        let at = settee_storage::BlobRef::from_bytes(&entry.value).expect("a reference");
        black_box(snapshot.blob(at)?.len());
    }
    let nanos = start.elapsed().as_nanos() as u64 / GETS;
    report(&format!("{name}: get with its 500 B body"), format!("{nanos} ns"));
    let start = Instant::now();
    let mut cursor = snapshot.docs(&KeyRange::all(), Direction::Forward, false)?;
    let mut rows = 0;
    while cursor.next()?.is_some() {
        rows += 1;
    }
    report(&format!("{name}: rows by id"), per_second(rows, start.elapsed()));
    let start = Instant::now();
    let mut cursor = snapshot.changes(0, Direction::Backward)?;
    let mut rows = 0;
    while cursor.next()?.is_some() {
        rows += 1;
    }
    report(&format!("{name}: changes, descending"), per_second(rows, start.elapsed()));
    Ok(())
}

fn update_a_million(name: &str, store: &Arc<dyn Store>, docs: u64) -> Result<()> {
    const UPDATES: u64 = 100_000;
    let before = store.sizes().file_bytes;
    let mut state = 3;
    let start = Instant::now();
    for _ in 0..UPDATES / 1000 {
        let seed = random(&mut state);
        update(store, move |edit| {
            let mut state = seed;
            (0..1000)
                .try_for_each(|_| put(edit, random(&mut state) % docs, &[1; BODY_BYTES]).map(drop))
        })?;
    }
    let time = start.elapsed();
    report(&format!("{name}: random updates of 1 M, in batches"), per_second(UPDATES, time));
    store.checkpoint()?;
    let grown = (store.sizes().file_bytes - before) / UPDATES;
    report(&format!("{name}:   growth per update"), format!("{grown} B"));
    store.close();
    Ok(())
}

fn opening_after_a_crash(path: &Path) -> Result<()> {
    let log_bytes = Options::default().checkpoint_log_bytes;
    let options = Options { checkpoint_memory_bytes: u64::MAX, ..Options::default() };
    let store: Arc<dyn Store> = FileStore::create(Arc::new(RealDisk), path, options)?;
    let mut number = 0;
    while store.sizes().file_bytes < log_bytes - 100_000 {
        let first = number;
        number += 50;
        update(&store, move |edit| {
            (first..first + 50).try_for_each(|number| {
                let mut number = number;
                put(edit, random(&mut number) % 100_000, &[1; BODY_BYTES]).map(drop)
            })
        })?;
    }
    let end = store.sizes().file_bytes;
    store.close();
    drop(store);
    let start = Instant::now();
    let store = FileStore::open(Arc::new(RealDisk), path, options)?;
    let time = start.elapsed();
    let found = store.recovery();
    report("opening with a full log to replay", format!("{time:.2?}"));
    report("  commits", found.commits_replayed);
    report("  bytes of the file", end);
    Ok(())
}
