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

/// Runs a loom model over every schedule with at most three preemptions.
///
/// Three find nearly every bug that is there to be found (Musuvathi and Qadeer, "Iterative context bounding", PLDI 2007)
/// and keep a model to seconds. `LOOM_MAX_PREEMPTIONS` asks for another bound.
#[cfg(all(test, loom))]
pub(crate) fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(body);
}
