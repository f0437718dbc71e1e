//! Values of programs, and what they are as JSON.

use std::borrow::Cow;

use super::GiveUp;
use crate::{
    javascript::output::write_number,
    json::{self, raw, unescape},
};

/// A value. What comes from the document stays its text.
#[derive(Clone, Debug)]
pub(super) enum Value<'v> {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    /// A string of the document: what is between its quotes, as it is spelled.
    Spelled(&'v [u8]),
    String(Cow<'v, str>),
    /// An array or object of the document.
    Json(&'v [u8]),
    Array(Vec<Value<'v>>),
    Object(Vec<(&'v str, Value<'v>)>),
}

/// Digits that every integer can have and still be exact as a double.
const EXACT_DIGITS: usize = 15;

impl<'v> Value<'v> {
    /// The value of JSON text in CouchDB's spelling.
    pub(super) fn read(text: &'v [u8]) -> Result<Self, GiveUp> {
        Ok(match text {
            [b'"', inside @ .., b'"'] => Value::Spelled(inside),
            [b'{' | b'[', ..] => Value::Json(text),
            b"true" => Value::Bool(true),
            b"false" => Value::Bool(false),
            b"null" => Value::Null,
            number => Value::Number(read_number(number).ok_or(GiveUp)?),
        })
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Undefined | Value::Null => false,
            Value::Bool(bool) => *bool,
            Value::Number(number) => *number != 0.0 && !number.is_nan(),
            Value::Spelled(text) => !text.is_empty(),
            Value::String(text) => !text.is_empty(),
            Value::Json(_) | Value::Array(_) | Value::Object(_) => true,
        }
    }

    /// How many values it is made of, itself included.
    pub(super) fn count(&self) -> usize {
        match self {
            Value::Array(items) => items.iter().map(Value::count).sum::<usize>() + 1,
            Value::Object(members) => {
                members.iter().map(|(_, value)| value.count()).sum::<usize>() + 1
            }
            _ => 1,
        }
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined => "undefined",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::Spelled(_) | Value::String(_) => "string",
            Value::Null | Value::Json(_) | Value::Array(_) | Value::Object(_) => "object",
        }
    }

    pub(super) fn is_array(&self) -> bool {
        matches!(self, Value::Array(_) | Value::Json([b'[', ..]))
    }

    /// The text, if this is a string.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Value::Spelled(spelled) => Some(unescape(str::from_utf8(spelled).ok()?)),
            Value::String(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The member `name`, which needs no escapes and is not one that objects inherit.
    pub(super) fn member(&self, name: &str) -> Result<Value<'v>, GiveUp> {
        match self {
            Value::Json(text @ [b'{', ..]) => {
                raw::member(text, name).map_or(Ok(Value::Undefined), Value::read)
            }
            Value::Json(text) if name == "length" => Ok(number_of(raw::items(text).count())),
            Value::Spelled(_) | Value::String(_) if name == "length" => {
                let length = self.text().ok_or(GiveUp)?.encode_utf16().count();
                Ok(number_of(length))
            }
            _ => Err(GiveUp),
        }
    }

    /// The item at a place that is a number.
    pub(super) fn item(&self, place: &Value<'_>) -> Result<Value<'v>, GiveUp> {
        /// A loop by places over a longer array would look at it too often.
        const MAX_PLACE: f64 = 1000.0;
        let place = place.number().ok_or(GiveUp)?;
        if !(0.0..=MAX_PLACE).contains(&place) || place.fract() != 0.0 {
            return Err(GiveUp);
        }
        match self {
            Value::Json(text @ [b'[', ..]) => {
                raw::items(text).nth(place as usize).map_or(Ok(Value::Undefined), Value::read)
            }
            _ => Err(GiveUp),
        }
    }

    /// Appends what JSON.stringify makes of the value inside an array.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), GiveUp> {
        match self {
            Value::Undefined | Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Number(number) => write_number(*number, out),
            Value::Spelled(spelled) => {
                out.push(b'"');
                out.extend_from_slice(spelled);
                out.push(b'"');
            }
            Value::String(text) => json::write_string(text, out),
            Value::Json(text) => write_json(text, out)?,
            Value::Array(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    item.write(out)?;
                }
                out.push(b']');
            }
            Value::Object(members) => write_object(members, out)?,
        }
        Ok(())
    }
}

fn write_object(members: &[(&str, Value<'_>)], out: &mut Vec<u8>) -> Result<(), GiveUp> {
    let mut before = b'{';
    for (name, value) in members {
        if matches!(value, Value::Undefined) {
            continue;
        }
        out.push(before);
        before = b',';
        json::write_string(name, out);
        out.push(b':');
        value.write(out)?;
    }
    if before == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
    Ok(())
}

/// A count as a number; there are never so many things that it could not be exact.
pub(super) fn number_of<'v>(count: usize) -> Value<'v> {
    Value::Number(count as f64)
}

fn read_number(text: &[u8]) -> Option<f64> {
    if !matches!(text.first()?, b'-' | b'0'..=b'9') {
        return None;
    }
    if text.len() <= EXACT_DIGITS && text.iter().all(u8::is_ascii_digit) {
        let digits = text.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
        return Some(digits as f64);
    }
    str::from_utf8(text).ok()?.parse().ok()
}

/// Appends an array or object of a document as the interpreter would: with its numbers, and the order it
/// gives to names.
fn write_json(text: &[u8], out: &mut Vec<u8>) -> Result<(), GiveUp> {
    let mut at = 0;
    let mut copied = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                let inside = text.get(at + 1..).ok_or(GiveUp)?;
                let length = json::value::string_length(inside).ok_or(GiveUp)?;
                let end = at + length + 2;
                // Names made of digits come first, whatever their place was.
                let name = inside.get(..length).unwrap_or_default();
                let digits = !name.is_empty() && name.iter().all(u8::is_ascii_digit);
                if digits && text.get(end) == Some(&b':') {
                    return Err(GiveUp);
                }
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}');
                let rest = text.get(at..).unwrap_or_default();
                let length = rest.iter().position(ends).unwrap_or(rest.len());
                let number = rest.get(..length).unwrap_or_default();
                if number.len() > EXACT_DIGITS || !number.iter().all(u8::is_ascii_digit) {
                    out.extend_from_slice(text.get(copied..at).unwrap_or_default());
                    write_number(read_number(number).ok_or(GiveUp)?, out);
                    copied = at + length;
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    out.extend_from_slice(text.get(copied..).unwrap_or_default());
    Ok(())
}
