//! Following a database without holding it open.

use std::{fmt, sync::Arc};

use settee_storage::Seq;

use super::Database;
use crate::{
    notify::{Changed, Notifier},
    sequence::{self, Uuid},
};

/// Who follows the changes of a database and mostly waits for the next one. It is memory only: the
/// database may be closed meanwhile, and is opened again by
/// [`Databases::resume`](crate::Databases::resume) when there is something to read.
///
/// ```
/// use settee_engine::{Databases, Props, Wake};
///
/// let databases = Databases::in_memory();
/// let subscription = databases.create("animals", Props::default())?.subscribe();
/// let changed = subscription.changed(0);
/// assert_eq!(databases.resume(&subscription)?.name(), "animals");
/// databases.delete("animals")?;
/// assert!(databases.resume(&subscription).is_err());
/// # let waker = std::task::Waker::noop();
/// # let mut context = std::task::Context::from_waker(waker);
/// # assert_eq!(std::pin::pin!(changed).poll(&mut context), std::task::Poll::Ready(Wake::Closed));
/// # Ok::<(), settee_engine::Error>(())
/// ```
#[derive(Clone)]
pub struct Subscription {
    name: Box<str>,
    uuid: Uuid,
    notifier: Arc<Notifier>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Subscription {
    /// The database's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What tells the database from every other, a later one of the same name included.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Completes when there is a change after `after`, or the database is gone.
    #[must_use = "futures do nothing unless polled"]
    pub fn changed(&self, after: Seq) -> Changed {
        self.notifier.changed(after)
    }

    /// The text clients see for a sequence of the database.
    #[must_use]
    pub fn sequence_text(&self, seq: Seq) -> String {
        sequence::text(&self.uuid, seq)
    }
}

impl Database {
    /// Follows the database beyond the life of this handle.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription {
            name: self.name.as_str().into(),
            uuid: self.identity.uuid,
            notifier: Arc::clone(&self.notifier),
        }
    }
}
