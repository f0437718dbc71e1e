//! One run through the changes of the users' database.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use settee_engine::document::{Body, Document};
use settee_engine::json::Value;
use settee_engine::tasks::Task;
use settee_engine::{
    ChangeRow, ChangesQuery, Database, Databases, Error, GetOptions, Result, Seq, Wake, WriteMode,
};

use super::RETRY_AFTER;
use super::settle::settle;
use crate::auth::users::name_of;
use crate::config::PerUserSettings;

/// The local document that says how far the changes have been followed.
const CHECKPOINT: &str = "_local/settee_peruser";

/// Changes that are read and worked off together.
const BATCH: u64 = 100;

/// Databases that are made or changed at a time.
const AT_A_TIME: usize = 4;

/// Changes after which the checkpoint is written although more wait.
const CHECKPOINT_EVERY: u64 = 1000;

/// Users whose database could not be made who are remembered, at most; with more of them the task waits
/// where it is.
const MAX_FAILED: usize = 1000;

/// Changes that must be waiting before the work is worth a line in `_active_tasks`.
const WORTH_A_TASK: u64 = 1000;

/// A user whose document has changed.
#[derive(Clone)]
pub(super) struct Changed {
    pub(super) seq: Seq,
    pub(super) name: String,
    pub(super) deleted: bool,
}

/// One run through the changes.
pub(super) struct Follower {
    databases: Arc<Databases>,
    pub(super) users: Arc<Database>,
    settings: Arc<PerUserSettings>,
    pub(super) seq: Seq,
    /// What the checkpoint says.
    stored: Seq,
    failed: BTreeMap<Seq, Changed>,
    task: Option<Task>,
}

impl Follower {
    pub(super) fn begin(
        databases: Arc<Databases>,
        users: Arc<Database>,
        settings: Arc<PerUserSettings>,
    ) -> Result<Self> {
        let stored = checkpoint(&users)?;
        Ok(Self {
            databases,
            users,
            settings,
            seq: stored,
            stored,
            failed: BTreeMap::new(),
            task: None,
        })
    }

    /// Works off the next changes; false if there were none.
    pub(super) async fn advance(&mut self) -> Result<bool> {
        if self.failed.len() >= MAX_FAILED {
            self.retry().await;
            tokio::time::sleep(RETRY_AFTER).await;
            return Ok(true);
        }
        let (changed, last, pending) = changes(&self.users, self.seq)?;
        if last == self.seq {
            self.task = None;
            return Ok(false);
        }
        self.show(pending);
        let failed = work_off(&self.databases, &self.settings, changed).await;
        self.failed.extend(failed.into_iter().map(|changed| (changed.seq, changed)));
        self.seq = last;
        if self.seq - self.stored >= CHECKPOINT_EVERY {
            self.store()?;
        }
        Ok(true)
    }

    /// Tells `_active_tasks`, if it is going to take a while.
    fn show(&mut self, pending: u64) {
        if pending >= WORTH_A_TASK && self.task.is_none() {
            let members = [("database", json!(self.users.name()))];
            self.task = Some(self.databases.tasks().begin("couch_peruser", members));
        }
        if let Some(task) = &self.task {
            task.set([("changes_done", json!(self.seq)), ("changes_pending", json!(pending))]);
        }
    }

    /// Waits for more to do. Once it is quiet, what has failed is tried again, and the checkpoint written.
    pub(super) async fn wait(&mut self) -> Wake {
        loop {
            let changed = self.users.changed(self.seq);
            if self.failed.is_empty() && self.stored == self.seq {
                return changed.await;
            }
            if let Ok(wake) = tokio::time::timeout(RETRY_AFTER, changed).await {
                return wake;
            }
            self.retry().await;
            if let Err(error) = self.store() {
                tracing::warn!(%error, "the checkpoint of databases per user can't be written");
            }
        }
    }

    async fn retry(&mut self) {
        let failed = std::mem::take(&mut self.failed).into_values().collect();
        let failed = work_off(&self.databases, &self.settings, failed).await;
        self.failed.extend(failed.into_iter().map(|changed| (changed.seq, changed)));
    }

    /// Writes the checkpoint: before the first change that is still to be dealt with.
    fn store(&mut self) -> Result<()> {
        let first = self.failed.first_key_value().map(|(seq, _)| seq.saturating_sub(1));
        let safe = first.unwrap_or(self.seq);
        if safe == self.stored {
            return Ok(());
        }
        let document = Document {
            id: CHECKPOINT.to_owned(),
            rev: None,
            history: Vec::new(),
            deleted: false,
            body: Body::parse(json!({ "since": safe }).to_string().as_bytes())?,
            attachments: Vec::new(),
        };
        self.users.write(vec![document], WriteMode::Interactive)?;
        self.stored = safe;
        Ok(())
    }
}

/// Up to which change all was done when the checkpoint was written.
fn checkpoint(users: &Arc<Database>) -> Result<Seq> {
    let reader = users.read()?;
    match reader.get(CHECKPOINT, &GetOptions::default()) {
        Ok(found) => {
            let body = Value::from_canonical(found.body())?;
            let since = body.get("since").and_then(Value::as_u64).unwrap_or(0);
            // A checkpoint from the future is from another database's file.
            Ok(if since <= reader.seq() { since } else { 0 })
        }
        Err(Error::NotFound(_)) => Ok(0),
        Err(error) => Err(error),
    }
}

/// The next users that changed after `since`, the change up to which they reach, and how many are left.
fn changes(users: &Arc<Database>, since: Seq) -> Result<(Vec<Changed>, Seq, u64)> {
    let mut changed = Vec::new();
    let query = ChangesQuery { since, limit: Some(BATCH), ..ChangesQuery::default() };
    let end = users.read()?.changes(&query, &mut |row: ChangeRow<'_>| {
        let (seq, row) = (row.seq, Value::from_canonical(row.json).ok());
        let id = row.as_ref().and_then(|row| row.get("id")?.as_str());
        if let Some(name) = id.and_then(name_of) {
            let deleted = row.as_ref().and_then(|row| row.get("deleted")).is_some();
            changed.push(Changed { seq, name: name.to_owned(), deleted });
        }
        ControlFlow::Continue(())
    })?;
    Ok((changed, end.last_seq, end.pending))
}

/// Does what is to be done for these users; returns those for whom it has to be tried again.
async fn work_off(
    databases: &Arc<Databases>,
    settings: &Arc<PerUserSettings>,
    changed: Vec<Changed>,
) -> Vec<Changed> {
    let failed = Arc::new(Mutex::new(Vec::new()));
    let waiting = Arc::new(Mutex::new(changed.into_iter()));
    let work = |_| {
        let (databases, settings) = (Arc::clone(databases), Arc::clone(settings));
        let (waiting, failed) = (Arc::clone(&waiting), Arc::clone(&failed));
        tokio::task::spawn_blocking(move || {
            let next = || waiting.lock().next();
            while let Some(changed) = next() {
                if let Err(error) = settle(&databases, &settings, &changed)
                    && is_worth_retrying(&changed.name, &error)
                {
                    failed.lock().push(changed);
                }
            }
        })
    };
    for worker in (0..AT_A_TIME).map(work).collect::<Vec<_>>() {
        // Whatever ends a worker early leaves its users to the others.
        drop(worker.await);
    }
    std::mem::take(&mut *failed.lock())
}

fn is_worth_retrying(user: &str, error: &Error) -> bool {
    match error {
        Error::IllegalDatabaseName(_) | Error::DatabaseNameTooLong(_) => {
            tracing::error!(user, "this user's name is too long for a database of their own");
            false
        }
        error => {
            tracing::error!(user, %error, "this user's database can't be brought up to date yet");
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use settee_engine::Props;

    use super::*;
    use crate::per_user::settle::{
        database_name,
        tests::{settings, user},
    };

    /// Documents `0..count` of the users' database.
    fn users(databases: &Arc<Databases>, count: u32) -> Arc<Database> {
        let users = databases.create("_users", Props::default()).unwrap();
        let document = |n| {
            let json = format!(r#"{{"_id":"org.couchdb.user:{n}"}}"#);
            Document::parse(json.as_bytes(), None, &settee_engine::document::Limits::default())
                .unwrap()
        };
        users.write((0..count).map(document).collect(), WriteMode::Interactive).unwrap();
        users
    }

    #[tokio::test]
    async fn what_is_behind_the_checkpoint_is_done_and_nothing_before() {
        let databases = Databases::in_memory();
        let users = users(&databases, 250);
        let begin = || {
            Follower::begin(Arc::clone(&databases), Arc::clone(&users), Arc::new(settings(false)))
        };
        let mut follower = begin().unwrap();
        assert!(follower.advance().await.unwrap());
        follower.store().unwrap();
        drop(follower);
        let done = || databases.names(&settee_engine::NameRange::default()).unwrap().len() - 1;
        assert_eq!(done(), usize::try_from(BATCH).unwrap());
        databases.delete(&database_name("userdb-", "0")).unwrap();

        let mut follower = begin().unwrap();
        assert_eq!(follower.seq, BATCH);
        while follower.advance().await.unwrap() {}
        assert_eq!(done(), 249, "the one before the checkpoint is not made again");
        follower.store().unwrap();
        assert_eq!(checkpoint(&users).unwrap(), 250);
    }

    #[tokio::test]
    async fn a_failure_holds_the_checkpoint_back() {
        let databases = Databases::in_memory();
        let users = users(&databases, 3);
        let mut follower =
            Follower::begin(Arc::clone(&databases), Arc::clone(&users), Arc::new(settings(false)))
                .unwrap();
        while follower.advance().await.unwrap() {}
        follower.failed.insert(2, user("1", false));
        follower.store().unwrap();
        assert_eq!(checkpoint(&users).unwrap(), 1);
        databases.delete(&database_name("userdb-", "1")).unwrap();
        follower.retry().await;
        assert!(databases.exists(&database_name("userdb-", "1")).unwrap());
        follower.store().unwrap();
        assert_eq!(checkpoint(&users).unwrap(), 3);
    }
}
