//! Facts as `tracing` events.

use crate::event::{Event, Severity, Sink};

/// Writes each fact as a `tracing` event with the target `resilience`.
///
/// Fields: `policy`, `pattern`, `event`, where the fact has them `reason`, `outcome`, `state` and `seconds`, and in
/// `detail` the fact as it is, figures and all.
///
/// ```
/// use resilience_core::circuit_breaker::CircuitBreaker;
/// use resilience_core::observe::TracingSink;
/// use resilience_core::{Class, circuit_breaker::State};
///
/// let breaker = CircuitBreaker::builder().name("stock").consecutive_failures(1).listener(TracingSink).build()?;
/// breaker.try_acquire().unwrap().settle(Class::Failure);
/// // ERROR resilience: policy="stock" pattern="circuit_breaker" event="opened" reason="consecutive" state="open"
/// assert_eq!(breaker.state(), State::Open);
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingSink;

impl Sink for TracingSink {
    fn on_event(&self, event: &Event<'_>) {
        // A level is part of a callsite, so each needs a callsite of its own.
        macro_rules! write_at {
            ($level:expr) => {
                tracing::event!(
                    target: "resilience",
                    $level,
                    policy = event.policy.as_str(),
                    pattern = event.fact.pattern(),
                    event = event.fact.name(),
                    reason = event.fact.reason(),
                    outcome = event.fact.outcome(),
                    state = event.fact.state().map(|(now, _)| now),
                    seconds = event.fact.duration().map(|(_, duration)| duration.as_secs_f64()),
                    detail = ?event.fact,
                )
            };
        }
        match event.fact.severity() {
            Severity::Debug => write_at!(tracing::Level::DEBUG),
            Severity::Info => write_at!(tracing::Level::INFO),
            Severity::Warn => write_at!(tracing::Level::WARN),
            Severity::Error => write_at!(tracing::Level::ERROR),
        }
    }
}
