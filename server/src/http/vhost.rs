//! Requests to virtual hosts, which are answered as if another path had been asked for.

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};

use super::Request;
use crate::config::Settings;

/// The path that the client asked for.
const VHOST_PATH: HeaderName = HeaderName::from_static("x-couchdb-vhost-path");

/// Puts the path that `[vhosts]` says in place of the one asked for, and notes that one in a header, by
/// which rewrites and links find their way back.
pub(super) fn rewrite(request: &mut Request, settings: &Settings) {
    let Some(rewritten) = settings.vhosts.rewrite(request.host(), request.uri.path()) else {
        return;
    };
    let with_query = |path: String| match request.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let (target, path) = (with_query(rewritten.target), with_query(rewritten.path));
    let (Ok(target), Ok(path)) = (PathAndQuery::try_from(target), HeaderValue::try_from(path))
    else {
        // Only a label that no path can carry could come here; the host is then nobody's.
        return;
    };
    request.uri = Uri::from(target);
    request.headers.insert(VHOST_PATH, path);
}
