//! The indexes a database has.

use std::sync::Arc;

use parking_lot::Mutex;
use settee_storage::{Direction, KeyRange, Seq};

use super::JsonIndex;
use crate::{
    all_docs::id_text,
    database::Database,
    document::{DocHead, Summary},
    error::Result,
    json::Value,
    name::DESIGN_PREFIX,
    read::Reader,
    revision::Rev,
};

/// The indexes of a database as they were last read, so that a query need not read the design documents.
#[derive(Debug, Default)]
pub(crate) struct Catalog(Mutex<Listed>);

#[derive(Clone, Debug, Default)]
struct Listed {
    /// The sequence of the database at which they were read.
    at: Option<Seq>,
    designs: Vec<(String, Rev)>,
    indexes: Arc<Vec<Arc<JsonIndex>>>,
}

impl Reader {
    /// The indexes defined by design documents, in the order of these and of their names.
    pub(super) fn json_indexes(&self) -> Result<Arc<Vec<Arc<JsonIndex>>>> {
        let catalog = &self.database.catalog.0;
        let listed = catalog.lock().clone();
        if listed.at == Some(self.seq()) {
            return Ok(listed.indexes);
        }
        let designs = self.designs()?;
        let indexes = match designs == listed.designs {
            true => listed.indexes,
            false => Arc::new(self.read_indexes(&designs)?),
        };
        let newest = Listed { at: Some(self.seq()), designs, indexes: Arc::clone(&indexes) };
        *catalog.lock() = newest;
        Ok(indexes)
    }

    /// The design documents and their revisions.
    fn designs(&self) -> Result<Vec<(String, Rev)>> {
        let range = KeyRange::prefix(DESIGN_PREFIX.as_bytes());
        let mut cursor = self.snapshot.docs(&range, Direction::Forward, true)?;
        let mut designs = Vec::new();
        while let Some(row) = cursor.next()? {
            designs.push((id_text(row.id)?.to_owned(), DocHead::decode(row.value)?.winner.rev));
        }
        Ok(designs)
    }

    fn read_indexes(&self, designs: &[(String, Rev)]) -> Result<Vec<Arc<JsonIndex>>> {
        let partitioned = self.database.props().partitioned;
        let mut indexes = Vec::new();
        for (id, _) in designs {
            let Some(entry) = self.snapshot.doc(id.as_bytes())? else { continue };
            let blob = self.snapshot.blob(DocHead::decode(&entry.value)?.winner.body)?;
            let body = Value::from_canonical(&self.body(&Summary::decode(&blob)?)?)?;
            indexes.extend(JsonIndex::of_design(id, &body, partitioned).into_iter().map(Arc::new));
        }
        Ok(indexes)
    }
}

impl Database {
    /// All indexes as JSON, the one of all documents first: `{"ddoc", "name", "type", "partitioned", "def"}`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn list_indexes(self: &Arc<Self>) -> Result<Vec<Value>> {
        let indexes = self.read()?.json_indexes()?;
        let all_docs = super::plan::Index::AllDocs.to_value();
        Ok(std::iter::once(all_docs).chain(indexes.iter().map(|index| index.to_value())).collect())
    }
}
