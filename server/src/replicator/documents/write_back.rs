//! Writing into a document how its replication stands.

use std::sync::Arc;
use std::time::Duration;

use settee_engine::date::iso8601;
use settee_engine::document::Body;
use settee_engine::json::{Object, Value};
use settee_engine::{Caller, Databases, Error, Result, WriteMode, caller::ADMIN_ROLE};

use super::entry::{DocKey, STATE_MEMBERS, spec_of, written_state};
use crate::replicator::hook::REPLICATOR_ROLE;

/// How often a write is tried that others come before.
const ATTEMPTS: u32 = 20;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NewState {
    /// It is done, with these figures.
    Completed(Object),
    /// It can't be carried out, for this reason.
    Failed(String),
    /// It has started under this id.
    Triggered(String),
    /// It has failed, for this reason, and will be tried again; under this id if it has one.
    Error { reason: String, id: Option<String> },
    /// Nothing: what is there is out of date.
    Cleared,
}

impl NewState {
    fn name(&self) -> Option<&'static str> {
        match self {
            Self::Completed(_) => Some("completed"),
            Self::Failed(_) => Some("failed"),
            Self::Triggered(_) => Some("triggered"),
            Self::Error { .. } => Some("error"),
            Self::Cleared => None,
        }
    }

    /// The document in this state; `None` if it says so already.
    fn apply(&self, document: &Value, now: std::time::SystemTime) -> Option<Value> {
        let reason = |document: &Value| {
            document.get("_replication_state_reason").and_then(Value::as_str).map(str::to_owned)
        };
        let mut members = document.as_object().cloned()?;
        let before = written_state(document);
        let kept_time = members.get("_replication_state_time").cloned();
        let kept_id = members.get("_replication_id").cloned();
        for name in STATE_MEMBERS {
            members.remove(name);
        }
        let Some(name) = self.name() else {
            return before.is_some().then_some(Value::Object(members));
        };
        members.insert("_replication_state", name);
        let time = kept_time.filter(|_| before == Some(name));
        members.insert("_replication_state_time", time.unwrap_or_else(|| iso8601(now).into()));
        if let Some(id) = kept_id {
            members.insert("_replication_id", id);
        }
        match self {
            Self::Completed(stats) => members.insert("_replication_stats", stats.clone()),
            Self::Failed(text) => members.insert("_replication_state_reason", text.as_str()),
            Self::Triggered(id) => members.insert("_replication_id", id.as_str()),
            Self::Error { reason: text, id } => {
                if before == Some(name) && reason(document).as_deref() == Some(text) {
                    return None;
                }
                members.insert("_replication_state_reason", text.as_str());
                members.insert("_replication_id", id.as_deref().map_or(Value::Null, Value::from));
            }
            Self::Cleared => {}
        }
        let changed = Value::Object(members);
        (changed != *document).then_some(changed)
    }
}

/// Writes a state into a document, unless the document is gone or says something else than `spec` by now.
///
/// # Errors
///
/// Those of the store; what the database's functions say to it; [`Error::Conflict`] if others came before
/// again and again.
pub(super) fn write(
    databases: &Arc<Databases>,
    key: &DocKey,
    spec: &Value,
    state: &NewState,
) -> Result<()> {
    for _ in 0..ATTEMPTS {
        match try_write(databases, key, spec, state) {
            Err(Error::Conflict) => std::thread::sleep(PAUSE),
            Err(Error::DatabaseNotFound | Error::NotFound(_)) => return Ok(()),
            done => return done,
        }
    }
    Err(Error::Conflict)
}

fn try_write(
    databases: &Arc<Databases>,
    key: &DocKey,
    spec: &Value,
    state: &NewState,
) -> Result<()> {
    let database = databases.get(&key.database)?;
    let mut document = database.read()?.edit(&key.id, None)?;
    let body = document.body.to_value()?;
    if spec_of(&body) != *spec {
        return Ok(());
    }
    let Some(changed) = state.apply(&body, std::time::SystemTime::now()) else { return Ok(()) };
    document.body = Body::parse(&changed.to_json())?;
    let roles = [Arc::from(ADMIN_ROLE), Arc::from(REPLICATOR_ROLE)];
    let itself = Caller::new(None, roles.into());
    let written = database.write_as(&itself, vec![document], WriteMode::Interactive)?;
    written.into_iter().next().map_or(Ok(()), |result| result.map(drop))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn check(before: &str, state: &NewState, expected: Option<&str>) {
        let document = Value::parse(before.as_bytes()).unwrap();
        let after = state.apply(&document, UNIX_EPOCH);
        let after = after.map(|after| String::from_utf8(after.to_json()).unwrap());
        assert_eq!(after.as_deref(), expected, "{state:?}");
    }

    #[test]
    fn states_replace_one_another() {
        let failed = NewState::Failed("no".into());
        let is_failed = r#"{"a":1,"_replication_state":"failed","_replication_state_time":"1970-01-01T00:00:00Z","_replication_state_reason":"no"}"#;
        check(r#"{"a":1}"#, &failed, Some(is_failed));
        check(is_failed, &failed, None);
        check(is_failed, &NewState::Cleared, Some(r#"{"a":1}"#));
        check(r#"{"a":1}"#, &NewState::Cleared, None);
        let completed = r#"{"a":1,"_replication_state":"completed","_replication_state_time":"1970-01-01T00:00:00Z","_replication_stats":{}}"#;
        check(is_failed, &NewState::Completed(Object::new()), Some(completed));
        let error = NewState::Error { reason: "x".into(), id: None };
        let is_error = r#"{"a":1,"_replication_state":"error","_replication_state_time":"1970-01-01T00:00:00Z","_replication_state_reason":"x","_replication_id":null}"#;
        check(r#"{"a":1}"#, &error, Some(is_error));
        check(is_error, &error, None);
    }
}
