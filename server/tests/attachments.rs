//! Attachments over HTTP: multipart requests and answers, ranges, forms, and what is wrong with them.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use serde_json::json;
use support::{Answer, Settee, admin_header};

/// Sends a request with any body.
fn send(server: &Settee, request: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut head =
        format!("{request} HTTP/1.1\r\nHost: settee\r\nAuthorization: {}\r\n", admin_header());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    let mut connection = server.connect();
    connection.send(head.as_bytes());
    connection.send(body);
    connection.answer(request.split(' ').next().unwrap())
}

fn start() -> Settee {
    let server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    server
}

/// PUT of a document with parts behind it.
fn upload(server: &Settee, id: &str, body: &str) -> Answer {
    let kind = [("Content-Type", "multipart/related; boundary=\"sep\"")];
    send(server, &format!("PUT /db/{id}"), &kind, body.as_bytes())
}

/// A multipart body: the document, then parts with their own header lines.
fn related(document: &serde_json::Value, parts: &[(&str, &str)]) -> String {
    let mut body = format!("--sep\r\nContent-Type: application/json\r\n\r\n{document}");
    for (headers, content) in parts {
        body += &format!("\r\n--sep\r\n{headers}\r\n{content}");
    }
    body + "\r\n--sep--"
}

fn two_attachments() -> serde_json::Value {
    json!({"_attachments": {
        "one": {"follows": true, "content_type": "image/png", "length": 5},
        "two": {"follows": true, "content_type": "image/png", "length": 3},
    }})
}

/// Checks that an upload is refused and leaves nothing behind.
fn check_refused(server: &Settee, body: &str, status: u16, reason: &str) {
    let answer = upload(server, "refused", body).expect(status).json();
    assert_eq!(answer["reason"], reason);
    server.ask("GET", "/db/refused", "").expect(404);
}

#[test]
fn parts_belong_to_attachments_by_name_or_by_order() {
    let server = start();
    let by_order = related(&two_attachments(), &[("", "first"), ("", "2nd")]);
    upload(&server, "a", &by_order).expect(201);
    let named = |name: &str| format!("Content-Disposition: attachment; filename=\"{name}\"\r\n");
    let (two, one) = (named("two"), named("one"));
    let by_name = related(&two_attachments(), &[(&two, "2nd"), (&one, "first")]);
    upload(&server, "b", &by_name).expect(201);
    for id in ["a", "b"] {
        assert_eq!(server.ask("GET", &format!("/db/{id}/one"), "").expect(200).text(), "first");
        assert_eq!(server.ask("GET", &format!("/db/{id}/two"), "").expect(200).text(), "2nd");
    }
}

#[test]
fn broken_uploads_are_refused_and_change_nothing() {
    let server = start();
    let document = two_attachments();
    let shorter = "attachment shorter than expected";
    check_refused(&server, &related(&document, &[("", "firs"), ("", "2nd")]), 400, shorter);
    check_refused(&server, &related(&document, &[("", "first")]), 400, shorter);
    let longer = "attachment longer than expected";
    check_refused(&server, &related(&document, &[("", "first!"), ("", "2nd")]), 400, longer);
    let whole = related(&document, &[("", "first"), ("", "2nd")]);
    let truncated = whole.strip_suffix("--").unwrap();
    let reason = "Multipart body ended before its closing boundary.";
    check_refused(&server, truncated, 400, reason);
    check_refused(&server, "", 400, reason);
    check_refused(&server, "--sep--", 400, "Multipart body has no document.");
    let no_json = "--sep\r\nContent-Type: text/plain\r\n\r\n{}\r\n--sep--";
    check_refused(&server, no_json, 415, "Content-Type must be application/json");
    check_refused(&server, &related(&json!([]), &[]), 400, "Document must be a JSON object");
    let mut corrupt = document;
    corrupt["_attachments"]["two"]["digest"] = json!("md5-kAFQmDzST7DWlj99KOF/cg==");
    let corrupt = related(&corrupt, &[("", "first"), ("", "2nd")]);
    check_refused(&server, &corrupt, 400, "Possible message corruption.");
    let no_boundary = [("Content-Type", "multipart/related")];
    let answer = send(&server, "PUT /db/refused", &no_boundary, b"--sep--").expect(400).json();
    assert_eq!(answer["reason"], "Invalid or missing multipart boundary.");
}

#[test]
fn several_ranges_come_as_parts() {
    let server = start();
    let kind = [("Content-Type", "application/octet-stream")];
    send(&server, "PUT /db/d/f", &kind, b"0123456789").expect(201);
    let ranges = [("Range", "bytes=0-1, -2")];
    let answer = send(&server, "GET /db/d/f", &ranges, b"").expect(206);
    let boundary = answer.header("content-type").unwrap().split('"').nth(1).unwrap();
    let part = |range: &str, content: &str| {
        format!(
            "\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {range}/10\
             \r\n\r\n{content}\r\n--{boundary}"
        )
    };
    let expected = format!("--{boundary}{}{}--", part("0-1", "01"), part("8-9", "89"));
    assert_eq!(answer.text(), expected);
    let many = ["1-2"; 10].join(",");
    let whole = send(&server, "GET /db/d/f", &[("Range", &format!("bytes={many}"))], b"");
    assert_eq!(whole.expect(200).text(), "0123456789");
}

#[test]
fn a_large_attachment_passes_through_in_both_directions() {
    let server = start();
    let bytes: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    let kind = [("Content-Type", "application/octet-stream")];
    send(&server, "PUT /db/d/f", &kind, &bytes).expect(201);
    let answer = server.ask("GET", "/db/d/f", "").expect(200);
    assert!(answer.body == bytes, "{} bytes came back", answer.body.len());
    let range = [("Range", "bytes=8000000-8000003")];
    assert_eq!(send(&server, "GET /db/d/f", &range, b"").body, 2_000_000u32.to_le_bytes());
}

#[test]
fn text_is_compressed_and_comes_back_either_way() {
    let server = start();
    let text = "a line of text that repeats itself\n".repeat(10_000);
    send(&server, "PUT /db/d/f", &[("Content-Type", "text/plain")], text.as_bytes()).expect(201);
    let plain = server.ask("GET", "/db/d/f", "").expect(200);
    assert_eq!(plain.text(), text);
    assert_eq!(plain.header("accept-ranges"), Some("none"));
    let gzip = send(&server, "GET /db/d/f", &[("Accept-Encoding", "gzip")], b"").expect(200);
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    assert!(gzip.body.len() < text.len() / 10);
    // What was stored compressed can be sent back as it is.
    let coded = [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")];
    send(&server, "PUT /db/e/f", &coded, &gzip.body).expect(201);
    assert_eq!(server.ask("GET", "/db/e/f", "").expect(200).text(), text);
    let stub = |id: &str| {
        let document = server.ask("GET", &format!("/db/{id}?att_encoding_info=true"), "");
        document.json()["_attachments"]["f"].clone()
    };
    assert_eq!(stub("d"), stub("e"));
    let deflate = [("Content-Encoding", "deflate")];
    send(&server, "PUT /db/e2/f", &deflate, b"x").expect(415);
}

#[test]
fn a_form_brings_attachments_to_a_document() {
    let server = start();
    let rev = server.ask("PUT", "/db/d", r#"{"v":1}"#).expect(201).json()["rev"].clone();
    let form = format!(
        "--sep\r\nContent-Disposition: form-data; name=\"_rev\"\r\n\r\n{}\
         \r\n--sep\r\nContent-Disposition: form-data; name=\"_attachments\"; filename=\"a.txt\"\
         \r\nContent-Type: text/plain\r\n\r\nhello\r\n--sep--",
        rev.as_str().unwrap()
    );
    let kind = ("Content-Type", "multipart/form-data; boundary=sep");
    let post = |headers: &[(&str, &str)]| send(&server, "POST /db/d", headers, form.as_bytes());
    assert_eq!(post(&[kind]).expect(400).json()["reason"], "Referer header required.");
    let foreign = ("Referer", "http://elsewhere/page");
    let reason = "Referer header must match host.";
    assert_eq!(post(&[kind, foreign]).expect(400).json()["reason"], reason);
    post(&[kind, ("Referer", "http://settee/page")]).expect(201);
    assert_eq!(server.ask("GET", "/db/d/a.txt", "").expect(200).text(), "hello");
    assert_eq!(server.ask("GET", "/db/d", "").json()["v"], 1);
    send(&server, "POST /db/d", &[("Referer", "http://settee/")], b"").expect(415);
}

#[test]
fn documents_read_in_bulk_carry_their_attachments_as_parts() {
    let server = start();
    upload(&server, "a", &related(&two_attachments(), &[("", "first"), ("", "2nd")])).expect(201);
    server.ask("PUT", "/db/b", "{}").expect(201);
    let wanted = json!({"docs": [{"id": "a"}, {"id": "b"}, {"id": "none"}]}).to_string();
    let headers = [("Accept", "multipart/mixed"), ("Content-Type", "application/json")];
    let answer = send(&server, "POST /db/_bulk_get", &headers, wanted.as_bytes()).expect(200);
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("multipart/mixed; boundary="), "{kind}");
    let delimiter = format!("--{}", kind.split('"').nth(1).unwrap());
    let parts: Vec<&str> = answer.text().split(&delimiter).collect();
    let [before, a, b, none, end] = parts.as_slice() else { panic!("{parts:?}") };
    assert_eq!((*before, *end), ("", "--\r\n"));
    assert!(a.starts_with("\r\nX-Doc-Id: a\r\nX-Rev-Id: 1-"), "{a}");
    assert!(a.contains("\r\nContent-Type: multipart/related; boundary="), "{a}");
    assert!(a.contains("\"follows\":true") && a.contains("\r\n\r\nfirst\r\n--"), "{a}");
    assert!(b.contains("\r\nContent-Type: application/json\r\n\r\n{\"_id\":\"b\""), "{b}");
    assert!(none.contains("application/json; error=\"true\"\r\n\r\n"), "{none}");
}

#[test]
fn stored_types_and_names_cannot_break_out_of_headers() {
    let server = start();
    let document = json!({"_attachments": {
        "a\"b": {"content_type": "image/png\r\nX-Evil: 1", "data": "YWJj"},
    }});
    server.ask("PUT", "/db/d", &document.to_string()).expect(201);
    let answer = server.ask("GET", "/db/d/a%22b", "").expect(200);
    assert_eq!(answer.header("x-evil"), None);
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    let accept = [("Accept", "multipart/related")];
    let answer = send(&server, "GET /db/d?attachments=true", &accept, b"").expect(200);
    assert!(answer.text().contains("filename=\"a\\\"b\"\r\nContent-Type: image/png\r\n"));
    assert!(!answer.text().contains("\r\nX-Evil"));
}

/// Anonymous memory of a process, in bytes: what it holds itself, file maps left out.
#[cfg(target_os = "linux")]
fn anonymous_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
#[cfg(target_os = "linux")]
fn a_slow_client_costs_no_memory() {
    const ATTACHMENT_BYTES: usize = 96 << 20;
    const ALLOWED_BYTES: u64 = 24 << 20;
    let server = start();
    let bytes: Vec<u8> = (0..ATTACHMENT_BYTES).map(|at| (at >> 10) as u8).collect();
    let kind = [("Content-Type", "application/octet-stream")];
    send(&server, "PUT /db/d/f", &kind, &bytes).expect(201);
    let before = anonymous_memory(server.pid());
    assert!(before < ALLOWED_BYTES, "{before} bytes after the upload");
    let mut slow = server.connect();
    let admin = admin_header();
    slow.send(
        format!("GET /db/d/f HTTP/1.1\r\nHost: s\r\nAuthorization: {admin}\r\n\r\n").as_bytes(),
    );
    assert_eq!(slow.head().unwrap().status, 200);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let during = anonymous_memory(server.pid());
    assert!(during < ALLOWED_BYTES, "{during} bytes while the client reads nothing");
}

#[test]
fn slow_downloads_do_not_keep_writes_waiting() {
    // More than the server has threads for waiting.
    const DOWNLOADS: usize = 600;
    let server = start();
    let kind = [("Content-Type", "application/octet-stream")];
    send(&server, "PUT /db/d/f", &kind, &vec![7; 8 << 20]).expect(201);
    let admin = admin_header();
    let request = format!("GET /db/d/f HTTP/1.1\r\nHost: s\r\nAuthorization: {admin}\r\n\r\n");
    let mut downloads: Vec<_> = (0..DOWNLOADS).map(|_| server.connect()).collect();
    for download in &mut downloads {
        download.send(request.as_bytes());
    }
    for download in &mut downloads {
        assert_eq!(download.head().unwrap().status, 200);
    }
    let started = std::time::Instant::now();
    server.ask("PUT", "/db/e", "{}").expect(201);
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
}
