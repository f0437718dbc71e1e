//! What defines a view, and so the index it is read from.
//!
//! An index belongs to a map function with its options and what it can call, not to the design document it
//! stands in: it survives every other change of that document, and the same function in two documents is
//! indexed once. Reductions are kept with the rows they are of; one more reduction of the same rows costs a
//! rewrite of the index, but no function is run again.

use std::{collections::BTreeMap, fmt, sync::Arc};

use md5::{Digest, Md5};

use super::{key::Collation, reduce::ReduceSpec, source::RowSource, updating::UpdateQueue};
use crate::{
    codec::put_bytes,
    error::{Absence, Error, Result},
};

/// Names an index by everything that defines its rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signature(pub(crate) [u8; 16]);

impl Signature {
    /// The signature of what these parts define; parts in another order define something else.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut text = Vec::new();
        parts.iter().for_each(|part| put_bytes(&mut text, part));
        Signature(Md5::digest(&text).0)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One index: which function's rows it holds, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexDefinition {
    /// Stands for the function, its options and all it depends on. Two definitions with one signature
    /// must give the same rows.
    pub signature: Signature,
    /// The function's number in its [`RowSource`].
    pub function: usize,
    /// The order of its keys.
    pub collation: Collation,
    /// Documents are given to the function with their `_local_seq`.
    pub local_seq: bool,
    /// Design documents are given to the function, too.
    pub include_design: bool,
    /// Rows are kept by the partition of their document, and only read by it.
    pub partitioned: bool,
    /// The reductions kept with the rows.
    pub reducers: Vec<ReduceSpec>,
}

impl IndexDefinition {
    /// An index in the usual order, of ordinary documents, without reductions.
    #[must_use]
    pub fn new(signature: Signature, function: usize) -> Self {
        IndexDefinition {
            signature,
            function,
            collation: Collation::default(),
            local_seq: false,
            include_design: false,
            partitioned: false,
            reducers: Vec::new(),
        }
    }
}

/// A view by the index it is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewDefinition {
    /// The number of the index in its [`ViewGroup`].
    pub index: usize,
    /// The reduction, if it has one.
    pub reduce: Option<ReduceSpec>,
}

/// Views that are indexed together, because their documents are read together: those of one design
/// document.
#[derive(Debug)]
pub struct ViewGroup {
    /// The design document's id.
    pub id: String,
    /// Where rows come from.
    pub source: Arc<dyn RowSource>,
    /// The indexes, each signature once.
    pub indexes: Vec<IndexDefinition>,
    /// The views by their names.
    pub views: BTreeMap<String, ViewDefinition>,
    /// The language of the functions.
    pub language: String,
    /// Kept up to date in the background.
    pub autoupdate: bool,
    /// The views can only be read by partition.
    pub partitioned: bool,
    /// Who waits for the indexes.
    pub(crate) queue: UpdateQueue,
}

impl ViewGroup {
    /// A group of these indexes, without names for them: what is not a design document's view brings its
    /// own.
    #[must_use]
    pub fn new(id: &str, source: Arc<dyn RowSource>, indexes: Vec<IndexDefinition>) -> Self {
        ViewGroup {
            id: id.to_owned(),
            source,
            indexes,
            views: BTreeMap::new(),
            language: String::new(),
            autoupdate: true,
            partitioned: false,
            queue: UpdateQueue::default(),
        }
    }

    /// A view and its index.
    ///
    /// # Errors
    /// [`Error::NotFound`] with [`Absence::NamedView`].
    pub fn view(&self, name: &str) -> Result<(&ViewDefinition, &IndexDefinition)> {
        let found = self.views.get(name);
        let found = found.and_then(|view| Some((view, self.indexes.get(view.index)?)));
        found.ok_or(Error::NotFound(Absence::NamedView))
    }

    /// Names the group as a whole, as `_info` shows it.
    #[must_use]
    pub fn signature(&self) -> Signature {
        let mut all: Vec<_> = self.indexes.iter().map(|index| index.signature).collect();
        all.sort_unstable();
        let parts: Vec<&[u8]> = all.iter().map(|signature| &signature.0[..]).collect();
        Signature::of(&parts)
    }
}
