//! A client that sends bytes as they are given and reads answers one by one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than any answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A kept connection.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The answer, if its status is this.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

impl Connection {
    /// Connects to `host:port`.
    pub(crate) fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    /// Sends nothing more.
    pub(crate) fn finish(&mut self) {
        // The server may have closed it already.
        drop(self.reader.get_mut().shutdown(std::net::Shutdown::Write));
    }

    /// Sends a request with a JSON body and reads the answer.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: settee\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            let length = body.len();
            head.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {length}\r\n"
            ));
        }
        self.send(format!("{head}\r\n{body}").as_bytes());
        self.answer(method)
    }

    /// Reads the answer to a request of this method; interim ones (100) are answers, too.
    pub(crate) fn answer(&mut self, method: &str) -> Answer {
        let mut answer = self.head().expect("the server closed the connection");
        if method != "HEAD" && !matches!(answer.status, 100..200 | 204 | 304) {
            self.body(&mut answer);
        }
        answer
    }

    /// Reads a status line and headers; `None` when the connection was closed instead.
    pub(crate) fn head(&mut self) -> Option<Answer> {
        let status = self.line()?;
        let status = status.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Answer { status, headers: Vec::new(), body: Vec::new() };
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { return Some(answer) };
            answer.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn body(&mut self, answer: &mut Answer) {
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                answer.body.extend_from_slice(&chunk);
            }
            return;
        }
        let length = answer.header("content-length").map(|length| length.parse().unwrap());
        answer.body = vec![0; length.unwrap_or(0)];
        self.reader.read_exact(&mut answer.body).unwrap();
    }

    /// Reads one chunk of a streamed body; `None` at its proper end.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line().expect("the answer broke off");
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        self.reader.read_exact(&mut chunk).unwrap();
        assert!(chunk.ends_with(b"\r\n"));
        chunk.truncate(length);
        (length > 0).then_some(chunk)
    }

    /// Reads what is there, whatever it is; nothing when the server has closed the connection.
    pub(crate) fn read_some(&mut self) -> Vec<u8> {
        let bytes = self.reader.fill_buf().unwrap_or_default().to_vec();
        self.reader.consume(bytes.len());
        bytes
    }

    /// Whether the server has closed the connection, or does so now.
    pub(crate) fn is_closed(&mut self) -> bool {
        !matches!(self.reader.fill_buf(), Ok(bytes) if !bytes.is_empty())
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }
}
