//! Numbers as bytes in the order of their values.
//!
//! Below 2^53 every number a document can hold is a double. Beyond, an integer need not be: then the nearest
//! double comes first, and what the integer is more (or less) than that behind it:
//!
//! ```text
//! 7F, length 2 flipped, digits flipped    less than the double by this
//! 80                                      the double
//! 81, length 2, digits                    more than the double by this
//! ```

use std::cmp::Ordering;

/// From here on there are integers that are no doubles.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

const LESS: u8 = 0x7f;
const SAME: u8 = 0x80;
const MORE: u8 = 0x81;
/// Bytes of a double, and of the length of what is left over.
const DOUBLE_BYTES: usize = 8;
const LENGTH_BYTES: usize = 2;

/// Appends the encoding of a number as the scanner spells it.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let text = std::str::from_utf8(text).unwrap_or("0");
    let double = text.parse::<f64>().unwrap_or(0.0);
    // Zero has no sign in the order of numbers.
    let double = if double == 0.0 { 0.0 } else { double };
    out.extend_from_slice(&ordered(double).to_be_bytes());
    if double.abs() >= EXACT_BELOW {
        encode_rest(text, double, out);
    }
}

/// A double as a number whose order is that of the doubles.
fn ordered(double: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    let bits = double.to_bits();
    if bits & SIGN == 0 { bits ^ SIGN } else { !bits }
}

fn encode_rest(text: &str, double: f64, out: &mut Vec<u8>) {
    let is_integer = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let exact = format!("{:.0}", double.abs());
    let digits = text.trim_start_matches('-');
    let order = if is_integer { compare_digits(digits, &exact) } else { Ordering::Equal };
    let rest = match order {
        Ordering::Equal => return out.push(SAME),
        Ordering::Less => difference(&exact, digits),
        Ordering::Greater => difference(digits, &exact),
    };
    let length = u16::try_from(rest.len()).unwrap_or(u16::MAX).to_be_bytes();
    // Farther from zero is more for positive numbers and less for negative ones.
    if (order == Ordering::Greater) == (double > 0.0) {
        out.push(MORE);
        out.extend_from_slice(&length);
        out.extend_from_slice(&rest);
    } else {
        out.push(LESS);
        out.extend(length.iter().chain(&rest).map(|byte| !byte));
    }
}

/// Compares integers without signs and leading zeros.
fn compare_digits(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// The digits of `a` less `b`, of which `a` is the greater, without leading zeros.
fn difference(a: &str, b: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(a.len());
    let mut borrow = 0;
    let mut b = b.bytes().rev();
    for digit in a.bytes().rev() {
        let less = b.next().map_or(0, |digit| digit - b'0') + borrow;
        let digit = digit - b'0';
        borrow = u8::from(digit < less);
        out.push(b'0' + digit + 10 * borrow - less);
    }
    while out.last() == Some(&b'0') {
        out.pop();
    }
    out.reverse();
    out
}

/// Length of the number at the front of an encoding.
pub(super) fn length(encoded: &[u8]) -> Option<usize> {
    let (double, rest) = encoded.split_first_chunk::<DOUBLE_BYTES>()?;
    let bits = u64::from_be_bytes(*double);
    // The numbers between these two have nothing left over.
    if bits < ordered(EXACT_BELOW) && bits > ordered(-EXACT_BELOW) {
        return Some(DOUBLE_BYTES);
    }
    let (&kind, rest) = rest.split_first()?;
    let (length, _) = rest.split_first_chunk::<LENGTH_BYTES>().unwrap_or((&[0; 2], &[]));
    let length = match kind {
        SAME => return Some(DOUBLE_BYTES + 1),
        MORE => u16::from_be_bytes(*length),
        LESS => u16::from_be_bytes(length.map(|byte| !byte)),
        _ => return None,
    };
    Some(DOUBLE_BYTES + 1 + LENGTH_BYTES + usize::from(length))
}
