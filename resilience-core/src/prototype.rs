//! What a layer that may make a second call keeps: something to clone from, and one reference count for all it needs.

use crate::sync::{Arc, Mutex, lock};

/// A service's share in what its calls keep hold of.
pub(crate) struct Origin<S, T> {
    kept: Arc<Kept<S, T>>,
    count: Count,
}

/// What a call keeps hold of until it ends: one reference count for the rules and the prototype.
pub(crate) struct Kept<S, T> {
    /// The same for all clones.
    pub(crate) rules: Arc<T>,
    /// Locked for the time of a clone, when a second call is made. Behind a lock so that `S` need not be `Sync`.
    prototype: Mutex<S>,
}

/// Whose reference count this instance's calls touch.
///
/// Clones begin on that of the instance they were cloned from. One that lives to make a second call gets its own, so
/// that the instances of two threads do not pass a cache line to and fro on every call; one that is cloned for a single
/// call allocates nothing.
#[derive(Clone, Copy)]
enum Count {
    Shared,
    SharedAndUsed,
    Own,
}

impl<S: Clone, T> Origin<S, T> {
    /// Of `prototype`, which is never called.
    pub(crate) fn new(prototype: S, rules: T) -> Self {
        let kept = Kept { rules: Arc::new(rules), prototype: Mutex::new(prototype) };
        Self { kept: Arc::new(kept), count: Count::Own }
    }

    /// A call is made: what it is to keep hold of.
    #[inline]
    pub(crate) fn used(&mut self) -> &Arc<Kept<S, T>> {
        if !matches!(self.count, Count::Own) {
            self.note_use();
        }
        &self.kept
    }

    #[cold]
    fn note_use(&mut self) {
        self.count = match self.count {
            Count::Shared => Count::SharedAndUsed,
            Count::SharedAndUsed | Count::Own => {
                let prototype = Mutex::new(self.kept.instance());
                self.kept = Arc::new(Kept { rules: self.kept.rules.clone(), prototype });
                Count::Own
            }
        };
    }
}

impl<S, T> Origin<S, T> {
    pub(crate) fn rules(&self) -> &T {
        &self.kept.rules
    }
}

impl<S, T> Clone for Origin<S, T> {
    fn clone(&self) -> Self {
        Self { kept: self.kept.clone(), count: Count::Shared }
    }
}

impl<S: Clone, T> Kept<S, T> {
    /// An instance for what follows the first call.
    pub(crate) fn instance(&self) -> S {
        lock(&self.prototype).clone()
    }
}
