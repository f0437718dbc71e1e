//! Functions of a design document that see requests: validation, filters, shows, updates, lists and rewrites.

use rquickjs::{Ctx, String as JsString, Value};

use super::{
    FunctionSource, JsError, JsSettings,
    list::ListEnds,
    mapper,
    output::{self, Thrown},
    sandbox::{self, Host, Sandbox},
    source,
};
use crate::json;

/// One function of a design document, compiled. It may move between threads, and runs on one at a time.
///
/// ```
/// use settee_engine::javascript::{DesignFunction, FunctionSource, JsSettings};
///
/// let hello = FunctionSource {
///     name: "show function 'hello'",
///     text: "function(doc, req) { return 'Hello ' + (doc ? doc.name : req.query.name) }",
/// };
/// let mut show = DesignFunction::new(&JsSettings::default(), b"{}", hello)?;
/// let response = show.show(br#"{"name":"Ada"}"#, br#"{"query":{}}"#)?;
/// assert_eq!(response, br#"{"body":"Hello Ada"}"#);
/// # Ok::<(), settee_engine::javascript::JsError>(())
/// ```
pub struct DesignFunction {
    sandbox: Sandbox,
    /// It may change its arguments, so that documents must be frozen where it must not.
    freezes: bool,
}

impl std::fmt::Debug for DesignFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DesignFunction")
            .field("name", &self.sandbox.name(0))
            .finish_non_exhaustive()
    }
}

/// The arguments of a validation function, all of them JSON texts.
#[derive(Clone, Copy, Debug)]
pub struct Validation<'v> {
    /// The document to be written.
    pub new: &'v [u8],
    /// The revision it follows, or `null`.
    pub old: &'v [u8],
    /// Who writes.
    pub user: &'v [u8],
    /// The database's security object.
    pub security: &'v [u8],
}

impl DesignFunction {
    /// Compiles a function of the design document whose JSON text is `design`.
    ///
    /// # Errors
    /// [`JsError::Compilation`] if it is no function.
    pub fn new(
        settings: &JsSettings,
        design: &[u8],
        function: FunctionSource<'_>,
    ) -> Result<Self, JsError> {
        let mut sandbox = Sandbox::new(settings)?;
        sandbox.add(function, Some(design))?;
        let freezes = source::may_change_argument(function.text);
        Ok(DesignFunction { sandbox, freezes })
    }

    /// Runs it as `validate_doc_update`.
    ///
    /// # Errors
    /// What it throws: `forbidden`, `unauthorized` or another error.
    pub fn validate(&mut self, validation: Validation<'_>) -> Result<(), JsError> {
        let Validation { new, old, user, security } = validation;
        self.run(|ctx, host| {
            let values = texts(ctx, [new, old, user, security])?;
            if self.freezes {
                values.iter().take(2).try_for_each(|value| host.freeze(value))?;
            }
            host.drive::<Value<'_>>("call", 0, values).map(drop)
        })
    }

    /// Runs it as filter of changes: whether the document passes.
    ///
    /// # Errors
    /// What it throws.
    pub fn filter(&mut self, doc: &[u8], req: &[u8]) -> Result<bool, JsError> {
        self.run(|ctx, host| {
            let values = texts(ctx, [doc, req])?;
            if self.freezes {
                values.iter().take(1).try_for_each(|value| host.freeze(value))?;
            }
            let passes: rquickjs::Coerced<bool> = host.drive("call", 0, values)?;
            Ok(passes.0)
        })
    }

    /// Runs it as show function; `doc` may be `null`. Gives the response object.
    ///
    /// # Errors
    /// What it throws.
    pub fn show(&mut self, doc: &[u8], req: &[u8]) -> Result<Vec<u8>, JsError> {
        self.answer("show", [doc, req]).map(|text| text.unwrap_or_else(|| b"{}".to_vec()))
    }

    /// Runs it as update function; `doc` may be `null`. Gives an object with the document to be written, or
    /// `null`, as `doc`, and the response object as `response`.
    ///
    /// # Errors
    /// What it throws.
    pub fn update(&mut self, doc: &[u8], req: &[u8]) -> Result<Vec<u8>, JsError> {
        self.answer("update", [doc, req]).map(|text| text.unwrap_or_else(|| b"{}".to_vec()))
    }

    /// Runs it as rewrite function. Gives the object that says where to go on, if there is to be one.
    ///
    /// # Errors
    /// What it throws.
    pub fn rewrite(&mut self, req: &[u8]) -> Result<Option<Vec<u8>>, JsError> {
        self.answer("rewrite", [req])
    }

    /// Runs it as list function: rows come from `ends`, and the answer goes there.
    ///
    /// # Errors
    /// What it throws; the answer may have begun then.
    pub fn list(
        &mut self,
        head: &[u8],
        req: &[u8],
        ends: Box<dyn ListEnds>,
    ) -> Result<(), JsError> {
        let outcome = self.sandbox.run_list(ends, |ctx, host| {
            let values = texts(ctx, [head, req])?;
            host.drive::<Value<'_>>("list", 0, values).map(drop)
        });
        outcome.map_err(|thrown| self.error(&thrown))
    }

    fn answer<const N: usize>(
        &self,
        method: &str,
        values: [&[u8]; N],
    ) -> Result<Option<Vec<u8>>, JsError> {
        self.run(|ctx, host| {
            let answer: Option<JsString<'_>> = host.drive(method, 0, texts(ctx, values)?)?;
            let Some(text) = answer else { return Ok(None) };
            let mut out = Vec::new();
            match output::write_canonical(output::lossy(&text).as_bytes(), &mut out) {
                true => Ok(Some(out)),
                false => {
                    Err(rquickjs::Exception::throw_range(ctx, "the answer is nested too deep"))
                }
            }
        })
    }

    fn run<T>(
        &self,
        done: impl for<'js> FnOnce(&Ctx<'js>, &Host<'js>) -> rquickjs::Result<T>,
    ) -> Result<T, JsError> {
        self.sandbox.run(done).map_err(|thrown| self.error(&thrown))
    }

    fn error(&self, thrown: &Thrown) -> JsError {
        self.sandbox.limit(0, thrown).unwrap_or_else(|| own_error(thrown))
    }
}

fn texts<'js, const N: usize>(
    ctx: &Ctx<'js>,
    texts: [&[u8]; N],
) -> rquickjs::Result<Vec<Value<'js>>> {
    texts.into_iter().map(|text| sandbox::parse(ctx, text)).collect()
}

/// The error that a function of a design document means by what it throws.
fn own_error(thrown: &Thrown) -> JsError {
    let text = |value: &json::Value| match value {
        json::Value::String(text) => text.clone(),
        other => String::from_utf8(other.to_json()).unwrap_or_default(),
    };
    let error = |error: String, reason| JsError::Thrown { error, reason };
    match thrown {
        Thrown::Error { name, .. } => error(name.clone(), thrown.text_with_stack()),
        Thrown::Value(json::Value::Array(items)) if items.len() >= 3 => mapper::fatal(thrown),
        Thrown::Value(json::Value::Object(members)) => {
            if let (Some(id), Some(reason)) = (members.get("error"), members.get("reason")) {
                return error(text(id), text(reason));
            }
            match members.iter().next() {
                Some((id @ ("forbidden" | "unauthorized"), reason)) => {
                    error(id.to_owned(), text(reason))
                }
                Some((_, reason)) if members.len() == 1 => {
                    error("unknown_error".to_owned(), text(reason))
                }
                _ => error("unknown_error".to_owned(), thrown.text()),
            }
        }
        _ => error("unknown_error".to_owned(), thrown.text()),
    }
}
