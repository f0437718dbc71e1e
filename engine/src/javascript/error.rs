//! What can go wrong with a function of a design document.

use std::time::Duration;

/// Why a function gave no result. The text is CouchDB's `reason`, as far as it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsError {
    /// The text is no function.
    #[error("{0}")]
    Compilation(String),
    /// There is no text.
    #[error("missing function")]
    Missing,
    /// It ran longer than it may.
    #[error(
        "OS process timed out. The {function} took longer than {} ms, the limit set by \
         [couchdb] os_process_timeout",
        .limit.as_millis()
    )]
    TimedOut {
        /// What ran.
        function: String,
        /// How long it may run.
        limit: Duration,
    },
    /// It used more memory than it may.
    #[error(
        "The {function} used more than {limit} bytes of memory, the limit set by \
         [query_server_config] memory_limit"
    )]
    OutOfMemory {
        /// What ran.
        function: String,
        /// Bytes it may use.
        limit: usize,
    },
    /// It threw an error of its own, or one that concerns the whole request.
    #[error("{reason}")]
    Thrown {
        /// CouchDB's `error`.
        error: String,
        /// CouchDB's `reason`.
        reason: String,
    },
    /// The design document is in another language.
    #[error("{0}")]
    UnknownLanguage(String),
    /// The interpreter itself failed.
    #[error("the JavaScript interpreter failed: {0}")]
    Interpreter(String),
}

impl JsError {
    /// CouchDB's `error` for it.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            JsError::Compilation(_) => "compilation_error",
            JsError::Missing => "not_found",
            JsError::TimedOut { .. } | JsError::OutOfMemory { .. } | JsError::Interpreter(_) => {
                "os_process_error"
            }
            JsError::Thrown { error, .. } => error,
            JsError::UnknownLanguage(_) => "unknown_query_language",
        }
    }

    /// Refuses a design document whose functions are not JavaScript.
    ///
    /// # Errors
    /// [`JsError::UnknownLanguage`].
    pub fn check_language(language: &str) -> Result<(), JsError> {
        match language {
            "javascript" => Ok(()),
            other => Err(JsError::UnknownLanguage(other.to_owned())),
        }
    }
}
