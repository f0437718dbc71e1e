//! From documents to the rows of several indexes.

use std::ops::Range;

use settee_storage::Seq;

use crate::{
    codec::put_bytes,
    database::ShowOptions,
    document::ChangeEntry,
    error::Result,
    name::DocKind,
    read::{Meta, Reader},
    view::{
        definition::IndexDefinition,
        key::Collation,
        row::{put_id, put_number, put_partition_of, put_value},
        source::{RowMapper, RowSource},
    },
};

/// Runs the functions of several indexes over documents.
pub(super) struct Rows<'r> {
    reader: &'r Reader,
    indexes: Vec<&'r IndexDefinition>,
    mapper: Box<dyn RowMapper>,
    document: Vec<u8>,
    made: Vec<Made>,
}

/// What one document comes to in one index.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Keys and values of its rows, back to back.
    bytes: Vec<u8>,
    rows: Vec<Slot>,
    /// The keys of its rows, as the tree of documents has them.
    pub(super) keys: Vec<u8>,
}

/// Where a row lies in the bytes of its document's rows.
#[derive(Clone, Debug)]
struct Slot {
    key: Range<usize>,
    /// As it is stored: what is needed to read the key, the key's text, the value's.
    value: Range<usize>,
    /// Where the value's text begins.
    text: usize,
}

impl Made {
    fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
        self.keys.clear();
    }

    /// Keys and values of the rows as they are stored, in the order of emission.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.rows.iter().map(|slot| {
            let key = self.bytes.get(slot.key.clone()).unwrap_or_default();
            (key, self.bytes.get(slot.value.clone()).unwrap_or_default())
        })
    }

    fn add(&mut self, index: &IndexDefinition, id: &str, key: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        if index.partitioned {
            put_partition_of(id, &mut self.bytes);
        }
        index.collation.encode(key, &mut self.bytes);
        let before_id = self.bytes.len() - start;
        put_bytes(&mut self.keys, self.bytes.get(start..).unwrap_or_default());
        put_id(id, &mut self.bytes);
        put_number(self.rows.len() as u64, &mut self.bytes);
        let middle = self.bytes.len();
        put_value(before_id, key, value, &mut self.bytes);
        let end = self.bytes.len();
        self.rows.push(Slot { key: start..middle, value: middle..end, text: end - value.len() });
    }

    /// Puts the values of rows with the same key in the order in which CouchDB shows them: that of Erlang's
    /// terms, not that of emission.
    fn order_values(&mut self) {
        let Made { bytes, rows, .. } = self;
        if rows.len() < 2 {
            return;
        }
        // Equal keys have the same text, and what stands before it follows from it.
        let key = |at: &usize| {
            let slot = rows.get(*at);
            slot.and_then(|slot| bytes.get(slot.value.start..slot.text)).unwrap_or_default()
        };
        let mut by_key: Vec<usize> = (0..rows.len()).collect();
        by_key.sort_by(|a, b| key(a).cmp(key(b)).then(a.cmp(b)));
        let same = by_key.chunk_by(|a, b| key(a) == key(b)).filter(|same| same.len() > 1);
        let mut moves = Vec::new();
        for places in same {
            let mut values: Vec<Slot> =
                places.iter().filter_map(|at| rows.get(*at)).cloned().collect();
            values.sort_by_cached_key(|slot| {
                let mut order = Vec::new();
                let text = bytes.get(slot.text..slot.value.end).unwrap_or_default();
                Collation::Raw.encode(text, &mut order);
                order
            });
            moves.extend(places.iter().copied().zip(values));
        }
        for (place, Slot { value, text, .. }) in moves {
            if let Some(slot) = rows.get_mut(place) {
                (slot.value, slot.text) = (value, text);
            }
        }
    }
}

impl<'r> Rows<'r> {
    pub(super) fn new(
        reader: &'r Reader,
        source: &dyn RowSource,
        indexes: Vec<&'r IndexDefinition>,
    ) -> Result<Self> {
        let functions: Vec<usize> = indexes.iter().map(|index| index.function).collect();
        let mapper = source.mapper(&functions)?;
        let made = indexes.iter().map(|_| Made::default()).collect();
        Ok(Rows { reader, indexes, mapper, document: Vec::new(), made })
    }

    /// The rows of a document as its newest change has it, for each index in order. A tombstone has none.
    pub(super) fn of(&mut self, seq: Seq, id: &str, value: &[u8]) -> Result<&[Made]> {
        self.made.iter_mut().for_each(Made::clear);
        let change = ChangeEntry::decode(value)?;
        let is_design = DocKind::of(id) == DocKind::Design;
        let wanted = self.indexes.iter().any(|index| index.include_design || !is_design);
        if change.winner.deleted || !wanted {
            return Ok(&self.made);
        }
        self.write_document(seq, id, &change)?;
        let Rows { indexes, mapper, document, made, .. } = self;
        mapper.map(document, &mut |function, key, value| {
            if let (Some(index), Some(made)) = (indexes.get(function), made.get_mut(function))
                && (index.include_design || !is_design)
            {
                made.add(index, id, key, value);
            }
        })?;
        self.made.iter_mut().for_each(Made::order_values);
        Ok(&self.made)
    }

    fn write_document(&mut self, seq: Seq, id: &str, change: &ChangeEntry<'_>) -> Result<()> {
        let mut meta = Meta::default();
        if change.winner.has_losers() {
            for leaf in change.others()? {
                match leaf.deleted {
                    true => meta.deleted_conflicts.push(leaf.rev),
                    false => meta.conflicts.push(leaf.rev),
                }
            }
        }
        meta.local_seq = self.indexes.iter().any(|index| index.local_seq).then_some(seq);
        self.document.clear();
        let show = ShowOptions::default();
        self.reader.write_doc(id, change.winner.clone(), meta, &show, &mut self.document)
    }
}
