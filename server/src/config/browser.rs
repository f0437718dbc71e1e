//! What browsers are told about this server, and which hosts they may know it by.

use http::HeaderValue;

use super::layers::{ConfigError, Layers};
use super::settings::Options;

/// `[chttpd] enable_xframe_options`, `[x_frame_options]` and `[chttpd] valid_hosts`.
#[derive(Clone, Debug, Default)]
pub struct BrowserSettings {
    frames: Option<Frames>,
    valid_hosts: Option<Vec<String>>,
}

/// Which pages may show this server's in a frame.
#[derive(Clone, Debug)]
enum Frames {
    SameOrigin,
    /// Those of these origins, `*` for all.
    From(Vec<String>),
}

impl BrowserSettings {
    pub(super) fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let http = Options::http(layers);
        let frame = Options { layers, sections: &["x_frame_options"] };
        let frames = match (frame.flag("same_origin")?, frame.list("hosts")) {
            (true, _) => Frames::SameOrigin,
            (false, hosts) => Frames::From(hosts),
        };
        let valid_hosts = http.list("valid_hosts");
        Ok(Self {
            frames: http.flag("enable_xframe_options")?.then_some(frames),
            valid_hosts: http.flag("validate_host")?.then_some(valid_hosts),
        })
    }

    /// `X-Frame-Options` for an answer to somebody who knows this server by this URI.
    pub fn x_frame_options(&self, base_uri: impl FnOnce() -> String) -> Option<HeaderValue> {
        let origins = match self.frames.as_ref()? {
            Frames::SameOrigin => return Some(HeaderValue::from_static("SAMEORIGIN")),
            Frames::From(origins) => origins,
        };
        let base_uri = base_uri();
        if origins.iter().any(|origin| origin == "*" || *origin == base_uri) {
            return HeaderValue::try_from(format!("ALLOW-FROM {base_uri}")).ok();
        }
        Some(HeaderValue::from_static("DENY"))
    }

    /// Whether the host of a request, given as in the header `Host`, is one of this server's.
    pub fn is_valid_host(&self, host: &str) -> bool {
        // The port isn't part of the name; an IPv6 address keeps its colons in brackets.
        let end = host.rfind(']').map_or_else(|| host.find(':'), |bracket| Some(bracket + 1));
        let name = end.and_then(|end| host.get(..end)).unwrap_or(host);
        let valid =
            |hosts: &Vec<String>| hosts.iter().any(|valid| valid.eq_ignore_ascii_case(name));
        self.valid_hosts.as_ref().is_none_or(valid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> BrowserSettings {
        BrowserSettings::read(&Layers::with(text)).unwrap()
    }

    #[test]
    fn frames() {
        const ON: &str = "[chttpd]\nenable_xframe_options = true\n[x_frame_options]\n";
        let header = |options: &str| {
            settings(&format!("{ON}{options}")).x_frame_options(|| "http://a".into())
        };
        assert_eq!(header("").unwrap(), "DENY");
        assert_eq!(header("same_origin = true").unwrap(), "SAMEORIGIN");
        assert_eq!(header("hosts = http://b, http://a").unwrap(), "ALLOW-FROM http://a");
        assert_eq!(header("hosts = http://b").unwrap(), "DENY");
        assert!(settings("").x_frame_options(|| "http://a".into()).is_none());
    }

    #[test]
    fn hosts() {
        let on = settings("[chttpd]\nvalidate_host = true\nvalid_hosts = a.example, [::1]\n");
        assert!(on.is_valid_host("A.example:5984") && on.is_valid_host("[::1]:5984"));
        assert!(!on.is_valid_host("b.example") && !on.is_valid_host(""));
        assert!(settings("").is_valid_host("anything"));
    }
}
