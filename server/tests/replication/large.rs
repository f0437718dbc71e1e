//! What is large: documents near the limit of their size and beyond it, and what a job needs of memory.

use super::faults::Proxy;
use super::*;

/// A text of so many bytes that does not compress.
fn text(length: usize, seed: u64) -> String {
    noise(length, seed)
        .iter()
        .map(|byte| char::from(b'!' + byte % 90).to_ascii_lowercase())
        .collect()
}

/// A document that takes about so many bytes.
fn document(server: &Settee, database: &str, id: &str, bytes: usize) {
    let body = json!({"text": text(bytes - 100, 7).replace(['"', '\\'], "x")});
    ask(server, "PUT", &format!("/{database}/{id}"), &body);
}

fn ids(server: &Settee, database: &str) -> Vec<String> {
    let rows = ask(server, "GET", &format!("/{database}/_all_docs"), &Value::Null);
    let ids = rows["rows"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

fn counts(outcome: &Outcome) -> [u64; 3] {
    let history = &answer(outcome)["history"][0];
    ["docs_read", "docs_written", "doc_write_failures"].map(|name| history[name].as_u64().unwrap())
}

/// Of `max_document_size`, in bytes, on the servers that have a limit of their own.
const LIMIT: usize = 1_000_000;

fn limited() -> Settee {
    let environment = vec![("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", PASSWORD)];
    let ini = format!("[chttpd_auth]\niterations = 100\n[couchdb]\nmax_document_size = {LIMIT}\n");
    Settee::start_with(&ini, environment, &[])
}

#[test]
fn documents_near_the_limit_go_either_way_and_those_beyond_the_targets_are_counted() {
    let (source, target) = (Settee::start(), Settee::start());
    ask(&source, "PUT", "/s", &Value::Null);
    let sizes = [7_990_000, LIMIT + 200_000, LIMIT - 10_000, 7_990_000, 1000];
    for (number, size) in sizes.into_iter().enumerate() {
        document(&source, "s", &format!("d{number}"), size);
    }
    let all = contents(&source, "s");

    let here = Databases::in_memory();
    let context = context(&here);
    here.create("here", Props::default()).unwrap();
    let pulled = replicate(&context, &json!({"source": url(&source, "s"), "target": "here"}));
    assert_eq!(counts(&pulled.unwrap()), [5, 5, 0]);
    let pushed = json!({"source": "here", "target": url(&target, "pushed"), "create_target": true});
    assert_eq!(counts(&replicate(&context, &pushed).unwrap()), [5, 5, 0]);
    assert_eq!(contents(&target, "pushed"), all);
    let between =
        json!({"source": url(&source, "s"), "target": url(&target, "t"), "create_target": true});
    assert_eq!(counts(&replicate(&context, &between).unwrap()), [5, 5, 0]);
    assert_eq!(contents(&target, "t"), all);

    let narrow = limited();
    for (name, from) in [("pushed", "here".to_owned()), ("between", url(&source, "s"))] {
        let request = json!({"source": from, "target": url(&narrow, name), "create_target": true});
        assert_eq!(counts(&replicate(&context, &request).unwrap()), [5, 2, 3], "{name}");
        assert_eq!(ids(&narrow, name), ["d2", "d4"], "{name}");
    }
}

/// A regression: the rest of the source's answer was read to its end for nothing.
#[test]
fn attachments_of_a_refused_document_are_not_read() {
    const ATTACHMENT: usize = 40 << 20;
    let (one, two) = (Settee::start(), limited());
    ask(&one, "PUT", "/a", &Value::Null);
    document(&one, "a", "large", LIMIT + 200_000);
    let rev = ask(&one, "GET", "/a/large", &Value::Null)["_rev"].as_str().unwrap().to_owned();
    let headers = [("Authorization", &*admin_header()), ("Content-Type", "image/png")];
    let path = format!("/a/large/f?rev={rev}");
    let put = one.connect().try_ask("PUT", &path, &headers, &vec![7; ATTACHMENT]);
    put.unwrap().expect(201);
    let databases = Databases::in_memory();
    let limits = Limits { document_bytes: LIMIT as u64, ..Limits::default() };
    let context = context(&databases).with_limits(limits);
    let source = Proxy::start(one.address());
    for target in ["here".to_owned(), url(&two, "b")] {
        let request = json!({"source": source.url("a"), "target": target, "create_target": true});
        let done = answer(&replicate(&context, &request).unwrap());
        assert_eq!(done["history"][0]["doc_write_failures"], 1, "{target}");
        // What is in the buffers of the connections has been sent, whether anybody reads it or not.
        let read = usize::try_from(source.answered()).unwrap();
        assert!(read < ATTACHMENT / 2, "{target}: {read} bytes");
    }
}

/// What a process has in memory that is no file's, in KiB.
#[cfg(target_os = "linux")]
fn own_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The most memory that the process had more than before, while `work` was done, in KiB.
#[cfg(target_os = "linux")]
fn growth(pid: u32, work: impl FnOnce()) -> u64 {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (before, done) = (own_memory(pid), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = before;
            while !done.load(Ordering::Relaxed) {
                most = most.max(own_memory(pid));
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            most
        });
        work();
        done.store(true, Ordering::Relaxed);
        watch.join().unwrap() - before
    })
}

#[cfg(target_os = "linux")]
#[test]
fn a_job_takes_little_memory_whatever_it_moves() {
    /// Of one job.
    const MOST_KIB: u64 = 32 * 1024;
    let [source, target, between] = [Settee::start(), Settee::start(), Settee::start()];
    for name in ["documents", "attachments", "leaves"] {
        ask(&source, "PUT", &format!("/{name}"), &Value::Null);
    }
    for number in 0..20 {
        document(&source, "documents", &format!("d{number}"), 7_900_000);
    }
    let authorization = admin_header();
    let headers =
        [("Authorization", &*authorization), ("Content-Type", "application/octet-stream")];
    for number in 0..2 {
        let path = format!("/attachments/a{number}/file");
        let sent = source.connect().try_ask("PUT", &path, &headers, &noise(40 << 20, number));
        sent.unwrap().expect(201);
    }
    for id in 0..20 {
        let leaf = |leaf: u32| {
            let rev = format!("2-{leaf:032x}");
            json!({"_id": format!("d{id}"), "_rev": rev, "text": "x".repeat(2000),
                "_revisions": {"start": 2, "ids": [format!("{leaf:032x}"), "a"]}})
        };
        let docs: Vec<Value> = (0..300).map(leaf).collect();
        let body = json!({"new_edits": false, "docs": docs});
        ask(&source, "POST", "/leaves/_bulk_docs", &body);
    }
    for name in ["documents", "attachments", "leaves"] {
        let request = json!({
            "source": url(&source, name), "target": url(&target, name), "create_target": true,
        });
        let grown = growth(between.pid(), || {
            let answer = ask(&between, "POST", "/_replicate", &request);
            assert_eq!(answer["history"][0]["doc_write_failures"], 0);
        });
        println!("{name}: {grown} KiB");
        assert!(grown < MOST_KIB, "{name}: {grown} KiB");
        assert_eq!(ids(&source, name), ids(&target, name));
    }
}
