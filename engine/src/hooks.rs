//! What the server's own databases have of their own: by the name of a database, or the last segment of it.

use std::{fmt, sync::Arc};

use parking_lot::RwLock;

/// Something that databases of a name have.
pub(crate) trait Hook: Send + Sync {}

/// The hooks of one kind of a folder's databases.
pub(crate) struct Hooks<H: Hook + ?Sized>(RwLock<Vec<(String, Arc<H>)>>);

impl<H: Hook + ?Sized> Default for Hooks<H> {
    fn default() -> Self {
        Hooks(RwLock::default())
    }
}

impl<H: Hook + ?Sized> fmt::Debug for Hooks<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.read().iter().map(|(name, _)| name.clone()).collect();
        f.debug_tuple("Hooks").field(&names).finish()
    }
}

impl<H: Hook + ?Sized> Hooks<H> {
    /// Sets the hook of the databases whose name, or its last segment, is `name`.
    pub(crate) fn set(&self, name: &str, hook: Arc<H>) {
        let mut hooks = self.0.write();
        hooks.retain(|(known, _)| known != name);
        hooks.push((name.to_owned(), hook));
    }

    pub(crate) fn of(&self, database: &str) -> Option<Arc<H>> {
        let last = database.rsplit('/').next().unwrap_or(database);
        let hooks = self.0.read();
        let hook = hooks.iter().find(|(name, _)| name == last || name == database);
        hook.map(|(_, hook)| Arc::clone(hook))
    }
}
