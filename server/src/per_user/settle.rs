//! One user's database, and who may use it.

use settee_engine::json::{Object, Value};
use settee_engine::{Database, Databases, Error, Props, Result};

use super::follower::Changed;
use crate::config::PerUserSettings;

/// Brings one user's database in line with their document.
pub(super) fn settle(
    databases: &Databases,
    settings: &PerUserSettings,
    user: &Changed,
) -> Result<()> {
    let name = database_name(&settings.prefix, &user.name);
    if !user.deleted {
        let props = Props { q: settings.q, ..Props::default() };
        let database = match databases.create(&name, props) {
            Err(Error::DatabaseExists) => databases.get(&name)?,
            created => created?,
        };
        return set_access(&database, &user.name, true);
    }
    let gone = if settings.delete {
        databases.delete(&name)
    } else {
        databases.get(&name).and_then(|database| set_access(&database, &user.name, false))
    };
    match gone {
        Err(Error::DatabaseNotFound) => Ok(()),
        gone => gone,
    }
}

/// The name of a user's database: two digits for every byte of the user's name, so that no two users can
/// come to share one.
pub(super) fn database_name(prefix: &str, user: &str) -> String {
    let mut name = prefix.to_owned();
    for byte in user.bytes() {
        name.push_str(&format!("{byte:02x}"));
    }
    name
}

/// Adds the user to the database's administrators and members, or takes them out; others stay.
fn set_access(database: &Database, user: &str, access: bool) -> Result<()> {
    let before = Value::parse(database.security().as_bytes())?;
    let mut security = before.as_object().cloned().unwrap_or_default();
    for group in ["admins", "members"] {
        let mut members =
            security.get(group).and_then(Value::as_object).cloned().unwrap_or_default();
        let mut names = members.get("names").and_then(Value::as_array).unwrap_or_default().to_vec();
        let is_named = names.iter().any(|name| name.as_str() == Some(user));
        if access && !is_named {
            names.push(Value::from(user));
        } else if !access {
            names.retain(|name| name.as_str() != Some(user));
        }
        members.insert("names", Value::Array(names));
        security.insert(group, members);
    }
    if !access {
        keep_closed(&mut security);
    }
    let after = Value::Object(security);
    if after == before { Ok(()) } else { database.set_security(&after.to_json()) }
}

/// A database without members is everybody's, which one whose only member has gone must not become.
fn keep_closed(security: &mut Object) {
    let Some(members) = security.get("members").and_then(Value::as_object) else { return };
    let is_empty =
        |list: &str| members.get(list).and_then(Value::as_array).is_none_or(<[_]>::is_empty);
    if is_empty("names") && is_empty("roles") {
        let mut members = members.clone();
        members.insert("roles", vec![Value::from(settee_engine::caller::ADMIN_ROLE)]);
        security.insert("members", members);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::per_user) fn settings(delete: bool) -> PerUserSettings {
        PerUserSettings { enabled: true, delete, q: 1, prefix: "userdb-".to_owned() }
    }

    pub(in crate::per_user) fn user(name: &str, deleted: bool) -> Changed {
        Changed { seq: 1, name: name.to_owned(), deleted }
    }

    fn security(databases: &Databases, name: &str) -> String {
        databases.get(name).unwrap().security().to_string()
    }

    #[test]
    fn no_two_users_share_a_name() {
        assert_eq!(database_name("userdb-", "bob"), "userdb-626f62");
        assert_eq!(database_name("userdb-", "é"), "userdb-c3a9");
        // Without the zeros, this would be the database of "a".
        assert_eq!(database_name("userdb-", "\u{6}\u{1}"), "userdb-0601");
    }

    #[test]
    fn a_user_gets_a_database_and_doing_it_again_changes_nothing() {
        let databases = Databases::in_memory();
        for _ in 0..2 {
            settle(&databases, &settings(false), &user("bob", false)).unwrap();
            assert_eq!(
                security(&databases, "userdb-626f62"),
                r#"{"members":{"roles":["_admin"],"names":["bob"]},"admins":{"roles":["_admin"],"names":["bob"]}}"#
            );
        }
        assert_eq!(databases.get("userdb-626f62").unwrap().props().q, 1);
    }

    #[test]
    fn the_security_of_others_stays() {
        let databases = Databases::in_memory();
        let database = databases.create("userdb-626f62", Props::default()).unwrap();
        database.set_security(br#"{"x":1,"members":{"names":["eve"]}}"#).unwrap();
        settle(&databases, &settings(false), &user("bob", false)).unwrap();
        assert_eq!(
            security(&databases, "userdb-626f62"),
            r#"{"x":1,"members":{"names":["eve","bob"]},"admins":{"names":["bob"]}}"#
        );
        settle(&databases, &settings(false), &user("bob", true)).unwrap();
        assert_eq!(
            security(&databases, "userdb-626f62"),
            r#"{"x":1,"members":{"names":["eve"]},"admins":{"names":[]}}"#
        );
    }

    #[test]
    fn a_database_whose_user_has_gone_is_not_everybodys() {
        let databases = Databases::in_memory();
        let database = databases.create("userdb-626f62", Props::default()).unwrap();
        database.set_security(br#"{"members":{"names":["bob"],"roles":[]}}"#).unwrap();
        settle(&databases, &settings(false), &user("bob", true)).unwrap();
        let security = security(&databases, "userdb-626f62");
        assert!(security.contains(r#""members":{"names":[],"roles":["_admin"]}"#), "{security}");
    }

    #[test]
    fn a_database_goes_with_its_user_if_asked_for() {
        let databases = Databases::in_memory();
        settle(&databases, &settings(true), &user("bob", false)).unwrap();
        for _ in 0..2 {
            settle(&databases, &settings(true), &user("bob", true)).unwrap();
            assert!(!databases.exists("userdb-626f62").unwrap());
        }
    }
}
