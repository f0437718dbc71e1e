//! A small HTTP/1.1 client over one kept connection. It does as little as it can, since it shares the
//! machine with the server it measures.

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::Outcome;

const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Where the server is and how to sign in.
#[derive(Clone)]
pub(crate) struct Target {
    authority: String,
    authorization: String,
}

impl Target {
    /// Reads `http://name:password@host:port`.
    pub(crate) fn parse(url: &str) -> Outcome<Self> {
        let rest = url.strip_prefix("http://").ok_or("the URL must begin with http://")?;
        let rest = rest.trim_end_matches('/');
        let (user, authority) = rest.rsplit_once('@').unwrap_or(("", rest));
        let authorization = if user.is_empty() {
            String::new()
        } else {
            format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(user))
        };
        Ok(Target { authority: authority.to_owned(), authorization })
    }

    pub(crate) async fn connect(&self) -> Outcome<Client> {
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        Ok(Client {
            target: self.clone(),
            stream,
            buffer: vec![0; READ_BUFFER_BYTES],
            filled: 0,
            taken: 0,
            request: Vec::new(),
        })
    }
}

/// One connection.
pub(crate) struct Client {
    target: Target,
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    taken: usize,
    request: Vec<u8>,
}

/// An answer whose body was counted and, if small, kept.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
    /// Line ends seen in the body: rows of a listing.
    pub(crate) lines: u64,
    /// The first bytes of the body.
    pub(crate) head: Vec<u8>,
}

const KEPT_BYTES: usize = 64 * 1024;

impl Client {
    /// Sends one request and reads its answer to the end.
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: &[u8]) -> Outcome<Answer> {
        self.send(method, path, body).await?;
        self.answer().await
    }

    /// As [`Client::call`], but an answer of 400 or more is an error.
    pub(crate) async fn ok(&mut self, method: &str, path: &str, body: &[u8]) -> Outcome<Answer> {
        let answer = self.call(method, path, body).await?;
        if answer.status < 400 {
            return Ok(answer);
        }
        let text = String::from_utf8_lossy(&answer.head);
        Err(format!("{method} {path}: {} {text}", answer.status).into())
    }

    /// Sends a GET whose answer does not end, and reads its head.
    pub(crate) async fn follow(&mut self, path: &str) -> Outcome<()> {
        self.send("GET", path, b"").await?;
        let (status, _) = self.head().await?;
        if status == 200 { Ok(()) } else { Err(format!("GET {path}: {status}").into()) }
    }

    /// Waits for the next line of such an answer that is not blank.
    pub(crate) async fn next_line(&mut self) -> Outcome<String> {
        loop {
            let size = self.chunk_size().await?;
            let mut piece = Answer { status: 0, body_bytes: 0, lines: 0, head: Vec::new() };
            self.body(size, &mut piece).await?;
            self.line().await?;
            let text = String::from_utf8(piece.head)?;
            if !text.trim().is_empty() {
                return Ok(text);
            }
        }
    }

    async fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Outcome<()> {
        self.request.clear();
        let Target { authority, authorization } = &self.target;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {authority}\r\n{authorization}Accept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(body);
        Ok(self.stream.write_all(&self.request).await?)
    }

    /// The status and the headers, in lower case.
    async fn head(&mut self) -> Outcome<(u16, String)> {
        let head_end = loop {
            let seen = &self.buffer[self.taken..self.filled];
            if let Some(at) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                break self.taken + at + 4;
            }
            self.fill().await?;
        };
        let head = std::str::from_utf8(&self.buffer[self.taken..head_end])?.to_ascii_lowercase();
        self.taken = head_end;
        Ok((head.get(9..12).ok_or("no status")?.parse()?, head))
    }

    async fn answer(&mut self) -> Outcome<Answer> {
        let (status, head) = self.head().await?;
        let mut answer = Answer { status, body_bytes: 0, lines: 0, head: Vec::new() };
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        if header("transfer-encoding: chunked").is_some() {
            while let size @ 1.. = self.chunk_size().await? {
                self.body(size, &mut answer).await?;
                self.line().await?;
            }
            self.line().await?;
        } else if let Some(length) = header("content-length: ") {
            self.body(length.trim().parse()?, &mut answer).await?;
        }
        Ok(answer)
    }

    async fn chunk_size(&mut self) -> Outcome<u64> {
        let line = self.line().await?;
        Ok(u64::from_str_radix(line.trim(), 16)?)
    }

    async fn line(&mut self) -> Outcome<String> {
        loop {
            let seen = &self.buffer[self.taken..self.filled];
            if let Some(at) = seen.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&seen[..at]).into_owned();
                self.taken += at + 1;
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    async fn body(&mut self, mut left: u64, answer: &mut Answer) -> Outcome<()> {
        answer.body_bytes += left;
        while left > 0 {
            if self.taken == self.filled {
                self.fill().await?;
            }
            let there = self.filled - self.taken;
            let part = usize::try_from(left).map_or(there, |left| left.min(there));
            let bytes = &self.buffer[self.taken..self.taken + part];
            answer.lines += bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
            let keep = KEPT_BYTES.saturating_sub(answer.head.len()).min(part);
            answer.head.extend_from_slice(&bytes[..keep]);
            self.taken += part;
            left -= part as u64;
        }
        Ok(())
    }

    /// Reads more, making room first.
    async fn fill(&mut self) -> Outcome<()> {
        if self.taken > 0 {
            self.buffer.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
        }
        if self.filled == self.buffer.len() {
            return Err("an answer's head is larger than the buffer".into());
        }
        let read = self.stream.read(&mut self.buffer[self.filled..]).await?;
        if read == 0 {
            return Err("the server closed the connection".into());
        }
        self.filled += read;
        Ok(())
    }
}
