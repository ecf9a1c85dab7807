//! What travels with a request through every layer: deadline, attempt, criticality, keys.
//!
//! Outer layers set it, inner layers read it, and no layer needs the request's type to cooperate: while a layer calls
//! or polls what it wraps, the context is in a thread-local cell, as in tokio's task locals. What is spawned onto
//! another task does not inherit it; [`Context::capture`] it and run the task in its [`scope`](Context::scope).
//!
//! A deadline is resolved as late as it can be. A timeout layer only notes "within 2 s"; the first layer that wants to
//! sleep, queue or put the deadline on the wire reads the clock. A call that is answered at its first poll therefore
//! reads no clock at all.
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

pub(crate) mod ambient;
mod carried;
mod current;
mod received;
mod scope;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use crate::time::{SharedTimer, Timestamp};

use self::ambient::Ambient;
use self::carried::Carried;
pub use self::current::{baggage, causation_id, correlation_id, fencing_token, idempotency_key, trace_parent};
#[cfg(feature = "http")]
pub(crate) use self::received::has_own_key;
pub use self::scope::Scoped;
pub use self::trace::{Baggage, TraceParent, TraceState};

/// The moment after which an answer is of no use.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::context::Deadline;
/// use resilience_core::time::Timestamp;
///
/// let start = Timestamp::ORIGIN;
/// let deadline = Deadline::at(start + Duration::from_secs(2));
/// assert_eq!(deadline.remaining(start), Some(Duration::from_secs(2)));
/// assert_eq!(deadline.remaining(deadline.timestamp()), None); // on the dot is too late
/// assert_eq!(Deadline::at(Timestamp::NEVER).remaining(start), Some(Duration::from_nanos(u64::MAX)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Timestamp);

impl Deadline {
    /// The deadline at `at`.
    pub const fn at(at: Timestamp) -> Self {
        Self(at)
    }

    /// The moment itself.
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }

    /// What is left at `now`; `None` once it has passed.
    pub fn remaining(self, now: Timestamp) -> Option<Duration> {
        if now < self.0 { Some(self.0 - now) } else { None }
    }
}

impl From<Timestamp> for Deadline {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

/// How bad it is to refuse a request, after "Site Reliability Engineering", chapter 21.
///
/// ```
/// use resilience_core::context::Criticality;
///
/// assert_eq!(Criticality::default(), Criticality::Critical);
/// let shed_below = Criticality::Critical; // what a server under load may decide
/// assert!(Criticality::SheddablePlus < shed_below);
/// assert!(Criticality::CriticalPlus >= shed_below);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Criticality {
    /// Partial unavailability is expected: crawlers, speculative work.
    Sheddable,
    /// Batch work that is retried minutes later.
    SheddablePlus,
    /// A user notices. The default.
    #[default]
    Critical,
    /// The few requests that must go through when everything else is shed.
    CriticalPlus,
}

/// Proof of the latest ownership: a number that grows with each owner, checked where the write happens.
///
/// ```
/// use resilience_core::context::FencingToken;
///
/// let mut newest = FencingToken::new(33); // kept beside the data, by the store that is written to
/// let mut write = |token: FencingToken| {
///     let may = token >= newest;
///     newest = newest.max(token);
///     may
/// };
/// assert!(write(FencingToken::new(34)));
/// assert!(!write(FencingToken::new(33))); // the owner before wakes up from a long pause, and is refused
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(u64);

impl FencingToken {
    /// The token with this number.
    pub const fn new(token: u64) -> Self {
        Self(token)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

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
        self.ambient.time.deadline = self.ambient.time.deadline.min(deadline.into().0);
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
        (self.ambient.time.deadline != Timestamp::NEVER).then_some(Deadline(self.ambient.time.deadline))
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
    (time.deadline != Timestamp::NEVER).then_some(Deadline(time.deadline))
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
