//! Who reads what in the users' database: administrators all, users their own document, and of others' what
//! `[chttpd_auth] public_fields` names. Who writes what is decided where documents are stored, see
//! `auth::users`.

use std::sync::Arc;

use settee_engine::json::{Object, Value};
use settee_engine::{Database, GetOptions};

use crate::auth::users::{is_users_database, name_of};
use crate::http::{Failure, Method, Outcome, Reply, Request};

/// What those who are no administrators reach in the users' database besides documents: nothing that
/// shows the documents of others. Local documents are not among it: one of them is the server's own, and those
/// of replications are of no use to somebody who can't read the changes.
const OPEN_PATHS: [&[u8]; 7] = [
    b"_bulk_docs",
    b"_bulk_get",
    b"_ensure_full_commit",
    b"_missing_revs",
    b"_revs_diff",
    b"_revs_limit",
    b"_security",
];

/// Whether this is the users' database, and somebody asks who is no administrator of it.
fn is_guarded(request: &Request, database: &Database) -> bool {
    is_users_database(database.name()) && request.user().require_database_admin(database).is_err()
}

/// Whether the user may read the whole of this document.
pub(super) fn may_read(request: &Request, database: &Database, id: &str) -> bool {
    let own = || request.user().name().is_some() && name_of(id) == request.user().name();
    !is_guarded(request, database) || own()
}

/// Refuses or answers what asks for more than the user may see; `None` if there is nothing to hide.
///
/// # Errors
///
/// What CouchDB answers: others' documents are as good as not there.
pub(super) fn guard(
    request: &Request,
    database: &Arc<Database>,
    rest: &[&[u8]],
) -> Result<Option<Reply>, Failure> {
    let Some(first) = rest.first() else { return Ok(None) };
    if !is_guarded(request, database) {
        return Ok(None);
    }
    if *first == b"_design" || first.starts_with(b"_design/") {
        return Err(Failure::forbidden(
            "Only administrators can view design docs in the users database.",
        ));
    }
    if first.starts_with(b"_") {
        return match OPEN_PATHS.contains(first) {
            true => Ok(None),
            false => request.user().require_server_admin().map(|()| None),
        };
    }
    let id = String::from_utf8_lossy(first);
    if may_read(request, database, &id) {
        return Ok(None);
    }
    match (request.method, rest.len()) {
        (Method::Get, 1) => public_fields(request, database, &id).map(Some),
        // Whoever has no name may be about to make an account.
        (Method::Put, 1) if request.user().name().is_none() => Ok(None),
        _ => Err(Failure::not_found("missing")),
    }
}

/// What everybody may read of a user document.
fn public_fields(request: &Request, database: &Arc<Database>, id: &str) -> Outcome {
    let settings = request.app.settings();
    let fields = &settings.accounts.public_fields;
    let missing = || Failure::not_found("missing");
    if fields.is_empty() {
        return Err(missing());
    }
    let reader = database.read()?;
    let found = reader.get(id, &GetOptions::default())?;
    let body = Value::from_canonical(found.body())?;
    let mut shown = Object::new();
    shown.insert("_id", id);
    shown.insert("_rev", found.rev().to_string());
    let members = body.as_object().into_iter().flat_map(Object::iter);
    for (name, value) in members.filter(|(name, _)| fields.iter().any(|field| field == name)) {
        shown.insert(name, value.clone());
    }
    if shown.len() == 2 {
        return Err(missing());
    }
    Ok(Reply::json(200, Value::Object(shown).to_json()))
}
