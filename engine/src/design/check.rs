//! What may be stored as a design document: members of the right types, functions that compile.

use crate::{
    database::Database,
    document::Body,
    error::{Error, Result},
    javascript::{FunctionSource, JsError, JsSettings, check_function},
    json::{Object, Value},
    view::ReduceSpec,
};

/// The language of design documents that name none.
pub(super) const JAVASCRIPT: &str = "javascript";
/// The language of design documents whose views are Mango indexes.
pub(super) const QUERY: &str = "query";

/// Checks a design document's body. Compiles functions of views; other functions are compiled when they
/// are first called.
///
/// # Errors
/// [`Error::InvalidDesignDoc`], [`Error::JavaScript`] if a function of a view does not compile.
pub(crate) fn check(database: &Database, settings: &JsSettings, body: &Body) -> Result<()> {
    database.check_design(body)?;
    let body = body.to_value()?;
    let Some(members) = body.as_object() else { return Ok(()) };
    let language = match members.get("language") {
        None => JAVASCRIPT,
        Some(language) => {
            typed(language, "language", &[Type::String])?.as_str().unwrap_or_default()
        }
    };
    check_members(members, language)?;
    let Some(views) = members.get("views").and_then(Value::as_object) else { return Ok(()) };
    for (name, view) in views.iter().filter(|(name, _)| *name != "lib") {
        check_view(name, view, language)?;
    }
    if language != JAVASCRIPT {
        return Ok(());
    }
    views.iter().filter(|(name, _)| *name != "lib").try_for_each(|(name, view)| {
        ["map", "reduce"].iter().try_for_each(|kind| compile(settings, name, view, kind))
    })
}

/// Types of members, as errors name them.
#[derive(Clone, Copy, PartialEq)]
enum Type {
    String,
    Object,
    Array,
    Boolean,
}

impl Type {
    fn word(self) -> &'static str {
        match self {
            Type::String => "string",
            Type::Object => "object",
            Type::Array => "array",
            Type::Boolean => "boolean",
        }
    }

    fn is_of(self, value: &Value) -> bool {
        matches!(
            (self, value),
            (Type::String, Value::String(_))
                | (Type::Object, Value::Object(_))
                | (Type::Array, Value::Array(_))
                | (Type::Boolean, Value::Bool(_))
        )
    }
}

fn typed<'v>(value: &'v Value, path: &str, types: &[Type]) -> Result<&'v Value> {
    if types.iter().any(|allowed| allowed.is_of(value)) {
        return Ok(value);
    }
    let words: Vec<_> = types.iter().map(|allowed| allowed.word()).collect();
    Err(invalid(format!("`{path}` field must have {} type", words.join(" or "))))
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::InvalidDesignDoc(reason.into())
}

fn check_members(members: &Object, language: &str) -> Result<()> {
    let validation: &[Type] =
        if language == QUERY { &[Type::Object, Type::String] } else { &[Type::String] };
    let expected: [(&str, &[Type]); 6] = [
        ("options", &[Type::Object]),
        ("rewrites", &[Type::Array, Type::String]),
        ("validate_doc_update", validation),
        ("autoupdate", &[Type::Boolean]),
        ("views", &[Type::Object]),
        ("language", &[Type::String]),
    ];
    for (name, types) in expected {
        if let Some(value) = members.get(name) {
            typed(value, name, types)?;
        }
    }
    for name in ["filters", "lists", "shows", "updates"] {
        let Some(functions) = members.get(name) else { continue };
        let functions = typed(functions, name, &[Type::Object])?.as_object();
        for (function, text) in functions.iter().flat_map(|functions| functions.iter()) {
            typed(text, &format!("{name}.{function}"), &[Type::String, Type::Object])?;
        }
    }
    let lib = members.get("views").and_then(|views| views.get("lib"));
    lib.map_or(Ok(()), |lib| typed(lib, "views.lib", &[Type::Object]).map(drop))
}

fn check_view(name: &str, view: &Value, language: &str) -> Result<()> {
    let path = format!("views.{name}");
    typed(view, &path, &[Type::Object])?;
    let map = if language == QUERY { Type::Object } else { Type::String };
    match view.get("map") {
        None => return Err(invalid(format!("View `{name}` must contain map function"))),
        Some(text) => typed(text, &format!("{path}.map"), &[map])?,
    };
    if let Some(options) = view.get("options") {
        typed(options, &format!("{path}.options"), &[Type::Object])?;
    }
    let Some(reduce) = view.get("reduce") else { return Ok(()) };
    let reduce = typed(reduce, &format!("{path}.reduce"), &[Type::String])?;
    reduce.as_str().map_or(Ok(()), |text| ReduceSpec::parse(text).map(drop).map_err(invalid))
}

fn compile(settings: &JsSettings, name: &str, view: &Value, kind: &str) -> Result<()> {
    let Some(text) = view.get(kind).and_then(Value::as_str) else { return Ok(()) };
    if text.starts_with('_') {
        return Ok(());
    }
    let function = format!("{kind} function of view '{name}'");
    let checked = check_function(settings, FunctionSource { name: &function, text });
    checked.map_err(|error| match error {
        JsError::Compilation(text) => Error::JavaScript(JsError::Compilation(format!(
            "Compilation of the {kind} function in the '{name}' view failed: {text}"
        ))),
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Databases, Props};

    fn refusal(body: &str) -> String {
        let databases = Databases::in_memory();
        let database = databases.create("db", Props::default()).unwrap();
        let body = Body::parse(body.as_bytes()).unwrap();
        match check(&database, &JsSettings::default(), &body) {
            Ok(()) => "none".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn refusals_are_couchdbs() {
        for (body, reason) in [
            (r#"{"views":[]}"#, "`views` field must have object type"),
            (r#"{"views":{"x":{"map":{}}}}"#, "`views.x.map` field must have string type"),
            (r#"{"views":{"x":{}}}"#, "View `x` must contain map function"),
            (r#"{"rewrites":{}}"#, "`rewrites` field must have array or string type"),
            (r#"{"shows":{"x":1}}"#, "`shows.x` field must have string or object type"),
            (r#"{"views":{"x":{"map":""}}}"#, "missing function"),
            (
                r#"{"views":{"x":{"map":"x=>1","reduce":"_nosuch"}}}"#,
                "`_nosuch` is not a supported reduce function.",
            ),
            (
                r#"{"views":{"x":{"map":"x=>1","reduce":"_top_101"}}}"#,
                "rank value must be between 1 and 100",
            ),
            (
                r#"{"views":{"x":{"map":"5"}}}"#,
                "Compilation of the map function in the 'x' view failed: Expression does not eval to \
                 a function. (5)",
            ),
            (r#"{"views":{"x":{"map":"5"}},"language":"erlang"}"#, "none"),
            (r#"{"views":{"x":{"map":"x=>1","reduce":"_sum whatever"},"lib":{"a":"b"}}}"#, "none"),
            (r#"{"views":{"x":{"map":{"fields":{}}}},"language":"query"}"#, "none"),
        ] {
            assert_eq!(refusal(body), reason, "{body}");
        }
    }
}
