//! Which writes of user documents are accepted, in CouchDB's order and words.

use settee_engine::json::Value;
use settee_engine::{Caller, Error, Result};

use super::document::{ID_PREFIX, METRICS_ROLE, name_of};

/// Forms of stored passwords that a document may bring along.
const SCHEMES: [&str; 4] = ["simple", "pbkdf2", "simple+pbkdf2", "bcrypt"];

/// A write to be judged.
pub(super) struct Write<'w> {
    /// Who writes.
    pub(super) caller: &'w Caller,
    /// Whether that is an administrator of the server or of this database.
    pub(super) by_admin: bool,
    /// The document's id.
    pub(super) id: &'w str,
    /// Whether it is being deleted.
    pub(super) deleted: bool,
    /// What is to be stored.
    pub(super) body: &'w Value,
    /// Whether the server is going to replace the hash in `body` by that of a new password.
    pub(super) new_password: bool,
    /// What is stored now.
    pub(super) previous: Option<&'w Value>,
}

impl Write<'_> {
    /// Refuses the write of another's document: it is as good as not there. Anonymous callers may go on,
    /// to make an account of their own.
    pub(super) fn check_reach(&self) -> Result<()> {
        match self.caller.name() {
            Some(name) if !self.by_admin && name_of(self.id) != Some(name) => {
                Err(Error::NotFound(settee_engine::error::Absence::Missing))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a document that is no user document, or that the caller may not write.
    pub(super) fn check(&self) -> Result<()> {
        if self.deleted {
            let own = self.previous.and_then(name) == self.caller.name();
            let own = own && self.caller.name().is_some();
            return allow(self.by_admin || own, "Only admins may delete other user docs.");
        }
        self.check_shape()?;
        self.check_identity()?;
        self.check_hash()?;
        let roles = roles(self.body);
        if !self.by_admin {
            self.check_own(&roles)?;
        }
        let system = |role: &&str| role.starts_with('_') && *role != METRICS_ROLE;
        let reason = "No system roles (starting with underscore) in users db.";
        allow(!roles.iter().any(system), reason)?;
        let name = name(self.body).unwrap_or_default();
        allow(!name.starts_with('_'), "Username may not start with underscore.")?;
        allow(!name.contains(':'), "Character `:` is not allowed in usernames.")
    }

    fn check_shape(&self) -> Result<()> {
        let body = |member: &str| self.body.get(member).filter(|value| is_truthy(value));
        let is_user = body("type").and_then(Value::as_str) == Some("user");
        allow(is_user, "doc.type must be user")?;
        allow(body("name").is_some(), "doc.name is required")?;
        let roles = body("roles").ok_or_else(|| forbidden("doc.roles must exist"))?;
        let roles = roles.as_array().ok_or_else(|| forbidden("doc.roles must be an array"))?;
        let strings = roles.iter().all(|role| role.as_str().is_some());
        allow(strings, "doc.roles can only contain strings")
    }

    fn check_identity(&self) -> Result<()> {
        let id_matches = name(self.body).is_some_and(|name| name_of(self.id) == Some(name));
        allow(id_matches, &format!("Doc ID must be of the form {ID_PREFIX}name"))?;
        let renamed = self.previous.is_some_and(|previous| name(previous) != name(self.body));
        allow(!renamed, "Usernames can not be changed.")
    }

    fn check_hash(&self) -> Result<()> {
        if self.new_password {
            return Ok(());
        }
        let body = |member: &str| self.body.get(member).filter(|value| is_truthy(value));
        let salted = body("password_sha").is_none() || body("salt").is_some();
        let reason = "Users with password_sha must have a salt. See the documentation of user \
                      documents for how to make one.";
        allow(salted, reason)?;
        let Some(scheme) = body("password_scheme") else { return Ok(()) };
        let scheme = scheme.as_str().unwrap_or_default();
        let reason = format!("Password scheme `{scheme}` not supported.");
        allow(SCHEMES.contains(&scheme), &reason)?;
        if matches!(scheme, "pbkdf2" | "simple+pbkdf2") {
            let number = matches!(self.body.get("iterations"), Some(Value::Number(_)));
            allow(number, "iterations must be a number.")?;
            let string = self.body.get("derived_key").and_then(Value::as_str).is_some();
            allow(string, "derived_key must be a string.")?;
        }
        Ok(())
    }

    /// What is asked of those who are no administrators.
    fn check_own(&self, roles: &[&str]) -> Result<()> {
        let Some(previous) = self.previous else {
            return allow(roles.is_empty(), "Only _admin may set roles");
        };
        let own = self.caller.name().is_some() && self.caller.name() == name(self.body);
        allow(own, "You may only update your own user document.")?;
        let (mut before, mut after) = (self::roles(previous), roles.to_vec());
        before.sort_unstable();
        after.sort_unstable();
        allow(before == after, "Only _admin may edit roles")
    }
}

fn name(document: &Value) -> Option<&str> {
    document.get("name").and_then(Value::as_str)
}

fn roles(document: &Value) -> Vec<&str> {
    let roles = document.get("roles").and_then(Value::as_array).unwrap_or_default();
    roles.iter().filter_map(Value::as_str).collect()
}

/// Whether JavaScript takes the value for true.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != 0.0,
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn allow(allowed: bool, reason: &str) -> Result<()> {
    if allowed { Ok(()) } else { Err(forbidden(reason)) }
}

fn forbidden(reason: &str) -> Error {
    Error::Forbidden(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const ANNA: &str = "org.couchdb.user:anna";

    fn caller(name: &str) -> Caller {
        Caller::new((!name.is_empty()).then(|| Arc::from(name)), Arc::new([]))
    }

    /// Judges a write of anna's document: who writes (`admin`, a name, or nobody), the new body (`None`
    /// deletes), the one before.
    fn judge(who: &str, body: Option<&str>, previous: Option<&str>) -> Result<(), String> {
        let parse = |json: &str| Value::parse(json.as_bytes()).unwrap();
        let (caller, by_admin) = match who {
            "admin" => (Caller::admin(), true),
            name => (caller(name), false),
        };
        let previous = previous.map(parse);
        let write = Write {
            caller: &caller,
            by_admin,
            id: ANNA,
            deleted: body.is_none(),
            body: &parse(body.unwrap_or("{}")),
            new_password: false,
            previous: previous.as_ref(),
        };
        let judged = write.check_reach().and_then(|()| write.check());
        judged.map_err(|error| error.to_string())
    }

    fn with(members: &str) -> String {
        format!(r#"{{"name":"anna","type":"user"{members}}}"#)
    }

    fn check(who: &str, body: Option<&str>, previous: Option<&str>, expected: &str) {
        let judged = judge(who, body, previous);
        assert_eq!(judged.err().unwrap_or_default(), expected, "{who} {body:?} {previous:?}");
    }

    #[test]
    fn documents_that_are_none() {
        let refused = |body: &str, expected| check("admin", Some(body), None, expected);
        refused("{}", "doc.type must be user");
        refused(r#"{"type":"user","name":""}"#, "doc.name is required");
        refused(r#"{"type":"user","name":"anna"}"#, "doc.roles must exist");
        refused(&with(r#","roles":"r""#), "doc.roles must be an array");
        refused(&with(r#","roles":[5]"#), "doc.roles can only contain strings");
        let id = "Doc ID must be of the form org.couchdb.user:name";
        refused(r#"{"type":"user","name":"otto","roles":[]}"#, id);
        refused(r#"{"type":"user","name":5,"roles":[]}"#, id);
        let scheme = r#","roles":[],"password_scheme":"rot13""#;
        refused(&with(scheme), "Password scheme `rot13` not supported.");
        let scheme = r#","roles":[],"password_scheme":"pbkdf2","iterations":"1""#;
        refused(&with(scheme), "iterations must be a number.");
        let scheme = r#","roles":[],"password_scheme":"pbkdf2","iterations":1"#;
        refused(&with(scheme), "derived_key must be a string.");
        let system = "No system roles (starting with underscore) in users db.";
        refused(&with(r#","roles":["_admin"]"#), system);
        check("admin", Some(&with(r#","roles":["_metrics"]"#)), None, "");
    }

    #[test]
    fn nobody_makes_an_account_without_roles_and_changes_none() {
        let (plain, staff) = (with(r#","roles":[]"#), with(r#","roles":["staff"]"#));
        check("", Some(&plain), None, "");
        check("", Some(&staff), None, "Only _admin may set roles");
        check("", Some(&plain), Some(&plain), "You may only update your own user document.");
        check("", None, Some(&plain), "Only admins may delete other user docs.");
        check("", None, None, "Only admins may delete other user docs.");
    }

    #[test]
    fn users_change_their_own_document_but_not_their_roles() {
        let (plain, staff) = (with(r#","roles":[]"#), with(r#","roles":["a","b"]"#));
        let same = with(r#","roles":["b","a"],"colour":"red""#);
        check("anna", Some(&same), Some(&staff), "");
        check("anna", Some(&plain), Some(&staff), "Only _admin may edit roles");
        check("anna", Some(&staff), Some(&plain), "Only _admin may edit roles");
        check("anna", Some(&staff), None, "Only _admin may set roles");
        check("anna", None, Some(&plain), "");
        check("anna", Some(&plain), Some(r#"{"name":"otto"}"#), "Usernames can not be changed.");
    }

    #[test]
    fn anothers_document_is_not_there() {
        let plain = with(r#","roles":[]"#);
        for body in [Some(&*plain), None] {
            check("otto", body, Some(&plain), "missing");
            check("admin", body, Some(&plain), "");
        }
    }
}
