//! What the engine's values refer to, checked.

use std::collections::HashSet;

use super::{Damage, verify::stream_len};
use crate::{
    error::{Error, Result},
    store::{BlobRef, DocRow, Snapshot, StreamRef, Value},
};

/// Knows what an engine's values mean, as far as checking a file needs it. A flaw is said in words, such
/// as "its revision tree cannot be read".
pub trait Content {
    /// Checks a document's two values against each other and everything they refer to.
    ///
    /// # Errors
    /// Those of the disk. Flaws are reported to `resolver`.
    fn document(
        &self,
        row: &DocRow<'_>,
        by_seq: Option<&[u8]>,
        resolver: &mut Resolver<'_>,
    ) -> Result<()>;

    /// Checks a value of the local keyspace.
    ///
    /// # Errors
    /// As [`Content::document`].
    fn local(&self, key: &[u8], value: &[u8], resolver: &mut Resolver<'_>) -> Result<()>;

    /// Checks a value of the meta keyspace.
    ///
    /// # Errors
    /// As [`Content::document`].
    fn meta(&self, key: &[u8], value: &[u8], resolver: &mut Resolver<'_>) -> Result<()>;
}

/// Values that refer to nothing: only what the store itself wrote is checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpaqueContent;

impl Content for OpaqueContent {
    fn document(&self, _: &DocRow<'_>, _: Option<&[u8]>, _: &mut Resolver<'_>) -> Result<()> {
        Ok(())
    }

    fn local(&self, _: &[u8], _: &[u8], _: &mut Resolver<'_>) -> Result<()> {
        Ok(())
    }

    fn meta(&self, _: &[u8], _: &[u8], _: &mut Resolver<'_>) -> Result<()> {
        Ok(())
    }
}

/// Follows references and collects what is wrong.
pub struct Resolver<'v> {
    snapshot: &'v dyn Snapshot,
    pub(super) damage: &'v mut Vec<Damage>,
    /// What the row at hand refers to and was followed already.
    seen: HashSet<BlobRef>,
    /// Where the row at hand is reported, if it is itself the flaw.
    place: u64,
    /// Bytes of blobs and streams that were referred to. What several documents share counts for each.
    pub(super) bytes: u64,
    pub(super) references: u64,
}

impl std::fmt::Debug for Resolver<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("references", &self.references).finish_non_exhaustive()
    }
}

impl<'v> Resolver<'v> {
    pub(super) fn new(snapshot: &'v dyn Snapshot, damage: &'v mut Vec<Damage>, place: u64) -> Self {
        Resolver { snapshot, damage, seen: HashSet::new(), place, bytes: 0, references: 0 }
    }

    /// Begins with another row.
    pub(super) fn next_row(&mut self) {
        self.seen.clear();
    }

    /// What is checked.
    #[must_use]
    pub fn snapshot(&self) -> &'v dyn Snapshot {
        self.snapshot
    }

    /// Reports that the row at hand is wrong.
    pub fn flaw(&mut self, what: String) {
        self.damage.push(Damage { offset: self.place, len: 0, what });
    }

    /// Reads a blob; `None` if it is damaged, which is reported with what `what` says it is, or if the
    /// row at hand referred to it before.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn blob(
        &mut self,
        at: BlobRef,
        what: impl FnOnce() -> String,
    ) -> Result<Option<Value<'v>>> {
        if !self.seen.insert(at) {
            return Ok(None);
        }
        self.references += 1;
        self.bytes = self.bytes.saturating_add(u64::from(at.len));
        match self.snapshot.blob(at) {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.report(error, at.offset, u64::from(at.len), what).map(|()| None),
        }
    }

    /// Reads a stream to its end, unless the row at hand referred to it before.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn stream(&mut self, at: StreamRef, what: impl FnOnce() -> String) -> Result<()> {
        if !self.seen.insert(at.index) {
            return Ok(());
        }
        self.references += 1;
        self.bytes = self.bytes.saturating_add(at.len).saturating_add(u64::from(at.index.len));
        match stream_len(self.snapshot, at) {
            Ok(len) if len == at.len => Ok(()),
            Ok(_) => {
                let what = format!("{} ends early", what());
                self.damage.push(Damage { offset: at.index.offset, len: at.len, what });
                Ok(())
            }
            Err(error) => self.report(error, at.index.offset, at.len, what),
        }
    }

    fn report(
        &mut self,
        error: Error,
        offset: u64,
        len: u64,
        what: impl FnOnce() -> String,
    ) -> Result<()> {
        let Error::Corrupt { offset: found, what: why, .. } = error else { return Err(error) };
        let offset = if found == 0 { offset } else { found };
        self.damage.push(Damage { offset, len, what: format!("{}: {why}", what()) });
        Ok(())
    }
}
