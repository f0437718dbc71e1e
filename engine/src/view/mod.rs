//! Views: rows that functions make of documents, kept in order, and reduced.
//!
//! # The parts
//!
//! * [`definition`]: what defines an index; a [`ViewGroup`] is what is indexed together, such as the views of
//!   a design document (`design`)
//! * [`source`]: where rows come from: a [`RowSource`] hands out a [`RowMapper`] for each thread; `javascript`:
//!   functions of design documents as such a source
//! * [`key`]: keys as bytes in the order of collation; `row`: rows and the keys of documents in the trees
//! * `index`: one index and how it is built, updated and rewritten; `updating`: one change at a time for all
//!   who wait; `indexer`: the threads that do it, of lower `priority` while they build; `progress`
//! * [`reduce`]: built-in reductions, and reductions in the inner nodes of the trees
//! * [`query`]: reading
//! * `registry`: the indexes of a database that are in use; `background`: keeping them up to date
//!
//! # Indexes that are no views
//!
//! Whatever makes rows of documents is indexed by the same code. A [`RowSource`] of one's own, an
//! [`IndexDefinition`] with a [`Signature`] over all that defines its rows, and a [`ViewGroup`] that is kept as
//! long as it is in use (it is what concurrent callers share an update by) are all it takes:
//!
//! ```
//! # use std::sync::Arc;
//! # use settee_engine::{Databases, Document, Props, Result, WriteMode, document::Limits};
//! # use settee_engine::json::raw;
//! # use settee_engine::view::{Emit, IndexDefinition, RowMapper, RowSource, Signature, ViewGroup};
//! # use settee_storage::Direction;
//! #[derive(Debug)]
//! struct ByAge;
//!
//! impl RowSource for ByAge {
//!     fn mapper(&self, _functions: &[usize]) -> Result<Box<dyn RowMapper>> {
//!         Ok(Box::new(ByAge))
//!     }
//! }
//!
//! impl RowMapper for ByAge {
//!     fn map(&mut self, document: &[u8], emit: &mut Emit<'_>) -> Result<()> {
//!         if let Some(age) = raw::member(document, "age") {
//!             emit(0, age, b"null");
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # let databases = Databases::in_memory();
//! # let people = databases.create("people", Props::default())?;
//! # let limits = Limits::default();
//! # let person = |id, body: &[u8]| Document::parse(body, Some(id), &limits);
//! # let some = vec![person("ada", b"{\"age\":36}")?, person("kurt", b"{\"age\":71}")?];
//! # people.write(some, WriteMode::Interactive)?;
//! let definition = IndexDefinition::new(Signature::of(&[b"my index", b"by age", b"version 1"]), 0);
//! let group = Arc::new(ViewGroup::new("my index", Arc::new(ByAge), vec![definition]));
//! people.refresh_views(&group)?;
//!
//! let index = people.read_index(&group, 0)?.expect("it was built just now");
//! let from_40 = index.range(Some(b"40"), None);
//! assert_eq!(index.count(&from_40)?, 1);
//! let mut cursor = index.cursor(&from_40, Direction::Forward);
//! let row = cursor.next()?.expect("there is one");
//! assert_eq!((row.id()?.as_ref(), row.key()), ("kurt", &b"71"[..]));
//! # Ok::<(), settee_engine::Error>(())
//! ```
//!
//! What must not live here: interpreters, selectors, HTTP.

pub(crate) mod background;
mod cursor;
pub mod definition;
mod design;
pub(crate) mod index;
pub(crate) mod indexer;
mod info;
mod javascript;
pub mod key;
mod priority;
mod progress;
pub mod query;
pub mod reduce;
pub(crate) mod registry;
mod row;
mod settings;
pub mod source;
mod updating;

pub use cursor::{IndexCursor, IndexReader, IndexRow};
pub use definition::{IndexDefinition, Signature, ViewDefinition, ViewGroup};
pub use info::ViewInfo;
pub use key::Collation;
pub use query::{KeyBound, QueryParams, ViewHead, ViewReader, ViewSelection, ViewSink};
pub use reduce::{OnOverflow, ReduceLimits, ReduceSpec};
pub use settings::ViewSettings;
pub use source::{Emit, ReduceRow, RowMapper, RowReducer, RowSource};
pub use updating::Updated;
