//! Who asks, and how they prove it.
//!
//! * [`User`] is the identity a request runs under, and what it may do;
//! * [`Accounts`] finds that identity from a request's credentials: the cookie of `/_session`
//!   ([`cookie`]) or basic authentication;
//! * [`StoredPassword`] reads, makes and checks password hashes.
//!
//! Which path asks for which right is decided in `routes`.

mod accounts;
pub mod cookie;
mod first_start;
mod lockout;
mod password;
mod security;
mod user;
mod verified;

pub use accounts::{Accounts, Identity};
pub(crate) use accounts::{client_address, now};
pub(crate) use first_start::hash_unless_hashed;
pub use first_start::{FirstAdmin, ensure_admin};
pub use password::{HashError, Prf, StoredPassword};
pub use user::User;
