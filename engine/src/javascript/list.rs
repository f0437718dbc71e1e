//! Where the rows of a list function come from, and where its answer goes.

use parking_lot::Mutex;

use super::JsError;

/// The ends of a list function's answer.
pub trait ListEnds: Send {
    /// The function is about to write: `response` is what it said of status and headers, a JSON object.
    fn begin(&mut self, response: &str);

    /// A piece of the body.
    ///
    /// # Errors
    /// If nobody wants the answer any more; ends the function.
    fn chunk(&mut self, text: &str) -> Result<(), JsError>;

    /// The next row as JSON text; `None` behind the last. May block.
    ///
    /// # Errors
    /// Those of the view; end the function.
    fn next(&mut self) -> Result<Option<String>, JsError>;
}

/// Holds the ends of the list that is running, if one is.
#[derive(Default)]
pub(super) struct ListSlot(Mutex<Option<Box<dyn ListEnds>>>);

impl ListSlot {
    pub(super) fn set(&self, ends: Option<Box<dyn ListEnds>>) {
        *self.0.lock() = ends;
    }

    pub(super) fn begin(&self, response: String) {
        if let Some(ends) = &mut *self.0.lock() {
            ends.begin(&response);
        }
    }

    pub(super) fn chunk(&self, text: String) -> Result<(), JsError> {
        self.0.lock().as_mut().map_or(Ok(()), |ends| ends.chunk(&text))
    }

    pub(super) fn next(&self) -> Result<Option<String>, JsError> {
        self.0.lock().as_mut().map_or(Ok(None), |ends| ends.next())
    }
}
