//! Map functions of views.

use rquickjs::{Array, Ctx, Value};

use super::{
    FunctionSource, JsError, JsSettings,
    output::{self, Thrown},
    projection,
    sandbox::{self, Host, Sandbox},
    simple::{self, Emitted, Fields, Program, Run},
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
    /// For each function what it is without the interpreter, if it is simple enough.
    programs: Vec<Option<Program>>,
    /// What these look at.
    fields: Fields,
    /// The only members that functions look at, if that is known of all of them.
    touched: Option<Vec<String>>,
    /// Whether a function may change its argument, so that documents must be frozen.
    freezes: bool,
    emitted: Emitted,
    projected: Vec<u8>,
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
        let program =
            |map: &FunctionSource<'_>| simple::parse(map.text).filter(|_| settings.simple_maps);
        let programs: Vec<_> = maps.iter().map(program).collect();
        Ok(Mapper {
            sandbox,
            fields: Fields::of(&programs),
            programs,
            touched: touched(maps).filter(|_| settings.projects),
            freezes: maps.iter().any(|map| source::may_change_argument(map.text)),
            emitted: Emitted::default(),
            projected: Vec::new(),
        })
    }

    /// Runs all functions over one document, given as JSON text in CouchDB's spelling with its `_id` and
    /// `_rev`, and calls `emit` for each row; those of one function come in the order it emits them. What
    /// a function emits before it throws is no row, and the exception is logged.
    ///
    /// # Errors
    /// If the limits are passed or a function ends the whole request by throwing `"fatal_error"`; rows of
    /// other functions may have been emitted then.
    pub fn map(&mut self, doc: &[u8], emit: &mut EmitSink<'_>) -> Result<(), JsError> {
        let mut left = Vec::new();
        let found = self.fields.find(doc);
        for (at, program) in self.programs.iter().enumerate() {
            self.emitted.clear();
            let run = |program| {
                let fields = self.fields.for_program(at, &found);
                Run::run(program, doc, fields, &mut self.emitted)
            };
            match program.as_ref().map(run) {
                Some(Ok(())) => give(at, &self.emitted, emit),
                _ => left.push(at),
            }
        }
        if left.is_empty() { Ok(()) } else { self.interpret(doc, &left, emit) }
    }

    /// Runs the functions of these numbers in the interpreter.
    fn interpret(
        &mut self,
        doc: &[u8],
        functions: &[usize],
        emit: &mut EmitSink<'_>,
    ) -> Result<(), JsError> {
        let Mapper { sandbox, touched, freezes, emitted, projected, .. } = self;
        let text = match touched {
            Some(names) => {
                projected.clear();
                projection::project(doc, names, projected);
                projected.as_slice()
            }
            None => doc,
        };
        let mut current = functions.first().copied().unwrap_or_default();
        let mut skipped = Vec::new();
        let outcome = sandbox.run(|ctx, host| {
            let document = sandbox::parse(ctx, text)?;
            if *freezes {
                host.freeze(&document)?;
            }
            for at in functions {
                current = *at;
                emitted.clear();
                match run_one(ctx, host, *at, &document, emitted) {
                    Ok(()) => give(*at, emitted, emit),
                    Err(error) => match Thrown::catch(ctx, error) {
                        thrown if sandbox.has_expired() || is_fatal(&thrown) => {
                            return Ok(Some(thrown));
                        }
                        thrown => skipped.push((*at, thrown)),
                    },
                }
            }
            Ok(None)
        });
        for (function, thrown) in skipped {
            if let Some(limit) = sandbox.limit(function, &thrown) {
                return Err(limit);
            }
            log_skipped(sandbox, function, &thrown, doc);
        }
        match outcome {
            Ok(None) => Ok(()),
            Ok(Some(thrown)) | Err(thrown) => {
                Err(sandbox.limit(current, &thrown).unwrap_or_else(|| fatal(&thrown)))
            }
        }
    }
}

/// The members that all functions together look at.
fn touched(maps: &[FunctionSource<'_>]) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for map in maps {
        all.extend(projection::touched(map.text)?);
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

fn log_skipped(sandbox: &Sandbox, function: usize, thrown: &Thrown, doc: &[u8]) {
    let id = raw::member(doc, "_id").unwrap_or(b"null");
    sandbox.log(&format!(
        "{}: function raised exception ({}) with doc._id {}",
        sandbox.name(function),
        thrown.text(),
        String::from_utf8_lossy(id),
    ));
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
    emitted: &mut Emitted,
) -> rquickjs::Result<()> {
    let rows = host.rows(at)?;
    let called = host.function(at)?.call::<_, Value<'js>>((document.clone(),));
    let result = called.and_then(|_| output::write_rows(ctx, &rows, emitted));
    if !rows.is_empty() {
        clear(&rows)?;
    }
    result
}

/// Empties the array without losing an exception that is under way.
fn clear(rows: &Array<'_>) -> rquickjs::Result<()> {
    rows.as_object().set("length", 0)
}

fn give(at: usize, emitted: &Emitted, emit: &mut EmitSink<'_>) {
    let Emitted { buffer, rows } = emitted;
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
