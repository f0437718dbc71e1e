//! Strings: which characters are escaped, and how.

use std::borrow::Cow;

/// Appends `text` as a JSON string: quotes, backslashes and the characters below U+0020 are escaped,
/// nothing else is.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, byte) in bytes.iter().enumerate().filter(|(_, byte)| needs_escape(**byte)) {
        out.extend_from_slice(&bytes[copied..at]);
        write_escaped(*byte, out);
        copied = at + 1;
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

pub(crate) fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// How many bytes of a string's inside come before the first that is a quote, a backslash or a control
/// character, or before the end.
pub(crate) fn plain_length(inside: &[u8]) -> usize {
    let (words, tail) = inside.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return index * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let special = tail.iter().position(|byte| needs_escape(*byte));
    words.len() * 8 + special.unwrap_or(tail.len())
}

/// Marks with its highest bit each byte of `word` that is a quote, a backslash or below 0x20. Bytes
/// above the lowest marked one may be marked wrongly.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGHS;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    below(word, 0x20) | below(quote, 1) | below(backslash, 1)
}

/// Appends the escape of one character that needs it.
pub(crate) fn write_escaped(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
            out.extend_from_slice(b"\\u00");
            return out.extend_from_slice(&digits);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// The text of a string in CouchDB's spelling, without its quotes. Text in any other spelling comes
/// out wrong, but does no harm.
#[must_use]
pub fn unescape(escaped: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', escaped.as_bytes()).is_none() {
        return Cow::Borrowed(escaped);
    }
    let mut out = Vec::with_capacity(escaped.len());
    unescape_into(escaped.as_bytes(), &mut out);
    String::from_utf8(out).map_or(Cow::Borrowed(escaped), Cow::Owned)
}

/// Appends the text of a string in CouchDB's spelling, given without its quotes.
pub(crate) fn unescape_into(mut escaped: &[u8], out: &mut Vec<u8>) {
    while let Some(backslash) = memchr::memchr(b'\\', escaped) {
        let (plain, rest) = escaped.split_at(backslash);
        out.extend_from_slice(plain);
        let length = match rest {
            [_, b'u', _, _, high, low, ..] => {
                let value = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
                out.push(value(*high) << 4 | value(*low));
                6
            }
            [_, escape, ..] => {
                out.push(match escape {
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                });
                2
            }
            _ => 1,
        };
        escaped = rest.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(escaped);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_string(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_what_must_be_escaped_is() {
        assert_eq!(written("\"\\/\u{8}\u{c}\n\r\t"), r#""\"\\/\b\f\n\r\t""#);
        assert_eq!(written("\u{1}\u{1f}\u{7f}\u{2028}é"), "\"\\u0001\\u001F\u{7f}\u{2028}é\"");
    }

    proptest! {
        #[test]
        fn strings_come_back(text in any::<String>()) {
            let escaped = written(&text);
            prop_assert_eq!(unescape(&escaped[1..escaped.len() - 1]), text);
        }

        #[test]
        fn any_text_can_be_unescaped(text in r#"[\\ubn"0-9a-f]{0,20}"#) {
            let _ = unescape(&text);
        }
    }
}
