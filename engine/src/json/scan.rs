//! One pass over JSON text that checks it and writes it back in CouchDB's spelling.
//!
//! The spelling: no blanks, members in the order they came (of a repeated member the last one, at its
//! place), numbers as [`super::number`] writes them, strings as [`super::text`] does. What is spelled
//! so already is copied in long runs; a document sent by a common client is one run.

mod members;
#[cfg(test)]
pub(crate) mod tests;
mod token;

use crate::{
    error::{Error, Result},
    json::MAX_DEPTH,
};
pub use members::Member;
use members::Names;

/// An array or object that is being read: for an object, how many names lay on the stack when it began.
type Open = Option<usize>;

/// Reads JSON values from a text.
///
/// ```
/// use settee_engine::json::Scanner;
///
/// let mut scanner = Scanner::new(br#"{ "n": 1.50, "s": "\u00e9" }"#)?;
/// let mut out = Vec::new();
/// scanner.value(&mut out)?;
/// scanner.end()?;
/// assert_eq!(out, r#"{"n":1.5,"s":"é"}"#.as_bytes());
/// # Ok::<(), settee_engine::Error>(())
/// ```
pub struct Scanner<'i> {
    input: &'i [u8],
    at: usize,
    /// Where the input begins that is to be copied as it is.
    run: usize,
    open: Vec<Open>,
    names: Names,
    negative_zero: bool,
}

impl<'i> Scanner<'i> {
    /// Begins with the first byte of `input`.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] if the text is not UTF-8.
    pub fn new(input: &'i [u8]) -> Result<Self> {
        // The whole text at once is several times faster than string by string, and makes every
        // later cut at an ASCII character safe.
        std::str::from_utf8(input).map_err(|_| Error::InvalidJson)?;
        Ok(Scanner {
            input,
            at: 0,
            run: 0,
            open: Vec::new(),
            names: Names::default(),
            negative_zero: false,
        })
    }

    /// Reads one value and appends it to `out`.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] if the text is not JSON, nests deeper than [`MAX_DEPTH`], or holds a
    /// number that no double comes near or of more than [`super::MAX_INTEGER_DIGITS`] digits.
    /// What was appended until then stays.
    pub fn value(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.skip_blanks();
        self.run = self.at;
        self.names.reset();
        self.open.clear();
        loop {
            let mut ended = self.begin_value(out)?;
            while ended {
                if self.open.is_empty() {
                    self.flush(out);
                    self.names.drop_marked(out);
                    return Ok(());
                }
                ended = self.after_value(out)?;
            }
        }
    }

    /// The members of the object that [`Scanner::value`] read last (not of those inside it): where
    /// they are in its output. Empty if it was no object.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        self.names.top()
    }

    /// True if the value read last holds a `-0.0`, which is kept so in the output and is the only
    /// thing there that CouchDB spells otherwise (`0.0`).
    #[must_use]
    pub fn has_negative_zero(&self) -> bool {
        self.negative_zero
    }

    /// The next byte that is not blank; `None` at the end of the text.
    pub fn peek(&mut self) -> Option<u8> {
        self.skip_blanks();
        self.input.get(self.at).copied()
    }

    /// Reads one byte of punctuation if it comes next.
    pub fn accept(&mut self, byte: u8) -> bool {
        let comes = self.peek() == Some(byte);
        self.at += usize::from(comes);
        comes
    }

    /// Makes sure that nothing but blanks follows.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] if something does.
    pub fn end(&mut self) -> Result<()> {
        if self.peek().is_none() { Ok(()) } else { Err(Error::InvalidJson) }
    }

    /// How many bytes of the text are still to be read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.input.len() - self.at
    }

    /// Reads a scalar, an empty container, or the opening of a container up to its first value.
    /// Returns true if a value has ended.
    fn begin_value(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        self.skip_blanks_within(out);
        match self.byte() {
            b'"' => self.string(out)?,
            b'{' => return self.begin_object(out),
            b'[' => return self.begin_array(out),
            b'-' | b'0'..=b'9' => self.number(out)?,
            b't' => self.literal(b"true")?,
            b'f' => self.literal(b"false")?,
            b'n' => self.literal(b"null")?,
            _ => return Err(Error::InvalidJson),
        }
        Ok(true)
    }

    fn begin_object(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        let names = self.names.begin_object();
        self.push(Some(names), out)?;
        if self.byte() == b'}' {
            self.close(out)?;
            return Ok(true);
        }
        self.name(out)?;
        Ok(false)
    }

    fn begin_array(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        self.push(None, out)?;
        if self.byte() == b']' {
            self.close(out)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn push(&mut self, names: Option<usize>, out: &mut Vec<u8>) -> Result<()> {
        if self.open.len() == MAX_DEPTH {
            return Err(Error::InvalidJson);
        }
        self.open.push(names);
        self.at += 1;
        self.skip_blanks_within(out);
        Ok(())
    }

    /// Reads what follows a value in a container: a comma and what belongs to the next value, or the
    /// container's end. Returns true if the container, itself a value, has ended.
    fn after_value(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        self.skip_blanks_within(out);
        let in_object = matches!(self.open.last(), Some(Some(_)));
        match (self.byte(), in_object) {
            (b',', _) => {
                self.at += 1;
                if in_object {
                    self.skip_blanks_within(out);
                    self.name(out)?;
                }
                Ok(false)
            }
            (b'}', true) | (b']', false) => {
                self.close(out)?;
                Ok(true)
            }
            _ => Err(Error::InvalidJson),
        }
    }

    /// Reads a member's name and the colon after it.
    fn name(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if self.byte() != b'"' {
            return Err(Error::InvalidJson);
        }
        let start = self.place(out);
        let raw = self.at;
        self.string(out)?;
        let end = self.place(out);
        // A name without escapes stands in the input as it does in the output.
        let plain = end - start == self.at - raw;
        let name = if plain { self.input.get(raw..self.at) } else { out.get(start..end) };
        self.names.push(start, end, name.unwrap_or_default());
        self.skip_blanks_within(out);
        if self.byte() != b':' {
            return Err(Error::InvalidJson);
        }
        self.at += 1;
        Ok(())
    }

    /// Ends the innermost container at its closing bracket.
    fn close(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let open = self.open.pop().ok_or(Error::InvalidJson)?;
        if let Some(names) = open {
            if self.names.may_repeat(names) {
                self.flush(out);
                self.names.mark_repeated(names, out);
            }
            let end = self.place(out);
            self.names.end_object(names, end, self.open.is_empty());
        }
        self.at += 1;
        Ok(())
    }

    /// The next byte; 0, which is nowhere allowed, at the end.
    fn byte(&self) -> u8 {
        self.input.get(self.at).copied().unwrap_or(0)
    }

    /// Where the next byte will be in the output.
    fn place(&self, out: &[u8]) -> usize {
        out.len() + (self.at - self.run)
    }

    /// Copies the run that has been read.
    fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.input.get(self.run..self.at).unwrap_or_default());
        self.run = self.at;
    }

    fn skip_blanks(&mut self) {
        while is_blank(self.byte()) {
            self.at += 1;
        }
    }

    /// Leaves blanks out of the output.
    fn skip_blanks_within(&mut self, out: &mut Vec<u8>) {
        if is_blank(self.byte()) {
            self.flush(out);
            self.skip_blanks();
            self.run = self.at;
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// A text of one JSON value in CouchDB's spelling.
///
/// # Errors
/// [`Error::InvalidJson`] if the text is not one JSON value.
pub fn minify(input: &[u8]) -> Result<Vec<u8>> {
    let mut scanner = Scanner::new(input)?;
    let mut out = Vec::with_capacity(input.len());
    scanner.value(&mut out)?;
    scanner.end()?;
    Ok(out)
}
