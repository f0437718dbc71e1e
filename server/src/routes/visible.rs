//! The databases, as far as whoever asks is told of them: server administrators of all, others of those that
//! they may read, unless `[chttpd] all_dbs_lists_readable_only` says otherwise.

use std::sync::Arc;

use serde_json::Value;
use settee_engine::{Databases, Error, NameRange, Result};

use super::database;
use crate::auth::User;
use crate::http::{Failure, Request};

/// What one user sees of the databases.
pub(super) struct Visible {
    databases: Arc<Databases>,
    /// Who is told only what they may read.
    reader: Option<User>,
}

impl Visible {
    pub(super) fn to(request: &Request) -> Self {
        let user = request.user();
        let filtered = request.app.settings().accounts.list_readable_only && !user.is_admin();
        Self {
            databases: Arc::clone(request.app.databases()),
            reader: filtered.then(|| user.clone()),
        }
    }

    /// The names in a range; those that aren't shown don't count.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub(super) fn names(&self, range: NameRange) -> Result<Vec<String>> {
        if self.reader.is_none() {
            return self.databases.names(&range);
        }
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let (skip, limit) = (count(range.skip), range.limit.map_or(usize::MAX, count));
        let all = NameRange { skip: 0, limit: None, ..range };
        let names = self.databases.names(&all)?.into_iter();
        Ok(names.filter(|name| self.shows(name)).skip(skip).take(limit).collect())
    }

    /// What a database says of itself, if it is there to be seen.
    pub(super) fn info(&self, name: &str) -> Result<Option<Value>, Failure> {
        if !self.shows(name) {
            return Ok(None);
        }
        match self.databases.get(name) {
            Ok(found) => database::info_value(&found).map(Some),
            Err(Error::DatabaseNotFound) => Ok(None),
            Err(error) => Err(Failure::from(error)),
        }
    }

    /// A database whose security object can't be read shows nothing.
    fn shows(&self, name: &str) -> bool {
        let Some(reader) = &self.reader else { return true };
        self.databases.security(name).is_ok_and(|security| reader.is_member_by(&security))
    }
}
