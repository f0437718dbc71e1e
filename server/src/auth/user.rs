//! The identity behind a request.

use std::sync::Arc;

use crate::http::Failure;

/// The role of a server administrator.
pub(crate) const ADMIN_ROLE: &str = "_admin";

/// Who a request comes from. The default is nobody: no name, no roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name; `None` for an anonymous request.
    pub name: Option<Arc<str>>,
    /// The roles.
    pub roles: Vec<Arc<str>>,
}

impl User {
    /// Whether this is a server administrator.
    pub fn is_admin(&self) -> bool {
        self.has_role(ADMIN_ROLE)
    }

    /// Whether the user has this role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| &**held == role)
    }

    /// Whether nobody is logged in.
    pub fn is_anonymous(&self) -> bool {
        self.name.is_none() && self.roles.is_empty()
    }

    /// Refuses everyone but server administrators.
    ///
    /// # Errors
    ///
    /// 401 `You are not a server admin.`, also for those who are logged in.
    pub fn require_server_admin(&self) -> Result<(), Failure> {
        if self.is_admin() {
            Ok(())
        } else {
            Err(Failure::unauthorized("You are not a server admin."))
        }
    }
}
