//! Ways to a server: TLS, and proxies of each kind.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::{Value, json};
use settee_engine::Databases;
use settee_engine::replication::HttpSettings;

use crate::support::{ADMIN, PASSWORD, Settee, basic};
use crate::{answer, ask, base64, context, noise, replicate, url};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// A server that also speaks TLS, and its URL there.
fn secure_server() -> (Settee, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    for kind in ["cert", "key"] {
        let name = format!("one.{kind}.pem");
        fs::copy(fixture(&name), dir.path().join(&name)).unwrap();
    }
    let ini = format!(
        "[chttpd_auth]\niterations = 100\n[ssl]\nenable = true\nport = 0\n\
         cert_file = {0}/one.cert.pem\nkey_file = {0}/one.key.pem\n",
        dir.path().display()
    );
    let environment = vec![("COUCHDB_USER", ADMIN), ("COUCHDB_PASSWORD", PASSWORD)];
    let server = Settee::start_with(&ini, environment, &[]);
    let line = server.said().iter().find_map(|line| line.split_once("https://")).unwrap();
    let (_, port) = line.1.trim_end_matches('/').rsplit_once(':').unwrap();
    let url = format!("https://{ADMIN}:{PASSWORD}@localhost:{port}");
    (server, url, dir)
}

fn trusting(name: &str) -> HttpSettings {
    let trusted_certificates = Some(fixture(&format!("{name}.cert.pem")));
    HttpSettings { trusted_certificates, ..HttpSettings::default() }
}

/// Some documents, one with an attachment.
fn prepare(server: &Settee) {
    ask(server, "PUT", "/a", &Value::Null);
    ask(server, "PUT", "/a/plain", &json!({"n": 1}));
    let doc = json!({"_attachments": {"f": {"data": base64(&noise(300_000, 1))}}});
    ask(server, "PUT", "/a/attached", &doc);
}

#[test]
fn certificates_are_checked() {
    let (server, secure, _dir) = secure_server();
    prepare(&server);
    let databases = Databases::in_memory();
    let request = |target: &str| json!({"source": format!("{secure}/a"), "target": target, "create_target": true, "retries_per_request": 0});
    let trusted = context(&databases).with_http(trusting("one"));
    let done = answer(&replicate(&trusted, &request("here")).unwrap());
    assert_eq!(done["history"][0]["docs_written"], 2);
    let push = json!({"source": "here", "target": format!("{secure}/b"), "create_target": true});
    assert_eq!(answer(&replicate(&trusted, &push).unwrap())["history"][0]["docs_written"], 2);
    let other = context(&databases).with_http(trusting("two"));
    let error = replicate(&other, &request("there")).unwrap_err();
    assert_eq!(error.code(), "conn_failed");
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
    let lenient = HttpSettings { verify_certificates: false, ..trusting("two") };
    replicate(&context(&databases).with_http(lenient), &request("there")).unwrap();
}

/// A proxy that knows one user; counts the connections it made.
struct Proxy {
    address: String,
    made: Arc<AtomicU64>,
}

impl Proxy {
    fn start(serve: fn(TcpStream) -> Option<(TcpStream, TcpStream)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let made = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&made);
        // It ends with the program.
        thread::spawn(move || {
            for client in listener.incoming() {
                let count = Arc::clone(&count);
                thread::spawn(move || {
                    if let Some((client, server)) = serve(client.unwrap()) {
                        count.fetch_add(1, Ordering::SeqCst);
                        join(&client, &server);
                    }
                });
            }
        });
        Proxy { address, made }
    }

    fn made(&self) -> u64 {
        self.made.swap(0, Ordering::SeqCst)
    }
}

/// Carries bytes both ways.
fn join(client: &TcpStream, server: &TcpStream) {
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let back = thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Both));
    });
    let (mut from, mut to) = (client, server);
    drop(std::io::copy(&mut from, &mut to));
    drop(server.shutdown(Shutdown::Both));
    drop(back.join());
}

/// Speaks HTTP: tunnels for TLS, everything else passed on.
fn http(mut client: TcpStream) -> Option<(TcpStream, TcpStream)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let text = String::from_utf8(head.clone()).ok()?;
    let authorization = format!("proxy-authorization: {}", basic("pat", "p@ss").to_lowercase());
    if !text.to_lowercase().contains(&authorization) {
        client
            .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            .ok()?;
        return None;
    }
    if let Some(rest) = text.strip_prefix("CONNECT ") {
        let server = TcpStream::connect(rest.split(' ').next()?).ok()?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
        return Some((client, server));
    }
    let address = text.split("http://").nth(1)?.split('/').next()?;
    let mut server = TcpStream::connect(address).ok()?;
    server.write_all(&head).ok()?;
    Some((client, server))
}

fn socks5(mut client: TcpStream) -> Option<(TcpStream, TcpStream)> {
    let bytes = |length: usize| {
        let mut bytes = vec![0; length];
        (&client).read_exact(&mut bytes).ok()?;
        Some(bytes)
    };
    let hello = bytes(2)?;
    bytes(hello[1].into())?;
    (&client).write_all(&[5, 2]).ok()?;
    let length = bytes(2)?[1];
    let user = bytes(length.into())?;
    let length = bytes(1)?[0];
    let password = bytes(length.into())?;
    let known = user == b"pat" && password == b"p@ss";
    (&client).write_all(&[1, u8::from(!known)]).ok()?;
    let request = bytes(4)?;
    let host = match request[3] {
        1 => bytes(4)?.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        3 => {
            let length = bytes(1)?[0];
            String::from_utf8(bytes(length.into())?).ok()?
        }
        _ => return None,
    };
    let port = bytes(2)?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    let server = TcpStream::connect((host.as_str(), port)).ok()?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
    Some((client, server))
}

#[test]
fn through_proxies() {
    let (server, secure, _dir) = secure_server();
    prepare(&server);
    let databases = Databases::in_memory();
    let context = context(&databases).with_http(trusting("one"));
    let (http, socks) = (Proxy::start(http), Proxy::start(socks5));
    let ways = [("http", &http), ("socks5", &socks)];
    for (at, (scheme, proxy)) in ways.into_iter().enumerate() {
        for (kind, source) in [("plain", url(&server, "a")), ("secure", format!("{secure}/a"))] {
            let target = format!("{kind}{at}");
            let by = |user: &str| {
                json!({
                    "source": source, "target": target, "create_target": true, "retries_per_request": 0,
                    "source_proxy": format!("{scheme}://{user}@{}", proxy.address),
                })
            };
            let done = answer(&replicate(&context, &by("pat:p%40ss")).unwrap());
            assert_eq!(done["history"][0]["docs_written"], 2, "{scheme} {kind}");
            assert!(proxy.made() > 0, "it went through the proxy");
        }
    }
    let request = json!({
        "source": url(&server, "a"), "target": "none", "create_target": true, "retries_per_request": 0,
        "proxy": format!("http://pat:wrong@{}", http.address),
    });
    assert!(replicate(&context, &request).is_err());
}
