//! What those who look after a server can ask it, and how it is run as a service.

use std::process::Command;

use crate::support::{Connection, Settee, admin_header};

const ENVIRONMENT: [(&str, &str); 2] = [("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "secret")];

#[test]
fn requests_are_counted_where_couchdb_counts_them() {
    let server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    server.ask("GET", "/db/none", "").expect(404);
    let stat = |path: &str| {
        server.ask("GET", &format!("/_node/_local/_stats/couchdb/{path}"), "").expect(200).json()
    };
    assert_eq!(stat("httpd_request_methods/PUT")["value"], 1);
    assert_eq!(stat("httpd_status_codes/404")["type"], "counter");
    assert!(stat("request_time")["value"]["n"].as_u64().unwrap() >= 2);
    assert_eq!(stat("no/such/thing"), serde_json::Value::Null);
    let text = server.ask("GET", "/_node/_local/_prometheus", "").expect(200);
    assert_eq!(text.header("content-type"), Some("text/plain; version=2.0"));
    assert!(text.text().contains("couchdb_httpd_status_codes{code=\"404\"} 1"), "{}", text.text());
    assert!(
        server.ask("GET", "/_node/_local/_system", "").json()["memory"]["other"].as_u64() > Some(0)
    );
    for path in ["_stats", "_prometheus", "_system"] {
        server.ask_as_nobody("GET", &format!("/_node/_local/{path}"), "").expect(401);
        server.ask("POST", &format!("/_node/_local/{path}"), "{}").expect(405);
    }
}

#[test]
fn metrics_have_a_port_of_their_own_when_that_is_switched_on() {
    let ini = "[chttpd_auth]\niterations = 100\n[prometheus]\nadditional_port = true\nport = 0\n";
    let server = Settee::start_with(ini, ENVIRONMENT.to_vec(), &[]);
    let line = server.said().iter().find(|line| line.contains("Metrics")).unwrap();
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap();
    let ask = |method: &str, path: &str| Connection::open(address).ask(method, path, &[], "");
    assert!(
        ask("GET", "/_node/_local/_prometheus")
            .expect(200)
            .text()
            .contains("couchdb_uptime_seconds")
    );
    ask("POST", "/_node/_local/_prometheus").expect(405);
    ask("GET", "/_all_dbs").expect(404);
}

#[test]
fn a_server_in_maintenance_says_so_and_goes_on() {
    let server = Settee::start();
    let mode = "/_node/_local/_config/couchdb/maintenance_mode";
    for (value, status, state) in
        [("true", 404, "maintenance_mode"), ("nolb", 404, "nolb"), ("false", 200, "ok")]
    {
        server.ask("PUT", mode, &format!("{value:?}")).expect(200);
        assert_eq!(server.ask_as_nobody("GET", "/_up", "").expect(status).json()["status"], state);
        server.ask("GET", "/_all_dbs", "").expect(200);
    }
}

#[test]
fn the_access_log_has_a_line_for_each_request() {
    let ini = "[chttpd_auth]\niterations = 100\n[log]\nformat = json\n";
    let server = Settee::start_with(ini, ENVIRONMENT.to_vec(), &[]);
    let mut connection = server.connect();
    let admin = admin_header();
    let headers = [("Authorization", &*admin), ("X-Couch-Request-ID", "my-request")];
    let body = connection.ask("GET", "/_all_dbs?limit=1", &headers, "").expect(200).body;
    server.ask("PUT", "/_node/_local/_config/log/level", "\"warning\"").expect(200);
    connection.ask("GET", "/_up", &[("X-Couch-Request-ID", "unseen")], "").expect(200);
    let log = server.log();
    let line = log.lines().find(|line| line.contains("my-request")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["message"], "GET /_all_dbs?limit=1");
    assert_eq!(
        (line["status"].as_u64(), line["bytes"].as_u64()),
        (Some(200), Some(body.len() as u64))
    );
    assert_eq!((line["user"].as_str(), line["complete"].as_bool()), (Some("admin"), Some(true)));
    assert!(!log.contains("unseen"), "a changed level holds at once");
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn examples_of_services_can_be_read() {
    let print = |kind: &str| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_settee")).args(["service", kind]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let mut section = "";
    let unit = print("systemd");
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = name,
            None => assert!(
                !section.is_empty()
                    && line.split_once('=').is_some_and(|(key, _)| {
                        key.chars().all(|letter| letter.is_ascii_alphanumeric())
                    }),
                "{line}"
            ),
        }
    }
    assert!(unit.contains("\nExecStart=/usr/local/bin/settee --data-dir /var/lib/settee\n"));
    const INSTRUCTIONS: [&str; 12] = [
        "FROM",
        "RUN",
        "COPY",
        "USER",
        "VOLUME",
        "EXPOSE",
        "ENV",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "WORKDIR",
        "CMD",
        "ARG",
    ];
    let file = print("container");
    for line in file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert!(INSTRUCTIONS.contains(&line.split(' ').next().unwrap()), "{line}");
    }
    let procfile = print("procfile");
    let (name, command) = procfile.trim_end().split_once(": ").unwrap();
    assert_eq!(name, "web");
    // Its options are ones that the program takes.
    let words = command.replace("\"${SETTEE_DATA_DIR:-data}\"", "data");
    let options: Vec<&str> = words.split(' ').skip(1).collect();
    let check =
        Command::new(env!("CARGO_BIN_EXE_settee")).args(options).arg("--help").output().unwrap();
    assert!(check.status.success());
}

#[test]
fn the_port_comes_from_the_environment_where_hosts_give_it() {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = probe.local_addr().unwrap().port().to_string();
    drop(probe);
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_settee"))
        .arg("--data-dir")
        .arg(dir.path())
        .env_clear()
        .envs([
            ("PORT", &*port),
            ("COUCHDB_USER", "a"),
            ("COUCHDB_PASSWORD", "b"),
            ("SETTEE_LOG", "off"),
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains(&format!("http://127.0.0.1:{port}/")), "{line}");
}
