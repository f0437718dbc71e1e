//! Where rows come from: the functions of a design document, whatever language they are in.

use std::fmt;

use crate::error::Result;

/// Takes a row: number of the function, key and value as JSON in CouchDB's spelling.
pub type Emit<'e> = dyn FnMut(usize, &[u8], &[u8]) + 'e;

/// The functions of some views that are indexed together, ready to be run on any number of threads.
///
/// ```
/// use settee_engine::{Result, json::{Value, raw}, view::{Emit, RowMapper, RowSource}};
///
/// /// Emits the name of each document.
/// #[derive(Debug)]
/// struct ByName;
///
/// impl RowSource for ByName {
///     fn mapper(&self, _functions: &[usize]) -> Result<Box<dyn RowMapper>> {
///         Ok(Box::new(ByName))
///     }
/// }
///
/// impl RowMapper for ByName {
///     fn map(&mut self, document: &[u8], emit: &mut Emit<'_>) -> Result<()> {
///         if let Some(name) = raw::member(document, "name") {
///             emit(0, name, b"null");
///         }
///         Ok(())
///     }
/// }
///
/// let mut rows = Vec::new();
/// ByName.mapper(&[0])?.map(br#"{"_id":"a","name":"Ada"}"#, &mut |_, key, _| rows.push(key.to_vec()))?;
/// assert_eq!(rows, [b"\"Ada\""]);
/// # Ok::<(), settee_engine::Error>(())
/// ```
pub trait RowSource: Send + Sync + fmt::Debug {
    /// Something that runs these functions, for one thread. What it emits carries the positions in
    /// `functions`.
    ///
    /// # Errors
    /// If a function cannot be run at all.
    fn mapper(&self, functions: &[usize]) -> Result<Box<dyn RowMapper>>;

    /// Something that runs the reduce function with this source, for one thread.
    ///
    /// # Errors
    /// If it cannot be run, or there are no such functions.
    fn reducer(&self, source: &str) -> Result<Box<dyn RowReducer>> {
        let _ = source;
        Err(crate::Error::BadRequest("there are no reduce functions here".into()))
    }

    /// Takes what there is to be said of the functions, where those who keep them can read it.
    fn log(&self, message: &str) {
        let _ = message;
    }
}

/// Makes rows of documents.
pub trait RowMapper: Send {
    /// Runs all functions over one document, given as JSON text with `_id`, `_rev` and attachments as stubs.
    /// A function that fails for this document emits nothing.
    ///
    /// # Errors
    /// What ends the building of the index.
    fn map(&mut self, document: &[u8], emit: &mut Emit<'_>) -> Result<()>;
}

/// One row, as a reduce function is given it. Key and value are JSON.
#[derive(Clone, Copy, Debug)]
pub struct ReduceRow<'r> {
    /// The key.
    pub key: &'r [u8],
    /// The id of the document that emitted it.
    pub id: &'r str,
    /// The value.
    pub value: &'r [u8],
}

/// A reduce function.
pub trait RowReducer: Send {
    /// Reduces rows to a value, as JSON.
    ///
    /// # Errors
    /// If it passes its limits.
    fn reduce(&mut self, rows: &[ReduceRow<'_>]) -> Result<Vec<u8>>;
    /// Reduces values that it returned before to one.
    ///
    /// # Errors
    /// As [`RowReducer::reduce`].
    fn rereduce(&mut self, values: &[&[u8]]) -> Result<Vec<u8>>;
}
