//! What may be done with an answer at a time.

use std::time::Duration;

use super::Ttl;
use crate::time::{Timestamp, saturating_nanos};

/// The life of one answer: until when it may be used for what. Each time named is the first at which it may not.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::cache::{Age, Lifetime, Ttl};
/// use resilience_core::time::Timestamp;
///
/// let at = |seconds| Timestamp::ORIGIN + Duration::from_secs(seconds);
/// let ttl = Ttl::fresh(Duration::from_secs(60)).stale_while_revalidate(Duration::from_secs(30));
/// let lifetime = Lifetime::new(at(100), ttl, 0.0);
/// assert_eq!(lifetime.age(Timestamp::from_nanos(at(160).as_nanos() - 1)), Age::Fresh);
/// assert_eq!(lifetime.age(at(160)), Age::Revalidate);
/// assert_eq!(lifetime.age(at(190)), Age::Gone);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    fresh_until: Timestamp,
    revalidate_until: Timestamp,
    on_error_until: Timestamp,
}

/// What may be done with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Serve it.
    Fresh,
    /// Serve it, and see that one call fetches a new one.
    Revalidate,
    /// Fetch a new one; serve this one if that fails.
    OnError,
    /// Nothing.
    Gone,
}

impl Lifetime {
    /// The life of an answer that came at `now`. `shortened` is the share of the time for which it is fresh that it loses,
    /// so that answers that came together do not go together; the windows after it keep their length.
    pub fn new(now: Timestamp, ttl: Ttl, shortened: f64) -> Self {
        let fresh_until = match saturating_nanos(ttl.fresh) {
            // For ever is not to be shortened.
            u64::MAX => Timestamp::NEVER,
            // The conversion saturates, and takes what is not a number for zero.
            fresh => now + Duration::from_nanos(fresh - ((fresh as f64 * shortened) as u64).min(fresh)),
        };
        Self {
            fresh_until,
            revalidate_until: fresh_until + ttl.while_revalidate,
            on_error_until: fresh_until + ttl.if_error,
        }
    }

    /// What may be done with it at `now`.
    pub fn age(&self, now: Timestamp) -> Age {
        if now < self.fresh_until || self.is_forever() {
            Age::Fresh
        } else if now < self.revalidate_until {
            Age::Revalidate
        } else if now < self.on_error_until {
            Age::OnError
        } else {
            Age::Gone
        }
    }

    /// Whether it may be served at `now` after a call for a new one has failed.
    pub fn is_usable_on_error(&self, now: Timestamp) -> bool {
        // What may be served without asking may be served after having asked in vain.
        self.age(now) != Age::Gone
    }

    /// Whether it is fresh whatever the time.
    pub fn is_forever(&self) -> bool {
        self.fresh_until == Timestamp::NEVER
    }

    /// Whether it was never fresh, and so not worth keeping.
    pub(super) fn is_stillborn(&self, now: Timestamp) -> bool {
        self.age(now) == Age::Gone
    }
}
