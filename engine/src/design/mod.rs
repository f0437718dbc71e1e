//! Design documents: what may be stored as one, and the functions in them.
//!
//! * `check`: the checks a design document must pass to be stored
//! * [`document`]: one design document whose functions can be called
//! * [`filter`]: filters of changes
//! * `validators`: the `validate_doc_update` functions of a database
//! * `cache`: what a database keeps of them between calls
//!
//! What functions are given and give back is text; how they run is `javascript`'s business.

mod cache;
mod check;
pub mod document;
pub mod filter;
mod pool;
mod validators;

pub(crate) use cache::DesignCache;
pub(crate) use check::check;
pub use document::{DesignDocument, Update};
pub use filter::{FunctionFilter, ViewFilter};
pub(crate) use validators::Validators;

use crate::{
    caller::Caller,
    database::Database,
    json::{Object, Value},
};

/// Who asks, as functions are told: `{"db":…,"name":…,"roles":[…]}`, with `null` for a missing name.
#[must_use]
pub fn user_context(database: &Database, caller: &Caller) -> Object {
    let mut user = Object::new();
    user.insert("db", database.name());
    user.insert("name", caller.name().map_or(Value::Null, Value::from));
    user.insert("roles", caller.roles().map(Value::from).collect::<Vec<_>>());
    user
}
