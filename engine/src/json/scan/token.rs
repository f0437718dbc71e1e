//! Scalars: literals, numbers and strings.

use super::Scanner;
use crate::{
    error::{Error, Result},
    json::{MAX_INTEGER_DIGITS, number, text},
};

impl Scanner<'_> {
    pub(super) fn literal(&mut self, word: &[u8]) -> Result<()> {
        let comes = self.input.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        if !comes {
            return Err(Error::InvalidJson);
        }
        self.at += word.len();
        Ok(())
    }

    pub(super) fn number(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let start = self.at;
        self.at += usize::from(self.byte() == b'-');
        match self.byte() {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        let mut float = false;
        if self.byte() == b'.' {
            float = true;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), b'e' | b'E') {
            float = true;
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), b'+' | b'-'));
            self.digits()?;
        }
        let text = self.input.get(start..self.at).unwrap_or_default();
        if float { self.float(text, out) } else { self.integer(text, out) }
    }

    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start { Err(Error::InvalidJson) } else { Ok(()) }
    }

    fn integer(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if text.len() > MAX_INTEGER_DIGITS {
            return Err(Error::InvalidJson);
        }
        if text == b"-0" {
            self.replace(text.len(), b"0", out);
        }
        Ok(())
    }

    fn float(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.negative_zero |= text == b"-0.0";
        if number::is_canonical_float(text) {
            return Ok(());
        }
        let float: f64 = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Error::InvalidJson)?;
        if float.is_infinite() {
            return Err(Error::InvalidJson);
        }
        let mut spelled = Vec::with_capacity(24);
        if float == 0.0 && float.is_sign_negative() {
            self.negative_zero = true;
            spelled.extend_from_slice(b"-0.0");
        } else {
            number::write_float(float, &mut spelled);
        }
        if spelled != text {
            self.replace(text.len(), &spelled, out);
        }
        Ok(())
    }

    /// Puts `spelled` into the output for the `length` bytes just read.
    fn replace(&mut self, length: usize, spelled: &[u8], out: &mut Vec<u8>) {
        let end = self.at;
        self.at -= length;
        self.flush(out);
        out.extend_from_slice(spelled);
        self.at = end;
        self.run = end;
    }

    /// Reads a string from its opening to behind its closing quote.
    pub(super) fn string(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.at += 1;
        loop {
            self.at += text::plain_length(self.input.get(self.at..).unwrap_or_default());
            match self.byte() {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escape(out)?,
                _ => return Err(Error::InvalidJson),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<()> {
        match self.input.get(self.at + 1).copied() {
            Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'/') => {
                self.at += 2;
                self.replace(2, b"/", out);
                Ok(())
            }
            Some(b'u') => self.unicode_escape(out),
            _ => Err(Error::InvalidJson),
        }
    }

    fn unicode_escape(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let first = self.hex4(self.at + 2)?;
        let mut length = 6;
        let mut code = u32::from(first);
        if (0xd800..0xdc00).contains(&first) {
            let second = match self.input.get(self.at + 6..self.at + 8) {
                Some(b"\\u") => self.hex4(self.at + 8)?,
                _ => return Err(Error::InvalidJson),
            };
            if !(0xdc00..0xe000).contains(&second) {
                return Err(Error::InvalidJson);
            }
            code = 0x10000 + ((code - 0xd800) << 10) + (u32::from(second) - 0xdc00);
            length = 12;
        }
        let character = char::from_u32(code).ok_or(Error::InvalidJson)?;
        self.at += length;
        let mut spelled = Vec::with_capacity(8);
        match u8::try_from(character) {
            Ok(byte) if text::needs_escape(byte) => text::write_escaped(byte, &mut spelled),
            _ => spelled.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        self.replace(length, &spelled, out);
        Ok(())
    }

    fn hex4(&self, at: usize) -> Result<u16> {
        let digits = self.input.get(at..at + 4).ok_or(Error::InvalidJson)?;
        digits.iter().try_fold(0, |value: u16, digit| {
            let digit = char::from(*digit).to_digit(16).ok_or(Error::InvalidJson)?;
            Ok(value << 4 | digit as u16)
        })
    }
}
