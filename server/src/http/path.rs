//! The path of a request, cut into decoded segments.

use super::Failure;
use super::percent;

/// The segments of a request's path: cut at `/`, empty ones dropped, then percent-decoded, so that
/// `%2F` stays inside its segment. Segments are bytes; whether they must be UTF-8 is decided by
/// what they name.
///
/// ```
/// use settee_server::http::Path;
///
/// let path = Path::parse("//db//a%2Fb+c/", true).unwrap();
/// let segments: Vec<&[u8]> = path.segments().collect();
/// assert_eq!(segments, [b"db".as_slice(), b"a/b c"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Path {
    decoded: Vec<u8>,
    ends: Vec<usize>,
}

impl Path {
    /// Cuts and decodes the raw path.
    ///
    /// # Errors
    ///
    /// 400 `invalid_url_encoding` when a `%` isn't followed by two hexadecimal digits.
    pub fn parse(raw: &str, plus_is_space: bool) -> Result<Self, Failure> {
        let mut path = Self { decoded: Vec::with_capacity(raw.len()), ends: Vec::with_capacity(4) };
        for segment in raw.split('/').filter(|segment| !segment.is_empty()) {
            percent::decode_into(segment.as_bytes(), plus_is_space, &mut path.decoded)
                .ok_or_else(|| Failure::bad_request("invalid_url_encoding"))?;
            path.ends.push(path.decoded.len());
        }
        Ok(path)
    }

    /// The segments in order.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let segment = self.decoded.get(start..end).unwrap_or_default();
            start = end;
            segment
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(raw: &str) -> Vec<String> {
        let path = Path::parse(raw, true).unwrap();
        path.segments().map(|s| String::from_utf8_lossy(s).into_owned()).collect()
    }

    #[test]
    fn empty_segments_are_dropped() {
        assert_eq!(split("/"), Vec::<String>::new());
        assert_eq!(split("//db///doc/"), ["db", "doc"]);
    }

    #[test]
    fn decoding_happens_after_the_cut() {
        assert_eq!(split("/a%2Fb/c"), ["a/b", "c"]);
        assert_eq!(split("/a+b/%2B"), ["a b", "+"]);
    }

    #[test]
    fn plus_can_stay_a_plus() {
        let path = Path::parse("/a+b", false).unwrap();
        assert_eq!(path.segments().next(), Some(b"a+b".as_slice()));
    }

    #[test]
    fn bad_escapes_are_refused() {
        for raw in ["/%", "/%2", "/%zz", "/a%2/b"] {
            let failure = Path::parse(raw, true).unwrap_err();
            assert_eq!(failure.reason(), "invalid_url_encoding", "{raw}");
        }
    }
}
