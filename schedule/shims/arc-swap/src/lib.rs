//! What Settee uses of arc-swap, on shuttle's locks: each call is a point at which shuttle may let another
//! thread go on.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, PoisonError},
};

use shuttle::sync::{Mutex, MutexGuard};

/// See arc-swap.
pub struct ArcSwap<T>(Mutex<Arc<T>>);

/// See arc-swap.
pub struct Guard<T>(T);

impl<T> ArcSwap<T> {
    pub fn new(value: Arc<T>) -> Self {
        ArcSwap(Mutex::new(value))
    }

    pub fn from_pointee(value: T) -> Self {
        ArcSwap::new(Arc::new(value))
    }

    fn lock(&self) -> MutexGuard<'_, Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn load(&self) -> Guard<Arc<T>> {
        Guard(self.load_full())
    }

    pub fn load_full(&self) -> Arc<T> {
        Arc::clone(&self.lock())
    }

    pub fn store(&self, value: Arc<T>) {
        let old = std::mem::replace(&mut *self.lock(), value);
        // Not under the lock, which dropping it may want.
        drop(old);
    }
}

impl<T> fmt::Debug for ArcSwap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArcSwap")
    }
}

impl<T> Deref for Guard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
