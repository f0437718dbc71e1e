//! The web interface (`server/web/`), compiled into the binary, and the icon.

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};

use super::etag;
use crate::http::{Failure, Outcome, Reply, ReplyBody, Request};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// Names files of `server/web/` with their types.
macro_rules! files {
    ($($kind:ident $name:literal),* $(,)?) => {
        [$(($name, $kind, include_bytes!(concat!("../../web/", $name)).as_slice())),*]
    };
}

/// Path below `/_utils/`, type, and content.
const FILES: [(&str, &str, &[u8]); 23] = files![
    HTML "index.html",
    HTML "session.html",
    STYLE "settee.css",
    PICTURE "settee.svg",
    SCRIPT "api.js",
    SCRIPT "app.js",
    SCRIPT "html.js",
    SCRIPT "json.js",
    SCRIPT "lines.js",
    SCRIPT "session.js",
    SCRIPT "sign-in.js",
    SCRIPT "pages/again.js",
    SCRIPT "pages/changes.js",
    SCRIPT "pages/config.js",
    SCRIPT "pages/databases.js",
    SCRIPT "pages/document.js",
    SCRIPT "pages/documents.js",
    SCRIPT "pages/find.js",
    SCRIPT "pages/replication.js",
    SCRIPT "pages/settings.js",
    SCRIPT "pages/tabs.js",
    SCRIPT "pages/tasks.js",
    SCRIPT "pages/users.js",
];

/// GET `/_utils` and below.
pub(super) fn get(request: &Request, rest: &[&[u8]]) -> Outcome {
    if rest.is_empty() && !request.uri.path().ends_with('/') {
        return Ok(Reply::empty(301).with_location(&format!("{}/_utils/", request.base_uri())));
    }
    let path = rest.join(&b'/');
    let path = if path.is_empty() { b"index.html".as_slice() } else { path.as_slice() };
    let found = FILES.iter().find(|(name, ..)| name.as_bytes() == path);
    let &(_, kind, content) = found.ok_or_else(|| Failure::not_found("missing"))?;
    let tag = etag::of(&[content]);
    let mut reply = if request.none_match(&tag) {
        Reply::not_modified(&tag)
    } else {
        let body = ReplyBody::Whole(Bytes::from_static(content));
        Reply::with_body(200, HeaderValue::from_static(kind), body).with_etag(&tag)
    };
    if let Some(policy) = &request.app.settings().utils_csp {
        reply = reply.with_text_header(CONTENT_SECURITY_POLICY, policy);
    }
    Ok(reply.with_header(CACHE_CONTROL, HeaderValue::from_static("private, must-revalidate")))
}

/// GET `/favicon.ico`.
pub(super) fn favicon() -> Reply {
    const ICON: &[u8] = include_bytes!("../../web/settee.svg");
    Reply::with_body(
        200,
        HeaderValue::from_static(PICTURE),
        ReplyBody::Whole(Bytes::from_static(ICON)),
    )
    .with_header(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000"))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// A file that nobody serves is a page that does not load.
    #[test]
    fn every_file_of_the_interface_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let mut names = Vec::new();
        for place in ["", "pages/"] {
            for entry in fs::read_dir(folder.join(place)).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    names.push(format!("{place}{}", entry.file_name().to_string_lossy()));
                }
            }
        }
        names.retain(|name| name != "README.md");
        names.sort();
        let mut served: Vec<_> = FILES.iter().map(|&(name, ..)| name.to_owned()).collect();
        served.sort();
        assert_eq!(served, names);
    }
}
