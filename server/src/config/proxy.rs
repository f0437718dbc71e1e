//! The reverse proxy: path prefixes that stand for other servers.
//!
//! ```ini
//! [proxy]
//! _app = http://127.0.0.1:3000
//!
//! [proxy:_app]
//! require_valid_user = true
//! timeout = 60000
//!
//! ; as in CouchDB 1
//! [httpd_global_handlers]
//! _fti = {couch_httpd_proxy, handle_proxy_req, <<"http://127.0.0.1:5985">>}
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};

use super::layers::{ConfigError, Layers};
use super::settings::Options;

const SECTION: &str = "proxy";
const OLD_SECTION: &str = "httpd_global_handlers";

/// The function of CouchDB 1 that was the proxy.
const OLD_HANDLER: &str = "couch_httpd_proxy";

/// How long a server may take to begin its answer, in milliseconds, unless `timeout` says otherwise.
const DEFAULT_TIMEOUT_MS: u64 = 60_000;

/// Paths that are this server's own.
const OWN: [&str; 22] = [
    "_active_tasks",
    "_all_dbs",
    "_cluster_setup",
    "_config",
    "_db_updates",
    "_dbs",
    "_dbs_info",
    "_global_changes",
    "_membership",
    "_node",
    "_nodes",
    "_nouveau_analyze",
    "_reload_query_servers",
    "_replicate",
    "_replicator",
    "_reshard",
    "_scheduler",
    "_search_analyze",
    "_session",
    "_up",
    "_users",
    "_utils",
];

/// The servers behind this one, by prefix.
#[derive(Clone, Debug, Default)]
pub struct Proxies(BTreeMap<String, Upstream>);

/// A server behind this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The path segment it is known by, such as `_app`.
    pub prefix: String,
    /// Its host and port.
    pub authority: Authority,
    /// What its paths begin with; without a slash at the end.
    pub path: String,
    /// `require_valid_user`: whether only those who are known may use it.
    pub require_valid_user: bool,
    /// `timeout`: how long it may take to begin its answer.
    pub timeout: Duration,
}

impl Proxies {
    pub(super) fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let mut upstreams = BTreeMap::new();
        for (prefix, handler) in layers.section(OLD_SECTION) {
            // Other handlers were CouchDB's own paths.
            let Some(url) = old_form(&handler) else { continue };
            upstreams.insert(prefix.clone(), Upstream::read(layers, OLD_SECTION, &prefix, url)?);
        }
        for (prefix, url) in layers.section(SECTION) {
            upstreams.insert(prefix.clone(), Upstream::read(layers, SECTION, &prefix, &url)?);
        }
        Ok(Self(upstreams))
    }

    /// The server that a path whose first segment is this belongs to.
    pub fn find(&self, first_segment: &[u8]) -> Option<&Upstream> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(str::from_utf8(first_segment).ok()?)
    }
}

/// The URL in `{couch_httpd_proxy, handle_proxy_req, <<"http://…">>}`.
fn old_form(handler: &str) -> Option<&str> {
    let rest = handler.trim().strip_prefix('{')?.trim_start().strip_prefix(OLD_HANDLER)?;
    let (_, url) = rest.split_once("<<\"")?;
    Some(url.split_once("\">>")?.0)
}

impl Upstream {
    fn read(layers: &Layers, section: &str, prefix: &str, url: &str) -> Result<Self, ConfigError> {
        let wrong = |expected| ConfigError::value(section, prefix, url, expected);
        if !prefix.starts_with('_') || prefix.contains(['/', '%']) || prefix.len() < 2 {
            return Err(wrong("a prefix is one path segment that begins with _"));
        }
        if OWN.contains(&prefix) {
            return Err(wrong("this path is the server's own"));
        }
        let (authority, path) = destination(url).ok_or_else(|| {
            wrong("a destination is a URL of the form http://host:port/path (TLS is not spoken to it)")
        })?;
        let own_section = format!("{SECTION}:{prefix}");
        let sections = [own_section.as_str()];
        let options = Options { layers, sections: &sections };
        let timeout_ms = match options.text("timeout") {
            Some(_) => options.number("timeout")?,
            None => DEFAULT_TIMEOUT_MS,
        };
        Ok(Self {
            prefix: prefix.to_owned(),
            authority,
            path,
            require_valid_user: options.flag("require_valid_user")?,
            timeout: Duration::from_millis(timeout_ms),
        })
    }
}

/// Host and port, and path without its last slashes.
fn destination(url: &str) -> Option<(Authority, String)> {
    let uri: Uri = url.parse().ok()?;
    let plain = uri.scheme() == Some(&Scheme::HTTP) && uri.query().is_none();
    let authority =
        uri.authority().filter(|authority| plain && !authority.as_str().contains('@'))?;
    Some((authority.clone(), uri.path().trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Proxies, ConfigError> {
        Proxies::read(&Layers::with(text))
    }

    #[test]
    fn both_forms_are_understood() {
        let text = "[httpd_global_handlers]\n/ = {couch_httpd_misc_handlers, handle_welcome_req, <<\"x\">>}\n\
                    _fti = {couch_httpd_proxy, handle_proxy_req, <<\"http://127.0.0.1:5985\">>}\n\
                    [proxy]\n_app = http://localhost:3000/a/b/\n[proxy:_app]\nrequire_valid_user = true\n";
        let proxies = read(text).unwrap();
        let old = proxies.find(b"_fti").unwrap();
        assert_eq!((old.authority.as_str(), &*old.path), ("127.0.0.1:5985", ""));
        assert!(!old.require_valid_user);
        let app = proxies.find(b"_app").unwrap();
        assert_eq!((app.authority.as_str(), &*app.path), ("localhost:3000", "/a/b"));
        assert!(app.require_valid_user && app.timeout == Duration::from_secs(60));
        assert!(proxies.find(b"_other").is_none());
    }

    #[test]
    fn what_would_lead_astray_is_refused() {
        for line in [
            "_session = http://a",
            "app = http://a",
            "_a/b = http://a",
            "_ = http://a",
            "_app = /other",
            "_app = ftp://a",
            "_app = https://a",
            "_app = http://name:word@a",
            "_app = http://a/?x",
        ] {
            assert!(read(&format!("[proxy]\n{line}\n")).is_err(), "{line}");
        }
        assert!(read("[proxy]\n_app = http://a\n[proxy:_app]\ntimeout = soon\n").is_err());
    }
}
