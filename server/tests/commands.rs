//! The commands of the real binary, beside a running server and without one.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};
use support::Settee;

fn settee(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_settee"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// Standard output of a command that must succeed.
#[track_caller]
fn done(arguments: &[&str]) -> String {
    let output = settee(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {:?}: {error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Standard error of a command that must end with this code.
#[track_caller]
fn failed(arguments: &[&str], code: i32) -> String {
    let output = settee(arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    error
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Documents with conflicts, tombstones and attachments of every kind, local documents, settings.
fn fill(server: &Settee) {
    server.ask("PUT", "/db", "").expect(201);
    server.ask("PUT", "/db/_security", r#"{"admins":{"names":["anna"]}}"#).expect(200);
    server.ask("PUT", "/db/_revs_limit", "77").expect(200);
    let long = "bG9uZyE=".repeat(60_000);
    let docs = json!({ "new_edits": false, "docs": [
        {"_id": "conflict", "_revisions": {"start": 3, "ids": ["c", "b", "a"]}, "v": 1},
        {"_id": "conflict", "_revisions": {"start": 3, "ids": ["d", "b", "a"]}, "v": 2},
        {"_id": "conflict", "_revisions": {"start": 2, "ids": ["x", "a"]}, "_deleted": true},
        {"_id": "gone", "_rev": "1-abc", "_deleted": true, "why": "kept"},
        {"_id": "numbers", "_rev": "1-abd", "n": 1.5e300, "big": 12345678901234567890_u64, "ü": "\u{0}€"},
        {"_id": "files", "_rev": "1-def", "_attachments": {
            "text": {"content_type": "text/plain", "data": "aGVsbG8gaGVsbG8gaGVsbG8=", "revpos": 1},
            "same": {"content_type": "text/plain", "data": "aGVsbG8gaGVsbG8gaGVsbG8=", "revpos": 1},
            "bytes": {"content_type": "image/png", "data": "AAECAwQ=", "revpos": 1},
            "empty": {"content_type": "image/png", "data": "", "revpos": 1},
            "long": {"content_type": "image/png", "data": long.replace("bG9uZyE=", "bG9uZyEh"), "revpos": 1},
        }},
        {"_id": "_design/d", "_rev": "1-eee", "views": {"v": {"map": "function (doc) {}"}}},
    ]});
    server.ask("POST", "/db/_bulk_docs", &docs.to_string()).expect(201);
    for n in 0..3 {
        let body =
            if n == 0 { r#"{"n":0}"#.to_owned() } else { format!(r#"{{"n":{n},"_rev":"0-{n}"}}"#) };
        server.ask("PUT", "/db/_local/checkpoint", &body).expect(201);
    }
    for n in 0..1200 {
        if n % 100 == 0 {
            let docs: Vec<_> =
                (n..n + 100).map(|n| json!({ "_id": format!("doc-{n}"), "n": n })).collect();
            server.ask("POST", "/db/_bulk_docs", &json!({ "docs": docs }).to_string()).expect(201);
        }
    }
}

/// What a client sees of everything that must survive a dump.
fn seen(server: &Settee) -> Vec<String> {
    let mut seen = Vec::new();
    for path in [
        "/db/_all_docs?include_docs=true&conflicts=true&attachments=true&att_encoding_info=true",
        "/db/_local/checkpoint",
        "/db/_security",
        "/db/_revs_limit",
        "/db/_design/d",
        "/db/files?att_encoding_info=true",
    ] {
        seen.push(server.ask("GET", path, "").expect(200).text().to_owned());
    }
    let changes = server.ask("GET", "/db/_changes?style=all_docs", "").expect(200).json();
    let changes = changes["results"].as_array().unwrap().iter();
    let mut rows: Vec<_> = changes.map(|row| format!("{} {}", row["id"], row["changes"])).collect();
    rows.sort();
    seen.extend(rows);
    for id in ["conflict", "gone", "numbers", "files"] {
        let path = format!("/db/{id}?open_revs=all&revs=true&attachments=true");
        let found = server.connect().ask(
            "GET",
            &path,
            &[("Authorization", &support::admin_header()), ("Accept", "application/json")],
            "",
        );
        seen.push(found.expect(200).text().to_owned());
    }
    seen
}

#[test]
fn a_dump_taken_beside_the_server_gives_an_equal_database() {
    let mut server = Settee::start();
    fill(&server);
    let expected = seen(&server);
    let data = server.data_dir();
    for (name, more) in [("apart", None), ("inline", Some("--inline"))] {
        let dump = server.folder().join(format!("{name}.jsonl"));
        let mut arguments = vec!["dump", "--data-dir", text(&data), "db", "--to", text(&dump)];
        arguments.extend(more);
        done(&arguments);
        let lines = fs::read_to_string(&dump).unwrap();
        assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
        let longest = lines.lines().map(str::len).max().unwrap();
        assert_eq!(longest > 300_000, more.is_some(), "{name}: {longest}");

        let mut copy = Settee::start();
        copy.stop();
        let other = copy.data_dir();
        let mut load = command(&["load", "--json", "--data-dir", text(&other), "db"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        load.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = load.wait_with_output().unwrap();
        assert!(output.status.success());
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["revisions"], 1207, "{summary}");
        assert_eq!(summary["refused"], 0, "{summary}");
        // Once more: nothing new.
        done(&["load", "--data-dir", text(&other), "db", "--from", text(&dump)]);
        done(&["verify", text(&other.join("db.settee"))]);
        copy.launch();
        for (theirs, ours) in seen(&copy).iter().zip(&expected) {
            assert_eq!(theirs, ours, "{name}");
        }
        let info = copy.ask("GET", "/db", "").expect(200).json();
        assert_eq!(info["doc_count"], 1204, "{info}");
    }
    server.stop();
}

#[test]
fn reading_commands_work_beside_a_server_that_is_written_to() {
    let mut server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    let (data, backups) = (server.data_dir(), server.folder().join("backups"));
    let file = data.join("db.settee");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let write = |writer: u64| {
            let (server, stop) = (&server, &stop);
            move || {
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    let docs: Vec<_> = (0..20)
                        .map(|n| json!({ "_id": format!("{writer}-{round}-{n}"), "text": "x".repeat(900) }))
                        .collect();
                    let body = json!({ "docs": docs }).to_string();
                    server.ask("POST", "/db/_bulk_docs", &body).expect(201);
                }
            }
        };
        scope.spawn(write(1));
        scope.spawn(write(2));
        for round in 0..6 {
            let report: Value =
                serde_json::from_str(&done(&["verify", "--json", text(&file)])).unwrap();
            assert_eq!(report["sound"], true, "{report}");
            done(&["inspect", "--data-dir", text(&data), "db"]);
            let dump = done(&["dump", "--data-dir", text(&data), "db"]);
            assert!(dump.lines().last().unwrap().starts_with("{\"settee_dump_end\""));
            let to = backups.join(round.to_string());
            done(&["backup", "--data-dir", text(&data), "--to", text(&to)]);
            // A write is in a copy as a whole or not at all.
            let copied = done(&["inspect", "--json", text(&to.join("db.settee"))]);
            let copied: Value = serde_json::from_str(&copied).unwrap();
            assert_eq!(copied["documents"].as_u64().unwrap() % 20, 0, "{copied}");
        }
        let refused = failed(&["load", "--data-dir", text(&data), "db"], 4);
        assert!(refused.contains("is in use by a running settee: stop that server"), "{refused}");
        failed(&["load", text(&file)], 4);
        stop.store(true, Ordering::Relaxed);
    });
    let everything = "/db/_all_docs?include_docs=true";
    let all = server.ask("GET", everything, "").expect(200).text().to_owned();
    let to = backups.join("last");
    done(&["backup", "--data-dir", text(&data), "--to", text(&to)]);
    server.stop();
    let taken = failed(&["backup", text(&file), text(&to.join("db.settee"))], 1);
    assert!(taken.contains("exists already"), "{taken}");

    // A folder of copies is a data folder.
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    fs::write(data.join("local.ini"), "[chttpd_auth]\niterations = 100\n").unwrap();
    for name in ["db.settee", "_users.settee", "_replicator.settee"] {
        fs::copy(to.join(name), data.join(name)).unwrap();
    }
    server.launch();
    assert!(server.ask("GET", everything, "").expect(200).text() == all);
}

#[test]
fn damage_is_found_named_and_not_copied() {
    let mut server = Settee::start();
    server.ask("PUT", "/db", "").expect(201);
    let body = format!(r#"{{"mark":"{}"}}"#, "precious".repeat(20));
    server.ask("PUT", "/db/hurt", &body).expect(201);
    server.stop();
    let file = server.data_dir().join("db.settee");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(8).position(|it| it == b"precious").unwrap();
    bytes[at] ^= 2;
    fs::write(&file, &bytes).unwrap();

    let output = settee(&["verify", "--json", text(&file)]);
    assert_eq!(output.status.code(), Some(3));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let damage = report["damage"].as_array().unwrap();
    let names = |says: &str| {
        damage.iter().any(|it| {
            let (offset, len) = (it["offset"].as_u64().unwrap(), it["length"].as_u64().unwrap());
            let place = offset..offset + len;
            it["what"].as_str().unwrap().contains(says) && place.contains(&(at as u64))
        })
    };
    assert!(names("its payload does not match its checksum"), "{report}");
    assert!(names("of document \"hurt\""), "{report}");

    let copy = server.folder().join("copy.settee");
    failed(&["backup", text(&file), text(&copy)], 3);
    assert!(!copy.exists());
    done(&["inspect", "--raw", text(&file)]);
}

#[test]
fn mistakes_are_answered_with_a_sentence_and_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.settee");
    assert!(failed(&["verify", text(&missing)], 1).contains("does not exist"));
    let typo = folder.path().join("no such folder");
    assert!(failed(&["dump", "--data-dir", text(&typo), "db"], 1).contains("is not a folder"));
    failed(&["inspect"], 2);
    failed(&["backup", "one"], 2);
    failed(&["no-such-command"], 2);
    let stranger = folder.path().join("stranger.settee");
    fs::write(&stranger, vec![b'x'; 5000]).unwrap();
    assert!(failed(&["verify", text(&stranger)], 1).contains("it is not a database"));

    // A dump that was cut off is not taken for a whole one.
    let dump = folder.path().join("dump");
    let load = ["load", "--data-dir", text(folder.path()), "db", "--from", text(&dump)];
    fs::write(&dump, "{\"settee_dump\":1}\n{\"_id\":\"a\",\"_rev\":\"1-a\"}\n").unwrap();
    assert!(failed(&load, 1).contains("the dump ends before its end"));
    fs::write(&dump, "{\"_id\":\"a\",\"_rev\":\"1-a\"}\nnonsense\n").unwrap();
    assert!(failed(&load, 1).contains("line 2: invalid UTF-8 JSON"));
    // Lines of documents alone are enough.
    fs::write(&dump, "{\"_id\":\"b\",\"_rev\":\"1-b\",\"v\":1}\n").unwrap();
    done(&load);
    let text = done(&["dump", "--data-dir", text(folder.path()), "db"]);
    assert!(text.contains(r#"{"_id":"b","_rev":"1-b","v":1,"#), "{text}");
}

/// What compaction of files takes away and what it leaves, what a server keeps it from, and what scripts
/// see of it.
#[test]
fn databases_are_compacted_by_the_command_while_no_server_has_them() {
    let mut server = Settee::start();
    fill(&server);
    for n in 0..300 {
        let docs: Vec<_> = (0..20)
            .map(|id| {
                let ids: Vec<_> = (n.max(1) - 1..=n).rev().map(|n| n.to_string()).collect();
                json!({
                    "_id": format!("edited-{id}"), "n": "x".repeat(200),
                    "_revisions": {"start": n + 1, "ids": ids},
                })
            })
            .collect();
        let body = json!({ "new_edits": false, "docs": docs }).to_string();
        server.ask("POST", "/db/_bulk_docs", &body).expect(201);
    }
    server.ask("PUT", "/other", "").expect(201);
    server.ask("PUT", "/other/doc", r#"{"a":1}"#).expect(201);
    // Whatever reads a body by itself has to read packed ones.
    let design = json!({
        "language": "javascript", "padding": "repeated ".repeat(40),
        "validate_doc_update": "function (doc) { if (doc.bad) throw({forbidden: 'no'}); }",
        "views": {"long": {"map": "function (doc) { if (doc.n && doc.n.length) emit(doc._id, doc.n); }"}},
    });
    server.ask("PUT", "/db/_design/check", &design.to_string()).expect(201);
    let readings = |server: &Settee| {
        let selector = r#"{"selector":{"n":{"$type":"string"}},"fields":["_id","n"]}"#;
        let found = server.ask("POST", "/db/_find", selector).expect(200).json();
        let rows = server.ask("GET", "/db/_design/check/_view/long", "").expect(200).json();
        server.ask("PUT", "/db/refused", r#"{"bad":true}"#).expect(403);
        (found["docs"].clone(), rows["rows"].clone())
    };
    let (expected, read) = (seen(&server), readings(&server));
    assert_eq!(read.0.as_array().unwrap().len(), 20);
    let (data, file) = (server.data_dir(), server.data_dir().join("db.settee"));
    for arguments in [
        &["compact", "--data-dir", text(&data)][..],
        &["compact", "--data-dir", text(&data), "db"],
        &["compact", text(&file)],
    ] {
        let refused = failed(arguments, 4);
        assert!(refused.contains("is in use by a running settee: stop that server"), "{refused}");
    }
    server.stop();

    let length = || fs::metadata(&file).unwrap().len();
    let before = length();
    let told = done(&["compact", "--json", text(&file)]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["file"], text(&file), "{told}");
    assert_eq!(told["documents"], 1226, "{told}");
    assert!(told["bytes_after"].as_u64().unwrap() <= length(), "{told}");
    assert!(length() * 5 < before * 3, "{before} {told}");
    let lines = done(&["compact", "--json", "--data-dir", text(&data)]);
    let files: Vec<Value> = lines.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert!(files.iter().any(|it| it["file"] == text(&data.join("other.settee"))), "{lines}");
    let said = done(&["compact", "--data-dir", text(&data), "other"]);
    assert!(said.contains(" before, ") && said.contains("; 1 documents"), "{said}");
    done(&["verify", text(&file)]);

    // One that is missing does not keep the others from it, and decides how it ends.
    let missing = failed(&["compact", "--data-dir", text(&data), "missing", "other"], 1);
    assert!(missing.contains("does not exist"), "{missing}");
    failed(&["compact"], 2);
    assert!(fs::read_dir(&data).unwrap().all(|entry| {
        let name = entry.unwrap().file_name();
        !name.to_str().unwrap().ends_with(".compact")
    }));

    fs::remove_dir_all(data.join("db.views")).unwrap();
    server.launch();
    for (theirs, ours) in seen(&server).iter().zip(&expected) {
        assert_eq!(theirs, ours);
    }
    assert_eq!(readings(&server), read);
}
