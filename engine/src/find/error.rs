//! What can be wrong with a selector.

/// A selector that cannot be evaluated. The text is CouchDB's `reason`, with offending values as JSON
/// where CouchDB prints Erlang terms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// The selector is no object.
    #[error("Selector must be a JSON object, not: {0}")]
    NotAnObject(String),
    /// An operator has an argument that it cannot work with.
    #[error("Bad argument for operator {operator}: {argument}")]
    BadArgument {
        /// The operator with its dollar sign.
        operator: String,
        /// The argument as JSON.
        argument: String,
    },
    /// An operator of MongoDB that CouchDB knows, but does not have.
    #[error("Unsupported operator: {0}")]
    Unsupported(String),
    /// There is no such operator.
    #[error("Invalid operator: {0}")]
    InvalidOperator(String),
    /// A text search below a field.
    #[error("Invalid field normalization on selector: {0}")]
    BadField(String),
    /// A condition without a field at the outermost level.
    #[error("One or more conditions is missing a field name.")]
    MissingFieldName,
    /// A field's name has an empty part.
    #[error("Invalid field name: {0}")]
    InvalidFieldName(String),
}

impl SelectorError {
    /// CouchDB's `error` for it.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            SelectorError::NotAnObject(_) => "invalid_selector_json",
            SelectorError::BadArgument { .. } => "bad_arg",
            SelectorError::Unsupported(_) => "not_supported",
            SelectorError::InvalidOperator(_) => "invalid_operator",
            SelectorError::BadField(_) => "bad_field",
            SelectorError::MissingFieldName => "invalid_selector",
            SelectorError::InvalidFieldName(_) => "invalid_field_name",
        }
    }
}
