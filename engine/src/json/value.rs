//! An owned JSON value, for the things that are looked into rather than stored: selectors, options,
//! security objects.

use super::{Number, Scanner, unescape, write_string};
use crate::error::{Error, Result};

/// A JSON value. Objects keep the order of their members, integers all their digits.
///
/// ```
/// use settee_engine::json::Value;
///
/// let value = Value::parse(br#"{"limit": 25, "sort": ["a", "b"]}"#)?;
/// assert_eq!(value.get("limit").and_then(Value::as_i64), Some(25));
/// assert_eq!(value.to_json(), br#"{"limit":25,"sort":["a","b"]}"#);
/// # Ok::<(), settee_engine::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Object),
}

/// The members of an object, in order; no name occurs twice in one that was parsed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// An object without members.
    #[must_use]
    pub fn new() -> Self {
        Object::default()
    }

    /// The value of the member `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Sets the member `name`, at the end if it is new.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Takes the member `name` out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// The members in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Value)> for Object {
    /// Takes the members as they are: the caller sees to it that no name occurs twice.
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(members: I) -> Self {
        Object(members.into_iter().collect())
    }
}

impl IntoIterator for Object {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Value {
    /// Reads a text that is one JSON value.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] if it is not, as [`Scanner::value`].
    pub fn parse(text: &[u8]) -> Result<Self> {
        let mut scanner = Scanner::new(text)?;
        let mut out = Vec::with_capacity(text.len());
        scanner.value(&mut out)?;
        scanner.end()?;
        Value::from_canonical(&out)
    }

    /// Reads a text that [`Scanner`] wrote, such as a stored body.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] if the text is not one that the scanner writes.
    pub fn from_canonical(text: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(text).map_err(|_| Error::InvalidJson)?;
        let mut reader = CanonicalReader { rest: text, depth: 0 };
        let value = reader.value().ok_or(Error::InvalidJson)?;
        if reader.rest.is_empty() { Ok(value) } else { Err(Error::InvalidJson) }
    }

    /// Appends the value in CouchDB's spelling.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Number(number) => number.write(out),
            Value::String(string) => write_string(string, out),
            Value::Array(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Value::Object(object) => object.write(out),
        }
    }

    /// The value in CouchDB's spelling.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// The member `name`, if this is an object that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.as_object()?.get(name)
    }

    /// The members, if this is an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The items, if this is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The text, if this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(string) => Some(string),
            _ => None,
        }
    }

    /// The number, if this is an integer of up to 64 bits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    /// The number, if this is an integer of up to 64 bits and not negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.as_i64().and_then(|int| u64::try_from(int).ok())
    }

    /// The truth value, if this is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(bool) => Some(*bool),
            _ => None,
        }
    }
}

impl Object {
    /// Appends the object in CouchDB's spelling.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (name, value)) in self.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(name, out);
            out.push(b':');
            value.write(out);
        }
        out.push(b'}');
    }
}

impl From<bool> for Value {
    fn from(bool: bool) -> Self {
        Value::Bool(bool)
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Self {
        Value::Number(Number::Int(int))
    }
}

impl From<u64> for Value {
    fn from(int: u64) -> Self {
        let number =
            i64::try_from(int).map_or_else(|_| Number::Big(int.to_string().into()), Number::Int);
        Value::Number(number)
    }
}

impl From<f64> for Value {
    /// What is no number becomes null, as in JavaScript.
    fn from(float: f64) -> Self {
        if float.is_finite() { Value::Number(Number::Float(float)) } else { Value::Null }
    }
}

impl From<&str> for Value {
    fn from(string: &str) -> Self {
        Value::String(string.to_owned())
    }
}

impl From<String> for Value {
    fn from(string: String) -> Self {
        Value::String(string)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Value::Object(object)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Value::Array(items)
    }
}

/// Builds a value from text without blanks whose strings and numbers are in CouchDB's spelling.
struct CanonicalReader<'t> {
    rest: &'t str,
    depth: usize,
}

impl<'t> CanonicalReader<'t> {
    fn value(&mut self) -> Option<Value> {
        match self.rest.as_bytes().first()? {
            b'"' => Some(Value::String(self.string()?)),
            b'[' => self.nested(Self::array),
            b'{' => self.nested(Self::object),
            b't' => self.literal("true", Value::Bool(true)),
            b'f' => self.literal("false", Value::Bool(false)),
            b'n' => self.literal("null", Value::Null),
            _ => self.number(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Option<Value>) -> Option<Value> {
        if self.depth == super::MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn literal(&mut self, word: &str, value: Value) -> Option<Value> {
        self.accept(word).then_some(value)
    }

    fn accept(&mut self, word: &str) -> bool {
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn number(&mut self) -> Option<Value> {
        let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}');
        let length = self.rest.as_bytes().iter().position(ends).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at_checked(length)?;
        let spells_number =
            text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e'));
        if !spells_number || !text.ends_with(|last: char| last.is_ascii_digit()) {
            return None;
        }
        self.rest = rest;
        Number::from_canonical(text).map(Value::Number)
    }

    fn string(&mut self) -> Option<String> {
        let text = self.rest.strip_prefix('"')?;
        let length = string_length(text.as_bytes())?;
        let (inside, rest) = text.split_at_checked(length)?;
        self.rest = rest.get(1..)?;
        Some(unescape(inside).into_owned())
    }

    fn array(&mut self) -> Option<Value> {
        self.accept("[");
        let mut items = Vec::new();
        if self.accept("]") {
            return Some(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            if !self.accept(",") {
                return self.accept("]").then_some(Value::Array(items));
            }
        }
    }

    fn object(&mut self) -> Option<Value> {
        self.accept("{");
        let mut members = Vec::new();
        if self.accept("}") {
            return Some(Value::Object(Object(members)));
        }
        loop {
            let name = self.string()?;
            if !self.accept(":") {
                return None;
            }
            members.push((name, self.value()?));
            if !self.accept(",") {
                return self.accept("}").then_some(Value::Object(Object(members)));
            }
        }
    }
}

/// Length of a string's inside up to its closing quote.
pub(crate) fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(found) == Some(&b'"') {
            return Some(found);
        }
        at = found + 2;
    }
}
