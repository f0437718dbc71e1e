//! Arithmetic as Erlang does it: integers of any size exactly, doubles as soon as one takes part.

use std::cmp::Ordering;

use num_bigint::BigInt;

use crate::json::number::{is_float, write_float};

/// A number under way.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Num {
    Int(i128),
    Big(BigInt),
    Float(f64),
}

impl Num {
    pub(super) const ZERO: Num = Num::Int(0);

    /// Reads JSON as the scanner spells it; `None` if it is no number.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        if !matches!(json.first(), Some(b'-' | b'0'..=b'9')) {
            return None;
        }
        let text = std::str::from_utf8(json).ok()?;
        if is_float(json) {
            return text.parse().ok().map(Num::Float);
        }
        if let Ok(int) = text.parse::<i64>() {
            return Some(Num::Int(int.into()));
        }
        text.parse().map(Num::Int).or_else(|_| text.parse().map(Num::Big)).ok()
    }

    fn to_f64(&self) -> f64 {
        match self {
            Num::Int(int) => *int as f64,
            Num::Big(big) => big.to_string().parse().unwrap_or(f64::NAN),
            Num::Float(float) => *float,
        }
    }

    fn to_big(&self) -> Option<BigInt> {
        match self {
            Num::Int(int) => Some(BigInt::from(*int)),
            Num::Big(big) => Some(big.clone()),
            Num::Float(_) => None,
        }
    }

    fn compute(
        &self,
        other: &Num,
        ints: impl Fn(i128, i128) -> Option<i128>,
        bigs: impl Fn(BigInt, BigInt) -> BigInt,
        floats: impl Fn(f64, f64) -> f64,
    ) -> Num {
        if let (Num::Int(a), Num::Int(b)) = (self, other)
            && let Some(int) = ints(*a, *b)
        {
            return Num::Int(int);
        }
        match (self.to_big(), other.to_big()) {
            (Some(a), Some(b)) => Num::Big(bigs(a, b)),
            _ => Num::Float(floats(self.to_f64(), other.to_f64())),
        }
    }

    pub(super) fn add(&self, other: &Num) -> Num {
        self.compute(other, i128::checked_add, |a, b| a + b, |a, b| a + b)
    }

    pub(super) fn squared(&self) -> Num {
        self.compute(self, i128::checked_mul, |a, b| a * b, |a, b| a * b)
    }

    pub(super) fn compare(&self, other: &Num) -> Ordering {
        match (self, other) {
            (Num::Int(a), Num::Int(b)) => a.cmp(b),
            (Num::Float(a), Num::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            _ => match (self.to_big(), other.to_big()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => self.to_f64().partial_cmp(&other.to_f64()).unwrap_or(Ordering::Equal),
            },
        }
    }

    /// Appends it as JSON. A sum beyond the doubles has no JSON and is `null`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Num::Int(int) => out.extend_from_slice(itoa::Buffer::new().format(*int).as_bytes()),
            Num::Big(big) => out.extend_from_slice(big.to_string().as_bytes()),
            Num::Float(float) if float.is_finite() => write_float(*float, out),
            Num::Float(_) => out.extend_from_slice(b"null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn num(text: &str) -> Num {
        Num::parse(text.as_bytes()).unwrap()
    }

    fn written(num: &Num) -> String {
        let mut out = Vec::new();
        num.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_are_exact_and_doubles_win() {
        let cases = [
            ("1", "2", "3"),
            ("1", "2.0", "3.0"),
            ("0.1", "0.2", "0.30000000000000004"),
            ("9007199254740993", "1", "9007199254740994"),
            (
                "170141183460469231731687303715884105727",
                "1",
                "170141183460469231731687303715884105728",
            ),
            ("-5", "5", "0"),
        ];
        for (a, b, sum) in cases {
            assert_eq!(written(&num(a).add(&num(b))), sum);
        }
        assert_eq!(
            written(&num("100000000000000000000").squared()),
            format!("1{}", "0".repeat(40))
        );
        assert_eq!(written(&num("1e+308").squared()), "null");
        assert_eq!(num("2").compare(&num("2.5")), Ordering::Less);
        assert_eq!(Num::parse(b"\"1\""), None);
        assert_eq!(Num::parse(b"null"), None);
    }
}
