//! An account, as a user document describes it.

use std::sync::Arc;

use settee_engine::Rev;
use settee_engine::json::Value;

use crate::auth::StoredPassword;
use crate::auth::totp::Totp;

/// What the ids of user documents begin with.
pub(crate) const ID_PREFIX: &str = "org.couchdb.user:";

/// The one role with an underscore that a user document may give.
pub(super) const METRICS_ROLE: &str = "_metrics";

/// The name of the user whose document has this id.
pub(crate) fn name_of(id: &str) -> Option<&str> {
    id.strip_prefix(ID_PREFIX)
}

/// One user's account.
#[derive(Clone, Debug)]
pub(in crate::auth) struct Account {
    /// The roles.
    pub(in crate::auth) roles: Arc<[Arc<str>]>,
    /// The password's hash; nobody logs in without.
    pub(in crate::auth) password: Option<Arc<StoredPassword>>,
    /// The second factor, if one is asked for.
    pub(in crate::auth) totp: Option<Arc<Totp>>,
    /// The revision of the document.
    pub(in crate::auth) rev: Rev,
}

impl Account {
    /// Reads a user document; `None` if it is not one, or one that must let nobody in.
    pub(super) fn read(name: &str, document: &Value, rev: &Rev) -> Option<Self> {
        let is =
            |member: &str, value: &str| document.get(member).and_then(Value::as_str) == Some(value);
        if !is("type", "user") || !is("name", name) {
            return None;
        }
        let Ok(password) = StoredPassword::from_document(document) else {
            tracing::warn!(name, "this user's password hash can't be read");
            return None;
        };
        let totp = match document.get("totp") {
            None => None,
            Some(totp) => Some(Arc::new(Totp::read(totp).or_else(|| {
                tracing::warn!(name, "this user's totp can't be read");
                None
            })?)),
        };
        let roles = document.get("roles").and_then(Value::as_array).unwrap_or_default();
        // The rules of the database keep system roles out; a document that got past them must not count.
        let allowed = |role: &&str| !role.starts_with('_') || *role == METRICS_ROLE;
        let roles = roles.iter().filter_map(Value::as_str).filter(allowed).map(Arc::from);
        Some(Self {
            roles: roles.collect(),
            password: password.map(Arc::new),
            totp,
            rev: rev.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Account> {
        let rev = Rev::parse(b"1-a").unwrap();
        Account::read("anna", &Value::parse(json.as_bytes()).unwrap(), &rev)
    }

    #[test]
    fn roles_with_an_underscore_dont_count() {
        let account =
            read(r#"{"type":"user","name":"anna","roles":["a","_admin","_metrics",5]}"#).unwrap();
        assert_eq!(&*account.roles, [Arc::from("a"), Arc::from("_metrics")]);
        assert!(account.password.is_none() && account.totp.is_none());
    }

    #[test]
    fn what_must_let_nobody_in() {
        for json in [
            "{}",
            r#"{"type":"user","name":"otto","roles":[]}"#,
            r#"{"type":"user","name":"anna","salt":"a","password_sha":"00"}"#,
            r#"{"type":"user","name":"anna","totp":{"key":"1"}}"#,
        ] {
            assert!(read(json).is_none(), "{json}");
        }
    }
}
