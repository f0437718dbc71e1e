//! The users' database: what its documents hold, who may write them, and finding a user in it.
//!
//! * `document`: an account, as a user document describes it
//! * `rules`: which writes are accepted; pure
//! * `hook`: what happens to a user document before it is stored: rules, and hashing of the password
//! * `directory`: accounts by name, remembered as long as their documents don't change
//!
//! How a password is hashed is `password`'s business, what a user may do elsewhere that of `user` and
//! `security`.

mod directory;
mod document;
mod hook;
mod rules;

pub(super) use directory::Directory;
pub(super) use document::Account;
pub(crate) use document::{ID_PREFIX, name_of};
pub(super) use hook::{PRESERVE_SALT, UsersHook};

/// The name of the users' database, or the last segment of it.
pub(crate) const USERS: &str = "_users";

/// Whether a database of this name holds user documents.
pub(crate) fn is_users_database(name: &str) -> bool {
    name.rsplit('/').next() == Some(USERS)
}
