//! Byte ranges: which bytes of an attachment a `Range` header asks for.
//!
//! CouchDB ignores a header it cannot read and answers with the whole attachment. It refuses a range
//! that ends before it starts or lies beyond the end, and gives several ranges as
//! `multipart/byteranges` up to a bound.

/// More ranges than this in one request are answered with the whole attachment.
pub(crate) const MAX_RANGES: usize = 9;

/// A stretch of bytes, both ends included, inside the attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    /// Position of the first byte.
    pub(crate) first: u64,
    /// Position of the last byte; never before `first`.
    pub(crate) last: u64,
}

impl ByteRange {
    /// Number of bytes in the range, at least one.
    pub(crate) fn length(&self) -> u64 {
        self.last - self.first + 1
    }

    /// The value of the `Content-Range` header for an attachment of `total` bytes.
    pub(crate) fn content_range(&self, total: u64) -> String {
        format!("bytes {}-{}/{}", self.first, self.last, total)
    }
}

/// What part of the attachment to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Everything, with status 200.
    Whole,
    /// One range, with status 206.
    One(ByteRange),
    /// Several ranges, with status 206 as `multipart/byteranges`.
    Several(Vec<ByteRange>),
}

/// A range that starts beyond the end, or ends before it starts: status 416.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotSatisfiable;

/// Reads a `Range` header against an attachment of `length` bytes.
pub(crate) fn select(header: Option<&str>, length: u64) -> Result<Selection, NotSatisfiable> {
    let Some(specs) = header.and_then(parse) else { return Ok(Selection::Whole) };
    if specs.is_empty() || specs.len() > MAX_RANGES || specs.contains(&Spec::From(0)) {
        return Ok(Selection::Whole);
    }
    let mut ranges = Vec::with_capacity(specs.len());
    for spec in specs {
        ranges.push(spec.within(length)?);
    }
    Ok(match ranges.as_slice() {
        [only] => Selection::One(*only),
        _ => Selection::Several(ranges),
    })
}

/// One range as written, before the length of the attachment is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    Between(u64, u64),
    From(u64),
    Last(u64),
}

impl Spec {
    fn within(self, length: u64) -> Result<ByteRange, NotSatisfiable> {
        let end = length.checked_sub(1).ok_or(NotSatisfiable)?;
        let (first, last) = match self {
            Spec::Between(first, last) => (first, last.min(end)),
            Spec::From(first) => (first, end),
            Spec::Last(0) => return Err(NotSatisfiable),
            Spec::Last(count) => (length.saturating_sub(count), end),
        };
        if first > last { Err(NotSatisfiable) } else { Ok(ByteRange { first, last }) }
    }
}

/// The ranges in a header of the form `bytes=0-4, 7-`; `None` if it is anything else.
fn parse(header: &str) -> Option<Vec<Spec>> {
    let list = header.strip_prefix("bytes=")?;
    // Reading stops one past the bound: that many are enough to know there are too many.
    let texts = list.split(',').map(str::trim).filter(|text| !text.is_empty());
    texts.take(MAX_RANGES + 1).map(parse_one).collect()
}

fn parse_one(text: &str) -> Option<Spec> {
    let (first, last) = text.split_once('-')?;
    match (first, last) {
        ("", count) => Some(Spec::Last(number(count)?)),
        (first, "") => Some(Spec::From(number(first)?)),
        (first, last) => Some(Spec::Between(number(first)?, number(last)?)),
    }
}

fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // A number too large for u64 is far beyond any attachment: as good as infinite.
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, length: u64, expected: &[(u64, u64)]) {
        let ranges = match select(Some(header), length) {
            Ok(Selection::One(range)) => vec![range],
            Ok(Selection::Several(ranges)) => ranges,
            other => panic!("{header}: {other:?}"),
        };
        let pairs: Vec<_> = ranges.iter().map(|range| (range.first, range.last)).collect();
        assert_eq!(pairs, expected, "{header}");
    }

    fn check_whole(header: &str) {
        assert_eq!(select(Some(header), 20), Ok(Selection::Whole), "{header}");
    }

    fn check_refused(header: &str, length: u64) {
        assert_eq!(select(Some(header), length), Err(NotSatisfiable), "{header}");
    }

    #[test]
    fn ranges_inside_the_attachment() {
        check("bytes=0-4", 20, &[(0, 4)]);
        check("bytes=5-5", 20, &[(5, 5)]);
        check("bytes=15-", 20, &[(15, 19)]);
        check("bytes=-3", 20, &[(17, 19)]);
        check("bytes=10-99", 20, &[(10, 19)]);
        check("bytes=0-19", 20, &[(0, 19)]);
        check("bytes=-100", 20, &[(0, 19)]);
        check("bytes=0-99999999999999999999999", 20, &[(0, 19)]);
        check("bytes=0-1, 4-,-1", 20, &[(0, 1), (4, 19), (19, 19)]);
    }

    #[test]
    fn headers_that_mean_everything() {
        for header in [
            "lines=1-2",
            "bytes=abc",
            "bytes=",
            "bytes=0-",
            "bytes=1-2,0-",
            "bytes=--1",
            "bytes=1",
            "",
        ] {
            check_whole(header);
        }
        check_whole(&format!("bytes={}", ["1-2"; MAX_RANGES + 1].join(",")));
        assert_eq!(select(None, 20), Ok(Selection::Whole));
    }

    #[test]
    fn nine_ranges_are_given() {
        let header = format!("bytes={}", ["1-2"; MAX_RANGES].join(","));
        check(&header, 20, &[(1, 2); MAX_RANGES]);
    }

    #[test]
    fn ranges_that_cannot_be_satisfied() {
        check_refused("bytes=5-2", 20);
        check_refused("bytes=50-60", 20);
        check_refused("bytes=20-", 20);
        check_refused("bytes=-0", 20);
        check_refused("bytes=0-0", 0);
    }

    #[test]
    fn content_range_and_length() {
        let range = ByteRange { first: 10, last: 19 };
        assert_eq!(range.content_range(20), "bytes 10-19/20");
        assert_eq!(range.length(), 10);
    }
}
