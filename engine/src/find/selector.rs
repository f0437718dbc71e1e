//! Selectors: reading one, bringing it into normal form, matching documents against it.
//!
//! * this file: the normal form
//! * `parse`: from JSON to the normal form, as CouchDB brings it about
//! * `matching`: does a document match?
//! * `pattern`: regular expressions

mod matching;
mod parse;
mod pattern;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use super::{FieldPath, SelectorError};
use crate::json::{Object, Value};
pub use pattern::Pattern;

/// Most levels of nested arrays and objects in a selector.
pub const MAX_DEPTH: usize = 128;

/// A selector in normal form: conditions on fields, joined by `and` and `or`.
///
/// ```
/// use settee_engine::{find::Selector, json::Value};
///
/// let selector = Value::parse(br#"{"age": {"$gt": 20, "$lt": 40}, "$not": {"name": "Bob"}}"#)?;
/// let selector = Selector::parse(&selector)?;
/// assert!(selector.matches(br#"{"_id":"1","name":"Ada","age":36}"#));
/// assert!(!selector.matches(br#"{"_id":"2","name":"Bob","age":36}"#));
/// # Ok::<(), settee_engine::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Selector {
    /// `{}`: any document.
    Everything,
    /// All of these; true if there are none.
    And(Vec<Selector>),
    /// One of these; true if there are none.
    Or(Vec<Selector>),
    /// Not this. Remains only inside `$elemMatch` and its like: elsewhere negations are moved to the
    /// conditions.
    Not(Box<Selector>),
    /// None of these. Remains only where `Not` does.
    Nor(Vec<Selector>),
    /// A condition on a field.
    Field(FieldPath, Condition),
    /// `$text`: needs a text index; matches any document.
    Text(Value),
}

/// What is asked of a field that is there.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Comparison in the order of views: `$lt`, `$lte`, `$eq`, `$ne`, `$gte`, `$gt`.
    Compare(Comparison, Value),
    /// `$in`: equal to one of these, or an array with an item that is.
    In(Vec<Value>),
    /// `$nin`: not so.
    NotIn(Vec<Value>),
    /// `$exists`: the field is there (or is not).
    Exists(bool),
    /// `$type`
    Type(String),
    /// `$mod`: an integer that leaves this remainder (with the sign of the dividend) when divided.
    Mod {
        /// Not zero.
        divisor: i64,
        /// The remainder.
        remainder: i64,
    },
    /// `$regex`: a string in which the pattern is found.
    Regex(Pattern),
    /// `$beginsWith`: a string with this prefix.
    BeginsWith(String),
    /// `$all`: an array that has all of these.
    All(Vec<Value>),
    /// `$size`: an array of this length.
    Size(u64),
    /// `$elemMatch`: an array with an item that matches.
    ElemMatch(Box<Selector>),
    /// `$allMatch`: an array, not empty, whose items all match.
    AllMatch(Box<Selector>),
    /// `$keyMapMatch`: an object with a name that matches.
    KeyMapMatch(Box<Selector>),
    /// The field is there and the condition does not hold.
    Not(Box<Condition>),
}

/// A comparison's operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `$lt`
    Less,
    /// `$lte`
    LessOrEqual,
    /// `$eq`
    Equal,
    /// `$ne`
    NotEqual,
    /// `$gte`
    GreaterOrEqual,
    /// `$gt`
    Greater,
}

impl Comparison {
    /// True if a value in this order to the argument satisfies the comparison.
    #[must_use]
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::GreaterOrEqual => order.is_ge(),
            Comparison::Greater => order.is_gt(),
        }
    }

    fn negated(self) -> Self {
        match self {
            Comparison::Less => Comparison::GreaterOrEqual,
            Comparison::LessOrEqual => Comparison::Greater,
            Comparison::Equal => Comparison::NotEqual,
            Comparison::NotEqual => Comparison::Equal,
            Comparison::GreaterOrEqual => Comparison::Less,
            Comparison::Greater => Comparison::LessOrEqual,
        }
    }

    fn operator(self) -> &'static str {
        match self {
            Comparison::Less => "$lt",
            Comparison::LessOrEqual => "$lte",
            Comparison::Equal => "$eq",
            Comparison::NotEqual => "$ne",
            Comparison::GreaterOrEqual => "$gte",
            Comparison::Greater => "$gt",
        }
    }
}

impl Selector {
    /// Reads a selector and brings it into normal form.
    ///
    /// # Errors
    /// [`SelectorError`], as CouchDB answers.
    pub fn parse(selector: &Value) -> Result<Self, SelectorError> {
        parse::parse(selector)
    }

    /// True if the document matches. It must be in CouchDB's spelling, as
    /// [`crate::document::DocumentView`] writes it.
    #[must_use]
    pub fn matches(&self, document: &[u8]) -> bool {
        matching::matches(self, document)
    }

    /// The normal form as JSON, with fields as dotted names, as `_explain` shows it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let list = |selectors: &[Selector]| {
            Value::Array(selectors.iter().map(Selector::to_value).collect())
        };
        match self {
            Selector::Everything => Value::Object(Object::new()),
            Selector::And(all) => single("$and", list(all)),
            Selector::Or(any) => single("$or", list(any)),
            Selector::Nor(none) => single("$nor", list(none)),
            Selector::Not(not) => single("$not", not.to_value()),
            Selector::Field(path, condition) => single(&path.to_string(), condition.to_value()),
            Selector::Text(query) => single("$default", single("$text", query.clone())),
        }
    }
}

impl Condition {
    fn to_value(&self) -> Value {
        match self {
            Condition::Compare(comparison, value) => single(comparison.operator(), value.clone()),
            Condition::In(values) => single("$in", values.clone()),
            Condition::NotIn(values) => single("$nin", values.clone()),
            Condition::Exists(exists) => single("$exists", *exists),
            Condition::Type(name) => single("$type", name.as_str()),
            Condition::Mod { divisor, remainder } => {
                single("$mod", vec![Value::from(*divisor), Value::from(*remainder)])
            }
            Condition::Regex(pattern) => single("$regex", pattern.as_str()),
            Condition::BeginsWith(prefix) => single("$beginsWith", prefix.as_str()),
            Condition::All(values) => single("$all", values.clone()),
            Condition::Size(size) => single("$size", *size),
            Condition::ElemMatch(selector) => single("$elemMatch", selector.to_value()),
            Condition::AllMatch(selector) => single("$allMatch", selector.to_value()),
            Condition::KeyMapMatch(selector) => single("$keyMapMatch", selector.to_value()),
            Condition::Not(condition) => single("$not", condition.to_value()),
        }
    }
}

/// Calls `field` with each field the selector asks about, outside of `$elemMatch` and its like.
pub(super) fn fields<'s>(
    selector: &'s Selector,
    field: &mut dyn FnMut(&'s FieldPath, &'s Condition),
) {
    match selector {
        Selector::Everything | Selector::Text(_) => {}
        Selector::And(list) | Selector::Or(list) | Selector::Nor(list) => {
            list.iter().for_each(|selector| fields(selector, field));
        }
        Selector::Not(selector) => fields(selector, field),
        Selector::Field(path, condition) => field(path, condition),
    }
}

fn single(name: &str, value: impl Into<Value>) -> Value {
    let mut object = Object::new();
    object.insert(name, value);
    Value::Object(object)
}
