//! Percent-decoding of paths and query strings, and encoding of what goes into `Location`.

/// Appends the decoded bytes of `raw` to `out`; `None` when a `%` isn't followed by two
/// hexadecimal digits.
pub fn decode_into(raw: &[u8], plus_is_space: bool, out: &mut Vec<u8>) -> Option<()> {
    let mut rest = raw.iter();
    while let Some(&byte) = rest.next() {
        out.push(match byte {
            b'%' => hex_digit(*rest.next()?)? << 4 | hex_digit(*rest.next()?)?,
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    Some(())
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Appends one path segment to `out`, escaping all but letters, digits and `-._~`, as CouchDB does
/// in `Location`.
///
/// ```
/// let mut url = String::from("/db/");
/// settee_server::http::percent::encode_segment("dir/ä b", &mut url);
/// assert_eq!(url, "/db/dir%2F%C3%A4%20b");
/// ```
pub fn encode_segment(segment: &str, out: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.extend(['%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
}
