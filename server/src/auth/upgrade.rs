//! Hashing a password anew in a stronger way, once its user has shown it.

use std::sync::Arc;

use settee_engine::document::Body;
use settee_engine::json::Value;
use settee_engine::{Database, Error, Result, Rev, WriteMode};

use super::users::{ID_PREFIX, PRESERVE_SALT};

/// Writes the user's document with the password it was let in by, which the database hashes as it does
/// today. The salt stays, and with it the cookies. It happens behind the request; should somebody else
/// write the document meanwhile, the next log-in tries again.
pub(super) fn begin(database: Option<Arc<Database>>, name: &str, rev: &Rev, password: &str) {
    let Some(database) = database else { return };
    let (id, rev, password) = (format!("{ID_PREFIX}{name}"), rev.clone(), password.to_owned());
    drop(tokio::task::spawn_blocking(move || match upgrade(&database, &id, &rev, &password) {
        Ok(()) => tracing::info!(id, "this user's password is stored in a stronger way now"),
        Err(Error::Conflict | Error::NotFound(_)) => {}
        Err(error) => tracing::warn!(id, %error, "this user's password could not be stored anew"),
    }));
}

fn upgrade(database: &Arc<Database>, id: &str, rev: &Rev, password: &str) -> Result<()> {
    let mut document = database.read()?.edit(id, Some(rev))?;
    let Value::Object(mut body) = document.body.to_value()? else { return Ok(()) };
    body.insert("password", password);
    body.insert(PRESERVE_SALT, true);
    document.body = Body::parse(&Value::Object(body).to_json())?;
    let results = database.write(vec![document], WriteMode::Interactive)?;
    results.into_iter().next().map_or(Ok(()), |result| result.map(drop))
}
