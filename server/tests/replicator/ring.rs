//! Five servers in a ring, each pulling from the one before it, through connections that break and over
//! servers that are killed: in the end all hold the same.

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{ADMIN, PASSWORD, Settee, admin_header};
use super::{create, eventually, start};

const SERVERS: usize = 5;
const IDS: u64 = 30;

/// How long edits and faults go on.
const STORM: Duration = Duration::from_secs(5);

/// A port that leads to a server wherever that is now, and breaks connections when told to.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Where it leads to; nowhere while its server is down.
    target: Mutex<Option<String>>,
    /// Both ends of all connections.
    open: Mutex<Vec<TcpStream>>,
    /// Bytes after which a connection breaks; 0 for never.
    breaks_after: AtomicU64,
}

impl Proxy {
    pub(crate) fn to(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&accepting);
                thread::spawn(move || drop(shared.connect(stream)));
            }
        });
        let proxy = Self { port, shared };
        proxy.lead_to(address);
        proxy
    }

    pub(crate) fn lead_to(&self, address: &str) {
        *self.shared.target.lock().unwrap() = Some(address.to_owned());
    }

    /// Breaks all connections; there are no new ones until it leads somewhere again.
    pub(crate) fn cut(&self) {
        *self.shared.target.lock().unwrap() = None;
        self.shared.break_all();
    }

    /// The URL of a database behind it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("http://{ADMIN}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }
}

impl Shared {
    fn connect(self: Arc<Self>, client: TcpStream) -> io::Result<()> {
        let target = self.target.lock().unwrap().clone();
        let server = TcpStream::connect(target.ok_or(io::ErrorKind::ConnectionRefused)?)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        {
            let mut open = self.open.lock().unwrap();
            open.push(client.try_clone()?);
            open.push(server.try_clone()?);
        }
        let back = (server.try_clone()?, client.try_clone()?);
        let shared = Arc::clone(&self);
        let backwards = thread::spawn(move || shared.pump(back.0, back.1));
        self.pump(client, server);
        drop(backwards.join());
        Ok(())
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let (mut buffer, mut moved) = (vec![0; 16 << 10], 0);
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            moved += length as u64;
            let limit = self.breaks_after.load(Ordering::Relaxed);
            let broken = limit > 0 && moved > limit;
            if broken || to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        for stream in [from, to] {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    fn break_all(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

struct Ring {
    servers: Vec<Settee>,
    proxies: Vec<Proxy>,
    random: Random,
    edits: u64,
}

impl Ring {
    fn new(seed: u64) -> Self {
        let servers: Vec<_> = (0..SERVERS).map(|_| start()).collect();
        let proxies: Vec<_> = servers.iter().map(|server| Proxy::to(server.address())).collect();
        for (at, server) in servers.iter().enumerate() {
            create(server, &["db"]);
            let before = &proxies[(at + SERVERS - 1) % SERVERS];
            let job = json!({"source": before.url("db"), "target": proxies[at].url("db"),
                             "continuous": true, "checkpoint_interval": 300});
            server.ask("PUT", "/_replicator/ring", &job.to_string()).expect(201);
        }
        Self { servers, proxies, random: Random(seed | 1), edits: 0 }
    }

    /// Writes, changes or deletes a document on some server, without looking at what others do.
    fn edit(&mut self) {
        let at = self.random.below(SERVERS as u64) as usize;
        let path = format!("/db/doc{}", self.random.below(IDS));
        self.edits += 1;
        let rev = self.servers[at].ask("GET", &path, "").json()["_rev"].as_str().map(str::to_owned);
        let mut body = json!({"edit": self.edits, "at": at});
        if let Some(rev) = rev {
            body["_rev"] = json!(rev);
            if self.random.below(5) == 0 {
                body["_deleted"] = json!(true);
            }
        }
        if self.random.below(10) == 0 && body.get("_deleted").is_none() {
            body["_attachments"] =
                json!({"file": {"content_type": "text/plain", "data": "aGVsbG8="}});
        }
        let status = self.servers[at].ask("PUT", &path, &body.to_string()).status;
        // Replication may have come before it.
        assert!(matches!(status, 200 | 201 | 409), "{status}");
    }

    /// Lets something go wrong.
    fn fault(&mut self) {
        let at = self.random.below(SERVERS as u64) as usize;
        match self.random.below(4) {
            0 => {
                self.proxies[at].cut();
                self.servers[at].restart();
                self.proxies[at].lead_to(self.servers[at].address());
            }
            1 => self.proxies[at].shared.break_all(),
            2 => self.proxies[at].shared.breaks_after.store(4000, Ordering::Relaxed),
            _ => self.proxies[at].shared.breaks_after.store(0, Ordering::Relaxed),
        }
    }

    fn storm(&mut self) {
        let started = Instant::now();
        while started.elapsed() < STORM {
            for _ in 0..20 {
                self.edit();
            }
            self.fault();
        }
        for proxy in &self.proxies {
            proxy.shared.breaks_after.store(0, Ordering::Relaxed);
        }
    }
}

/// Everything a server holds: for each document its winner, and its leaves with their histories.
fn contents(server: &Settee) -> BTreeMap<String, Value> {
    let changes = server.ask("GET", "/db/_changes?style=all_docs", "").expect(200).json();
    let rows = changes["results"].as_array().unwrap().iter();
    rows.map(|row| {
        let id = row["id"].as_str().unwrap().to_owned();
        let path = format!("/db/{id}?open_revs=all&revs=true");
        let headers = [("Authorization", &*admin_header()), ("Accept", "application/json")];
        let leaves = server.connect().ask("GET", &path, &headers, "");
        let mut leaves = leaves.expect(200).json().as_array().unwrap().clone();
        leaves.sort_by_key(|leaf| leaf["ok"]["_rev"].to_string());
        let winner = server.ask("GET", &format!("/db/{id}"), "").json();
        (id, json!({"leaves": leaves, "winner": winner, "first": row["changes"][0]}))
    })
    .collect()
}

#[test]
fn five_servers_come_to_the_same_after_a_storm() {
    let seed = std::env::var("SETTEE_SEED").map_or(20_261_126, |seed| seed.parse().unwrap());
    let mut ring = Ring::new(seed);
    ring.storm();
    eprintln!("seed {seed}: {} edits", ring.edits);
    eventually(&format!("all hold the same (seed {seed})"), || {
        thread::sleep(Duration::from_millis(300));
        let all: Vec<_> = ring.servers.iter().map(contents).collect();
        all.windows(2).all(|pair| pair[0] == pair[1]).then(|| all[0].clone())
    });
    let conflicts = contents(&ring.servers[0]);
    let conflicts =
        conflicts.values().filter(|document| document["leaves"].as_array().unwrap().len() > 1);
    assert!(conflicts.count() > 0, "a storm without a single conflict proves little");
}
