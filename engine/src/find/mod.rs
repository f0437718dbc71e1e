//! Queries by selector.
//!
//! * [`selector`]: reading a selector, bringing it into normal form, matching documents
//! * [`path`]: names of fields
//! * [`error`]: what can be wrong with a query

pub mod error;
pub mod path;
pub mod selector;

pub use error::SelectorError;
pub use path::FieldPath;
pub use selector::{Condition, Selector};
