//! What is kept from readers of the server's own databases: a hook says how the documents of one of them are
//! shown to somebody, whichever way they come out.

use std::sync::Arc;

use super::Reader;
use crate::{
    attachment::digest,
    caller::Caller,
    database::Database,
    error::Result,
    hooks::Hook,
    json::Value,
    name::DocKind,
    revision::{Rev, RevId},
};

/// What a database shows of its documents.
///
/// It is asked once for each [`Reader`] that [`Database::read_as`] makes, and never about design documents or
/// local ones.
pub trait ReadHook: Send + Sync {
    /// How documents are shown to this caller; `None` if as they are.
    fn redaction(&self, database: &Database, caller: &Caller) -> Option<Arc<dyn Redaction>>;
}

/// How documents are shown to somebody who may not see all of them.
pub trait Redaction: Send + Sync {
    /// The body that is shown in place of `body`; `None` if that itself is shown.
    fn redact(&self, body: &Value) -> Option<Value>;
}

impl Hook for dyn ReadHook {}

impl Database {
    /// The newest durable state, as this caller may see it.
    ///
    /// Queries by selector and views read what is stored, not what is shown: whoever lets callers with less
    /// than all rights at them has to know that they have nothing to hide.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read_as(self: &Arc<Self>, caller: &Caller) -> Result<Reader> {
        let mut reader = self.read()?;
        let hook = self.shared.read_hooks.of(&self.name);
        reader.redaction = hook.and_then(|hook| hook.redaction(self, caller));
        Ok(reader)
    }
}

/// A body in place of another, and the revision that it is shown with: not the stored one, which would say
/// that this is what was stored.
pub(super) struct Shown {
    pub(super) rev: Rev,
    pub(super) body: Vec<u8>,
}

impl Reader {
    /// What is shown of a revision if not what is stored.
    pub(super) fn shown(&self, id: &str, rev: &Rev, body: &[u8]) -> Result<Option<Shown>> {
        let Some(redaction) = &self.redaction else { return Ok(None) };
        if DocKind::of(id) != DocKind::Normal {
            return Ok(None);
        }
        let Some(body) = redaction.redact(&Value::from_canonical(body)?) else { return Ok(None) };
        let body = body.to_json();
        let mut fingerprint = rev.to_string().into_bytes();
        fingerprint.extend_from_slice(&body);
        let id = RevId::Hash(digest::md5(&fingerprint));
        Ok(Some(Shown { rev: Rev::new(rev.generation, id), body }))
    }
}
