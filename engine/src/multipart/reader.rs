//! Taking a multipart body apart while it arrives.
//!
//! [`Reader`] does no I/O: bytes are pushed in as the network delivers them, and events are drawn out
//! until it asks for more. It never holds more than the piece pushed last, the length of one
//! delimiter and one part's headers, whatever the size of the body.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;

/// The header lines of one part may take this many bytes together.
const MAX_PART_HEADER_BYTES: usize = 16 * 1024;

/// A boundary longer than this is refused (RFC 2046 allows 70; some clients exceed it a little).
const MAX_BOUNDARY_BYTES: usize = 256;

/// What is wrong with a multipart body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    /// The content type names no boundary, or one that cannot be used.
    #[error("Invalid or missing multipart boundary.")]
    Boundary,
    /// The body ended before the closing delimiter.
    #[error("Multipart body ended before its closing boundary.")]
    Truncated,
    /// A delimiter is followed by something else than a line end or the closing dashes.
    #[error("Multipart boundary is not followed by a line end.")]
    DelimiterLine,
    /// A part's header lines are longer than the limit or not UTF-8.
    #[error("Multipart part has invalid headers.")]
    Headers,
}

/// What the reader found next.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A part begins.
    Part(PartHeaders),
    /// Some bytes of the part's content; never empty.
    Data(Bytes),
    /// The part's content is complete.
    PartEnd,
    /// The closing delimiter was seen; what follows it is ignored.
    End,
    /// Push more bytes, then ask again.
    NeedMore,
}

/// The header lines of a part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartHeaders {
    lines: Vec<(String, String)>,
}

impl PartHeaders {
    /// The value of a header; names compare without case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let line = self.lines.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        line.map(|(_, value)| value.as_str())
    }

    /// A parameter of `Content-Disposition`, such as `name` or `filename`.
    pub fn disposition(&self, parameter: &str) -> Option<String> {
        super::parameter(self.get("content-disposition")?, parameter)
    }

    fn parse(block: &[u8]) -> Result<Self, MultipartError> {
        let text = std::str::from_utf8(block).map_err(|_| MultipartError::Headers)?;
        let mut lines = Vec::new();
        for line in text.split("\r\n").filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(':').ok_or(MultipartError::Headers)?;
            lines.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        Ok(Self { lines })
    }
}

/// Where in the body the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first delimiter; text here is ignored.
    Preamble,
    /// Behind a delimiter's boundary, which either opens a part or closes the body.
    DelimiterLine,
    /// At the line end before a part's headers.
    Headers,
    /// In a part's content.
    Content,
    /// Behind the closing delimiter.
    Epilogue,
}

/// A multipart body being taken apart.
pub struct Reader {
    /// CRLF, two dashes and the boundary.
    delimiter: memmem::Finder<'static>,
    buffer: BytesMut,
    state: State,
    ended: bool,
}

impl Reader {
    /// A reader for a body of the given content type, which must carry the boundary.
    pub fn new(content_type: &str) -> Result<Self, MultipartError> {
        let boundary = super::parameter(content_type, "boundary").unwrap_or_default();
        if boundary.is_empty() || boundary.len() > MAX_BOUNDARY_BYTES {
            return Err(MultipartError::Boundary);
        }
        let delimiter = format!("\r\n--{boundary}");
        Ok(Self {
            delimiter: memmem::Finder::new(delimiter.as_bytes()).into_owned(),
            // The first delimiter needs no line end before it; supplying one makes it like the others.
            buffer: BytesMut::from(&b"\r\n"[..]),
            state: State::Preamble,
            ended: false,
        })
    }

    /// Hands in the next bytes of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Says that the body is complete: from now on, missing bytes are an error.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// The next event. After [`Event::NeedMore`], call [`Reader::push`] or [`Reader::finish`].
    pub fn event(&mut self) -> Result<Event, MultipartError> {
        loop {
            let event = match self.state {
                State::Preamble => self.preamble(),
                State::DelimiterLine => self.delimiter_line()?,
                State::Headers => self.headers()?,
                State::Content => self.content(),
                State::Epilogue => {
                    self.buffer.clear();
                    return Ok(Event::End);
                }
            };
            match event {
                Step::Event(event) => return Ok(event),
                Step::Again => {}
                Step::NeedMore if self.ended => return Err(MultipartError::Truncated),
                Step::NeedMore => return Ok(Event::NeedMore),
            }
        }
    }

    fn preamble(&mut self) -> Step {
        match self.delimiter.find(&self.buffer) {
            Some(at) => {
                self.buffer.advance(at + self.delimiter.needle().len());
                self.state = State::DelimiterLine;
                Step::Again
            }
            None => {
                let certain = self.certain_bytes();
                self.buffer.advance(certain);
                Step::NeedMore
            }
        }
    }

    fn delimiter_line(&mut self) -> Result<Step, MultipartError> {
        if self.buffer.starts_with(b"--") {
            self.state = State::Epilogue;
            return Ok(Step::Again);
        }
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let padding = self.buffer.iter().take_while(|byte| blank(byte)).count();
        if padding > MAX_PART_HEADER_BYTES {
            return Err(MultipartError::DelimiterLine);
        }
        let rest = self.buffer.get(padding..).unwrap_or_default();
        if rest.starts_with(b"\r\n") {
            self.buffer.advance(padding);
            self.state = State::Headers;
            return Ok(Step::Again);
        }
        let undecided = rest.is_empty() || rest == b"\r" || (padding == 0 && rest == b"-");
        if undecided { Ok(Step::NeedMore) } else { Err(MultipartError::DelimiterLine) }
    }

    fn headers(&mut self) -> Result<Step, MultipartError> {
        // The search starts at the delimiter's own line end, so a part without headers is found too.
        let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") else {
            let too_long = self.buffer.len() > MAX_PART_HEADER_BYTES;
            return if too_long { Err(MultipartError::Headers) } else { Ok(Step::NeedMore) };
        };
        if end > MAX_PART_HEADER_BYTES {
            return Err(MultipartError::Headers);
        }
        let block = self.buffer.split_to(end);
        self.buffer.advance(4);
        let headers = PartHeaders::parse(&block)?;
        self.state = State::Content;
        Ok(Step::Event(Event::Part(headers)))
    }

    fn content(&mut self) -> Step {
        match self.delimiter.find(&self.buffer) {
            Some(0) => {
                self.buffer.advance(self.delimiter.needle().len());
                self.state = State::DelimiterLine;
                Step::Event(Event::PartEnd)
            }
            Some(at) => Step::Event(Event::Data(self.buffer.split_to(at).freeze())),
            None => match self.certain_bytes() {
                0 => Step::NeedMore,
                certain => Step::Event(Event::Data(self.buffer.split_to(certain).freeze())),
            },
        }
    }

    /// How many buffered bytes cannot be the beginning of a delimiter that is still arriving.
    fn certain_bytes(&self) -> usize {
        self.buffer.len().saturating_sub(self.delimiter.needle().len() - 1)
    }
}

/// What one state made of the buffer.
enum Step {
    Event(Event),
    Again,
    NeedMore,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every part's headers and content; the body is pushed in pieces of `step` bytes.
    fn read(body: &[u8], step: usize) -> Result<Vec<(PartHeaders, Vec<u8>)>, MultipartError> {
        let mut reader = Reader::new("multipart/related; boundary=\"sep\"")?;
        let mut pieces = body.chunks(step);
        let mut parts = Vec::new();
        let mut closed = true;
        loop {
            match reader.event()? {
                Event::Part(headers) => {
                    assert!(std::mem::replace(&mut closed, false));
                    parts.push((headers, Vec::new()));
                }
                Event::Data(bytes) => {
                    assert!(!bytes.is_empty() && !closed);
                    parts.last_mut().unwrap().1.extend_from_slice(&bytes);
                }
                Event::PartEnd => assert!(!std::mem::replace(&mut closed, true)),
                Event::End => return Ok(parts),
                Event::NeedMore => match pieces.next() {
                    Some(piece) => reader.push(piece),
                    None => reader.finish(),
                },
            }
        }
    }

    /// Checks contents and error at every size of piece.
    fn check(body: &str, expected: Result<&[&str], MultipartError>) {
        for step in 1..=body.len().max(1) {
            let parts = read(body.as_bytes(), step);
            let contents = parts.map(|parts| {
                let text = |(_, content): (_, Vec<u8>)| String::from_utf8(content).unwrap();
                parts.into_iter().map(text).collect::<Vec<_>>()
            });
            let expected = expected.map(|list| list.iter().map(ToString::to_string).collect());
            assert_eq!(contents, expected, "in pieces of {step}: {body:?}");
        }
    }

    #[test]
    fn well_formed_bodies() {
        check("--sep\r\n\r\none\r\n--sep\r\nA: b\r\n\r\ntwo\r\n--sep--", Ok(&["one", "two"]));
        check("ignored\r\n--sep \t\r\n\r\n\r\n--sep--\r\nignored, too", Ok(&[""]));
        check("--sep\r\n\r\n\r\n\r\n--se\r\r\n\r\n--sep--", Ok(&["\r\n\r\n--se\r\r\n"]));
        check("--sep--", Ok(&[]));
    }

    #[test]
    fn broken_bodies() {
        check("", Err(MultipartError::Truncated));
        check("--sep", Err(MultipartError::Truncated));
        check("--sep-", Err(MultipartError::Truncated));
        check("--sep\r\nA: b\r\n", Err(MultipartError::Truncated));
        check("--sep\r\n\r\ncontent\r\n--se", Err(MultipartError::Truncated));
        check("--separate\r\n\r\nx\r\n--sep--", Err(MultipartError::DelimiterLine));
        check("--sep\r\nno colon\r\n\r\nx\r\n--sep--", Err(MultipartError::Headers));
        let long = format!("--sep\r\nA: {}", "b".repeat(MAX_PART_HEADER_BYTES));
        assert_eq!(read(long.as_bytes(), 1000), Err(MultipartError::Headers));
    }

    #[test]
    fn boundaries_of_content_types() {
        for bad in [
            "multipart/related",
            "multipart/related; boundary=",
            "multipart/related; boundary=\"\"",
        ] {
            assert_eq!(Reader::new(bad).err(), Some(MultipartError::Boundary));
        }
        let long = format!("multipart/related; boundary={}", "x".repeat(MAX_BOUNDARY_BYTES + 1));
        assert_eq!(Reader::new(&long).err(), Some(MultipartError::Boundary));
    }

    #[test]
    fn headers_of_parts() {
        let body = "--sep\r\nContent-Disposition: form-data; name=\"_attachments\"; filename=\"a b\"\r\n\
                    content-TYPE:text/plain\r\n\r\nx\r\n--sep--";
        let parts = read(body.as_bytes(), 7).unwrap();
        let headers = &parts[0].0;
        assert_eq!(headers.get("Content-Type"), Some("text/plain"));
        assert_eq!(headers.disposition("name").as_deref(), Some("_attachments"));
        assert_eq!(headers.disposition("filename").as_deref(), Some("a b"));
        assert_eq!(headers.get("content-length"), None);
    }

    proptest! {
        #[test]
        fn any_content_comes_back(contents in prop::collection::vec("[-\r\nsepx]{0,40}", 0..4), step in 1..50usize) {
            prop_assume!(contents.iter().all(|content| !format!("\r\n{content}").contains("\r\n--sep")));
            let mut body = String::new();
            for content in &contents {
                body += &format!("\r\n--sep\r\nX: y\r\n\r\n{content}");
            }
            body += "\r\n--sep--";
            let parts = read(body.as_bytes(), step).unwrap();
            let read: Vec<_> = parts.iter().map(|(_, content)| content.as_slice()).collect();
            let sent: Vec<_> = contents.iter().map(|content| content.as_bytes()).collect();
            prop_assert_eq!(read, sent);
        }

        #[test]
        fn any_bytes_give_some_answer(body in prop::collection::vec(any::<u8>(), 0..200), step in 1..50usize) {
            let _ = read(&body, step);
        }

        #[test]
        fn any_text_gives_the_same_answer_in_any_pieces(body in "(--sep|\r\n|--|[a:-]){0,20}", step in 1..20usize) {
            prop_assert_eq!(read(body.as_bytes(), step), read(body.as_bytes(), body.len().max(1)));
        }
    }
}
