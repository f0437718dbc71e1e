//! Multipart bodies, both ways.
//!
//! [`reader`] takes bodies apart as they arrive (`multipart/related` on PUT of a document,
//! `multipart/form-data` on POST); [`writer`] lays out the answers (`multipart/related`, `mixed` and
//! `byteranges`) with the exact bytes CouchDB's clients know. Neither knows documents or HTTP
//! requests: they turn bytes into parts and parts into bytes. A replication reads and writes such bodies as
//! the server does.

pub mod reader;
pub mod writer;

pub use reader::{Event, MultipartError, PartHeaders, Reader};
pub use writer::{Boundary, PartHead, attachment_head};

/// A parameter of a header such as `multipart/related; boundary="x"`; names compare without case.
pub fn parameter(header: &str, name: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = parameter_value(after.trim_start());
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after.trim_start().strip_prefix(';')?;
    }
}

/// One token or quoted string, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return (value.trim_end().to_owned(), after);
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => break,
            '\\' => value.extend(chars.next()),
            other => value.push(other),
        }
    }
    (value, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::parameter;

    fn check(header: &str, name: &str, expected: Option<&str>) {
        assert_eq!(parameter(header, name).as_deref(), expected, "{header}");
    }

    #[test]
    fn parameters_of_headers() {
        check("multipart/related; boundary=abc", "boundary", Some("abc"));
        check("multipart/related;BOUNDARY=\"a b;c\" ; x=y", "boundary", Some("a b;c"));
        check("multipart/related;boundary=\"a b;c\" ; x=y", "x", Some("y"));
        check("attachment; filename=\"a\\\"b\\\\\"", "filename", Some("a\"b\\"));
        check("form-data; name=f ; filename=g", "name", Some("f"));
        check("multipart/related", "boundary", None);
        check("multipart/related; boundary", "boundary", None);
        check("multipart/related; a=\"unclosed", "boundary", None);
        check("multipart/related; a=b; boundary=\"\"", "boundary", Some(""));
    }
}
