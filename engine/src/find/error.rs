//! What can be wrong with a selector.

/// A selector that cannot be evaluated; the text is CouchDB's `reason`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// Placeholder for the first commit's signature.
    #[error("{0}")]
    Invalid(String),
}
