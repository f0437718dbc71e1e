//! Does a document match? Fields are looked up in the document's text; only the values asked about are
//! taken out of it.

use std::cmp::Ordering;

use super::{Comparison, Condition, Selector};
use crate::{
    collation::{compare, compare_strings},
    find::path::Found,
    json::{Number, Value, raw, unescape},
};

pub(super) fn matches(selector: &Selector, json: &[u8]) -> bool {
    match selector {
        Selector::Everything | Selector::Text(_) => true,
        Selector::And(all) => all.iter().all(|selector| matches(selector, json)),
        Selector::Or(any) => any.is_empty() || any.iter().any(|selector| matches(selector, json)),
        Selector::Nor(none) => !none.iter().any(|selector| matches(selector, json)),
        Selector::Not(selector) => !matches(selector, json),
        Selector::Field(path, condition) => match path.find(json) {
            Found::Value(value) if path.parts().eq(["_id"]) => {
                holds(condition, value, Order::OfIds)
            }
            Found::Value(value) => holds(condition, value, Order::Collated),
            Found::Nothing => *condition == Condition::Exists(false),
            Found::NoWay => false,
        },
    }
}

/// An order of values.
#[derive(Clone, Copy)]
enum Order {
    /// That of views.
    Collated,
    /// That of a document's id and anything it is compared with: CouchDB takes ids as bytes, and strings come
    /// after all other values.
    OfIds,
}

impl Order {
    fn compare(self, a: &Value, b: &Value) -> Ordering {
        match (self, a, b) {
            (_, Value::String(a), Value::String(b)) => self.compare_strings(a, b),
            (Order::OfIds, Value::String(_), _) => Ordering::Greater,
            (Order::OfIds, _, Value::String(_)) => Ordering::Less,
            _ => compare(a, b),
        }
    }

    fn compare_strings(self, a: &str, b: &str) -> Ordering {
        match self {
            Order::Collated => compare_strings(a, b),
            Order::OfIds => a.cmp(b),
        }
    }
}

/// Whether a comparison holds for a field's value. Strings, which most are, are compared where they stand.
fn compares(comparison: Comparison, argument: &Value, json: &[u8], order: Order) -> bool {
    let (Value::String(argument), Some(text)) = (argument, text(json)) else {
        return value(json).is_some_and(|value| comparison.holds(order.compare(&value, argument)));
    };
    let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    if is_equality && is_plain(&text) && is_plain(argument) {
        // No two such strings collate as equal, so there is no need to know which comes first.
        return (*text == **argument) == (comparison == Comparison::Equal);
    }
    comparison.holds(order.compare_strings(&text, argument))
}

/// Whether all characters are printable ASCII, of which none is ignored by the collation.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// True if the condition holds for a field's value.
fn holds(condition: &Condition, json: &[u8], order: Order) -> bool {
    match condition {
        Condition::Exists(exists) => *exists,
        Condition::Not(condition) => !holds(condition, json, order),
        Condition::Type(name) => type_name(json) == name,
        Condition::Size(size) => is_array(json) && raw::items(json).count() as u64 == *size,
        Condition::ElemMatch(selector) => {
            is_array(json) && raw::items(json).any(|item| matches(selector, item))
        }
        Condition::AllMatch(selector) => {
            let mut items = raw::items(json).peekable();
            is_array(json) && items.peek().is_some() && items.all(|item| matches(selector, item))
        }
        Condition::KeyMapMatch(selector) => raw::members(json).any(|(name, _)| {
            let quoted = [b"\"", name, b"\""].concat();
            matches(selector, &quoted)
        }),
        Condition::Regex(pattern) => text(json).is_some_and(|text| pattern.is_match(&text)),
        Condition::BeginsWith(prefix) => text(json).is_some_and(|text| text.starts_with(prefix)),
        Condition::Compare(comparison, argument) => compares(*comparison, argument, json, order),
        Condition::In(arguments) => {
            value(json).is_some_and(|value| is_in(&value, arguments, order))
        }
        Condition::NotIn(arguments) => {
            value(json).is_some_and(|value| !is_in(&value, arguments, order))
        }
        Condition::Mod { divisor, remainder } => {
            value(json).and_then(|value| rem(&value, *divisor)) == Some(*remainder)
        }
        Condition::All(arguments) => value(json).is_some_and(|value| has_all(&value, arguments)),
    }
}

fn value(json: &[u8]) -> Option<Value> {
    Value::from_canonical(json).ok()
}

fn text(json: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    std::str::from_utf8(raw::string(json)?).ok().map(unescape)
}

fn is_array(json: &[u8]) -> bool {
    json.starts_with(b"[")
}

fn type_name(json: &[u8]) -> &'static str {
    match json.first() {
        Some(b'n') => "null",
        Some(b't' | b'f') => "boolean",
        Some(b'"') => "string",
        Some(b'[') => "array",
        Some(b'{') => "object",
        _ => "number",
    }
}

/// True if the value, or for an array one of its items, equals one of `arguments`.
fn is_in(value: &Value, arguments: &[Value], order: Order) -> bool {
    let equals_one =
        |value: &Value| arguments.iter().any(|argument| order.compare(value, argument).is_eq());
    match value {
        Value::Array(items) => items.iter().any(equals_one),
        value => equals_one(value),
    }
}

/// True if the value is an array that has all of `arguments`, or is the only one of them. Here `1` is
/// not `1.0`, and strings are equal only if they are the same.
fn has_all(value: &Value, arguments: &[Value]) -> bool {
    let Value::Array(items) = value else { return false };
    match arguments {
        [] => false,
        [Value::Array(only)] if only == items => true,
        arguments => arguments.iter().all(|argument| items.contains(argument)),
    }
}

/// The remainder of an integer, with the sign of the dividend.
fn rem(value: &Value, divisor: i64) -> Option<i64> {
    match value {
        // There is no remainder but 0 where the quotient overflows.
        Value::Number(Number::Int(int)) => Some(int.checked_rem(divisor).unwrap_or(0)),
        Value::Number(Number::Big(digits)) => {
            let divisor = i128::from(divisor).abs();
            let magnitude =
                digits.bytes().filter(u8::is_ascii_digit).fold(0, |rem: i128, digit| {
                    (rem * 10 + i128::from(digit - b'0')).checked_rem(divisor).unwrap_or(0)
                });
            let signed = if digits.starts_with('-') { -magnitude } else { magnitude };
            i64::try_from(signed).ok()
        }
        _ => None,
    }
}
