//! Passwords in replication documents and URLs, and taking them out before others see them.

use settee_engine::Redaction;
use settee_engine::json::{Object, Value};

/// The members of an endpoint that hold nothing but credentials.
const SECRET_MEMBERS: [&str; 2] = ["headers", "auth"];

/// The members of a replication document that are endpoints,
const ENDPOINTS: [&str; 2] = ["source", "target"];

/// and those that are URLs of proxies.
const PROXIES: [&str; 3] = ["proxy", "source_proxy", "target_proxy"];

/// The URL without name and password. Text that is no URL is left alone.
pub(crate) fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// Shows replication documents without the credentials in them.
pub(super) struct WithoutCredentials {
    /// Whose own documents are shown as they are.
    pub(super) reader: Option<String>,
}

impl Redaction for WithoutCredentials {
    fn redact(&self, body: &Value) -> Option<Value> {
        let owner = body.get("owner").and_then(Value::as_str);
        if owner.is_some() && owner == self.reader.as_deref() {
            return None;
        }
        let members = body.as_object()?.iter();
        let shown: Object =
            members.map(|(name, value)| (name.to_owned(), shown(name, value))).collect();
        Some(Value::Object(shown))
    }
}

fn shown(name: &str, value: &Value) -> Value {
    match value {
        Value::String(url) if ENDPOINTS.contains(&name) || PROXIES.contains(&name) => {
            Value::from(without_credentials(url))
        }
        Value::Object(endpoint) if ENDPOINTS.contains(&name) => {
            let kept = endpoint.iter().filter(|(name, _)| !SECRET_MEMBERS.contains(name));
            let kept = kept.map(|(name, value)| match value {
                Value::String(url) if name == "url" => {
                    (name.to_owned(), Value::from(without_credentials(url)))
                }
                other => (name.to_owned(), other.clone()),
            });
            Value::Object(kept.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_name_and_password_and_nothing_else() {
        for (url, expected) in [
            ("http://a:b@host:5984/db", "http://host:5984/db"),
            ("https://a@host/", "https://host/"),
            ("http://a:b@c@host", "http://host"),
            ("http://host/db@home?x=a:b@c", "http://host/db@home?x=a:b@c"),
            ("http://a:b@host?x", "http://host?x"),
            ("http://[::1]:5984/db", "http://[::1]:5984/db"),
            ("socks5://u:p@proxy:1080", "socks5://proxy:1080"),
            ("db", "db"),
        ] {
            assert_eq!(without_credentials(url), expected);
        }
    }

    fn check(reader: Option<&str>, body: &str, expected: Option<&str>) {
        let body = Value::parse(body.as_bytes()).unwrap();
        let redaction = WithoutCredentials { reader: reader.map(str::to_owned) };
        let shown =
            redaction.redact(&body).map(|shown| String::from_utf8(shown.to_json()).unwrap());
        assert_eq!(shown.as_deref(), expected);
    }

    #[test]
    fn others_see_no_credentials() {
        let body = r#"{"source":{"url":"http://a:b@h/s","headers":{"x":"y"},"auth":{"basic":{}},"z":1},"target":"http://c:d@h/t","proxy":"http://p:q@h","owner":"anna","n":1}"#;
        let shown = r#"{"source":{"url":"http://h/s","z":1},"target":"http://h/t","proxy":"http://h","owner":"anna","n":1}"#;
        check(Some("otto"), body, Some(shown));
        check(None, body, Some(shown));
        check(Some("anna"), body, None);
        check(None, r#"{"owner":null}"#, Some(r#"{"owner":null}"#));
    }
}
