//! Who reaches what in replicator databases besides documents. What of a document is shown to whom, and who
//! writes it, is decided where documents are read and stored, see `replicator::hook`.

use settee_engine::Database;

use crate::http::{Failure, Request};
use crate::replicator::is_replicator_database;

/// What reads documents as they are stored: only those may who see all of them anyway.
const READS_WHAT_IS_STORED: [&[u8]; 4] = [b"_find", b"_explain", b"_index", b"_partition"];

/// Refuses what would show others' credentials, or let them be guessed.
///
/// # Errors
///
/// 401 or 403 for those who are no administrators of the database.
pub(super) fn guard(request: &Request, database: &Database, rest: &[&[u8]]) -> Result<(), Failure> {
    let [first, more @ ..] = rest else { return Ok(()) };
    if !is_replicator_database(database.name()) {
        return Ok(());
    }
    let is_function = match *first {
        b"_design" => more.len() > 1,
        first => first.starts_with(b"_design/") && !more.is_empty(),
    };
    match is_function || READS_WHAT_IS_STORED.contains(first) {
        true => request.user().require_database_admin(database),
        false => Ok(()),
    }
}
