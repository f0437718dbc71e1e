//! How a command fails: a sentence for people, a code for scripts.

use std::io;
use std::process::ExitCode;

use settee_engine::Error as EngineError;
use settee_storage::Error as StoreError;

/// Why a command ends with another code than 0.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be done.
    Failed(String),
    /// The arguments contradict each other.
    Usage(String),
    /// Damage was found; the report has been printed, or this says where.
    Damaged(String),
    /// A running server holds what the command needs for itself.
    InUse(String),
}

impl Failure {
    /// Says on standard error what is wrong.
    pub(super) fn print(&self) -> ExitCode {
        let (code, text) = match self {
            Failure::Failed(text) => (1, text),
            Failure::Usage(text) => (2, text),
            Failure::Damaged(text) => (3, text),
            Failure::InUse(text) => (4, text),
        };
        eprintln!("settee: {text}");
        ExitCode::from(code)
    }
}

/// The whole story of an error.
fn story(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text.push_str(": ");
        text.push_str(&deeper.to_string());
        cause = deeper.source();
    }
    text
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Corrupt { .. } => Failure::Damaged(story(&error)),
            StoreError::Locked { path } => Failure::InUse(in_use(&path.display().to_string())),
            _ => Failure::Failed(story(&error)),
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Storage(error) => error.into(),
            EngineError::Damaged(_) => Failure::Damaged(story(&error)),
            error => Failure::Failed(story(&error)),
        }
    }
}

impl From<&dyn std::error::Error> for Failure {
    fn from(error: &dyn std::error::Error) -> Self {
        Failure::Failed(story(error))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Failed(story(&error))
    }
}

/// What is said of something a server holds.
pub(super) fn in_use(what: &str) -> String {
    format!(
        "{what} is in use by a running settee: stop that server first, or use a command that only \
         reads (inspect, verify, dump, backup)"
    )
}
