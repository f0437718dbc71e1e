//! The changes feed as text: finding the rows in it while it arrives, and reading one.

use bytes::{Buf as _, Bytes, BytesMut};

use super::Change;
use crate::{
    json::{Value, raw, unescape},
    revision::Rev,
};

/// Longest row, in bytes: a document with more than a hundred thousand conflicts.
const MAX_ROW_BYTES: usize = 8 * 1024 * 1024;

/// What a row says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Row {
    /// A document has changed.
    Change { change: Change, seq: Value },
    /// The feed ends here (or has nothing more for the moment).
    LastSeq(Value),
}

/// Reads one row.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_row(text: &[u8]) -> Result<Row, String> {
    let wrong = || format!("this is no row of changes: {}", quote(text));
    let row = crate::json::minify(text).map_err(|_| wrong())?;
    if raw::member(&row, "changes").is_none() {
        let last = raw::member(&row, "last_seq").ok_or_else(wrong)?;
        return Ok(Row::LastSeq(Value::from_canonical(last).map_err(|_| wrong())?));
    }
    let change = change_of(&row).ok_or_else(wrong)?;
    let seq = raw::member(&row, "seq").map_or(Ok(Value::Null), Value::from_canonical);
    Ok(Row::Change { change, seq: seq.map_err(|_| wrong())? })
}

/// The document and the revisions of a row in the scanner's spelling.
pub(super) fn change_of(row: &[u8]) -> Option<Change> {
    let id = raw::member(row, "id").and_then(string)?;
    let rev = |change| Rev::parse(string(raw::member(change, "rev")?)?.as_bytes()).ok();
    let list = raw::items(raw::member(row, "changes")?);
    let mut revs = list.map(rev).collect::<Option<Vec<Rev>>>()?;
    if raw::member(row, "removed") == Some(b"true") && !revs.is_empty() {
        // The reader may not see the document any more; its first revision is not one.
        revs.remove(0);
    }
    Some(Change { id, revs })
}

/// The text of a string.
pub(super) fn string(spelled: &[u8]) -> Option<String> {
    let inside = std::str::from_utf8(raw::string(spelled)?).ok()?;
    Some(unescape(inside).into_owned())
}

fn quote(text: &[u8]) -> String {
    String::from_utf8_lossy(text.get(..200).unwrap_or(text)).into_owned()
}

/// Cuts a feed into rows.
pub(super) struct RowSplitter {
    buffer: BytesMut,
    /// How far the buffer has been looked at.
    at: usize,
    /// Where the row begins that has been begun.
    start: Option<usize>,
    /// Open arrays and objects.
    depth: usize,
    /// How many are open around a row.
    around: usize,
    in_string: bool,
    escaped: bool,
    /// A byte that opens something has been seen.
    begun: bool,
}

impl RowSplitter {
    /// For rows that stand by themselves, as in a continuous feed.
    pub(super) fn lines() -> Self {
        RowSplitter::around(0)
    }

    /// For rows in the array of an object, as in a normal feed.
    pub(super) fn array() -> Self {
        RowSplitter::around(2)
    }

    fn around(around: usize) -> Self {
        RowSplitter {
            buffer: BytesMut::new(),
            at: 0,
            start: None,
            depth: 0,
            around,
            in_string: false,
            escaped: false,
            begun: false,
        }
    }

    /// Hands in the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether everything that was opened is closed.
    pub(super) fn is_complete(&self) -> bool {
        self.depth == 0 && (self.begun || self.around == 0)
    }

    /// The next row, if it is here as a whole.
    ///
    /// # Errors
    /// If a row is too long, or the text is no feed.
    pub(super) fn next_row(&mut self) -> Result<Option<Bytes>, String> {
        while let Some(byte) = self.buffer.get(self.at).copied() {
            self.at += 1;
            if self.in_string {
                self.string_byte(byte);
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.open(byte),
                b'}' | b']' => {
                    self.depth = self.depth.checked_sub(1).ok_or("brackets that close nothing")?;
                    if self.depth == self.around
                        && let Some(start) = self.start.take()
                    {
                        return Ok(Some(self.cut(start)));
                    }
                }
                _ => {}
            }
        }
        self.rest()?;
        Ok(None)
    }

    fn string_byte(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.in_string = false,
            _ => {}
        }
    }

    fn open(&mut self, byte: u8) {
        self.begun = true;
        if self.depth == self.around && byte == b'{' {
            self.start = Some(self.at - 1);
        }
        self.depth += 1;
    }

    fn cut(&mut self, start: usize) -> Bytes {
        self.buffer.advance(start);
        let row = self.buffer.split_to(self.at - start).freeze();
        self.at = 0;
        row
    }

    /// Lets go of what is between rows.
    fn rest(&mut self) -> Result<(), String> {
        match self.start {
            None => {
                self.buffer.clear();
                self.at = 0;
            }
            Some(start) if self.buffer.len() - start > MAX_ROW_BYTES => {
                return Err(format!("a row of changes is longer than {MAX_ROW_BYTES} bytes"));
            }
            Some(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(mut splitter: RowSplitter, text: &str, step: usize) -> (Vec<String>, bool) {
        let mut found = Vec::new();
        for piece in text.as_bytes().chunks(step) {
            splitter.push(piece);
            while let Some(row) = splitter.next_row().unwrap() {
                found.push(String::from_utf8(row.to_vec()).unwrap());
            }
        }
        (found, splitter.is_complete())
    }

    #[test]
    fn rows_are_found_in_any_pieces() {
        let normal = "{\"results\":[\n{\"id\":\"a}\\\"{\",\"x\":[{}]},\n {\"id\":\"b\"}\n],\n\"last_seq\":{\"a\":1},\"pending\":0}\n";
        let lines = "\n\n{\"id\":\"a}\\\"{\",\"x\":[{}]}\n\n{\"id\":\"b\"}\n";
        let expected = ["{\"id\":\"a}\\\"{\",\"x\":[{}]}", "{\"id\":\"b\"}"];
        for step in 1..normal.len() {
            assert_eq!(
                rows(RowSplitter::array(), normal, step),
                (expected.map(Into::into).into(), true)
            );
            assert_eq!(
                rows(RowSplitter::lines(), lines, step),
                (expected.map(Into::into).into(), true)
            );
        }
        let cut = normal.get(..normal.len() - 3).unwrap();
        assert!(!rows(RowSplitter::array(), cut, 7).1, "a feed that breaks off is noticed");
        assert!(!rows(RowSplitter::array(), "", 1).1);
    }

    #[test]
    fn what_rows_say() {
        let row =
            parse_row(br#"{"seq":"3-x","id":"\u00e9","changes":[{"rev":"1-a"},{"rev":"2-b"}]}"#);
        let revs = vec![Rev::parse(b"1-a").unwrap(), Rev::parse(b"2-b").unwrap()];
        let change = Change { id: "é".into(), revs };
        assert_eq!(row.unwrap(), Row::Change { change, seq: "3-x".into() });
        let last = parse_row(br#"{"last_seq":7,"pending":0}"#).unwrap();
        assert_eq!(last, Row::LastSeq(Value::from(7u64)));
        for bad in ["{}", "[]", r#"{"changes":[{"rev":"x"}],"id":"a"}"#, r#"{"error":"x"}"#, "{"] {
            assert!(parse_row(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn hostile_text_does_no_harm(text in r#"[\[\]{}",:\\a0\n]{0,60}"#, step in 1usize..9) {
            let mut splitter = RowSplitter::array();
            for piece in text.as_bytes().chunks(step) {
                splitter.push(piece);
                while let Ok(Some(row)) = splitter.next_row() {
                    let _ = parse_row(&row);
                }
            }
        }
    }
}
