//! Servers behind the real binary.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use crate::support::{Settee, admin_header};

const ENVIRONMENT: [(&str, &str); 2] = [("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "secret")];

/// A request's head, and what can still be read and written.
struct Asked {
    head: String,
    stream: BufReader<TcpStream>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.head.lines().filter_map(|line| line.split_once(": "));
        found.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn answer(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }
}

/// A server that hands every request to the test.
fn upstream() -> (String, Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n")
                && stream.read_line(&mut head).is_ok_and(|read| read > 0)
            {}
            if tell.send(Asked { head, stream }).is_err() {
                return;
            }
        }
    });
    (address, told)
}

fn server(ini: &str) -> Settee {
    Settee::start_with(
        &format!("[chttpd_auth]\niterations = 100\n{ini}"),
        ENVIRONMENT.to_vec(),
        &[],
    )
}

fn next(asked: &Receiver<Asked>) -> Asked {
    asked.recv_timeout(Duration::from_secs(30)).expect("the server behind is asked")
}

#[test]
fn requests_go_on_and_answers_come_back() {
    let (address, asked) = upstream();
    let old = format!("{{couch_httpd_proxy, handle_proxy_req, <<\"http://{address}/base/\">>}}");
    let server = server(&format!("[httpd_global_handlers]\n_fti = {old}\n"));
    let mut client = server.connect();
    client.send(
        b"PROPFIND /_fti/a%2Fb//c?x=%20y HTTP/1.1\r\nHost: db.example\r\nAccept: x/y\r\nTE: trailers\r\n\
          Connection: X-Private\r\nX-Private: 1\r\nCookie: a=b\r\nContent-Length: 5\r\n\r\nhello",
    );
    let mut request = next(&asked);
    assert!(
        request.head.starts_with("PROPFIND /base/a%2Fb//c?x=%20y HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    for (name, value) in [
        ("host", Some("db.example")),
        ("accept", Some("x/y")),
        ("cookie", Some("a=b")),
        ("content-length", Some("5")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-host", Some("db.example")),
        ("x-forwarded-proto", Some("http")),
        ("te", None),
        ("x-private", None),
        ("transfer-encoding", None),
    ] {
        assert_eq!(request.header(name), value, "{name}: {}", request.head);
    }
    let mut body = [0; 5];
    request.stream.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"hello");
    request.answer(&format!(
        "HTTP/1.1 207 Multi-Status\r\nServer: other\r\nLocation: http://{address}/base/new?z\r\n\
         Set-Cookie: s=1\r\nSet-Cookie: t=2\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok"
    ));
    let answer = client.answer("PROPFIND").expect(207);
    assert_eq!(answer.text(), "ok");
    assert_eq!(answer.header("location"), Some("http://db.example/_fti/new?z"));
    assert_eq!(answer.header("server"), Some("other"));
    assert_eq!(answer.header("set-cookie"), Some("s=1"));
    assert_eq!(answer.header("keep-alive"), None);
}

#[test]
fn bodies_stream_both_ways() {
    let (address, asked) = upstream();
    let server = server(&format!("[proxy]\n_app = http://{address}\n"));
    let mut client = server.connect();
    client.send(
        b"POST /_app/stream HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n",
    );
    let mut request = next(&asked);
    let mut line = String::new();
    request.stream.read_line(&mut line).unwrap();
    request.stream.read_line(&mut line).unwrap();
    assert_eq!(line, "3\r\none\r\n", "the first piece is there before the last is sent");
    request.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap(), b"part", "and so it is on the way back");
    client.send(b"0\r\n\r\n");
    request.answer("0\r\n\r\n");
    assert_eq!(client.chunk(), None);

    // An answer that breaks off doesn't look like a whole one.
    client.send(b"GET /_app/broken HTTP/1.1\r\nHost: s\r\n\r\n");
    let mut request = next(&asked);
    assert_eq!(request.header("transfer-encoding"), None, "no body is none: {}", request.head);
    request.answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
    drop(request);
    client.head().unwrap();
    let mut rest = Vec::new();
    while !client.is_closed() {
        rest.extend(client.read_some());
    }
    assert_eq!(rest, b"short");
}

#[test]
fn a_head_and_a_missing_upstream() {
    let (address, asked) = upstream();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ini = format!(
        "[proxy]\n_app = http://{address}\n_gone = http://{gone}\n_slow = http://{address}\n\
         [proxy:_slow]\ntimeout = 50\n"
    );
    let server = server(&ini);
    let mut client = server.connect();
    client.send(b"HEAD /_app HTTP/1.1\r\nHost: s\r\n\r\n");
    let mut request = next(&asked);
    assert!(request.head.starts_with("HEAD / HTTP/1.1\r\n"), "{}", request.head);
    request.answer("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n");
    assert_eq!(client.answer("HEAD").expect(200).header("content-length"), Some("77"));

    let answer = client.ask("GET", "/_gone/x", &[], "").expect(502);
    assert_eq!(answer.json()["error"], "bad_gateway");
    assert!(
        answer.json()["reason"]
            .as_str()
            .unwrap()
            .starts_with("the server behind /_gone can't be used")
    );
    let answer = client.ask("GET", "/_slow/x", &[], "").expect(504);
    assert_eq!(answer.json()["error"], "gateway_timeout");
    drop(next(&asked));
}

#[test]
fn only_known_users_pass_where_that_is_asked_for() {
    let (address, asked) = upstream();
    let server = server(&format!(
        "[proxy]\n_app = http://{address}\n[proxy:_app]\nrequire_valid_user = true\n"
    ));
    server.ask_as_nobody("GET", "/_app/x", "").expect(401);
    let wrong = [("Authorization", "Basic YWRtaW46d3Jvbmc=")];
    server.connect().ask("GET", "/_app/x", &wrong, "").expect(401);
    let mut client = server.connect();
    let admin = admin_header();
    client.send(
        format!("GET /_app/x HTTP/1.1\r\nHost: s\r\nAuthorization: {admin}\r\n\r\n").as_bytes(),
    );
    next(&asked).answer("HTTP/1.1 204 No Content\r\n\r\n");
    client.answer("GET").expect(204);
    assert!(asked.try_recv().is_err(), "nobody else got through");
}

#[test]
fn a_server_behind_itself_is_noticed() {
    let server = server("");
    let ini = server.data_dir().join("local.ini");
    let text = std::fs::read_to_string(&ini).unwrap();
    let address = server.address();
    std::fs::write(&ini, format!("{text}\n[proxy]\n_me = http://{address}/_me\n")).unwrap();
    server.ask("POST", "/_node/_local/_config/_reload", "{}").expect(200);
    server.connect().ask("GET", "/_me/x", &[], "").expect(508);
}

#[test]
fn websockets_pass_through() {
    let (address, asked) = upstream();
    let server = server(&format!("[proxy]\n_app = http://{address}\n"));
    let mut client = server.connect();
    client.send(
        b"GET /_app/ws HTTP/1.1\r\nHost: s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Key: abc\r\n\r\n",
    );
    let mut request = next(&asked);
    assert_eq!(request.header("upgrade"), Some("websocket"));
    assert_eq!(request.header("connection"), Some("upgrade"));
    assert_eq!(request.header("sec-websocket-key"), Some("abc"));
    request.answer(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: xyz\r\n\r\n",
    );
    let answer = client.answer("GET").expect(101);
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert_eq!(answer.header("sec-websocket-accept"), Some("xyz"));
    client.send(b"\x81\x02hi");
    let mut frame = [0; 4];
    request.stream.read_exact(&mut frame).unwrap();
    assert_eq!(&frame, b"\x81\x02hi");
    request.answer("\u{1}pong");
    let mut back = Vec::new();
    while back.len() < 5 {
        back.extend(client.read_some());
    }
    assert_eq!(back, b"\x01pong");
    drop(request);
    assert!(client.is_closed());

    // One who asks for another protocol and doesn't get it goes on with HTTP.
    let mut client = server.connect();
    client.send(
        b"GET /_app/ws HTTP/1.1\r\nHost: s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    next(&asked).answer("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
    client.answer("GET").expect(426);
    client.ask("GET", "/_up", &[], "").expect(200);
}
