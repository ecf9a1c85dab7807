//! A timeout as a tower layer.

use tower_layer::Layer;

use super::{Timeout, TimeoutService};

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
#[derive(Clone, Debug)]
pub struct TimeoutLayer {
    timeout: Timeout,
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
        Timeout::assemble(name, limit, timer, &crate::event::Listeners::default()).into()
    }
}

impl From<Timeout> for TimeoutLayer {
    fn from(timeout: Timeout) -> Self {
        Self { timeout }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = TimeoutService<S>;

    fn layer(&self, inner: S) -> TimeoutService<S> {
        TimeoutService::new(inner, self.timeout.clone())
    }
}
