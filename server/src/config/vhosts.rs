//! `[vhosts]`: hosts and paths that stand for another path of this server.

use super::layers::{ConfigError, Layers};

const SECTION: &str = "vhosts";

/// Paths that every virtual host has, given by their first segment.
const GLOBAL: [&str; 4] = ["_utils", "_uuids", "_session", "_users"];

/// One line of `[vhosts]`. Their order is the one in which they are tried, last to first: as
/// CouchDB's, names come before variables, and longer paths before shorter ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    labels: Vec<Part>,
    port: Port,
    prefix: Vec<String>,
    target: Vec<Part>,
}

/// A label of a host name, or a segment of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// `*`: one or more labels.
    Rest,
    /// `:name`.
    Variable(String),
    Literal(String),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Port {
    Only(u16),
    Any,
}

/// The virtual hosts.
///
/// ```
/// # use settee_server::config::Config;
/// let config = Config::load(vec![], &[]).unwrap();
/// config.set("vhosts", "*.example.com", Some("/*"), false).unwrap();
/// let vhosts = config.settings().vhosts;
/// assert_eq!(vhosts.rewrite("blog.example.com", "/x").unwrap().target, "/blog/x");
/// assert!(vhosts.rewrite("example.org", "/x").is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Vhosts(Vec<Rule>);

/// What a request to a virtual host comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The path that is answered.
    pub target: String,
    /// The path as the virtual host sees it.
    pub path: String,
}

impl Vhosts {
    pub(super) fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let mut rules = Vec::new();
        for (host, target) in layers.section(SECTION) {
            if !target.starts_with('/') {
                let expected = "a target must be a path that begins with /";
                return Err(ConfigError::value(SECTION, &host, &target, expected));
            }
            rules.push(Rule::parse(&host, &target));
        }
        rules.sort_by(|one, other| other.cmp(one));
        Ok(Self(rules))
    }

    /// The path that stands for this one on this host (given as in the header `Host`), unless it
    /// stands for itself.
    pub fn rewrite(&self, host: &str, path: &str) -> Option<Rewritten> {
        if self.0.is_empty() {
            return None;
        }
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        if segments.first().is_some_and(|first| GLOBAL.contains(first)) {
            return None;
        }
        let (host, port) = split_port(host);
        // Labels become segments of a path, whose other parts are not the client's to choose.
        if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return None;
        }
        let labels: Vec<&str> = host.split('.').filter(|label| !label.is_empty()).collect();
        self.0.iter().find_map(|rule| rule.apply(&labels, &port, &segments))
    }
}

impl Rule {
    fn parse(host: &str, target: &str) -> Self {
        let (host, prefix) = match host.find('/') {
            Some(slash) => host.split_at(slash),
            None => (host, ""),
        };
        let (host, port) = split_port(host);
        // A path without a host is every host's.
        let host = if host.is_empty() { "*" } else { host };
        let owned = |segment: &str| (!segment.is_empty()).then(|| segment.to_owned());
        Self {
            labels: parts(host, '.'),
            port,
            prefix: prefix.split('/').filter_map(owned).collect(),
            target: parts(target, '/'),
        }
    }

    fn apply(&self, labels: &[&str], port: &Port, segments: &[&str]) -> Option<Rewritten> {
        if self.port != Port::Any && self.port != *port {
            return None;
        }
        let bound = Bound::to(&self.labels, labels)?;
        let rest = segments.get(self.prefix.len()..)?;
        if !self.prefix.iter().zip(segments).all(|(wanted, found)| wanted == found) {
            return None;
        }
        let path = joined(rest.iter().copied());
        let target = joined(bound.fill(&self.target).into_iter());
        let target = if target == "/" { path.clone() } else { target + &path };
        Some(Rewritten { target, path })
    }
}

/// What the variables of a host pattern stand for.
struct Bound<'h> {
    variables: Vec<(&'h str, &'h str)>,
    /// The labels behind `*`, from right to left.
    rest: Vec<&'h str>,
}

impl<'h> Bound<'h> {
    /// Matches from the right; `*` is good for what is left, if anything is.
    fn to(pattern: &'h [Part], labels: &[&'h str]) -> Option<Self> {
        let mut bound = Self { variables: Vec::new(), rest: Vec::new() };
        let mut labels = labels.iter().rev();
        for (left, part) in pattern.iter().rev().enumerate() {
            if *part == Part::Rest && left + 1 == pattern.len() {
                bound.rest = labels.copied().collect();
                return (!bound.rest.is_empty()).then_some(bound);
            }
            let label = labels.next()?;
            match part {
                Part::Literal(name) if name.eq_ignore_ascii_case(label) => {}
                Part::Variable(name) => bound.variables.push((name, label)),
                _ => return None,
            }
        }
        labels.next().is_none().then_some(bound)
    }

    fn fill<'r>(&'r self, target: &'r [Part]) -> Vec<&'r str> {
        let value = |name: &str| self.variables.iter().find(|(known, _)| *known == name);
        let mut segments = Vec::with_capacity(target.len());
        for part in target {
            match part {
                Part::Literal(segment) => segments.push(segment.as_str()),
                Part::Variable(name) => {
                    segments.push(value(name).map_or("undefined", |(_, label)| label));
                }
                Part::Rest => {
                    segments.extend(&self.rest);
                    break;
                }
            }
        }
        segments
    }
}

fn parts(text: &str, separator: char) -> Vec<Part> {
    let part = |text: &str| match text.strip_prefix(':') {
        _ if text == "*" => Part::Rest,
        Some(name) => Part::Variable(name.to_owned()),
        None => Part::Literal(text.to_owned()),
    };
    text.split(separator).filter(|text| !text.is_empty()).map(part).collect()
}

fn joined<'s>(segments: impl Iterator<Item = &'s str>) -> String {
    let path = segments.fold(String::new(), |path, segment| path + "/" + segment);
    if path.is_empty() { "/".to_owned() } else { path }
}

fn split_port(host: &str) -> (&str, Port) {
    let port = host.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    port.map_or((host, Port::Any), |(host, port)| (host, Port::Only(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what a request to a host comes to under these lines; `-` is nothing.
    fn check(lines: &str, host: &str, path: &str, expected: &str) {
        let vhosts = Vhosts::read(&Layers::with(&format!("[vhosts]\n{lines}"))).unwrap();
        let rewritten = vhosts.rewrite(host, path);
        let found = rewritten.as_ref().map_or("-", |rewritten| &rewritten.target);
        assert_eq!(found, expected, "{host}{path} under {lines}");
    }

    #[test]
    fn the_documented_examples() {
        check("example.com = /mydb", "example.com", "/doc", "/mydb/doc");
        check("example.com = /mydb", "example.com:5984", "/", "/mydb/");
        check("*.example.com = /*", "blog.example.com", "/x", "/blog/x");
        check("*.example.com = /*", "a.b.example.com", "/x", "/b/a/x");
        check("*.example.com = /*", "example.com", "/x", "-");
        check(":db.example.com = /:db", "a.example.com", "/", "/a/");
        check(
            ":dd.:db.example.com = /:db/_design/:dd/_rewrite",
            "app.shop.example.com",
            "/p/1",
            "/shop/_design/app/_rewrite/p/1",
        );
        check("example.com/api = /db", "example.com", "/api/1", "/db/1");
        check("example.com/api = /db", "example.com", "/other", "-");
        check("example.com = /", "example.com", "/", "/");
    }

    #[test]
    fn paths_that_every_host_has_stay() {
        for path in ["/_session", "/_utils/x", "/_uuids", "/_users/x"] {
            check("example.com = /mydb", "example.com", path, "-");
        }
        check("example.com = /mydb", "example.com", "/_all_docs", "/mydb/_all_docs");
    }

    #[test]
    fn names_go_before_variables_and_long_paths_before_short_ones() {
        let lines = "*.example.com = /rest\n:x.example.com = /one\nwww.example.com = /www\n\
                     www.example.com/api = /api\n";
        check(lines, "www.example.com", "/d", "/www/d");
        check(lines, "www.example.com", "/api/d", "/api/d");
        check(lines, "other.example.com", "/d", "/one/d");
        check(lines, "a.b.example.com", "/d", "/rest/d");
    }

    #[test]
    fn ports_and_unknown_variables() {
        check("example.com:81 = /db", "example.com:81", "/", "/db/");
        check("example.com:81 = /db", "example.com", "/", "-");
        check("example.com = /:db", "example.com", "/x", "/undefined/x");
        check(":db.example.com = /:db/_design/app", "a/b?.example.com", "/x", "-");
    }

    #[test]
    fn a_target_is_a_path() {
        assert!(Vhosts::read(&Layers::with("[vhosts]\na = http://b\n")).is_err());
    }
}
