//! What travels with a request through every layer: deadline, attempt, criticality, keys.
//!
//! # Why
//!
//! A layer that does not know how much time its caller has left starts work nobody waits for; one that does not know how
//! much a request matters sheds the wrong one; one that does not know that a call is a repetition counts it twice. All of
//! that is known somewhere in the stack, and the type of the request seldom has room for it.
//!
//! # Behaviour
//!
//! Outer layers set it, inner layers read it, and no layer needs the request's type to cooperate: while a layer calls
//! or polls what it wraps, the context is in a thread-local cell, as in tokio's task locals. What is spawned onto
//! another task does not inherit it; [`Context::capture`] it and run the task in its [`scope`](Context::scope).
//!
//! ```text
//!  headers ──► Context::scope ─┐
//!                              ├─ timeout 2 s ─┐           deadline: the earlier of what is outside and 2 s
//!                              │               ├─ retry ─┐ attempt: 1, 2, ...
//!                              │               │         ├─ queue: leaves at the deadline
//!                              │               │         └─ headers of the next call ──► ...
//! ```
//!
//! A deadline is resolved as late as it can be. A timeout layer only notes "within 2 s"; the first layer that wants to
//! sleep, queue or put the deadline on the wire reads the clock. A call that is answered at its first poll therefore
//! reads no clock at all.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::context::{self, Context, Criticality};
//! use resilience_core::time::{ManualTimer, SharedTimer, Timer};
//!
//! let timer = ManualTimer::new();
//! let shared = SharedTimer::from(timer.clone());
//! let request = Context::new().with_deadline(timer.now() + Duration::from_secs(2)).with_criticality(Criticality::Critical);
//! request.run(|| {
//!     let deadline = context::deadline(&shared).unwrap();
//!     assert_eq!(deadline.remaining(timer.now()), Some(Duration::from_secs(2)));
//! });
//! assert_eq!(context::deadline(&shared), None);
//! ```
//!
//! # Defaults
//!
//! | what | default | who sets it | who reads it |
//! |---|---|---|---|
//! | [`deadline`] | none | timeouts, headers | retry, hedge, every queue, headers |
//! | [`attempt`] | 1 | retry, hedge | headers, services |
//! | [`criticality`] | [`Critical`](Criticality::Critical) | headers, you | adaptive limit, load shedding, queues by priority |
//! | [`idempotency_key`], [`correlation_id`], [`causation_id`] | none | headers, you | headers, services |
//! | [`fencing_token`] | none | the stamp of an [ownership](crate::lease::Ownership) | [fences](crate::lease::Fence), stores |
//! | [`trace_parent`], [`baggage`] | none | headers, you | headers |
//!
//! # Events and errors
//!
//! It has neither: a context is a value, and what comes of a deadline is told by the layer that refuses or gives up.
//!
//! # Interplay
//!
//! The earliest deadline wins: a timeout inside can shorten it and not lengthen it, and what a server took from a request's
//! headers holds as a timeout of its own does. A [`scope`](Context::scope) of yours replaces all that is around it. Over HTTP and gRPC it goes by `http::InjectLayer` and `http::ExtractLayer`.
//! Put the layer that reads headers outermost, since what refuses in `poll_ready` sees only what is set by then.
//!
//! # Do and don't
//!
//! - Do take it along when a request's work goes to another task: capture, then scope.
//! - Do give a request that may be repeated a key, before the first layer that repeats.
//! - Don't keep a deadline for later requests: it is that of one.
//! - Don't believe a criticality, or an attempt's number, that a stranger sends.
//!
//! # Limits
//!
//! It is there while a layer is called or polled, and not in between: not in a destructor that runs elsewhere, and not on
//! another task. Keys are behind one reference count, made when the first of them is set; without, it is a few words in a
//! cell and allocates nothing.

pub(crate) mod ambient;
mod carried;
mod current;
mod received;
mod scope;
mod trace;
mod values;

use std::sync::Arc;

use crate::time::{SharedTimer, Timestamp};

use self::ambient::Ambient;
use self::carried::Carried;
pub use self::current::{baggage, causation_id, correlation_id, fencing_token, idempotency_key, trace_parent};
#[cfg(feature = "http")]
pub(crate) use self::received::has_own_key;
pub use self::scope::Scoped;
pub use self::trace::{Baggage, TraceParent, TraceState};
pub use self::values::{Criticality, Deadline, FencingToken};

/// A request's context, to be built at the edge and to be handed to another task.
///
/// ```
/// use resilience_core::context::{Context, Criticality};
///
/// let context = Context::new();
/// assert_eq!((context.deadline(), context.attempt()), (None, 1));
/// assert_eq!(context.criticality(), Criticality::Critical);
///
/// let context = context.with_idempotency_key("order-17").with_correlation_id("checkout-9");
/// assert_eq!(context.idempotency_key().map(|key| &**key), Some("order-17"));
/// assert_eq!(context.causation_id(), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Context {
    ambient: Ambient,
    carried: Option<Arc<Carried>>,
}

impl Context {
    /// An empty context: no deadline, default criticality, no keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// The context of the call in progress; `timer` turns a timeout not yet resolved into a deadline.
    ///
    /// ```
    /// use resilience_core::context::{self, Context, Criticality};
    /// use resilience_core::time::SharedTimer;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let request = Context::new().with_criticality(Criticality::Sheddable).scope(async {
    ///     let context = Context::capture(&SharedTimer::default());
    ///     let alone = tokio::spawn(async { context::criticality() });
    ///     let taken_along = tokio::spawn(context.scope(async { context::criticality() }));
    ///     (alone.await.unwrap(), taken_along.await.unwrap())
    /// });
    /// assert_eq!(request.await, (Criticality::Critical, Criticality::Sheddable));
    /// # }
    /// ```
    pub fn capture(timer: &SharedTimer) -> Self {
        let _ = deadline(timer);
        Self { ambient: ambient::get(), carried: carried::get() }
    }

    /// Sets the deadline; an earlier one stays.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::context::{Context, Deadline};
    /// use resilience_core::time::Timestamp;
    ///
    /// let soon = Deadline::at(Timestamp::ORIGIN + Duration::from_secs(1));
    /// let late = Deadline::at(Timestamp::ORIGIN + Duration::from_secs(60));
    /// assert_eq!(Context::new().with_deadline(soon).with_deadline(late).deadline(), Some(soon));
    /// ```
    #[must_use]
    pub fn with_deadline(mut self, deadline: impl Into<Deadline>) -> Self {
        self.ambient.time.deadline = self.ambient.time.deadline.min(deadline.into().timestamp());
        self
    }

    /// Sets how bad it is to refuse this request.
    #[must_use]
    pub fn with_criticality(mut self, criticality: Criticality) -> Self {
        self.ambient.criticality = criticality;
        self
    }

    /// Sets which attempt this is; the first is 1.
    #[must_use]
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.ambient.attempt = attempt & !ambient::RECEIVED;
        self
    }

    /// Sets the key under which the receiver recognises a repetition.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: impl Into<Arc<str>>) -> Self {
        let carried = self.carried_mut();
        carried.idempotency_key = Some(key.into());
        carried.key_is_received = false;
        self
    }

    /// Sets the id shared by everything one original request causes.
    #[must_use]
    pub fn with_correlation_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.carried_mut().correlation_id = Some(id.into());
        self
    }

    /// Sets the id of the message that directly caused this one.
    #[must_use]
    pub fn with_causation_id(mut self, id: impl Into<Arc<str>>) -> Self {
        let carried = self.carried_mut();
        carried.causation_id = Some(id.into());
        carried.causation_is_received = false;
        self
    }

    /// Sets the owner's token, for receivers that refuse an earlier owner.
    #[must_use]
    pub fn with_fencing_token(mut self, token: FencingToken) -> Self {
        self.carried_mut().fencing_token = Some(token);
        self
    }

    /// Sets the trace this is part of.
    ///
    /// ```
    /// use resilience_core::context::{self, Context, TraceParent};
    ///
    /// let parent = TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
    /// let seen = Context::new().with_trace_parent(parent).run(|| context::trace_parent());
    /// assert_eq!(seen, Some(parent));
    /// ```
    #[must_use]
    pub fn with_trace_parent(mut self, parent: TraceParent) -> Self {
        self.carried_mut().trace_parent = Some(parent);
        self
    }

    /// Sets what tracing vendors have noted; of no use to anybody without a [`TraceParent`].
    #[must_use]
    pub fn with_trace_state(mut self, state: TraceState) -> Self {
        self.carried_mut().trace_state = Some(state);
        self
    }

    /// Sets what the application sends along with its trace.
    #[must_use]
    pub fn with_baggage(mut self, baggage: Baggage) -> Self {
        self.carried_mut().baggage = Some(baggage);
        self
    }

    /// When an answer is of no use any more.
    pub fn deadline(&self) -> Option<Deadline> {
        (self.ambient.time.deadline != Timestamp::NEVER).then_some(Deadline::at(self.ambient.time.deadline))
    }

    /// How bad it is to refuse this request.
    pub fn criticality(&self) -> Criticality {
        self.ambient.criticality
    }

    /// Which attempt this is; 1 outside of any retry.
    pub fn attempt(&self) -> u32 {
        self.ambient.attempt & !ambient::RECEIVED
    }

    /// The key under which the receiver recognises a repetition.
    pub fn idempotency_key(&self) -> Option<&Arc<str>> {
        self.carried.as_ref()?.idempotency_key.as_ref()
    }

    /// The id shared by everything one original request causes.
    pub fn correlation_id(&self) -> Option<&Arc<str>> {
        self.carried.as_ref()?.correlation_id.as_ref()
    }

    /// The id of the message that directly caused this one.
    pub fn causation_id(&self) -> Option<&Arc<str>> {
        self.carried.as_ref()?.causation_id.as_ref()
    }

    /// The owner's token.
    pub fn fencing_token(&self) -> Option<FencingToken> {
        self.carried.as_ref()?.fencing_token
    }

    /// The trace this is part of.
    pub fn trace_parent(&self) -> Option<TraceParent> {
        self.carried.as_ref()?.trace_parent
    }

    /// What tracing vendors have noted.
    pub fn trace_state(&self) -> Option<&TraceState> {
        self.carried.as_ref()?.trace_state.as_ref()
    }

    /// What the application sends along with its trace.
    pub fn baggage(&self) -> Option<&Baggage> {
        self.carried.as_ref()?.baggage.as_ref()
    }

    /// Runs `work` in this context.
    ///
    /// ```
    /// use resilience_core::context::{self, Context};
    ///
    /// let second = Context::new().with_attempt(2).run(|| {
    ///     Context::new().run(|| assert_eq!(context::attempt(), 1)); // replaces what is around it, inherits nothing
    ///     context::attempt()
    /// });
    /// assert_eq!(second, 2);
    /// assert_eq!(context::attempt(), 1);
    /// ```
    pub fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        let _ambient = ambient::enter(self.ambient);
        let _carried = carried::enter(self.carried.clone());
        work()
    }

    /// Runs a future in this context: each of its polls sees it.
    pub fn scope<F: Future>(self, future: F) -> Scoped<F> {
        Scoped::new(self, future)
    }

    fn carried_mut(&mut self) -> &mut Carried {
        Arc::make_mut(self.carried.get_or_insert_with(Arc::default))
    }
}

/// The deadline of the call in progress, if it has one. Reads the clock only if a timeout is still to be resolved.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::Error;
/// use resilience_core::context;
/// use resilience_core::time::{ManualTimer, SharedTimer, Timer};
/// use resilience_core::timeout::Timeout;
///
/// # futures::executor::block_on(async {
/// let timer = ManualTimer::new();
/// let shared = SharedTimer::from(timer.clone());
/// let timeout = Timeout::builder().limit(Duration::from_secs(2)).timer(timer.clone()).build()?;
/// let seen = timeout.call(async { Ok::<_, Error<()>>(context::deadline(&shared)) }).await.unwrap();
/// assert_eq!(seen.unwrap().remaining(timer.now()), Some(Duration::from_secs(2)));
/// # Ok::<(), resilience_core::ConfigError>(())
/// # }).unwrap();
/// ```
pub fn deadline(timer: &SharedTimer) -> Option<Deadline> {
    let mut time = ambient::time();
    if time.resolve(|| timer.now()) {
        ambient::set_time(time);
    }
    (time.deadline != Timestamp::NEVER).then_some(Deadline::at(time.deadline))
}

/// Which attempt the call in progress is; 1 outside of any retry.
pub fn attempt() -> u32 {
    ambient::get().attempt & !ambient::RECEIVED
}

/// How bad it is to refuse the call in progress.
pub fn criticality() -> Criticality {
    ambient::get().criticality
}

#[cfg(test)]
mod tests;
