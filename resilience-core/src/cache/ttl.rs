//! How long an answer may be used.

use std::time::Duration;

/// How long an answer is fresh, and how long after that it may still be served.
///
/// A [`Duration`] is a time for which an answer is fresh, and no longer served after. [`Duration::MAX`] is for ever.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::cache::Ttl;
///
/// // RFC 5861: `max-age=60, stale-while-revalidate=30, stale-if-error=3600`
/// let ttl = Ttl::fresh(Duration::from_secs(60))
///     .stale_while_revalidate(Duration::from_secs(30))
///     .stale_if_error(Duration::from_secs(3_600));
/// assert_ne!(ttl, Ttl::from(Duration::from_secs(60)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    pub(super) fresh: Duration,
    pub(super) while_revalidate: Duration,
    pub(super) if_error: Duration,
}

impl Ttl {
    /// Not kept: handed to whoever asked for it meanwhile, and forgotten.
    pub const NONE: Self = Self::fresh(Duration::ZERO);

    /// Kept until it is evicted or invalidated. A hit reads no clock.
    pub const FOREVER: Self = Self::fresh(Duration::MAX);

    /// Fresh for so long after the answer came.
    pub const fn fresh(fresh: Duration) -> Self {
        Self { fresh, while_revalidate: Duration::ZERO, if_error: Duration::ZERO }
    }

    /// For so long after that, served while one call fetches a new one.
    #[must_use]
    pub const fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.while_revalidate = window;
        self
    }

    /// For so long after it was fresh, served when a call for a new one fails.
    #[must_use]
    pub const fn stale_if_error(mut self, window: Duration) -> Self {
        self.if_error = window;
        self
    }
}

impl From<Duration> for Ttl {
    fn from(fresh: Duration) -> Self {
        Self::fresh(fresh)
    }
}
