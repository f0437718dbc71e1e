//! Checkpoints: what is written into both databases, and where to begin after reading them.
//!
//! A checkpoint names the session that wrote it and keeps the sessions before. Where both sides name the
//! same session, they stand at the same place; otherwise the newest session that both know is the place.
//! So a side that was rolled back to a backup, or has been replaced, is noticed.

use std::time::SystemTime;

use super::{REPLICATION_ID_VERSION, progress::Stats};
use crate::{
    date,
    json::{Object, Value},
};

/// Sessions that a checkpoint keeps.
pub(super) const MAX_HISTORY: usize = 50;

/// What two checkpoints have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Common {
    /// Where in the source to go on; `None` at the beginning.
    pub(super) seq: Option<Value>,
    /// The sessions up to there, newest first.
    pub(super) history: Vec<Value>,
}

/// Finds where to go on after the checkpoints of source and target.
pub(super) fn compare(source: &Object, target: &Object) -> Common {
    if source.get("session_id") == target.get("session_id") {
        let seq = source.get("source_last_seq").or_else(|| source.get("last_seq"));
        return Common { seq: place(seq), history: history(source).to_vec() };
    }
    let (mut source, mut target) = (history(source), history(target));
    while let ([newest_source, rest_source @ ..], [newest_target, rest_target @ ..]) =
        (source, target)
    {
        if knows(target, newest_source) {
            return Common { seq: recorded(newest_source), history: rest_source.to_vec() };
        }
        if knows(rest_source, newest_target) {
            return Common { seq: recorded(newest_target), history: rest_target.to_vec() };
        }
        (source, target) = (rest_source, rest_target);
    }
    Common::default()
}

fn history(log: &Object) -> &[Value] {
    log.get("history").and_then(Value::as_array).unwrap_or_default()
}

fn knows(history: &[Value], entry: &Value) -> bool {
    let session = entry.get("session_id");
    session.is_some() && history.iter().any(|known| known.get("session_id") == session)
}

/// The sequence of a session. PouchDB calls it otherwise.
fn recorded(entry: &Value) -> Option<Value> {
    place(entry.get("recorded_seq").or_else(|| entry.get("last_seq")))
}

/// A sequence to go on from; the beginning is none.
fn place(seq: Option<&Value>) -> Option<Value> {
    seq.filter(|seq| **seq != Value::from(0u64) && **seq != Value::Null).cloned()
}

/// What a session counted.
pub(super) fn stats_of(entry: &Value) -> Stats {
    let number = |name: &str| entry.get(name).and_then(Value::as_u64).unwrap_or(0);
    Stats {
        revisions_checked: number("missing_checked"),
        missing_revisions_found: number("missing_found"),
        docs_read: number("docs_read"),
        docs_written: number("docs_written"),
        doc_write_failures: number("doc_write_failures"),
        bulk_get_docs: number("bulk_get_docs"),
        bulk_get_attempts: number("bulk_get_attempts"),
    }
}

/// One run of a replication, as its checkpoints tell of it.
pub(super) struct Session {
    /// Tells it from every other.
    pub(super) id: String,
    pub(super) started: SystemTime,
    pub(super) start_seq: Value,
    /// The sessions before, newest first.
    pub(super) history: Vec<Value>,
    /// Replications of listed documents say more at the top, for CouchDB 1.0.
    pub(super) by_doc_ids: bool,
}

impl Session {
    /// The checkpoint that says that everything up to `seq` is replicated.
    pub(super) fn checkpoint(&self, seq: &Value, stats: &Stats, now: SystemTime) -> Object {
        let [start, end] = [self.started, now].map(|time| date::rfc1123(date::seconds(time)));
        let mut entry = Object::new();
        entry.insert("session_id", self.id.as_str());
        entry.insert("start_time", start.as_str());
        entry.insert("end_time", end.as_str());
        entry.insert("start_last_seq", self.start_seq.clone());
        entry.insert("end_last_seq", seq.clone());
        entry.insert("recorded_seq", seq.clone());
        entry.insert("missing_checked", stats.revisions_checked);
        entry.insert("missing_found", stats.missing_revisions_found);
        entry.insert("docs_read", stats.docs_read);
        entry.insert("docs_written", stats.docs_written);
        entry.insert("doc_write_failures", stats.doc_write_failures);
        entry.insert("bulk_get_docs", stats.bulk_get_docs);
        entry.insert("bulk_get_attempts", stats.bulk_get_attempts);
        let earlier = self.history.iter().take(MAX_HISTORY - 1).cloned();
        let history: Vec<Value> = std::iter::once(entry.into()).chain(earlier).collect();

        let mut log = Object::new();
        log.insert("session_id", self.id.as_str());
        log.insert("source_last_seq", seq.clone());
        log.insert("replication_id_version", u64::from(REPLICATION_ID_VERSION));
        if self.by_doc_ids {
            log.insert("start_time", start);
            log.insert("end_time", end);
            log.insert("docs_read", stats.docs_read);
            log.insert("docs_written", stats.docs_written);
            log.insert("doc_write_failures", stats.doc_write_failures);
        }
        log.insert("history", history);
        log
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn log(json: &str) -> Object {
        Value::parse(json.as_bytes()).unwrap().as_object().unwrap().clone()
    }

    /// A log of sessions given as `name:seq`, newest first.
    fn sessions(list: &[&str]) -> Object {
        let entries: Vec<String> = list
            .iter()
            .map(|entry| {
                let (name, seq) = entry.split_once(':').unwrap();
                format!(r#"{{"session_id":"{name}","recorded_seq":{seq}}}"#)
            })
            .collect();
        let (name, seq) = list[0].split_once(':').unwrap();
        log(&format!(
            r#"{{"session_id":"{name}","source_last_seq":{seq},"history":[{}]}}"#,
            entries.join(",")
        ))
    }

    #[track_caller]
    fn check(source: &[&str], target: &[&str], seq: Option<u64>, history: usize) {
        let common = compare(&sessions(source), &sessions(target));
        assert_eq!(common.seq, seq.map(Value::from));
        assert_eq!(common.history.len(), history);
    }

    #[test]
    fn where_to_go_on() {
        check(&["b:7", "a:3"], &["b:7", "a:3"], Some(7), 2);
        check(&["c:9", "b:7", "a:3"], &["b:7", "a:3"], Some(7), 1);
        check(&["b:7", "a:3"], &["c:9", "b:7", "a:3"], Some(7), 1);
        check(&["c:9", "a:3"], &["d:9", "a:3"], Some(3), 0);
        check(&["c:9", "x:5", "a:3"], &["d:9", "a:3"], Some(3), 0);
        check(&["c:9"], &["d:9"], None, 0);
        check(&["a:0"], &["a:0"], None, 1);
    }

    #[test]
    fn nothing_and_rubbish_mean_the_beginning() {
        assert_eq!(compare(&Object::new(), &Object::new()), Common::default());
        assert_eq!(compare(&sessions(&["a:1"]), &Object::new()), Common::default());
        let rubbish = log(r#"{"session_id":5,"history":[1,{"x":2},null]}"#);
        assert_eq!(compare(&rubbish, &sessions(&["a:1"])).seq, None);
        assert_eq!(compare(&log(r#"{"history":7}"#), &log(r#"{"history":{}}"#)), Common::default());
    }

    #[test]
    fn checkpoints_of_pouchdb_are_understood() {
        let pouch = r#"{"session_id":"A","last_seq":12,"history":[{"session_id":"A","last_seq":12}],"replicator":"pouchdb","version":1}"#;
        assert_eq!(compare(&log(pouch), &log(pouch)).seq, Some(Value::from(12u64)));
        let newer =
            pouch.replace("\"session_id\":\"A\",\"last_seq\":12,\"h", "\"session_id\":\"B\",\"h");
        assert_eq!(compare(&log(pouch), &log(&newer)).seq, Some(Value::from(12u64)));
    }

    #[test]
    fn the_history_is_cut_and_a_session_stands_in_it_once() {
        let old = (0..80).map(|n| log(&format!(r#"{{"session_id":"{n}"}}"#)).into()).collect();
        let session = Session {
            id: "new".into(),
            started: UNIX_EPOCH,
            start_seq: Value::from(0u64),
            history: old,
            by_doc_ids: false,
        };
        let stats = Stats { docs_read: 3, ..Stats::default() };
        let first = session.checkpoint(&Value::from("5-x"), &stats, UNIX_EPOCH);
        let second = session.checkpoint(&Value::from("6-x"), &stats, UNIX_EPOCH);
        assert_eq!(history(&first).len(), MAX_HISTORY);
        assert_eq!(history(&second)[1..], history(&first)[1..]);
        assert_eq!(stats_of(&history(&second)[0]), stats);
        assert_eq!(compare(&first, &second).seq, Some(Value::from("5-x")), "the source's counts");
        let members: Vec<_> = second.iter().map(|(name, _)| name).collect();
        assert_eq!(members, ["session_id", "source_last_seq", "replication_id_version", "history"]);
    }
}
