//! Which names databases, documents and attachments may have.

use crate::error::{Error, Result};

/// Longest segment of a database's name, in bytes: what fits into a file name with its suffix.
pub const MAX_DATABASE_SEGMENT_BYTES: usize = 238;
/// Longest document id, in bytes: what the store takes for a key.
pub const MAX_DOC_ID_BYTES: usize = settee_storage::store::MAX_KEY_BYTES;

/// What the ids of design documents begin with.
pub const DESIGN_PREFIX: &str = "_design/";
/// What the ids of local documents begin with.
pub const LOCAL_PREFIX: &str = "_local/";

/// Which keyspace a document's id belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocKind {
    /// An ordinary document.
    Normal,
    /// `_design/…`
    Design,
    /// `_local/…`: not replicated, without history.
    Local,
}

impl DocKind {
    /// The kind of the document with this id.
    #[must_use]
    pub fn of(id: &str) -> Self {
        if !id.starts_with('_') {
            DocKind::Normal
        } else if id.starts_with("_local/") {
            DocKind::Local
        } else if id.starts_with("_design/") {
            DocKind::Design
        } else {
            DocKind::Normal
        }
    }
}

/// Checks a database's name.
///
/// # Errors
/// [`Error::IllegalDatabaseName`] and [`Error::DatabaseNameTooLong`].
pub fn check_database(name: &str) -> Result<()> {
    const SYSTEM: [&str; 6] =
        ["_users", "_replicator", "_global_changes", "_dbs", "_nodes", "_metadata"];
    if name.split('/').any(|segment| segment.len() > MAX_DATABASE_SEGMENT_BYTES) {
        return Err(Error::DatabaseNameTooLong(name.to_owned()));
    }
    let own = name.rsplit('/').next().unwrap_or(name);
    let prefix = name.strip_suffix(own).unwrap_or_default();
    let regular = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(is_database_byte);
    let system = SYSTEM.contains(&own) && (prefix.is_empty() || check_database_prefix(prefix));
    if regular || system { Ok(()) } else { Err(Error::IllegalDatabaseName(name.to_owned())) }
}

fn check_database_prefix(prefix: &str) -> bool {
    prefix.starts_with(|first: char| first.is_ascii_lowercase())
        && prefix.bytes().all(is_database_byte)
}

fn is_database_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_$()+-/".contains(&byte)
}

/// Checks a document's id.
///
/// # Errors
/// [`Error::IllegalDocId`] with CouchDB's reasons.
pub fn check_doc_id(id: &str) -> Result<()> {
    let reason = match id {
        "" => "Document id must not be empty",
        "_design/" => "Illegal document id `_design/`",
        "_local/" => "Illegal document id `_local/`",
        _ if id.len() > MAX_DOC_ID_BYTES => "Document id is too long",
        _ if !id.starts_with('_') => return Ok(()),
        _ if id.starts_with("_design/") || id.starts_with("_local/") => return Ok(()),
        _ => "Only reserved document ids may start with underscore.",
    };
    Err(Error::IllegalDocId(reason.to_owned()))
}

/// Checks an attachment's name.
///
/// # Errors
/// [`Error::BadRequest`] with CouchDB's reason.
pub fn check_attachment(name: &str) -> Result<()> {
    if name.starts_with('_') {
        let reason = format!("Attachment name '{name}' starts with prohibited character '_'");
        return Err(Error::BadRequest(reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases() {
        for name in ["a", "a0_$()+-/z", "a/b/c", "_users", "_replicator", "shards/_users"] {
            check_database(name).unwrap();
        }
        for name in ["", "A", "0a", "_a", "a.b", "é", "/a", "_users2", "a b", "-/_users", "a\0"] {
            assert!(matches!(check_database(name), Err(Error::IllegalDatabaseName(_))), "{name}");
        }
        let long = "a".repeat(MAX_DATABASE_SEGMENT_BYTES);
        check_database(&format!("{long}/{long}")).unwrap();
        assert!(matches!(
            check_database(&format!("b/{long}a")),
            Err(Error::DatabaseNameTooLong(_))
        ));
    }

    #[test]
    fn doc_ids() {
        let reason = |id: &str| check_doc_id(id).map_err(|error| error.to_string());
        for id in ["a", "é", "\0", "a_b", "_design/x", "_local/x", "_design//", "_local/_design/"]
        {
            assert_eq!(reason(id), Ok(()));
        }
        assert_eq!(reason(""), Err("Document id must not be empty".into()));
        assert_eq!(reason("_local/"), Err("Illegal document id `_local/`".into()));
        for id in ["_", "_foo", "_design", "_local", "_DESIGN/x"] {
            let expected = "Only reserved document ids may start with underscore.";
            assert_eq!(reason(id), Err(expected.into()));
        }
        assert_eq!(
            reason(&"x".repeat(MAX_DOC_ID_BYTES + 1)),
            Err("Document id is too long".into())
        );
    }

    #[test]
    fn kinds() {
        assert_eq!(DocKind::of("a"), DocKind::Normal);
        assert_eq!(DocKind::of("_design/a"), DocKind::Design);
        assert_eq!(DocKind::of("_local/a"), DocKind::Local);
    }
}
