//! `_sum`.

use super::number::Num;
use crate::json::{Object, Value, raw};

/// What CouchDB says of values that cannot be summed.
const REASON: &str = "The _sum function requires that map values be numbers, arrays of numbers, or \
    objects. Objects cannot be mixed with other data structures. Objects can be arbitrarily nested, \
    provided that the values for all fields are themselves numbers, arrays of numbers, or objects.";
/// The value of the member `error` of a sum that failed.
const ERROR: &str = "builtin_reduce_error";

/// A sum so far.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sum {
    Number(Num),
    Array(Vec<Num>),
    /// Members by name; two sums of the same members are the same.
    Object(std::collections::BTreeMap<Vec<u8>, Sum>),
    /// It failed; the JSON that says so.
    Failed(Vec<u8>),
}

impl Default for Sum {
    fn default() -> Self {
        Sum::Number(Num::ZERO)
    }
}

impl Sum {
    /// Adds a value, or another sum, given as JSON.
    pub(super) fn add(&mut self, json: &[u8]) {
        match self {
            Sum::Failed(_) => return,
            // What nearly all views sum.
            Sum::Number(sum) => {
                if let Some(num) = Num::parse(json) {
                    *sum = sum.add(&num);
                    return;
                }
            }
            _ => {}
        }
        let added = match read(json) {
            Some(value) => join(std::mem::take(self), value),
            None => None,
        };
        *self = added.unwrap_or_else(|| failed(json));
    }

    /// The sum as JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Sum::Number(num) => num.write(out),
            Sum::Failed(json) => out.extend_from_slice(json),
            Sum::Array(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Sum::Object(members) => {
                out.push(b'{');
                for (at, (name, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    out.push(b'"');
                    out.extend_from_slice(name);
                    out.extend_from_slice(b"\":");
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Reads what may be summed.
fn read(json: &[u8]) -> Option<Sum> {
    match json.first() {
        Some(b'[') => raw::items(json).map(Num::parse).collect::<Option<_>>().map(Sum::Array),
        Some(b'{') => {
            let error = raw::member(json, "error").and_then(raw::string);
            if error == Some(ERROR.as_bytes()) {
                return Some(Sum::Failed(json.to_vec()));
            }
            let member = |(name, value): (&[u8], &[u8])| Some((name.to_vec(), read(value)?));
            raw::members(json).map(member).collect::<Option<_>>().map(Sum::Object)
        }
        _ => Num::parse(json).map(Sum::Number),
    }
}

/// `None` if the two cannot be added.
fn join(a: Sum, b: Sum) -> Option<Sum> {
    Some(match (a, b) {
        (failed @ Sum::Failed(_), _) | (_, failed @ Sum::Failed(_)) => failed,
        (Sum::Number(a), Sum::Number(b)) => Sum::Number(a.add(&b)),
        (Sum::Array(a), Sum::Array(b)) => Sum::Array(join_arrays(a, b)),
        (Sum::Number(number), Sum::Array(array)) | (Sum::Array(array), Sum::Number(number)) => {
            Sum::Array(join_arrays(array, vec![number]))
        }
        (Sum::Object(mut a), Sum::Object(b)) => {
            for (name, value) in b {
                let value = match a.remove(&name) {
                    Some(old) => join(old, value)?,
                    None => value,
                };
                a.insert(name, value);
            }
            Sum::Object(a)
        }
        // Nothing summed so far.
        (Sum::Number(Num::Int(0)), object @ Sum::Object(_))
        | (object @ Sum::Object(_), Sum::Number(Num::Int(0))) => object,
        (Sum::Object(_), _) | (_, Sum::Object(_)) => return None,
    })
}

fn join_arrays(a: Vec<Num>, b: Vec<Num>) -> Vec<Num> {
    let (mut long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    for (sum, num) in long.iter_mut().zip(short) {
        *sum = sum.add(&num);
    }
    long
}

fn failed(cause: &[u8]) -> Sum {
    Sum::Failed(failure(REASON, Some(cause)))
}

/// The JSON of a sum that failed.
pub(super) fn failure(reason: &str, cause: Option<&[u8]>) -> Vec<u8> {
    let mut members = Object::new();
    members.insert("error", ERROR);
    members.insert("reason", reason);
    if let Some(cause) = cause.and_then(|cause| Value::from_canonical(cause).ok()) {
        members.insert("caused_by", cause);
    }
    let mut out = Vec::new();
    members.write(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[&str]) -> String {
        let mut sum = Sum::default();
        values.iter().for_each(|value| sum.add(value.as_bytes()));
        let mut out = Vec::new();
        sum.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_arrays_and_objects_are_summed() {
        assert_eq!(sum(&[]), "0");
        assert_eq!(sum(&["1", "2.5"]), "3.5");
        assert_eq!(sum(&["[1,2]", "[3]", "10"]), "[14,2]");
        assert_eq!(sum(&["5", "[1,2]"]), "[6,2]");
        assert_eq!(
            sum(&[r#"{"b":1,"a":{"x":[1,2]}}"#, r#"{"a":{"x":[1],"y":2},"c":3}"#]),
            r#"{"a":{"x":[2,2],"y":2},"b":1,"c":3}"#
        );
    }

    #[test]
    fn what_cannot_be_summed_fails_for_good() {
        for values in
            [&["\"x\""][..], &["1", "null"], &["{\"a\":1}", "1"], &["[\"a\"]"], &["{\"a\":\"b\"}"]]
        {
            let failed = sum(values);
            assert!(failed.starts_with(r#"{"error":"builtin_reduce_error","reason":"The _sum"#));
            assert!(failed.ends_with(&format!("\"caused_by\":{}}}", values[values.len() - 1])));
            assert_eq!(sum(&[&failed, "1"]), failed);
            assert_eq!(sum(&["1", &failed]), failed);
        }
    }
}
