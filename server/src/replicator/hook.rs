//! The rules of replicator databases: who writes what there, and who reads which part of it.

use std::sync::Arc;

use parking_lot::RwLock;
use settee_engine::document::{Body, Document};
use settee_engine::json::{Object, Value};
use settee_engine::replication::{Defaults, Replication};
use settee_engine::{
    Caller, Database, Error, GetOptions, PendingWrite, ReadHook, Redaction, Result, WriteHook,
    WriteMode,
};

use super::secrets::WithoutCredentials;
use crate::auth::is_database_admin;

/// The role of the replicator itself, to which no rules apply.
pub(super) const REPLICATOR_ROLE: &str = "_replicator";

/// The member that says whose a document is.
const OWNER: &str = "owner";

const NOT_YOURS: &str = "Can't update replication documents from other users.";

/// What is told of writes.
type Listener = Box<dyn Fn(&Arc<Database>) + Send + Sync>;

/// Checks replication documents, and tells of the databases they are written to.
#[derive(Default)]
pub(super) struct DocumentHook {
    listener: RwLock<Option<Listener>>,
    /// What holds for documents that don't say otherwise.
    defaults: RwLock<Defaults>,
}

impl DocumentHook {
    /// Has `listener` called before anything is written to a replicator database.
    pub(super) fn listen(&self, listener: Listener) {
        *self.listener.write() = Some(listener);
    }

    pub(super) fn configure(&self, defaults: &Defaults) {
        defaults.clone_into(&mut self.defaults.write());
    }
}

impl WriteHook for DocumentHook {
    fn before_write(&self, write: &PendingWrite<'_>, document: &mut Document) -> Result<()> {
        if write.caller().has_role(REPLICATOR_ROLE) {
            return Ok(());
        }
        check_write(write, document, &self.defaults.read())?;
        if let Some(listener) = &*self.listener.read() {
            listener(write.database());
        }
        Ok(())
    }
}

fn check_write(
    write: &PendingWrite<'_>,
    document: &mut Document,
    defaults: &Defaults,
) -> Result<()> {
    let (database, caller) = (write.database(), write.caller());
    let by_admin = is_database_admin(database, caller);
    if !by_admin {
        check_previous(database, caller, &document.id)?;
    }
    if document.deleted {
        return Ok(());
    }
    let body = document.body.to_value()?;
    if let Some(owned) = owned(&body, caller, by_admin)? {
        document.body = Body::parse(&owned.to_json())?;
    }
    let failed = body.get("_replication_state").and_then(Value::as_str) == Some("failed");
    if failed || write.mode() == WriteMode::Replicated {
        return Ok(());
    }
    match Replication::parse(&body, defaults) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(Error::Forbidden(refusal.to_string())),
    }
}

/// Refuses to replace or delete a document that is somebody else's.
fn check_previous(database: &Arc<Database>, caller: &Caller, id: &str) -> Result<()> {
    let reader = database.read()?;
    let previous = match reader.get(id, &GetOptions::default()) {
        Ok(found) => Value::from_canonical(found.body())?,
        Err(Error::NotFound(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    match previous.get(OWNER).and_then(Value::as_str) == caller.name() {
        true => Ok(()),
        false => Err(Error::Forbidden(NOT_YOURS.to_owned())),
    }
}

/// The body with the caller as owner, if it has none yet.
fn owned(body: &Value, caller: &Caller, by_admin: bool) -> Result<Option<Value>> {
    let name = caller.name().map_or(Value::Null, Value::from);
    match body.get(OWNER) {
        Some(owner) if *owner == name => return Ok(None),
        Some(Value::Null) | None if by_admin => {}
        None => {}
        Some(_) if by_admin => return Ok(None),
        Some(_) => return Err(Error::Forbidden(NOT_YOURS.to_owned())),
    }
    let mut members = body.as_object().cloned().unwrap_or_else(Object::new);
    members.insert(OWNER, name);
    Ok(Some(Value::Object(members)))
}

impl ReadHook for DocumentHook {
    fn redaction(&self, database: &Database, caller: &Caller) -> Option<Arc<dyn Redaction>> {
        if caller.has_role(REPLICATOR_ROLE) || is_database_admin(database, caller) {
            return None;
        }
        let reader = caller.name().map(str::to_owned);
        Some(Arc::new(WithoutCredentials { reader }))
    }
}

#[cfg(test)]
mod tests {
    use settee_engine::document::Limits;
    use settee_engine::{Databases, Props};

    use super::*;

    fn database() -> Arc<Database> {
        let databases = Databases::in_memory();
        let hook = Arc::new(DocumentHook::default());
        databases.set_write_hook("_replicator", Arc::<DocumentHook>::clone(&hook));
        databases.set_read_hook("_replicator", hook);
        let database = databases.create("x/_replicator", Props::default()).unwrap();
        database.set_security(b"{}").unwrap();
        database
    }

    fn user(name: &str) -> Caller {
        Caller::new(Some(name.into()), Arc::new([]))
    }

    fn admin() -> Caller {
        Caller::new(Some("root".into()), [Arc::from("_admin")].into())
    }

    fn put(database: &Arc<Database>, caller: &Caller, json: &str) -> Result<String> {
        let document = Document::parse(json.as_bytes(), None, &Limits::default()).unwrap();
        let mut results = database.write_as(caller, vec![document], WriteMode::Interactive)?;
        results.pop().unwrap().map(|rev| rev.to_string())
    }

    fn shown(database: &Arc<Database>, caller: &Caller) -> String {
        let reader = database.read_as(caller).unwrap();
        let mut text = Vec::new();
        reader.get("d", &GetOptions::default()).unwrap().write_json(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    const GOOD: &str = r#""source":"http://a:b@h/s","target":"http://h/t""#;

    #[test]
    fn the_writer_becomes_the_owner_and_others_neither_write_nor_see_all() {
        let database = database();
        let rev = put(&database, &user("anna"), &format!(r#"{{"_id":"d",{GOOD}}}"#)).unwrap();
        assert!(shown(&database, &user("anna")).contains(r#""a:b@h/s","target"#.trim_matches('"')));
        assert!(shown(&database, &user("anna")).contains(r#""owner":"anna""#));
        let others = shown(&database, &user("otto"));
        assert!(!others.contains("a:b") && !others.contains(&rev), "{others}");
        assert!(shown(&database, &admin()).contains(&rev));
        for change in [
            format!(r#"{{"_id":"d","_rev":"{rev}",{GOOD}}}"#),
            format!(r#"{{"_id":"d","_rev":"{rev}",{GOOD},"owner":"otto"}}"#),
            format!(r#"{{"_id":"d","_rev":"{rev}",{GOOD},"owner":"anna"}}"#),
            format!(r#"{{"_id":"d","_rev":"{rev}","_deleted":true}}"#),
            format!(r#"{{"_id":"e",{GOOD},"owner":"anna"}}"#),
        ] {
            let error = put(&database, &user("otto"), &change).unwrap_err();
            assert_eq!(error.to_string(), NOT_YOURS, "{change}");
        }
        let rev = put(
            &database,
            &admin(),
            &format!(r#"{{"_id":"d","_rev":"{rev}",{GOOD},"owner":"anna"}}"#),
        );
        let deletion = format!(r#"{{"_id":"d","_rev":"{}","_deleted":true}}"#, rev.unwrap());
        assert!(put(&database, &user("anna"), &deletion).is_ok());
    }

    #[test]
    fn an_administrator_takes_over_what_is_nobodys() {
        let database = database();
        put(&database, &admin(), &format!(r#"{{"_id":"d",{GOOD},"owner":null}}"#)).unwrap();
        assert!(shown(&database, &admin()).contains(r#""owner":"root""#));
    }

    #[test]
    fn bad_documents_are_refused_unless_they_have_failed() {
        let database = database();
        let bad = r#""source":"http://h/s","target":"http://h/t","continuous":1"#;
        let error = put(&database, &admin(), &format!(r#"{{"_id":"d",{bad}}}"#)).unwrap_err();
        assert_eq!(error.to_string(), "parameter `continuous` must be a boolean");
        let failed = format!(r#"{{"_id":"d",{bad},"_replication_state":"failed"}}"#);
        assert!(put(&database, &admin(), &failed).is_ok());
        assert!(put(&database, &admin(), r#"{"_id":"_design/x"}"#).is_ok());
    }
}
