//! What can be wrong with a selector, a query or an index.

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
    /// It is nested deeper than [`MAX_DEPTH`](super::selector::MAX_DEPTH).
    #[error("The selector is nested too deeply: {0} levels are allowed.")]
    TooDeep(usize),
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
            SelectorError::MissingFieldName | SelectorError::TooDeep(_) => "invalid_selector",
            SelectorError::InvalidFieldName(_) => "invalid_field_name",
        }
    }
}

/// A query or an index that cannot be had. The text is CouchDB's `reason`, with offending values as JSON
/// where CouchDB prints Erlang terms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The selector cannot be evaluated.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// A member that must be there is not.
    #[error("Missing required key: {0}")]
    MissingKey(&'static str),
    /// A member that nobody knows.
    #[error("Invalid key {0} for this request.")]
    UnknownKey(String),
    /// No string.
    #[error("Invalid string: {0}")]
    NotAString(String),
    /// Neither `true` nor `false`.
    #[error("Invalid boolean value: {0}")]
    NotABoolean(String),
    /// No integer, or one below 1.
    #[error("{0} is not an integer greater than zero")]
    NotPositive(String),
    /// No integer, or one below 0.
    #[error("{0} is not an integer greater than or equal to zero")]
    Negative(String),
    /// `stale` is neither `"ok"` nor false.
    #[error("Invalid value for stale: {0}")]
    InvalidStale(String),
    /// An index or its design document cannot have the empty name.
    #[error("Index name or ddoc cannot be empty string")]
    EmptyName,
    /// `use_index` names nothing.
    #[error("Invalid index name: {0}")]
    InvalidIndexName(String),
    /// `fields` is no array.
    #[error("Fields must be an array of strings, not: {0}")]
    InvalidFields(String),
    /// A member of `fields` is no string.
    #[error("Invalid JSON for field spec: {0}")]
    InvalidField(String),
    /// More fields than are allowed.
    #[error("Fields must not be more than {0}.")]
    TooManyFields(usize),
    /// `sort`, or the fields of an index, is no array.
    #[error("Sort must be an array of sort specs, not: {0}")]
    InvalidSort(String),
    /// Neither a field nor a field with its direction.
    #[error("Invalid sort field: {0}")]
    InvalidSortField(String),
    /// Ascending and descending at the same time.
    #[error("Sorts currently only support a single direction for all fields.")]
    MixedSort,
    /// A bookmark that this server did not give.
    #[error("Invalid bookmark value: {0}")]
    InvalidBookmark(String),
    /// The path and the body name different partitions.
    #[error("Conflicting value for `partition` in path and body")]
    ConflictingPartition,
    /// No index delivers the order asked for; the word says among which.
    #[error("No {0}index exists for this sort, try indexing by the sort fields.")]
    NoUsableIndex(&'static str),
    /// Nothing may be scanned, and no index was named.
    #[error("You must specify an index with the `use_index` parameter.")]
    IndexNotNamed,
    /// The index named cannot answer the query, and no other may be taken.
    #[error("_design/{0} specified by `use_index` could not be found or it is not suitable.")]
    IndexNotSuitable(String),
    /// A kind of index that this server does not have; carries its type.
    #[error("{0}")]
    ServiceUnavailable(&'static str),
    /// An index of a type that does not exist.
    #[error("Invalid type for index: {0}")]
    InvalidIndexType(String),
    /// The definition of an index is no object.
    #[error("JSON indexes must be an object, not: {0}")]
    InvalidIndex(String),
    /// The design document an index is to be put into is not one of indexes.
    #[error("Existing design doc has an invalid language: {0}")]
    InvalidLanguage(String),
    /// The design document's other indexes are global, or by partition, and this one is not.
    #[error("Requested partitioned option does not match existing value on design document {0}")]
    PartitionedMismatch(String),
    /// `docids` is no array.
    #[error("Bulk Delete requires an array of non-null docids. Docids: {0}")]
    InvalidBulkDocs(String),
    /// Somebody else changed the design document, again and again.
    #[error("Encountered a conflict while saving the design document.")]
    SavingConflict,
    /// There is no such index.
    #[error("missing")]
    IndexNotFound,
}

impl FindError {
    /// CouchDB's `error` for it.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            FindError::Selector(error) => error.id(),
            FindError::MissingKey(_) => "missing_required_key",
            FindError::UnknownKey(_) => "invalid_key",
            FindError::NotAString(_) => "invalid_string",
            FindError::NotABoolean(_) => "invalid_boolean",
            FindError::NotPositive(_) => "invalid_pos_integer",
            FindError::Negative(_) => "invalid_non_neg_integer",
            FindError::InvalidStale(_) => "invalid_ok_or_false_value",
            FindError::EmptyName => "invalid_empty_string",
            FindError::InvalidIndexName(_) => "invalid_index_name",
            FindError::InvalidFields(_) | FindError::TooManyFields(_) => "invalid_fields",
            FindError::InvalidField(_) => "invalid_field",
            FindError::InvalidSort(_) => "invalid_sort_json",
            FindError::InvalidSortField(_) => "invalid_sort_field",
            FindError::MixedSort => "unsupported_mixed_sort",
            FindError::InvalidBookmark(_) => "invalid_bookmark",
            FindError::ConflictingPartition => "bad_request",
            FindError::NoUsableIndex(_) => "no_usable_index",
            FindError::IndexNotNamed
            | FindError::IndexNotSuitable(_)
            | FindError::InvalidIndexType(_)
            | FindError::InvalidIndex(_) => "invalid_index",
            FindError::ServiceUnavailable(_) => "required index service unavailable",
            FindError::InvalidLanguage(_) => "invalid_ddoc_lang",
            FindError::PartitionedMismatch(_) => "invalid_partitioned_option",
            FindError::InvalidBulkDocs(_) => "invalid_bulk_docs",
            FindError::SavingConflict => "error_saving_ddoc",
            FindError::IndexNotFound => "not_found",
        }
    }
}

/// A value as errors show it.
pub(super) fn shown(value: &crate::json::Value) -> String {
    String::from_utf8_lossy(&value.to_json()).into_owned()
}
