//! What a database keeps about itself in its store's meta keyspace: its identity, made once, and the
//! settings that can change.
//!
//! Values are read once when the database is opened and replaced in memory after the write that
//! changes them is durable.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use settee_storage::{Snapshot, Store, Transaction, Value as StoredValue, update};

use super::Database;
use crate::{
    error::{Error, Result},
    json::Value,
    sequence::Uuid,
};

pub(crate) const IDENTITY: &[u8] = b"identity";
pub(crate) const SECURITY: &[u8] = b"security";
pub(crate) const REVS_LIMIT: &[u8] = b"revs_limit";
pub(crate) const PURGED_INFOS_LIMIT: &[u8] = b"purged_infos_limit";
pub(crate) const PURGE_SEQ: &[u8] = b"purge_seq";
/// Before the number of a purge request, in big-endian bytes.
pub(crate) const PURGES: &[u8] = b"purge/";

/// How many entries of a branch are kept unless [`Database::set_revs_limit`] said otherwise.
pub const DEFAULT_REVS_LIMIT: u64 = 1000;
/// How many purge requests are remembered unless [`Database::set_purged_infos_limit`] said otherwise.
pub const DEFAULT_PURGED_INFOS_LIMIT: u64 = 1000;
/// What [`Database::security`] says of a new database: nobody but server administrators.
pub const DEFAULT_SECURITY: &str =
    r#"{"members":{"roles":["_admin"]},"admins":{"roles":["_admin"]}}"#;
/// Longest security object, in bytes.
pub const MAX_SECURITY_BYTES: usize = 8 * 1024 * 1024;

/// Version of the identity record.
const IDENTITY_VERSION: u8 = 1;
const FLAG_PARTITIONED: u8 = 1;

/// What a database is created with. The numbers are those of a cluster; here they are only remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Props {
    /// Number of shards.
    pub q: u32,
    /// Number of replicas.
    pub n: u32,
    /// Whether document ids are of the form `partition:id`.
    pub partitioned: bool,
}

impl Default for Props {
    fn default() -> Self {
        Props { q: 2, n: 1, partitioned: false }
    }
}

/// What is fixed when a database is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uuid: Uuid,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) props: Props,
}

impl Identity {
    fn new(props: Props, fixed: Option<[u8; 32]>) -> Result<Self> {
        if let Some(uuid) = fixed.and_then(|bytes| bytes.first_chunk().copied()) {
            return Ok(Identity { uuid: Uuid(uuid), created: 0, props });
        }
        let mut uuid = [0; 16];
        getrandom::fill(&mut uuid).map_err(|_| Error::NoRandomness)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Identity { uuid: Uuid(uuid), created: now.as_secs(), props })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![IDENTITY_VERSION];
        out.extend_from_slice(&self.uuid.0);
        out.extend_from_slice(&self.created.to_le_bytes());
        out.extend_from_slice(&self.props.q.to_le_bytes());
        out.extend_from_slice(&self.props.n.to_le_bytes());
        out.push(if self.props.partitioned { FLAG_PARTITIONED } else { 0 });
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (uuid, rest) = rest.split_first_chunk()?;
        let (created, rest) = rest.split_first_chunk()?;
        let (q, rest) = rest.split_first_chunk()?;
        let (n, rest) = rest.split_first_chunk()?;
        let (flags, rest) = rest.split_first()?;
        if *version != IDENTITY_VERSION || *flags > FLAG_PARTITIONED || !rest.is_empty() {
            return None;
        }
        let props = Props {
            q: u32::from_le_bytes(*q),
            n: u32::from_le_bytes(*n),
            partitioned: *flags == FLAG_PARTITIONED,
        };
        Some(Identity { uuid: Uuid(*uuid), created: u64::from_le_bytes(*created), props })
    }

    /// Gives a new store its identity.
    pub(crate) fn establish(
        store: &Arc<dyn Store>,
        props: Props,
        fixed: Option<[u8; 32]>,
    ) -> Result<()> {
        let encoded = Identity::new(props, fixed)?.encode();
        Ok(update(store, move |transaction| transaction.put_meta(IDENTITY, &encoded))?)
    }

    pub(crate) fn load(snapshot: &dyn Snapshot) -> Result<Self> {
        let stored = snapshot.meta(IDENTITY)?;
        let identity = stored.and_then(|stored| Identity::decode(&stored));
        identity.ok_or(Error::Damaged("identity of the database"))
    }
}

/// The settings that can change, as they are now.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// JSON text.
    pub(crate) security: Arc<str>,
    pub(crate) revs_limit: u64,
    pub(crate) purged_infos_limit: u64,
}

impl Settings {
    pub(crate) fn load(snapshot: &dyn Snapshot, default_security: &Arc<str>) -> Result<Self> {
        let security = match snapshot.meta(SECURITY)? {
            Some(text) => std::str::from_utf8(&text)
                .map(Arc::from)
                .map_err(|_| Error::Damaged("security object"))?,
            None => Arc::clone(default_security),
        };
        let limit = |key, default| -> Result<u64> {
            snapshot.meta(key)?.map_or(Ok(default), |bytes| number(&bytes))
        };
        Ok(Settings {
            security,
            revs_limit: limit(REVS_LIMIT, DEFAULT_REVS_LIMIT)?,
            purged_infos_limit: limit(PURGED_INFOS_LIMIT, DEFAULT_PURGED_INFOS_LIMIT)?,
        })
    }
}

/// Reads a number of the meta keyspace.
pub(crate) fn number(bytes: &[u8]) -> Result<u64> {
    bytes.try_into().map(u64::from_le_bytes).map_err(|_| Error::Damaged("setting"))
}

/// The number of purge requests so far, as the meta keyspace has it.
pub(crate) fn purge_seq(stored: Option<StoredValue<'_>>) -> Result<u64> {
    stored.map_or(Ok(0), |bytes| number(&bytes))
}

impl Database {
    /// The security object, as JSON text.
    #[must_use]
    pub fn security(&self) -> Arc<str> {
        Arc::clone(&self.settings.read().security)
    }

    /// Replaces the security object by this JSON text.
    ///
    /// # Errors
    /// [`Error::InvalidJson`], [`Error::BadRequest`] if it is not an object or its `admins` and
    /// `members` are not lists of strings, those of the store.
    pub fn set_security(&self, text: &[u8]) -> Result<()> {
        let parsed = Value::parse(text)?;
        check_security(&parsed)?;
        let text = String::from_utf8(parsed.to_json()).map_err(|_| Error::InvalidJson)?;
        let text: Arc<str> = text.into();
        if text.len() > MAX_SECURITY_BYTES {
            return Err(Error::BadRequest("security object is too large".into()));
        }
        let stored = Arc::clone(&text);
        self.change_setting(
            move |transaction| transaction.put_meta(SECURITY, stored.as_bytes()),
            move |settings| settings.security = text,
        )
    }

    /// How many entries each branch of a document's revision tree keeps.
    #[must_use]
    pub fn revs_limit(&self) -> u64 {
        self.settings.read().revs_limit
    }

    /// Sets [`Database::revs_limit`] for writes from now on.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for 0, those of the store.
    pub fn set_revs_limit(&self, limit: u64) -> Result<()> {
        if limit == 0 {
            return Err(Error::BadRequest("invalid_revs_limit".into()));
        }
        self.change_setting(
            move |transaction| transaction.put_meta(REVS_LIMIT, &limit.to_le_bytes()),
            move |settings| settings.revs_limit = limit,
        )
    }

    /// How many purge requests [`Reader::purged_infos`](crate::Reader::purged_infos) remembers.
    #[must_use]
    pub fn purged_infos_limit(&self) -> u64 {
        self.settings.read().purged_infos_limit
    }

    /// Sets [`Database::purged_infos_limit`].
    ///
    /// # Errors
    /// [`Error::BadRequest`] for 0, those of the store.
    pub fn set_purged_infos_limit(&self, limit: u64) -> Result<()> {
        if limit == 0 {
            let reason = "`purged_infos_limit` must be positive integer";
            return Err(Error::BadRequest(reason.into()));
        }
        self.change_setting(
            move |transaction| transaction.put_meta(PURGED_INFOS_LIMIT, &limit.to_le_bytes()),
            move |settings| settings.purged_infos_limit = limit,
        )
    }

    /// Makes a change durable, then visible. One at a time, so that two changes of one setting end
    /// with the same value in the store and in memory.
    fn change_setting(
        &self,
        store: impl FnOnce(&mut dyn Transaction) -> settee_storage::Result<()> + Send + 'static,
        show: impl FnOnce(&mut Settings),
    ) -> Result<()> {
        let _one_at_a_time = self.setting_changes.lock();
        update(&self.store, store)?;
        show(&mut self.settings.write());
        Ok(())
    }
}

fn check_security(security: &Value) -> Result<()> {
    let bad = |reason: &str| Err(Error::BadRequest(reason.into()));
    if !matches!(security, Value::Object(_)) {
        return bad("Request body must be a JSON object");
    }
    for group in ["admins", "members", "readers"] {
        let Some(group) = security.get(group) else { continue };
        if !matches!(group, Value::Object(_)) {
            return bad("admins or members must be a JSON object");
        }
        for (list, reason) in [
            ("names", "names must be a JSON list of strings"),
            ("roles", "roles must be a JSON list of strings"),
        ] {
            match group.get(list) {
                None => {}
                Some(Value::Array(items))
                    if items.iter().all(|item| matches!(item, Value::String(_))) => {}
                Some(_) => return bad(reason),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_and_nothing_else_is_one() {
        let identity = Identity::new(Props { q: 8, n: 3, partitioned: true }, None).unwrap();
        let bytes = identity.encode();
        assert_eq!(Identity::decode(&bytes), Some(identity));
        assert_eq!(Identity::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Identity::decode(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(Identity::decode(&[&[9], &bytes[1..]].concat()), None);
    }
}
