//! Rewrites given as a list of rules: the first that fits says where to go.

use http::StatusCode;
use settee_engine::json::{Object, Value};

use super::response::text;
use crate::http::{Failure, Query};

/// Parameters whose values are JSON.
const JSON_PARAMETERS: [&str; 6] = ["key", "keys", "startkey", "start_key", "endkey", "end_key"];

/// Where a request goes.
#[derive(Debug, PartialEq)]
pub(super) struct Target {
    /// Relative to the design document.
    pub(super) path: String,
    /// Names and values, not encoded.
    pub(super) query: Vec<(String, String)>,
}

/// What the parts of a pattern stand for, in the order they were found. `*` is the rest of the path.
type Bindings = Vec<(String, Value)>;

/// The target of the first rule that fits the request; `None` if none does.
///
/// # Errors
/// 500 `invalid_rewrite_target` if that rule has no target.
pub(super) fn find(
    rules: &[Value],
    method: &str,
    path: &[&str],
    query: &Query,
) -> Result<Option<Target>, Failure> {
    for rule in rules {
        let wanted = rule.get("method").map(text);
        if wanted.is_some_and(|wanted| wanted != "*" && wanted != method) {
            continue;
        }
        let from = rule.get("from").map_or_else(|| "*".to_owned(), text);
        let Some(bindings) = fit(&from, path) else { continue };
        let Some(to) = rule.get("to").and_then(Value::as_str) else {
            let reason = "the rule has no `to`";
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return Err(Failure::new(status, "invalid_rewrite_target", reason));
        };
        return Ok(Some(Rewriting { rule, bindings, query }.target(to)));
    }
    Ok(None)
}

/// What the pattern's parts stand for if it fits the path.
fn fit(from: &str, path: &[&str]) -> Option<Bindings> {
    let mut bindings = Bindings::new();
    let mut path = path.iter().filter(|part| !part.is_empty());
    for part in from.split('/').filter(|part| !part.is_empty()) {
        if part == "*" {
            let rest: Vec<&str> = path.copied().collect();
            bindings.push(("*".to_owned(), Value::from(rest.join("/"))));
            return Some(bindings);
        }
        let found = path.next()?;
        match part.strip_prefix(':') {
            Some(name) => bindings.push((name.to_owned(), Value::from(*found))),
            None if part == *found => {}
            None => return None,
        }
    }
    path.next().is_none().then_some(bindings)
}

/// A rule being applied.
struct Rewriting<'r> {
    rule: &'r Value,
    bindings: Bindings,
    query: &'r Query,
}

impl Rewriting<'_> {
    fn target(mut self, to: &str) -> Target {
        self.convert();
        let path: Vec<String> = to
            .split('/')
            .map(|part| self.bound(part).map_or_else(|| part.to_owned(), |value| text(&value)))
            .collect();
        let mut query = Vec::new();
        let given = self.rule.get("query").and_then(Value::as_object);
        for (name, value) in given.into_iter().flat_map(Object::iter) {
            let value = self.substituted(value);
            put(&mut query, name, &value, true);
        }
        for (name, value) in self.query.iter() {
            let value = Value::from(String::from_utf8_lossy(value).into_owned());
            put(&mut query, name, &value, false);
        }
        for (name, value) in self.bindings.iter().filter(|(name, _)| name != "*") {
            put(&mut query, name, value, true);
        }
        Target { path: path.join("/"), query }
    }

    /// Gives bindings the types that `formats` names.
    fn convert(&mut self) {
        let Some(formats) = self.rule.get("formats") else { return };
        for (name, value) in &mut self.bindings {
            let Some(string) = value.as_str() else { continue };
            let converted = match formats.get(name).and_then(Value::as_str) {
                Some("int") => string.parse::<i64>().ok().map(Value::from),
                Some("bool") => string.parse::<bool>().ok().map(Value::from),
                _ => None,
            };
            *value = converted.unwrap_or_else(|| Value::from(string.to_owned()));
        }
    }

    /// What `:name` or `*` stands for, by the path or else by the query.
    fn bound(&self, part: &str) -> Option<Value> {
        let name = match part {
            "*" => "*",
            part => part.strip_prefix(':')?,
        };
        let found = self.bindings.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.clone())
            .or_else(|| self.query.text(name).map(|text| Value::from(text.into_owned())))
    }

    fn substituted(&self, value: &Value) -> Value {
        match value {
            Value::String(string) => self.bound(string).unwrap_or_else(|| value.clone()),
            Value::Array(items) => {
                Value::from(items.iter().map(|item| self.substituted(item)).collect::<Vec<_>>())
            }
            other => other.clone(),
        }
    }
}

/// Adds a parameter unless it is there. Keys are JSON: those of the client are already.
fn put(query: &mut Vec<(String, String)>, name: &str, value: &Value, encodes: bool) {
    if query.iter().any(|(known, _)| known == name) {
        return;
    }
    let value = match encodes && JSON_PARAMETERS.contains(&name) {
        true => String::from_utf8_lossy(&value.to_json()).into_owned(),
        false => text(value),
    };
    query.push((name.to_owned(), value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in(rules: &str, method: &str, path: &str, query: &str) -> Option<(String, String)> {
        let rules = Value::parse(rules.as_bytes()).unwrap();
        let path: Vec<&str> = path.split('/').collect();
        let query = Query::parse(query).unwrap();
        let target = find(rules.as_array().unwrap(), method, &path, &query).unwrap()?;
        let pairs: Vec<_> =
            target.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Some((target.path, pairs.join("&")))
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let rules = r#"[{"from":"/a/:x","to":"p/:x"},{"from":"/a/*","to":"q/*","method":"PUT"},
            {"from":"","to":"root"}]"#;
        let to = |method, path| find_in(rules, method, path, "").map(|(path, _)| path);
        assert_eq!(to("GET", "a/1").as_deref(), Some("p/1"));
        assert_eq!(to("PUT", "a/1/2").as_deref(), Some("q/1/2"));
        assert_eq!(to("GET", "a/1/2"), None);
        assert_eq!(to("GET", "").as_deref(), Some("root"));
    }

    #[test]
    fn bindings_and_parameters_are_put_in() {
        let rules = r#"[{"from":"/k/:k/:s","to":"_view/x","formats":{"k":"int"},
            "query":{"key":[":k",":s",":own"],"limit":"1"}}]"#;
        let found = find_in(rules, "GET", "k/7/t", "own=z&limit=9").unwrap();
        assert_eq!(found.1, "key=[7,\"t\",\"z\"]&limit=1&own=z&k=7&s=t");
    }

    #[test]
    fn a_rule_without_target_is_an_error() {
        let rules = Value::parse(br#"[{"from":"/a"}]"#).unwrap();
        let found = find(rules.as_array().unwrap(), "GET", &["a"], &Query::default());
        assert_eq!(found.unwrap_err().error(), "invalid_rewrite_target");
    }
}
