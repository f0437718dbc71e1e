//! What functions may use up, and where they may write.

use std::{fmt, sync::Arc, time::Duration};

/// Takes what functions log, one message at a time. Must be short, and may be called from any thread.
pub type LogSink = Arc<dyn Fn(&str) + Send + Sync>;

/// Longest message a function may log, in bytes; the rest is cut off.
pub(crate) const MAX_LOG_BYTES: usize = 16 * 1024;

/// Limits of one interpreter.
///
/// ```
/// use settee_engine::javascript::JsSettings;
///
/// let settings = JsSettings::default();
/// assert_eq!(settings.timeout.as_secs(), 5);
/// ```
#[derive(Clone)]
pub struct JsSettings {
    /// How long functions may take for one document, one batch of a filter or one answer.
    pub timeout: Duration,
    /// Memory one interpreter may hold, in bytes.
    pub memory_bytes: usize,
    /// Stack that running functions may use, in bytes. The threads must have some 256 KiB more.
    pub stack_bytes: usize,
    /// Parses of a document only the members that map functions can look at, where their texts say so.
    pub projects: bool,
    /// Runs simple map functions without the interpreter.
    pub simple_maps: bool,
    /// Where `log()` and errors of functions go.
    pub log: LogSink,
}

impl Default for JsSettings {
    /// CouchDB's time limit; memory for documents of its greatest size; nothing is logged.
    fn default() -> Self {
        JsSettings {
            timeout: Duration::from_secs(5),
            memory_bytes: 256 * 1024 * 1024,
            stack_bytes: 768 * 1024,
            projects: true,
            simple_maps: true,
            log: Arc::new(|_| ()),
        }
    }
}

impl JsSettings {
    /// Whether both limit functions in the same way.
    pub(crate) fn same_limits(&self, other: &JsSettings) -> bool {
        let limits = |settings: &JsSettings| {
            let shortcuts = (settings.projects, settings.simple_maps);
            (settings.timeout, settings.memory_bytes, settings.stack_bytes, shortcuts)
        };
        limits(self) == limits(other)
    }
}

impl fmt::Debug for JsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsSettings")
            .field("timeout", &self.timeout)
            .field("memory_bytes", &self.memory_bytes)
            .field("stack_bytes", &self.stack_bytes)
            .finish_non_exhaustive()
    }
}
