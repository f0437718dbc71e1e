//! What happens to a user document before it is stored, whichever way it comes in.

use std::sync::Arc;

use arc_swap::ArcSwap;
use settee_engine::document::{Body, Document};
use settee_engine::json::{Object, Value};
use settee_engine::{Error, PendingWrite, Result, WriteHook, WriteMode};

use super::rules::Write;
use crate::auth::StoredPassword;
use crate::auth::password::HASH_MEMBERS;
use crate::auth::security::is_database_admin;
use crate::config::PasswordPolicy;

/// The member that brings a new password, and is never stored.
const PASSWORD: &str = "password";

/// Asks for the salt to stay what it is while the password is hashed anew, so that cookies stay good.
pub(in crate::auth) const PRESERVE_SALT: &str = "preserve_salt";

/// Applies the rules of the users' database, and replaces passwords by their hashes.
pub(in crate::auth) struct UsersHook {
    policy: ArcSwap<PasswordPolicy>,
}

impl UsersHook {
    pub(in crate::auth) fn new(policy: PasswordPolicy) -> Self {
        Self { policy: ArcSwap::from_pointee(policy) }
    }

    pub(in crate::auth) fn set_policy(&self, policy: PasswordPolicy) {
        self.policy.store(Arc::new(policy));
    }
}

impl WriteHook for UsersHook {
    fn before_write(&self, write: &PendingWrite<'_>, document: &mut Document) -> Result<()> {
        let caller = write.caller();
        let by_admin = is_database_admin(write.database(), caller);
        let body = document.body.to_value()?;
        let judged = |previous| Write {
            caller,
            by_admin,
            id: &document.id,
            deleted: document.deleted,
            body: &body,
            new_password: matches!(body.get(PASSWORD), Some(Value::String(_))),
            previous,
        };
        judged(None).check_reach()?;
        if !by_admin && caller.name().is_none() && write.mode() == WriteMode::Replicated {
            // Such a revision may stand beside the account that is there, and win: whoever has no name could take
            // over anybody's. Making an account needs no history.
            return Err(Error::Forbidden("You may only update your own user document.".into()));
        }
        let policy = self.policy.load();
        let password = new_password(&body, &policy)?;
        let previous = write.previous(document)?;
        judged(previous.as_ref()).check()?;
        if let Some(password) = password {
            document.body = hashed(&body, password, &policy)?;
        }
        Ok(())
    }
}

/// The password a document brings, if it brings one, and it is good enough.
fn new_password<'b>(body: &'b Value, policy: &PasswordPolicy) -> Result<Option<&'b str>> {
    let password = match body.get(PASSWORD) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(password)) => password,
        Some(other) => {
            let value = String::from_utf8_lossy(&other.to_json()).into_owned();
            return Err(Error::Forbidden(format!("Password value of '{value}' is invalid.")));
        }
    };
    for (pattern, message) in policy.rules.iter() {
        if !pattern.is_match(password).unwrap_or(false) {
            let reason = format!("Password does not conform to requirements. {message}");
            return Err(Error::BadRequest(reason.trim_end().to_owned()));
        }
    }
    Ok(Some(password))
}

/// The body with the password's hash in its place, in front of all else as in CouchDB.
fn hashed(body: &Value, password: &str, policy: &PasswordPolicy) -> Result<Body> {
    let members = body.as_object().into_iter().flat_map(Object::iter);
    let preserved = body.get(PRESERVE_SALT).and_then(Value::as_bool) == Some(true);
    let salt = body.get("salt").and_then(Value::as_str).filter(|_| preserved);
    let stored = StoredPassword::hash(password, policy, salt).map_err(|_| Error::NoRandomness)?;
    let is_replaced =
        |name: &str| name == PASSWORD || name == PRESERVE_SALT || HASH_MEMBERS.contains(&name);
    let hash = stored.document_members().into_iter();
    let hash = hash.map(|(name, value)| (name.to_owned(), value));
    let kept = members.filter(|(name, _)| !is_replaced(name));
    let kept = kept.map(|(name, value)| (name.to_owned(), value.clone()));
    Body::parse(&Value::Object(hash.chain(kept).collect()).to_json())
}

#[cfg(test)]
mod tests {
    use settee_engine::document::Limits;
    use settee_engine::{Caller, Databases, GetOptions, Props, WriteMode};

    use super::*;
    use crate::config::Settings;

    fn users() -> Arc<settee_engine::Database> {
        let databases = Databases::in_memory();
        let policy = PasswordPolicy { iterations: 10, ..Settings::default().accounts.passwords };
        databases.set_write_hook(super::super::USERS, Arc::new(UsersHook::new(policy)));
        databases.create(super::super::USERS, Props::default()).unwrap()
    }

    fn put(users: &Arc<settee_engine::Database>, json: &str, mode: WriteMode) -> Result<String> {
        let document = Document::parse(json.as_bytes(), None, &Limits::default()).unwrap();
        let mut results = users.write_as(&Caller::admin(), vec![document], mode)?;
        results.pop().unwrap().map(|rev| rev.to_string())
    }

    fn stored(users: &Arc<settee_engine::Database>) -> Value {
        let reader = users.read().unwrap();
        let found = reader.get("org.couchdb.user:anna", &GetOptions::default()).unwrap();
        Value::from_canonical(found.body()).unwrap()
    }

    const ANNA: &str = r#""_id":"org.couchdb.user:anna","name":"anna","type":"user","roles":[]"#;

    #[test]
    fn passwords_are_hashed_in_every_mode_and_come_first() {
        let users = users();
        let rev =
            put(&users, &format!(r#"{{{ANNA},"password":"a","x":1}}"#), WriteMode::Interactive);
        let first = stored(&users);
        let names: Vec<_> = first.as_object().unwrap().iter().map(|(name, _)| name).collect();
        assert_eq!(names[..5], HASH_MEMBERS[..5]);
        assert_eq!(names[5..], ["name", "type", "roles", "x"]);
        assert!(StoredPassword::from_document(&first).unwrap().unwrap().verify("a"));

        let parent = rev.unwrap().split_once('-').unwrap().1.to_owned();
        let replicated = format!(
            r#"{{{ANNA},"password":"b","_revisions":{{"start":2,"ids":["{}","{parent}"]}}}}"#,
            "b".repeat(32)
        );
        put(&users, &replicated, WriteMode::Replicated).unwrap();
        let second = stored(&users);
        assert!(StoredPassword::from_document(&second).unwrap().unwrap().verify("b"));
        assert_ne!(first.get("salt"), second.get("salt"));
        assert_eq!(second.get("password"), None);
    }

    #[test]
    fn the_salt_stays_if_asked_for() {
        let users = users();
        let json = format!(r#"{{{ANNA},"password":"a","salt":"pepper","preserve_salt":true}}"#);
        put(&users, &json, WriteMode::Interactive).unwrap();
        let body = stored(&users);
        assert_eq!(body.get("salt").and_then(Value::as_str), Some("pepper"));
        assert_eq!(body.get("preserve_salt"), None);
    }

    #[test]
    fn refusals_are_one_documents_and_store_nothing() {
        let users = users();
        let error = put(&users, &format!(r#"{{{ANNA},"password":5}}"#), WriteMode::Interactive);
        assert_eq!(error.unwrap_err().to_string(), "Password value of '5' is invalid.");
        let parse =
            |json: &str| Document::parse(json.as_bytes(), None, &Limits::default()).unwrap();
        let docs = vec![parse(r#"{"_id":"x"}"#), parse(&format!("{{{ANNA}}}"))];
        let results = users.write(docs, WriteMode::Interactive).unwrap();
        assert_eq!(results[0].as_ref().unwrap_err().to_string(), "doc.type must be user");
        assert!(results[1].is_ok());
        assert_eq!(users.info().unwrap().doc_count, 1);
    }

    #[test]
    fn a_write_that_names_no_leaf_is_a_conflict_before_all_else() {
        let users = users();
        put(&users, &format!("{{{ANNA}}}"), WriteMode::Interactive).unwrap();
        let error = put(&users, r#"{"_id":"org.couchdb.user:anna"}"#, WriteMode::Interactive);
        assert!(matches!(error, Err(Error::Conflict)));
    }

    #[test]
    fn passwords_must_match_the_rules() {
        let pattern = fancy_regex::Regex::new(".{3,}").unwrap();
        let rules = Arc::new([(pattern, "Too short.".to_owned())]);
        let policy = PasswordPolicy { rules, ..Settings::default().accounts.passwords };
        let check = |password: &str| {
            let body = Value::parse(format!(r#"{{"password":"{password}"}}"#).as_bytes()).unwrap();
            new_password(&body, &policy).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(check("abc"), Ok(()));
        let reason = "Password does not conform to requirements. Too short.";
        assert_eq!(check("ab"), Err(reason.to_owned()));
    }
}
