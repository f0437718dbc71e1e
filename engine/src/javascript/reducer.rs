//! Reduce functions of views.

use super::{
    FunctionSource, JsError, JsSettings,
    mapper::fatal,
    output::{self, Thrown},
    sandbox::{self, Sandbox},
};
use crate::json;

/// One row of a view, as a reduce function is given it. Key and value are JSON text.
#[derive(Clone, Copy, Debug)]
pub struct ReduceRow<'r> {
    /// The key.
    pub key: &'r [u8],
    /// The id of the document that emitted the row.
    pub id: &'r str,
    /// The value.
    pub value: &'r [u8],
}

/// A reduce function, compiled. It may move between threads.
///
/// ```
/// use settee_engine::javascript::{FunctionSource, JsSettings, Reducer, reducer::ReduceRow};
///
/// let total = FunctionSource {
///     name: "reduce function of view 'total'",
///     text: "function(keys, values, rereduce) { return sum(values) }",
/// };
/// let mut reducer = Reducer::new(&JsSettings::default(), total)?;
/// let rows = [ReduceRow { key: b"1", id: "a", value: b"2" }, ReduceRow { key: b"1", id: "b", value: b"3" }];
/// let leaf = reducer.reduce(rows)?;
/// assert_eq!(leaf, b"5");
/// assert_eq!(reducer.rereduce([leaf.as_slice(), b"4"])?, b"9");
/// # Ok::<(), settee_engine::javascript::JsError>(())
/// ```
pub struct Reducer {
    sandbox: Sandbox,
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl Reducer {
    /// Compiles a reduce function.
    ///
    /// # Errors
    /// [`JsError::Compilation`] if it is no function.
    pub fn new(settings: &JsSettings, function: FunctionSource<'_>) -> Result<Self, JsError> {
        let mut sandbox = Sandbox::new(settings)?;
        sandbox.add(function, None)?;
        Ok(Reducer { sandbox, keys: Vec::new(), values: Vec::new() })
    }

    /// Reduces rows to one value, as JSON in CouchDB's spelling. If the function throws, that is `null`,
    /// and the exception is logged.
    ///
    /// # Errors
    /// If the limits are passed, or it ends the whole request by throwing `"fatal_error"`.
    pub fn reduce<'r>(
        &mut self,
        rows: impl IntoIterator<Item = ReduceRow<'r>>,
    ) -> Result<Vec<u8>, JsError> {
        self.keys.clear();
        self.values.clear();
        for row in rows {
            separate(&mut self.keys);
            separate(&mut self.values);
            self.keys.push(b'[');
            self.keys.extend_from_slice(row.key);
            self.keys.push(b',');
            json::write_string(row.id, &mut self.keys);
            self.keys.push(b']');
            self.values.extend_from_slice(row.value);
        }
        close(&mut self.keys);
        close(&mut self.values);
        self.run(false)
    }

    /// Reduces values that [`Reducer::reduce`] or this returned to one.
    ///
    /// # Errors
    /// As [`Reducer::reduce`].
    pub fn rereduce<'r>(
        &mut self,
        values: impl IntoIterator<Item = &'r [u8]>,
    ) -> Result<Vec<u8>, JsError> {
        self.keys.clear();
        self.keys.extend_from_slice(b"null");
        self.values.clear();
        for value in values {
            separate(&mut self.values);
            self.values.extend_from_slice(value);
        }
        close(&mut self.values);
        self.run(true)
    }

    fn run(&self, again: bool) -> Result<Vec<u8>, JsError> {
        let outcome = self.sandbox.run(|ctx, host| {
            let keys = sandbox::parse(ctx, &self.keys)?;
            let values = sandbox::parse(ctx, &self.values)?;
            let result = host.function(0)?.call((keys, values, again))?;
            let mut out = Vec::new();
            output::write_value(ctx, &result, &mut out)?;
            Ok(out)
        });
        outcome.or_else(|thrown| {
            if let Some(limit) = self.sandbox.limit(0, &thrown) {
                return Err(limit);
            }
            if thrown == Thrown::Value("fatal_error".into()) {
                return Err(fatal(&thrown));
            }
            let name = self.sandbox.name(0);
            self.sandbox.log(&format!("{name}: function raised exception ({})", thrown.text()));
            Ok(b"null".to_vec())
        })
    }
}

impl std::fmt::Debug for Reducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reducer").field("function", &self.sandbox.name(0)).finish_non_exhaustive()
    }
}

/// Begins an array, or goes on to its next item.
fn separate(text: &mut Vec<u8>) {
    text.push(if text.is_empty() { b'[' } else { b',' });
}

fn close(text: &mut Vec<u8>) {
    if text.is_empty() {
        text.push(b'[');
    }
    text.push(b']');
}
