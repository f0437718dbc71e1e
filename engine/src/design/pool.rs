//! Compiled functions that wait to be called again.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::javascript::{DesignFunction, JsError};

/// Interpreters kept of one function. More of them run at a time if more are asked for; these are closed
/// afterwards.
const MAX_IDLE: usize = 4;

/// The interpreters of one function that are not in use.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<DesignFunction>>,
}

impl Pool {
    /// An interpreter nobody else uses, made if need be.
    pub(super) fn take(
        self: &Arc<Self>,
        make: impl FnOnce() -> Result<DesignFunction, JsError>,
    ) -> Result<Pooled, JsError> {
        let idle = self.idle.lock().pop();
        let function = idle.map_or_else(make, Ok)?;
        Ok(Pooled { function: Some(function), home: Arc::clone(self) })
    }
}

/// A function out of a pool. It goes back when this is dropped.
#[derive(Debug)]
pub(super) struct Pooled {
    function: Option<DesignFunction>,
    home: Arc<Pool>,
}

impl Pooled {
    /// Runs the function. One that passed a limit is not used again.
    pub(super) fn run<T>(
        &mut self,
        run: impl FnOnce(&mut DesignFunction) -> Result<T, JsError>,
    ) -> Result<T, JsError> {
        let Some(function) = &mut self.function else {
            return Err(JsError::Interpreter("it was closed after a failure".into()));
        };
        let result = run(function);
        let spent = matches!(
            result,
            Err(JsError::TimedOut { .. } | JsError::OutOfMemory { .. } | JsError::Interpreter(_))
        );
        if spent {
            self.function = None;
        }
        result
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut idle = self.home.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.extend(self.function.take());
        }
    }
}
