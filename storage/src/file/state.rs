//! One moment of the database: the trees as of a checkpoint, and up to two layers of later edits.

use std::{path::Path, sync::Arc};

use super::{
    cursor,
    head::Head,
    layer::{CountsChange, Layer, OldDoc},
    reader::Reader,
    record::Roots,
    rows::{self, NumberDocs, Space, SumCounts},
    staging::Staging,
};
use crate::{
    error::{Error, Result},
    store::{Counts, DocEntry, KeyRange, Seq, Value},
    tree::{CountEntries, Near, Tree, TreeValue},
};

/// The trees of one checkpoint, and how to read them.
#[derive(Clone, Debug)]
pub(super) struct Trees {
    pub(super) path: Arc<Path>,
    pub(super) roots: Roots,
    pub(super) reader: Arc<dyn Reader>,
    /// Where streams of this file are staged.
    pub(super) staging: Arc<Staging>,
}

/// The tree of documents by id.
type DocTree<'t> = Tree<'t, dyn Reader, SumCounts>;

impl Trees {
    pub(super) fn by_id(&self) -> DocTree<'_> {
        Tree::new(self.reader.as_ref(), self.roots.by_id, SumCounts)
    }

    /// The same tree, to find documents by their number.
    pub(super) fn by_id_number(&self) -> Tree<'_, dyn Reader, NumberDocs> {
        Tree::new(self.reader.as_ref(), self.roots.by_id, NumberDocs)
    }

    pub(super) fn by_seq(&self) -> Tree<'_, dyn Reader, CountEntries> {
        Tree::new(self.reader.as_ref(), self.roots.by_seq, CountEntries)
    }

    pub(super) fn keys(&self) -> Tree<'_, dyn Reader, CountEntries> {
        Tree::new(self.reader.as_ref(), self.roots.keys, CountEntries)
    }

    /// A row that passed its checksum and still makes no sense.
    pub(super) fn bad_row(&self) -> Error {
        let offset = self.roots.by_id.node.map_or(0, |node| node.offset);
        let path = self.path.to_path_buf();
        Error::Corrupt {
            path,
            offset,
            what: "a row under this root is not in the form of its tree",
        }
    }
}

/// A consistent state of the store; what snapshots hold. Immutable.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The edits since the last checkpoint began, the newest sequence and the counts.
    pub(super) head: Head,
    /// The edits that a checkpoint under way is merging into the trees.
    pub(super) frozen: Option<Layer>,
    pub(super) trees: Trees,
}

impl State {
    pub(super) fn view(&self) -> View<'_> {
        View { top: &self.head.layer, frozen: self.frozen.as_ref(), trees: &self.trees }
    }
}

/// The layers from top to bottom, for reading. The top is the writer's own while a group of edits runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'v> {
    pub(super) top: &'v Layer,
    pub(super) frozen: Option<&'v Layer>,
    pub(super) trees: &'v Trees,
}

impl<'v> View<'v> {
    /// The layers, newest first.
    pub(super) fn layers(self) -> impl Iterator<Item = &'v Layer> {
        std::iter::once(self.top).chain(self.frozen)
    }

    /// Sums over the documents of a range.
    pub(super) fn count_docs(self, range: &KeyRange) -> Result<Counts> {
        let Some(bounds) = cursor::bounds(range) else { return Ok(Counts::default()) };
        let mut change = CountsChange::default();
        for layer in self.layers() {
            change += layer.count_docs(bounds);
        }
        let beneath = self.trees.by_id().sum(range)?;
        change.apply(beneath).ok_or_else(|| self.trees.bad_row())
    }

    pub(super) fn doc(self, id: &[u8]) -> Result<Option<DocEntry<'v>>> {
        self.doc_by(id, |tree| tree.get(id))
    }

    /// The same for many documents of which neighbours may follow each other; see [`Tree::get_near`].
    pub(super) fn doc_near(self, id: &[u8], near: &mut Near) -> Result<Option<DocEntry<'v>>> {
        self.doc_by(id, |tree| tree.get_near(id, near))
    }

    fn doc_by(
        self,
        id: &[u8],
        get: impl FnOnce(DocTree<'v>) -> Result<Option<TreeValue<'v>>>,
    ) -> Result<Option<DocEntry<'v>>> {
        if let Some(slot) = self.layers().find_map(|layer| layer.doc(id)) {
            return Ok(slot.record.as_ref().map(|record| DocEntry {
                seq: record.seq,
                weight: record.weight,
                value: Value::Borrowed(record.by_id()),
            }));
        }
        let Some(row) = get(self.trees.by_id())?.map(Value::from) else { return Ok(None) };
        let (seq, weight, at) = rows::decode_doc(&row).ok_or_else(|| self.trees.bad_row())?;
        Ok(Some(DocEntry { seq, weight, value: skip_front(row, at) }))
    }

    /// The value of the change with this sequence.
    pub(super) fn change(self, seq: Seq) -> Result<Option<Value<'v>>> {
        if let Some(change) = self.layers().find_map(|layer| layer.change(seq)) {
            return Ok(change.as_ref().map(|record| Value::Borrowed(record.by_seq())));
        }
        let row = self.trees.by_seq().get(&rows::seq_key(seq))?.map(Value::from);
        let Some(row) = row else { return Ok(None) };
        let (_, value) = rows::decode_change(&row).ok_or_else(|| self.trees.bad_row())?;
        let at = row.len() - value.len();
        Ok(Some(skip_front(row, at)))
    }

    pub(super) fn key(self, space: Space, key: &[u8]) -> Result<Option<Value<'v>>> {
        let key = space.key(key);
        match self.layers().find_map(|layer| layer.key(&key)) {
            Some(value) => Ok(value.as_deref().map(Value::Borrowed)),
            None => Ok(self.trees.keys().get(&key)?.map(Value::from)),
        }
    }
}

/// A value without its first bytes.
fn skip_front(value: Value<'_>, at: usize) -> Value<'_> {
    match value {
        Value::Borrowed(bytes) => Value::Borrowed(bytes.get(at..).unwrap_or_default()),
        Value::Owned(mut bytes) => {
            bytes.drain(..at.min(bytes.len()));
            Value::Owned(bytes)
        }
    }
}

impl From<&DocEntry<'_>> for OldDoc {
    fn from(entry: &DocEntry<'_>) -> Self {
        OldDoc { seq: entry.seq, weight: entry.weight }
    }
}
