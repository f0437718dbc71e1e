//! A database's `_security` object: who belongs to it.

use serde_json::Value;
use settee_engine::{Caller, Database};

/// The object, read for one request that isn't a server administrator's.
pub(super) struct Security(Value);

impl Security {
    pub(super) fn of(database: &Database) -> Self {
        Self::parse(&database.security())
    }

    /// Reads the text of an object.
    pub(super) fn parse(text: &str) -> Self {
        // What isn't JSON was never stored; should it be there all the same, nobody gets in.
        Self(serde_json::from_str(text).unwrap_or_else(|_| {
            serde_json::json!({"admins": {"roles": ["_admin"]}, "members": {"roles": ["_admin"]}})
        }))
    }

    pub(super) fn is_admin(&self, user: &Caller) -> bool {
        lists(&self.0["admins"], user)
    }

    /// Everyone is a member of a database that names none.
    pub(super) fn is_member(&self, user: &Caller) -> bool {
        let members = match self.0.get("members") {
            Some(members) => members,
            None => &self.0["readers"],
        };
        let named = |list: &str| members[list].as_array().is_some_and(|names| !names.is_empty());
        let public = !named("names") && !named("roles");
        public || self.is_admin(user) || lists(members, user)
    }
}

/// Whether the caller may change the database's settings: administrators of the server, and its own.
pub(crate) fn is_database_admin(database: &Database, caller: &Caller) -> bool {
    is_admin_by(&database.security(), caller)
}

/// Whether the caller may read and write a database with this security object.
pub(crate) fn is_member_by(security: &str, caller: &Caller) -> bool {
    caller.is_admin() || Security::parse(security).is_member(caller)
}

/// Whether the caller may change the settings of a database with this security object.
pub(crate) fn is_admin_by(security: &str, caller: &Caller) -> bool {
    caller.is_admin() || Security::parse(security).is_admin(caller)
}

/// Whether `{"names": […], "roles": […]}` names the user or one of the roles they have.
fn lists(group: &Value, user: &Caller) -> bool {
    let contains = |list: &str, wanted: &str| {
        group[list].as_array().is_some_and(|all| all.iter().any(|entry| entry == wanted))
    };
    user.name().is_some_and(|name| contains("names", name))
        || user.roles().any(|role| contains("roles", role))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::User;

    fn check(text: &str, anonymous_is_member: bool) {
        assert_eq!(
            Security::parse(text).is_member(&Caller::default()),
            anonymous_is_member,
            "{text}"
        );
    }

    #[test]
    fn a_database_without_members_is_public() {
        check("{}", true);
        check(r#"{"members":{"names":[],"roles":[]}}"#, true);
        check(r#"{"admins":{"names":["a"]}}"#, true);
        check(r#"{"members":{"names":["a"],"roles":[]}}"#, false);
        check(r#"{"members":{"roles":["_admin"]}}"#, false);
        check(r#"{"readers":{"names":["a"]}}"#, false);
        check(r#"{"readers":{"names":["a"]},"members":{}}"#, true);
        check("not json", false);
    }

    #[test]
    fn names_and_roles_count() {
        let anna = User::admin("anna");
        assert!(Security::parse(r#"{"members":{"names":["anna"]}}"#).is_member(&anna));
        assert!(Security::parse(r#"{"members":{"roles":["_admin"]}}"#).is_member(&anna));
        assert!(!Security::parse(r#"{"members":{"names":["otto"]}}"#).is_member(&anna));
        assert!(Security::parse(r#"{"admins":{"names":["anna"]}}"#).is_admin(&anna));
        assert!(!Security::parse("{}").is_admin(&anna));
    }
}
