//! JavaScript of design documents, run in process by QuickJS.
//!
//! * `source`, `lexer`: from the text of a function to something that can be evaluated, and what its
//!   text says about what it can do
//! * `sandbox`: an interpreter with its limits; one realm for documents, one for each function
//! * [`mapper`], [`reducer`]: functions of views
//! * `projection`, `simple`: what map functions can be spared: members they do not look at, and the
//!   interpreter
//! * [`design`], [`list`]: functions that see requests, and where lists read from and write to
//! * `output`: from values to CouchDB's JSON
//! * [`settings`], [`error`]: limits, and what can go wrong
//!
//! Nothing here knows what is stored or who asks: a function gets text and gives text. A function has no
//! access to anything but its arguments, the design document it comes from, and the log.

pub mod design;
pub mod error;
mod lexer;
pub mod list;
pub mod mapper;
mod output;
mod projection;
pub mod reducer;
mod sandbox;
pub mod settings;
mod simple;
mod source;
#[cfg(test)]
mod tests;

pub use design::{DesignFunction, Validation};
pub use error::JsError;
pub use list::ListEnds;
pub use mapper::Mapper;
pub use reducer::Reducer;
pub use settings::{JsSettings, LogSink};

/// A function of a design document: the text, and what to call it in errors and in the log.
#[derive(Clone, Copy, Debug)]
pub struct FunctionSource<'t> {
    /// Such as `map function of view 'by_name'`.
    pub name: &'t str,
    /// The text as it stands in the design document.
    pub text: &'t str,
}

/// Checks that a text is a function.
///
/// # Errors
/// [`JsError::Compilation`] with CouchDB's text, or one of the limits.
pub fn check_function(settings: &JsSettings, function: FunctionSource<'_>) -> Result<(), JsError> {
    sandbox::Sandbox::new(settings)?.add(function, None).map(drop)
}
