//! The methods of a request, as CouchDB tells them apart.

/// What a request asks for. HEAD is not among them: it is handled as GET and its body is dropped
/// on the way out (see [`super::Request::head_only`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET, and HEAD.
    Get,
    /// PUT.
    Put,
    /// POST, unless overridden by `X-HTTP-Method-Override`.
    Post,
    /// DELETE.
    Delete,
    /// COPY, which only documents know.
    Copy,
    /// OPTIONS.
    Options,
    /// Anything else; no path answers it.
    Other,
}

impl Method {
    /// Reads the method's name; HEAD counts as GET.
    pub fn from_name(name: &str) -> Self {
        match name {
            "GET" | "HEAD" => Self::Get,
            "PUT" => Self::Put,
            "POST" => Self::Post,
            "DELETE" => Self::Delete,
            "COPY" => Self::Copy,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }

    /// The method a POST request names in `X-HTTP-Method-Override`; names that CouchDB doesn't
    /// honour there are ignored.
    pub fn from_override(name: &str) -> Option<Self> {
        const HONOURED: [&str; 8] =
            ["GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "COPY"];
        HONOURED.contains(&name).then(|| Self::from_name(name))
    }
}
