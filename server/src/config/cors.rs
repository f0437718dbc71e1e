//! `[cors]` and `[cors:HOST]`: which pages of other origins may use this server, and how.

use std::collections::BTreeMap;

use http::HeaderValue;

use super::layers::{ConfigError, Layers};
use super::settings::Options;

/// What sections for one host are called before the host's name.
const HOST_SECTION: &str = "cors:";

/// Methods that pages of other origins may use unless `methods` says otherwise.
const METHODS: &str = "CONNECT, COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT, TRACE";

/// Headers that they may send unless `headers` says otherwise.
const HEADERS: &str = "accept, accept-language, authorization, content-length, content-range, \
    content-type, destination, expires, if-match, last-modified, origin, pragma, \
    x-couch-full-commit, x-couch-id, x-couch-persist, x-couchdb-www-authenticate, \
    x-http-method-override, x-requested-with, x-couchdb-vhost-path";

/// Headers that they may read unless `exposed_headers` says otherwise.
const EXPOSED: &str = "accept-ranges, etag, server, x-couch-request-id, x-couch-update-newrev, \
    x-couchdb-body-time";

/// Seconds for which a browser may remember what a preflight said, unless `max_age` says otherwise.
const MAX_AGE: &str = "600";

/// The rules for pages of other origins: the general ones, and those of single hosts.
#[derive(Clone, Debug, Default)]
pub struct CorsSettings {
    enabled: bool,
    general: CorsPolicy,
    hosts: BTreeMap<String, CorsPolicy>,
}

/// The rules for pages of other origins that ask one host.
#[derive(Clone, Debug, Default)]
pub struct CorsPolicy {
    /// `origins`, scheme included; `*` among them admits every one.
    pub origins: Vec<String>,
    /// `credentials`: whether cookies and passwords may come along.
    pub credentials: bool,
    /// `methods`.
    pub methods: Vec<String>,
    /// `headers` that may be sent, in lower case.
    pub headers: Vec<String>,
    /// `exposed_headers`: those that may be read, in lower case.
    pub exposed_headers: Vec<String>,
    /// `max_age` of a preflight's answer, in seconds.
    pub max_age: String,
}

impl CorsPolicy {
    /// Whether pages of this origin are admitted; capitals count.
    pub fn admits(&self, origin: &str) -> bool {
        self.origins.iter().any(|admitted| admitted == "*" || admitted == origin)
    }

    /// The options of a host's section, each with the general one as its default.
    fn read(layers: &Layers, sections: &[&str]) -> Result<Self, ConfigError> {
        let options = Options { layers, sections };
        let text = |key: &str, default: &str| {
            let text = options.text(key).unwrap_or_else(|| default.to_owned());
            // Each of them is sent in a header.
            match HeaderValue::from_str(&text) {
                Ok(_) => Ok(text),
                Err(_) => Err(options.wrong(key, &text, "characters that no header can carry")),
            }
        };
        let list = |key, default| Ok(items(&text(key, default)?));
        let lower = |key, default| Ok(items(&text(key, default)?.to_ascii_lowercase()));
        Ok(Self {
            origins: list("origins", "")?,
            credentials: options.text("credentials").as_deref() == Some("true"),
            methods: list("methods", METHODS)?,
            headers: lower("headers", HEADERS)?,
            exposed_headers: lower("exposed_headers", EXPOSED)?,
            max_age: text("max_age", MAX_AGE)?,
        })
    }
}

impl CorsSettings {
    pub(super) fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let mut hosts = BTreeMap::new();
        for section in layers.section_names() {
            let Some(host) = section.strip_prefix(HOST_SECTION) else { continue };
            // CouchDB's own example writes the scheme there, too.
            let host = host.split_once("://").map_or(host, |(_, host)| host);
            hosts.insert(host.to_owned(), CorsPolicy::read(layers, &[&section, "cors"])?);
        }
        Ok(Self {
            enabled: Options::http(layers).flag("enable_cors")?,
            general: CorsPolicy::read(layers, &["cors"])?,
            hosts,
        })
    }

    /// The rules for requests to a host, given as in the header `Host`; `None` while the whole
    /// feature is off.
    pub fn policy(&self, host: &str) -> Option<&CorsPolicy> {
        let name = host.split(':').next().unwrap_or_default();
        self.enabled.then(|| self.hosts.get(name).unwrap_or(&self.general))
    }
}

fn items(text: &str) -> Vec<String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> CorsSettings {
        CorsSettings::read(&Layers::with(text)).unwrap()
    }

    #[test]
    fn it_is_off_until_it_is_switched_on() {
        assert!(settings("[cors]\norigins = *\n").policy("h").is_none());
        assert!(settings("[httpd]\nenable_cors = true\n").policy("h").is_some());
    }

    #[test]
    fn a_hosts_section_overrides_key_by_key() {
        let text = "[chttpd]\nenable_cors = true\n[cors]\norigins = http://a\ncredentials = true\n\
                    [cors:one.example]\norigins = http://b, http://c\n\
                    [cors:http://two.example]\nmax_age = 5\n";
        let settings = settings(text);
        let one = settings.policy("one.example:5984").unwrap();
        assert!(one.admits("http://c") && !one.admits("http://a") && one.credentials);
        let two = settings.policy("two.example").unwrap();
        assert!(two.admits("http://a") && two.max_age == "5");
        assert!(settings.policy("three.example").unwrap().admits("http://a"));
    }

    #[test]
    fn capitals_of_origins_count_and_those_of_headers_dont() {
        let text = "[chttpd]\nenable_cors = true\n[cors]\norigins = http://A\nheaders = X-One\n";
        let settings = settings(text);
        let policy = settings.policy("h").unwrap();
        assert!(policy.admits("http://A") && !policy.admits("http://a"));
        assert_eq!(policy.headers, ["x-one"]);
        assert!(policy.methods.contains(&"COPY".to_owned()));
    }
}
