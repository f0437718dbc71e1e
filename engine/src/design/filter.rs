//! Functions that decide which changes pass.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{DesignDocument, pool::Pooled};
use crate::{changes::DocumentFilter, error::Result, javascript::Mapper};

/// A filter function and the request it sees. In process, there is nothing to be gained by giving it
/// documents in batches.
#[derive(Debug)]
pub struct FunctionFilter {
    function: Mutex<Pooled>,
    req: Vec<u8>,
}

impl FunctionFilter {
    /// The filter `name` of a design document; `req` is the request object as JSON text.
    ///
    /// # Errors
    /// [`Error::MissingKey`](crate::Error::MissingKey), [`Error::JavaScript`](crate::Error::JavaScript).
    pub fn new(design: &DesignDocument, name: &str, req: Vec<u8>) -> Result<Arc<Self>> {
        let function = Mutex::new(design.function(&["filters", name])?);
        Ok(Arc::new(FunctionFilter { function, req }))
    }
}

impl DocumentFilter for FunctionFilter {
    fn passes(&self, document: &[u8]) -> Result<bool> {
        Ok(self.function.lock().run(|function| function.filter(document, &self.req))?)
    }
}

/// A view's map function used as filter: documents pass for which it emits something.
#[derive(Debug)]
pub struct ViewFilter(Mutex<Mapper>);

impl ViewFilter {
    /// The view `name` of a design document.
    ///
    /// # Errors
    /// [`Error::MissingKey`](crate::Error::MissingKey), [`Error::JavaScript`](crate::Error::JavaScript).
    pub fn new(design: &DesignDocument, name: &str) -> Result<Arc<Self>> {
        Ok(Arc::new(ViewFilter(Mutex::new(design.mapper(name)?))))
    }
}

impl DocumentFilter for ViewFilter {
    fn passes(&self, document: &[u8]) -> Result<bool> {
        let mut emitted = false;
        self.0.lock().map(document, &mut |_, _, _| emitted = true)?;
        Ok(emitted)
    }
}
