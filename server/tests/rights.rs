//! Who may call what: every endpoint, for everybody, whichever way they come in.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use support::tokens::{all_handlers, jwt, proxy};
use support::{Settee, basic};

/// The right an endpoint asks for; what the others are answered follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// None.
    Anyone,
    /// Any account: 401 for nobody.
    User,
    /// Membership of the database: 401 for nobody, 403 for others.
    Member,
    /// Administration of the database: as before, 403 for members.
    DatabaseAdmin,
    /// The same for maintenance, which answers 401 to everybody.
    Maintainer,
    /// Administration of the server: 401 for everybody else.
    ServerAdmin,
}

use Right::{Anyone, DatabaseAdmin, Maintainer, Member, ServerAdmin, User};

/// Somebody who asks, by how far their rights go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Nobody,
    Other,
    Member,
    DatabaseAdmin,
    ServerAdmin,
}

impl Who {
    const NAMED: [Self; 4] = [Self::Other, Self::Member, Self::DatabaseAdmin, Self::ServerAdmin];

    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "",
            Self::Other => "other",
            Self::Member => "mem",
            Self::DatabaseAdmin => "dba",
            Self::ServerAdmin => support::ADMIN,
        }
    }

    fn password(self) -> &'static str {
        if self == Self::ServerAdmin { support::PASSWORD } else { "pw" }
    }

    /// The status that refuses this one; `None` if the right is theirs.
    fn refused(self, right: Right) -> Option<u16> {
        let (least, strangers, insiders) = match right {
            Anyone => return None,
            User => (Self::Other, 401, 401),
            Member => (Self::Member, 403, 403),
            DatabaseAdmin => (Self::DatabaseAdmin, 403, 403),
            Maintainer => (Self::DatabaseAdmin, 401, 401),
            ServerAdmin => (Self::ServerAdmin, 401, 401),
        };
        match self {
            allowed if allowed >= least => None,
            Self::Nobody => Some(401),
            Self::Other => Some(strangers),
            _ => Some(insiders),
        }
    }
}

/// What those are answered who may: a status, or whatever follows.
const ANY: u16 = 0;

/// Method, path, body, right, and status for those who have it. `{n}` is another number each time; `db` is
/// the database of the members and administrators that [`server`] names.
#[rustfmt::skip]
const ENDPOINTS: &[(&str, &str, &str, Right, u16)] = &[
    // The server.
    ("GET", "/", "", Anyone, 200),
    ("GET", "/favicon.ico", "", Anyone, ANY),
    ("GET", "/_utils/", "", Anyone, ANY),
    ("GET", "/_up", "", Anyone, 200),
    ("GET", "/_uuids", "", Anyone, 200),
    ("GET", "/_session", "", Anyone, 200),
    ("DELETE", "/_session", "", Anyone, 200),
    ("GET", "/_all_dbs", "", ServerAdmin, 200),
    ("GET", "/_dbs_info", "", ServerAdmin, 200),
    ("POST", "/_dbs_info", r#"{"keys":[]}"#, ServerAdmin, 200),
    ("GET", "/_db_updates", "", ServerAdmin, ANY),
    ("GET", "/_active_tasks", "", ServerAdmin, 200),
    ("GET", "/_membership", "", ServerAdmin, 200),
    ("GET", "/_cluster_setup", "", ServerAdmin, 200),
    ("POST", "/_cluster_setup", "{}", ServerAdmin, ANY),
    ("POST", "/_replicate", "{}", User, ANY),
    ("GET", "/_scheduler/jobs", "", ServerAdmin, 200),
    ("GET", "/_scheduler/jobs/x", "", ServerAdmin, 404),
    ("POST", "/_scheduler/jobs/x/_retry", "", ServerAdmin, 404),
    ("GET", "/_scheduler/docs", "", ServerAdmin, 200),
    ("GET", "/_scheduler/docs/_replicator", "", ServerAdmin, 200),
    ("GET", "/_scheduler/docs/_replicator/x", "", ServerAdmin, 404),
    ("POST", "/_scheduler/docs/_replicator/x/_retry", "", ServerAdmin, 404),
    ("POST", "/_reload_query_servers", "{}", ServerAdmin, ANY),
    ("GET", "/_node", "", ServerAdmin, 400),
    ("GET", "/_node/_local", "", ServerAdmin, 200),
    ("GET", "/_node/_local/_config", "", ServerAdmin, 200),
    ("GET", "/_node/_local/_config/admins", "", ServerAdmin, 200),
    ("GET", "/_node/_local/_config/log/level", "", ServerAdmin, 200),
    ("PUT", "/_node/_local/_config/x/{n}", "\"1\"", ServerAdmin, 200),
    ("DELETE", "/_node/_local/_config/y/{n}", "", ServerAdmin, 404),
    ("POST", "/_node/_local/_config/_reload", "{}", ServerAdmin, 200),
    ("GET", "/_node/_local/_stats", "", ServerAdmin, ANY),
    ("GET", "/_node/_local/_stats/couchdb", "", ServerAdmin, ANY),
    ("GET", "/_node/_local/_prometheus", "", ServerAdmin, ANY),
    ("GET", "/_node/_local/_system", "", ServerAdmin, ANY),
    ("GET", "/_node/_local/_versions", "", ServerAdmin, ANY),
    ("GET", "/_node/_local/_smoosh/status", "", ServerAdmin, ANY),
    ("GET", "/_reshard", "", ServerAdmin, 501),
    ("GET", "/_reshard/jobs", "", ServerAdmin, 501),
    ("PUT", "/_reshard/state", "{}", ServerAdmin, 501),
    ("GET", "/_search_analyze", "", ServerAdmin, ANY),
    ("POST", "/_nouveau_analyze", "{}", ServerAdmin, ANY),
    // What CouchDB 1 had there, and nobody has.
    ("GET", "/_config", "", ServerAdmin, ANY),
    ("GET", "/_stats", "", ServerAdmin, ANY),
    ("POST", "/_restart", "{}", ServerAdmin, ANY),
    ("GET", "/_log", "", ServerAdmin, ANY),
    ("GET", "/_anything", "", ServerAdmin, ANY),
    // Databases.
    ("PUT", "/new{n}", "", ServerAdmin, 201),
    ("DELETE", "/gone{n}", "", ServerAdmin, 404),
    ("PUT", "/db", "", ServerAdmin, 412),
    ("PUT", "/_users", "", ServerAdmin, 412),
    ("GET", "/db", "", Member, 200),
    ("HEAD", "/db", "", Member, 200),
    ("POST", "/db", "{}", Member, 201),
    ("GET", "/db/_all_docs", "", Member, 200),
    ("POST", "/db/_all_docs", "{}", Member, 200),
    ("POST", "/db/_all_docs/queries", r#"{"queries":[]}"#, Member, 200),
    ("GET", "/db/_design_docs", "", Member, 200),
    ("GET", "/db/_local_docs", "", Member, 200),
    ("POST", "/db/_bulk_docs", r#"{"docs":[]}"#, Member, 201),
    ("POST", "/db/_bulk_get", r#"{"docs":[]}"#, Member, 200),
    ("GET", "/db/_changes", "", Member, 200),
    ("POST", "/db/_changes", "{}", Member, 200),
    ("POST", "/db/_find", r#"{"selector":{}}"#, Member, ANY),
    ("POST", "/db/_explain", r#"{"selector":{}}"#, Member, ANY),
    ("GET", "/db/_index", "", Member, ANY),
    ("POST", "/db/_missing_revs", "{}", Member, 200),
    ("POST", "/db/_revs_diff", "{}", Member, 200),
    ("GET", "/db/_revs_limit", "", Member, 200),
    ("PUT", "/db/_revs_limit", "1000", DatabaseAdmin, 200),
    ("GET", "/db/_security", "", Member, 200),
    ("PUT", "/db/_security", SECURITY, DatabaseAdmin, 200),
    ("GET", "/db/_auto_purge", "", Member, ANY),
    ("PUT", "/db/_auto_purge", "{}", DatabaseAdmin, ANY),
    ("GET", "/db/_shards", "", Member, 200),
    ("GET", "/db/_shards/x", "", Member, 200),
    ("POST", "/db/_sync_shards", "{}", ServerAdmin, ANY),
    ("POST", "/db/_ensure_full_commit", "{}", Member, 201),
    ("POST", "/db/_compact", "{}", Maintainer, ANY),
    ("POST", "/db/_compact/d", "{}", Maintainer, ANY),
    ("POST", "/db/_view_cleanup", "{}", Maintainer, ANY),
    ("POST", "/db/_purge", "{}", ServerAdmin, ANY),
    ("GET", "/db/_purged_infos", "", Member, 200),
    ("GET", "/db/_purged_infos_limit", "", ServerAdmin, 200),
    ("PUT", "/db/_purged_infos_limit", "1000", ServerAdmin, 200),
    ("GET", "/db/_partition/x", "", Member, ANY),
    ("POST", "/db/_temp_view", "{}", Member, 410),
    // Documents.
    ("GET", "/db/doc", "", Member, 200),
    ("HEAD", "/db/doc", "", Member, 200),
    ("PUT", "/db/doc{n}", "{}", Member, 201),
    ("PUT", "/db/doc%2F{n}", "{}", Member, 201),
    ("DELETE", "/db/none{n}", "", Member, 404),
    ("COPY", "/db/doc", "", Member, 400),
    ("GET", "/db/doc/file", "", Member, 404),
    ("PUT", "/db/atts{n}/file", "\"x\"", Member, 201),
    ("DELETE", "/db/doc/file", "", Member, ANY),
    ("GET", "/db/_local/x", "", Member, 404),
    ("PUT", "/db/_local/x{n}", "{}", Member, 201),
    ("PUT", "/db/_local%2Fy{n}", "{}", Member, 201),
    ("DELETE", "/db/_local/x", "", Member, 404),
    // Design documents and what they do.
    ("GET", "/db/_design/d", "", Member, 404),
    ("PUT", "/db/_design/d{n}", "{}", DatabaseAdmin, 201),
    ("PUT", "/db/_design%2Fe{n}", "{}", DatabaseAdmin, 201),
    ("DELETE", "/db/_design/none", "", DatabaseAdmin, 404),
    ("PUT", "/db/_design/f{n}/file", "\"x\"", DatabaseAdmin, 201),
    ("GET", "/db/_design/d/file", "", Member, 404),
    ("DELETE", "/db/_design/d/file", "", DatabaseAdmin, ANY),
    ("GET", "/db/_design/d/_info", "", Member, ANY),
    ("GET", "/db/_design/d/_view/v", "", Member, ANY),
    ("POST", "/db/_design/d/_view/v", "{}", Member, ANY),
    ("POST", "/db/_design/d/_view/v/queries", r#"{"queries":[]}"#, Member, ANY),
    ("GET", "/db/_design/d/_show/s", "", Member, ANY),
    ("GET", "/db/_design/d/_list/l/v", "", Member, ANY),
    ("POST", "/db/_design/d/_update/u", "{}", Member, ANY),
    ("GET", "/db/_design/d/_rewrite/x", "", Member, ANY),
    ("GET", "/db/_design/d/_search/s", "", Member, ANY),
    ("GET", "/db/_design/d/_nouveau/s", "", Member, ANY),
    ("GET", "/db/_partition/p/_all_docs", "", Member, ANY),
    ("GET", "/db/_partition/p/_design/d/_view/v", "", Member, ANY),
    ("POST", "/db/_partition/p/_find", "{}", Member, ANY),
    // The system's databases, which are the server administrators'.
    ("GET", "/_users/_all_docs", "", ServerAdmin, 200),
    ("GET", "/_users/_changes", "", ServerAdmin, 200),
    ("GET", "/_replicator/_all_docs", "", ServerAdmin, 200),
    ("GET", "/_replicator/_changes", "", ServerAdmin, 200),
];

/// The names in the security objects of `db`.
const SECURITY: &str =
    r#"{"admins":{"names":["dba"],"roles":[]},"members":{"names":["mem"],"roles":[]}}"#;

fn server() -> Settee {
    let environment =
        vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)];
    let server = Settee::start_with(&all_handlers(), environment, &[]);
    for who in &Who::NAMED[..3] {
        server.add_user(who.name(), who.password(), &[]);
    }
    server.ask("PUT", "/db", "").expect(201);
    server.ask("PUT", "/db/_security", SECURITY).expect(200);
    server.ask("PUT", "/db/doc", "{}").expect(201);
    server
}

type Headers = Vec<(&'static str, String)>;

/// Everybody, on every way they can come in.
fn everybody(server: &Settee) -> Vec<(Who, &'static str, Headers)> {
    let mut all = vec![(Who::Nobody, "no way", Vec::new())];
    for who in Who::NAMED {
        let admin = who == Who::ServerAdmin;
        let roles: &[&str] = if admin { &["_admin"] } else { &[] };
        let (name, password) = (who.name(), who.password());
        all.push((who, "basic", vec![("Authorization", basic(name, password))]));
        all.push((who, "cookie", vec![("Cookie", server.log_in(name, password))]));
        all.push((who, "proxy", proxy(name, &roles.join(","))));
        all.push((who, "jwt", vec![jwt(name, roles)]));
    }
    all
}

#[test]
fn every_endpoint_for_everybody() {
    let server = server();
    let everybody = everybody(&server);
    let (mut wrong, mut number) = (Vec::new(), 0);
    for (method, path, body, right, answered) in ENDPOINTS {
        for (who, way, headers) in &everybody {
            number += 1;
            let path = path.replace("{n}", &number.to_string());
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let status = server.connect().ask(method, &path, &headers, body).status;
            let as_expected = match who.refused(*right) {
                Some(refused) => status == refused,
                None if *answered == ANY => status != 401 && status != 403,
                None => status == *answered,
            };
            if !as_expected {
                wrong.push(format!("{method} {path} by {who:?} ({way}, {right:?}): {status}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {number}:\n{}", wrong.len(), wrong.join("\n"));
}

/// What the rules of a database can't see, because the request hides it, must not get past them.
#[test]
fn ways_around_are_closed() {
    let server = server();
    let anna = [("Authorization", basic("other", "pw"))];
    let member = [("Authorization", basic("mem", "pw"))];
    let ask = |who: &[(&str, String)], method: &str, path: &str, body: &str| {
        let headers: Vec<_> = who.iter().map(|(name, value)| (*name, value.as_str())).collect();
        server.connect().ask(method, path, &headers, body).status
    };
    for path in [
        "//db//doc",
        "/db/./doc",
        "/%64b/doc",
        "/db/%64oc",
        "/db/../db/doc",
        "/db%2F..%2Fdb/doc",
        "/./db/doc",
        "/DB/doc",
        "/db%00/doc",
        "/%2e%2e/db/doc",
        "/db/doc?rev=1-x",
        "/db\\doc",
        "/x/../_users/_all_docs",
        "/_users/%5Fall_docs",
        "/%5Fusers/_all_docs",
        "//_users/_all_docs",
        "/_users/_all_docs/",
        "/_node/../_node/_local/_config",
        "/_node/_local/%5Fconfig",
    ] {
        let status = ask(&anna, "GET", path, "");
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    for (method, path, body) in [
        ("PUT", "/db/_design%2Fx", "{}"),
        ("PUT", "/db/%5Fdesign/x", "{}"),
        ("PUT", "/db/_design/x/file", "\"x\""),
        ("PUT", "/db/%5Fsecurity", "{}"),
        ("POST", "/db", r#"{"_id":"_design/x"}"#),
        ("PUT", "/db/%5Frevs_limit", "1"),
    ] {
        assert_eq!(ask(&member, method, path, body), 403, "{method} {path}");
    }
    let copy = [("Authorization", basic("mem", "pw")), ("Destination", "_design/x".to_owned())];
    assert_eq!(ask(&copy, "COPY", "/db/doc", ""), 403);
    let bulk = r#"{"docs":[{"_id":"_design/x"}]}"#;
    assert_eq!(ask(&member, "POST", "/db/_bulk_docs", bulk), 201);
    assert_eq!(ask(&member, "GET", "/db/_design/x", ""), 404);
    let overridden =
        [("Authorization", basic("mem", "pw")), ("X-HTTP-Method-Override", "DELETE".to_owned())];
    assert_eq!(ask(&overridden, "POST", "/db", "{}"), 401);
    assert_eq!(server.ask("GET", "/db", "").status, 200, "it is still there");
}

#[test]
fn a_server_that_serves_nobody_without_a_name() {
    let server = server();
    let option = |key: &str, value: &str| {
        let path = format!("/_node/_local/_config/chttpd/{key}");
        server.ask("PUT", &path, value).expect(200);
    };
    option("require_valid_user", r#""true""#);
    for path in ["/", "/_up", "/_session", "/_uuids", "/_utils/", "/db", "/favicon.ico"] {
        assert_eq!(server.ask_as_nobody("GET", path, "").status, 401, "{path}");
    }
    let log_in = r#"{"name":"mem","password":"pw"}"#;
    assert_eq!(server.ask_as_nobody("POST", "/_session", log_in).status, 200);
    option("require_valid_user", r#""false""#);
    option("require_valid_user_except_for_up", r#""true""#);
    assert_eq!(server.ask_as_nobody("GET", "/_up", "").status, 200);
    assert_eq!(server.ask_as_nobody("GET", "/", "").status, 401);
}

#[test]
fn readers_of_metrics_read_nothing_else() {
    let server = server();
    server.add_user("prometheus", "pw", &["_metrics"]);
    let header = basic("prometheus", "pw");
    let ask =
        |path: &str| server.connect().ask("GET", path, &[("Authorization", &header)], "").status;
    for path in ["/_node/_local/_stats", "/_node/_local/_system", "/_node/_local/_prometheus"] {
        assert_ne!(ask(path), 401, "{path}");
    }
    for path in ["/_node/_local/_config", "/_node/_local/_versions", "/_all_dbs", "/_active_tasks"]
    {
        assert_eq!(ask(path), 401, "{path}");
    }
    assert_eq!(ask("/db"), 403);
}
