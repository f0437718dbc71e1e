//! What the fuzz targets do with their input. They are ordinary functions, so that the same inputs, and
//! mutations of them, run in an ordinary test where there is no fuzzer.
//!
//! * `text`: JSON, documents, selectors: what clients send in bodies
//! * `wire`: query strings, headers, multipart, configuration
//! * `tree`: revision trees, as stored and as merged
//! * `file`: database files, as they are and with their checksums made right again (`stamp`)

mod file;
mod stamp;
mod text;
mod tree;
mod wire;

pub use file::{database, database_file};
pub use stamp::stamp;
pub use text::{bulk, document, json, selector};
pub use tree::{merges, revtree};
pub use wire::{headers, ini, multipart, query};

/// A target's function: it may return or panic, and panicking is a finding.
pub type Target = fn(&[u8]);

/// All targets with the names of their corpora.
pub const TARGETS: [(&str, Target); 12] = [
    ("json", json),
    ("document", document),
    ("bulk", bulk),
    ("selector", selector),
    ("revtree", revtree),
    ("merges", merges),
    ("query", query),
    ("headers", headers),
    ("multipart", multipart),
    ("ini", ini),
    ("file_open", database_file),
    ("database", database),
];
