//! The part of a context few layers touch: keys and ids, behind one `Arc`.

use std::cell::RefCell;
use std::sync::Arc;

use super::FencingToken;

#[derive(Clone, Debug, Default)]
pub(super) struct Carried {
    pub(super) idempotency_key: Option<Arc<str>>,
    pub(super) correlation_id: Option<Arc<str>>,
    pub(super) causation_id: Option<Arc<str>>,
    pub(super) fencing_token: Option<FencingToken>,
}

thread_local! {
    static CARRIED: RefCell<Option<Arc<Carried>>> = const { RefCell::new(None) };
}

pub(super) fn get() -> Option<Arc<Carried>> {
    CARRIED.with_borrow(Clone::clone)
}

pub(super) fn enter(carried: Option<Arc<Carried>>) -> Entered {
    Entered { previous: CARRIED.replace(carried) }
}

#[must_use]
pub(super) struct Entered {
    previous: Option<Arc<Carried>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CARRIED.set(self.previous.take());
    }
}
