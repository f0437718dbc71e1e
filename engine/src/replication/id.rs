//! What tells one replication from another: the name its checkpoints are kept under.
//!
//! It is the MD5 of an Erlang term, by CouchDB's recipe, so that a checkpoint which a CouchDB with the
//! same uuid has written is found again. Its older recipes are kept for the same reason.

use std::fmt;

use md5::{Digest as _, Md5};

use super::{
    context::ServerIdentity,
    endpoint::{Endpoint, LocalEndpoint, RemoteEndpoint},
    filter::Filter,
    request::Replication,
    selector,
};
use crate::{
    document::Body,
    error::Result as EngineResult,
    json::{Object, Value},
    revision::term::{
        NIL, VERSION, write_atom, write_binary, write_characters, write_json, write_list_head,
        write_tuple_head, write_unsigned,
    },
};

/// The newest recipe, also what checkpoints say they were written by.
pub const REPLICATION_ID_VERSION: u8 = 4;

/// The id of a replication.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicationId {
    /// 32 hexadecimal digits; checkpoints are kept under `_local/` and these.
    pub base: String,
    /// `+continuous` and `+create_target`, as the replication is.
    pub suffix: String,
}

impl ReplicationId {
    /// Reads an id as it is printed. A blank stands for the plus that somebody took for one.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.replace(' ', "+");
        let (base, suffix) = text.split_at(text.find('+').unwrap_or(text.len()));
        ReplicationId { base: base.to_owned(), suffix: suffix.to_owned() }
    }
}

impl fmt::Display for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.base, self.suffix)
    }
}

/// The id of a replication; `filter_code` is the text of the function of [`Filter::Function`], as it
/// stands in the source.
///
/// # Errors
/// [`crate::Error::Selector`] if the selector makes no sense.
pub fn replication_id(
    replication: &Replication,
    server: &ServerIdentity,
    filter_code: Option<&str>,
) -> EngineResult<ReplicationId> {
    let mut suffix = String::new();
    if replication.continuous {
        suffix.push_str("+continuous");
    }
    if replication.create_target {
        suffix.push_str("+create_target");
    }
    let base = base_id(replication, server, filter_code, REPLICATION_ID_VERSION)?;
    Ok(ReplicationId { base, suffix })
}

/// The id by one of the recipes 1 to 4, without suffix.
pub(super) fn base_id(
    replication: &Replication,
    server: &ServerIdentity,
    filter_code: Option<&str>,
    version: u8,
) -> EngineResult<String> {
    let term = term(replication, server, filter_code, version)?;
    Ok(Md5::digest(&term).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn term(
    replication: &Replication,
    server: &ServerIdentity,
    filter_code: Option<&str>,
    version: u8,
) -> EngineResult<Vec<u8>> {
    let mut elements = server_elements(server, version);
    for endpoint in [&replication.source, &replication.target] {
        let mut element = Vec::new();
        match endpoint {
            Endpoint::Remote(remote) if version == REPLICATION_ID_VERSION => {
                write_remote(remote, &mut element);
            }
            Endpoint::Remote(remote) => write_old_remote(remote, &mut element),
            Endpoint::Local(local) => write_local(local, &mut element),
        }
        elements.push(element);
    }
    filter_elements(&replication.filter, filter_code, &mut elements)?;
    if replication.winning_revs_only {
        elements.push(binary("winning_revs_only"));
    }
    elements.extend(replication.since_seq.as_ref().map(json));
    let mut out = vec![VERSION];
    // Seven at the most.
    write_list_head(elements.len() as u32, &mut out);
    out.extend(elements.concat());
    out.push(NIL);
    Ok(out)
}

fn server_elements(server: &ServerIdentity, version: u8) -> Vec<Vec<u8>> {
    if version > 2 {
        return vec![binary(&server.uuid)];
    }
    let mut host = Vec::new();
    write_characters(server.host_name.as_bytes(), &mut host);
    if version == 1 {
        return vec![host];
    }
    let mut port = Vec::new();
    write_unsigned(u64::from(server.port), &mut port);
    vec![host, port]
}

fn binary(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_binary(text.as_bytes(), &mut out);
    out
}

fn json(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_json(&Body::from_stored(value.to_json()), &mut out);
    out
}

fn params(params: &Object) -> Vec<u8> {
    json(&Value::Object(params.clone()))
}

/// `{remote, User, Host, Port, Path, Headers, undefined}`
fn write_remote(remote: &RemoteEndpoint, out: &mut Vec<u8>) {
    let (host, port, path) = url_info(&remote.url);
    write_tuple_head(7, out);
    write_atom(b"remote", out);
    match &remote.spelled_user {
        Some(user) => write_characters(user.as_bytes(), out),
        None => write_atom(b"undefined", out),
    }
    write_characters(host.as_bytes(), out);
    match port {
        Some(port) => write_unsigned(u64::from(port), out),
        None => write_atom(b"default", out),
    }
    write_characters(path.as_bytes(), out);
    write_headers(remote, out);
    write_atom(b"undefined", out);
}

/// `{remote, Url, Headers}`
fn write_old_remote(remote: &RemoteEndpoint, out: &mut Vec<u8>) {
    write_tuple_head(3, out);
    write_atom(b"remote", out);
    write_characters(remote.url.as_bytes(), out);
    write_headers(remote, out);
}

/// `{local, Name, User}`: CouchDB replicates its own databases by URL, and no longer has a form for them.
fn write_local(local: &LocalEndpoint, out: &mut Vec<u8>) {
    write_tuple_head(3, out);
    write_atom(b"local", out);
    write_binary(local.name.as_bytes(), out);
    match local.caller.name() {
        Some(user) => write_binary(user.as_bytes(), out),
        None => write_atom(b"undefined", out),
    }
}

/// The headers that are not sent anyway.
fn write_headers(remote: &RemoteEndpoint, out: &mut Vec<u8>) {
    let sent_anyway =
        |(name, value): &&(String, String)| name == "Accept" && value == "application/json";
    let extra: Vec<_> = remote.headers.iter().filter(|header| !sent_anyway(header)).collect();
    if !extra.is_empty() {
        // Their number is limited.
        write_list_head(extra.len() as u32, out);
    }
    for (name, value) in extra {
        write_tuple_head(2, out);
        write_characters(name.as_bytes(), out);
        write_characters(value.as_bytes(), out);
    }
    out.push(NIL);
}

/// Host, port unless it goes without saying, and path with query.
fn url_info(url: &str) -> (&str, Option<u16>, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    let port = port.filter(|port| !matches!((scheme, port), ("https", 443) | ("http", 80 | 5984)));
    (host.trim_start_matches('[').trim_end_matches(']'), port, path)
}

fn filter_elements(
    filter: &Filter,
    code: Option<&str>,
    elements: &mut Vec<Vec<u8>>,
) -> EngineResult<()> {
    match filter {
        Filter::None => {}
        Filter::Function { query_params, .. } => {
            elements.push(binary(&trimmed(code.unwrap_or_default())));
            elements.push(params(query_params));
        }
        Filter::View { query_params, .. } => {
            elements.extend([binary("_view"), params(query_params)]);
        }
        Filter::Builtin { name, query_params } => {
            elements.extend([binary(name), params(query_params)]);
        }
        Filter::DocIds(ids) => {
            let ids = ids.iter().map(|id| Value::from(id.as_str())).collect::<Vec<_>>();
            elements.push(json(&Value::Array(ids)));
        }
        Filter::Selector(selector) => elements.push(json(&selector::normal(selector)?)),
    }
    Ok(())
}

/// A function's text without the blanks around it. Texts of several lines stay as they are: CouchDB's
/// pattern matches one line only, and nothing but blanks around it.
fn trimmed(code: &str) -> String {
    let (line, end) = match code.strip_suffix('\n') {
        Some(line) => (line, "\n"),
        None => (code, ""),
    };
    if line.contains('\n') {
        return code.to_owned();
    }
    format!("{}{end}", line.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::request::{Defaults, LocalNames};

    fn server() -> ServerIdentity {
        ServerIdentity { uuid: "5a".repeat(16), host_name: "box".into(), port: 5984 }
    }

    fn replication(options: &str) -> Replication {
        let text = format!(
            r#"{{"source":"http://h:5984/a","target":{{"url":"https://ada:x@example.org:6984/b/","headers":{{"X-Y":"z","Accept":"application/json"}}}}{options}}}"#
        );
        Replication::parse(&Value::parse(text.as_bytes()).unwrap(), &Defaults::default()).unwrap()
    }

    /// The ids were computed from terms put together by hand, with another program.
    #[track_caller]
    fn check(options: &str, version: u8, code: Option<&str>, expected: &str) {
        let id = base_id(&replication(options), &server(), code, version).unwrap();
        assert_eq!(id, expected, "{options}");
    }

    #[test]
    fn ids_of_the_newest_recipe() {
        check("", 4, None, "0e4231034c09bc53205518486e6ff5ef");
        check(r#","doc_ids":["b","a","a"]"#, 4, None, "001a38715f5be973f202ea7e688b5bb1");
        check(r#","selector":{"n":{"$gt":1}}"#, 4, None, "1d85329a86a52303aef7fb778b4edc0a");
        let code = Some("  function(doc){return true} ");
        let filter = r#","filter":"d/f","query_params":{"k":"v"}"#;
        check(filter, 4, code, "88051ad89ddc68c112754140a03f576a");
        let view = r#","filter":"_view","query_params":{"view":"d/v"}"#;
        check(view, 4, None, "bafb0b8c57b31e9b8c005cfdefd539cf");
        check(r#","filter":"_design""#, 4, None, "9aa9e0341b2ae650f60aebbc6dd17ed9");
        let winners = r#","winning_revs_only":true,"since_seq":"5-x""#;
        check(winners, 4, None, "90b633eef6e7b29501298a8b138dbec4");
    }

    #[test]
    fn ids_of_older_recipes() {
        check("", 3, None, "2ec61c177f533067e8d70e7e3b550533");
        check("", 2, None, "8e3eec0ecb2bc37db4d2953605f0344c");
        check("", 1, None, "c69732b6cd59a16948ad9a461d3f4149");
    }

    #[test]
    fn what_is_no_part_of_an_id() {
        check(
            r#","continuous":true,"create_target":true,"worker_processes":1"#,
            4,
            None,
            "0e4231034c09bc53205518486e6ff5ef",
        );
        let replication = replication(r#","continuous":true,"create_target":true"#);
        let id = replication_id(&replication, &server(), None).unwrap();
        assert_eq!(id.to_string(), "0e4231034c09bc53205518486e6ff5ef+continuous+create_target");
        assert_eq!(ReplicationId::parse(&id.to_string().replace('+', " ")), id);
    }

    #[test]
    fn functions_of_one_line_are_trimmed() {
        for (code, expected) in
            [(" a b ", "a b"), (" a \n", "a\n"), (" a\nb ", " a\nb "), ("\ta\t", "\ta\t"), ("", "")]
        {
            assert_eq!(trimmed(code), expected);
        }
    }

    #[test]
    fn local_databases_are_told_apart_by_name_and_user() {
        let parse = |name: &str, user: &str| {
            let caller = crate::Caller::new(Some(user.into()), [].into());
            let local = Some(LocalNames { url: "http://localhost".into(), caller });
            let text = format!(r#"{{"source":"{name}","target":"b"}}"#);
            let value = Value::parse(text.as_bytes()).unwrap();
            let defaults = Defaults { local, ..Defaults::default() };
            let replication = Replication::parse(&value, &defaults).unwrap();
            base_id(&replication, &server(), None, 4).unwrap()
        };
        let ids = [parse("a", "x"), parse("a", "y"), parse("c", "x")];
        assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2]);
        assert_eq!(parse("a", "x"), ids[0]);
    }
}
