//! Who asks for something, as far as the engine has to know: validation functions, filters and update
//! functions are told, and the rules of system databases depend on it.

use std::sync::Arc;

/// The role of a server administrator.
pub const ADMIN_ROLE: &str = "_admin";

/// A name, if there is one, and roles. What follows from them is decided by those who ask.
///
/// ```
/// use settee_engine::Caller;
///
/// assert!(Caller::admin().is_admin());
/// assert_eq!(Caller::default().name(), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    name: Option<Arc<str>>,
    roles: Arc<[Arc<str>]>,
}

impl Caller {
    /// A caller of this name with these roles.
    #[must_use]
    pub fn new(name: Option<Arc<str>>, roles: Arc<[Arc<str>]>) -> Self {
        Caller { name, roles }
    }

    /// An administrator without a name: who embeds the engine, or the server itself.
    #[must_use]
    pub fn admin() -> Self {
        Caller { name: None, roles: [Arc::from(ADMIN_ROLE)].into() }
    }

    /// The name; `None` for an anonymous caller.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The roles.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(|role| &**role)
    }

    /// Whether the caller has this role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles().any(|held| held == role)
    }

    /// Whether this is a server administrator.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.has_role(ADMIN_ROLE)
    }
}
