//! Compiled functions that wait to be called again.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;

use crate::javascript::{DesignFunction, JsError};

/// Interpreters kept of one function. More of them run at a time if more are asked for; these are closed
/// afterwards.
const MAX_IDLE: usize = 4;
/// Interpreters kept of all functions of all databases. Each takes some hundred kilobytes, and there may be
/// thousands of databases with functions of their own.
const MAX_IDLE_IN_ALL: usize = 256;

/// How many interpreters are kept.
static IDLE: AtomicUsize = AtomicUsize::new(0);

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
        if idle.is_some() {
            IDLE.fetch_sub(1, Ordering::Relaxed);
        }
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
        let Some(function) = self.function.take() else { return };
        let mut idle = self.home.idle.lock();
        if idle.len() < MAX_IDLE && IDLE.load(Ordering::Relaxed) < MAX_IDLE_IN_ALL {
            IDLE.fetch_add(1, Ordering::Relaxed);
            idle.push(function);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        IDLE.fetch_sub(self.idle.get_mut().len(), Ordering::Relaxed);
    }
}
