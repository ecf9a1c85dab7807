//! Three ways a call can fail, told apart by what the caller may do next.
//!
//! | failure | type | did the call reach the service? | the caller may |
//! |---|---|---|---|
//! | refused here | [`Rejected`] | no | fall back, or try again after [`retry_after`](Rejected::retry_after) |
//! | no answer in time | [`Elapsed`] | unknown | repeat it only if it is idempotent |
//! | the service failed | the service's own error | yes | ask its own type |
//!
//! A layer does not wrap the error of the service it protects: it asks that `S::Error: From<Rejected>` (and
//! `From<Elapsed>` where it times out), so ten layers nest nothing. A user's own enum with two `From` impls qualifies,
//! `Box<dyn Error + Send + Sync>` does, and so does the ready-made [`Error<E>`].

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::Rejected;
use crate::time::saturating_nanos;

/// No answer came in time. Whether the call took effect is unknown.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::{Elapsed, Error};
///
/// let late: Error<std::io::Error> = Elapsed::new(Duration::from_millis(250)).into();
/// assert_eq!(late.to_string(), "no answer within 250ms");
/// assert!(!late.is_rejected()); // it was sent, and may have taken effect
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    /// In nanoseconds: with a word for each way to fail, an answer that is a word itself comes back in two registers.
    limit: u64,
}

impl Elapsed {
    /// No answer came within `limit`, which is kept up to 584 years.
    pub const fn new(limit: Duration) -> Self {
        Self { limit: saturating_nanos(limit) }
    }

    /// The limit that passed.
    pub const fn limit(&self) -> Duration {
        Duration::from_nanos(self.limit)
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {:?}", self.limit())
    }
}

impl StdError for Elapsed {}

/// An error of the whole stack over a service that fails with `E`.
///
/// [`LiftLayer`](crate::LiftLayer), innermost in the stack, turns the service's error into this one.
///
/// ```
/// use resilience_core::{Error, Reason, Rejected};
///
/// let answer = |error: Error<&str>| match error {
///     Error::Rejected(refused) => format!("503 {refused}"),
///     Error::Elapsed(late) => format!("504 {late}"),
///     Error::Service(own) => format!("500 {own}"),
/// };
/// assert_eq!(answer(Rejected::new("stock", Reason::Open).into()), "503 refused by stock: circuit is open");
/// assert_eq!(answer(Error::Service("out of paper")), "500 out of paper");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// Refused by a policy, never sent.
    Rejected(Rejected),
    /// No answer in time, effect unknown.
    Elapsed(Elapsed),
    /// The service's own error.
    Service(E),
}

impl<E> Error<E> {
    /// The service's own error, if that is what this is.
    pub fn into_service(self) -> Option<E> {
        match self {
            Self::Service(error) => Some(error),
            Self::Rejected(_) | Self::Elapsed(_) => None,
        }
    }

    /// Whether a policy refused the call.
    pub fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }

    /// Whether a circuit refused the call: open, opened by hand, or half-open with all its probes under way.
    ///
    /// ```
    /// use resilience_core::{Error, Reason, Rejected};
    ///
    /// let open: Error<std::io::Error> = Rejected::new("stock", Reason::Open).into();
    /// let full: Error<std::io::Error> = Rejected::new("stock", Reason::Full { limit: 8, queued: 0 }).into();
    /// assert!(open.is_open() && !full.is_open());
    /// ```
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Rejected(rejected) if rejected.reason().is_open())
    }

    /// Whether the call ran out of time.
    pub fn is_elapsed(&self) -> bool {
        matches!(self, Self::Elapsed(_))
    }

    /// When to come back, if the call was refused and the policy knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rejected(rejected) => rejected.retry_after(),
            Self::Elapsed(_) | Self::Service(_) => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Elapsed(elapsed) => elapsed.fmt(f),
            Self::Service(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + 'static> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // `Display` already is the refusal's own text; its source is the refusal's source, which has none.
            Self::Rejected(_) | Self::Elapsed(_) => None,
            Self::Service(error) => Some(error),
        }
    }
}

impl<E> From<Rejected> for Error<E> {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl<E> From<Elapsed> for Error<E> {
    fn from(elapsed: Elapsed) -> Self {
        Self::Elapsed(elapsed)
    }
}

/// Lets outer layers recognise a refusal or a timeout inside the stack's error.
///
/// Given for [`Error<E>`], boxed errors and `Infallible`; three lines for an enum of your own.
///
/// ```
/// use resilience_core::circuit_breaker::CircuitBreaker;
/// use resilience_core::{AsRejected, Rejected};
///
/// #[derive(Debug)]
/// enum Failed { Refused(Rejected), Declined }
///
/// impl From<Rejected> for Failed {
///     fn from(rejected: Rejected) -> Self { Self::Refused(rejected) }
/// }
/// impl AsRejected for Failed {
///     fn as_rejected(&self) -> Option<&Rejected> {
///         if let Self::Refused(rejected) = self { Some(rejected) } else { None }
///     }
/// }
///
/// # futures::executor::block_on(async {
/// let breaker = CircuitBreaker::builder().build()?;
/// breaker.isolate();
/// let refused = breaker.call(async { Err::<(), _>(Failed::Declined) }).await.unwrap_err();
/// assert!(refused.as_rejected().is_some()); // what is outside does not take it for a failure of the service
/// # Ok::<(), resilience_core::ConfigError>(())
/// # }).unwrap();
/// ```
pub trait AsRejected {
    /// The refusal, if that is what this error is.
    fn as_rejected(&self) -> Option<&Rejected>;

    /// The timeout, if that is what this error is.
    fn as_elapsed(&self) -> Option<&Elapsed> {
        None
    }
}

impl<E> AsRejected for Error<E> {
    fn as_rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            _ => None,
        }
    }

    fn as_elapsed(&self) -> Option<&Elapsed> {
        match self {
            Self::Elapsed(elapsed) => Some(elapsed),
            _ => None,
        }
    }
}

impl AsRejected for Box<dyn StdError + Send + Sync> {
    fn as_rejected(&self) -> Option<&Rejected> {
        find(&**self)
    }

    fn as_elapsed(&self) -> Option<&Elapsed> {
        find(&**self)
    }
}

impl AsRejected for std::convert::Infallible {
    fn as_rejected(&self) -> Option<&Rejected> {
        match *self {}
    }
}

/// The first error of type `T` along the chain of sources.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// A builder was given a value that cannot work.
///
/// Returned by `build()` and nowhere else: a policy that was built does not fail for its configuration later.
///
/// ```
/// use resilience_core::bulkhead::Bulkhead;
///
/// let error = Bulkhead::builder().limit(0).build().unwrap_err();
/// assert_eq!((error.field(), error.rule()), ("limit", "must be above zero"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    rule: &'static str,
}

impl ConfigError {
    /// `field` breaks `rule`; the rule reads as a clause: "must be above zero".
    pub const fn new(field: &'static str, rule: &'static str) -> Self {
        Self { field, rule }
    }

    /// The builder's field.
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// The rule it breaks.
    pub const fn rule(&self) -> &'static str {
        self.rule
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.rule)
    }
}

impl StdError for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    #[test]
    fn a_boxed_refusal_is_recognised_through_its_sources() {
        #[derive(Debug)]
        struct Outer(Box<dyn StdError + Send + Sync>);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("outer")
            }
        }
        impl StdError for Outer {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&*self.0)
            }
        }
        let refused = Rejected::new("p", Reason::Open);
        let boxed: Box<dyn StdError + Send + Sync> = Box::new(Outer(refused.clone().into()));
        assert_eq!(boxed.as_rejected(), Some(&refused));
        assert_eq!(boxed.as_elapsed(), None);
    }

    #[test]
    fn a_service_error_keeps_its_source_and_a_refusal_has_none() {
        let service = Error::Service(std::io::Error::other("disk"));
        assert_eq!(service.source().map(ToString::to_string).as_deref(), Some("disk"));
        let refused: Error<std::io::Error> = Rejected::new("p", Reason::Open).into();
        assert!(refused.source().is_none());
    }

    #[test]
    fn displays_are_one_clause() {
        let full = Rejected::new("b", Reason::Full { limit: 1, queued: 2 });
        assert_eq!(full.to_string(), "refused by b: all 1 slots taken and 2 calls waiting");
        assert_eq!(Elapsed::new(Duration::from_millis(250)).to_string(), "no answer within 250ms");
        assert_eq!(ConfigError::new("limit", "must be above zero").to_string(), "limit must be above zero");
    }
}
