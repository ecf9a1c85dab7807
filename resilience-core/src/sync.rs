//! Atomics and locks, from the standard library or from loom. Nothing else in this crate imports either for shared state.

#[cfg(not(loom))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, atomic};

#[cfg(loom)]
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard, atomic};

/// Locks, and goes on after a panic elsewhere: what these locks guard is consistent between any two statements.
#[allow(dead_code)] // Which patterns need a lock depends on the features.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
