//! The one JSON of the workspace, read and written exactly as CouchDB does.
//!
//! * [`scan`]: one pass over bytes that checks them and writes them back in CouchDB's spelling
//! * [`value`]: a small owned tree, for selectors, options and other things that are looked into
//! * [`raw`]: looking into text that the scanner wrote
//! * [`number`], [`text`]: the spelling of numbers and strings
//!
//! Documents never become a tree: they are scanned once and stored as the scanner wrote them.

pub mod number;
pub mod raw;
pub mod scan;
pub mod text;
pub mod value;

pub use number::Number;
#[cfg(test)]
pub(crate) use scan::tests as test_values;
pub use scan::{Member, Scanner, minify};
pub use text::{unescape, write_string};
pub(crate) use value::string_length;
pub use value::{Object, Value};

/// Deepest nesting of arrays and objects. CouchDB has no limit of its own, but the clients that would
/// have to read a deeper document back do.
pub const MAX_DEPTH: usize = 1024;
/// Most digits of an integer. Its conversion to binary takes time that grows with their square.
pub const MAX_INTEGER_DIGITS: usize = 20_000;
