//! What belongs to the request being served, and not to the calls made on its behalf.

#[cfg(feature = "http")]
use std::sync::Arc;

#[cfg(feature = "http")]
use super::carried;
use super::{Context, ambient};

impl Context {
    /// Marks attempt, idempotency key and causation id as those of the request being served.
    ///
    /// They can be read as before, but are not sent on: a call made on behalf of a request is its own first attempt,
    /// has its own cause, and under the request's key its receiver would take two different calls for one. Deadline,
    /// criticality, correlation id, fencing token and trace go on to whatever is called. What is set after this is the
    /// call's own.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use resilience_core::context::Context;
    /// use resilience_core::http::Headers;
    /// use resilience_core::time::Timestamp;
    ///
    /// let served = Context::new().with_idempotency_key("order-17").with_attempt(2).received();
    /// assert_eq!(served.idempotency_key().map(|key| &**key), Some("order-17"));
    /// assert_eq!(served.attempt(), 2);
    /// let mut headers = HeaderMap::new();
    /// Headers::http().inject(&served, || Timestamp::ORIGIN, &mut headers);
    /// assert!(headers.is_empty());
    /// Headers::http().inject(&served.with_idempotency_key("order-17/payment"), || Timestamp::ORIGIN, &mut headers);
    /// assert_eq!(headers["idempotency-key"], "order-17/payment");
    /// ```
    #[must_use]
    pub fn received(mut self) -> Self {
        self.ambient.attempt |= ambient::RECEIVED;
        if self.idempotency_key().is_some() || self.causation_id().is_some() {
            let carried = self.carried_mut();
            (carried.key_is_received, carried.causation_is_received) = (true, true);
        }
        self
    }
}

/// Whether the call in progress has a key of its own, and not only that of the request on whose behalf it is made.
#[cfg(feature = "http")]
pub(crate) fn has_own_key() -> bool {
    carried::read(|carried| (carried.idempotency_key.is_some() && !carried.key_is_received).then_some(())).is_some()
}

/// What a call made in a context sends along of its own.
#[cfg(feature = "http")]
impl Context {
    pub(crate) fn own_attempt(&self) -> u32 {
        if self.ambient.attempt & ambient::RECEIVED == 0 { self.ambient.attempt } else { 1 }
    }

    pub(crate) fn own_idempotency_key(&self) -> Option<&Arc<str>> {
        self.idempotency_key().filter(|_| !self.carried.as_ref().is_some_and(|carried| carried.key_is_received))
    }

    pub(crate) fn own_causation_id(&self) -> Option<&Arc<str>> {
        self.causation_id().filter(|_| !self.carried.as_ref().is_some_and(|carried| carried.causation_is_received))
    }
}
