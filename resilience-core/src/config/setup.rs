//! What a file does not hold.

use std::fmt;
use std::sync::Arc;

use crate::circuit_breaker::{CircuitBreakerBuilder, ManualControl};
use crate::event::Sink;
use crate::time::SharedTimer;

/// What policies need that is no data: a clock, who listens, and the levers of circuit breakers.
#[derive(Clone, Default)]
#[must_use]
pub struct Setup {
    pub(super) timer: Option<SharedTimer>,
    pub(super) listeners: Vec<Arc<dyn Sink>>,
    controls: Vec<ManualControl>,
}

impl Setup {
    /// The builders' own clock, and nobody listens.
    pub fn new() -> Self {
        Self::default()
    }

    /// The clock of all policies. Default: tokio's, if the feature `tokio` is on.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener to all policies.
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.push(Arc::new(sink));
        self
    }

    /// Has all circuit breakers isolated and closed by `control` too, those for each key included.
    ///
    /// ```
    /// # #[cfg(all(feature = "toml", feature = "tokio"))] {
    /// use resilience_core::circuit_breaker::{ManualControl, State};
    /// use resilience_core::config::{Config, Setup};
    ///
    /// let file = Config::from_toml(r#"
    ///     [pipelines.stock]
    ///     layers = ["circuit_breaker", "shops"]
    ///     circuit_breaker = {}
    ///     shops.keyed_circuit_breaker = {}
    /// "#)?;
    /// let maintenance = ManualControl::new();
    /// let pipelines = file.build(&Setup::new().control(&maintenance))?;
    /// let stock = pipelines.pipeline("stock").unwrap();
    /// let shops = stock.keyed_circuit_breaker("shops").unwrap().build::<u32>()?;
    ///
    /// maintenance.isolate();
    /// assert_eq!(stock.circuit_breaker("circuit_breaker").unwrap().state(), State::Isolated);
    /// assert!(shops.try_acquire(&7).is_err()); // a key that nobody has called before
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn control(mut self, control: &ManualControl) -> Self {
        self.controls.push(control.clone());
        self
    }

    pub(super) fn controlled(&self, builder: CircuitBreakerBuilder) -> CircuitBreakerBuilder {
        self.controls.iter().fold(builder, CircuitBreakerBuilder::control)
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("timer", &self.timer)
            .field("listeners", &self.listeners.len())
            .field("controls", &self.controls.len())
            .finish()
    }
}
