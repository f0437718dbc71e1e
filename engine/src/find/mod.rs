//! Queries by selector.

mod error;

pub use error::SelectorError;
