//! Numbers: integers of any size, kept digit by digit, and doubles, written the shortest way.

use std::{
    cmp::Ordering,
    fmt::{self, Write},
};

/// Highest decimal exponent written without an `e`, exclusive.
const HIGHEST_PLAIN_EXPONENT: i32 = 21;
/// Lowest decimal exponent written without an `e`.
const LOWEST_PLAIN_EXPONENT: i32 = -6;
/// Every decimal of so many significant digits survives the way through a double.
const EXACT_DIGITS: usize = 15;
/// Room for the longest double as `-d.dddddddddddddddde-ddd`, in bytes.
const LONGEST_DOUBLE: usize = 32;

/// A JSON number. Text with a point or an exponent is a double; anything else is an integer.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// An integer of up to 64 bits.
    Int(i64),
    /// The digits of any other integer, perhaps behind a minus.
    Big(Box<str>),
    /// A double; never infinite and not a NaN.
    Float(f64),
}

impl Number {
    /// Reads a number in the spelling that [`super::Scanner`] writes.
    pub(crate) fn from_canonical(text: &str) -> Option<Self> {
        if is_float(text.as_bytes()) {
            return text.parse().ok().map(Number::Float);
        }
        Some(text.parse().map_or_else(|_| Number::Big(text.into()), Number::Int))
    }

    /// The nearest double; infinite if there is none near.
    #[must_use]
    pub fn as_f64(&self) -> f64 {
        match self {
            Number::Int(int) => *int as f64,
            Number::Big(digits) => digits.parse().unwrap_or(f64::NAN),
            Number::Float(float) => *float,
        }
    }

    /// The value, if it is an integer of up to 64 bits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Number::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// Appends CouchDB's spelling.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Number::Int(int) => out.extend_from_slice(itoa::Buffer::new().format(*int).as_bytes()),
            Number::Big(digits) => out.extend_from_slice(digits.as_bytes()),
            Number::Float(float) => write_float(*float, out),
        }
    }

    /// Order by value. An integer and a double are compared exactly, not by rounding the integer.
    #[must_use]
    pub fn compare(&self, other: &Number) -> Ordering {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a.cmp(b),
            (Number::Float(a), Number::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            (Number::Float(float), int) => compare_int_to_float(int, *float).reverse(),
            (int, Number::Float(float)) => compare_int_to_float(int, *float),
            (a, b) => compare_digits(&a.digits(), &b.digits()),
        }
    }

    fn digits(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }
}

/// Compares an integer with a double by the double's exact decimal expansion.
fn compare_int_to_float(int: &Number, float: f64) -> Ordering {
    let by_whole = compare_digits(&int.digits(), &format!("{:.0}", float.trunc()));
    let fraction = float.fract();
    by_whole.then(0.0f64.partial_cmp(&fraction).unwrap_or(Ordering::Equal))
}

/// Compares integers by their digits. "-0" counts as zero.
fn compare_digits(a: &str, b: &str) -> Ordering {
    fn split(text: &str) -> (bool, &str) {
        match text.strip_prefix('-') {
            Some("0") => (false, "0"),
            Some(digits) => (true, digits),
            None => (false, text),
        }
    }
    let ((a_negative, a), (b_negative, b)) = (split(a), split(b));
    let magnitude = a.len().cmp(&b.len()).then_with(|| a.cmp(b));
    match (a_negative, b_negative) {
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (false, false) => magnitude,
        (true, true) => magnitude.reverse(),
    }
}

/// True if the text of a number is that of a double.
pub(crate) fn is_float(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}

/// Appends a double: the shortest digits that give it back, always with a point or an exponent, and
/// with an exponent only where it is below -6 or above 20. Zero has no sign.
pub fn write_float(float: f64, out: &mut Vec<u8>) {
    if float == 0.0 {
        return out.extend_from_slice(b"0.0");
    }
    // The shortest digits as d.ddde±x, from which both spellings follow.
    let mut scientific = Digits { text: [0; LONGEST_DOUBLE], length: 0 };
    let written = write!(scientific, "{float:e}");
    debug_assert!(written.is_ok());
    let scientific = scientific.as_str();
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    out.extend_from_slice(sign.as_bytes());
    if (LOWEST_PLAIN_EXPONENT..HIGHEST_PLAIN_EXPONENT).contains(&exponent) {
        write_plain(mantissa, exponent, out);
    } else {
        out.extend_from_slice(mantissa.as_bytes());
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
    }
}

/// A double's digits on the stack.
struct Digits {
    text: [u8; LONGEST_DOUBLE],
    length: usize,
}

impl Digits {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

impl Write for Digits {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.length + part.len();
        self.text.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Appends `mantissa` (d or d.ddd) times ten to the `exponent` without an exponent.
fn write_plain(mantissa: &str, exponent: i32, out: &mut Vec<u8>) {
    let digits = || mantissa.bytes().filter(u8::is_ascii_digit);
    let Ok(whole) = usize::try_from(exponent + 1) else {
        out.extend_from_slice(b"0.");
        out.extend((1..exponent.unsigned_abs()).map(|_| b'0'));
        return out.extend(digits());
    };
    if whole == 0 {
        out.extend_from_slice(b"0");
    }
    out.extend(digits().chain(std::iter::repeat(b'0')).take(whole));
    out.push(b'.');
    let before = out.len();
    out.extend(digits().skip(whole));
    if out.len() == before {
        out.push(b'0');
    }
}

/// True if a double's text is surely spelled as [`write_float`] would: few digits, no exponent, no
/// superfluous zeros. False may be wrong.
pub(crate) fn is_canonical_float(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let Some(point) = memchr::memchr(b'.', unsigned) else { return false };
    let (whole, fraction) = (&unsigned[..point], &unsigned[point + 1..]);
    if unsigned.len() > EXACT_DIGITS + 1 || !fraction.iter().all(u8::is_ascii_digit) {
        return false;
    }
    match (whole, fraction) {
        (b"0", fraction) => !fraction.starts_with(b"00000") && !fraction.ends_with(b"0"),
        (_, b"0") => true,
        (_, fraction) => !fraction.ends_with(b"0"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(float: f64) -> String {
        let mut out = Vec::new();
        write_float(float, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_are_spelled_as_couchdb_does() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "0.0"),
            (1.0, "1.0"),
            (-1.5e3, "-1500.0"),
            (0.1, "0.1"),
            (0.30000000000000004, "0.30000000000000004"),
            (123456789.123, "123456789.123"),
            (1e20, "100000000000000000000.0"),
            (1e21, "1e+21"),
            (1.2345678901234568e29, "1.2345678901234568e+29"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (1e-7, "1e-7"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
        ];
        for (float, text) in cases {
            assert_eq!(written(float), text);
        }
    }

    #[test]
    fn integers_and_doubles_are_compared_exactly() {
        let number = |text| Number::from_canonical(text).unwrap();
        let ascending = [
            "-1e+30",
            "-12345678901234567890",
            "-2.5",
            "-2",
            "-1.0",
            "0.5",
            "1",
            "1.5",
            "9007199254740992.0",
            "9007199254740993",
            "12345678901234567890",
            "1e+20",
            "100000000000000000001",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(number(a).compare(&number(b)), i.cmp(&j), "{a} against {b}");
            }
        }
        assert_eq!(number("1").compare(&number("1.0")), Ordering::Equal);
        assert_eq!(number("0").compare(&Number::Float(-0.0)), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn the_spelling_gives_the_double_back(bits in any::<u64>()) {
            let float = f64::from_bits(bits);
            prop_assume!(float.is_finite() && float != 0.0);
            prop_assert_eq!(written(float).parse::<f64>().unwrap(), float);
        }

        #[test]
        fn what_is_taken_for_canonical_is(text in "-?(0|[1-9][0-9]{0,9})\\.[0-9]{1,9}") {
            if is_canonical_float(text.as_bytes()) && text != "-0.0" {
                prop_assert_eq!(written(text.parse().unwrap()), text);
            }
        }
    }
}
