//! Reading an index row by row, for those who plan their own ranges.

use std::{borrow::Cow, ops::Bound, sync::Arc};

use settee_storage::{Direction, KeyRange, Seq, index::IndexPages, tree::Cursor};

use super::{
    definition::{IndexDefinition, ViewGroup},
    index::Current,
    key::AFTER,
    row::{Row, put_id, put_partition},
};
use crate::{
    database::Database,
    error::{Absence, Error, Result},
};

/// One moment of an index.
#[derive(Clone, Debug)]
pub struct IndexReader {
    current: Arc<Current>,
    definition: IndexDefinition,
}

impl Database {
    /// An index of a group by its number, as it is now: it is not brought up to date here. Nothing if it was
    /// never built.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the group has no such index, those of opening it.
    pub fn read_index(&self, group: &ViewGroup, number: usize) -> Result<Option<IndexReader>> {
        let missing = Error::NotFound(Absence::NamedView);
        let definition = group.indexes.get(number).ok_or(missing)?.clone();
        let current = self.view_index(definition.signature)?.current();
        Ok(current.map(|current| IndexReader { current, definition }))
    }
}

impl IndexReader {
    /// The sequence of the database it is at.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.current.meta.seq
    }

    /// The rows from one key to another, both included, given as JSON in the scanner's spelling. For other
    /// ranges, [`Collation::encode`](super::Collation::encode) keys and put them together: the rows of
    /// a key are those that begin with its encoding.
    #[must_use]
    pub fn range(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> KeyRange {
        let encoded = |key: &[u8]| {
            let mut out = Vec::new();
            self.definition.collation.encode(key, &mut out);
            out
        };
        KeyRange {
            start: from.map_or(Bound::Unbounded, |key| Bound::Included(encoded(key))),
            end: to.map_or(Bound::Unbounded, |key| {
                Bound::Excluded([&encoded(key)[..], &[AFTER]].concat())
            }),
        }
    }

    /// The same range in one partition of an index that is kept by partitions.
    #[must_use]
    pub fn in_partition(&self, partition: &str, range: KeyRange) -> KeyRange {
        let mut prefix = Vec::new();
        put_partition(partition, &mut prefix);
        let within = |bound: Bound<Vec<u8>>, open: Bound<Vec<u8>>| match bound {
            Bound::Included(key) => Bound::Included([&prefix[..], &key].concat()),
            Bound::Excluded(key) => Bound::Excluded([&prefix[..], &key].concat()),
            Bound::Unbounded => open,
        };
        let behind = Bound::Excluded([&prefix[..], &[AFTER]].concat());
        KeyRange {
            start: within(range.start, Bound::Included(prefix.clone())),
            end: within(range.end, behind),
        }
    }

    /// Where the rows are that a document has under a key: from the first place to before the second.
    #[must_use]
    pub fn place(&self, key: &[u8], id: &str) -> (Vec<u8>, Vec<u8>) {
        let mut from = Vec::new();
        self.definition.collation.encode(key, &mut from);
        put_id(id, &mut from);
        let to = [&from[..], &[AFTER]].concat();
        (from, to)
    }

    /// How many rows there are in a range, in O(log n).
    ///
    /// # Errors
    /// Those of the store.
    pub fn count(&self, range: &KeyRange) -> Result<u64> {
        Ok(self.current.rows().sum(range)?)
    }

    /// Walks a range.
    #[must_use]
    pub fn cursor(&self, range: &KeyRange, direction: Direction) -> IndexCursor<'_> {
        IndexCursor { cursor: self.current.rows().cursor(range, direction) }
    }
}

/// See [`IndexReader::cursor`].
#[derive(Debug)]
pub struct IndexCursor<'i> {
    cursor: Cursor<'i, IndexPages>,
}

impl IndexCursor<'_> {
    /// The next row, or nothing at the end of the range.
    ///
    /// # Errors
    /// Those of the store.
    #[expect(clippy::should_implement_trait, reason = "the row is lent, which Iterator cannot do")]
    pub fn next(&mut self) -> Result<Option<IndexRow<'_>>> {
        match self.cursor.next()? {
            Some((key, value)) => Ok(Some(IndexRow { row: Row::decode(key, value)? })),
            None => Ok(None),
        }
    }
}

/// A row of an index; valid until the cursor moves.
#[derive(Clone, Copy, Debug)]
pub struct IndexRow<'c> {
    row: Row<'c>,
}

impl<'c> IndexRow<'c> {
    /// The id of the document that emitted it.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn id(&self) -> Result<Cow<'c, str>> {
        self.row.id()
    }

    /// The key as JSON.
    #[must_use]
    pub fn key(&self) -> &'c [u8] {
        self.row.key
    }

    /// The value as JSON.
    #[must_use]
    pub fn value(&self) -> &'c [u8] {
        self.row.value
    }

    /// The key as it is encoded, behind the partition in an index that is kept by partitions.
    #[must_use]
    pub fn encoded_key(&self) -> &'c [u8] {
        self.row.encoded
    }
}
