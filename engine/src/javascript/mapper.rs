//! Map functions of views.

use std::ops::Range;

use rquickjs::{Array, Ctx, Value};

use super::{
    FunctionSource, JsError, JsSettings,
    output::{self, Thrown},
    sandbox::{self, Host, Sandbox},
    source,
};
use crate::json::{self, raw};

/// The map functions of a design document, compiled. It may move between threads; to map on several, make
/// one for each.
///
/// ```
/// use settee_engine::javascript::{FunctionSource, JsSettings, Mapper};
///
/// let by_name = FunctionSource {
///     name: "map function of view 'by_name'",
///     text: "function(doc) { if (doc.name) emit(doc.name, doc.tags.length) }",
/// };
/// let mut mapper = Mapper::new(&JsSettings::default(), None, &[by_name])?;
/// let mut rows = Vec::new();
/// mapper.map(br#"{"_id":"a","name":"Ada","tags":[1,2]}"#, &mut |function, key, value| {
///     rows.push((function, key.to_vec(), value.to_vec()));
/// })?;
/// assert_eq!(rows, [(0, b"\"Ada\"".to_vec(), b"2".to_vec())]);
/// # Ok::<(), settee_engine::javascript::JsError>(())
/// ```
pub struct Mapper {
    sandbox: Sandbox,
    /// Whether a function may change its argument, so that documents must be frozen.
    freezes: bool,
    buffer: Vec<u8>,
    rows: Vec<(Range<usize>, Range<usize>)>,
}

/// Takes a row: number of the function, key and value as JSON in CouchDB's spelling.
pub type EmitSink<'s> = dyn FnMut(usize, &[u8], &[u8]) + 's;

impl Mapper {
    /// Compiles map functions. `lib` is the design document's `views.lib` as JSON text.
    ///
    /// # Errors
    /// [`JsError::Compilation`] if one is no function.
    pub fn new(
        settings: &JsSettings,
        lib: Option<&[u8]>,
        maps: &[FunctionSource<'_>],
    ) -> Result<Self, JsError> {
        let mut sandbox = Sandbox::new(settings)?;
        let design = lib.map(|lib| [br#"{"views":{"lib":"#, lib, b"}}"].concat());
        for map in maps {
            sandbox.add(*map, design.as_deref())?;
        }
        let freezes = maps.iter().any(|map| source::may_change_argument(map.text));
        Ok(Mapper { sandbox, freezes, buffer: Vec::new(), rows: Vec::new() })
    }

    /// Runs all functions over one document, given as JSON text with its `_id` and `_rev`, and calls
    /// `emit` for each row, function by function. What a function emits before it throws is no row, and
    /// the exception is logged.
    ///
    /// # Errors
    /// If the limits are passed or a function ends the whole request by throwing `"fatal_error"`; rows of
    /// functions before it may have been emitted then.
    pub fn map(&mut self, doc: &[u8], emit: &mut EmitSink<'_>) -> Result<(), JsError> {
        let Mapper { sandbox, freezes, buffer, rows } = self;
        let functions = sandbox.len();
        let mut at = 0;
        let mut skipped = Vec::new();
        let outcome = sandbox.run(|ctx, host| {
            let document = sandbox::parse(ctx, doc)?;
            if *freezes {
                host.freeze(&document)?;
            }
            while at < functions {
                buffer.clear();
                rows.clear();
                match run_one(ctx, host, at, &document, buffer, rows) {
                    Ok(()) => give(at, buffer, rows, emit),
                    Err(error) => match Thrown::catch(ctx, error) {
                        thrown if sandbox.has_expired() || is_fatal(&thrown) => {
                            return Ok(Some(thrown));
                        }
                        thrown => skipped.push((at, thrown)),
                    },
                }
                at += 1;
            }
            Ok(None)
        });
        for (function, thrown) in skipped {
            if let Some(limit) = sandbox.limit(function, &thrown) {
                return Err(limit);
            }
            let id = raw::member(doc, "_id").unwrap_or(b"null");
            sandbox.log(&format!(
                "{}: function raised exception ({}) with doc._id {}",
                sandbox.name(function),
                thrown.text(),
                String::from_utf8_lossy(id),
            ));
        }
        match outcome {
            Ok(None) => Ok(()),
            Ok(Some(thrown)) | Err(thrown) => {
                Err(sandbox.limit(at, &thrown).unwrap_or_else(|| fatal(&thrown)))
            }
        }
    }
}

impl std::fmt::Debug for Mapper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapper").field("functions", &self.sandbox.len()).finish_non_exhaustive()
    }
}

fn run_one<'js>(
    ctx: &Ctx<'js>,
    host: &Host<'js>,
    at: usize,
    document: &Value<'js>,
    buffer: &mut Vec<u8>,
    rows: &mut Vec<(Range<usize>, Range<usize>)>,
) -> rquickjs::Result<()> {
    let emitted = host.rows(at)?;
    let result = host.function(at)?.call::<_, Value<'js>>((document.clone(),)).and_then(|_| {
        output::write_rows(ctx, &emitted, buffer, |key, value| rows.push((key, value)))
    });
    if !emitted.is_empty() {
        clear(&emitted)?;
    }
    result
}

/// Empties the array without losing an exception that is under way.
fn clear(rows: &Array<'_>) -> rquickjs::Result<()> {
    rows.as_object().set("length", 0)
}

fn give(at: usize, buffer: &[u8], rows: &[(Range<usize>, Range<usize>)], emit: &mut EmitSink<'_>) {
    for (key, value) in rows {
        if let (Some(key), Some(value)) = (buffer.get(key.clone()), buffer.get(value.clone())) {
            emit(at, key, value);
        }
    }
}

/// What a function throws to end the whole request.
const FATAL: &str = "fatal_error";

fn is_fatal(thrown: &Thrown) -> bool {
    match thrown {
        Thrown::Value(json::Value::String(text)) => text == FATAL,
        Thrown::Value(json::Value::Array(items)) => {
            items.first().and_then(json::Value::as_str) == Some("fatal")
        }
        _ => false,
    }
}

/// The error of a function that ends the request.
pub(super) fn fatal(thrown: &Thrown) -> JsError {
    let text = |value: Option<&json::Value>| value.and_then(json::Value::as_str).map(str::to_owned);
    if let Thrown::Value(json::Value::Array(items)) = thrown
        && let (Some(error), Some(reason)) = (text(items.get(1)), text(items.get(2)))
    {
        return JsError::Thrown { error, reason };
    }
    let reason = format!("function raised '{}'", thrown.text());
    JsError::Thrown { error: "map_runtime_error".to_owned(), reason }
}
