//! Rules of the server's own databases: a hook sees every document before it is stored in one of them,
//! whichever way it comes in, and may refuse or change it.

use std::sync::Arc;

use super::WriteMode;
use crate::{
    caller::Caller,
    database::{Database, GetOptions},
    document::{DocHead, Document},
    error::{Error, Result},
    hooks::Hook,
    json::Value,
    name::DocKind,
    revtree::{NodeIndex, RevTree},
};

/// What a database does with the documents that are to be stored in it.
///
/// It is called before revision ids are computed, on a thread that may block, and never for local or
/// design documents: those have rules of their own. Calls for different writes run side by side.
pub trait WriteHook: Send + Sync {
    /// Checks a document and changes it, if need be.
    ///
    /// # Errors
    /// What the client is to be told; the other documents of the call are not affected.
    fn before_write(&self, write: &PendingWrite<'_>, document: &mut Document) -> Result<()>;
}

/// The write that a document belongs to.
#[derive(Clone, Copy)]
pub struct PendingWrite<'w> {
    pub(super) database: &'w Arc<Database>,
    pub(super) caller: &'w Caller,
    pub(super) mode: WriteMode,
}

impl<'w> PendingWrite<'w> {
    /// Where it goes.
    #[must_use]
    pub fn database(&self) -> &'w Arc<Database> {
        self.database
    }

    /// In whose name it is made.
    #[must_use]
    pub fn caller(&self) -> &'w Caller {
        self.caller
    }

    /// How its revision comes about.
    #[must_use]
    pub fn mode(&self) -> WriteMode {
        self.mode
    }

    /// The body of the revision that `document` is going to follow, if there is one: the revision it
    /// names, or of a replicated document the newest ancestor whose body is here. A revision's body never
    /// changes, so what is found out from it still holds when the document is stored.
    ///
    /// # Errors
    /// [`Error::Conflict`] if an interactive write does not name a leaf that it may follow; those of the
    /// store.
    pub fn previous(&self, document: &Document) -> Result<Option<Value>> {
        let reader = self.database.read()?;
        let Some(entry) = reader.snapshot.doc(document.id.as_bytes())? else { return Ok(None) };
        let tree = DocHead::decode(&entry.value)?.tree()?;
        let Some(node) = self.parent(document, &tree)? else { return Ok(None) };
        let rev = Some(tree.rev(node).clone());
        let found = reader.get(&document.id, &GetOptions { rev, ..GetOptions::default() })?;
        Value::from_canonical(found.body()).map(Some).map_err(|_| Error::Damaged("document"))
    }

    fn parent(&self, document: &Document, tree: &RevTree) -> Result<Option<NodeIndex>> {
        match (self.mode, &document.rev) {
            (WriteMode::Replicated, Some(rev)) => {
                Ok(tree.nearest_stored(rev.generation, &document.history))
            }
            (WriteMode::Replicated, None) => Ok(None),
            (WriteMode::Interactive, Some(rev)) if !tree.all_deleted() => {
                tree.find_leaf(rev).map(Some).ok_or(Error::Conflict)
            }
            (WriteMode::Interactive, None) if tree.all_deleted() => Ok(None),
            (WriteMode::Interactive, _) => Err(Error::Conflict),
        }
    }
}

impl Hook for dyn WriteHook {}

/// Whether hooks are asked about documents of this id.
pub(super) fn concerns(id: &str) -> bool {
    !matches!(DocKind::of(id), DocKind::Local | DocKind::Design)
}
