//! Who asks, and how they prove it.
//!
//! * [`User`] is the identity a request runs under, and what it may do;
//! * [`Accounts`] finds that identity from a request's credentials, asking the configured handlers in
//!   turn: the cookie of `/_session` ([`cookie`]), `basic` authentication, the headers of a `proxy`,
//!   tokens (`jwt`);
//! * [`StoredPassword`] reads, makes and checks password hashes;
//! * `users`: the users' database, its rules and its accounts.
//!
//! Which path asks for which right is decided in `routes`.

mod accounts;
mod basic;
pub mod cookie;
mod first_start;
mod hash;
mod jwt;
mod lockout;
mod password;
mod proxy;
mod recent;
mod secrets;
mod security;
mod totp;
mod upgrade;
mod user;
pub(crate) mod users;
mod verified;

pub use accounts::{Accounts, Credentials, Identity};
pub(crate) use accounts::{client_address, now, users_database};
pub(crate) use first_start::hash_unless_hashed;
pub use first_start::{FirstAdmin, ensure_admin};
pub use password::{HashError, StoredPassword};
pub(crate) use security::{is_admin_by, is_database_admin, is_member_by};
pub use user::User;
