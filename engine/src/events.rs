//! What happens to databases as wholes, for whoever wants to hear of all of them.
//!
//! A feed of one database waits on its notifier (`notify`). Whoever follows them all can't wait on each; it is
//! told here, by a function that must only take note: it runs inside the write that it is told of.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// What has happened to a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// It was created.
    Created,
    /// Documents of it were written.
    Updated,
    /// It was deleted.
    Deleted,
}

/// Takes note of an event and the name of the database. It must not wait, nor use the database.
pub type EventListener = Arc<dyn Fn(Event, &str) + Send + Sync>;

/// Tells the listener, if there is one.
#[derive(Default)]
pub(crate) struct Events(OnceLock<EventListener>);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").field(&self.0.get().is_some()).finish()
    }
}

impl Events {
    /// Whether this is the first listener; there can't be another one.
    pub(crate) fn listen(&self, listener: EventListener) -> bool {
        self.0.set(listener).is_ok()
    }

    pub(crate) fn tell(&self, event: Event, name: &str) {
        if let Some(listener) = self.0.get() {
            listener(event, name);
        }
    }
}
