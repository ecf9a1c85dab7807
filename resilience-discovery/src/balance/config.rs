//! Settings of a [`Balance`], checked once.

use std::time::Duration;

use resilience_core::event::{Listeners, Sink};
use resilience_core::rng::SharedRng;
use resilience_core::time::SharedTimer;
use resilience_core::{ConfigError, Name};
use tower_service::Service;

use super::Balance;
use crate::{Discovery, Endpoint};

/// Settings of a [`Balance`]; the defaults are in the [module's table](super#defaults).
#[derive(Debug)]
pub struct BalanceBuilder {
    name: Option<Name>,
    timer: SharedTimer,
    listeners: Listeners,
    wait: Duration,
    seed: Option<u64>,
}

impl BalanceBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: None,
            timer: SharedTimer::default(),
            listeners: Listeners::default(),
            wait: Duration::from_secs(3),
            seed: None,
        }
    }

    /// The name it goes by in refusals, events and metrics; the discovery's by default.
    #[must_use]
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The clock; tokio's by default.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// Adds a listener for [`Event`](super::Event)s.
    #[must_use]
    pub fn listener(mut self, listener: impl Sink) -> Self {
        self.listeners.add(listener);
        self
    }

    /// How long a call waits for an endpoint to be ready before it is refused; 3 s by default.
    ///
    /// Once one has waited this long in vain, others are refused at once until an endpoint is ready again. Zero waits no
    /// longer than the timer's resolution, 1 ms with tokio's.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::{Error, Reason};
    /// use resilience_discovery::{Balance, Discovery, Endpoint, StaticSource};
    /// use tower::{ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let discovery = Discovery::builder().build(StaticSource::new([]))?;
    /// let echo = |_: &Endpoint| service_fn(|n: u32| async move { Ok::<_, Error<std::io::Error>>(n) });
    /// let balance = Balance::builder().wait(Duration::from_secs(1)).build(&discovery, echo)?;
    ///
    /// let start = tokio::time::Instant::now();
    /// for _ in 0..100 {
    ///     let refused = balance.clone().oneshot(7).await.unwrap_err();
    ///     assert!(matches!(refused, Error::Rejected(rejected) if rejected.reason() == Reason::NoEndpoint));
    /// }
    /// // The first waited for all of them: an outage does not cost each call its patience.
    /// assert!(start.elapsed() < Duration::from_secs(2));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Fixes the choices, for tests; from the operating system by default.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Balances over the endpoints of `discovery`; `make` makes the service for one of them.
    ///
    /// `make` is called per endpoint and address, and again when the service broke, in a task of the current tokio runtime, which ends with the last
    /// clone of the balancer. It must neither block nor panic. The service it returns is cloned for each call: clones must
    /// share what is to be shared (connections, breakers), as those of every client and of this family's layers do.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use resilience_discovery::{Balance, Discovery, Endpoint, StaticSource};
    /// use tower::service_fn;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let discovery = Discovery::builder().name("payments").build(StaticSource::new([]))?;
    /// let echo = |_: &Endpoint| service_fn(|n: u32| async move { Ok::<_, Infallible>(n) });
    /// // Two balancers over one fleet: each counts its own calls, under its own name.
    /// let payments = Balance::builder().build(&discovery, echo)?;
    /// let refunds = Balance::builder().name("refunds").build(&discovery, echo)?;
    /// assert_eq!((payments.name().as_str(), refunds.name().as_str()), ("payments", "refunds"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When there is no current tokio runtime.
    pub fn build<S, Req, F>(self, discovery: &Discovery, make: F) -> Result<Balance<S, Req>, ConfigError>
    where
        S: Service<Req> + Clone + Send + Sync + 'static,
        Req: 'static,
        F: FnMut(&Endpoint) -> S + Send + 'static,
    {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| ConfigError::new("runtime", "must be a tokio runtime: build inside of one"))?;
        let name = self.name.unwrap_or_else(|| discovery.name().clone());
        let listeners = self.listeners.bound("balance", &name);
        let rng = self.seed.map_or_else(SharedRng::from_entropy, SharedRng::seeded);
        Ok(Balance::start(&runtime, name, self.timer, listeners, self.wait, rng, discovery, make))
    }
}
