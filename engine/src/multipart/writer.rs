//! Laying out multipart answers.
//!
//! The framing of each part is small and made at once, so that the exact `Content-Length` is known
//! before the first byte of content is read; contents stream between the frames. Each frame ends
//! with the delimiter that follows the content before it, as CouchDB writes it.

use std::fmt::Write as _;

/// A boundary no content can have foreseen: 128 random bits in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary(String);

impl Boundary {
    /// Wraps 16 bytes, which must be random and fresh for each body.
    pub fn new(random: [u8; 16]) -> Self {
        let mut text = String::with_capacity(32);
        for byte in random {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The content type of the whole: `multipart/<subtype>; boundary="…"`.
    pub fn content_type(&self, subtype: &str) -> String {
        format!("multipart/{subtype}; boundary=\"{}\"", self.0)
    }

    /// The delimiter before the first part.
    pub fn open(&self) -> String {
        format!("--{}", self.0)
    }

    /// The delimiter after a part's content.
    pub fn next(&self) -> String {
        format!("\r\n--{}", self.0)
    }

    /// What makes of the last delimiter the closing one.
    pub const CLOSE: &'static str = "--";
}

/// The headers of a part, from the end of the delimiter line to the blank line.
#[derive(Debug, Default)]
pub struct PartHead(String);

impl PartHead {
    /// No headers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header line. The value is cut at the first line break: stored content types and names
    /// come from clients, and none may add lines of its own.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let value = value.split(['\r', '\n']).next().unwrap_or_default();
        self.0.push_str("\r\n");
        self.0.push_str(name);
        self.0.push_str(": ");
        self.0.push_str(value);
        self
    }

    /// The text that stands between the delimiter and the content.
    pub fn finish(mut self) -> String {
        self.0.push_str("\r\n\r\n");
        self.0
    }
}

/// The head of the part that carries an attachment in `multipart/related`.
pub fn attachment_head(
    name: &str,
    content_type: &str,
    length: u64,
    encoding: Option<&str>,
) -> String {
    let head = PartHead::new()
        .header("Content-Disposition", &format!("attachment; filename=\"{}\"", quoted(name)))
        .header("Content-Type", content_type)
        .header("Content-Length", &length.to_string());
    match encoding {
        Some(encoding) => head.header("Content-Encoding", encoding).finish(),
        None => head.finish(),
    }
}

/// A text to stand between double quotes: quotes and backslashes are escaped, and line breaks, which
/// no header can hold, become blanks.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\r' | '\n' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn related_as_couchdb_lays_it_out() {
        let boundary = Boundary::new([0xab; 16]);
        let b = "abababababababababababababababab";
        let mut body = boundary.open();
        body += &PartHead::new().header("Content-Type", "application/json").finish();
        body += "{}";
        body += &boundary.next();
        body += &attachment_head("f \"1\"", "text/plain\r\nX: y", 3, Some("gzip"));
        body += "abc";
        body += &boundary.next();
        body += Boundary::CLOSE;
        let expected = format!(
            "--{b}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{b}\
             \r\nContent-Disposition: attachment; filename=\"f \\\"1\\\"\"\r\nContent-Type: text/plain\
             \r\nContent-Length: 3\r\nContent-Encoding: gzip\r\n\r\nabc\r\n--{b}--"
        );
        assert_eq!(body, expected);
        assert_eq!(
            boundary.content_type("related"),
            format!("multipart/related; boundary=\"{b}\"")
        );
    }

    #[test]
    fn names_cannot_add_header_lines() {
        let head = attachment_head("a\r\nX: y", "image/png", 0, None);
        assert_eq!(head.lines().filter(|line| line.starts_with("X:")).count(), 0);
    }
}
