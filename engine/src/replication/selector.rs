//! A selector in the form that CouchDB hashes: its normal form, fields by their whole path, members in
//! the order of their names.
//!
//! It is made from the selector's JSON and not from [`crate::find::Selector`], which says the same in
//! fewer ways: what matters here is which of them CouchDB chose.

use crate::{
    error::Result,
    find::Selector,
    json::{Object, Value},
};

/// The normal form of a selector.
///
/// # Errors
/// Those of a selector that makes no sense.
pub(super) fn normal(selector: &Value) -> Result<Value> {
    Selector::parse(selector)?;
    if selector.as_object().is_some_and(Object::is_empty) {
        return Ok(selector.clone());
    }
    Ok(sorted(negations(fields(&operators(selector), ""))))
}

/// One member, which is what every object of a normal form has.
fn single(name: &str, value: Value) -> Value {
    Value::Object([(name.to_owned(), value)].into_iter().collect())
}

fn only(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.iter().next()
}

fn each(list: &Value, change: impl Fn(&Value) -> Value) -> Value {
    Value::Array(
        list.as_array().map(|items| items.iter().map(change).collect()).unwrap_or_default(),
    )
}

/// Makes `$and` and `$eq` explicit.
fn operators(selector: &Value) -> Value {
    match selector {
        Value::Object(members) if members.len() > 1 => {
            let parts = members.iter().map(|(name, value)| operators(&single(name, value.clone())));
            single("$and", Value::Array(parts.collect()))
        }
        Value::Object(members) if members.is_empty() => single("$eq", selector.clone()),
        Value::Object(_) => {
            let Some((name, value)) = only(selector) else { return selector.clone() };
            match name {
                "$and" | "$or" | "$nor" => single(name, each(value, operators)),
                "$not" | "$elemMatch" | "$allMatch" | "$keyMapMatch" => {
                    single(name, operators(value))
                }
                "$text" => single("$default", selector.clone()),
                _ if name.starts_with('$') => selector.clone(),
                _ => single(name, operators(value)),
            }
        }
        value => single("$eq", value.clone()),
    }
}

/// Moves the names of fields down to their conditions.
fn fields(selector: &Value, path: &str) -> Value {
    let Some((name, value)) = only(selector) else { return selector.clone() };
    match name {
        "$and" | "$or" | "$nor" => single(name, each(value, |part| fields(part, path))),
        "$not" => single(name, fields(value, path)),
        "$elemMatch" | "$allMatch" | "$keyMapMatch" => {
            single(path, single(name, fields(value, "")))
        }
        "$default" => selector.clone(),
        _ if name.starts_with('$') => single(path, selector.clone()),
        _ => {
            let name = unescaped(name);
            let joined = if path.is_empty() { name } else { format!("{path}.{name}") };
            fields(value, &joined)
        }
    }
}

/// A field's name as CouchDB puts it together again: escaped dots lose their backslash.
fn unescaped(name: &str) -> String {
    name.replace("\\.", ".")
}

/// Moves negations down to the conditions.
fn negations(selector: Value) -> Value {
    let Some((name, value)) = only(&selector) else { return selector };
    match name {
        "$not" => negated(value),
        "$nor" => single("$and", each(value, negated)),
        "$and" | "$or" => single(name, each(value, |part| negations(part.clone()))),
        "$elemMatch" | "$allMatch" | "$keyMapMatch" => single(name, negations(value.clone())),
        _ => selector,
    }
}

fn negated(selector: &Value) -> Value {
    let Some((name, value)) = only(selector) else { return selector.clone() };
    let opposite = |name: &str| single(name, value.clone());
    match name {
        "$not" => negations(value.clone()),
        "$nor" => single("$or", each(value, |part| negations(part.clone()))),
        "$and" => single("$or", each(value, negated)),
        "$or" => single("$and", each(value, negated)),
        "$lt" => opposite("$gte"),
        "$lte" => opposite("$gt"),
        "$eq" => opposite("$ne"),
        "$ne" => opposite("$eq"),
        "$gte" => opposite("$lt"),
        "$gt" => opposite("$lte"),
        "$in" => opposite("$nin"),
        "$nin" => opposite("$in"),
        "$exists" => single(name, Value::Bool(value.as_bool() == Some(false))),
        _ if name.starts_with('$') => single("$not", selector.clone()),
        _ => single(name, negated(value)),
    }
}

/// Sorts the members of all objects by name.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(selector: &str, expected: &str) {
        let normal = normal(&Value::parse(selector.as_bytes()).unwrap()).unwrap();
        assert_eq!(String::from_utf8(normal.to_json()).unwrap(), expected);
    }

    #[test]
    fn normal_forms() {
        check("{}", "{}");
        check(r#"{"a":1}"#, r#"{"a":{"$eq":1}}"#);
        check(
            r#"{"b":{"c":{"$gt":1,"$lt":5}}}"#,
            r#"{"$and":[{"b.c":{"$gt":1}},{"b.c":{"$lt":5}}]}"#,
        );
        check(
            r#"{"$not":{"$or":[{"a":1},{"b":{"$gt":2}}]}}"#,
            r#"{"$and":[{"a":{"$ne":1}},{"b":{"$lte":2}}]}"#,
        );
        check(r#"{"$nor":[{"a":{"$exists":true}}]}"#, r#"{"$and":[{"a":{"$exists":false}}]}"#);
        check(r#"{"a":{"$eq":{"z":1,"y":2}}}"#, r#"{"a":{"$eq":{"y":2,"z":1}}}"#);
        check(r#"{"a":{"$not":{"$size":1}}}"#, r#"{"a":{"$not":{"$size":1}}}"#);
        check(
            r#"{"a":{"$elemMatch":{"$gte":80,"$lt":85}}}"#,
            r#"{"a":{"$elemMatch":{"$and":[{"":{"$gte":80}},{"":{"$lt":85}}]}}}"#,
        );
    }

    #[test]
    fn selectors_without_sense_are_refused() {
        let selector = Value::parse(br#"{"a":{"$nosuch":1}}"#).unwrap();
        assert!(normal(&selector).is_err());
    }
}
