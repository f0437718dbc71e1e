//! Servers that answer otherwise than one would like: busy, unwell, elsewhere, older.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use settee_engine::Databases;

use crate::support::{ADMIN, PASSWORD, Settee};
use crate::{answer, ask, base64, contents, context, fill, noise, replicate, url};

/// A request as it comes by.
struct Passing {
    /// Method and path with query.
    line: String,
    /// All header lines.
    head: String,
    body: Vec<u8>,
}

/// What becomes of a request.
enum Fate {
    /// It is passed on.
    Pass,
    /// It is passed on with this replaced by that in its head.
    Change(&'static str, &'static str),
    /// It is answered with a status line and headers, and this body.
    Answer(String, String),
    /// The connection is closed.
    Hang,
}

type Rule = dyn Fn(&Passing) -> Fate + Send + Sync;

/// Stands before a server and decides about each request.
struct Doorkeeper {
    address: String,
    closed: Arc<AtomicBool>,
}

impl Doorkeeper {
    fn start(server: &Settee, rule: impl Fn(&Passing) -> Fate + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let closed = Arc::new(AtomicBool::new(false));
        let (target, rule, ends) =
            (server.address().to_owned(), Arc::new(rule), Arc::clone(&closed));
        thread::spawn(move || {
            for client in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let (target, rule) = (target.clone(), Arc::clone(&rule));
                thread::spawn(move || handle(&client.unwrap(), &target, &*rule));
            }
        });
        Doorkeeper { address, closed }
    }

    fn url(&self, database: &str) -> String {
        format!("http://{ADMIN}:{PASSWORD}@{}/{database}", self.address)
    }
}

impl Drop for Doorkeeper {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(&self.address));
    }
}

/// One request; then the connection is closed.
fn handle(mut client: &TcpStream, target: &str, rule: &Rule) {
    let Some(passing) = read(client) else { return };
    match rule(&passing) {
        Fate::Hang => {}
        Fate::Pass => pass(client, target, &passing, &passing.head),
        Fate::Change(from, to) => pass(client, target, &passing, &passing.head.replace(from, to)),
        Fate::Answer(head, body) => {
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            drop(client.write_all(text.as_bytes()));
        }
    }
    drop(client.shutdown(Shutdown::Both));
}

fn read(mut client: &TcpStream) -> Option<Passing> {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    let end = loop {
        if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        match client.read(&mut piece).ok()? {
            0 => return None,
            length => text.extend_from_slice(&piece[..length]),
        }
    };
    let head = String::from_utf8(text[..end].to_vec()).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = text[end + 4..].to_vec();
    while body.len() < length.unwrap_or(0) {
        match client.read(&mut piece).ok()? {
            0 => return None,
            length => body.extend_from_slice(&piece[..length]),
        }
    }
    let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    Some(Passing { line, head, body })
}

fn pass(mut client: &TcpStream, target: &str, passing: &Passing, head: &str) {
    let mut server = TcpStream::connect(target).unwrap();
    let sent = server
        .write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes())
        .and_then(|()| server.write_all(&passing.body));
    if sent.is_ok() {
        let mut piece = [0; 16 * 1024];
        while let Ok(length @ 1..) = server.read(&mut piece) {
            if client.write_all(&piece[..length]).is_err() {
                return;
            }
        }
    }
}

/// Two servers, the first with documents.
fn servers() -> (Settee, Settee) {
    let (one, two) = (Settee::start(), Settee::start());
    ask(&one, "PUT", "/a", &Value::Null);
    (one, two)
}

#[test]
fn servers_that_are_busy_or_unwell_are_asked_again() {
    let (one, two) = servers();
    fill(&one, "a");
    let trouble = || {
        let (count, seen) = (AtomicU64::new(0), Mutex::new(HashMap::<String, ()>::new()));
        move |passing: &Passing| {
            let path = passing.line.split('?').next().unwrap_or_default().to_owned();
            if seen.lock().insert(path, ()).is_some() {
                return Fate::Pass;
            }
            let problem = "{\"error\":\"x\",\"reason\":\"y\"}".to_owned();
            match count.fetch_add(1, Ordering::SeqCst) % 4 {
                0 => Fate::Answer("503 Service Unavailable".into(), problem),
                1 => Fate::Answer("429 Too Many Requests\r\nRetry-After: 0".into(), problem),
                2 => Fate::Answer("408 Request Timeout".into(), problem),
                _ => Fate::Hang,
            }
        }
    };
    let (source, target) = (Doorkeeper::start(&one, trouble()), Doorkeeper::start(&two, trouble()));
    let context = context(&Databases::in_memory());
    let request =
        json!({"source": source.url("a"), "target": target.url("b"), "create_target": true});
    let done = answer(&replicate(&context, &request).unwrap());
    assert_eq!(done["history"][0]["doc_write_failures"], 0);
    assert_eq!(contents(&two, "b"), contents(&one, "a"));
}

/// Allows so many requests in so many milliseconds, and asks to be left alone when there are more.
fn limited(requests: usize, span: Duration) -> (Arc<AtomicU64>, impl Fn(&Passing) -> Fate) {
    let refused = Arc::new(AtomicU64::new(0));
    let (count, window) = (Arc::clone(&refused), Mutex::new((Instant::now(), 0)));
    let rule = move |_: &Passing| {
        let mut window = window.lock();
        if window.0.elapsed() > span {
            *window = (Instant::now(), 0);
        }
        window.1 += 1;
        match window.1 > requests {
            false => Fate::Pass,
            // With and without saying for how long, in both ways of saying it.
            true => Fate::Answer(
                match count.fetch_add(1, Ordering::SeqCst) % 3 {
                    0 => "429 Too Many Requests".into(),
                    1 => "429 Too Many Requests\r\nRetry-After: 1".into(),
                    _ => "503 Service Unavailable\r\nRetry-After: 1".into(),
                },
                "{\"error\":\"too_many_requests\"}".into(),
            ),
        }
    };
    (refused, rule)
}

#[test]
fn servers_that_limit_requests_are_asked_more_slowly() {
    let (one, two) = servers();
    for n in 0..40u64 {
        let doc = json!({"_attachments": {"f": {"data": base64(&noise(1000, n))}}});
        ask(&one, "PUT", &format!("/a/{n}"), &doc);
    }
    let span = Duration::from_millis(500);
    let ((of_source, slow), (of_target, slow_too)) = (limited(10, span), limited(3, span));
    let (source, target) = (Doorkeeper::start(&one, slow), Doorkeeper::start(&two, slow_too));
    let request =
        json!({"source": source.url("a"), "target": target.url("b"), "create_target": true});
    let done = answer(&replicate(&context(&Databases::in_memory()), &request).unwrap());
    assert_eq!(done["history"][0]["docs_written"], 40);
    assert_eq!(contents(&two, "b"), contents(&one, "a"));
    assert!(of_source.load(Ordering::SeqCst) > 0 && of_target.load(Ordering::SeqCst) > 0);
}

#[test]
fn sources_that_know_less() {
    let (one, two) = servers();
    fill(&one, "a");
    let source = Doorkeeper::start(&one, |passing| {
        if passing.line.contains("_bulk_get") {
            return Fate::Answer("404 Object Not Found".into(), "{\"error\":\"not_found\"}".into());
        }
        // As PouchDB's server does.
        Fate::Change("multipart/mixed", "application/json")
    });
    let context = context(&Databases::in_memory());
    for (at, target) in [url(&two, "b"), "here".to_owned()].into_iter().enumerate() {
        let request = json!({"source": source.url("a"), "target": target, "create_target": true});
        let done = answer(&replicate(&context, &request).unwrap());
        assert_eq!(done["history"][0]["doc_write_failures"], 0, "{at}");
    }
    let back = json!({"source": "here", "target": url(&two, "c"), "create_target": true});
    replicate(&context, &back).unwrap();
    assert_eq!(contents(&two, "b"), contents(&one, "a"));
    assert_eq!(contents(&two, "c"), contents(&one, "a"));
}

#[test]
fn requests_that_are_too_large_are_split() {
    let (one, two) = servers();
    for n in 0..20 {
        ask(&one, "PUT", &format!("/a/{n}"), &json!({"text": "x".repeat(300)}));
    }
    ask(&one, "PUT", "/a/large", &json!({"text": "x".repeat(3000)}));
    let largest = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&largest);
    let target = Doorkeeper::start(&two, move |passing| {
        let length = passing.body.len() as u64;
        if !passing.line.contains("_bulk_docs") {
            return Fate::Pass;
        }
        if length > 2000 {
            return Fate::Answer("413 Request Entity Too Large".into(), "{}".into());
        }
        seen.fetch_max(length, Ordering::SeqCst);
        Fate::Pass
    });
    let request =
        json!({"source": url(&one, "a"), "target": target.url("b"), "create_target": true});
    let done = answer(&replicate(&context(&Databases::in_memory()), &request).unwrap());
    assert_eq!(done["history"][0]["docs_written"], 20);
    assert_eq!(done["history"][0]["doc_write_failures"], 1);
    assert!(largest.load(Ordering::SeqCst) > 400, "documents still go together");
}

#[test]
fn redirections_are_followed_and_credentials_stay_where_they_belong() {
    let (one, two) = servers();
    ask(&one, "PUT", "/a/x", &json!({"n": 1}));
    let elsewhere = Doorkeeper::start(&two, |passing| {
        let head = passing.head.to_lowercase();
        match head.contains("authorization:") || head.contains("cookie:") {
            true => Fate::Answer("200 OK".into(), "{\"leaked\":true}".into()),
            false => Fate::Answer("401 Unauthorized".into(), "{}".into()),
        }
    });
    let away = format!("307 Temporary Redirect\r\nLocation: http://{}/a/", elsewhere.address);
    let source = Doorkeeper::start(&one, move |passing| {
        let (method, path) = passing.line.split_once(' ').unwrap();
        match (path.strip_prefix("/moved"), path.strip_prefix("/away")) {
            (Some(rest), _) => {
                let head = format!("307 Temporary Redirect\r\nLocation: /a{rest}");
                Fate::Answer(head, String::new())
            }
            (_, Some(_)) => Fate::Answer(away.clone(), String::new()),
            _ if method == "GET" || method == "POST" || method == "PUT" => Fate::Pass,
            _ => Fate::Hang,
        }
    });
    let context = context(&Databases::in_memory());
    let request = json!({"source": source.url("moved"), "target": "here", "create_target": true});
    let done = answer(&replicate(&context, &request).unwrap());
    assert_eq!(done["history"][0]["docs_written"], 1);
    let request = json!({"source": source.url("away"), "target": "here"});
    assert_eq!(replicate(&context, &request).unwrap_err().code(), "unauthorized");
}

#[test]
fn a_session_that_is_refused_is_begun_anew() {
    let (one, _two) = servers();
    for n in 0..3 {
        let doc = json!({"_attachments": {"f": {"data": base64(&noise(1000, n))}}});
        ask(&one, "PUT", &format!("/a/{n}"), &doc);
    }
    let logins = Arc::new(AtomicU64::new(0));
    let (counted, refused) = (Arc::clone(&logins), AtomicU64::new(0));
    let source = Doorkeeper::start(&one, move |passing| {
        if passing.line.contains("/_session") {
            counted.fetch_add(1, Ordering::SeqCst);
            return Fate::Pass;
        }
        let has_cookie = passing.head.to_lowercase().contains("cookie: authsession=");
        match has_cookie && refused.fetch_add(1, Ordering::SeqCst) == 2 {
            true => Fate::Answer("401 Unauthorized".into(), "{\"error\":\"unauthorized\"}".into()),
            false => Fate::Pass,
        }
    });
    let context = context(&Databases::in_memory());
    let request = json!({"source": source.url("a"), "target": "here", "create_target": true});
    let done = answer(&replicate(&context, &request).unwrap());
    assert_eq!(done["history"][0]["docs_written"], 3);
    assert_eq!(logins.load(Ordering::SeqCst), 2);
    replicate(&context, &request).unwrap();
    assert_eq!(logins.load(Ordering::SeqCst), 2, "the session is remembered");
}
