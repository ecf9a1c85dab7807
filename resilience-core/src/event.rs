//! What happened, as facts: free when nobody listens, in one form for logs, metrics and tests.
//!
//! Each pattern has an enum of its own (`circuit_breaker::Event`, `retry::Event`, ...), and each of them is a [`Fact`].
//! A policy emits facts after its locks are released, so a listener may call back into the policy; a listener that
//! panics is cut off there, and the others still hear.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use resilience_core::event::{Event, Listeners, Sink};
//!
//! #[derive(Default)]
//! struct Names(Mutex<Vec<&'static str>>);
//! impl Sink for Names {
//!     fn on_event(&self, event: &Event<'_>) {
//!         self.0.lock().unwrap().push(event.fact.name());
//!     }
//! }
//!
//! let names = Arc::new(Names::default());
//! let mut listeners = Listeners::default();
//! listeners.add(names.clone());
//! assert!(!listeners.is_empty());
//! ```

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::Name;
use crate::time::Timestamp;

/// Something that happened in a policy.
///
/// ```
/// use resilience_core::Name;
/// use resilience_core::event::{Fact, Listeners, Severity};
/// use resilience_core::time::Timestamp;
///
/// #[derive(Debug)]
/// struct Evicted { entries: u32 }
///
/// impl Fact for Evicted {
///     fn pattern(&self) -> &'static str { "cache" }
///     fn name(&self) -> &'static str { "evicted" }
/// }
///
/// let listeners = Listeners::default(); // a policy of your own reports as the ones in here do
/// listeners.emit(&Name::from("prices"), || Timestamp::ORIGIN, || Evicted { entries: 3 });
/// assert_eq!(Evicted { entries: 3 }.severity(), Severity::Debug);
/// assert_eq!(Evicted { entries: 3 }.reason(), None);
/// ```
pub trait Fact: Any + fmt::Debug {
    /// The pattern's noun, as in its module: `circuit_breaker`.
    fn pattern(&self) -> &'static str;

    /// What happened, in the past tense: `opened`.
    fn name(&self) -> &'static str;

    /// How much it matters to whoever operates the program.
    fn severity(&self) -> Severity {
        Severity::Debug
    }

    /// Why, as a label with few values.
    fn reason(&self) -> Option<&'static str> {
        None
    }

    /// How the call ended, as a label with few values.
    fn outcome(&self) -> Option<&'static str> {
        None
    }

    /// How long something took, and what: `("permit.held", 12 ms)`.
    fn duration(&self) -> Option<(&'static str, Duration)> {
        None
    }

    /// The state entered, among all the states there are; a metrics sink shows them one-hot.
    fn state(&self) -> Option<(&'static str, &'static [&'static str])> {
        None
    }
}

/// How much a fact matters to whoever operates the program.
///
/// ```
/// use resilience_core::Reason;
/// use resilience_core::event::{Fact, Severity};
/// use resilience_core::{circuit_breaker, timeout};
///
/// assert!(Severity::Error > Severity::Warn); // so that a sink can leave out what is below its level
/// let refused = circuit_breaker::Event::Rejected { reason: Reason::Open };
/// assert_eq!(refused.severity(), Severity::Debug); // one of thousands, while the circuit is open
/// let refused = timeout::Event::Rejected { reason: Reason::Deadline };
/// assert_eq!(refused.severity(), Severity::Warn);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Ordinary traffic.
    Debug,
    /// Worth a line: things are getting better.
    Info,
    /// Worth attention: something was refused, repeated or given up.
    Warn,
    /// Worth waking somebody: a dependency is taken to be down.
    Error,
}

/// A fact with its policy and its time.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use resilience_core::bulkhead::{self, Bulkhead};
/// use resilience_core::event::{Event, Sink};
///
/// #[derive(Default)]
/// struct Limit(AtomicU32);
/// impl Sink for Limit {
///     fn on_event(&self, event: &Event<'_>) {
///         if let Some(bulkhead::Event::Resized { limit }) = event.fact() {
///             self.0.store(*limit, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let seen = Arc::new(Limit::default());
/// let bulkhead = Bulkhead::builder().limit(8).listener(seen.clone()).build()?;
/// bulkhead.resize(4)?;
/// assert_eq!(seen.0.load(Ordering::Relaxed), 4);
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The policy it happened in.
    pub policy: &'a Name,
    /// When, on the policy's timer.
    pub at: Timestamp,
    /// What.
    pub fact: &'a dyn Fact,
}

impl Event<'_> {
    /// The fact as the enum of one pattern, if it is of that pattern.
    pub fn fact<F: Fact>(&self) -> Option<&F> {
        let fact: &dyn Any = self.fact;
        fact.downcast_ref()
    }
}

/// Hears what happens in a policy.
///
/// Called on the path of the call, after the policy's locks are released: be quick. A panic in here is caught.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use resilience_core::circuit_breaker::CircuitBreaker;
/// use resilience_core::event::{Event, Sink};
///
/// #[derive(Default)]
/// struct Log(Mutex<Vec<String>>);
/// impl Sink for Log {
///     fn on_event(&self, event: &Event<'_>) {
///         let line = format!("{} {} {}", event.policy, event.fact.name(), event.fact.reason().unwrap_or("-"));
///         self.0.lock().unwrap().push(line);
///     }
/// }
///
/// let log = Arc::new(Log::default());
/// let breaker = CircuitBreaker::builder().name("stock").listener(log.clone()).build()?;
/// breaker.isolate();
/// assert!(breaker.try_acquire().is_err());
/// assert_eq!(*log.0.lock().unwrap(), ["stock isolated manual", "stock rejected isolated"]);
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
pub trait Sink: Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: &Event<'_>);

    /// A sink of its own for one policy, asked for once when that policy is built.
    ///
    /// Lets a metrics sink register its series once instead of looking them up at each event.
    fn bind(&self, pattern: &'static str, policy: &Name) -> Option<Arc<dyn Sink>> {
        let _ = (pattern, policy);
        None
    }
}

impl<S: Sink + ?Sized> Sink for Arc<S> {
    fn on_event(&self, event: &Event<'_>) {
        (**self).on_event(event);
    }

    fn bind(&self, pattern: &'static str, policy: &Name) -> Option<Arc<dyn Sink>> {
        (**self).bind(pattern, policy)
    }
}

/// The sinks of one policy. Empty by default, and then emitting costs one branch.
#[derive(Clone, Default)]
pub struct Listeners {
    sinks: Vec<Arc<dyn Sink>>,
}

impl Listeners {
    /// Adds a sink.
    pub fn add(&mut self, sink: impl Sink) {
        self.sinks.push(Arc::new(sink));
    }

    /// Whether nobody listens.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.sinks.is_empty()
    }

    /// The same sinks, each bound to the policy if it wants to be. Builders call this once.
    #[must_use]
    pub fn bound(&self, pattern: &'static str, policy: &Name) -> Self {
        let bind = |sink: &Arc<dyn Sink>| sink.bind(pattern, policy).unwrap_or_else(|| sink.clone());
        Self { sinks: self.sinks.iter().map(bind).collect() }
    }

    /// Tells every sink; builds neither the fact nor its time when there is none.
    ///
    /// ```
    /// use resilience_core::event::{Fact, Listeners};
    /// use resilience_core::{Name, timeout};
    ///
    /// let nobody = Listeners::default();
    /// nobody.emit(&Name::from("report"), || unreachable!("no clock is read"), || -> timeout::Event {
    ///     unreachable!("no fact is made")
    /// });
    /// ```
    #[inline]
    pub fn emit<F: Fact>(&self, policy: &Name, at: impl FnOnce() -> Timestamp, fact: impl FnOnce() -> F) {
        if !self.sinks.is_empty() {
            self.tell(policy, at(), &fact());
        }
    }

    #[cold]
    fn tell(&self, policy: &Name, at: Timestamp, fact: &dyn Fact) {
        let event = Event { policy, at, fact };
        for sink in &self.sinks {
            // A sink's panic is the sink's: the call goes on and the other sinks still hear.
            let _ = catch_unwind(AssertUnwindSafe(|| sink.on_event(&event)));
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").field("sinks", &self.sinks.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug)]
    struct Happened;

    impl Fact for Happened {
        fn pattern(&self) -> &'static str {
            "test"
        }

        fn name(&self) -> &'static str {
            "happened"
        }
    }

    struct Panics;

    impl Sink for Panics {
        fn on_event(&self, _: &Event<'_>) {
            panic!("a sink's own trouble");
        }
    }

    #[derive(Default)]
    struct Counts(Mutex<Vec<String>>);

    impl Sink for Counts {
        fn on_event(&self, event: &Event<'_>) {
            assert!(event.fact::<Happened>().is_some());
            self.0.lock().unwrap().push(format!("{}.{}", event.policy, event.fact.name()));
        }
    }

    #[test]
    fn a_panicking_sink_does_not_deafen_the_next() {
        let counts = Arc::new(Counts::default());
        let mut listeners = Listeners::default();
        listeners.add(Panics);
        listeners.add(counts.clone());
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        listeners.emit(&Name::from("p"), || Timestamp::ORIGIN, || Happened);
        std::panic::set_hook(quiet);
        assert_eq!(*counts.0.lock().unwrap(), ["p.happened"]);
    }

    #[test]
    fn without_sinks_neither_fact_nor_time_is_made() {
        let listeners = Listeners::default();
        listeners.emit(&Name::from("p"), || unreachable!("no clock is read"), || -> Happened { unreachable!() });
    }
}
