//! The part of a context few layers touch: keys and ids, behind one `Arc`.

use std::cell::RefCell;
use std::sync::Arc;

use super::{Baggage, FencingToken, TraceParent, TraceState};

#[derive(Clone, Debug, Default)]
pub(super) struct Carried {
    pub(super) idempotency_key: Option<Arc<str>>,
    /// Whether the key is that of the request being served, and not for calls made on its behalf.
    pub(super) key_is_received: bool,
    pub(super) correlation_id: Option<Arc<str>>,
    pub(super) causation_id: Option<Arc<str>>,
    /// As with the key.
    pub(super) causation_is_received: bool,
    pub(super) fencing_token: Option<FencingToken>,
    pub(super) trace_parent: Option<TraceParent>,
    pub(super) trace_state: Option<TraceState>,
    pub(super) baggage: Option<Baggage>,
}

thread_local! {
    static CARRIED: RefCell<Option<Arc<Carried>>> = const { RefCell::new(None) };
}

pub(super) fn get() -> Option<Arc<Carried>> {
    CARRIED.with_borrow(Clone::clone)
}

/// Reads one field without counting a reference to all of them.
pub(super) fn read<T>(field: impl FnOnce(&Carried) -> Option<T>) -> Option<T> {
    CARRIED.with_borrow(|carried| carried.as_deref().and_then(field))
}

pub(super) fn enter(carried: Option<Arc<Carried>>) -> Entered {
    Entered { previous: Some(CARRIED.replace(carried)) }
}

#[must_use]
pub(super) struct Entered {
    /// `None` once it has been put back.
    previous: Option<Option<Arc<Carried>>>,
}

impl Entered {
    /// Leaves, and gives back what was entered: who enters at each poll need not count a reference each time.
    pub(super) fn leave(mut self) -> Option<Arc<Carried>> {
        self.previous.take().and_then(|previous| CARRIED.replace(previous))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(previous) = self.previous.take() {
            CARRIED.set(previous);
        }
    }
}
