//! Partitioned databases: ids of the form `partition:id`.

use settee_storage::KeyRange;

use crate::{
    database::Database,
    document::{Body, Document},
    error::{Error, Result},
    json::Value,
    name::{self, DocKind},
};

/// Between a partition's name and the rest of an id.
const SEPARATOR: char = ':';

/// Checks the name of a partition.
///
/// # Errors
/// [`Error::IllegalPartition`] with CouchDB's reasons.
pub(crate) fn check_name(partition: &str) -> Result<()> {
    let reason = match partition {
        "" => "Partition must not be empty",
        _ if partition.starts_with('_') => "Partition must not start with an underscore",
        _ if partition.contains(SEPARATOR) => "Partition must not contain a colon",
        _ => return Ok(()),
    };
    Err(Error::IllegalPartition(reason.into()))
}

/// Checks an id of a partitioned database.
fn check_id(id: &str) -> Result<()> {
    if DocKind::of(id) != DocKind::Normal {
        return Ok(());
    }
    let (partition, rest) = id
        .split_once(SEPARATOR)
        .ok_or_else(|| Error::IllegalDocId("Doc id must be of form partition:id".into()))?;
    check_name(partition)?;
    name::check_doc_id(rest)
}

/// The ids of a partition.
pub(crate) fn range(partition: &str) -> KeyRange {
    KeyRange::prefix(format!("{partition}{SEPARATOR}").as_bytes())
}

impl Database {
    /// That this database has partitions and `partition` may be the name of one.
    ///
    /// # Errors
    /// [`Error::BadRequest`] if it has none, [`Error::IllegalPartition`].
    pub fn check_partition(&self, partition: &str) -> Result<()> {
        if !self.props().partitioned {
            return Err(Error::BadRequest("database is not partitioned".into()));
        }
        check_name(partition)
    }

    /// That a document of this database may have this id.
    ///
    /// # Errors
    /// [`Error::IllegalDocId`], [`Error::IllegalPartition`].
    pub fn check_doc_id(&self, id: &str) -> Result<()> {
        match self.props().partitioned {
            true => check_id(id),
            false => Ok(()),
        }
    }

    /// That the functions a design document asks for can be had here: those of single partitions only
    /// where there are partitions.
    ///
    /// # Errors
    /// [`Error::InvalidDesignDoc`].
    pub(crate) fn check_design(&self, body: &Body) -> Result<()> {
        if self.props().partitioned {
            return Ok(());
        }
        let body = body.to_value()?;
        let partitioned = body.get("options").and_then(|options| options.get("partitioned"));
        if partitioned.and_then(Value::as_bool) == Some(true) {
            let reason = "partitioned option cannot be true in a non-partitioned database.";
            return Err(Error::InvalidDesignDoc(reason.into()));
        }
        Ok(())
    }

    /// That a document of this id may be written here.
    ///
    /// # Errors
    /// As [`Database::check_doc_id`].
    pub fn check_writable(&self, doc: &Document) -> Result<()> {
        name::check_doc_id(&doc.id)?;
        self.check_doc_id(&doc.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_partitioned_database() {
        for id in ["a:b", "a:b:c", "a b:c", "ä:1", "_design/d", "_local/l"] {
            check_id(id).unwrap();
        }
        for (id, reason) in [
            ("nopart", "Doc id must be of form partition:id"),
            (":x", "Partition must not be empty"),
            ("a:", "Document id must not be empty"),
            ("a:_b", "Only reserved document ids may start with underscore."),
            ("_x:y", "Partition must not start with an underscore"),
        ] {
            assert_eq!(check_id(id).unwrap_err().to_string(), reason, "{id}");
        }
    }
}
