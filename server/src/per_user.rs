//! `[couch_peruser]`: a database for every user.
//!
//! One task follows the changes of the users' database from a checkpoint, which is kept in a local document
//! of that database, and sees to it that each user has their database with them in its security object (or
//! no longer, once their document is deleted). A write of a user document is answered when the task has come
//! that far. What a crash leaves undone lies behind the checkpoint and is done at the next start; doing it
//! twice changes nothing.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use settee_engine::document::{Body, Document};
use settee_engine::json::{Object, Value};
use settee_engine::tasks::Task;
use settee_engine::{
    ChangeRow, ChangesQuery, Database, Databases, Error, GetOptions, Props, Result, Seq, Wake,
    WriteMode,
};
use tokio::sync::watch;

use crate::app::App;
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

/// How long a write waits for its user's database. If making it takes longer, or fails, the write is
/// answered all the same: it is durable, and the task goes on trying.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause before what failed is tried again, and before a users' database that isn't there is looked
/// for again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Users whose database could not be made who are remembered, at most; with more of them the task waits
/// where it is.
const MAX_FAILED: usize = 1000;

/// Changes that must be waiting before the work is worth a line in `_active_tasks`.
const WORTH_A_TASK: u64 = 1000;

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

/// A user whose document has changed.
#[derive(Clone)]
struct Changed {
    seq: Seq,
    name: String,
    deleted: bool,
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

/// One run through the changes.
struct Follower {
    databases: Arc<Databases>,
    users: Arc<Database>,
    settings: Arc<PerUserSettings>,
    seq: Seq,
    /// What the checkpoint says.
    stored: Seq,
    failed: BTreeMap<Seq, Changed>,
    task: Option<Task>,
}

impl Follower {
    fn begin(
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
    async fn advance(&mut self) -> Result<bool> {
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
    async fn wait(&mut self) -> Wake {
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
    let failed = std::mem::take(&mut *failed.lock());
    failed
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

/// Brings one user's database in line with their document.
fn settle(databases: &Databases, settings: &PerUserSettings, user: &Changed) -> Result<()> {
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
fn database_name(prefix: &str, user: &str) -> String {
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
mod tests {
    use super::*;

    fn settings(delete: bool) -> PerUserSettings {
        PerUserSettings { enabled: true, delete, q: 1, prefix: "userdb-".to_owned() }
    }

    fn user(name: &str, deleted: bool) -> Changed {
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
