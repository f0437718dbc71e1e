//! Configuration in CouchDB's ini dialect.
//!
//! * [`ini`] reads the text and edits it in place, comments and all;
//! * [`Config`] stacks the layers (built-in defaults, files, environment, flags), answers
//!   `/_node/_local/_config` and writes changes to the last file;
//! * [`Settings`] are the options in effect, with their types;
//! * [`Findings`] say what of a file has no effect here: options of CouchDB that don't apply, and those
//!   that nobody knows;
//! * [`secrets`] knows which options are never shown, and takes secrets from the environment.
//!
//! What an option does is not here: whoever acts on it reads [`Settings`].

mod accounts;
mod browser;
mod catalog;
mod check;
mod compaction;
mod cors;
mod defaults;
mod file;
pub mod ini;
mod layers;
mod network;
mod proxy;
mod replicator;
pub mod secrets;
mod settings;
mod term;
mod vhosts;

pub use accounts::{
    AccountSettings, Handler, HashFunction, JwtSettings, PasswordPolicy, PasswordScheme,
    PerUserSettings, ProxySettings,
};
pub use browser::BrowserSettings;
pub use check::Findings;
pub use cors::{CorsPolicy, CorsSettings};
pub use file::of_folder;
pub use layers::{Config, ConfigError, Sections};
pub use network::{NetworkSettings, TlsSettings};
pub use proxy::{Proxies, Upstream};
pub use replicator::ReplicatorSettings;
pub use settings::{GlobalChangesSettings, LockoutMode, Settings, UuidAlgorithm, UuidFormat};
pub use vhosts::{Rewritten, Vhosts};
