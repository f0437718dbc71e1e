//! Configuration in CouchDB's ini dialect.
//!
//! * [`ini`] reads the text and edits it in place, comments and all;
//! * [`Config`] stacks the layers (built-in defaults, files, environment, flags), answers
//!   `/_node/_local/_config` and writes changes to the last file;
//! * [`Settings`] are the options in effect, with their types.
//!
//! What an option does is not here: whoever acts on it reads [`Settings`].

mod compaction;
mod defaults;
pub mod ini;
mod layers;
mod settings;

pub use layers::{Config, ConfigError, Sections};
pub use settings::{LockoutMode, Settings, UuidAlgorithm, UuidFormat};
