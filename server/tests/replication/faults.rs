//! Connections that break and servers that are killed; requests that are counted.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use settee_engine::Databases;
use settee_engine::replication::{Control, Job};
use settee_storage::disk::sim::Random;

use crate::support::{ADMIN, PASSWORD, Settee};
use crate::{answer, ask, base64, contents, context, fill, noise, parse, replicate};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts the requests that go through, and breaks connections when told to.
pub(crate) struct Proxy {
    address: String,
    shared: Arc<Faults>,
}

struct Faults {
    target: parking_lot::Mutex<String>,
    requests: AtomicU64,
    /// Bytes of answers.
    answered: AtomicU64,
    /// Bytes after which a connection is cut; none are if 0.
    cut_after: AtomicU64,
    closed: AtomicBool,
}

impl Proxy {
    pub(crate) fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Faults {
            target: parking_lot::Mutex::new(target.to_owned()),
            requests: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            cut_after: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        let faults = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if faults.closed.load(Ordering::SeqCst) {
                    return;
                }
                let faults = Arc::clone(&faults);
                thread::spawn(move || faults.carry(&stream.unwrap()));
            }
        });
        Proxy { address, shared }
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("http://{ADMIN}:{PASSWORD}@{}/{database}", self.address)
    }

    /// Requests since it was asked last.
    fn requests(&self) -> u64 {
        self.shared.requests.swap(0, Ordering::SeqCst)
    }

    /// Bytes of answers since it was asked last.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.swap(0, Ordering::SeqCst)
    }

    fn cut_after(&self, bytes: u64) {
        self.shared.cut_after.store(bytes, Ordering::SeqCst);
    }

    fn lead_to(&self, target: &str) {
        target.clone_into(&mut self.shared.target.lock());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(&self.address));
    }
}

impl Faults {
    fn carry(self: &Arc<Self>, client: &TcpStream) {
        let target = self.target.lock().clone();
        let Ok(server) = TcpStream::connect(target) else { return };
        let back = {
            let (faults, from, to) = (Arc::clone(self), server.try_clone(), client.try_clone());
            thread::spawn(move || faults.pump(&from.unwrap(), &to.unwrap(), false))
        };
        self.pump(client, &server, true);
        drop(back.join());
    }

    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream, counts: bool) {
        let mut buffer = vec![0; 16 * 1024];
        let mut carried = 0;
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let piece = &buffer[..length];
            if counts {
                let methods: [&[u8]; 3] = [b"GET /", b"POST /", b"PUT /"];
                if methods.iter().any(|method| piece.starts_with(method)) {
                    self.requests.fetch_add(1, Ordering::SeqCst);
                }
            }
            carried += length as u64;
            if !counts {
                self.answered.fetch_add(length as u64, Ordering::SeqCst);
            }
            let limit = self.cut_after.load(Ordering::SeqCst);
            if limit > 0 && carried > limit || to.write_all(piece).is_err() {
                break;
            }
        }
        drop(from.shutdown(Shutdown::Both));
        drop(to.shutdown(Shutdown::Both));
    }
}

#[test]
fn a_replication_that_is_up_to_date_costs_few_requests() {
    let (one, two) = (Settee::start(), Settee::start());
    ask(&one, "PUT", "/a", &Value::Null);
    ask(&one, "PUT", "/a/x", &json!({}));
    let (source, target) = (Proxy::start(one.address()), Proxy::start(two.address()));
    let databases = Databases::in_memory();
    let context = context(&databases);
    let between =
        json!({"source": source.url("a"), "target": target.url("b"), "create_target": true});
    let pull = json!({"source": source.url("a"), "target": "here", "create_target": true});
    for (request, expected) in [(between, 4), (pull, 2)] {
        let mut request = request;
        replicate(&context, &request).unwrap();
        request.as_object_mut().unwrap().remove("create_target");
        source.requests();
        target.requests();
        let done = answer(&replicate(&context, &request).unwrap());
        assert_eq!(done["no_changes"], true);
        assert_eq!(source.requests() + target.requests(), expected, "{request}");
    }
}

#[test]
fn connections_that_break_and_servers_that_are_killed() {
    let (mut one, mut two) = (Settee::start(), Settee::start());
    ask(&one, "PUT", "/a", &Value::Null);
    ask(&two, "PUT", "/b", &Value::Null);
    fill(&one, "a");
    let (source, target) = (Proxy::start(one.address()), Proxy::start(two.address()));
    let request = json!({
        "source": source.url("a"), "target": target.url("b"), "continuous": true,
        "checkpoint_interval": 20, "worker_batch_size": 20, "retries_per_request": 2,
        "connection_timeout": 3000,
    });
    let databases = Databases::in_memory();
    let context = context(&databases);
    let stop = Arc::new(AtomicBool::new(false));
    let runner = {
        let (stop, context, replication) = (Arc::clone(&stop), context.clone(), parse(&request));
        thread::spawn(move || {
            // What fails is started again, as a scheduler does.
            while !stop.load(Ordering::SeqCst) {
                let control = Control::new();
                let watch = {
                    let (stop, control) = (Arc::clone(&stop), control.clone());
                    thread::spawn(move || {
                        while !stop.load(Ordering::SeqCst) {
                            thread::sleep(Duration::from_millis(20));
                        }
                        control.stop();
                    })
                };
                let ended = Job::run_blocking(replication.clone(), &context, &control);
                if ended.is_ok_and(|outcome| outcome.stopped) {
                    watch.join().unwrap();
                    return;
                }
            }
        })
    };
    let mut random = Random::new(7);
    for round in 0..12 {
        let limit = 2_000 + random.next() % 200_000;
        source.cut_after(if round % 3 == 0 { 0 } else { limit });
        target.cut_after(if round % 3 == 1 { 0 } else { limit });
        for n in 0..10 {
            let path = format!("/a/edit-{}", random.next() % 40);
            let old = one.ask("GET", &path, "");
            let mut doc: Value = serde_json::from_slice(&old.body).unwrap();
            if old.status != 200 {
                doc = json!({});
            }
            doc["n"] = json!(n);
            if n % 4 == 0 {
                doc["_attachments"] = json!({"f": {"data": base64(&noise(20_000, n))}});
            }
            let doc = doc.to_string();
            assert!(one.ask("PUT", &path, &doc).status < 300);
        }
        thread::sleep(Duration::from_millis(random.next() % 150));
        match round {
            4 => {
                one.restart();
                source.lead_to(one.address());
            }
            8 => {
                two.restart();
                target.lead_to(two.address());
            }
            _ => {}
        }
    }
    source.cut_after(0);
    target.cut_after(0);
    let started = Instant::now();
    while contents(&one, "a") != contents(&two, "b") {
        assert!(started.elapsed() < PATIENCE, "the databases do not become equal");
        thread::sleep(Duration::from_millis(50));
    }
    stop.store(true, Ordering::SeqCst);
    runner.join().unwrap();
}
