//! From JSON to the normal form, in CouchDB's three steps: operators and their arguments are checked,
//! fields are moved to their conditions, negations are moved inwards. Keeping the steps apart keeps the
//! order in which faults are reported.

use super::{Comparison, Condition, MAX_DEPTH, Pattern, Selector, single};
use crate::{
    find::{FieldPath, SelectorError, error::shown},
    json::{Number, Value},
};

type Result<T> = std::result::Result<T, SelectorError>;

pub(super) fn parse(selector: &Value) -> Result<Selector> {
    let object = selector.as_object().ok_or_else(|| SelectorError::NotAnObject(shown(selector)))?;
    if object.is_empty() {
        return Ok(Selector::Everything);
    }
    if is_deeper(selector, MAX_DEPTH) {
        return Err(SelectorError::TooDeep(MAX_DEPTH));
    }
    let selector = push_negations(push_fields(read(selector)?, &FieldPath::default())?, false);
    match &selector {
        Selector::Field(path, _) if path.is_empty() => Err(SelectorError::MissingFieldName),
        _ => Ok(selector),
    }
}

/// Whether a value has more levels than this.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let Some(left) = levels.checked_sub(1) else { return true };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper(item, left)),
        Value::Object(members) => members.iter().any(|(_, member)| is_deeper(member, left)),
        _ => false,
    }
}

/// A selector whose operators are checked.
enum Read {
    And(Vec<Read>),
    Or(Vec<Read>),
    Nor(Vec<Read>),
    Not(Box<Read>),
    /// A field's name as it was sent, and what is asked of it.
    Field(String, Box<Read>),
    /// An operator that stands behind the field it is about.
    Condition(Condition),
    /// `$elemMatch` and its like, their argument still to be normalised.
    Inner(Inner, Box<Read>),
    Text(Value),
}

#[derive(Clone, Copy)]
enum Inner {
    Elem,
    All,
    KeyMap,
}

fn read(value: &Value) -> Result<Read> {
    let equal = || Ok(Read::Condition(Condition::Compare(Comparison::Equal, value.clone())));
    let Some(object) = value.as_object() else { return equal() };
    let mut members = object.iter();
    match (members.next(), members.len()) {
        (None, _) => equal(),
        (Some((name, argument)), 0) => read_member(name, argument),
        _ => Ok(Read::And(
            object
                .iter()
                .map(|(name, argument)| read_member(name, argument))
                .collect::<Result<_>>()?,
        )),
    }
}

fn read_member(name: &str, argument: &Value) -> Result<Read> {
    if !name.starts_with('$') {
        return Ok(Read::Field(name.to_owned(), Box::new(read(argument)?)));
    }
    let bad = || bad_argument(name, argument);
    let all =
        || -> Result<Vec<Read>> { argument.as_array().ok_or_else(bad)?.iter().map(read).collect() };
    let one = || -> Result<Box<Read>> {
        argument.as_object().ok_or_else(bad)?;
        read(argument).map(Box::new)
    };
    match name {
        "$and" => Ok(Read::And(all()?)),
        "$or" => Ok(Read::Or(all()?)),
        "$nor" => Ok(Read::Nor(all()?)),
        "$not" => Ok(Read::Not(one()?)),
        "$elemMatch" => Ok(Read::Inner(Inner::Elem, one()?)),
        "$allMatch" => Ok(Read::Inner(Inner::All, one()?)),
        "$keyMapMatch" => Ok(Read::Inner(Inner::KeyMap, one()?)),
        "$text" => match argument {
            Value::String(_) | Value::Number(_) | Value::Bool(_) => {
                Ok(Read::Text(argument.clone()))
            }
            _ => Err(bad()),
        },
        "$where" | "$geoWithin" | "$geoIntersects" | "$near" | "$nearSphere" => {
            Err(SelectorError::Unsupported(name.to_owned()))
        }
        _ => read_condition(name, argument).map(Read::Condition),
    }
}

fn bad_argument(operator: &str, argument: &Value) -> SelectorError {
    SelectorError::BadArgument { operator: operator.to_owned(), argument: shown(argument) }
}

fn read_condition(operator: &str, argument: &Value) -> Result<Condition> {
    let bad = || bad_argument(operator, argument);
    let array = || argument.as_array().map(<[Value]>::to_vec).ok_or_else(bad);
    let compare = |comparison| Ok(Condition::Compare(comparison, argument.clone()));
    match (operator, argument) {
        ("$lt", _) => compare(Comparison::Less),
        ("$lte", _) => compare(Comparison::LessOrEqual),
        ("$eq", _) => compare(Comparison::Equal),
        ("$ne", _) => compare(Comparison::NotEqual),
        ("$gte", _) => compare(Comparison::GreaterOrEqual),
        ("$gt", _) => compare(Comparison::Greater),
        ("$in", _) => array().map(Condition::In),
        ("$nin", _) => array().map(Condition::NotIn),
        ("$all", _) => array().map(Condition::All),
        ("$exists", _) => argument.as_bool().map(Condition::Exists).ok_or_else(bad),
        ("$type", _) => {
            argument.as_str().map(|name| Condition::Type(name.to_owned())).ok_or_else(bad)
        }
        ("$size", _) => argument.as_u64().map(Condition::Size).ok_or_else(bad),
        ("$mod", Value::Array(items)) => read_mod(items).ok_or_else(bad),
        ("$mod", _) => Err(bad()),
        ("$regex", Value::String(pattern)) => {
            Pattern::new(pattern).map(Condition::Regex).ok_or_else(bad)
        }
        ("$beginsWith", Value::String(prefix)) => Ok(Condition::BeginsWith(prefix.clone())),
        _ => Err(SelectorError::InvalidOperator(operator.to_owned())),
    }
}

/// A divisor of zero, on which CouchDB stumbles at the first integer it meets, is refused here.
fn read_mod(items: &[Value]) -> Option<Condition> {
    match items {
        [Value::Number(Number::Int(divisor)), Value::Number(Number::Int(remainder))]
            if *divisor != 0 =>
        {
            Some(Condition::Mod { divisor: *divisor, remainder: *remainder })
        }
        _ => None,
    }
}

/// Moves fields to the conditions about them. `path` is the field around this part.
fn push_fields(read: Read, path: &FieldPath) -> Result<Selector> {
    let all = |list: Vec<Read>| {
        list.into_iter().map(|read| push_fields(read, path)).collect::<Result<_>>()
    };
    match read {
        Read::And(list) => Ok(Selector::And(all(list)?)),
        Read::Or(list) => Ok(Selector::Or(all(list)?)),
        Read::Nor(list) => Ok(Selector::Nor(all(list)?)),
        Read::Not(inner) => Ok(Selector::Not(Box::new(push_fields(*inner, path)?))),
        Read::Field(name, inner) => push_fields(*inner, &path.join(&FieldPath::parse(&name)?)),
        Read::Condition(condition) => Ok(Selector::Field(path.clone(), condition)),
        Read::Inner(kind, inner) => {
            let selector = Box::new(push_fields(*inner, &FieldPath::default())?);
            let condition = match kind {
                Inner::Elem => Condition::ElemMatch(selector),
                Inner::All => Condition::AllMatch(selector),
                Inner::KeyMap => Condition::KeyMapMatch(selector),
            };
            Ok(Selector::Field(path.clone(), condition))
        }
        Read::Text(query) if path.is_empty() => Ok(Selector::Text(query)),
        Read::Text(query) => {
            let selector = single("$default", single("$text", query));
            Err(SelectorError::BadField(shown(&selector)))
        }
    }
}

/// Moves negations inwards. `negate` says whether there is one around this part.
fn push_negations(selector: Selector, negate: bool) -> Selector {
    let all = |list: Vec<Selector>, negate| {
        list.into_iter().map(|selector| push_negations(selector, negate)).collect()
    };
    match (selector, negate) {
        (Selector::And(list), false) | (Selector::Or(list), true) => {
            Selector::And(all(list, negate))
        }
        (Selector::Or(list), false) | (Selector::And(list), true) => {
            Selector::Or(all(list, negate))
        }
        (Selector::Nor(list), false) => Selector::And(all(list, true)),
        (Selector::Nor(list), true) => Selector::Or(all(list, false)),
        (Selector::Not(inner), negate) => push_negations(*inner, !negate),
        (Selector::Field(path, condition), true) => Selector::Field(path, negated(condition)),
        (selector @ Selector::Text(_), true) => Selector::Not(Box::new(selector)),
        (selector, _) => selector,
    }
}

fn negated(condition: Condition) -> Condition {
    match condition {
        Condition::Compare(comparison, value) => Condition::Compare(comparison.negated(), value),
        Condition::In(values) => Condition::NotIn(values),
        Condition::NotIn(values) => Condition::In(values),
        Condition::Exists(exists) => Condition::Exists(!exists),
        condition => Condition::Not(Box::new(condition)),
    }
}
