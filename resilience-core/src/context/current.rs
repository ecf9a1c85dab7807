//! The keys and ids of the call in progress.

use std::sync::Arc;

use super::{Baggage, FencingToken, TraceParent, carried};

/// The key under which the receiver recognises a repetition of the call in progress.
///
/// ```
/// use resilience_core::context::{self, Context};
///
/// let seen = Context::new().with_idempotency_key("order-17").run(context::idempotency_key);
/// assert_eq!(seen.as_deref(), Some("order-17"));
/// assert_eq!(context::idempotency_key(), None);
/// ```
pub fn idempotency_key() -> Option<Arc<str>> {
    carried::read(|carried| carried.idempotency_key.clone())
}

/// The id shared by everything one original request causes, of the call in progress.
pub fn correlation_id() -> Option<Arc<str>> {
    carried::read(|carried| carried.correlation_id.clone())
}

/// The id of the message that directly caused the call in progress.
pub fn causation_id() -> Option<Arc<str>> {
    carried::read(|carried| carried.causation_id.clone())
}

/// The token of the owner on whose behalf the call in progress is made.
///
/// ```
/// use resilience_core::context::{self, Context, FencingToken};
///
/// let owner = Context::new().with_fencing_token(FencingToken::new(33));
/// assert_eq!(owner.run(context::fencing_token), Some(FencingToken::new(33)));
/// ```
pub fn fencing_token() -> Option<FencingToken> {
    carried::read(|carried| carried.fencing_token)
}

/// The trace the call in progress is part of.
pub fn trace_parent() -> Option<TraceParent> {
    carried::read(|carried| carried.trace_parent)
}

/// What the application sends along with the trace of the call in progress.
pub fn baggage() -> Option<Baggage> {
    carried::read(|carried| carried.baggage.clone())
}
