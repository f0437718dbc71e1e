//! Queries by selector: CouchDB's Mango.
//!
//! # The parts
//!
//! * [`selector`]: reading a selector, bringing it into normal form, matching documents; [`path`]: names of fields
//! * [`request`], [`sort`], [`fields`]: a query, checked; `bookmark`: where it goes on
//! * `definition`: indexes over fields, as design documents define them, and their rows; `catalog`: those of a
//!   database; `manage`: making and deleting them
//! * [`plan`]: which index answers a query, as CouchDB chooses; `range`: what the selector leaves of a field, in
//!   CouchDB's terms
//! * `intervals`: which rows are read, which may be fewer than CouchDB reads; [`execute`]: reading them; `explain`:
//!   telling all that
//! * [`error`]: what can be wrong with a query
//!
//! Indexes are views to the rest of the engine (see [`crate::view`]): they are built, updated, kept by
//! partition and cleaned up as these are. What must not live here: how rows are kept.

mod bookmark;
pub(crate) mod catalog;
pub(crate) mod definition;
pub mod error;
pub mod execute;
mod explain;
pub mod fields;
mod intervals;
pub mod manage;
pub mod path;
pub mod plan;
mod range;
pub mod request;
pub mod selector;
pub mod sort;

pub(crate) use catalog::Catalog;
pub use definition::JsonIndex;
pub use error::{FindError, SelectorError};
pub use execute::{ExecutionStats, FindEnd, FindSink};
pub use fields::Fields;
pub use manage::{BulkDeleted, IndexCreated, IndexRequest, parse_bulk_delete};
pub use path::FieldPath;
pub use plan::FindPlan;
pub use request::{FindRequest, FindSettings, UseIndex};
pub use selector::{Condition, Selector};
pub use sort::Sort;
