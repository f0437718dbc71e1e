//! Who may call what: every endpoint, for everybody, whichever way they come in.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

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
    /// Membership of a database that is the server administrators': 401 for nobody, 403 for everybody else.
    Closed,
    /// Administration of the server: 401 for everybody else.
    ServerAdmin,
}

use Right::{Anyone, Closed, DatabaseAdmin, Maintainer, Member, ServerAdmin, User};

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
            Closed => (Self::ServerAdmin, 403, 403),
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

/// Method, path, body, right, and status for those who have it. `{n}` is another number each time; a path with a
/// host is asked of that host. `db` and `parts` are databases of the members and administrators that [`server`]
/// names. A path or a method that the routing knows and this table doesn't fails a test.
#[rustfmt::skip]
const ENDPOINTS: &[(&str, &str, &str, Right, u16)] = &[
    // The server.
    ("GET", "/", "", Anyone, 200),
    ("GET", "/favicon.ico", "", Anyone, 200),
    ("GET", "/_utils", "", Anyone, 301),
    ("GET", "/_utils/", "", Anyone, 200),
    ("GET", "/_up", "", Anyone, 200),
    ("GET", "/_uuids", "", Anyone, 200),
    ("GET", "/_session", "", Anyone, 200),
    ("POST", "/_session", r#"{"name":"mem","password":"pw"}"#, Anyone, 200),
    ("DELETE", "/_session", "", Anyone, 200),
    ("GET", "/_all_dbs", "", ServerAdmin, 200),
    ("GET", "/_dbs_info", "", ServerAdmin, 200),
    ("POST", "/_dbs_info", r#"{"keys":[]}"#, ServerAdmin, 200),
    ("GET", "/_db_updates", "", ServerAdmin, 200),
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
    ("POST", "/_reload_query_servers", "{}", ServerAdmin, 200),
    ("GET", "/_node", "", ServerAdmin, 400),
    ("GET", "/_node/_local", "", ServerAdmin, 200),
    ("GET", "/_node/_local/_config", "", ServerAdmin, 200),
    ("GET", "/_node/_local/_config/admins", "", ServerAdmin, 200),
    ("GET", "/_node/_local/_config/log/level", "", ServerAdmin, 200),
    ("PUT", "/_node/_local/_config/x/{n}", "\"1\"", ServerAdmin, 200),
    ("GET", "/_node/_local/_config/x/{n}", "", ServerAdmin, 404),
    ("DELETE", "/_node/_local/_config/x/{n}", "", ServerAdmin, 404),
    ("POST", "/_node/_local/_config/_reload", "{}", ServerAdmin, 200),
    ("GET", "/_node/_local/_stats", "", ServerAdmin, 200),
    ("GET", "/_node/_local/_stats/couchdb", "", ServerAdmin, 200),
    ("GET", "/_node/_local/_prometheus", "", ServerAdmin, 200),
    ("GET", "/_node/_local/_system", "", ServerAdmin, 200),
    ("GET", "/_node/_local/_versions", "", ServerAdmin, 200),
    ("GET", "/_node/_local/_smoosh/status", "", ServerAdmin, ANY),
    ("POST", "/_node/_local/_restart", "{}", ServerAdmin, 200),
    ("GET", "/_node/other", "", ServerAdmin, 404),
    ("GET", "/_reshard", "", ServerAdmin, 501),
    ("GET", "/_reshard/jobs", "", ServerAdmin, 501),
    ("PUT", "/_reshard/state", "{}", ServerAdmin, 501),
    ("GET", "/_search_analyze", "", ServerAdmin, 503),
    ("POST", "/_nouveau_analyze", "{}", ServerAdmin, 404),
    // What CouchDB 1 had there, and nobody has.
    ("GET", "/_config", "", ServerAdmin, ANY),
    ("GET", "/_stats", "", ServerAdmin, ANY),
    ("POST", "/_restart", "{}", ServerAdmin, ANY),
    ("GET", "/_log", "", ServerAdmin, ANY),
    ("GET", "/_anything", "", ServerAdmin, ANY),
    // Servers behind this one; nobody listens there.
    ("GET", "/_app", "", Anyone, 502),
    ("POST", "/_app/x", "{}", Anyone, 502),
    ("DELETE", "/_app/x", "", Anyone, 502),
    ("GET", "/_inner", "", User, 502),
    ("PUT", "/_inner/x", "{}", User, 502),
    // Virtual hosts, which come before rights: what they lead to is asked for in its own name.
    ("GET", "http://db.example/", "", Member, 200),
    ("GET", "http://db.example/doc", "", Member, 200),
    ("PUT", "http://db.example/doc{n}", "{}", Member, 201),
    ("GET", "http://db.example/_session", "", Anyone, 200),
    ("GET", "http://config.example/", "", ServerAdmin, 200),
    ("GET", "http://config.example/log", "", ServerAdmin, 200),
    ("GET", "http://rules.example/", "", Member, 200),
    ("GET", "http://rules.example/out", "", Member, ANY),
    ("GET", "http://other.example/db/doc", "", Member, 200),
    // Databases.
    ("PUT", "/new{n}", "", ServerAdmin, 201),
    ("DELETE", "/gone{n}", "", ServerAdmin, 404),
    ("PUT", "/db", "", ServerAdmin, 412),
    ("PUT", "/_users", "", ServerAdmin, 412),
    ("DELETE", "/_nodes", "", ServerAdmin, 404),
    ("GET", "/_dbs", "", Anyone, 404),
    ("GET", "/_nodes", "", Anyone, 404),
    ("GET", "/db", "", Member, 200),
    ("POST", "/db", "{}", Member, 201),
    ("GET", "/db/_all_docs", "", Member, 200),
    ("POST", "/db/_all_docs", "{}", Member, 200),
    ("POST", "/db/_all_docs/queries", r#"{"queries":[]}"#, Member, 200),
    ("GET", "/db/_design_docs", "", Member, 200),
    ("POST", "/db/_design_docs", "{}", Member, 200),
    ("POST", "/db/_design_docs/queries", r#"{"queries":[]}"#, Member, 200),
    ("GET", "/db/_local_docs", "", Member, 200),
    ("POST", "/db/_local_docs", "{}", Member, 200),
    ("POST", "/db/_local_docs/queries", r#"{"queries":[]}"#, Member, 200),
    ("POST", "/db/_bulk_docs", r#"{"docs":[]}"#, Member, 201),
    ("POST", "/db/_bulk_get", r#"{"docs":[]}"#, Member, 200),
    ("GET", "/db/_changes", "", Member, 200),
    ("POST", "/db/_changes", "{}", Member, 200),
    ("GET", "/db/_changes?feed=longpoll", "", Member, 200),
    ("GET", "/db/_changes?feed=eventsource&timeout=0", "", Member, 200),
    ("GET", "/db/_changes?filter=d/f", "", Member, 200),
    ("POST", "/db/_find", r#"{"selector":{}}"#, Member, 200),
    ("POST", "/db/_explain", r#"{"selector":{}}"#, Member, 200),
    ("GET", "/db/_index", "", Member, 200),
    ("POST", "/db/_index", r#"{"index":{"fields":["a"]}}"#, DatabaseAdmin, 200),
    ("POST", "/db/_index/_bulk_delete", r#"{"docids":[]}"#, DatabaseAdmin, ANY),
    ("DELETE", "/db/_index/none/json/x", "", DatabaseAdmin, ANY),
    ("DELETE", "/db/_index/_design/none/json/x", "", DatabaseAdmin, ANY),
    ("POST", "/db/_missing_revs", "{}", Member, 200),
    ("POST", "/db/_revs_diff", "{}", Member, 200),
    ("GET", "/db/_revs_limit", "", Member, 200),
    ("PUT", "/db/_revs_limit", "1000", DatabaseAdmin, 200),
    ("GET", "/db/_security", "", Member, 200),
    ("PUT", "/db/_security", SECURITY, DatabaseAdmin, 200),
    ("GET", "/db/_auto_purge", "", Member, ANY),
    ("PUT", "/db/_auto_purge", "{}", DatabaseAdmin, ANY),
    ("GET", "/db/_time_seq", "", Member, ANY),
    ("GET", "/db/_shards", "", Member, 200),
    ("GET", "/db/_shards/x", "", Member, 200),
    ("POST", "/db/_sync_shards", "{}", ServerAdmin, 202),
    ("POST", "/db/_ensure_full_commit", "{}", Member, 201),
    ("POST", "/db/_compact", "{}", Maintainer, 202),
    ("POST", "/db/_compact/d", "{}", Maintainer, 202),
    ("POST", "/db/_view_cleanup", "{}", Maintainer, 202),
    ("POST", "/db/_purge", "{}", ServerAdmin, 201),
    ("GET", "/db/_purged_infos", "", Member, 200),
    ("GET", "/db/_purged_infos_limit", "", ServerAdmin, 200),
    ("PUT", "/db/_purged_infos_limit", "1000", ServerAdmin, 200),
    ("POST", "/db/_temp_view", "{}", Member, 410),
    // Documents.
    ("GET", "/db/doc", "", Member, 200),
    ("PUT", "/db/doc{n}", "{}", Member, 201),
    ("PUT", "/db/doc%2F{n}", "{}", Member, 201),
    ("POST", "/db/doc{n}", "{}", Member, 400),
    ("DELETE", "/db/doc{n}", "", Member, 404),
    ("COPY", "/db/doc", "", Member, 400),
    ("GET", "/db/doc/file", "", Member, 404),
    ("PUT", "/db/doc{n}/file", "\"x\"", Member, 201),
    ("DELETE", "/db/doc/file", "", Member, ANY),
    ("GET", "/db/_local/x", "", Member, 404),
    ("PUT", "/db/_local/x{n}", "{}", Member, 201),
    ("PUT", "/db/_local%2Fy{n}", "{}", Member, 201),
    ("DELETE", "/db/_local/x", "", Member, 404),
    ("COPY", "/db/_local/x", "", Member, 400),
    ("POST", "/db/_local/x", "{}", Member, 405),
    // Design documents and what they do.
    ("GET", "/db/_design/d", "", Member, 200),
    ("GET", "/db/_design%2Fd", "", Member, 301),
    ("PUT", "/db/_design/d{n}", "{}", DatabaseAdmin, 201),
    ("PUT", "/db/_design%2Fe{n}", "{}", DatabaseAdmin, 201),
    ("DELETE", "/db/_design/d{n}", "", DatabaseAdmin, 404),
    ("POST", "/db/_design/d", "{}", DatabaseAdmin, 400),
    ("COPY", "/db/_design/d", "", DatabaseAdmin, 400),
    ("GET", "/db/_design/d/file", "", Member, 404),
    ("PUT", "/db/_design/d{n}/file", "\"x\"", DatabaseAdmin, 201),
    ("DELETE", "/db/_design/d{n}/file", "", DatabaseAdmin, ANY),
    ("GET", "/db/_design/d/_info", "", Member, 200),
    ("GET", "/db/_design/d/_view/v", "", Member, 200),
    ("POST", "/db/_design/d/_view/v", "{}", Member, 200),
    ("POST", "/db/_design/d/_view/v/queries", r#"{"queries":[]}"#, Member, 200),
    ("GET", "/db/_design/d/_show/s", "", Member, 200),
    ("GET", "/db/_design/d/_show/s/doc", "", Member, 200),
    ("GET", "/db/_design/d/_list/l/v", "", Member, 200),
    ("POST", "/db/_design/d/_list/l/v", "{}", Member, 200),
    ("POST", "/db/_design/d/_update/u", "{}", Member, 200),
    ("PUT", "/db/_design/d/_update/u/doc", "{}", Member, 200),
    ("GET", "/db/_design/d/_rewrite/doc", "", Member, 200),
    ("PUT", "/db/_design/d/_rewrite/doc", "{}", Member, 409),
    ("POST", "/db/_design/d/_rewrite/doc", "{}", Member, 400),
    ("DELETE", "/db/_design/d/_rewrite/doc", "", Member, ANY),
    ("COPY", "/db/_design/d/_rewrite/doc", "", Member, 400),
    ("GET", "/db/_design/d/_rewrite/out", "", Member, ANY),
    ("GET", "/db/_design/d/_search/s", "", Member, ANY),
    ("GET", "/db/_design/d/_search_info/s", "", Member, ANY),
    ("GET", "/db/_design/d/_search_disk_size/s", "", Member, ANY),
    ("GET", "/db/_design/d/_nouveau/s", "", Member, ANY),
    ("GET", "/db/_design/d/_nouveau_info/s", "", Member, ANY),
    ("GET", "/db/_design/d/_geo/s", "", Member, ANY),
    ("GET", "/db/_design/d/_geo_info/s", "", Member, ANY),
    // A database with partitions.
    ("GET", "/parts/_partition/p", "", Member, 200),
    ("GET", "/parts/_partition/p/_all_docs", "", Member, 200),
    ("POST", "/parts/_partition/p/_all_docs", "{}", Member, 200),
    ("GET", "/parts/_partition/p/_design/d/_view/v", "", Member, 200),
    ("POST", "/parts/_partition/p/_design/d/_view/v", "{}", Member, 200),
    ("POST", "/parts/_partition/p/_find", r#"{"selector":{}}"#, Member, 200),
    ("POST", "/parts/_partition/p/_explain", r#"{"selector":{}}"#, Member, 200),
    // The system's databases, which are the server administrators'.
    ("GET", "/_users", "", Closed, 200),
    ("GET", "/_users/_all_docs", "", ServerAdmin, 200),
    ("POST", "/_users/_all_docs", "{}", ServerAdmin, 200),
    ("GET", "/_users/_changes", "", ServerAdmin, 200),
    ("POST", "/_users/_find", r#"{"selector":{}}"#, ServerAdmin, 200),
    ("GET", "/_users/org.couchdb.user:nobody", "", Closed, 404),
    ("GET", "/_users/_security", "", Closed, 200),
    ("GET", "/_replicator", "", Closed, 200),
    ("GET", "/_replicator/_all_docs", "", ServerAdmin, 200),
    ("GET", "/_replicator/_changes", "", ServerAdmin, 200),
    ("GET", "/_global_changes", "", Closed, 200),
    ("GET", "/_global_changes/_all_docs", "", Closed, 200),
    ("GET", "/_global_changes/_changes", "", Closed, 200),
];

/// The names in the security objects of `db`.
const SECURITY: &str =
    r#"{"admins":{"names":["dba"],"roles":[]},"members":{"names":["mem"],"roles":[]}}"#;

/// What becomes the design document of `db` and `parts`.
const DESIGN: &str = r#"{
    "views": {"v": {"map": "function(doc) { emit(doc._id, null); }"}},
    "filters": {"f": "function() { return true; }"},
    "shows": {"s": "function() { return 'shown'; }"},
    "lists": {"l": "function() { return 'listed'; }"},
    "updates": {"u": "function() { return [null, 'updated']; }"},
    "rewrites": [{"from": "/", "to": "../../doc"}, {"from": "/doc", "to": "../../doc"},
                 {"from": "/out", "to": "../../../_node/_local/_config"}]
}"#;

fn server() -> Settee {
    let environment =
        vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)];
    let ini = all_handlers()
        + "[proxy]\n_app = http://127.0.0.1:1\n_inner = http://127.0.0.1:1\n\
           [proxy:_inner]\nrequire_valid_user = true\n\
           [vhosts]\ndb.example = /db\nconfig.example = /_node/_local/_config\n\
           rules.example = /db/_design/d/_rewrite\n";
    let server = Settee::start_with(&ini, environment, &[]);
    for who in &Who::NAMED[..3] {
        server.add_user(who.name(), who.password(), &[]);
    }
    for (path, body) in [
        ("/_global_changes", ""),
        ("/db", ""),
        ("/db/doc", "{}"),
        ("/db/_design/d", DESIGN),
        ("/parts?partitioned=true", ""),
        ("/parts/_design/d", DESIGN),
    ] {
        server.ask("PUT", path, body).expect(201);
    }
    for database in ["db", "parts"] {
        server.ask("PUT", &format!("/{database}/_security"), SECURITY).expect(200);
    }
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

/// Asks as somebody; `path` may begin with a host.
fn status_for(server: &Settee, method: &str, path: &str, headers: &Headers, body: &str) -> u16 {
    let mut headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let path = match path.strip_prefix("http://").and_then(|rest| rest.split_once('/')) {
        Some((host, path)) => {
            headers.push(("X-Forwarded-Host", host));
            format!("/{path}")
        }
        None => path.to_owned(),
    };
    let mut connection = server.connect();
    let status = connection.ask(method, &path, &headers, body).status;
    if path.ends_with("/_restart") && status == 200 {
        server.is_back(&mut connection);
    }
    status
}

#[test]
fn every_endpoint_for_everybody() {
    let server = server();
    let everybody = everybody(&server);
    let (mut wrong, mut number) = (Vec::new(), 0);
    for (method, path, body, right, answered) in ENDPOINTS {
        let methods: &[&str] = if *method == "GET" { &["GET", "HEAD"] } else { &[method] };
        for (method, (who, way, headers)) in
            methods.iter().flat_map(|method| everybody.iter().map(move |whoever| (method, whoever)))
        {
            number += 1;
            let path = path.replace("{n}", &number.to_string());
            let status = status_for(&server, method, &path, headers, body);
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

/// The paths of the table, without query, host and numbers, with the methods that are expected on each.
fn table() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut table: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
    for (method, path, ..) in ENDPOINTS.iter().filter(|(_, path, ..)| path.starts_with('/')) {
        let path = path.split('?').next().unwrap_or_default().replace("{n}", "");
        table.entry(path).or_default().insert(*method);
    }
    table
}

/// What the routing compares segments of paths with stands in the table, so that a new path can't be forgotten
/// there.
#[test]
fn every_name_that_the_routing_knows_is_in_the_table() {
    let routing = [
        include_str!("../src/routes/mod.rs"),
        include_str!("../src/routes/in_database.rs"),
        include_str!("../src/routes/node.rs"),
        include_str!("../src/routes/design/mod.rs"),
        include_str!("../src/routes/view/mod.rs"),
        include_str!("../src/routes/find/index.rs"),
    ];
    let names: BTreeSet<&str> = routing
        .iter()
        .flat_map(|source| {
            source.split("#[cfg(test)]").next().unwrap_or_default().split("b\"").skip(1)
        })
        .filter_map(|rest| rest.split('"').next())
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '.'))
        .filter(|name| name.len() > 1)
        .collect();
    assert!(names.len() > 60, "the routing is somewhere else: {names:?}");
    let table = table();
    let known: BTreeSet<&str> = table.keys().flat_map(|path| path.split('/')).collect();
    let unknown: Vec<_> = names.difference(&known).collect();
    assert!(unknown.is_empty(), "these have no row in ENDPOINTS: {unknown:?}");
}

/// Paths on which no method is refused by its name, because they are not built, or are another server's.
const ANY_METHOD: &[&str] = &[
    "/_app",
    "/_inner",
    "/_replicate",
    "/_scheduler",
    "/_reshard",
    "/_search_analyze",
    "/_nouveau_analyze",
    "/_node",
    "/db/_temp_view",
    "/db/_time_seq",
    "/db/_design/d/_rewrite",
    "/db/_design/d/_update",
    "/db/_design/d/_search",
    "/db/_design/d/_nouveau",
    "/db/_design/d/_geo",
    "/_config",
    "/_stats",
    "/_restart",
    "/_log",
    "/_anything",
    "/_dbs",
    "/_nodes",
    "/db/_design/d/_show",
    "/gone",
    "/new",
];

/// The methods are the server's own list, in `Allow`: a new one can't be forgotten either.
#[test]
fn every_method_that_a_path_knows_is_in_the_table() {
    let server = server();
    let mut missing = Vec::new();
    for (path, expected) in table() {
        let answer = server.ask("BREW", &path, "");
        let Some(allowed) = answer.header("allow").filter(|_| answer.status == 405) else {
            if !ANY_METHOD.iter().any(|known| path.starts_with(known)) {
                missing.push(format!("BREW {path}: {}", answer.status));
            }
            continue;
        };
        // A database or a document of any name will do.
        let same = |method: &str| {
            expected.contains(method)
                || table().iter().any(|(other, methods)| {
                    shape(other) == shape(&path) && methods.contains(method)
                })
        };
        for method in allowed.split(',').filter(|method| *method != "HEAD") {
            if !same(method) {
                missing.push(format!("{method} {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "these have no row in ENDPOINTS: {missing:#?}");
}

/// The path with a star for each name that somebody has chosen.
fn shape(path: &str) -> String {
    let chosen = |segment: &str| match segment.split_once("%2F") {
        _ if matches!(segment, "_users" | "_replicator" | "_global_changes") => "*".to_owned(),
        Some((place, _)) if place.starts_with('_') => format!("{place}/*"),
        None if segment.starts_with('_') => segment.to_owned(),
        _ => "*".to_owned(),
    };
    path.split('/').skip(1).map(chosen).collect::<Vec<_>>().join("/")
}

/// The port for metrics knows one path and nobody's name.
#[test]
fn the_port_for_metrics_gives_nothing_else() {
    let ini = all_handlers() + "[prometheus]\nadditional_port = true\nport = 0\n";
    let environment =
        vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)];
    let server = Settee::start_with(&ini, environment, &[]);
    let line = server.said().iter().find(|line| line.contains("Metrics")).unwrap();
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap();
    for (path, methods) in table() {
        for method in methods {
            let headers = [("Authorization", &*support::admin_header())];
            let mut connection = support::Connection::open(address);
            let status = connection.ask(method, &path, &headers, "").status;
            let expected = if path == "/_node/_local/_prometheus" { 200 } else { 404 };
            assert_eq!(status, expected, "{method} {path}");
        }
    }
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

/// What the users' database holds of others comes out by no way, and none of it can be changed.
#[test]
fn nothing_of_others_comes_out_of_the_users_database() {
    let environment =
        vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)];
    let ini = all_handlers() + "[couchdb]\nusers_db_security_editable = true\n";
    let server = Settee::start_with(&ini, environment, &[]);
    server.add_user("other", "pw", &[]);
    let document = serde_json::json!({
        "name": "otto", "password": "pw", "type": "user", "roles": ["hidden role"], "x": "hidden word",
        "_attachments": {"file": {"content_type": "text/plain", "data": "aGlkZGVuIGZpbGU="}},
    });
    let ottos = "/_users/org.couchdb.user:otto";
    server.ask("PUT", ottos, &document.to_string()).expect(201);
    server.ask("PUT", "/_users/_design/d", DESIGN).expect(201);
    server.ask("PUT", "/_users/_local/l", r#"{"x":"hidden word"}"#).expect(201);
    server.ask("PUT", "/_users/_security", "{}").expect(200);
    server.ask("PUT", "/plain", "").expect(201);
    server.ask("PUT", "/plain/_security", "{}").expect(200);
    let around = r#"{"rewrites": [{"from": "/*", "to": "../../../_users/*"}]}"#;
    server.ask("PUT", "/plain/_design/around", around).expect(201);
    let config = "/_node/_local/_config/chttpd/secure_rewrites";
    server.ask("PUT", config, "\"false\"").expect(200);
    let stored = server.ask("GET", ottos, "").expect(200).json();
    let text = |member: &str| stored[member].as_str().unwrap().to_owned();
    let (rev, salt, key) = (text("_rev"), text("salt"), text("derived_key"));
    let hash = rev.split_once('-').unwrap().1.to_owned();
    let hidden = ["hidden role", "hidden word", "hidden file", "aGlkZGVu", &hash, &salt, &key];

    let id = "org.couchdb.user:otto";
    let asked = format!(r#"{{"{id}":["9-9","1-{}"]}}"#, "0".repeat(32));
    let docs = format!(r#"{{"docs":[{{"id":"{id}"}},{{"id":"{id}","rev":"{rev}"}}]}}"#);
    let overwrite = format!(r#"{{"docs":[{{"_id":"{id}","_rev":"{rev}","_deleted":true}}]}}"#);
    let forced = format!(
        r#"{{"new_edits":false,"docs":[{{"_id":"{id}","_rev":"9-{hash}","type":"user","name":"otto","roles":[]}}]}}"#
    );
    let keys = format!(r#"{{"keys":["{id}"],"include_docs":true}}"#);
    let mut requests: Vec<(&str, String, String)> = vec![
        ("POST", "/_users/_bulk_get".into(), docs.clone()),
        ("POST", "/_users/_bulk_get?revs=true&attachments=true&latest=true".into(), docs),
        ("POST", "/_users/_revs_diff".into(), asked.clone()),
        ("POST", "/_users/_missing_revs".into(), asked),
        ("POST", "/_users/_bulk_docs".into(), overwrite),
        ("POST", "/_users/_bulk_docs".into(), forced),
        ("POST", "/_users/_all_docs".into(), keys.clone()),
        (
            "POST",
            "/_users/_changes?filter=_doc_ids&include_docs=true".into(),
            format!(r#"{{"doc_ids":["{id}"]}}"#),
        ),
        ("GET", "/_users/_all_docs?include_docs=true".into(), String::new()),
        ("GET", "/_users/_design/d/_view/v?include_docs=true".into(), String::new()),
        ("POST", "/_users/_design/d/_view/v".into(), keys),
        ("GET", "/_users/_local/l".into(), String::new()),
        ("GET", "/_users/_local%2Fl".into(), String::new()),
        ("PUT", "/_users/_local/settee_peruser".into(), r#"{"since":5}"#.into()),
        ("PUT", "/_users/_local%2Fsettee_peruser".into(), r#"{"since":5}"#.into()),
        (
            "POST",
            "/_users".into(),
            format!(r#"{{"_id":"{id}","_rev":"{rev}","type":"user","name":"otto","roles":[]}}"#),
        ),
        ("PUT", format!("{ottos}/file?rev={rev}"), "\"x\"".into()),
        ("DELETE", format!("{ottos}/file?rev={rev}"), String::new()),
        ("DELETE", format!("{ottos}?rev={rev}"), String::new()),
    ];
    for query in [
        "",
        "?revs=true",
        "?open_revs=all",
        "?rev=1-x",
        "?attachments=true",
        "?conflicts=true",
        "?meta=true",
    ] {
        requests.push(("GET", format!("{ottos}{query}"), String::new()));
        requests.push((
            "GET",
            format!("/plain/_design/around/_rewrite/{id}{query}"),
            String::new(),
        ));
    }
    requests.push(("GET", "/plain/_design/around/_rewrite/_all_docs".into(), String::new()));
    requests.push(("GET", format!("{ottos}?rev={rev}"), String::new()));
    requests.push(("GET", format!("{ottos}/file"), String::new()));
    // And whatever else a database answers.
    for (method, path, body, ..) in ENDPOINTS {
        if let Some(rest) = path.strip_prefix("/db/doc") {
            requests.push((
                method,
                format!("{ottos}{}", rest.replace("{n}", "")),
                (*body).to_owned(),
            ));
        } else if let Some(rest) = path.strip_prefix("/db") {
            requests.push((
                method,
                format!("/_users{}", rest.replace("{n}", "")),
                (*body).to_owned(),
            ));
        }
    }
    for (who, headers) in [
        ("other", vec![("Authorization", basic("other", "pw"))]),
        ("nobody", vec![]),
        ("proxy", proxy("other", "staff")),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for (method, path, body) in &requests {
            let answer = server.connect().ask(method, path, &headers, body);
            let text = String::from_utf8_lossy(&answer.body);
            let tag = answer.header("etag").unwrap_or_default();
            for word in hidden {
                // What is asked with may come back in an error.
                let given = path.contains(word) || body.contains(word);
                let shown = text.contains(word) || tag.contains(word);
                assert!(!shown || given, "{method} {path} shows {who} {word:?}: {text}");
            }
        }
    }
    assert_eq!(server.ask("GET", ottos, "").json(), stored, "and it is as it was");
    server.ask("GET", "/_users/_local/settee_peruser", "").expect(404);
}
