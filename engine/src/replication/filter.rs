//! What of the source is replicated.

use super::error::RequestError;
use crate::json::{Object, Value};

/// Which documents are replicated.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Filter {
    /// All.
    #[default]
    None,
    /// Those that a function of a design document of the source lets pass.
    Function {
        /// The design document, without `_design/`.
        design: String,
        /// The function's name there.
        name: String,
        /// What the function is told.
        query_params: Object,
    },
    /// Those for which a view of the source emits something.
    View {
        /// The design document, without `_design/`.
        design: String,
        /// The view's name there.
        view: String,
        /// All parameters, `view` included.
        query_params: Object,
    },
    /// Those that a filter of the source's own lets pass, such as `_design`.
    Builtin {
        /// The filter, with its underscore.
        name: String,
        /// Its parameters.
        query_params: Object,
    },
    /// These, sorted and each once.
    DocIds(Vec<String>),
    /// Those that match a selector.
    Selector(Value),
}

impl Filter {
    /// Reads the value of `filter`.
    pub(super) fn parse(filter: &Value, query_params: Object) -> Result<Self, RequestError> {
        let invalid = || RequestError::bad("Invalid filter. Must match `ddocname/filtername`.");
        let name = filter.as_str().ok_or_else(invalid)?;
        if name == "_view" {
            return view(query_params);
        }
        if name.starts_with('_') {
            return Ok(Filter::Builtin { name: name.to_owned(), query_params });
        }
        let (design, function) = name.split_once('/').ok_or_else(invalid)?;
        Ok(Filter::Function { design: design.to_owned(), name: function.to_owned(), query_params })
    }

    /// The name it is asked for by in a request for changes.
    pub(super) fn name(&self) -> Option<String> {
        match self {
            Filter::None => None,
            Filter::Function { design, name, .. } => Some(format!("{design}/{name}")),
            Filter::View { .. } => Some("_view".to_owned()),
            Filter::Builtin { name, .. } => Some(name.clone()),
            Filter::DocIds(_) => Some("_doc_ids".to_owned()),
            Filter::Selector(_) => Some("_selector".to_owned()),
        }
    }

    /// The parameters that a function, a view or a filter of the source's own is given.
    #[must_use]
    pub fn query_params(&self) -> Option<&Object> {
        match self {
            Filter::Function { query_params, .. }
            | Filter::View { query_params, .. }
            | Filter::Builtin { query_params, .. } => Some(query_params),
            Filter::None | Filter::DocIds(_) | Filter::Selector(_) => None,
        }
    }
}

fn view(query_params: Object) -> Result<Filter, RequestError> {
    let named = query_params.get("view").and_then(Value::as_str);
    match named.and_then(|view| view.split_once('/')) {
        Some((design, view)) if !view.contains('/') => {
            let (design, view) = (design.to_owned(), view.to_owned());
            Ok(Filter::View { design, view, query_params })
        }
        _ => Err(RequestError::bad("Invalid `view` parameter.")),
    }
}

/// A parameter as text: strings as they are, everything else as JSON.
pub(super) fn param_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => String::from_utf8(other.to_json()).unwrap_or_default(),
    }
}
