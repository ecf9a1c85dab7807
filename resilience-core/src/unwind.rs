//! A call that panics, told apart from one that is given up.
//!
//! A permit sees the difference when it is dropped: then the thread panics, or it does not. But what a permit is part of
//! is not always dropped by the panic. Whoever catches it around the poll (`CatchUnwind` of `futures`, `CatchPanic` of
//! `tower-http`) drops the call afterwards, when nothing panics any more, and the permit would take it for given up.

use std::mem;

/// Does `work`; if it panics, ends what is `held` while the thread still does.
#[inline]
pub(crate) fn ending<T, R>(held: &mut T, end: fn(&mut T), work: impl FnOnce() -> R) -> R {
    struct Ends<'a, T>(&'a mut T, fn(&mut T));
    impl<T> Drop for Ends<'_, T> {
        fn drop(&mut self) {
            (self.1)(self.0);
        }
    }
    let ends = Ends(held, end);
    let done = work();
    mem::forget(ends);
    done
}

/// The end of what is held in an `Option`: it is dropped.
#[cfg_attr(not(feature = "tower"), allow(dead_code))] // For what only services hold.
pub(crate) fn drop_held<T>(held: &mut Option<T>) {
    drop(held.take());
}
