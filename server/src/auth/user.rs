//! The identity behind a request, and its rights.

use std::ops::Deref;
use std::sync::Arc;

use settee_engine::{Caller, Database, caller::ADMIN_ROLE};

use super::security::{Security, is_database_admin};
use crate::http::Failure;

/// The role that may read metrics.
const METRICS_ROLE: &str = "_metrics";

/// Who a request comes from. The default is nobody: no name, no roles.
///
/// ```
/// use settee_server::auth::User;
///
/// assert!(User::default().require_server_admin().is_err());
/// assert!(User::admin("anna").require_server_admin().is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User(Caller);

impl Deref for User {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl User {
    /// The server administrator of this name.
    pub fn admin(name: &str) -> Self {
        Self(Caller::new(Some(name.into()), [ADMIN_ROLE.into()].into()))
    }

    /// A user with these roles.
    pub fn new(name: &str, roles: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self(Caller::new(Some(name.into()), roles.into_iter().collect()))
    }

    /// Who the engine is told is asking.
    pub fn caller(&self) -> &Caller {
        &self.0
    }

    /// Refuses everyone but server administrators.
    ///
    /// # Errors
    ///
    /// 401 `You are not a server admin.`, also for those who are logged in.
    pub fn require_server_admin(&self) -> Result<(), Failure> {
        allow(self.is_admin(), || Failure::unauthorized("You are not a server admin."))
    }

    /// Refuses those who may not read metrics.
    ///
    /// # Errors
    ///
    /// 401, also for those who are logged in.
    pub fn require_metrics_reader(&self) -> Result<(), Failure> {
        allow(self.is_admin() || self.has_role(METRICS_ROLE), || {
            Failure::unauthorized("You are not a server admin or read-only metrics user")
        })
    }

    /// Refuses those who may not read and write the database.
    ///
    /// # Errors
    ///
    /// 401 for anonymous requests, 403 for others.
    pub fn require_member(&self, database: &Database) -> Result<(), Failure> {
        allow(self.is_admin() || Security::of(database).is_member(self), || match self.name() {
            None => Failure::unauthorized("You are not authorized to access this db."),
            Some(_) => Failure::forbidden("You are not allowed to access this db."),
        })
    }

    /// Whether somebody who isn't a server administrator may read and write a database with this security
    /// object.
    pub fn is_member_by(&self, security: &str) -> bool {
        Security::parse(security).is_member(self)
    }

    /// Refuses those who may not change the database's settings and design documents.
    ///
    /// # Errors
    ///
    /// 401 for anonymous requests, 403 for others.
    pub fn require_database_admin(&self, database: &Database) -> Result<(), Failure> {
        const REASON: &str = "You are not a db or server admin.";
        allow(is_database_admin(database, self), || match self.name() {
            None => Failure::unauthorized(REASON),
            Some(_) => Failure::forbidden(REASON),
        })
    }

    /// As [`Self::require_database_admin`], for the paths that start maintenance: they word it
    /// differently and never answer 403.
    ///
    /// # Errors
    ///
    /// 401, also for those who are logged in.
    pub fn require_maintainer(&self, database: &Database) -> Result<(), Failure> {
        allow(is_database_admin(database, self), || {
            Failure::unauthorized("You are not a server or db admin.")
        })
    }
}

fn allow(allowed: bool, refusal: impl FnOnce() -> Failure) -> Result<(), Failure> {
    if allowed { Ok(()) } else { Err(refusal()) }
}
