//! An interpreter with its limits.
//!
//! It has one realm (a set of globals and built-ins) for documents, see `vault.js`, and one for each
//! function, see `environment.js`; `guard.js` keeps both from what cannot be interrupted. As in CouchDB, a function finds documents to be made of other
//! built-ins than its own, and can change nothing but its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rquickjs::{
    Array, Context, Ctx, Function, Object, Persistent, Runtime, String as JsString, Value,
    context::{EvalOptions, intrinsic},
    function::Args,
};

use super::{
    FunctionSource, JsError, JsSettings, LogSink,
    list::{ListEnds, ListSlot},
    output::{self, Thrown},
    settings::MAX_LOG_BYTES,
    source,
};

/// What functions find in their realm. There is nothing that waits, and nothing that knows of the outside
/// but the clock.
type Builtins = (
    intrinsic::Date,
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::Proxy,
    intrinsic::MapSet,
    intrinsic::TypedArrays,
    intrinsic::Promise,
);

/// Name of the object in the realm of documents that holds the functions and what they emit.
const HOST: &str = "host";

/// Says when time is up.
#[derive(Debug)]
struct Clock {
    start: Instant,
    /// Nanoseconds after `start`.
    deadline: AtomicU64,
    expired: AtomicBool,
}

impl Clock {
    fn wind(&self, time: Duration) {
        let deadline = (self.start.elapsed() + time).as_nanos();
        self.deadline.store(u64::try_from(deadline).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.expired.store(false, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        let over = self.start.elapsed().as_nanos() > self.deadline.load(Ordering::Relaxed).into();
        self.expired.fetch_or(over, Ordering::Relaxed);
        over
    }

    fn has_expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed)
    }
}

/// An interpreter and the functions in it. It may move between threads, and runs on one at a time.
pub(super) struct Sandbox {
    settings: JsSettings,
    clock: Arc<Clock>,
    documents: Context,
    /// One realm for each function.
    realms: Vec<Context>,
    names: Vec<Arc<str>>,
    list: Arc<ListSlot>,
    runtime: Runtime,
}

/// What came of running something inside: a result, an exception, or a limit.
pub(super) type Outcome<T> = Result<T, Thrown>;

impl Sandbox {
    pub(super) fn new(settings: &JsSettings) -> Result<Self, JsError> {
        let failed = |error: rquickjs::Error| JsError::Interpreter(error.to_string());
        let clock = Arc::new(Clock {
            start: Instant::now(),
            deadline: AtomicU64::new(u64::MAX),
            expired: AtomicBool::new(false),
        });
        let runtime = Runtime::new().map_err(failed)?;
        runtime.set_memory_limit(settings.memory_bytes);
        runtime.set_max_stack_size(settings.stack_bytes);
        let watched = Arc::clone(&clock);
        runtime.set_interrupt_handler(Some(Box::new(move || watched.is_over())));
        let documents = Context::custom::<Builtins>(&runtime).map_err(failed)?;
        documents
            .with(|ctx| {
                evaluate::<()>(&ctx, include_str!("guard.js"))?;
                evaluate::<()>(&ctx, include_str!("vault.js"))
            })
            .map_err(failed)?;
        let settings = settings.clone();
        let list = Arc::default();
        Ok(Sandbox {
            settings,
            clock,
            documents,
            realms: Vec::new(),
            names: Vec::new(),
            list,
            runtime,
        })
    }

    /// Compiles a function in a realm of its own and gives its number. Modules are looked up in the
    /// JSON text `design`.
    pub(super) fn add(
        &mut self,
        function: FunctionSource<'_>,
        design: Option<&[u8]>,
    ) -> Result<usize, JsError> {
        if function.text.is_empty() {
            return Err(JsError::Missing);
        }
        let index = self.realms.len();
        let failed = |error: rquickjs::Error| JsError::Interpreter(error.to_string());
        let realm = Context::custom::<Builtins>(&self.runtime).map_err(failed)?;
        self.clock.wind(self.settings.timeout);
        let done = self.furnish(&realm, function.text, design);
        self.names.push(function.name.into());
        self.realms.push(realm);
        match done {
            Ok(()) => Ok(index),
            Err(Uncompiled::Refused(reason)) => Err(JsError::Compilation(reason)),
            Err(Uncompiled::Thrown(thrown)) => {
                Err(self.limit(index, &thrown).unwrap_or_else(|| {
                    JsError::Compilation(format!("{} ({})", thrown.text(), function.text))
                }))
            }
        }
    }

    /// Gives a realm what its function finds there, and the function to the host. Values go from realm to
    /// realm by way of handles, because only one realm can be entered at a time.
    fn furnish(
        &self,
        realm: &Context,
        text: &str,
        design: Option<&[u8]>,
    ) -> Result<(), Uncompiled> {
        let (design, rows) = self.documents.with(|ctx| {
            let made = parse(&ctx, design.unwrap_or(b"{}")).and_then(|design| {
                Host::of(&ctx)?.freeze(&design)?;
                let rows = Array::new(ctx.clone())?;
                Ok((Persistent::save(&ctx, design), Persistent::save(&ctx, rows)))
            });
            made.map_err(|error| Thrown::catch(&ctx, error))
        })?;
        let (function, drive) = realm.with(|ctx| {
            let drive = self
                .furnish_realm(&ctx, design, rows.clone())
                .map_err(|error| Thrown::catch(&ctx, error))?;
            let function = evaluate_function(&ctx, text)?;
            let saved = (Persistent::save(&ctx, function), Persistent::save(&ctx, drive));
            Ok::<_, Uncompiled>(saved)
        })?;
        self.documents.with(|ctx| {
            let added = Host::of(&ctx).and_then(|host| {
                host.add(function.restore(&ctx)?, rows.restore(&ctx)?, drive.restore(&ctx)?)
            });
            Ok(added.map_err(|error| Thrown::catch(&ctx, error))?)
        })
    }

    /// Defines what CouchDB's functions find, and gives what `environment.js` gives.
    fn furnish_realm<'js>(
        &self,
        realm: &Ctx<'js>,
        design: Persistent<Value<'static>>,
        rows: Persistent<Array<'static>>,
    ) -> rquickjs::Result<Object<'js>> {
        let outside = Object::new(realm.clone())?;
        let log = Arc::clone(&self.settings.log);
        let function = Function::new(realm.clone(), move |message: JsString<'_>| {
            write_log(&log, &output::lossy(&message));
        });
        outside.set("log", function?)?;
        let list = Arc::clone(&self.list);
        let function = Function::new(realm.clone(), move |text: JsString<'_>| {
            list.begin(output::lossy(&text));
        });
        outside.set("begin", function?)?;
        // Waiting for the client or for a row does not count as time of the function.
        let timeout = self.settings.timeout;
        let (list, clock) = (Arc::clone(&self.list), Arc::clone(&self.clock));
        let function = Function::new(realm.clone(), move |ctx: Ctx<'_>, text: JsString<'_>| {
            let written = list.chunk(output::lossy(&text)).map_err(|error| throw(&ctx, &error));
            clock.wind(timeout);
            written
        });
        outside.set("chunk", function?)?;
        let (list, clock) = (Arc::clone(&self.list), Arc::clone(&self.clock));
        let function = Function::new(realm.clone(), move |ctx: Ctx<'_>| {
            let row = list.next().map_err(|error| throw(&ctx, &error));
            clock.wind(timeout);
            row
        });
        outside.set("next", function?)?;
        evaluate::<()>(realm, include_str!("guard.js"))?;
        let furnish: Function<'js> = evaluate(realm, include_str!("environment.js"))?;
        furnish.call((design, rows, outside))
    }

    /// Gives the functions until `done` their time, and runs it with the documents' realm and the host.
    pub(super) fn run<T>(
        &self,
        done: impl for<'js> FnOnce(&Ctx<'js>, &Host<'js>) -> rquickjs::Result<T>,
    ) -> Outcome<T> {
        self.clock.wind(self.settings.timeout);
        self.documents.with(|ctx| {
            let result = Host::of(&ctx).and_then(|host| done(&ctx, &host));
            result.map_err(|error| Thrown::catch(&ctx, error))
        })
    }

    /// Runs `done` as [`Sandbox::run`] while a list's rows and answer go through `list`.
    pub(super) fn run_list<T>(
        &self,
        list: Box<dyn ListEnds>,
        done: impl for<'js> FnOnce(&Ctx<'js>, &Host<'js>) -> rquickjs::Result<T>,
    ) -> Outcome<T> {
        self.list.set(Some(list));
        let outcome = self.run(done);
        self.list.set(None);
        outcome
    }

    pub(super) fn name(&self, function: usize) -> &str {
        self.names.get(function).map_or("function", |name| name)
    }

    /// How many functions there are.
    pub(super) fn len(&self) -> usize {
        self.realms.len()
    }

    /// Whether the time of what ran last was up.
    pub(super) fn has_expired(&self) -> bool {
        self.clock.has_expired()
    }

    pub(super) fn log(&self, message: &str) {
        write_log(&self.settings.log, message);
    }

    /// The error for a limit, if `thrown` comes from one.
    pub(super) fn limit(&self, function: usize, thrown: &Thrown) -> Option<JsError> {
        let name = || self.name(function).to_owned();
        if self.clock.has_expired() {
            return Some(JsError::TimedOut { function: name(), limit: self.settings.timeout });
        }
        let limit = self.settings.memory_bytes;
        let full = || {
            let used = self.runtime.memory_usage().malloc_size;
            usize::try_from(used).is_ok_and(|used| used > limit / 2)
        };
        // When there is no memory for the error either, null is thrown.
        let out_of_memory = thrown.is_out_of_memory() || thrown.is_null() && full();
        out_of_memory.then(|| JsError::OutOfMemory { function: name(), limit })
    }
}

/// The functions and what they emit, as the realm of documents has them.
pub(super) struct Host<'js> {
    object: Object<'js>,
}

impl<'js> Host<'js> {
    fn of(ctx: &Ctx<'js>) -> rquickjs::Result<Self> {
        Ok(Host { object: ctx.globals().get(HOST)? })
    }

    /// Takes a function with the array of what it emits.
    fn add(
        &self,
        function: Function<'js>,
        rows: Array<'js>,
        drive: Object<'js>,
    ) -> rquickjs::Result<()> {
        let functions = self.list("functions")?;
        let at = functions.len();
        functions.set(at, function)?;
        self.list("rows")?.set(at, rows)?;
        self.list("drives")?.set(at, drive)
    }

    fn list(&self, name: &str) -> rquickjs::Result<Array<'js>> {
        self.object.get(name)
    }

    /// The function of this number.
    pub(super) fn function(&self, index: usize) -> rquickjs::Result<Function<'js>> {
        self.list("functions")?.get(index)
    }

    /// What the function of this number has emitted.
    pub(super) fn rows(&self, index: usize) -> rquickjs::Result<Array<'js>> {
        self.list("rows")?.get(index)
    }

    /// Runs the function of this number by one of the methods that `environment.js` has for it, with these
    /// arguments.
    pub(super) fn drive<T: rquickjs::FromJs<'js>>(
        &self,
        method: &str,
        index: usize,
        values: impl IntoIterator<Item = Value<'js>>,
    ) -> rquickjs::Result<T> {
        let drive: Object<'js> = self.list("drives")?.get(index)?;
        let mut args = Args::new_unsized(self.object.ctx().clone());
        args.push_arg(self.function(index)?)?;
        args.push_args(values)?;
        drive.get::<_, Function<'js>>(method)?.call_arg(args)
    }

    /// Makes a value unchangeable as deep as it goes.
    pub(super) fn freeze(&self, value: &Value<'js>) -> rquickjs::Result<()> {
        self.object.get::<_, Function<'js>>("freezeDeep")?.call((value.clone(),))
    }
}

/// Why a function could not be added.
enum Uncompiled {
    Thrown(Thrown),
    /// With CouchDB's reason.
    Refused(String),
}

impl From<Thrown> for Uncompiled {
    fn from(thrown: Thrown) -> Self {
        Uncompiled::Thrown(thrown)
    }
}

/// Evaluates the first script of a function's text that can be parsed.
fn evaluate_function<'js>(realm: &Ctx<'js>, text: &str) -> Result<Function<'js>, Uncompiled> {
    let mut first = None;
    for script in source::scripts(text) {
        let error = match evaluate::<Value<'js>>(realm, script) {
            Ok(value) => return as_function(&value, text),
            Err(error) => Thrown::catch(realm, error),
        };
        let Some((line, column)) = error.syntax_error() else {
            return Err(Uncompiled::Thrown(error));
        };
        first.get_or_insert((line, column));
    }
    let (line, column) = first.unwrap_or((1, 1));
    Err(Uncompiled::Refused(format!("{} ({text})", source::syntax_error(text, line, column))))
}

fn as_function<'js>(value: &Value<'js>, text: &str) -> Result<Function<'js>, Uncompiled> {
    value.as_function().cloned().ok_or_else(|| {
        let reason = format!("Expression does not eval to a function. ({text})");
        Uncompiled::Refused(reason)
    })
}

/// Evaluates a script as a page does: not strict unless it says so.
fn evaluate<'js, T: rquickjs::FromJs<'js>>(
    ctx: &Ctx<'js>,
    script: impl Into<Vec<u8>>,
) -> rquickjs::Result<T> {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(SCRIPT.to_owned());
    ctx.eval_with_options(script, options)
}

/// What stack traces call the text of a function.
pub(super) const SCRIPT: &str = "function";

/// Makes a value of JSON text.
pub(super) fn parse<'js>(ctx: &Ctx<'js>, text: &[u8]) -> rquickjs::Result<Value<'js>> {
    // The interpreter wants a zero behind the text.
    let mut owned = Vec::with_capacity(text.len() + 1);
    owned.extend_from_slice(text);
    ctx.json_parse(owned)
}

fn write_log(log: &LogSink, message: &str) {
    log(message.get(..message.floor_char_boundary(MAX_LOG_BYTES)).unwrap_or(message));
}

/// Throws an error of CouchDB's form.
fn throw(ctx: &Ctx<'_>, error: &JsError) -> rquickjs::Error {
    let thrown = Array::new(ctx.clone()).and_then(|array| {
        array.set(0, "error")?;
        array.set(1, error.id())?;
        array.set(2, error.to_string())?;
        Ok(ctx.throw(array.into_value()))
    });
    thrown.unwrap_or_else(|error| error)
}
