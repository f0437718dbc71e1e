//! `[couch_peruser]`: a database for every user.
//!
//! One task follows the changes of the users' database from a checkpoint, which is kept in a local document
//! of that database, and sees to it that each user has their database with them in its security object (or
//! no longer, once their document is deleted). A write of a user document is answered when the task has come
//! that far. What a crash leaves undone lies behind the checkpoint and is done at the next start; doing it
//! twice changes nothing.
//!
//! `follower` goes through the changes, `settle` brings one user's database in line; here is who waits for whom.

mod follower;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use settee_engine::{Database, Databases, Seq, Wake};
use tokio::sync::watch;

use self::follower::Follower;
use crate::app::App;
use crate::config::PerUserSettings;

/// How long a write waits for its user's database. If making it takes longer, or fails, the write is
/// answered all the same: it is durable, and the task goes on trying.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause before what failed is tried again, and before a users' database that isn't there is looked
/// for again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Follows the users' database.
pub struct PerUser {
    databases: Arc<Databases>,
    settings: watch::Sender<Settings>,
    /// The database that is followed, and up to which of its changes all has been tried.
    reached: watch::Sender<([u8; 16], Seq)>,
}

/// What is to be done, and where.
#[derive(Clone, PartialEq, Eq)]
struct Settings {
    users: String,
    per_user: PerUserSettings,
}

impl PerUser {
    /// Nothing happens before [`Self::follow`] runs.
    pub fn new(databases: Arc<Databases>, users: &str, per_user: &PerUserSettings) -> Self {
        let settings = Settings { users: users.to_owned(), per_user: per_user.clone() };
        Self {
            databases,
            settings: watch::Sender::new(settings),
            reached: watch::Sender::new(([0; 16], 0)),
        }
    }

    /// Puts other settings into effect.
    pub fn configure(&self, users: &str, per_user: &PerUserSettings) {
        let new = Settings { users: users.to_owned(), per_user: per_user.clone() };
        self.settings.send_if_modified(|settings| {
            let changed = *settings != new;
            *settings = new;
            changed
        });
    }

    /// Waits until what has been written to this database so far has had its consequences, if it is one
    /// whose changes are followed.
    pub(crate) async fn catch_up(&self, database: &Arc<Database>) {
        let concerned = {
            let settings = self.settings.borrow();
            settings.per_user.enabled && settings.users == database.name()
        };
        let Some(seq) = concerned.then(|| database.read().ok()).flatten().map(|read| read.seq())
        else {
            return;
        };
        let mut reached = self.reached.subscribe();
        let uuid = database.uuid().0;
        let there = reached.wait_for(|(at, upto)| *at == uuid && *upto >= seq);
        if tokio::time::timeout(PATIENCE, there).await.is_err() {
            tracing::warn!("a user's database is not made yet; it will be");
        }
    }

    /// Does the work until the server stops.
    pub async fn follow(self: Arc<Self>, app: Arc<App>) {
        let mut settings = self.settings.subscribe();
        loop {
            let now = settings.borrow_and_update().clone();
            tokio::select! {
                () = app.stopping() => return,
                _ = settings.changed() => {}
                () = self.follow_with(now) => {}
            }
        }
    }

    /// Follows with these settings; comes to an end only if the database does.
    async fn follow_with(&self, settings: Settings) {
        if !settings.per_user.enabled {
            return std::future::pending().await;
        }
        let Ok(users) = self.databases.get(&settings.users) else {
            return tokio::time::sleep(RETRY_AFTER).await;
        };
        let settings = Arc::new(settings.per_user);
        let mut follower = match Follower::begin(Arc::clone(&self.databases), users, settings) {
            Ok(follower) => follower,
            Err(error) => {
                tracing::error!(%error, "the users' database can't be followed");
                return tokio::time::sleep(RETRY_AFTER).await;
            }
        };
        loop {
            let more = match follower.advance().await {
                Ok(more) => more,
                Err(error) => {
                    tracing::error!(%error, "databases of users can't be kept up to date");
                    return tokio::time::sleep(RETRY_AFTER).await;
                }
            };
            self.reached.send_replace((follower.users.uuid().0, follower.seq));
            if !more && follower.wait().await == Wake::Closed {
                return;
            }
        }
    }
}
