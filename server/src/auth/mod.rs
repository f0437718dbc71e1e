//! Who asks, and what they may do.

mod user;

pub use user::User;
