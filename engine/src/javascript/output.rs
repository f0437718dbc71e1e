//! From values of the interpreter to CouchDB's JSON, and what was thrown.

use rquickjs::{
    Array, CatchResultExt, CaughtError, Ctx, Error, Function, Object, String as JsString, Type,
    Value, function::This,
};

use super::simple::Emitted;
use crate::json::{self, Scanner, number};

/// Appends a value in the JSON that CouchDB makes of it: what has no JSON is `null`, whole numbers have no
/// point, half a surrogate pair becomes U+FFFD.
pub(super) fn write_value<'js>(
    ctx: &Ctx<'js>,
    value: &Value<'js>,
    out: &mut Vec<u8>,
) -> rquickjs::Result<()> {
    match value.type_of() {
        Type::Uninitialized | Type::Undefined | Type::Null | Type::Symbol => {
            out.extend_from_slice(b"null");
        }
        Type::Bool => match value.as_bool() {
            Some(true) => out.extend_from_slice(b"true"),
            _ => out.extend_from_slice(b"false"),
        },
        Type::Int => {
            let int = value.as_int().unwrap_or_default();
            out.extend_from_slice(itoa::Buffer::new().format(int).as_bytes());
        }
        Type::Float => write_number(value.as_float().unwrap_or(f64::NAN), out),
        Type::String => match value.as_string() {
            Some(string) => write_string(string, out),
            None => out.extend_from_slice(b"null"),
        },
        Type::Exception => write_error(value, out)?,
        _ => write_stringified(ctx, value, out)?,
    }
    Ok(())
}

/// A number as JSON.stringify writes it, in CouchDB's spelling.
pub(super) fn write_number(float: f64, out: &mut Vec<u8>) {
    use std::io::Write;
    /// Below this, whole numbers are written digit by digit.
    const FIRST_WITH_EXPONENT: f64 = 1e21;
    if !float.is_finite() {
        out.extend_from_slice(b"null");
    } else if float == 0.0 {
        out.push(b'0');
    } else if float.fract() == 0.0 && float.abs() < FIRST_WITH_EXPONENT {
        // Writing to a vector does not fail.
        let _ = write!(out, "{float}");
    } else {
        number::write_float(float, out);
    }
}

fn write_string(string: &JsString<'_>, out: &mut Vec<u8>) {
    json::write_string(&lossy(string), out);
}

/// The text of a string; half a surrogate pair becomes U+FFFD.
pub(super) fn lossy(string: &JsString<'_>) -> String {
    string.to_string().or_else(|_| well_formed(string)).unwrap_or_default()
}

fn well_formed(string: &JsString<'_>) -> rquickjs::Result<String> {
    let text: Object<'_> = string.ctx().globals().get("String")?;
    let prototype: Object<'_> = text.get("prototype")?;
    prototype.get::<_, Function<'_>>("toWellFormed")?.call((This(string.clone()),))
}

/// An error object, which JSON.stringify would lose.
fn write_error(value: &Value<'_>, out: &mut Vec<u8>) -> rquickjs::Result<()> {
    let Some(object) = value.as_object() else { return Ok(out.extend_from_slice(b"null")) };
    let mut members = json::Object::new();
    for (member, from) in [("error", "name"), ("message", "message")] {
        let text: rquickjs::Coerced<String> = object.get(from)?;
        members.insert(member, text.0);
    }
    members.write(out);
    Ok(())
}

fn write_stringified<'js>(
    ctx: &Ctx<'js>,
    value: &Value<'js>,
    out: &mut Vec<u8>,
) -> rquickjs::Result<()> {
    let Some(text) = ctx.json_stringify(value.clone())? else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    let text = text.to_cstring()?;
    if write_canonical(text.as_str().as_bytes(), out) {
        return Ok(());
    }
    Err(rquickjs::Exception::throw_range(ctx, "the value is nested too deep, or its text too long"))
}

/// Appends JSON text in CouchDB's spelling; false if it is none that CouchDB takes.
pub(super) fn write_canonical(text: &[u8], out: &mut Vec<u8>) -> bool {
    let whole = replace_halves(text);
    let Ok(mut scanner) = Scanner::new(whole.as_deref().unwrap_or(text)) else { return false };
    scanner.value(out).and_then(|()| scanner.end()).is_ok()
}

/// The text with U+FFFD for escaped halves of surrogate pairs, which JSON.stringify writes for those that
/// stand alone (and for no others); `None` if there are none.
fn replace_halves(text: &[u8]) -> Option<Vec<u8>> {
    memchr::memmem::find(text, b"\\ud")?;
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(backslash);
        out.extend_from_slice(plain);
        let length = match escape {
            [_, b'u', b'd', b'8'..=b'9' | b'a'..=b'f', _, _, ..] => {
                out.extend_from_slice("\u{fffd}".as_bytes());
                6
            }
            _ => {
                let length = escape.len().min(2);
                out.extend_from_slice(escape.get(..length).unwrap_or_default());
                length
            }
        };
        rest = escape.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// What a function threw, taken out of the interpreter.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Thrown {
    /// An instance of `Error`.
    Error { name: String, message: String, stack: String, line: usize, column: usize },
    /// Anything else that has JSON.
    Value(json::Value),
    /// Something that has none, or a failure of the interpreter.
    Other(String),
}

impl Thrown {
    /// The exception that `error` stands for.
    pub(super) fn catch(ctx: &Ctx<'_>, error: Error) -> Self {
        match Err::<(), _>(error).catch(ctx) {
            Err(CaughtError::Exception(exception)) => {
                let object = exception.as_object();
                let text = |name: &str| {
                    let text = object.get::<_, rquickjs::Coerced<String>>(name);
                    // What a getter throws is of no interest.
                    text.map_or_else(
                        |_| {
                            ctx.catch();
                            String::new()
                        },
                        |text| text.0,
                    )
                };
                let (line, column) = position(&text("stack"));
                let (name, message, stack) = (text("name"), text("message"), text("stack"));
                Thrown::Error { name, message, stack, line, column }
            }
            Err(CaughtError::Value(value)) => Thrown::value(ctx, &value),
            Err(CaughtError::Error(error)) => Thrown::Other(error.to_string()),
            Ok(()) => Thrown::Other(String::new()),
        }
    }

    fn value<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Self {
        let mut text = Vec::new();
        let written = write_value(ctx, value, &mut text);
        if written.is_err() {
            ctx.catch();
            return Thrown::Other("a value that has no JSON".to_owned());
        }
        json::Value::from_canonical(&text)
            .map_or_else(|_| Thrown::Other("a value without JSON".to_owned()), Thrown::Value)
    }

    /// What there is to say about it in one line.
    pub(super) fn text(&self) -> String {
        match self {
            Thrown::Error { name, message, .. } => format!("{name}: {message}"),
            Thrown::Value(json::Value::String(text)) => text.clone(),
            Thrown::Value(value) => String::from_utf8(value.to_json()).unwrap_or_default(),
            Thrown::Other(text) => text.clone(),
        }
    }

    /// The same and where it happened, if that is known.
    pub(super) fn text_with_stack(&self) -> String {
        match self {
            Thrown::Error { stack, .. } if !stack.is_empty() => {
                format!("{} stacktrace: {}", self.text(), stack.trim_end())
            }
            _ => self.text(),
        }
    }

    /// The position of a syntax error.
    pub(super) fn syntax_error(&self) -> Option<(usize, usize)> {
        match self {
            Thrown::Error { name, line, column, .. } if name == "SyntaxError" => {
                Some((*line, *column))
            }
            _ => None,
        }
    }

    pub(super) fn is_out_of_memory(&self) -> bool {
        matches!(self, Thrown::Error { name, message, .. }
            if name == "InternalError" && message == "out of memory")
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Thrown::Value(json::Value::Null))
    }
}

/// Line and column in the first line of a stack trace, which ends in `:line:column`.
fn position(stack: &str) -> (usize, usize) {
    let mut parts = stack.lines().next().unwrap_or_default().trim_end_matches(')').rsplit(':');
    let mut number = || parts.next().and_then(|part| part.parse().ok());
    let column = number().unwrap_or(1);
    (number().unwrap_or(1), column)
}

/// Takes over what a function emitted: keys and values in turn.
pub(super) fn write_rows<'js>(
    ctx: &Ctx<'js>,
    rows: &Array<'js>,
    emitted: &mut Emitted,
) -> rquickjs::Result<()> {
    let Emitted { buffer, rows: places } = emitted;
    for at in 0..rows.len() / 2 {
        let start = buffer.len();
        write_value(ctx, &rows.get(2 * at)?, buffer)?;
        let middle = buffer.len();
        write_value(ctx, &rows.get(2 * at + 1)?, buffer)?;
        places.push((start..middle, middle..buffer.len()));
    }
    Ok(())
}
