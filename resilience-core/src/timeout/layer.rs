//! A timeout as a tower layer.

use std::fmt;

use tower_layer::Layer;

use super::{Own, Timeout, TimeoutService};

/// Ends calls that take too long; made by [`Timeout::layer`] or, for no more than a limit, by `TimeoutLayer::new`.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::LiftLayer;
/// use resilience_core::context;
/// use resilience_core::time::SharedTimer;
/// use resilience_core::timeout::TimeoutLayer;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let service = ServiceBuilder::new()
///     .layer(TimeoutLayer::new(Duration::from_secs(5))) // the caller's patience
///     .layer(TimeoutLayer::new(Duration::from_secs(1))) // one attempt
///     .layer(LiftLayer)
///     .service(service_fn(async |timer: SharedTimer| {
///         let left = context::deadline(&timer).and_then(|deadline| deadline.remaining(timer.now()));
///         Ok::<_, std::convert::Infallible>(left)
///     }));
/// let left = service.oneshot(SharedTimer::default()).await?;
/// assert_eq!(left, Some(Duration::from_secs(1))); // what is inside sees the smaller of both
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TimeoutLayer<L = Own> {
    timeout: Timeout,
    limit: L,
}

impl TimeoutLayer {
    /// Ends calls after `limit` on tokio's clock; `Duration::MAX` means never.
    ///
    /// Its name is `timeout` and nobody listens; use [`Timeout::builder`] for more. A `limit` of zero lets only answers
    /// through that are there at the first poll.
    #[cfg(feature = "tokio")]
    pub fn new(limit: std::time::Duration) -> Self {
        let name = crate::Name::from_static("timeout");
        let timer = crate::time::SharedTimer::default();
        Timeout::assemble(name, limit, timer, &crate::event::Listeners::default(), false).into()
    }
}

impl<L> TimeoutLayer<L> {
    /// Gives each request the limit that `limit` says, any [`Limit`](super::Limit); the timeout's own where it says
    /// none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::context::{self, Criticality};
    /// use resilience_core::timeout::Timeout;
    ///
    /// struct Report { pages: u32 }
    ///
    /// let timeout = Timeout::builder().limit(Duration::from_secs(1)).build()?;
    /// let layer = timeout.layer().limit_by(|report: &Report| match context::criticality() {
    ///     Criticality::Sheddable => Some(Duration::from_millis(100)), // by the context
    ///     _ => (report.pages > 10).then_some(Duration::from_secs(30)), // by the request
    /// });
    /// # let _ = layer;
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    #[must_use]
    pub fn limit_by<M>(self, limit: M) -> TimeoutLayer<M> {
        TimeoutLayer { timeout: self.timeout, limit }
    }

    pub(super) const fn timeout(&self) -> &Timeout {
        &self.timeout
    }
}

impl From<Timeout> for TimeoutLayer {
    fn from(timeout: Timeout) -> Self {
        Self { timeout, limit: Own }
    }
}

impl<S, L: Clone> Layer<S> for TimeoutLayer<L> {
    type Service = TimeoutService<S, L>;

    fn layer(&self, inner: S) -> Self::Service {
        TimeoutService::new(inner, self.timeout.clone(), self.limit.clone())
    }
}

impl<L> fmt::Debug for TimeoutLayer<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutLayer").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
