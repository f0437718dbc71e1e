//! Configuration in CouchDB's ini dialect.

mod settings;

pub use settings::Settings;
