//! `/{db}/_security`: who may read, write and maintain a database.

use std::sync::Arc;

use settee_engine::Database;

use super::blocking;
use crate::auth::users::is_users_database;
use crate::http::{Failure, Outcome, Reply, Request};

/// GET `/{db}/_security`.
pub(crate) async fn get(_request: &mut Request, database: &Arc<Database>) -> Outcome {
    Ok(Reply::json(200, database.security().as_bytes()))
}

/// PUT `/{db}/_security`. Any content type is taken.
pub(crate) async fn put(request: &mut Request, database: &Arc<Database>) -> Outcome {
    let editable = request.app.settings().users_db_security_editable;
    if is_users_database(database.name()) && !editable {
        return Err(Failure::forbidden("You can't edit the security object of the user database."));
    }
    let text = request.body.bytes().await?;
    let database = Arc::clone(database);
    blocking::run(move || database.set_security(&text)).await?;
    Ok(Reply::ok(200))
}
