//! Accounts by name.

use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::RwLock;
use settee_engine::json::Value;
use settee_engine::{
    ChangeRow, ChangesQuery, Database, Databases, Error, GetOptions, Reader, Result, Seq,
};

use super::document::{Account, ID_PREFIX, name_of};
use crate::auth::recent::Recent;

/// Names that are remembered, at most; also those that nobody has.
const MAX_REMEMBERED: usize = 10_000;

/// The longest name that is remembered, in bytes: what requests claim costs memory.
const MAX_REMEMBERED_BYTES: usize = 256;

/// Changes that are looked through one by one; after more of them everything is forgotten.
const MAX_FOLLOWED: u64 = 1000;

/// Finds accounts in the users' database and remembers them as long as their documents don't change. It
/// asks for the database's sequence at every look-up, so a change takes effect with the next request.
pub(in crate::auth) struct Directory {
    databases: Arc<Databases>,
    state: RwLock<State>,
}

struct State {
    database: String,
    allow_conflicted: bool,
    /// Which database the accounts were read from, and up to which change they are known to be good.
    read_from: Option<([u8; 16], Seq)>,
    accounts: Recent<String, Option<Arc<Account>>>,
}

impl State {
    fn forget(&mut self) {
        self.read_from = None;
        self.accounts.clear();
    }
}

impl Directory {
    pub(in crate::auth) fn new(databases: Arc<Databases>) -> Self {
        let state = State {
            database: super::USERS.to_owned(),
            allow_conflicted: false,
            read_from: None,
            accounts: Recent::new(MAX_REMEMBERED),
        };
        Self { databases, state: RwLock::new(state) }
    }

    /// Says where to look.
    pub(in crate::auth) fn configure(&self, database: &str, allow_conflicted: bool) {
        let mut state = self.state.write();
        state.forget();
        database.clone_into(&mut state.database);
        state.allow_conflicted = allow_conflicted;
    }

    /// The database that is looked in, if it is there.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub(in crate::auth) fn database(&self) -> Result<Option<Arc<Database>>> {
        let name = self.state.read().database.clone();
        match self.databases.get(&name) {
            Ok(database) => Ok(Some(database)),
            Err(Error::DatabaseNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The account of this name.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub(in crate::auth) fn find(&self, name: &str) -> Result<Option<Arc<Account>>> {
        let Some(database) = self.database()? else { return Ok(None) };
        let reader = database.read()?;
        let moment = (database.uuid().0, reader.seq());
        {
            let state = self.state.read();
            if is_good_at(state.read_from, moment)
                && let Some(known) = state.accounts.peek(name)
                && !state.accounts.is_fading(name)
            {
                return Ok(known.clone());
            }
        }
        self.read(&reader, moment, name)
    }

    /// Reads the account, or takes what another request has read meanwhile.
    fn read(
        &self,
        reader: &Reader,
        moment: ([u8; 16], Seq),
        name: &str,
    ) -> Result<Option<Arc<Account>>> {
        let mut state = self.state.write();
        if !is_good_at(state.read_from, moment) {
            follow(&mut state, reader, moment)?;
        }
        if let Some(known) = state.accounts.peek(name).cloned() {
            state.accounts.insert(name.to_owned(), known.clone());
            return Ok(known);
        }
        let account = account(reader, name, state.allow_conflicted)?.map(Arc::new);
        // Another request may have seen a later moment, at which this account is another.
        if state.read_from == Some(moment) && name.len() <= MAX_REMEMBERED_BYTES {
            state.accounts.insert(name.to_owned(), account.clone());
        }
        Ok(account)
    }
}

/// Whether what is remembered holds at this moment, or a later one.
fn is_good_at(read_from: Option<([u8; 16], Seq)>, (uuid, seq): ([u8; 16], Seq)) -> bool {
    read_from.is_some_and(|(known, until)| known == uuid && until >= seq)
}

/// Forgets the accounts that have changed up to this moment.
fn follow(state: &mut State, reader: &Reader, moment: ([u8; 16], Seq)) -> Result<()> {
    let since = state.read_from.filter(|(uuid, _)| *uuid == moment.0).map(|(_, seq)| seq);
    let Some(since) = since else {
        state.forget();
        state.read_from = Some(moment);
        return Ok(());
    };
    let mut changed = Vec::new();
    let query = ChangesQuery { since, limit: Some(MAX_FOLLOWED), ..ChangesQuery::default() };
    let end = reader.changes(&query, &mut |row: ChangeRow<'_>| {
        changed.extend(changed_name(row.json));
        ControlFlow::Continue(())
    })?;
    match end.pending {
        0 => changed.iter().for_each(|name| state.accounts.remove(name)),
        _ => state.forget(),
    }
    state.read_from = Some(moment);
    Ok(())
}

fn changed_name(row: &[u8]) -> Option<String> {
    let row = Value::from_canonical(row).ok()?;
    name_of(row.get("id")?.as_str()?).map(str::to_owned)
}

fn account(reader: &Reader, name: &str, allow_conflicted: bool) -> Result<Option<Account>> {
    let id = format!("{ID_PREFIX}{name}");
    let mut options = GetOptions::default();
    options.show.conflicts = true;
    let found = match reader.get(&id, &options) {
        Ok(found) => found,
        Err(Error::NotFound(_) | Error::IllegalDocId(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    if found.has_meta() && !allow_conflicted {
        tracing::warn!(name, "this user's document is in conflict: nobody is let in by it");
        return Ok(None);
    }
    let document =
        Value::from_canonical(found.body()).map_err(|_| Error::Damaged("user document"))?;
    Ok(Account::read(name, &document, found.rev()))
}

#[cfg(test)]
mod tests {
    use settee_engine::document::{Document, Limits};
    use settee_engine::{Props, WriteMode};

    use super::*;

    fn put(database: &Arc<Database>, json: &str, mode: WriteMode) -> String {
        let document = Document::parse(json.as_bytes(), None, &Limits::default()).unwrap();
        database.write(vec![document], mode).unwrap().pop().unwrap().unwrap().to_string()
    }

    fn user(name: &str, role: &str, rest: &str) -> String {
        format!(
            r#"{{"_id":"org.couchdb.user:{name}","type":"user","name":"{name}","roles":["{role}"]{rest}}}"#
        )
    }

    fn role(directory: &Directory, name: &str) -> Option<String> {
        directory.find(name).unwrap().map(|account| account.roles[0].to_string())
    }

    #[test]
    fn changes_take_effect_with_the_next_look_up() {
        let databases = Databases::in_memory();
        let directory = Directory::new(Arc::clone(&databases));
        assert!(role(&directory, "anna").is_none(), "there is no database yet");
        let users = databases.create("_users", Props::default()).unwrap();
        assert!(role(&directory, "anna").is_none());
        let rev = put(&users, &user("anna", "a", ""), WriteMode::Interactive);
        put(&users, &user("otto", "o", ""), WriteMode::Interactive);
        for _ in 0..2 {
            assert_eq!(role(&directory, "anna").as_deref(), Some("a"));
            assert_eq!(role(&directory, "otto").as_deref(), Some("o"));
        }
        let rev =
            put(&users, &user("anna", "b", &format!(r#","_rev":"{rev}""#)), WriteMode::Interactive);
        assert_eq!(role(&directory, "anna").as_deref(), Some("b"));
        let deleted =
            format!(r#"{{"_id":"org.couchdb.user:anna","_rev":"{rev}","_deleted":true}}"#);
        put(&users, &deleted, WriteMode::Interactive);
        assert!(role(&directory, "anna").is_none());
        assert_eq!(role(&directory, "otto").as_deref(), Some("o"));
        databases.delete("_users").unwrap();
        assert!(role(&directory, "otto").is_none());
        databases.create("_users", Props::default()).unwrap();
        assert!(role(&directory, "otto").is_none(), "it is another database");
    }

    #[test]
    fn many_changes_at_once_are_followed_too() {
        let databases = Databases::in_memory();
        let directory = Directory::new(Arc::clone(&databases));
        let users = databases.create("_users", Props::default()).unwrap();
        let rev = put(&users, &user("anna", "a", ""), WriteMode::Interactive);
        assert_eq!(role(&directory, "anna").as_deref(), Some("a"));
        let changed = user("anna", "b", &format!(r#","_rev":"{rev}""#));
        let others = (0..=MAX_FOLLOWED).map(|n| user(&n.to_string(), "x", ""));
        let parse = |json: String| Document::parse(json.as_bytes(), None, &Limits::default());
        let docs = others.chain([changed]).map(|json| parse(json).unwrap()).collect();
        users.write(docs, WriteMode::Interactive).unwrap();
        assert_eq!(role(&directory, "anna").as_deref(), Some("b"));
    }

    #[test]
    fn a_document_in_conflict_lets_nobody_in() {
        let databases = Databases::in_memory();
        let directory = Directory::new(Arc::clone(&databases));
        let users = databases.create("_users", Props::default()).unwrap();
        for rev in ["1-a", "1-b"] {
            let json = user("anna", rev, &format!(r#","_rev":"{rev}""#));
            put(&users, &json, WriteMode::Replicated);
        }
        assert!(role(&directory, "anna").is_none());
        directory.configure("_users", true);
        assert_eq!(role(&directory, "anna").as_deref(), Some("1-b"));
    }
}
